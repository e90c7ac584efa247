/* SPDX-License-Identifier: Apache-2.0
 *
 * The connection to a trainer's control.sock.
 */
#include "daemon/worker/control.h"

#include "base/buf.h"
#include "proto/frame.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct wsl_control {
    struct wsl_control_setup setup;
    uv_pipe_t pipe;
    struct wsl_buf received;
    uint8_t part[16 << 10];
    bool closed; /* by the owner: no more callbacks */
    bool closing;
};

struct write_request {
    uv_write_t request;
    uint8_t bytes[];
};

static void on_freed(uv_handle_t *handle)
{
    struct wsl_control *control = handle->data;

    wsl_buf_free(&control->received);
    free(control);
}

static void shut(struct wsl_control *control)
{
    if (control->closing)
        return;
    control->closing = true;
    uv_close((uv_handle_t *)&control->pipe, on_freed);
}

static void fail(struct wsl_control *control, const char *why)
{
    bool told = control->closed || control->closing;

    shut(control);
    if (!told)
        control->setup.on_closed(control->setup.context, why);
}

/* Hands over every whole message; a reason to close, or NULL. */
static const char *take_messages(struct wsl_control *control)
{
    struct wsl_buf *b = &control->received;
    const uint8_t *bytes;
    uint32_t size;
    int r = 0;

    while (!control->closed &&
           (r = wsl_frame_first(b, WSL_FRAME_FROM_TRAINER_MAX, &bytes, &size)) == 1) {
        Wsl__V1__FromTrainer *message = wsl__v1__from_trainer__unpack(NULL, size, bytes);

        if (!message)
            return "it sent a message that cannot be read";
        wsl_frame_drop(b, size);
        control->setup.on_message(control->setup.context, message);
        wsl__v1__from_trainer__free_unpacked(message, NULL);
    }
    return r < 0 ? "it sent a message over the limit" : NULL;
}

static void on_allocate(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct wsl_control *control = handle->data;

    (void)suggested;
    *ret = uv_buf_init((char *)control->part, sizeof control->part);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *part)
{
    struct wsl_control *control = stream->data;
    const char *why;

    if (count < 0) {
        fail(control, count == UV_EOF ? "the trainer closed it" : uv_strerror((int)count));
        return;
    }
    if (wsl_buf_add(&control->received, part->base, (size_t)count) < 0) {
        fail(control, "out of memory");
        return;
    }
    why = take_messages(control);
    if (why)
        fail(control, why);
}

/* Starts connecting to <directory>/control.sock, whatever the length of the directory's path. */
static int connect_in(int directory_fd, int *ret_fd, struct wsl_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int r;

    if (fd < 0)
        return wsl_fail_errno(err, "cannot make a socket");
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/control.sock",
             directory_fd);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        r = wsl_fail_errno(err, "cannot connect to control.sock");
        close(fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}

int wsl_control_open(struct wsl_control **ret, const struct wsl_control_setup *setup,
                     struct wsl_err *err)
{
    struct wsl_control *control;
    int fd = -1, r;

    r = connect_in(setup->directory_fd, &fd, err);
    if (r < 0)
        return r;
    control = calloc(1, sizeof *control);
    if (!control) {
        close(fd);
        return wsl_fail(err, WSL_ENOMEM, "cannot connect to control.sock: out of memory");
    }
    control->setup = *setup;
    control->received.limit =
        WSL_FRAME_HEAD + WSL_FRAME_FROM_TRAINER_MAX + sizeof control->part + 1;
    uv_pipe_init(setup->loop, &control->pipe, 0);
    control->pipe.data = control;
    r = uv_pipe_open(&control->pipe, fd);
    if (r < 0)
        close(fd);
    else
        r = uv_read_start((uv_stream_t *)&control->pipe, on_allocate, on_read);
    if (r < 0) {
        control->closed = true;
        shut(control);
        return wsl_fail(err, WSL_EIO, "cannot read from control.sock: %s", uv_strerror(r));
    }
    *ret = control;
    return 0;
}

static void on_written(uv_write_t *request, int status)
{
    struct wsl_control *control = request->handle->data;

    free(request->data);
    if (status < 0 && status != UV_ECANCELED)
        fail(control, uv_strerror(status));
}

int wsl_control_send(struct wsl_control *control, const Wsl__V1__ToTrainer *message)
{
    size_t size = wsl__v1__to_trainer__get_packed_size(message);
    struct write_request *w;
    uv_buf_t bytes;

    if (control->closing)
        return WSL_ESTATE;
    if (size + uv_stream_get_write_queue_size((uv_stream_t *)&control->pipe) >
        WSL_CONTROL_WRITE_MAX)
        return WSL_ELIMIT;
    w = malloc(sizeof *w + WSL_FRAME_HEAD + size);
    if (!w)
        return WSL_ENOMEM;
    wsl_frame_head(w->bytes, (uint32_t)size);
    wsl__v1__to_trainer__pack(message, w->bytes + WSL_FRAME_HEAD);
    w->request.data = w;
    bytes = uv_buf_init((char *)w->bytes, (unsigned)(WSL_FRAME_HEAD + size));
    if (uv_write(&w->request, (uv_stream_t *)&control->pipe, &bytes, 1, on_written) < 0) {
        free(w);
        return WSL_EIO;
    }
    return 0;
}

void wsl_control_close(struct wsl_control *control)
{
    if (!control)
        return;
    control->closed = true;
    shut(control);
}
