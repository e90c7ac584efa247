/* SPDX-License-Identifier: Apache-2.0
 *
 * The implementation "nccl": all-reduce and broadcast of GPU memory on a stream beside the compute
 * stream.
 *
 * NCCL frees an operation's resources only by aborting its communicator, and a communicator may be
 * aborted safely only when it is non-blocking and no thread is inside a call of NCCL. So the
 * collective's thread makes all calls; it waits in turns that look at NCCL's error state, the
 * other ranks (rendezvous.h), the time limit, and the flag that abort sets; and after a failure it
 * aborts the communicator itself before it returns. An operation is given to the GPU only when its
 * input is computed, so that nothing unfinished of the compute stream can hold up an abort.
 */
#include "kernels/collective/nccl/internal.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

#define STAGING_BYTES      (1 << 20) /* host memory goes through the GPU in chunks of this */
#define BF16_FLOATS        ((size_t)4 << 20) /* sent as bf16 at once: 8 MiB of GPU memory */
#define CTAS_MAX           16 /* blocks of an all-reduce: leaves the other processors to convolutions */
#define QUIET_MS           2000 /* to end a healthy communicator in order */
#define RENDEZVOUS_WAIT_MS 20   /* within the 100 ms that an abort may take */

/* What rank 0 tells all. */
struct part {
    uint32_t version; /* of NCCL */
    ncclUniqueId id;  /* a new one for every generation */
    struct wsl_rendezvous_address address;
};

static int wait_stream(struct wsl_nccl *n, const char *call, struct wsl_err *err)
{
    int r = wsl_nccl_check_cuda(cudaEventRecord(n->done, n->stream), "cudaEventRecord", err);

    return r < 0 ? r : wsl_nccl_wait_event(n, n->done, call, err);
}

/* ---- before and after: probe, events, create, rendezvous, destroy ---- */

static int nccl_probe(struct wsl_collective_setup *setup, struct wsl_err *err)
{
    int count = 0, version;
    cudaError_t result = cudaGetDeviceCount(&count);

    if (result != cudaSuccess || count == 0)
        return wsl_fail(err, WSL_EUNAVAILABLE,
                        "collective: NCCL needs a GPU, and this machine has none that works: "
                        "cudaGetDeviceCount: %s",
                        result == cudaSuccess ? "0 devices" : cudaGetErrorString(result));
    if (ncclGetVersion(&version) != ncclSuccess)
        return wsl_fail(err, WSL_EUNAVAILABLE,
                        "collective: NCCL cannot be loaded (%s); install it or name its directory "
                        "in LD_LIBRARY_PATH, or use the backend cpu",
                        ncclGetLastError(NULL));
    return wsl_nccl_check_cuda(cudaGetDevice(&setup->device), "cudaGetDevice", err);
}

/* The device's default stream is where backend and collective meet: `fence` puts it behind the
 * compute stream, and an operation waits for what is in it when it is started. */
static int nccl_event_record(const struct wsl_collective_setup *setup, void **event,
                             struct wsl_err *err)
{
    cudaEvent_t recorded = *event;
    int r = wsl_nccl_check_cuda(cudaSetDevice(setup->device), "cudaSetDevice", err);

    if (r == 0 && !recorded) {
        r = wsl_nccl_check_cuda(cudaEventCreateWithFlags(&recorded, cudaEventDisableTiming),
                                "cudaEventCreate", err);
        if (r == 0)
            *event = recorded;
    }
    return r < 0 ? r
                 : wsl_nccl_check_cuda(cudaEventRecord(recorded, cudaStreamLegacy),
                                       "cudaEventRecord", err);
}

static void nccl_event_free(void *event)
{
    cudaEventDestroy(event);
}

static int nccl_event_wait(void *self, void *event, struct wsl_err *err)
{
    struct wsl_nccl *n = self;
    int r;

    wsl_nccl_set_deadline(n);
    n->computing = true;
    r = wsl_nccl_wait_event(n, event, "computing what is to be reduced", err);
    n->computing = false;
    if (r < 0)
        wsl_nccl_disconnect(n);
    return r;
}

static void nccl_destroy(void *self)
{
    struct wsl_nccl *n = self;
    struct wsl_rendezvous *peers = n->peers;
    struct wsl_err err;

    n->peers = NULL; /* who has disconnected does not matter any more */
    if (n->comm) {   /* healthy: all is done here, but may still be on its way to others */
        n->deadline_ns = wsl_clock_ns() + (uint64_t)QUIET_MS * 1000000;
        if (wsl_nccl_complete(n, ncclCommFinalize(n->comm), "ncclCommFinalize", &err) == 0)
            ncclCommDestroy(n->comm);
        else
            ncclCommAbort(n->comm);
        n->comm = NULL;
    }
    wsl_rendezvous_close(peers);
    if (n->done)
        cudaEventDestroy(n->done);
    if (n->stream)
        cudaStreamDestroy(n->stream);
    cudaFreeHost(n->pinned);
    cudaFree(n->bf16);
    cudaFree(n->staging);
    free(n);
}

/* NCCL finds its network interface itself and may choose one that other machines do not reach (a
 * container bridge); the rank's address says which is right. Whoever sets the variable decides. */
