/* SPDX-License-Identifier: Apache-2.0
 *
 * A fake GPU: what kernels/cuda calls of CUDA's runtime and of cuDNN, on host memory and at
 * once. Fresh memory is full of NaN. Three engines can compute any convolution: one that is not
 * deterministic, one that wants more workspace than anybody allows, and the right one, which writes
 * all over its workspace. Whatever blocks is an error while a stream captures. */
#include "tests/gpu/fake_gpu.h"

#include <assert.h>
#include <cudnn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKSPACE 1000
#define HUGE_SIZE ((int64_t)1 << 40)

/* ---- memory, streams, events ---- */

struct fake_gpu fake_gpu;
const char *fake_gpu_calls[FAKE_GPU_CALLS];

bool fake_gpu_fails(const char *name)
{
    bool fails = ++fake_gpu.calls == fake_gpu.fail_at ||
                 (fake_gpu.fail_name && strcmp(fake_gpu.fail_name, name) == 0);

    if (fake_gpu.calls <= FAKE_GPU_CALLS)
        fake_gpu_calls[fake_gpu.calls - 1] = name;
    if (fails)
        fake_gpu.failed = name;
    return fails;
}

/* The first line of most calls. */
#define FAULT(error)                                                                               \
    do {                                                                                           \
        if (fake_gpu_fails(__func__))                                                              \
            return error;                                                                          \
    } while (0)

static cudaError_t take(const char *call, void **ret, size_t bytes)
{
    if (fake_gpu_fails(call))
        return cudaErrorMemoryAllocation;
    *ret = aligned_alloc(256, (bytes + 255) / 256 * 256);
    assert(*ret);
    memset(*ret, 0xff, bytes);
    return cudaSuccess;
}

/* ---- graphs ---- */

struct job {
    void (*run)(const void *data);
    void *data;
    unsigned long sum;
};

struct CUgraph_st {
    struct job *jobs;
    int count;
};

static struct CUgraph_st *capturing;

static unsigned long sum_of(const struct fake_gpu_job *job)
{
    unsigned long sum = 5381;

    for (const char *c = job->name; *c; c++)
        sum = sum * 33 ^ (unsigned char)*c;
    for (int i = 0; i < job->pointer_count; i++)
        sum = sum * 1099511628211u ^ (uintptr_t)job->pointers[i];
    return sum;
}

static void trace(unsigned long sum)
{
    if (fake_gpu.traced < FAKE_GPU_TRACE)
        fake_gpu.trace[fake_gpu.traced] = sum;
    fake_gpu.traced++;
}

void fake_gpu_run(const struct fake_gpu_job *job)
{
    struct job *last;

    if (!capturing) {
        fake_gpu.alone++;
        trace(sum_of(job));
        job->run(job->data);
        return;
    }
    capturing->jobs = realloc(capturing->jobs, (size_t)(capturing->count + 1) * sizeof *last);
    assert(capturing->jobs);
    last = &capturing->jobs[capturing->count++];
    *last = (struct job){job->run, malloc(job->size), sum_of(job)};
    assert(last->data);
    memcpy(last->data, job->data, job->size);
}

void fake_gpu_run_alone(const char *name)
{
    struct fake_gpu_job job = {.name = name};

    assert(!capturing);
    fake_gpu.alone++;
    trace(sum_of(&job));
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, enum cudaStreamCaptureMode mode)
{
    FAULT(cudaErrorUnknown);
    assert(stream && !capturing && mode == cudaStreamCaptureModeThreadLocal);
    capturing = calloc(1, sizeof *capturing);
    assert(capturing);
    fake_gpu.captures++;
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph)
{
    for (int i = 0; i < graph->count; i++)
        free(graph->jobs[i].data);
    free(graph->jobs);
    free(graph);
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *ret)
{
    assert(stream && capturing);
    *ret = capturing;
    capturing = NULL;
    if (!fake_gpu_fails(__func__))
        return cudaSuccess;
    cudaGraphDestroy(*ret);
    *ret = NULL;
    return cudaErrorStreamCaptureInvalidated;
}

/* Takes the jobs out of the graph; both are destroyed alike. */
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *ret, cudaGraph_t graph, unsigned long long flags)
{
    struct CUgraph_st *copy;

    FAULT(cudaErrorMemoryAllocation);
    assert(flags == 0 && graph->count > 0);
    copy = malloc(sizeof *copy);
    assert(copy);
    *copy = *graph;
    *graph = (struct CUgraph_st){0};
    *ret = (cudaGraphExec_t)copy;
    fake_gpu.graphs++;
    return cudaSuccess;
}

