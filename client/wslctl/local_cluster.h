/* SPDX-License-Identifier: Apache-2.0
 *
 * A private coordinator and one worker for `wslctl run`, on a Unix socket that only this user can
 * open. Both end when this process ends, however it ends: the worker stops its trainers, which
 * write a checkpoint, and the coordinator leaves after it. One thread; calls block as they say.
 */
#ifndef WSL_CLIENT_WSLCTL_LOCAL_CLUSTER_H
#define WSL_CLIENT_WSLCTL_LOCAL_CLUSTER_H

#include "base/err.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct wsl_local_cluster;

struct wsl_local_cluster_setup {
    const char *directory;   /* absolute; made with mode 0700: state, socket, logs */
    const char *checkpoints; /* absolute; where the worker puts them */
    /* Asked several times a second while a call waits; true: give up with WSL_ECANCELLED. */
    bool (*give_up)(void *context);
    /* Called once when the daemons of an earlier run, killed perhaps, are still stopping. May be
     * NULL. */
    void (*waiting)(void *context);
    void *context;
};

/* Waits for the daemons of an earlier run to leave, then starts the coordinator and waits until it
 * serves. WSL_EEXIST: another process has this cluster open. On failure nothing is left running. */
int wsl_local_cluster_open(struct wsl_local_cluster **ret,
                           const struct wsl_local_cluster_setup *setup, struct wsl_err *err);

/* Starts the worker: `slots` trainers at a time on the CPU, or 0: one on each GPU. Does not wait.
 */
int wsl_local_cluster_start_worker(struct wsl_local_cluster *cluster, uint32_t slots,
                                   struct wsl_err *err);

/* "unix:..." for wsl_client_open() in this process. */
const char *wsl_local_cluster_address(const struct wsl_local_cluster *cluster);

/* Starts again what has ended unasked; trainers do not notice. WSL_EPEER names the log when it
 * keeps ending. Does not block; call it several times a second. */
int wsl_local_cluster_check(struct wsl_local_cluster *cluster, struct wsl_err *err);

/* Asks the worker to stop its trainers after a step and a checkpoint, and to leave; a second call
 * kills them. Does not block. */
void wsl_local_cluster_stop(struct wsl_local_cluster *cluster);
/* The worker was started, asked to stop, and has left: no trainer runs any more. Or there never was
 * one. */
bool wsl_local_cluster_stopped(struct wsl_local_cluster *cluster);

/* Stops what runs and waits for it (a stop that takes more than a minute ends in a kill); frees.
 * NULL is fine. */
void wsl_local_cluster_close(struct wsl_local_cluster *cluster);

#endif