static int choose_interface(const struct wsl_collective_setup *setup, struct wsl_err *err)
{
    char name[64] = "=";
    int r = wsl_collective_interface(setup->address, name + 1, sizeof(name) - 1, err);

    if (r == 0 && setenv("NCCL_SOCKET_IFNAME", name, 0) < 0)
        r = wsl_fail_errno(err, "collective: NCCL_SOCKET_IFNAME");
    return r;
}

static int nccl_create(void **ret, const struct wsl_collective_setup *setup, struct wsl_err *err)
{
    struct wsl_nccl *n = calloc(1, sizeof(*n));
    int lowest, greatest, r;

    if (!n)
        return wsl_fail(err, WSL_ENOMEM, "collective: out of memory");
    n->setup = setup;
    r = choose_interface(setup, err);
    if (r == 0)
        r = wsl_nccl_check_cuda(cudaSetDevice(setup->device), "cudaSetDevice", err);
    if (r == 0)
        r = wsl_nccl_check_cuda(cudaDeviceGetStreamPriorityRange(&lowest, &greatest),
                                "cudaDeviceGetStreamPriorityRange", err);
    if (r == 0)
        r = wsl_nccl_check_cuda(
            cudaStreamCreateWithPriority(&n->stream, cudaStreamNonBlocking, greatest),
            "cudaStreamCreateWithPriority", err);
    if (r == 0)
        r = wsl_nccl_check_cuda(cudaEventCreateWithFlags(&n->done, cudaEventDisableTiming),
                                "cudaEventCreate", err);
    if (r == 0)
        r = wsl_nccl_check_cuda(cudaMallocHost(&n->pinned, STAGING_BYTES), "cudaMallocHost", err);
    if (r == 0)
        r = wsl_nccl_check_cuda(cudaMalloc(&n->staging, STAGING_BYTES), "cudaMalloc", err);
    if (r == 0 && setup->gradient_dtype == WSL_REDUCE_BF16)
        r = wsl_nccl_check_cuda(cudaMalloc((void **)&n->bf16, BF16_FLOATS * sizeof(*n->bf16)),
                                "cudaMalloc", err);
    if (r < 0)
        nccl_destroy(n);
    else
        *ret = n;
    return r;
}

/* From rank 0 to all. */
static int exchange(struct wsl_nccl *n, struct part *ret_zero, struct wsl_err *err)
{
    const struct wsl_collective_setup *s = n->setup;
    const struct wsl_rendezvous_setup peers = {
        .rank = s->rank, .world = s->world, .host = s->address};
    struct part zero;
    int version = 0, r;

    memset(&zero, 0, sizeof(zero));
    r = wsl_nccl_check(n, ncclGetVersion(&version), "ncclGetVersion", err);
    zero.version = (uint32_t)version;
    if (r == 0 && s->rank == 0)
        r = wsl_nccl_check(n, ncclGetUniqueId(&zero.id), "ncclGetUniqueId", err);
    if (r == 0)
        r = wsl_rendezvous_open(&n->peers, &peers, &zero.address, err);
    if (r == 0)
        r = s->exchange.broadcast(s->exchange.context, &zero, sizeof(zero), err);
    if (r == 0 && zero.version != (uint32_t)version)
        r = wsl_fail(err, WSL_EUNSUPPORTED,
                     "collective: rank 0 has NCCL %u, rank %d has %d; all machines need the same",
                     zero.version, s->rank, version);
    *ret_zero = zero;
    return r;
}

static int connect_ranks(struct wsl_nccl *n, struct wsl_err *err)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    struct part zero;
    int r = exchange(n, &zero, err);

    while (r == 0 && (r = wsl_rendezvous_connect(n->peers, &zero.address, NULL, err)) > 0) {
        wsl_rendezvous_wait(n->peers, RENDEZVOUS_WAIT_MS);
        r = n->aborted ? wsl_fail(err, WSL_ECANCELLED, "collective: aborted") : 0;
    }
    if (r < 0)
        return r;
    config.blocking = 0;
    config.maxCTAs = CTAS_MAX;
    config.commName = "wsl";
    return wsl_nccl_complete(
        n, ncclCommInitRankConfig(&n->comm, n->setup->world, zero.id, n->setup->rank, &config),
        "ncclCommInitRankConfig", err);
}

static int nccl_rendezvous(void *self, struct wsl_err *err)
{
    struct wsl_nccl *n = self;
    int r;

    wsl_nccl_set_deadline(n);
    r = connect_ranks(n, err);
    if (r < 0)
        wsl_nccl_disconnect(n);
    return r;
}

/* ---- operations ---- */

struct work {
    bool broadcast, as_bf16; /* as_bf16: floats that are sent as bf16 */
    int root;
    ncclDataType_t type;
    size_t element; /* bytes */
};

/* All on one stream, so that a chunk is rounded only when the chunk before has been widened.
 */
