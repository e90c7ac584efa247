/* SPDX-License-Identifier: Apache-2.0
 *
 * What an implementation of the collective gives to collective.c. All functions but `abort` run on
 * the collective's own thread, one at a time, and may block; `abort` runs on any thread while one
 * of them blocks, and must make it return within 100 ms (with any failure: collective.c knows why).
 * After a failure only abort, disconnect and destroy are called. Entries are required unless
 * marked.
 */
#ifndef WSL_KERNELS_COLLECTIVE_IMPLEMENTATION_H
#define WSL_KERNELS_COLLECTIVE_IMPLEMENTATION_H

#include "kernels/collective/collective.h"

static inline size_t wsl_reduce_dtype_bytes(enum wsl_reduce_dtype dtype)
{
    return dtype == WSL_REDUCE_F64 ? sizeof(double) : dtype == WSL_REDUCE_F32 ? sizeof(float) : 2;
}

struct wsl_collective_implementation {
    const char *name;
    /* Optional. On the owner thread, within open, when the world is at least 2: could it work here?
     * May complete `setup`. WSL_EUNSUPPORTED: not built; WSL_EUNAVAILABLE: no hardware. */
    int (*probe)(struct wsl_collective_setup *setup, struct wsl_err *err);
    /* Optional, all three or none: how operations stay behind a compute stream. `event_record`
     * notes, on the owner thread and without blocking, what is enqueued when an operation is
     * started; *event is NULL or an older event to use again. `event_wait`, before the operation,
     * waits until that is computed. `event_free` frees, on the owner thread, before destroy. */
    int (*event_record)(const struct wsl_collective_setup *setup, void **event,
                        struct wsl_err *err);
    int (*event_wait)(void *self, void *event, struct wsl_err *err);
    void (*event_free)(void *event);
    /* Everything up to the rendezvous. `setup` outlives the instance; its world is at least 2
     * and its address is numeric. */
    int (*create)(void **ret, const struct wsl_collective_setup *setup, struct wsl_err *err);
    /* Connects to the other ranks, which it finds through setup->exchange. */
    int (*rendezvous)(void *self, struct wsl_err *err);
    /* One operation, over before setup->timeout_ms have passed. count > 0, bytes > 0. */
    int (*all_reduce)(void *self, void *data, size_t count, enum wsl_reduce_dtype dtype,
                      struct wsl_err *err);
    /* Optional: the all-reduce of floats that are sent as bf16. Without it the data is host memory,
     * and collective.c rounds and widens it around an all-reduce of BF16. With it, all_reduce is
     * never called with BF16. */
    int (*all_reduce_bf16)(void *self, float *data, size_t count, struct wsl_err *err);
    int (*broadcast)(void *self, void *data, size_t bytes, int root, struct wsl_err *err);
    void (*abort)(void *self);
    /* After the first failure, also of the rendezvous: tells the other ranks that this one has
     * disconnected. */
    void (*disconnect)(void *self);
    /* On the owner thread, after the collective's thread has ended. */
    void (*destroy)(void *self);
};

/* The first numeric address of a host name, as text; looks it up, may block. WSL_EINVAL when it is
 * unknown, WSL_EIO when it is not this machine's. */
int wsl_collective_resolve(const char *host, char ret[64], struct wsl_err *err);

/* The network interface that has a numeric address; WSL_ENOENT when none has. */
int wsl_collective_interface(const char *numeric, char *ret, size_t size, struct wsl_err *err);

/* The text of a Gloo exception without the "[file:line] " in front. */
const char *wsl_collective_strip_prefix(const char *text);

/* By name; WSL_EINVAL lists the names. */
int wsl_collective_find(const char *name, const struct wsl_collective_implementation **ret,
                        struct wsl_err *err);

/* One that is not built is a _none.c file with the same symbol. */
extern const struct wsl_collective_implementation wsl_collective_gloo;
extern const struct wsl_collective_implementation wsl_collective_local;
extern const struct wsl_collective_implementation wsl_collective_nccl;

#endif
