/* SPDX-License-Identifier: Apache-2.0
 *
 * Errors of CUDA and NCCL, waiting in turns, and the end of a communicator that failed.
 */
#include "kernels/collective/nccl/internal.h"

#include "base/clock.h"

#include <sched.h>
#include <time.h>

#define ABORT_MS 80  /* until an aborted kernel has left the GPU */
#define GRACE_MS 100 /* for an operation that a disconnected rank had done its part of */

int wsl_nccl_check_cuda(cudaError_t result, const char *call, struct wsl_err *err)
{
    if (result == cudaSuccess)
        return 0;
    return wsl_fail(err, result == cudaErrorMemoryAllocation ? WSL_ENOMEM : WSL_EIO,
                    "collective: %s: %s", call, cudaGetErrorString(result));
}

int wsl_nccl_check(const struct wsl_nccl *n, ncclResult_t result, const char *call,
                   struct wsl_err *err)
{
    const char *detail;

    if (result == ncclSuccess)
        return 0;
    detail = ncclGetLastError(n->comm);
    return wsl_fail(err,
                    result == ncclRemoteError || result == ncclSystemError ? WSL_EPEER
                    : result == ncclUnhandledCudaError                     ? WSL_EIO
                                                                           : WSL_EINTERNAL,
                    "collective: %s: %s%s%s", call, ncclGetErrorString(result),
                    detail && *detail ? ": " : "", detail ? detail : "");
}

/* ---- waiting ---- */

void wsl_nccl_set_deadline(struct wsl_nccl *n)
{
    n->deadline_ns = wsl_clock_ns() + (uint64_t)n->setup->timeout_ms * 1000000;
}

void wsl_nccl_pause(unsigned turn)
{
    if (turn < 100)
        sched_yield();
    else
        nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
}

/* A rank that ended in order closes when its own last operation is done: ours is about to be. */
static int check_peers(struct wsl_nccl *n, struct wsl_err *err)
{
    struct wsl_err lost;

    if (!n->peers || wsl_rendezvous_check(n->peers, &lost) == 0)
        return 0;
    if (n->lost_ns == 0)
        n->lost_ns = wsl_clock_ns();
    if (wsl_clock_ns() - n->lost_ns < (uint64_t)GRACE_MS * 1000000)
        return 0;
    if (err)
        *err = lost;
    return lost.code;
}

/* Reasons to stop waiting: abort, a lost rank, an error of NCCL, the time limit. `call`: for what.
 */
static int check_state(struct wsl_nccl *n, const char *call, struct wsl_err *err)
{
    ncclResult_t state = ncclSuccess;
    int r;

    if (n->aborted)
        return wsl_fail(err, WSL_ECANCELLED, "collective: aborted");
    r = check_peers(n, err);
    if (r == 0 && n->comm)
        r = wsl_nccl_check(n, ncclCommGetAsyncError(n->comm, &state), "ncclCommGetAsyncError", err);
    if (r == 0 && state != ncclInProgress)
        r = wsl_nccl_check(n, state, call, err);
    if (r == 0 && wsl_clock_ns() >= n->deadline_ns)
        r = wsl_fail(err, WSL_ETIMEOUT, "collective: rank %d: %s was not over within %u ms%s",
                     n->setup->rank, call, n->setup->timeout_ms,
                     n->computing ? "" : ": another rank does not do its part in time");
    return r;
}

int wsl_nccl_complete(struct wsl_nccl *n, ncclResult_t result, const char *call,
                      struct wsl_err *err)
{
    int r = result == ncclInProgress ? 0 : wsl_nccl_check(n, result, call, err);

    for (unsigned turn = 0; r == 0; turn++) {
        ncclResult_t state = ncclSuccess;

        r = check_state(n, call, err);
        if (r == 0)
            r = wsl_nccl_check(n, ncclCommGetAsyncError(n->comm, &state), "ncclCommGetAsyncError",
                               err);
        if (r == 0 && state == ncclSuccess)
            return 0;
        wsl_nccl_pause(turn);
    }
    return r;
}

int wsl_nccl_wait_event(struct wsl_nccl *n, cudaEvent_t event, const char *call,
                        struct wsl_err *err)
{
    for (unsigned turn = 0;; turn++) {
        cudaError_t state = cudaEventQuery(event);
        int r;

        if (state != cudaErrorNotReady)
            return wsl_nccl_check_cuda(state, call, err);
        r = check_state(n, call, err);
        if (r < 0)
            return r;
        wsl_nccl_pause(turn);
    }
}

/* The caller's memory is its own again when the stream has run empty: kernels see the abort and
 * leave. */
void wsl_nccl_disconnect(struct wsl_nccl *n)
{
    uint64_t until = wsl_clock_ns() + (uint64_t)ABORT_MS * 1000000;

    wsl_rendezvous_close(n->peers); /* first: the others need not wait for our clean-up */
    n->peers = NULL;
    if (n->comm)
        ncclCommAbort(n->comm);
    n->comm = NULL;
    for (unsigned turn = 0;
         n->stream && cudaStreamQuery(n->stream) == cudaErrorNotReady && wsl_clock_ns() < until;
         turn++)
        wsl_nccl_pause(turn);
}
