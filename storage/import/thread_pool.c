/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/import/internal.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>

enum { TICK_MS = 50 };

int import_thread_count(const struct import *im)
{
    cpu_set_t cpus;

    if (im->setup->threads > 0)
        return im->setup->threads;
    if (sched_getaffinity(0, sizeof cpus, &cpus) < 0)
        return 1;
    return CPU_COUNT(&cpus) < 256 ? CPU_COUNT(&cpus) : 256;
}

static void release(struct crew *crew)
{
    pthread_cond_destroy(&crew->changed);
    pthread_mutex_destroy(&crew->lock);
    free(crew->threads);
}

int import_crew_open(struct crew *crew, struct import *im, int count, void *(*work)(void *),
                     void *context, struct wsl_err *err)
{
    pthread_condattr_t attributes;

    crew->im = im;
    crew->threads = calloc((size_t)count, sizeof *crew->threads);
    if (!crew->threads)
        return wsl_fail(err, WSL_ENOMEM, "no memory for %d threads", count);
    pthread_mutex_init(&crew->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&crew->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_lock(&crew->lock);
    while (crew->started < count &&
           pthread_create(&crew->threads[crew->started], NULL, work, context) == 0)
        crew->started++;
    crew->live = crew->started; /* threads that end before this wait for the lock */
    pthread_mutex_unlock(&crew->lock);
    if (crew->started > 0)
        return 0;
    release(crew);
    return wsl_fail(err, WSL_ENOMEM, "cannot start a thread");
}

void import_crew_leave(struct crew *crew, int r, const struct wsl_err *err)
{
    pthread_mutex_lock(&crew->lock);
    if (r < 0 && crew->r == 0) {
        crew->r = r;
        crew->err = *err;
        atomic_store(&crew->stop, true);
    }
    crew->live--;
    pthread_cond_broadcast(&crew->changed);
    pthread_mutex_unlock(&crew->lock);
}

int import_crew_wait(struct crew *crew, struct wsl_err *err)
{
    struct timespec until;
    int r;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_cond_timedwait(&crew->changed, &crew->lock, &until);
    r = import_check(crew->im, err);
    if (r < 0) {
        atomic_store(&crew->stop, true);
        pthread_cond_broadcast(&crew->changed);
    } else if (crew->r < 0) {
        r = crew->r;
        if (err)
            *err = crew->err;
    }
    return r;
}

int import_crew_close(struct crew *crew, void (*tell)(void *context), void *context,
                      struct wsl_err *err)
{
    int r = 0;

    pthread_mutex_lock(&crew->lock);
    while (crew->live > 0) {
        int now = import_crew_wait(crew, r == 0 ? err : NULL);

        r = r == 0 ? now : r;
        pthread_mutex_unlock(&crew->lock);
        tell(context);
        pthread_mutex_lock(&crew->lock);
    }
    if (r == 0 && crew->r < 0) {
        r = crew->r;
        if (err)
            *err = crew->err;
    }
    pthread_mutex_unlock(&crew->lock);
    for (int i = 0; i < crew->started; i++)
        pthread_join(crew->threads[i], NULL);
    release(crew);
    return r;
}