cudaError_t cudaGraphUpload(cudaGraphExec_t graph, cudaStream_t stream)
{
    FAULT(cudaErrorMemoryAllocation);
    assert(graph && stream && !capturing);
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream)
{
    const struct CUgraph_st *graph = (struct CUgraph_st *)exec;

    FAULT(cudaErrorLaunchFailure);
    assert(stream && !capturing);
    fake_gpu.graph_launches++;
    for (int i = 0; i < graph->count; i++) {
        trace(graph->jobs[i].sum);
        graph->jobs[i].run(graph->jobs[i].data);
    }
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec)
{
    fake_gpu.graphs--;
    return cudaGraphDestroy((cudaGraph_t)exec);
}

/* ---- memory, streams, events: the calls ---- */

cudaError_t cudaMalloc(void **ret, size_t bytes)
{
    return take(__func__, ret, bytes);
}

cudaError_t cudaMallocHost(void **ret, size_t bytes)
{
    return take(__func__, ret, bytes);
}

cudaError_t cudaFree(void *data)
{
    free(data);
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *data)
{
    free(data);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *ret_free, size_t *ret_total)
{
    *ret_free = (size_t)1 << 30;
    *ret_total = (size_t)2 << 30;
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    FAULT(cudaErrorUnknown);
    assert(!capturing);
    (void)kind, (void)stream;
    memcpy(to, from, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    FAULT(cudaErrorUnknown);
    assert(!capturing);
    (void)stream;
    memset(to, value, bytes);
    return cudaSuccess;
}

/* A stream and an event are memory of one byte, so that a forgotten one is a leak. */
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *ret, unsigned flags)
{
    FAULT(cudaErrorUnknown);
    (void)flags;
    *ret = malloc(1);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    free(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    FAULT(cudaErrorUnknown);
    assert(!capturing);
    return stream ? cudaSuccess : cudaErrorInvalidResourceHandle;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    FAULT(cudaErrorUnknown);
    (void)flags;
    return stream && event ? cudaSuccess : cudaErrorInvalidResourceHandle;
}

cudaError_t cudaEventCreate(cudaEvent_t *ret)
{
    FAULT(cudaErrorUnknown);
    *ret = malloc(1);
    return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *ret, unsigned flags)
{
    (void)flags;
    return cudaEventCreate(ret);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    free(event);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    FAULT(cudaErrorUnknown);
    return stream && event ? cudaSuccess : cudaErrorInvalidResourceHandle;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    FAULT(cudaErrorUnknown);
    assert(!capturing);
    return event ? cudaSuccess : cudaErrorInvalidResourceHandle;
}

cudaError_t cudaEventElapsedTime(float *ret_ms, cudaEvent_t begin, cudaEvent_t end)
{
    FAULT(cudaErrorUnknown);
    (void)begin, (void)end;
    *ret_ms = 1;
    return cudaSuccess;
}

/* ---- the device ---- */

cudaError_t cudaGetDeviceCount(int *ret)
{
    FAULT(cudaErrorUnknown);
    *ret = 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *ret, enum cudaDeviceAttr attribute, int device)
{
    FAULT(cudaErrorUnknown);
    (void)attribute, (void)device;
    *ret = 9;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *ret, int device)
{
    FAULT(cudaErrorUnknown);
    (void)device;
    memset(ret, 0, sizeof *ret);
    strcpy(ret->name, "Make-believe GPU");
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    FAULT(cudaErrorUnknown);
    return device == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}

cudaError_t cudaSetDeviceFlags(unsigned flags)
{
    FAULT(cudaErrorUnknown);
    (void)flags;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    return cudaSuccess;
}

const char *cudaGetErrorString(cudaError_t rc)
{
    return rc == cudaErrorMemoryAllocation ? "out of memory" : "an error of the fake GPU";
}

/* ---- cuDNN: descriptors that remember what they are told ---- */

struct attribute {
    cudnnBackendAttributeName_t name;
    int64_t count;
    char bytes[64];
};

struct convolution {
    int direction, f32, add, n, c, h, w, k, p, q, kernel, stride, pad, groups;
};

struct descriptor {
    cudnnBackendDescriptorType_t type;
    bool done;
    struct attribute attributes[16];
    int count;
    int engine;                     /* of an engine, or of its config */
    struct convolution convolution; /* of an operation and what is made of it */
    int64_t workspace;
};

size_t cudnnGetVersion(void)
{
    return CUDNN_VERSION;
}

const char *cudnnGetErrorString(cudnnStatus_t status)
{
    (void)status;
    return "CUDNN_STATUS_MAKE_BELIEVE";
}

void cudnnGetLastErrorString(char *message, size_t size)
{
    snprintf(message, size, "nothing to say");
}

cudnnStatus_t cudnnCreate(cudnnHandle_t *ret)
{
    FAULT(CUDNN_STATUS_INTERNAL_ERROR);
    *ret = malloc(1);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle)
{
    free(handle);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream)
{
    FAULT(CUDNN_STATUS_INTERNAL_ERROR);
    return handle && stream ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type,
                                           cudnnBackendDescriptor_t *ret)
{
    struct descriptor *d = calloc(1, sizeof *d);

    FAULT(CUDNN_STATUS_INTERNAL_ERROR);
    assert(d);
    d->type = type;
    *ret = d;
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d)
{
    free(d);
    return CUDNN_STATUS_SUCCESS;
}

static const void *told(const struct descriptor *d, cudnnBackendAttributeName_t name)
{
    for (int i = 0; i < d->count; i++)
        if (d->attributes[i].name == name)
            return d->attributes[i].bytes;
    assert(!"an attribute that was not set");
    return NULL;
}

static struct descriptor *told_descriptor(const struct descriptor *d,
                                          cudnnBackendAttributeName_t name)
{
    struct descriptor *of = *(struct descriptor *const *)told(d, name);

    assert(of && of->done);
    return of;
}

static int64_t told_number(const struct descriptor *d, cudnnBackendAttributeName_t name, int i)
{
    return ((const int64_t *)told(d, name))[i];
}

static bool from_text(struct descriptor *plan, const char *text, int64_t size)
{
    struct convolution *c = &plan->convolution;
    char copy[256];

    if (size >= (int64_t)sizeof copy)
        return false;
    memcpy(copy, text, (size_t)size);
    copy[size] = '\0';
    plan->workspace = WORKSPACE;
    plan->engine = 2;
    return sscanf(copy, "{%d %d %d %d %d %d %d %d %d %d %d %d %d %d}", &c->direction, &c->f32,
                  &c->add, &c->n, &c->c, &c->h, &c->w, &c->k, &c->p, &c->q, &c->kernel, &c->stride,
                  &c->pad, &c->groups) == 14;
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count,
                                       const void *values)
{
    struct descriptor *d = descriptor;
    size_t size = type == CUDNN_TYPE_INT64 || type == CUDNN_TYPE_HANDLE ||
                          type == CUDNN_TYPE_BACKEND_DESCRIPTOR || type == CUDNN_TYPE_VOID_PTR
                      ? 8
                      : 4;

    FAULT(CUDNN_STATUS_INTERNAL_ERROR);
    assert(!d->done);
    if (name == CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION)
        return from_text(d, values, count) ? CUDNN_STATUS_SUCCESS : CUDNN_STATUS_BAD_PARAM;
    assert(d->count < 16 && size * (size_t)count <= sizeof d->attributes[0].bytes);
    d->attributes[d->count].name = name;
    d->attributes[d->count].count = count;
    memcpy(d->attributes[d->count].bytes, values, size * (size_t)count);
    d->count++;
    return CUDNN_STATUS_SUCCESS;
}

/* What an operation's descriptors say, with the layouts checked. */
static struct convolution read_operation(const struct descriptor *d)
{
    static const struct {
        cudnnBackendDescriptorType_t type;
        cudnnBackendAttributeName_t x, w, y, convolution, beta;
    } names[] = {
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
         CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
        {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
         CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
    };
    struct convolution c = {0};
    const struct descriptor *x, *w, *y, *conv;

    while (names[c.direction].type != d->type)
        c.direction++;
    x = told_descriptor(d, names[c.direction].x);
    w = told_descriptor(d, names[c.direction].w);
    y = told_descriptor(d, names[c.direction].y);
    conv = told_descriptor(d, names[c.direction].convolution);
    c.add = *(const float *)told(d, names[c.direction].beta) != 0;
    c.f32 = *(const cudnnDataType_t *)told(x, CUDNN_ATTR_TENSOR_DATA_TYPE) == CUDNN_DATA_FLOAT;
    c.n = (int)told_number(x, CUDNN_ATTR_TENSOR_DIMENSIONS, 0);
    c.c = (int)told_number(x, CUDNN_ATTR_TENSOR_DIMENSIONS, 1);
    c.h = (int)told_number(x, CUDNN_ATTR_TENSOR_DIMENSIONS, 2);
    c.w = (int)told_number(x, CUDNN_ATTR_TENSOR_DIMENSIONS, 3);
    c.k = (int)told_number(y, CUDNN_ATTR_TENSOR_DIMENSIONS, 1);
    c.p = (int)told_number(y, CUDNN_ATTR_TENSOR_DIMENSIONS, 2);
    c.q = (int)told_number(y, CUDNN_ATTR_TENSOR_DIMENSIONS, 3);
    c.kernel = (int)told_number(w, CUDNN_ATTR_TENSOR_DIMENSIONS, 2);
    c.groups = c.c / (int)told_number(w, CUDNN_ATTR_TENSOR_DIMENSIONS, 1);
    c.stride = (int)told_number(conv, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, 0);
    c.pad = (int)told_number(conv, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, 0);
    assert(told_number(x, CUDNN_ATTR_TENSOR_STRIDES, 1) == 1);
    assert(told_number(x, CUDNN_ATTR_TENSOR_STRIDES, 2) == (int64_t)c.w * c.c);
    assert(told_number(w, CUDNN_ATTR_TENSOR_STRIDES, 2) == (int64_t)c.kernel * c.c / c.groups);
    assert(c.p == (c.h + 2 * c.pad - c.kernel) / c.stride + 1);
    return c;
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor)
{
    struct descriptor *d = descriptor, *of;

    FAULT(CUDNN_STATUS_INTERNAL_ERROR);
    d->done = true;
    switch (d->type) {
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR:
    case CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR:
        d->convolution = read_operation(d);
        break;
    case CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR:
        d->convolution = told_descriptor(d, CUDNN_ATTR_OPERATIONGRAPH_OPS)->convolution;
        break;
    case CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR:
        if (d->workspace > 0) /* from text */
            break;
        of = told_descriptor(d, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG);
        d->convolution = of->convolution;
        d->engine = of->engine;
        d->workspace = of->engine == 1 ? HUGE_SIZE : WORKSPACE;
        break;
    default:
        break;
    }
    return CUDNN_STATUS_SUCCESS;
}

static cudnnStatus_t to_text(const struct descriptor *plan, int64_t room, int64_t *ret_size,
                             char *ret)
{
    const struct convolution *c = &plan->convolution;
    char text[256];

    *ret_size = snprintf(text, sizeof text, "{%d %d %d %d %d %d %d %d %d %d %d %d %d %d}",
                         c->direction, c->f32, c->add, c->n, c->c, c->h, c->w, c->k, c->p, c->q,
                         c->kernel, c->stride, c->pad, c->groups);
    if (room >= *ret_size)
        memcpy(ret, text, (size_t)*ret_size);
    return CUDNN_STATUS_SUCCESS;
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor,
                                       cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t room,
                                       int64_t *ret_count, void *values)
{
    const struct descriptor *d = descriptor;
    struct descriptor **configs = values;

    FAULT(CUDNN_STATUS_INTERNAL_ERROR);
    (void)type;
    *ret_count = 1;
    switch (name) {
    case CUDNN_ATTR_ENGINEHEUR_RESULTS:
        assert(room >= 3);
        *ret_count = 3;
        for (int i = 0; i < 3; i++) {
            configs[i]->done = true;
            configs[i]->engine = i;
            configs[i]->convolution =
                told_descriptor(d, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH)->convolution;
        }
        break;
    case CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT: /* by number there are none */
        *(int64_t *)values = 0;
        break;
    case CUDNN_ATTR_ENGINECFG_ENGINE:
        (*configs)->done = true;
        (*configs)->engine = d->engine;
        (*configs)->convolution = d->convolution;
        break;
    case CUDNN_ATTR_ENGINE_GLOBAL_INDEX:
        *(int64_t *)values = d->engine;
        break;
    case CUDNN_ATTR_ENGINE_NUMERICAL_NOTE:
        *ret_count = 0;
        if (!d->convolution.f32)
            ((cudnnBackendNumericalNote_t *)values)[(*ret_count)++] =
                CUDNN_NUMERICAL_NOTE_TENSOR_CORE;
        if (d->engine == 0)
            ((cudnnBackendNumericalNote_t *)values)[(*ret_count)++] =
                CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
        break;
    case CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE:
        *(int64_t *)values = d->workspace;
        break;
    case CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION:
        return to_text(d, room, ret_count, values);
    default:
        assert(!"an attribute that nobody answers");
    }
    return CUDNN_STATUS_SUCCESS;
}

/* ---- convolutions ---- */

static float get(const void *x, int f32, size_t i)
{
    union {
        uint32_t bits;
        float value;
    } u = {.bits = f32 ? 0 : (uint32_t)((const uint16_t *)x)[i] << 16};

    return f32 ? ((const float *)x)[i] : u.value;
}

static void put(void *x, int f32, size_t i, float value)
{
    union {
        float value;
        uint32_t bits;
    } u = {.value = value};

    if (f32)
        ((float *)x)[i] = value;
    else
        ((uint16_t *)x)[i] = (uint16_t)((u.bits + 0x7fff + (u.bits >> 16 & 1)) >> 16);
}

static float *floats(const void *x, int f32, size_t count, bool zero)
{
    float *copy = malloc(count * sizeof *copy);

    assert(copy);
    for (size_t i = 0; i < count; i++)
        copy[i] = zero ? 0 : get(x, f32, i);
    return copy;
}

static void walk(const struct convolution *c, float *x, float *w, float *y)
{
    int in = c->c / c->groups, out = c->k / c->groups;

    for (int n = 0; n < c->n; n++)
        for (int i = 0; i < c->p * c->q; i++)
            for (int t = 0; t < c->kernel * c->kernel; t++) {
                int row = i / c->q * c->stride - c->pad + t / c->kernel;
                int column = i % c->q * c->stride - c->pad + t % c->kernel;

                if (row < 0 || row >= c->h || column < 0 || column >= c->w)
                    continue;
                for (int k = 0; k < c->k; k++) {
                    float *a =
                        x +
                        (((size_t)n * (size_t)c->h + (size_t)row) * (size_t)c->w + (size_t)column) *
                            (size_t)c->c +
                        k / out * in;
                    float *b =
                        w + ((size_t)k * (size_t)(c->kernel * c->kernel) + (size_t)t) * (size_t)in;
                    float *r =
                        y + ((size_t)n * (size_t)(c->p * c->q) + (size_t)i) * (size_t)c->k + k;

                    if (c->direction == 0)
                        for (int j = 0; j < in; j++)
                            *r += a[j] * b[j];
                    else if (c->direction == 1)
                        for (int j = 0; j < in; j++)
                            a[j] += *r * b[j];
                    else
                        for (int j = 0; j < in; j++)
                            b[j] += *r * a[j];
                }
            }
}

/* An execution, with the pointers of its variant pack. */
struct execution {
    const struct descriptor *plan;
    void *data[3], *workspace;
};

static void execute(const void *job)
{
    const struct execution *e = job;
    const struct convolution *c = &e->plan->convolution;
    size_t sizes[3] = {(size_t)c->n * (size_t)c->c * (size_t)c->h * (size_t)c->w,
                       (size_t)c->k * (size_t)(c->c / c->groups * c->kernel * c->kernel),
                       (size_t)c->n * (size_t)c->k * (size_t)c->p * (size_t)c->q};
    int output = c->direction == 0 ? 2 : c->direction == 1 ? 0 : 1;
    float *values[3];

    for (int i = 0; i < 3; i++)
        values[i] = floats(e->data[i], c->f32, sizes[i], i == output && !c->add);
    memset(e->workspace, 0xee, (size_t)e->plan->workspace);
    walk(c, values[0], values[1], values[2]);
    for (size_t i = 0; i < sizes[output]; i++)
        put(e->data[output], c->f32, i, values[output][i]);
    for (int i = 0; i < 3; i++)
        free(values[i]);
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t execution_plan,
                                  cudnnBackendDescriptor_t variant_pack)
{
    const struct descriptor *plan = execution_plan, *pack = variant_pack;
    void *const *data = told(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS);
    struct execution e = {plan, {data[0], data[1], data[2]}, NULL};

    FAULT(CUDNN_STATUS_EXECUTION_FAILED);
    assert(handle && plan->done && pack->done && plan->engine != 0 && plan->engine != 1);
    for (int i = 0; i < 3; i++)
        assert(told_number(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, i) == i + 1 && data[i]);
    e.workspace = *(void *const *)told(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE);
    fake_gpu_run(
        &(struct fake_gpu_job){__func__, execute, &e, sizeof e, (const void *const *)data, 3});
    return CUDNN_STATUS_SUCCESS;
}
