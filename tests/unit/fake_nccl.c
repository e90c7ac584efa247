/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fake_nccl.h"

#include "base/clock.h"
#include "kernels/collective/bf16_add.h"
#include "kernels/collective/nccl/bf16.h"

#include <nccl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANKS_MAX  8
#define QUEUE_MAX  64
#define COMMS_MAX  256
#define SETTLE_NS  200000  /* how long a call goes on in the background */
#define COMPUTE_NS 1000000 /* how long what is in the default stream takes */

/* One lock for everything: nothing here has to be fast. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool all_is_device;

struct ncclComm {
    uint64_t id;
    int rank, world;
    bool aborted, running;
    uint64_t settled_ns;
    /* the operation its stream is in */
    void *data;
    uint64_t meeting; /* operations that all ranks have done */
};

static struct ncclComm *comms[COMMS_MAX];
static int comm_count;
static uint64_t ids;

struct work {
    enum { COPY, ROUND, WIDEN, SUM, BROADCAST, RECORD } kind;
    void *to;
    const void *from;
    size_t bytes, element;
    int root;
    struct ncclComm *comm;
    struct CUevent_st *event;
};

struct CUstream_st {
    pthread_t thread;
    struct work queue[QUEUE_MAX];
    int first, count;
    bool busy, ending;
};

struct CUevent_st {
    uint64_t recorded, done;
    uint64_t ready_ns; /* of the default stream */
};

void fake_nccl_take_all_for_device(bool all)
{
    all_is_device = all;
}

void fake_nccl_reset(void)
{
    for (int i = 0; i < comm_count; i++) {
        if (comms[i]->running)
            abort();
        free(comms[i]);
    }
    comm_count = 0;
}

/* ---- streams; the lock is held ---- */

static void add(const struct work *w, void *to, const void *from)
{
    for (size_t i = 0; i < w->bytes / w->element; i++) {
        if (w->element == 2)
            ((uint16_t *)to)[i] = wsl_bf16_add(((uint16_t *)to)[i], ((const uint16_t *)from)[i]);
        else if (w->element == sizeof(float))
            ((float *)to)[i] += ((const float *)from)[i];
        else
            ((double *)to)[i] += ((const double *)from)[i];
    }
}

/* The last rank to come does the work for all. */
static void reduce(const struct work *w, struct ncclComm *members[RANKS_MAX])
{
    const struct ncclComm *first = members[w->kind == BROADCAST ? w->root : 0];
    void *result = malloc(w->bytes);

    memcpy(result, first->data, w->bytes);
    for (int i = 1; i < w->comm->world && w->kind == SUM; i++)
        add(w, result, members[i]->data);
    for (int i = 0; i < w->comm->world; i++) {
        memcpy(members[i]->data, result, w->bytes);
        members[i]->data = NULL;
        members[i]->meeting++;
    }
    free(result);
    pthread_cond_broadcast(&changed);
}

static void run_collective(const struct work *w)
{
    struct ncclComm *comm = w->comm, *members[RANKS_MAX];
    uint64_t meeting = comm->meeting;
    int here = 0;

    if (comm->aborted)
        return;
    comm->running = true;
    comm->data = w->to;
    for (int i = 0; i < comm_count; i++)
        if (comms[i]->id == comm->id && comms[i]->data && !comms[i]->aborted) {
            members[comms[i]->rank] = comms[i];
            here++;
        }
    if (here == comm->world)
        reduce(w, members);
    while (comm->meeting == meeting && !comm->aborted)
        pthread_cond_wait(&changed, &lock);
    comm->data = NULL;
    comm->running = false;
}

/* bytes / element numbers; element is that of what is sent. */
static void convert(const struct work *w)
{
    for (size_t i = 0; i < w->bytes / w->element; i++) {
        if (w->kind == ROUND)
            ((uint16_t *)w->to)[i] = wsl_bf16_round(((const float *)w->from)[i]);
        else
            ((float *)w->to)[i] = wsl_bf16_widen(((const uint16_t *)w->from)[i]);
    }
}

