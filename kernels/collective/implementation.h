/* SPDX-License-Identifier: Apache-2.0
 *
 * What an implementation of the collective gives to collective.c. All functions but `abort` run on
 * the collective's own thread, one at a time, and may block; `abort` runs on any thread while one
 * of them blocks, and must make it return within 100 ms (with any failure: collective.c knows why).
 * After a failure only abort, leave and destroy are called. Entries are required unless marked.
 */
#ifndef WSL_KERNELS_COLLECTIVE_IMPLEMENTATION_H
#define WSL_KERNELS_COLLECTIVE_IMPLEMENTATION_H

#include "kernels/collective/collective.h"

/* BF16: elements of 2 bytes (wire.h). */
enum wsl_sum_type { WSL_SUM_F32, WSL_SUM_F64, WSL_SUM_BF16 };

static inline size_t wsl_sum_bytes(enum wsl_sum_type type)
{
    return type == WSL_SUM_F64 ? sizeof(double) : type == WSL_SUM_F32 ? sizeof(float) : 2;
}

struct wsl_collective_implementation {
    const char *name;
    /* Optional. On the owner thread, within open, when the world is at least 2: could it work here?
     * May complete `setup`. WSL_EUNSUPPORTED: not built; WSL_EUNAVAILABLE: no hardware. */
    int (*probe)(struct wsl_collective_setup *setup, struct wsl_err *err);
    /* Optional, all three or none: how operations stay behind a compute stream. `mark` notes, on
     * the owner thread and without blocking, what is enqueued when an operation is started; *slot
     * is NULL or an older mark to use again. `ready`, before the operation, waits until that is
     * computed. `unmark` frees, on the owner thread, before destroy. */
    int (*mark)(const struct wsl_collective_setup *setup, void **slot, struct wsl_err *err);
    int (*ready)(void *self, void *mark, struct wsl_err *err);
    void (*unmark)(void *mark);
    /* Everything up to meeting the others. `setup` outlives the instance; its world is at least 2
     * and its address is numeric. */
    int (*create)(void **ret, const struct wsl_collective_setup *setup, struct wsl_err *err);
    /* Meets the other ranks through setup->exchange. */
    int (*join)(void *self, struct wsl_err *err);
    /* One operation, over before setup->timeout_ms have passed. count > 0, bytes > 0. */
    int (*sum)(void *self, void *data, size_t count, enum wsl_sum_type type, struct wsl_err *err);
    /* Optional: the sum of floats that travel as bf16. Without it the data is host memory, and
     * collective.c rounds and widens it around a sum of BF16. With it, nobody sums BF16. */
    int (*sum_rounded)(void *self, float *data, size_t count, struct wsl_err *err);
    int (*broadcast)(void *self, void *data, size_t bytes, int root, struct wsl_err *err);
    void (*abort)(void *self);
    /* After the first failure, also of join: tells the other ranks that this one is gone. */
    void (*leave)(void *self);
    /* On the owner thread, after the collective's thread has ended. */
    void (*destroy)(void *self);
};

/* The first numeric address of a host name, as text; looks it up, may block. WSL_EINVAL when it is
 * unknown, WSL_EIO when it is not this machine's. */
int wsl_collective_resolve(const char *host, char ret[64], struct wsl_err *err);

/* The network interface that has a numeric address; WSL_ENOENT when none has. */
int wsl_collective_interface(const char *numeric, char *ret, size_t size, struct wsl_err *err);

/* The text of a Gloo exception without the "[file:line] " in front. */
const char *wsl_collective_words(const char *text);

/* By name; WSL_EINVAL lists the names. */
int wsl_collective_find(const char *name, const struct wsl_collective_implementation **ret,
                        struct wsl_err *err);

/* One that is not built is a _none.c file with the same symbol. */
extern const struct wsl_collective_implementation wsl_collective_gloo;
extern const struct wsl_collective_implementation wsl_collective_local;
extern const struct wsl_collective_implementation wsl_collective_nccl;

#endif
