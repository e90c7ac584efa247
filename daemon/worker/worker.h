/* SPDX-License-Identifier: Apache-2.0
 *
 * The worker daemon: table, session and runners on one loop. Loop thread.
 */
#ifndef WSL_DAEMON_WORKER_WORKER_H
#define WSL_DAEMON_WORKER_WORKER_H

#include "base/err.h"
#include "daemon/worker/gpus.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct wsl_worker_setup {
    uv_loop_t *loop;
    const char *coordinator; /* address */
    const char *name;
    const char *id;                       /* of wsl_identity_read() */
    const char *address;                  /* where other machines' trainers reach this one */
    const char *state;                    /* directory; absolute, exists, locked by the caller */
    const char *checkpoints;              /* directory; absolute */
    const char *trainer;                  /* program; absolute */
    const char *const *trainer_arguments; /* more of them for each, NULL after the last */
    uint32_t slots;
    const struct wsl_facts *facts; /* of this machine, as the coordinator is to know it */
    const struct wsl_gpus *gpus;   /* that trainers are given */
    uint32_t stop_grace_ms;
    bool stop_trainers; /* what wsl_worker_stop() does with those that run */
};

struct wsl_worker;

/* Takes over what an earlier daemon left in <state>/trainers and begins to look for the
 * coordinator. */
int wsl_worker_open(struct wsl_worker **ret, const struct wsl_worker_setup *setup,
                    struct wsl_err *err);

/* Ends the daemon: at once when trainers are to be left running; otherwise when all have ended and
 * the coordinator has their ends (at most a few seconds for the latter). A second call does not
 * wait any more. The loop has no handle of the worker when it is over, and *setup's strings are
 * read until then. The worker frees itself. */
void wsl_worker_stop(struct wsl_worker *worker);

#endif