static void *stream_main(void *context)
{
    struct CUstream_st *s = context;

    pthread_mutex_lock(&lock);
    while (!s->ending || s->count > 0) {
        struct work w;

        if (s->count == 0) {
            pthread_cond_wait(&changed, &lock);
            continue;
        }
        w = s->queue[s->first];
        s->first = (s->first + 1) % QUEUE_MAX;
        s->count--;
        s->busy = true;
        if (w.kind == COPY)
            memcpy(w.to, w.from, w.bytes);
        else if (w.kind == ROUND || w.kind == WIDEN)
            convert(&w);
        else if (w.kind == RECORD)
            w.event->done++;
        else
            run_collective(&w);
        s->busy = false;
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void enqueue(struct CUstream_st *s, struct work w)
{
    pthread_mutex_lock(&lock);
    if (s->count == QUEUE_MAX)
        abort();
    if (w.kind == RECORD)
        w.event->recorded++;
    s->queue[(s->first + s->count++) % QUEUE_MAX] = w;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* ---- the CUDA runtime ---- */

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device)
{
    *device = 0;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    return device == 0 ? cudaSuccess : cudaErrorInvalidDevice;
}

const char *cudaGetErrorString(cudaError_t error)
{
    return error == cudaSuccess ? "no error" : "an error";
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *stream, unsigned flags, int priority)
{
    if (flags != cudaStreamNonBlocking || priority != -5)
        return cudaErrorInvalidValue;
    *stream = calloc(1, sizeof(**stream));
    return pthread_create(&(*stream)->thread, NULL, stream_main, *stream) == 0 ? cudaSuccess
                                                                               : cudaErrorUnknown;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    pthread_mutex_lock(&lock);
    stream->ending = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    pthread_join(stream->thread, NULL);
    free(stream);
    return cudaSuccess;
}

cudaError_t cudaStreamQuery(cudaStream_t stream)
{
    bool empty;

    pthread_mutex_lock(&lock);
    empty = stream->count == 0 && !stream->busy;
    pthread_mutex_unlock(&lock);
    return empty ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned flags)
{
    if (flags != cudaEventDisableTiming)
        return cudaErrorInvalidValue;
    *event = calloc(1, sizeof(**event));
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    if (stream == cudaStreamLegacy) {
        pthread_mutex_lock(&lock);
        event->ready_ns = wsl_clock_ns() + COMPUTE_NS;
        pthread_mutex_unlock(&lock);
    } else {
        enqueue(stream, (struct work){.kind = RECORD, .event = event});
    }
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    bool done;

    pthread_mutex_lock(&lock);
    done = event->done == event->recorded && wsl_clock_ns() >= event->ready_ns;
    pthread_mutex_unlock(&lock);
    return done ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    free(event);
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **data, size_t bytes)
{
    *data = malloc(bytes);
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *data)
{
    free(data);
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **data, size_t bytes)
{
    *data = malloc(bytes);
    return cudaSuccess;
}

cudaError_t cudaFree(void *data)
{
    free(data);
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    (void)kind;
    enqueue(stream, (struct work){.kind = COPY, .to = to, .from = from, .bytes = bytes});
    return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *ret, const void *data)
{
    (void)data;
    *ret = (struct cudaPointerAttributes){.type = all_is_device ? cudaMemoryTypeDevice
                                                                : cudaMemoryTypeUnregistered};
    return cudaSuccess;
}

/* ---- the kernels of bf16.cu ---- */

cudaError_t wsl_nccl_launch_round(cudaStream_t stream, const float *from, size_t count,
                                  uint16_t *to)
{
    enqueue(stream,
            (struct work){.kind = ROUND, .to = to, .from = from, .bytes = 2 * count, .element = 2});
    return cudaSuccess;
}

cudaError_t wsl_nccl_launch_widen(cudaStream_t stream, const uint16_t *from, size_t count,
                                  float *to)
{
    enqueue(stream,
            (struct work){.kind = WIDEN, .to = to, .from = from, .bytes = 2 * count, .element = 2});
    return cudaSuccess;
}

/* ---- NCCL ---- */

ncclResult_t ncclGetVersion(int *version)
{
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result)
{
    return result == ncclSuccess ? "no error" : "an error";
}

const char *ncclGetLastError(ncclComm_t comm)
{
    (void)comm;
    return "";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    pthread_mutex_lock(&lock);
    ids++;
    memset(id, 0, sizeof(*id));
    memcpy(id, &ids, sizeof(ids));
    pthread_mutex_unlock(&lock);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int world, ncclUniqueId id, int rank,
                                    ncclConfig_t *config)
{
    if (config->blocking != 0 || world > RANKS_MAX || comm_count == COMMS_MAX)
        return ncclInvalidArgument;
    *comm = calloc(1, sizeof(**comm));
    memcpy(&(*comm)->id, &id, sizeof((*comm)->id));
    (*comm)->rank = rank;
    (*comm)->world = world;
    pthread_mutex_lock(&lock);
    comms[comm_count++] = *comm;
    pthread_mutex_unlock(&lock);
    return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *state)
{
    int here = 0;

    pthread_mutex_lock(&lock);
    for (int i = 0; i < comm_count; i++)
        here += comms[i]->id == comm->id;
    *state = here < comm->world || wsl_clock_ns() < comm->settled_ns ? ncclInProgress : ncclSuccess;
    pthread_mutex_unlock(&lock);
    return ncclSuccess;
}

static ncclResult_t begin(ncclComm_t comm, cudaStream_t stream, struct work w)
{
    w.comm = comm;
    pthread_mutex_lock(&lock);
    comm->settled_ns = wsl_clock_ns() + SETTLE_NS;
    pthread_mutex_unlock(&lock);
    enqueue(stream, w);
    return ncclInProgress;
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream)
{
    size_t element = type == ncclBfloat16  ? 2
                     : type == ncclFloat32 ? sizeof(float)
                                           : sizeof(double);

    if (from != to || op != ncclSum ||
        (type != ncclFloat32 && type != ncclFloat64 && type != ncclBfloat16))
        return ncclInvalidArgument;
    return begin(
        comm, stream,
        (struct work){.kind = SUM, .to = to, .bytes = count * element, .element = element});
}

ncclResult_t ncclBroadcast(const void *from, void *to, size_t count, ncclDataType_t type, int root,
                           ncclComm_t comm, cudaStream_t stream)
{
    if (from != to || type != ncclUint8)
        return ncclInvalidArgument;
    return begin(comm, stream,
                 (struct work){.kind = BROADCAST, .to = to, .bytes = count, .root = root});
}

ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    pthread_mutex_lock(&lock);
    comm->aborted = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm)
{
    (void)comm;
    return ncclSuccess;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    (void)comm;
    return ncclSuccess;
}
