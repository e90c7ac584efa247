/* SPDX-License-Identifier: Apache-2.0
 *
 * The connection to a trainer's control.sock (framing in trainer.proto). Loop thread; nothing
 * blocks. What waits to be written is bounded: a trainer that does not read loses the connection.
 */
#ifndef WSL_DAEMON_WORKER_CONTROL_H
#define WSL_DAEMON_WORKER_CONTROL_H

#include "base/err.h"
#include "wsl/v1/trainer.pb-c.h"

#include <uv.h>

enum {
    WSL_CONTROL_WRITE_MAX = 1 << 20, /* far more than all answers of one generation */
};

struct wsl_control;

struct wsl_control_setup {
    uv_loop_t *loop;
    int directory_fd; /* the run directory */
    void *context;
    void (*on_message)(void *context, const Wsl__V1__FromTrainer *message);
    /* The trainer closed it, or broke the framing (`why` says how). Not after
     * wsl_control_close(); the connection is freed by itself. */
    void (*on_closed)(void *context, const char *why);
};

/* WSL_ENOENT or WSL_EUNAVAILABLE while nobody listens: try again later. */
int wsl_control_open(struct wsl_control **ret, const struct wsl_control_setup *setup,
                     struct wsl_err *err);

/* Queues a message. WSL_ELIMIT: too much waits. */
int wsl_control_send(struct wsl_control *control, const Wsl__V1__ToTrainer *message);

void wsl_control_close(struct wsl_control *control); /* NULL is fine; no callback follows */

#endif
