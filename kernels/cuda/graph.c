/* SPDX-License-Identifier: Apache-2.0
 *
 * A convolution as cuDNN's descriptors. */
#include "kernels/cuda/plan.h"

#include <stdio.h>
#include <string.h>

#define UID_X 1
#define UID_W 2
#define UID_Y 3

int wsl_cuda_fail_cudnn(struct wsl_err *err, cudnnStatus_t status, const char *call)
{
    char text[240] = "";
    size_t n;

    cudnnGetLastErrorString(text, sizeof text);
    n = strcspn(text, "\n");
    text[n] = '\0';
    return wsl_fail(err,
                    CUDNN_STATUS_CATEGORY(status) == CUDNN_STATUS_NOT_SUPPORTED ? WSL_EUNSUPPORTED
                                                                                : WSL_EINTERNAL,
                    "%s: %s%s%s", call, cudnnGetErrorString(status), *text ? ": " : "", text);
}

/* ---- descriptors; the first failure stops the rest ---- */

struct maker {
    cudnnStatus_t status;
    const char *call;
};

static void check(struct maker *m, cudnnStatus_t status, const char *call)
{
    if (m->status == CUDNN_STATUS_SUCCESS && status != CUDNN_STATUS_SUCCESS) {
        m->status = status;
        m->call = call;
    }
}

static cudnnBackendDescriptor_t create(struct maker *m, cudnnBackendDescriptorType_t type)
{
    cudnnBackendDescriptor_t d = NULL;

    if (m->status == CUDNN_STATUS_SUCCESS)
        check(m, cudnnBackendCreateDescriptor(type, &d), "cudnnBackendCreateDescriptor");
    return d;
}

static void set(struct maker *m, cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                cudnnBackendAttributeType_t type, int64_t count, const void *values)
{
    if (m->status == CUDNN_STATUS_SUCCESS)
        check(m, cudnnBackendSetAttribute(d, name, type, count, values),
              "cudnnBackendSetAttribute");
}

static void finalize(struct maker *m, cudnnBackendDescriptor_t d, const char *what)
{
    if (m->status == CUDNN_STATUS_SUCCESS)
        check(m, cudnnBackendFinalize(d), what);
}

static void destroy(cudnnBackendDescriptor_t *d)
{
    if (*d)
        cudnnBackendDestroyDescriptor(*d);
    *d = NULL;
}

/* ---- targets ---- */

