/* SPDX-License-Identifier: Apache-2.0
 *
 * The queue and the thread in front of an implementation. One mutex guards everything but `self`,
 * which the collective's thread uses without it (and abort, which implementations allow).
 */
#include "kernels/collective/collective.h"

#include "base/clock.h"
#include "kernels/bf16.h"
#include "kernels/collective/implementation.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* Operations waiting at once; starting one more fails with WSL_ELIMIT. */
#define QUEUE_LIMIT 4096

enum kind { ALL_REDUCE, BROADCAST };

struct operation {
    enum kind kind;
    enum wsl_reduce_dtype dtype;
    bool as_bf16; /* floats that are sent as bf16 */
    int root;
    void *event; /* of implementations that have events */
    void *data;
    size_t count; /* elements of an all-reduce, bytes of a broadcast */
};

struct wsl_collective {
    const struct wsl_collective_implementation *implementation; /* NULL with a world of one */
    void *self;
    struct wsl_collective_setup setup;
    char *address;    /* owned copy of what the caller gave */
    char numeric[64]; /* the same, looked up: setup.address */
    uint64_t rendezvous_deadline_ns;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool thread_runs;
    bool connected;         /* the rendezvous is over */
    bool busy;              /* the thread is inside the implementation */
    bool closing;           /* the thread shall end */
    struct wsl_err failure; /* code 0: none */
    uint64_t started, done;
    struct operation queue[QUEUE_LIMIT];
    void *events[QUEUE_LIMIT]; /* of the operation in the same place; stay for its next one */
    size_t first, count;

    /* The thread's own: gradients as bf16, of implementations that leave the rounding to us. */
    uint16_t *bf16;
    size_t bf16_count;
};

/* What the queue promises; the caller holds the lock. Operations that were started are done, being
 * computed (one at most), waiting, or were given up after a failure. */
static void check_invariants(const struct wsl_collective *c)
{
    assert(c->first < QUEUE_LIMIT && c->count <= QUEUE_LIMIT);
    assert(c->done <= c->started && c->count <= c->started - c->done);
    assert(c->started - c->done - c->count <= 1);
    assert(c->connected || c->done == 0);
}

/* The first failure stays. Caller holds the lock. */
static void set_failure(struct wsl_collective *c, const struct wsl_err *why)
{
    if (c->failure.code == 0)
        c->failure = *why;
    pthread_cond_broadcast(&c->changed);
}

static void stop_implementation(struct wsl_collective *c)
{
    void *self;

    if (!c->implementation)
        return;
    pthread_mutex_lock(&c->lock);
    self = c->self;
    pthread_mutex_unlock(&c->lock);
    if (c->setup.exchange.cancel)
        c->setup.exchange.cancel(c->setup.exchange.context);
    if (self) /* else the thread sees the failure before the rendezvous */
        c->implementation->abort(self);
}

/* Floats in host memory that are sent as bf16. */
static int all_reduce_bf16(struct wsl_collective *c, float *data, size_t count, struct wsl_err *err)
{
    int r;

    if (c->implementation->all_reduce_bf16)
        return c->implementation->all_reduce_bf16(c->self, data, count, err);
    if (count > c->bf16_count) {
        free(c->bf16);
        c->bf16 = malloc(count * sizeof(*c->bf16));
        c->bf16_count = c->bf16 ? count : 0;
        if (!c->bf16)
            return wsl_fail(err, WSL_ENOMEM,
                            "collective: no memory for %zu MiB of gradients as bf16; use "
                            "gradient_dtype: f32",
                            count * sizeof(*c->bf16) >> 20);
    }
    for (size_t i = 0; i < count; i++)
        c->bf16[i] = wsl_bf16_round(data[i]);
    r = c->implementation->all_reduce(c->self, c->bf16, count, WSL_REDUCE_BF16, err);
    for (size_t i = 0; i < count && r == 0; i++)
        data[i] = wsl_bf16_widen(c->bf16[i]);
    return r;
}

