/* SPDX-License-Identifier: Apache-2.0
 *
 * What `wslctl run` shows of its job: one live line on a terminal, plain lines elsewhere, and what
 * is worth a line of its own (checkpoints, evaluations, restarts). On standard output; one thread.
 */
#ifndef WSL_CLIENT_WSLCTL_RUN_VIEW_H
#define WSL_CLIENT_WSLCTL_RUN_VIEW_H

#include "client/wslctl/wslctl.h"

struct wsl_run_view {
    const struct wsl_ctl *ctl;
    uint64_t interval_ns; /* between plain progress lines */
    bool stopping;        /* trainers that end now were told to */

    /* Filled in by the updates. */
    uint64_t step, total_steps;
    uint64_t checkpoint_step;
    char checkpoint[4096]; /* "": none yet */
    char reason[600];      /* for the job's state */

    int width; /* of the terminal; 0: plain lines */
    bool live; /* a live line is on the screen */
    bool begun;
    Wsl__V1__JobState state;
    uint64_t printed_ns, printed_step, evaluated_step, last_event;
};

/* `interval_s` between plain lines. */
void wsl_run_view_init(struct wsl_run_view *view, const struct wsl_ctl *ctl, uint64_t interval_s);

/* An update of the job, as wsl_ctl_follow() hands it over; `context` is the view. */
void wsl_run_view_update(void *context, const Wsl__V1__WatchJobResponse *update);

/* Takes the live line away, for a line of somebody else. */
void wsl_run_view_clear(struct wsl_run_view *view);

/* `path` from the current directory where it lies below it, for people; the same pointer or one
 * into it. */
const char *wsl_run_short_path(const char *path);

#endif
