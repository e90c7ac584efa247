/* SPDX-License-Identifier: Apache-2.0
 *
 * All-reduce between threads: all ranks show their memory, each adds up its own slice of
 * everybody's in the order of ranks and writes it to everybody, then all meet at a barrier. Every
 * barrier is one mutex and one condition variable.
 */
#include "kernels/collective/local.h"

#include "base/clock.h"
#include "kernels/collective/bf16_add.h"
#include "kernels/collective/implementation.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct member {
    struct wsl_local_group *group;
    int rank;
    /* the exchange */
    bool cancelled;
    /* the operations */
    bool disconnected; /* aborted, failed or closed: nobody waits for it any more */
    void *data;
    size_t bytes;
    uint32_t timeout_ms;
};

struct wsl_local_group {
    int world;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* the exchange: who has called, and rank 0's bytes */
    int called;
    size_t size;
    uint8_t bytes[WSL_EXCHANGE_MAX];
    /* the barriers of operations */
    int arrived;
    int touching; /* ranks that may still read or write the memory shown */
    uint64_t barrier;
    struct member members[];
};

int wsl_local_group_open(struct wsl_local_group **ret, int world, struct wsl_err *err)
{
    struct wsl_local_group *g;
    pthread_condattr_t attr;

    assert(world >= 1);
    g = calloc(1, sizeof(*g) + (size_t)world * sizeof(g->members[0]));
    if (!g)
        return wsl_fail(err, WSL_ENOMEM, "local group of %d ranks: out of memory", world);
    g->world = world;
    pthread_mutex_init(&g->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&g->changed, &attr);
    pthread_condattr_destroy(&attr);
    for (int i = 0; i < world; i++) {
        g->members[i].group = g;
        g->members[i].rank = i;
    }
    *ret = g;
    return 0;
}

void wsl_local_group_close(struct wsl_local_group *group)
{
    if (!group)
        return;
    pthread_cond_destroy(&group->changed);
    pthread_mutex_destroy(&group->lock);
    free(group);
}

/* ---- the exchange ---- */

static int broadcast(void *context, void *data, size_t size, struct wsl_err *err)
{
    struct member *m = context;
    struct wsl_local_group *g = m->group;
    int r = 0;

    assert(size <= sizeof(g->bytes));
    pthread_mutex_lock(&g->lock);
    if (m->rank == 0) {
        g->size = size;
        memcpy(g->bytes, data, size);
    }
    g->called++;
    pthread_cond_broadcast(&g->changed);
    while (!m->cancelled && g->called < g->world)
        pthread_cond_wait(&g->changed, &g->lock);
    if (m->cancelled)
        r = wsl_fail(err, WSL_ECANCELLED, "exchange: cancelled");
    else if (g->size != size)
        r = wsl_fail(err, WSL_EPEER, "exchange: rank 0 gave %zu bytes, not %zu", g->size, size);
    else
        memcpy(data, g->bytes, size);
    pthread_mutex_unlock(&g->lock);
    return r;
}

static void cancel(void *context)
{
    struct member *m = context;

    pthread_mutex_lock(&m->group->lock);
    m->cancelled = true;
    pthread_cond_broadcast(&m->group->changed);
    pthread_mutex_unlock(&m->group->lock);
}

struct wsl_exchange wsl_local_group_exchange(struct wsl_local_group *group, int rank)
{
    assert(rank >= 0 && rank < group->world);
    return (struct wsl_exchange){
        .context = &group->members[rank], .broadcast = broadcast, .cancel = cancel};
}

/* ---- operations ---- */

static int local_create(void **ret, const struct wsl_collective_setup *setup, struct wsl_err *err)
{
    struct member *m = setup->exchange.context;

    if (setup->exchange.broadcast != broadcast || m->group->world != setup->world ||
        m->rank != setup->rank)
        return wsl_fail(err, WSL_EINVAL,
                        "collective: \"local\" needs this rank's exchange of a local group");
    m->timeout_ms = setup->timeout_ms;
    *ret = m;
    return 0;
}

static int find_disconnected(const struct wsl_local_group *g)
{
    for (int i = 0; i < g->world; i++)
        if (g->members[i].disconnected)
            return i;
    return -1;
}

/* Waits until all ranks are here; `touching` of them may use the memory shown from then on. The
 * caller holds the lock. */
static int barrier(struct member *m, int touching, struct wsl_err *err)
{
    struct wsl_local_group *g = m->group;
    uint64_t deadline = wsl_clock_ns() + (uint64_t)m->timeout_ms * 1000000;
    struct timespec until = {.tv_sec = (time_t)(deadline / 1000000000),
                             .tv_nsec = (long)(deadline % 1000000000)};
    uint64_t number = g->barrier;
    int lost, r = 0;

    if (find_disconnected(g) < 0 && ++g->arrived == g->world) {
        g->arrived = 0;
        g->touching = touching;
        g->barrier++;
        pthread_cond_broadcast(&g->changed);
    }
    while (g->barrier == number && r == 0) {
        lost = find_disconnected(g);
        if (lost >= 0)
            r = lost == m->rank
                    ? wsl_fail(err, WSL_ECANCELLED, "collective: aborted")
                    : wsl_fail(err, WSL_EPEER, "collective: rank %d disconnected", lost);
        else if (wsl_clock_ns() >= deadline)
            r = wsl_fail(err, WSL_ETIMEOUT, "collective: not all ranks came within %u ms",
                         m->timeout_ms);
        else
            pthread_cond_timedwait(&g->changed, &g->lock, &until);
    }
    if (r < 0) {
        m->disconnected = true;
        pthread_cond_broadcast(&g->changed);
    }
    return r;
}

