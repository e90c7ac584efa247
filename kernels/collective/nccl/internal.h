/* SPDX-License-Identifier: Apache-2.0
 *
 * What nccl.c and wait.c share: the state of one rank, and waiting in turns. Everything but
 * `aborted` belongs to the collective's thread (to the owner in destroy). nccl.h includes the CUDA
 * runtime.
 */
#ifndef WSL_KERNELS_COLLECTIVE_NCCL_INTERNAL_H
#define WSL_KERNELS_COLLECTIVE_NCCL_INTERNAL_H

#include "kernels/collective/implementation.h"
#include "kernels/collective/nccl/bf16.h"
#include "kernels/collective/rendezvous.h"

#include <nccl.h>
#include <stdatomic.h>

struct wsl_nccl {
    const struct wsl_collective_setup *setup;
    struct wsl_rendezvous *peers;
    ncclComm_t comm; /* NULL: not yet, or no more */
    cudaStream_t stream;
    cudaEvent_t done; /* the last operation's */
    void *pinned;     /* host side of the staging buffer */
    void *staging;    /* GPU side */
    uint16_t *bf16;   /* on the GPU: floats that are sent as bf16; NULL: none are */
    atomic_bool aborted;
    bool computing;       /* what runs now waits for the compute stream, not for other ranks */
    uint64_t deadline_ns; /* of what runs now */
    uint64_t lost_ns;     /* when a lost rank was first seen; 0: none */
};

/* Every call of CUDA and NCCL passes through one of these: 0, or an error that names the call. */
int wsl_nccl_check_cuda(cudaError_t result, const char *call, struct wsl_err *err);
int wsl_nccl_check(const struct wsl_nccl *n, ncclResult_t result, const char *call,
                   struct wsl_err *err);

/* The deadline is the operation's time limit from now on. */
void wsl_nccl_set_deadline(struct wsl_nccl *n);

/* Between two looks: the first ones without sleeping. */
void wsl_nccl_pause(unsigned turn);

/* Calls on a non-blocking communicator may go on in the background: waits until this one, which
 * returned `result`, is through; or for an event. Both end with an error on abort, when a rank is
 * lost, when NCCL reports one, and at the deadline. */
int wsl_nccl_complete(struct wsl_nccl *n, ncclResult_t result, const char *call,
                      struct wsl_err *err);
int wsl_nccl_wait_event(struct wsl_nccl *n, cudaEvent_t event, const char *call,
                        struct wsl_err *err);

/* The end of a communicator that failed: tells the other ranks, aborts it, and waits until the
 * stream has run empty. Again is fine. */
void wsl_nccl_disconnect(struct wsl_nccl *n);

#endif
