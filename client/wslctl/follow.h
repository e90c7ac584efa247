/* SPDX-License-Identifier: Apache-2.0
 *
 * A job's updates to its end, through restarts of the coordinator: for watch and wait.
 */
#ifndef WSL_CLIENT_WSLCTL_FOLLOW_H
#define WSL_CLIENT_WSLCTL_FOLLOW_H

#include "client/wslctl/wslctl.h"

struct wsl_ctl_follow {
    struct wsl_ctl *ctl;
    const char *job;      /* name or id; after the first answer its id is used, for names are given
                             again */
    uint64_t retry_ms;    /* how long the coordinator may be away, from the start or later */
    uint64_t deadline_ns; /* of wsl_clock_ns(); 0: none */
    /* For each update; the message is valid until it returns. Less than 0 ends the following with
     * that code and no text. May be NULL. */
    int (*update)(void *context, const Wsl__V1__WatchJobResponse *update);
    /* There is no coordinator, or it is there (again): one line each time that changes. */
    void (*notice)(void *context, const char *line);
    /* Asked several times a second, in the place of Ctrl-C: negative with *err ends the following.
     * May be NULL. */
    int (*check)(void *context, struct wsl_err *err);
    void *context;

    /* Filled in. */
    uint64_t id;   /* 0: nothing came yet */
    int exit_code; /* of the job, once it ended */
};

/* Blocks until the job has ended: 0. WSL_ETIMEOUT at the deadline, WSL_ECANCELLED after Ctrl-C,
 * WSL_EUNAVAILABLE when there was no coordinator for retry_ms, WSL_EPEER when something else
 * answers (at once when no coordinator ever did), or what the coordinator said (WSL_ENOENT: no such
 * job). */
int wsl_ctl_follow(struct wsl_ctl_follow *follow, struct wsl_err *err);

#endif
