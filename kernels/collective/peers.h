/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is still there, for an implementation that cannot tell: NCCL does not notice a killed rank on
 * the same machine (its kernel waits for ever), and never says which one is missing; Gloo does not
 * always. One TCP connection from every rank to rank 0 is open as long as the rank lives; when one
 * breaks, rank 0 tells the others which. Nothing is sent before.
 *
 * No thread of its own, nothing blocks: the owner calls connect until it is done, then check every
 * now and then. A stopped rank is not noticed; a machine without power is, after about 10 s.
 */
#ifndef WSL_KERNELS_COLLECTIVE_PEERS_H
#define WSL_KERNELS_COLLECTIVE_PEERS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct wsl_peers;

/* Where rank 0 waits for the others; every rank gets it in some other way. Plain bytes. */
struct wsl_peers_address {
    char host[64]; /* numeric */
    uint16_t port;
    uint8_t token[16]; /* random: keeps out strangers, and ranks of an older generation */
};

/* Rank 0 listens on `host` and fills *ret_address; the others leave it as it is. */
int wsl_peers_open(struct wsl_peers **ret, int rank, int world, const char *host,
                   struct wsl_peers_address *ret_address, struct wsl_err *err);

/* One turn of meeting: 0 when everybody is connected, 1 when not yet (call again soon), WSL_EPEER
 * when rank 0 cannot be reached. */
int wsl_peers_connect(struct wsl_peers *p, const struct wsl_peers_address *zero,
                      struct wsl_err *err);

/* 0, or WSL_EPEER with a line that names the rank that is gone; the same one from then on. */
int wsl_peers_check(struct wsl_peers *p, struct wsl_err *err);

/* Lets the others know that this rank is gone. NULL is fine. */
void wsl_peers_close(struct wsl_peers *p);

#endif
