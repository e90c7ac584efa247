/* SPDX-License-Identifier: Apache-2.0
 *
 * A linked list under a mutex, and a uv_async_t that wakes the loop: libuv merges wakes, so the
 * loop takes the whole list at each one.
 */
#include "base/mailbox.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct wsl_mailbox {
    uv_async_t wake;
    pthread_mutex_t lock; /* guards the rest; never held while a message runs */
    struct wsl_mail *first;
    struct wsl_mail **last;
    size_t waiting;
    size_t limit;
    bool closed;
};

static void drain(struct wsl_mailbox *box)
{
    struct wsl_mail *mail;

    pthread_mutex_lock(&box->lock);
    mail = box->first;
    box->first = NULL;
    box->last = &box->first;
    box->waiting = 0;
    pthread_mutex_unlock(&box->lock);
    while (mail) {
        struct wsl_mail *next = mail->next;

        mail->run(mail);
        mail = next;
    }
}

static void on_wake(uv_async_t *wake)
{
    drain(wake->data);
}

int wsl_mailbox_open(struct wsl_mailbox **ret, uv_loop_t *loop, size_t limit, struct wsl_err *err)
{
    struct wsl_mailbox *box = calloc(1, sizeof *box);
    int r;

    if (!box)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a mailbox");
    r = uv_async_init(loop, &box->wake, on_wake);
    if (r < 0) {
        free(box);
        return wsl_fail(err, WSL_EIO, "cannot make a wake-up handle: %s", uv_strerror(r));
    }
    box->wake.data = box;
    box->last = &box->first;
    box->limit = limit;
    pthread_mutex_init(&box->lock, NULL);
    *ret = box;
    return 0;
}

int wsl_mailbox_post(struct wsl_mailbox *box, struct wsl_mail *mail)
{
    int r = 0;

    pthread_mutex_lock(&box->lock);
    if (box->closed) {
        r = WSL_ESTATE;
    } else if (box->waiting >= box->limit) {
        r = WSL_ELIMIT;
    } else {
        mail->next = NULL;
        *box->last = mail;
        box->last = &mail->next;
        /* Under the lock, so that the handle is not closed between the queueing and the wake-up. */
        if (box->waiting++ == 0)
            uv_async_send(&box->wake);
    }
    pthread_mutex_unlock(&box->lock);
    return r;
}

static void on_closed(uv_handle_t *handle)
{
    struct wsl_mailbox *box = handle->data;

    pthread_mutex_destroy(&box->lock);
    free(box);
}

void wsl_mailbox_close(struct wsl_mailbox *box)
{
    if (!box)
        return;
    pthread_mutex_lock(&box->lock);
    box->closed = true;
    pthread_mutex_unlock(&box->lock);
    drain(box);
    uv_close((uv_handle_t *)&box->wake, on_closed);
}
