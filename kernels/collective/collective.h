/* SPDX-License-Identifier: Apache-2.0
 *
 * All-reduce (sums) and broadcast between the trainers of one generation. Implementations: "gloo"
 * (CPU memory, over TCP), "nccl" (GPU memory; takes host memory too, through a buffer), "local"
 * (threads of one process, for tests and for a world of one).
 *
 * Contract, held by tests/unit/test_collective.c for every implementation:
 *  - A collective belongs to one generation; a change of membership means abort, close, open.
 *  - Starting an operation never blocks. Operations run in the order they were started; every rank
 *    must start the same ones in the same order.
 *  - Failure is a value: a lost peer ends every pending and later operation with WSL_EPEER and a
 *    line that says which; an operation over its time limit with WSL_ETIMEOUT. After a failure the
 *    data is undefined and only abort and close are allowed.
 *  - abort may come from any thread, at any moment, any number of times; every pending call ends
 *    with WSL_ECANCELLED within 100 ms, rendezvous and wait included.
 *  - The order of additions depends only on (rank, world, count): same inputs, same bits.
 *  - Once wait or poll has said done or failed, nobody touches the operations' memory any more.
 *  - One owner thread calls everything but abort; abort must not overlap close.
 */
#ifndef WSL_KERNELS_COLLECTIVE_COLLECTIVE_H
#define WSL_KERNELS_COLLECTIVE_COLLECTIVE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How ranks find each other: a broadcast of a few bytes (WSL_EXCHANGE_MAX at most) that somebody
 * else carries (the coordinator). It blocks until every rank of the generation has called; then
 * `data` holds rank 0's bytes on all of them. `size` is the same everywhere: WSL_EPEER when rank
 * 0's is not. Called once, from the collective's own thread. Must return WSL_ECANCELLED soon after
 * `cancel` was called (from any thread). */
struct wsl_exchange {
    void *context;
    int (*broadcast)(void *context, void *data, size_t size, struct wsl_err *err);
    void (*cancel)(void *context);
};

enum { WSL_EXCHANGE_MAX = 4096 };

/* Element types of an all-reduce. Gradients may be reduced as F32 or BF16. With bf16 half the
 * bytes are sent; every rank's floats are rounded to bf16 (to nearest, ties to even), and so is
 * each sum of two: with a ring the error grows with the number of ranks. All ranks get the same
 * bits either way. */
enum wsl_reduce_dtype { WSL_REDUCE_F32, WSL_REDUCE_F64, WSL_REDUCE_BF16 };

/* The dtype of gradients by its name: "f32", "bf16"; NULL and "" are f32. WSL_EINVAL names both. */
int wsl_reduce_dtype_by_name(const char *name, enum wsl_reduce_dtype *ret, struct wsl_err *err);

struct wsl_collective_setup {
    const char *implementation; /* "gloo", "nccl" or "local" */
    int rank, world;
    const char *address;          /* of this machine, where peers reach this rank: IP or name;
                                     NULL: 127.0.0.1 */
    uint32_t timeout_ms;          /* of one operation, and of the rendezvous */
    struct wsl_exchange exchange; /* not used with a world of one */
    int device;                   /* nccl: open fills in the GPU that the owner thread uses */
    enum wsl_reduce_dtype gradient_dtype; /* F32 or BF16, the same on every rank */
};

/* The implementation for nets on a backend: "nccl" for "cuda", else "gloo". */
const char *wsl_collective_for(const char *backend);

struct wsl_collective;

/* Starts the rendezvous and returns; wsl_collective_wait() returns when all ranks are connected
 * (WSL_EINVAL: unknown address, WSL_EIO: not this machine's). A world of 1 needs no peers.
 * "nccl" with peers: WSL_EUNSUPPORTED where not built, WSL_EUNAVAILABLE without a GPU. */
int wsl_collective_open(struct wsl_collective **ret, const struct wsl_collective_setup *setup,
                        struct wsl_err *err);

/* Start an operation on memory that stays the caller's and untouched until it is done. */
int wsl_collective_all_reduce(struct wsl_collective *c, float *data, size_t count,
                              struct wsl_err *err);
/* The same for gradients, which are sent as the setup's `gradient_dtype`. */
int wsl_collective_all_reduce_gradients(struct wsl_collective *c, float *data, size_t count,
                                        struct wsl_err *err);
int wsl_collective_all_reduce_f64(struct wsl_collective *c, double *data, size_t count,
                                  struct wsl_err *err);
int wsl_collective_broadcast(struct wsl_collective *c, void *data, size_t bytes, int root,
                             struct wsl_err *err);

enum { WSL_COLLECTIVE_DONE = 0, WSL_COLLECTIVE_PENDING = 1 };

/* WSL_COLLECTIVE_DONE when the rendezvous and every started operation is done, _PENDING when not
 * yet, or the failure. Does not block. */
int wsl_collective_poll(struct wsl_collective *c, struct wsl_err *err);

/* Blocks until poll would say done or failed. */
int wsl_collective_wait(struct wsl_collective *c, struct wsl_err *err);

/* Operations started and done since opening; for overlap statistics. Does not block. */
void wsl_collective_counts(struct wsl_collective *c, uint64_t *ret_started, uint64_t *ret_done);

void wsl_collective_abort(struct wsl_collective *c);

/* Aborts what is pending, ends the thread, closes the sockets, frees. NULL is fine. A rank whose
 * last operation is done may close while others still finish theirs only when they can do without
 * it: end with a barrier whose failure is ignored. */
void wsl_collective_close(struct wsl_collective *c);

#endif