static int local_rendezvous(void *self, struct wsl_err *err)
{
    struct member *m = self;
    int r;

    pthread_mutex_lock(&m->group->lock);
    r = barrier(m, 0, err);
    pthread_mutex_unlock(&m->group->lock);
    return r;
}

/* Ranks that started different operations are our caller's mistake, which must not become a wild
 * write. */
static int check_same(const struct member *m, struct wsl_err *err)
{
    for (int i = 0; i < m->group->world; i++)
        if (m->group->members[i].bytes != m->bytes)
            return wsl_fail(err, WSL_EPEER,
                            "collective: rank %d started another operation (%zu bytes, here %zu)",
                            i, m->group->members[i].bytes, m->bytes);
    return 0;
}

/* Shows this rank's memory to all and waits for theirs. After success the caller calls finish(). */
static int show(struct member *m, void *data, size_t bytes, struct wsl_err *err)
{
    int r;

    pthread_mutex_lock(&m->group->lock);
    m->data = data;
    m->bytes = bytes;
    r = barrier(m, m->group->world, err);
    pthread_mutex_unlock(&m->group->lock);
    return r;
}

/* This rank is done with everybody's memory (`result`: how that went). Returns when all are, also
 * after a failure: the memory goes back to its owners. */
static int finish(struct member *m, int result, struct wsl_err *err)
{
    struct wsl_local_group *g = m->group;

    pthread_mutex_lock(&g->lock);
    g->touching--;
    pthread_cond_broadcast(&g->changed);
    if (result < 0)
        m->disconnected = true;
    else
        result = barrier(m, 0, err);
    while (g->touching > 0)
        pthread_cond_wait(&g->changed, &g->lock);
    pthread_mutex_unlock(&g->lock);
    return result;
}

#define DEFINE_REDUCE_SLICE(name, type, add)                                                       \
    static void name(struct wsl_local_group *g, size_t from, size_t to)                            \
    {                                                                                              \
        for (size_t i = from; i < to; i++) {                                                       \
            type total = ((type *)g->members[0].data)[i];                                          \
                                                                                                   \
            for (int rank = 1; rank < g->world; rank++)                                            \
                total = add(total, ((type *)g->members[rank].data)[i]);                            \
            for (int rank = 0; rank < g->world; rank++)                                            \
                ((type *)g->members[rank].data)[i] = total;                                        \
        }                                                                                          \
    }
#define ADD(a, b) ((a) + (b))
DEFINE_REDUCE_SLICE(reduce_slice_f32, float, ADD)
DEFINE_REDUCE_SLICE(reduce_slice_f64, double, ADD)
DEFINE_REDUCE_SLICE(reduce_slice_bf16, uint16_t, wsl_bf16_add)

static int local_all_reduce(void *self, void *data, size_t count, enum wsl_reduce_dtype dtype,
                            struct wsl_err *err)
{
    struct member *m = self;
    struct wsl_local_group *g = m->group;
    size_t from = count * (size_t)m->rank / (size_t)g->world;
    size_t to = count * (size_t)(m->rank + 1) / (size_t)g->world;
    int r = show(m, data, count * wsl_reduce_dtype_bytes(dtype), err);

    if (r < 0)
        return r;
    r = check_same(m, err);
    if (r == 0 && dtype == WSL_REDUCE_F32)
        reduce_slice_f32(g, from, to);
    else if (r == 0 && dtype == WSL_REDUCE_BF16)
        reduce_slice_bf16(g, from, to);
    else if (r == 0)
        reduce_slice_f64(g, from, to);
    return finish(m, r, err);
}

static int local_broadcast(void *self, void *data, size_t bytes, int root, struct wsl_err *err)
{
    struct member *m = self;
    int r = show(m, data, bytes, err);

    if (r < 0)
        return r;
    r = check_same(m, err);
    if (r == 0 && m->rank != root)
        memcpy(data, m->group->members[root].data, bytes);
    return finish(m, r, err);
}

static void local_abort(void *self)
{
    struct member *m = self;

    pthread_mutex_lock(&m->group->lock);
    m->disconnected = true;
    pthread_cond_broadcast(&m->group->changed);
    pthread_mutex_unlock(&m->group->lock);
}

static void local_destroy(void *self)
{
    local_abort(self);
}

const struct wsl_collective_implementation wsl_collective_local = {
    .name = "local",
    .create = local_create,
    .rendezvous = local_rendezvous,
    .all_reduce = local_all_reduce,
    .broadcast = local_broadcast,
    .abort = local_abort,
    .disconnect = local_abort,
    .destroy = local_destroy,
};
