/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/collective/watch.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define ASK_NS   250000000u /* until a loss that shows elsewhere is seen here */
#define GRACE_NS 500000000u /* for operations that a rank which is gone had done its part of */

struct wsl_watch {
    struct wsl_peers *peers;
    wsl_watch_lost lost;
    void *context;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock. */
    bool stopped;
    struct wsl_err why; /* code 0: nobody is lost */
};

/* Waits until `holds` does, at most that long; whether it did. */
static bool wait_for(struct wsl_watch *w, bool (*holds)(const struct wsl_watch *), uint64_t ns)
{
    uint64_t until = wsl_clock_ns() + ns;
    struct timespec at = {.tv_sec = (time_t)(until / 1000000000),
                          .tv_nsec = (long)(until % 1000000000)};
    bool held;

    pthread_mutex_lock(&w->lock);
    while (!holds(w) && pthread_cond_timedwait(&w->changed, &w->lock, &at) == 0)
        ;
    held = holds(w);
    pthread_mutex_unlock(&w->lock);
    return held;
}

static bool is_stopped(const struct wsl_watch *w)
{
    return w->stopped;
}

static bool is_lost(const struct wsl_watch *w)
{
    return w->why.code != 0;
}

static void *watch_main(void *context)
{
    struct wsl_watch *w = context;
    struct wsl_err why = {0};

    while (wsl_peers_check(w->peers, &why) == 0) {
        if (wait_for(w, is_stopped, 0))
            return NULL;
        wsl_peers_wait(w->peers, -1);
    }
    pthread_mutex_lock(&w->lock);
    w->why = why;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    if (!wait_for(w, is_stopped, GRACE_NS))
        w->lost(w->context, &why);
    return NULL;
}

bool wsl_watch_ask(struct wsl_watch *w, struct wsl_err *ret_why)
{
    if (!wait_for(w, is_lost, ASK_NS))
        return false;
    *ret_why = w->why; /* stays from here on */
    return true;
}

static void free_watch(struct wsl_watch *w)
{
    wsl_peers_close(w->peers);
    pthread_cond_destroy(&w->changed);
    pthread_mutex_destroy(&w->lock);
    free(w);
}

int wsl_watch_start(struct wsl_watch **ret, struct wsl_peers *peers, wsl_watch_lost lost,
                    void *context, struct wsl_err *err)
{
    struct wsl_watch *w = calloc(1, sizeof(*w));
    pthread_condattr_t attr;
    int r;

    if (!w) {
        wsl_peers_close(peers);
        return wsl_fail(err, WSL_ENOMEM, "collective: out of memory");
    }
    *w = (struct wsl_watch){.peers = peers, .lost = lost, .context = context};
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->changed, &attr);
    pthread_condattr_destroy(&attr);
    r = pthread_create(&w->thread, NULL, watch_main, w);
    if (r != 0) {
        free_watch(w);
        errno = r;
        return wsl_fail_errno(err, "collective: cannot start a thread");
    }
    pthread_setname_np(w->thread, "peers");
    *ret = w;
    return 0;
}

void wsl_watch_stop(struct wsl_watch *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stopped = true;
    pthread_cond_broadcast(&w->changed);
    pthread_mutex_unlock(&w->lock);
    wsl_peers_wake(w->peers);
    pthread_join(w->thread, NULL);
    free_watch(w);
}
