/* SPDX-License-Identifier: Apache-2.0
 *
 * The only way other threads reach a loop thread: a bounded queue of messages and a wake-up.
 * Any thread posts; the loop thread runs every message in the order posted. A message is embedded
 * in the caller's own struct and completes exactly once, by its function being called on the loop
 * thread.
 */
#ifndef WSL_BASE_MAILBOX_H
#define WSL_BASE_MAILBOX_H

#include "base/err.h"

#include <stddef.h>
#include <uv.h>

struct wsl_mail {
    void (*run)(struct wsl_mail *mail); /* on the loop thread; may free the mail */
    struct wsl_mail *next;              /* the mailbox's own */
};

struct wsl_mailbox;

/* `limit`: most messages waiting at once. Loop thread. */
int wsl_mailbox_open(struct wsl_mailbox **ret, uv_loop_t *loop, size_t limit, struct wsl_err *err);

/* Queues `mail`. WSL_ELIMIT when full (the mail stays the caller's), WSL_ESTATE once closed. Any
 * thread; does not block. */
int wsl_mailbox_post(struct wsl_mailbox *box, struct wsl_mail *mail);

/* Runs what is waiting, then closes the handle. No thread may post any more. Frees the mailbox from
 * the loop's next turn on. Loop thread. NULL is fine. */
void wsl_mailbox_close(struct wsl_mailbox *box);

#endif