int wsl_cuda_target_describe(struct wsl_cuda_target *target, const char *json, struct wsl_err *err)
{
    struct maker m = {CUDNN_STATUS_SUCCESS, NULL};

    *target = (struct wsl_cuda_target){NULL, NULL};
    target->properties = create(&m, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
    set(&m, target->properties, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
        (int64_t)strlen(json), json);
    finalize(&m, target->properties, "cudnnBackendFinalize of a GPU's description");
    if (m.status == CUDNN_STATUS_SUCCESS)
        return 0;
    wsl_cuda_fail_cudnn(err, m.status, m.call);
    wsl_cuda_target_fini(target);
    return err ? err->code : WSL_EINTERNAL;
}

void wsl_cuda_target_fini(struct wsl_cuda_target *target)
{
    destroy(&target->properties);
}

/* ---- problems ---- */

static bool shapes_equal(const struct wsl_shape *a, const struct wsl_shape *b)
{
    return a->channels == b->channels && a->height == b->height && a->width == b->width;
}

bool wsl_cuda_problem_equal(const struct wsl_cuda_problem *a, const struct wsl_cuda_problem *b)
{
    return a->direction == b->direction && a->f32 == b->f32 && a->add == b->add &&
           a->batch == b->batch && shapes_equal(&a->shape.in, &b->shape.in) &&
           shapes_equal(&a->shape.out, &b->shape.out) && a->shape.kernel == b->shape.kernel &&
           a->shape.stride == b->shape.stride && a->shape.pad == b->shape.pad &&
           a->shape.groups == b->shape.groups;
}

void wsl_cuda_problem_text(const struct wsl_cuda_problem *p, char ret_text[WSL_CUDA_PROBLEM_TEXT])
{
    static const char *const directions[] = {"forward", "data", "weights"};
    const struct wsl_conv_shape *s = &p->shape;

    snprintf(ret_text, WSL_CUDA_PROBLEM_TEXT, "%s%s %s n%d c%dx%dx%d k%dx%dx%d r%d s%d p%d g%d",
             directions[p->direction], p->add ? "+" : "", p->f32 ? "f32" : "bf16", p->batch,
             s->in.channels, s->in.height, s->in.width, s->out.channels, s->out.height,
             s->out.width, s->kernel, s->stride, s->pad, s->groups);
}

/* ---- graphs ---- */

/* Dimensions are given as N C H W, and memory is N H W C. */
static cudnnBackendDescriptor_t tensor(struct maker *m, bool f32, int64_t uid,
                                       const int64_t dims[4])
{
    cudnnBackendDescriptor_t d = create(m, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    cudnnDataType_t type = f32 ? CUDNN_DATA_FLOAT : CUDNN_DATA_BFLOAT16;
    int64_t strides[4] = {dims[1] * dims[2] * dims[3], 1, dims[1] * dims[3], dims[1]};
    int64_t alignment = 16;

    set(m, d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &uid);
    set(m, d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(m, d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dims);
    set(m, d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, strides);
    set(m, d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    finalize(m, d, "cudnnBackendFinalize of a tensor");
    return d;
}

static cudnnBackendDescriptor_t activation(struct maker *m, const struct wsl_cuda_problem *p,
                                           int64_t uid, const struct wsl_shape *s)
{
    return tensor(m, p->f32, uid, (int64_t[4]){p->batch, s->channels, s->height, s->width});
}

static cudnnBackendDescriptor_t convolution(struct maker *m, const struct wsl_conv_shape *s)
{
    cudnnBackendDescriptor_t d = create(m, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    cudnnDataType_t type = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    int64_t spatial = 2, pads[2] = {s->pad, s->pad}, strides[2] = {s->stride, s->stride};
    int64_t dilations[2] = {1, 1};

    set(m, d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    set(m, d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    set(m, d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &spatial);
    set(m, d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, 2, pads);
    set(m, d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, 2, pads);
    set(m, d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, 2, strides);
    set(m, d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, 2, dilations);
    finalize(m, d, "cudnnBackendFinalize of a convolution");
    return d;
}

/* The names of one direction's attributes. */
struct operation_names {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t x, w, y, convolution, alpha, beta;
};

static const struct operation_names names[] = {
    [WSL_CUDA_FORWARD] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
    [WSL_CUDA_DATA] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
    [WSL_CUDA_WEIGHTS] = {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                          CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA},
};

static void describe_operation(struct maker *m, struct wsl_cuda_graph *g)
{
    const struct operation_names *n = &names[g->problem.direction];
    float alpha = 1, beta = g->problem.add ? 1 : 0;

    g->operation = create(m, n->type);
    set(m, g->operation, n->x, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->x);
    set(m, g->operation, n->w, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->w);
    set(m, g->operation, n->y, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->y);
    set(m, g->operation, n->convolution, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &g->convolution);
    set(m, g->operation, n->alpha, CUDNN_TYPE_FLOAT, 1, &alpha);
    set(m, g->operation, n->beta, CUDNN_TYPE_FLOAT, 1, &beta);
    finalize(m, g->operation, "cudnnBackendFinalize of a convolution's operation");
}

int wsl_cuda_graph_init(struct wsl_cuda_graph *graph, const struct wsl_cuda_target *target,
                        const struct wsl_cuda_problem *problem, struct wsl_err *err)
{
    const struct wsl_conv_shape *s = &problem->shape;
    struct maker m = {CUDNN_STATUS_SUCCESS, NULL};
    char text[WSL_CUDA_PROBLEM_TEXT];

    *graph = (struct wsl_cuda_graph){.target = target, .problem = *problem};
    graph->x = activation(&m, problem, UID_X, &s->in);
    graph->y = activation(&m, problem, UID_Y, &s->out);
    /* cuDNN finds the number of groups from the two channel counts. */
    graph->w =
        tensor(&m, problem->f32, UID_W,
               (int64_t[4]){s->out.channels, s->in.channels / s->groups, s->kernel, s->kernel});
    graph->convolution = convolution(&m, s);
    describe_operation(&m, graph);
    graph->graph = create(&m, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
    if (target->handle)
        set(&m, graph->graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1,
            &target->handle);
    set(&m, graph->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
        &graph->operation);
    finalize(&m, graph->graph, "cudnnBackendFinalize of a graph");
    if (m.status == CUDNN_STATUS_SUCCESS)
        return 0;
    wsl_cuda_fail_cudnn(err, m.status, m.call);
    wsl_cuda_problem_text(problem, text);
    wsl_cuda_graph_fini(graph);
    return wsl_err_prefix(err, "%s", text);
}

void wsl_cuda_graph_fini(struct wsl_cuda_graph *graph)
{
    destroy(&graph->graph);
    destroy(&graph->operation);
    destroy(&graph->convolution);
    destroy(&graph->w);
    destroy(&graph->y);
    destroy(&graph->x);
}

/* ---- running ---- */

static cudnnStatus_t fill(struct wsl_cuda_pack *pack, const void *const pointers[4])
{
    struct maker m = {CUDNN_STATUS_SUCCESS, NULL};
    int64_t uids[3] = {UID_X, UID_W, UID_Y};

    wsl_cuda_pack_fini(pack);
    pack->pack = create(&m, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    set(&m, pack->pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, uids);
    set(&m, pack->pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, pointers);
    set(&m, pack->pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &pointers[3]);
    finalize(&m, pack->pack, "cudnnBackendFinalize of a variant pack");
    if (m.status == CUDNN_STATUS_SUCCESS)
        memcpy(pack->pointers, pointers, sizeof pack->pointers);
    else
        wsl_cuda_pack_fini(pack);
    return m.status;
}

cudnnStatus_t wsl_cuda_plan_run(const struct wsl_cuda_target *target,
                                const struct wsl_cuda_plan *plan, struct wsl_cuda_pack *pack,
                                const void *const pointers[4])
{
    cudnnStatus_t status = CUDNN_STATUS_SUCCESS;

    if (!pack->pack || memcmp(pack->pointers, pointers, sizeof pack->pointers) != 0)
        status = fill(pack, pointers);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendExecute(target->handle, plan->plan, pack->pack);
    return status;
}

void wsl_cuda_pack_fini(struct wsl_cuda_pack *pack)
{
    destroy(&pack->pack);
}