static int run_operation(struct wsl_collective *c, const struct operation *op, struct wsl_err *err)
{
    int r;

    if (!c->implementation || op->count == 0)
        return 0; /* a world of one: the result is what is there */
    r = op->event ? c->implementation->event_wait(c->self, op->event, err) : 0;
    if (r < 0)
        return r;
    if (op->as_bf16)
        return all_reduce_bf16(c, op->data, op->count, err);
    if (op->kind == ALL_REDUCE)
        return c->implementation->all_reduce(c->self, op->data, op->count, op->dtype, err);
    return c->implementation->broadcast(c->self, op->data, op->count, op->root, err);
}

static int rendezvous(struct wsl_collective *c, struct wsl_err *err)
{
    void *self = NULL;
    int r;

    if (!c->implementation)
        return 0;
    r = wsl_collective_resolve(c->address, c->numeric, err);
    if (r == 0)
        r = c->implementation->create(&self, &c->setup, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&c->lock);
    c->self = self;
    r = c->failure.code;
    pthread_mutex_unlock(&c->lock);
    return r < 0 ? r : c->implementation->rendezvous(self, err);
}

/* Runs `op` (NULL: the rendezvous) outside the lock and records how it went. */
static void run_unlocked(struct wsl_collective *c, const struct operation *op)
{
    struct wsl_err err = {0};
    int r;

    c->busy = true;
    pthread_mutex_unlock(&c->lock);
    r = op ? run_operation(c, op, &err) : rendezvous(c, &err);
    pthread_mutex_lock(&c->lock);
    c->busy = false;
    if (r < 0)
        set_failure(c, &err);
    else if (op)
        c->done++;
    else
        c->connected = true;
    check_invariants(c);
    pthread_cond_broadcast(&c->changed);
}

static void *thread_main(void *context)
{
    struct wsl_collective *c = context;
    bool failed;

    pthread_mutex_lock(&c->lock);
    run_unlocked(c, NULL);
    while (!c->closing && c->failure.code == 0) {
        struct operation op;

        if (c->count == 0) {
            pthread_cond_wait(&c->changed, &c->lock);
            continue;
        }
        op = c->queue[c->first];
        c->first = (c->first + 1) % QUEUE_LIMIT;
        c->count--;
        run_unlocked(c, &op);
    }
    failed = c->failure.code != 0;
    pthread_mutex_unlock(&c->lock);
    if (c->self && failed)
        c->implementation->disconnect(c->self);
    return NULL;
}

static int check_setup(const struct wsl_collective_setup *setup, struct wsl_err *err)
{
    if (setup->world < 1 || setup->world > 65536)
        return wsl_fail(err, WSL_EINVAL, "collective: a world of %d ranks; 1 to 65536 are possible",
                        setup->world);
    if (setup->rank < 0 || setup->rank >= setup->world)
        return wsl_fail(err, WSL_EINVAL, "collective: rank %d is not in a world of %d", setup->rank,
                        setup->world);
    if (setup->gradient_dtype != WSL_REDUCE_F32 && setup->gradient_dtype != WSL_REDUCE_BF16)
        return wsl_fail(err, WSL_EINVAL, "collective: gradients are reduced as f32 or bf16");
    if (setup->timeout_ms == 0)
        return wsl_fail(err, WSL_EINVAL, "collective: timeout_ms must be more than 0");
    if (setup->world > 1 && (!setup->exchange.broadcast || !setup->exchange.cancel))
        return wsl_fail(err, WSL_EINVAL, "collective: a world of %d needs an exchange",
                        setup->world);
    return 0;
}

/* A world of one keeps no implementation. */
static int choose(struct wsl_collective *c, struct wsl_err *err)
{
    const struct wsl_collective_implementation *found;
    int r = wsl_collective_find(c->setup.implementation, &found, err);

    if (r == 0 && c->setup.world > 1) {
        c->implementation = found;
        r = found->probe ? found->probe(&c->setup, err) : 0;
    }
    return r;
}

