/* SPDX-License-Identifier: Apache-2.0
 *
 * The liveness of rendezvous.h on a thread of its own ("peer-monitor"), for an implementation that
 * blocks in foreign code: Gloo does not always tell a rank that waits to send to a killed one.
 */
#ifndef WSL_KERNELS_COLLECTIVE_PEER_MONITOR_H
#define WSL_KERNELS_COLLECTIVE_PEER_MONITOR_H

#include "kernels/collective/rendezvous.h"

struct wsl_peer_monitor;

/* Called once at most, on the monitor's thread: WSL_EPEER and a line that names the rank. */
typedef void (*wsl_peer_monitor_lost_fn)(void *context, const struct wsl_err *why);

/* Monitors `peers`, which are connected and now the monitor's (also after a failure). A rank that
 * ended in order closes when its own last operation is done, while the others' are about to be:
 * `lost` is called half a second after the loss was seen. */
int wsl_peer_monitor_start(struct wsl_peer_monitor **ret, struct wsl_rendezvous *peers,
                           wsl_peer_monitor_lost_fn lost, void *context, struct wsl_err *err);

/* Which rank was lost first, for a connection that broke otherwise: true with WSL_EPEER and the
 * line when that is known within a quarter of a second. Any thread; blocks as long. */
bool wsl_peer_monitor_ask(struct wsl_peer_monitor *m, struct wsl_err *ret_why);

/* Ends the thread, then closes the peers: from here on this rank counts as disconnected, and `lost`
 * is not called any more. May wait for `lost`. NULL is fine. */
void wsl_peer_monitor_stop(struct wsl_peer_monitor *m);

#endif
