/* SPDX-License-Identifier: Apache-2.0
 *
 * peers.h on a thread of its own, for an implementation that blocks in foreign code: Gloo does not
 * always tell a rank that waits to send to a killed one.
 */
#ifndef WSL_KERNELS_COLLECTIVE_WATCH_H
#define WSL_KERNELS_COLLECTIVE_WATCH_H

#include "kernels/collective/peers.h"

struct wsl_watch;

/* Called once at most, on the watching thread: WSL_EPEER and a line that names the rank. */
typedef void (*wsl_watch_lost)(void *context, const struct wsl_err *why);

/* Watches `peers`, which are connected and now the watch's (also after a failure). A rank that
 * ended in order closes when its own last operation is done, while the others' are about to be:
 * `lost` is called half a second after the loss was seen. */
int wsl_watch_start(struct wsl_watch **ret, struct wsl_peers *peers, wsl_watch_lost lost,
                    void *context, struct wsl_err *err);

/* Which rank was lost first, for a connection that broke otherwise: true with WSL_EPEER and the
 * line when that is known within a quarter of a second. Any thread; blocks as long. */
bool wsl_watch_ask(struct wsl_watch *w, struct wsl_err *ret_why);

/* Ends the thread, then closes the peers: from here on this rank is gone to the others, and `lost`
 * is not called any more. May wait for `lost`. NULL is fine. */
void wsl_watch_stop(struct wsl_watch *w);

#endif
