/* SPDX-License-Identifier: Apache-2.0
 *
 * A daemon that must not outlive whoever started it: it holds the reading end of a pipe whose
 * writing end only the starter has, and hears of the starter's end, kill -9 included, as the end of
 * the pipe.
 */
#ifndef WSL_BASE_LIFELINE_H
#define WSL_BASE_LIFELINE_H

#include "base/err.h"

#include <uv.h>

struct wsl_lifeline {
    uv_poll_t poll;
    int fd;
    void (*ended)(void *context);
    void *context;
};

/* Calls `ended` once, from the loop, when the pipe `fd` has ended. The handle does not keep the
 * loop alive. Bytes in the pipe are read and mean nothing. WSL_EINVAL: `fd` is not an open pipe or
 * socket. `*line` must stay where it is until the loop has run after wsl_lifeline_close(). */
int wsl_lifeline_open(struct wsl_lifeline *line, uv_loop_t *loop, int fd,
                      void (*ended)(void *context), void *context, struct wsl_err *err);

/* Loop thread; once, and only after a successful open. The descriptor stays open. */
void wsl_lifeline_close(struct wsl_lifeline *line);

#endif