/* Signals are for the thread of main(), and Gloo writes to sockets without MSG_NOSIGNAL: its
 * threads inherit this mask. */
static int start_thread(struct wsl_collective *c, struct wsl_err *err)
{
    sigset_t all, before;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&c->thread, NULL, thread_main, c);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r != 0) {
        errno = r;
        return wsl_fail_errno(err, "collective: cannot start a thread");
    }
    pthread_setname_np(c->thread, "collective");
    c->thread_runs = true;
    return 0;
}

int wsl_collective_open(struct wsl_collective **ret, const struct wsl_collective_setup *setup,
                        struct wsl_err *err)
{
    struct wsl_collective *c;
    pthread_condattr_t attr;
    int r = check_setup(setup, err);

    if (r < 0)
        return r;
    c = calloc(1, sizeof(*c));
    if (!c)
        return wsl_fail(err, WSL_ENOMEM, "collective: out of memory");
    c->setup = *setup;
    pthread_mutex_init(&c->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&c->changed, &attr);
    pthread_condattr_destroy(&attr);
    c->rendezvous_deadline_ns = wsl_clock_ns() + (uint64_t)setup->timeout_ms * 1000000;
    c->address = strdup(setup->address && *setup->address ? setup->address : "127.0.0.1");
    c->setup.address = c->numeric;
    r = c->address ? choose(c, err) : wsl_fail(err, WSL_ENOMEM, "collective: out of memory");
    if (r == 0)
        r = start_thread(c, err);
    if (r < 0) {
        wsl_collective_close(c);
        return r;
    }
    *ret = c;
    return 0;
}

static int start(struct wsl_collective *c, const struct operation *op, struct wsl_err *err)
{
    int r = 0;

    pthread_mutex_lock(&c->lock);
    if (c->failure.code != 0) {
        if (err)
            *err = c->failure;
        r = c->failure.code;
    } else if (c->count == QUEUE_LIMIT) {
        r = wsl_fail(err, WSL_ELIMIT, "collective: %d operations are waiting already", QUEUE_LIMIT);
    } else {
        size_t place = (c->first + c->count) % QUEUE_LIMIT;

        if (c->implementation && c->implementation->event_record)
            r = c->implementation->event_record(&c->setup, &c->events[place], err);
        if (r == 0) {
            c->queue[place] = *op;
            c->queue[place].event = c->events[place];
            c->count++;
            c->started++;
            pthread_cond_broadcast(&c->changed);
        }
    }
    check_invariants(c);
    pthread_mutex_unlock(&c->lock);
    return r;
}

int wsl_collective_all_reduce(struct wsl_collective *c, float *data, size_t count,
                              struct wsl_err *err)
{
    return start(c, &(struct operation){.kind = ALL_REDUCE, .data = data, .count = count}, err);
}

int wsl_collective_all_reduce_gradients(struct wsl_collective *c, float *data, size_t count,
                                        struct wsl_err *err)
{
    bool as_bf16 = c->setup.gradient_dtype == WSL_REDUCE_BF16;

    return start(
        c,
        &(struct operation){.kind = ALL_REDUCE, .data = data, .count = count, .as_bf16 = as_bf16},
        err);
}

int wsl_collective_all_reduce_f64(struct wsl_collective *c, double *data, size_t count,
                                  struct wsl_err *err)
{
    return start(c,
                 &(struct operation){
                     .kind = ALL_REDUCE, .dtype = WSL_REDUCE_F64, .data = data, .count = count},
                 err);
}

int wsl_collective_broadcast(struct wsl_collective *c, void *data, size_t bytes, int root,
                             struct wsl_err *err)
{
    if (root < 0 || root >= c->setup.world)
        return wsl_fail(err, WSL_EINVAL, "collective: root %d is not in a world of %d", root,
                        c->setup.world);
    return start(
        c, &(struct operation){.kind = BROADCAST, .data = data, .count = bytes, .root = root}, err);
}