static int on_gpu_as_bf16(struct wsl_nccl *n, float *data, size_t count, struct wsl_err *err)
{
    int r = 0;

    for (size_t done = 0; done < count && r == 0; done += BF16_FLOATS) {
        size_t chunk = count - done < BF16_FLOATS ? count - done : BF16_FLOATS;

        r = wsl_nccl_check_cuda(wsl_nccl_launch_round(n->stream, data + done, chunk, n->bf16),
                                "the kernel that rounds gradients", err);
        if (r == 0)
            r = wsl_nccl_complete(
                n,
                ncclAllReduce(n->bf16, n->bf16, chunk, ncclBfloat16, ncclSum, n->comm, n->stream),
                "ncclAllReduce", err);
        if (r == 0)
            r = wsl_nccl_check_cuda(wsl_nccl_launch_widen(n->stream, n->bf16, chunk, data + done),
                                    "the kernel that widens gradients", err);
    }
    return r;
}

static int on_gpu(struct wsl_nccl *n, const struct work *work, void *data, size_t count,
                  struct wsl_err *err)
{
    if (work->as_bf16)
        return on_gpu_as_bf16(n, data, count, err);
    if (work->broadcast)
        return wsl_nccl_complete(
            n, ncclBroadcast(data, data, count, work->type, work->root, n->comm, n->stream),
            "ncclBroadcast", err);
    return wsl_nccl_complete(
        n, ncclAllReduce(data, data, count, work->type, ncclSum, n->comm, n->stream),
        "ncclAllReduce", err);
}

/* Host memory, chunk by chunk through the staging buffer. */
static int through_staging(struct wsl_nccl *n, const struct work *work, char *data, size_t count,
                           struct wsl_err *err)
{
    size_t max = STAGING_BYTES / work->element;
    int r = 0;

    for (size_t done = 0; done < count && r == 0; done += max) {
        size_t chunk = count - done < max ? count - done : max;
        size_t bytes = chunk * work->element;

        memcpy(n->pinned, data + done * work->element, bytes);
        r = wsl_nccl_check_cuda(
            cudaMemcpyAsync(n->staging, n->pinned, bytes, cudaMemcpyHostToDevice, n->stream),
            "cudaMemcpyAsync", err);
        if (r == 0)
            r = on_gpu(n, work, n->staging, chunk, err);
        if (r == 0)
            r = wsl_nccl_check_cuda(
                cudaMemcpyAsync(n->pinned, n->staging, bytes, cudaMemcpyDeviceToHost, n->stream),
                "cudaMemcpyAsync", err);
        if (r == 0)
            r = wait_stream(n, work->broadcast ? "ncclBroadcast" : "ncclAllReduce", err);
        if (r == 0)
            memcpy(data + done * work->element, n->pinned, bytes);
    }
    return r;
}

static int operate(struct wsl_nccl *n, const struct work *work, void *data, size_t count,
                   struct wsl_err *err)
{
    struct cudaPointerAttributes where;
    int r = wsl_nccl_check_cuda(cudaPointerGetAttributes(&where, data), "cudaPointerGetAttributes",
                                err);

    wsl_nccl_set_deadline(n);
    if (r == 0 && where.type != cudaMemoryTypeDevice && where.type != cudaMemoryTypeManaged)
        r = through_staging(n, work, data, count, err);
    else if (r == 0) {
        r = on_gpu(n, work, data, count, err);
        if (r == 0)
            r = wait_stream(n, work->broadcast ? "ncclBroadcast" : "ncclAllReduce", err);
    }
    if (r < 0)
        wsl_nccl_disconnect(n);
    return r;
}

static int nccl_all_reduce(void *self, void *data, size_t count, enum wsl_reduce_dtype dtype,
                           struct wsl_err *err)
{
    struct work work = {.type = dtype == WSL_REDUCE_F32 ? ncclFloat32 : ncclFloat64,
                        .element = dtype == WSL_REDUCE_F32 ? sizeof(float) : sizeof(double)};

    return operate(self, &work, data, count, err);
}

static int nccl_all_reduce_bf16(void *self, float *data, size_t count, struct wsl_err *err)
{
    struct work work = {.as_bf16 = true, .type = ncclFloat32, .element = sizeof(float)};

    return operate(self, &work, data, count, err);
}

static int nccl_broadcast(void *self, void *data, size_t bytes, int root, struct wsl_err *err)
{
    struct work work = {.broadcast = true, .root = root, .type = ncclUint8, .element = 1};

    return operate(self, &work, data, bytes, err);
}

static void nccl_abort(void *self)
{
    struct wsl_nccl *n = self;

    n->aborted = true;
}

static void nccl_disconnect(void *self)
{
    wsl_nccl_disconnect(self);
}

const struct wsl_collective_implementation wsl_collective_nccl = {
    .name = "nccl",
    .probe = nccl_probe,
    .event_record = nccl_event_record,
    .event_wait = nccl_event_wait,
    .event_free = nccl_event_free,
    .create = nccl_create,
    .rendezvous = nccl_rendezvous,
    .all_reduce = nccl_all_reduce,
    .all_reduce_bf16 = nccl_all_reduce_bf16,
    .broadcast = nccl_broadcast,
    .abort = nccl_abort,
    .disconnect = nccl_disconnect,
    .destroy = nccl_destroy,
};
