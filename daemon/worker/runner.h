/* SPDX-License-Identifier: Apache-2.0
 *
 * The process side of one trainer: started or adopted, watched, talked to over its control socket,
 * stopped, its end found out. Loop thread.
 *
 * An end is reported (on_ended) only when no process of the trainer's session is left.
 */
#ifndef WSL_DAEMON_WORKER_RUNNER_H
#define WSL_DAEMON_WORKER_RUNNER_H

#include "daemon/worker/launch.h"
#include "wsl/v1/trainer.pb-c.h"

#include <uv.h>

struct wsl_runner;

struct wsl_runner_setup {
    uv_loop_t *loop;
    const struct wsl_launch *launch;
    uint32_t stop_grace_ms; /* from a graceful stop to SIGKILL */
    void *context;
    void (*on_change)(void *context);                             /* something may be to send */
    void (*on_ended)(void *context, struct wsl_trainer *trainer); /* once; the entry is filled in */
};

/* Makes the run directory and starts the trainer. The entry's `runner` is set. On failure nothing
 * runs and no directory is left. */
int wsl_runner_start(const struct wsl_runner_setup *setup, struct wsl_trainer *trainer,
                     const Wsl__V1__Assignment *assignment, struct wsl_err *err);

/* Takes over the run directory of an earlier daemon: watches the trainer when it lives, and finds out
 * how it ended when it does not (on_ended is called before it returns, or soon). */
int wsl_runner_adopt(const struct wsl_runner_setup *setup, struct wsl_trainer *trainer,
                     struct wsl_err *err);

/* Several times a second: file sizes, connecting, stop deadlines, remaining processes. */
void wsl_runner_tick(struct wsl_runner *runner, uint64_t now_ns);

void wsl_runner_stop(struct wsl_runner *runner, Wsl__V1__StopMode mode, const char *reason,
                     uint64_t now_ns);

void wsl_runner_exchange(struct wsl_runner *runner, const Wsl__V1__ExchangeResult *result);

/* Reads for a LOG or METRICS send into `ret` (WSL_DELIMITED_ROOM bytes). */
int wsl_runner_read(struct wsl_runner *runner, const struct wsl_send *send, uint8_t *ret,
                    size_t *ret_count, struct wsl_err *err);

/* Lets go of it, alive or not, and frees it; with `remove`, its run directory too. */
void wsl_runner_close(struct wsl_runner *runner, bool remove);

const char *wsl_runner_directory(const struct wsl_runner *runner);

#endif