/* The state as poll reports it. The caller holds the lock. A failure counts once the thread is out
 * of the implementation, so that nobody touches the caller's memory any more. */
static int state_of(struct wsl_collective *c, struct wsl_err *err)
{
    if (c->failure.code != 0 && !c->busy) {
        if (err)
            *err = c->failure;
        return c->failure.code;
    }
    if (c->failure.code == 0 && c->connected && c->done == c->started)
        return WSL_COLLECTIVE_DONE;
    return WSL_COLLECTIVE_PENDING;
}

/* Ends a rendezvous that takes too long; the implementation limits the operations after it. The
 * lock is given up for a moment. */
static void limit_rendezvous(struct wsl_collective *c)
{
    struct wsl_err err = {0};

    if (c->connected || c->failure.code != 0 || wsl_clock_ns() < c->rendezvous_deadline_ns)
        return;
    wsl_fail(&err, WSL_ETIMEOUT, "collective: rank %d did not meet all %d ranks within %u ms",
             c->setup.rank, c->setup.world, c->setup.timeout_ms);
    set_failure(c, &err);
    pthread_mutex_unlock(&c->lock);
    stop_implementation(c);
    pthread_mutex_lock(&c->lock);
}

int wsl_collective_poll(struct wsl_collective *c, struct wsl_err *err)
{
    int r;

    pthread_mutex_lock(&c->lock);
    limit_rendezvous(c);
    r = state_of(c, err);
    pthread_mutex_unlock(&c->lock);
    return r;
}

int wsl_collective_wait(struct wsl_collective *c, struct wsl_err *err)
{
    int r;

    pthread_mutex_lock(&c->lock);
    while (limit_rendezvous(c), (r = state_of(c, err)) == WSL_COLLECTIVE_PENDING) {
        if (c->connected || c->failure.code != 0) {
            pthread_cond_wait(&c->changed, &c->lock);
        } else {
            struct timespec until = {.tv_sec = (time_t)(c->rendezvous_deadline_ns / 1000000000),
                                     .tv_nsec = (long)(c->rendezvous_deadline_ns % 1000000000)};

            pthread_cond_timedwait(&c->changed, &c->lock, &until);
        }
    }
    pthread_mutex_unlock(&c->lock);
    return r;
}

void wsl_collective_counts(struct wsl_collective *c, uint64_t *ret_started, uint64_t *ret_done)
{
    pthread_mutex_lock(&c->lock);
    *ret_started = c->started;
    *ret_done = c->done;
    pthread_mutex_unlock(&c->lock);
}

void wsl_collective_abort(struct wsl_collective *c)
{
    struct wsl_err err = {0};

    wsl_fail(&err, WSL_ECANCELLED, "collective: aborted");
    pthread_mutex_lock(&c->lock);
    set_failure(c, &err);
    pthread_mutex_unlock(&c->lock);
    stop_implementation(c);
}

/* A group that ended in order is not aborted: other ranks may still have to read what was sent. */
void wsl_collective_close(struct wsl_collective *c)
{
    bool quiet;

    if (!c)
        return;
    if (c->thread_runs) {
        pthread_mutex_lock(&c->lock);
        quiet = c->connected && c->failure.code == 0 && c->done == c->started;
        c->closing = true;
        pthread_cond_broadcast(&c->changed);
        pthread_mutex_unlock(&c->lock);
        if (!quiet)
            wsl_collective_abort(c);
        pthread_join(c->thread, NULL);
    }
    for (int i = 0; i < QUEUE_LIMIT; i++)
        if (c->events[i])
            c->implementation->event_free(c->events[i]);
    if (c->self)
        c->implementation->destroy(c->self);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c->bf16);
    free(c->address);
    free(c);
}
