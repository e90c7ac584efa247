/* SPDX-License-Identifier: Apache-2.0
 *
 * A thread that sleeps until a rank is lost, and gives operations that are nearly done some grace.
 */
#include "kernels/collective/peer_monitor.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define ASK_NS   250000000u /* until a loss that shows elsewhere is seen here */
#define GRACE_NS 500000000u /* for operations that a disconnected rank had done its part of */

struct wsl_peer_monitor {
    struct wsl_rendezvous *peers;
    wsl_peer_monitor_lost_fn lost;
    void *context;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* Under the lock. */
    bool stopped;
    struct wsl_err why; /* code 0: nobody is lost */
};

/* Waits until `holds` does, at most that long; whether it did. */
static bool wait_for(struct wsl_peer_monitor *m, bool (*holds)(const struct wsl_peer_monitor *),
                     uint64_t ns)
{
    uint64_t until = wsl_clock_ns() + ns;
    struct timespec at = {.tv_sec = (time_t)(until / 1000000000),
                          .tv_nsec = (long)(until % 1000000000)};
    bool held;

    pthread_mutex_lock(&m->lock);
    while (!holds(m) && pthread_cond_timedwait(&m->changed, &m->lock, &at) == 0)
        ;
    held = holds(m);
    pthread_mutex_unlock(&m->lock);
    return held;
}

static bool is_stopped(const struct wsl_peer_monitor *m)
{
    return m->stopped;
}

static bool is_lost(const struct wsl_peer_monitor *m)
{
    return m->why.code != 0;
}

static void *monitor_main(void *context)
{
    struct wsl_peer_monitor *m = context;
    struct wsl_err why = {0};

    while (wsl_rendezvous_check(m->peers, &why) == 0) {
        if (wait_for(m, is_stopped, 0))
            return NULL;
        wsl_rendezvous_wait(m->peers, -1);
    }
    pthread_mutex_lock(&m->lock);
    m->why = why;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    if (!wait_for(m, is_stopped, GRACE_NS))
        m->lost(m->context, &why);
    return NULL;
}

bool wsl_peer_monitor_ask(struct wsl_peer_monitor *m, struct wsl_err *ret_why)
{
    if (!wait_for(m, is_lost, ASK_NS))
        return false;
    *ret_why = m->why; /* stays from here on */
    return true;
}

static void free_monitor(struct wsl_peer_monitor *m)
{
    wsl_rendezvous_close(m->peers);
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

int wsl_peer_monitor_start(struct wsl_peer_monitor **ret, struct wsl_rendezvous *peers,
                           wsl_peer_monitor_lost_fn lost, void *context, struct wsl_err *err)
{
    struct wsl_peer_monitor *m = calloc(1, sizeof(*m));
    pthread_condattr_t attr;
    int r;

    if (!m) {
        wsl_rendezvous_close(peers);
        return wsl_fail(err, WSL_ENOMEM, "collective: out of memory");
    }
    *m = (struct wsl_peer_monitor){.peers = peers, .lost = lost, .context = context};
    pthread_mutex_init(&m->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&m->changed, &attr);
    pthread_condattr_destroy(&attr);
    r = pthread_create(&m->thread, NULL, monitor_main, m);
    if (r != 0) {
        free_monitor(m);
        errno = r;
        return wsl_fail_errno(err, "collective: cannot start a thread");
    }
    pthread_setname_np(m->thread, "peer-monitor");
    *ret = m;
    return 0;
}

void wsl_peer_monitor_stop(struct wsl_peer_monitor *m)
{
    if (!m)
        return;
    pthread_mutex_lock(&m->lock);
    m->stopped = true;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    wsl_rendezvous_wake(m->peers);
    pthread_join(m->thread, NULL);
    free_monitor(m);
}
