/* SPDX-License-Identifier: Apache-2.0
 *
 * The end of a pipe as a sign that the starter has ended.
 */
#include "base/lifeline.h"

#include <errno.h>
#include <unistd.h>

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct wsl_lifeline *line = poll->data;
    char ignored[64];
    ssize_t n;

    (void)events;
    n = status < 0 ? 0 : read(line->fd, ignored, sizeof ignored);
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
        return;
    uv_poll_stop(poll);
    line->ended(line->context);
}

int wsl_lifeline_open(struct wsl_lifeline *line, uv_loop_t *loop, int fd,
                      void (*ended)(void *context), void *context, struct wsl_err *err)
{
    int r;

    *line = (struct wsl_lifeline){.fd = fd, .ended = ended, .context = context};
    line->poll.data = line;
    r = uv_poll_init(loop, &line->poll, fd);
    if (r == 0)
        r = uv_poll_start(&line->poll, UV_READABLE | UV_DISCONNECT, on_readable);
    if (r < 0)
        return wsl_fail(err, WSL_EINVAL, "descriptor %d is no pipe to watch: %s", fd,
                        uv_strerror(r));
    uv_unref((uv_handle_t *)&line->poll);
    return 0;
}

void wsl_lifeline_close(struct wsl_lifeline *line)
{
    uv_close((uv_handle_t *)&line->poll, NULL);
}
