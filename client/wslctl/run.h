/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside of `wslctl run`: the run and its job. run.c decides what to do, run_job.c does it,
 * run_view.h shows it, local_cluster.h has the daemons.
 */
#ifndef WSL_CLIENT_WSLCTL_RUN_H
#define WSL_CLIENT_WSLCTL_RUN_H

#include "client/wslctl/local_cluster.h"
#include "client/wslctl/run_view.h"

#include <limits.h>

struct wsl_run {
    struct wsl_ctl *ctl;
    const char *file, *state;
    struct wsl_arg_list sets;
    bool fresh;
    uint64_t interval_s;

    Wsl__V1__JobSpec *spec;
    char directory[PATH_MAX], daemons[PATH_MAX], checkpoints[PATH_MAX];
    struct wsl_local_cluster *cluster;
    struct wsl_run_view view;
    int interrupts; /* signals answered so far */
};

/* The newest job of this directory: *ret points into *list, which the caller frees; NULL: none. */
int wsl_run_newest_job(struct wsl_run *run, Wsl__V1__ListJobsResponse **list, Wsl__V1__Job **ret,
                       struct wsl_err *err);

/* Starts the worker, waits until it is there, and sees that the job fits. */
int wsl_run_start_worker(struct wsl_run *run, struct wsl_err *err);

int wsl_run_submit(struct wsl_run *run, uint64_t *ret_id, struct wsl_err *err);

/* To the end of the job, or of a stop; says how it ended. Returns an exit code. */
int wsl_run_follow(struct wsl_run *run, uint64_t id);

/* Cancels a job that has not ended and waits for its end; returns an exit code. */
int wsl_run_cancel(struct wsl_run *run, uint64_t id);

/* Says an error in terms of this run; returns the exit code. */
int wsl_run_fail(const struct wsl_run *run, const struct wsl_err *err);

/* Was there a signal? */
bool wsl_run_give_up(void *context);

#endif
