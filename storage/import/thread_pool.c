/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads that work for the calling one, which waits, reports progress and stops them.
 */
#include "storage/import/internal.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>

enum { TICK_MS = 50 };

int wsl_import_thread_count(const struct import *im)
{
    cpu_set_t cpus;

    if (im->setup->threads > 0)
        return im->setup->threads;
    if (sched_getaffinity(0, sizeof cpus, &cpus) < 0)
        return 1;
    return CPU_COUNT(&cpus) < 256 ? CPU_COUNT(&cpus) : 256;
}

static void release(struct thread_pool *pool)
{
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->lock);
    free(pool->threads);
}

int wsl_thread_pool_open(struct thread_pool *pool, struct import *im, int count,
                         void *(*work)(void *), void *context, struct wsl_err *err)
{
    pthread_condattr_t attributes;

    pool->im = im;
    pool->threads = calloc((size_t)count, sizeof *pool->threads);
    if (!pool->threads)
        return wsl_fail(err, WSL_ENOMEM, "no memory for %d threads", count);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_lock(&pool->lock);
    while (pool->started < count &&
           pthread_create(&pool->threads[pool->started], NULL, work, context) == 0)
        pool->started++;
    pool->live = pool->started; /* threads that end before this wait for the lock */
    pthread_mutex_unlock(&pool->lock);
    if (pool->started > 0)
        return 0;
    release(pool);
    return wsl_fail(err, WSL_ENOMEM, "cannot start a thread");
}

void wsl_thread_pool_leave(struct thread_pool *pool, int r, const struct wsl_err *err)
{
    pthread_mutex_lock(&pool->lock);
    if (r < 0 && pool->r == 0) {
        pool->r = r;
        pool->err = *err;
        atomic_store(&pool->stop, true);
    }
    pool->live--;
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
}

int wsl_thread_pool_wait(struct thread_pool *pool, struct wsl_err *err)
{
    struct timespec until;
    int r;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_cond_timedwait(&pool->changed, &pool->lock, &until);
    r = wsl_import_check(pool->im, err);
    if (r < 0) {
        atomic_store(&pool->stop, true);
        pthread_cond_broadcast(&pool->changed);
    } else if (pool->r < 0) {
        r = pool->r;
        if (err)
            *err = pool->err;
    }
    return r;
}

int wsl_thread_pool_close(struct thread_pool *pool, void (*report)(void *context), void *context,
                          struct wsl_err *err)
{
    int r = 0;

    pthread_mutex_lock(&pool->lock);
    while (pool->live > 0) {
        int now = wsl_thread_pool_wait(pool, r == 0 ? err : NULL);

        r = r == 0 ? now : r;
        pthread_mutex_unlock(&pool->lock);
        report(context);
        pthread_mutex_lock(&pool->lock);
    }
    if (r == 0 && pool->r < 0) {
        r = pool->r;
        if (err)
            *err = pool->err;
    }
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->started; i++)
        pthread_join(pool->threads[i], NULL);
    release(pool);
    return r;
}
