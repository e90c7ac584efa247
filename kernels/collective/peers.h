/* SPDX-License-Identifier: Apache-2.0
 *
 * The star: one TCP connection from every rank to rank 0. It is how ranks meet, and how they know
 * who is still there.
 *
 * Meeting: the exchange (collective.h) gives all ranks the address of rank 0 and nothing else, so
 * that what goes through the coordinator does not grow with the square of the world. Every rank
 * connects to rank 0 and hands in what it has for its neighbours (Gloo: where its pairs listen);
 * rank 0 gives every rank what its neighbours have for it.
 *
 * Liveness, for an implementation that cannot tell: NCCL does not notice a killed rank on the same
 * machine (its kernel waits for ever), and never says which one is missing; Gloo does not always.
 * The connections stay open as long as the rank lives; when one breaks, rank 0 tells the others
 * which.
 *
 * No thread of its own; nothing but wait blocks: the owner calls connect until it is done, then
 * check whenever wait returns or every now and then. A stopped rank is not noticed; a machine
 * without power is, after about 10 s.
 */
#ifndef WSL_KERNELS_COLLECTIVE_PEERS_H
#define WSL_KERNELS_COLLECTIVE_PEERS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wsl_peers;

/* Where rank 0 waits for the others; every rank gets it in some other way. Plain bytes. */
struct wsl_peers_address {
    char host[64]; /* numeric */
    uint16_t port;
    uint8_t token[16]; /* random: keeps out strangers, and ranks of an older generation */
};

enum { WSL_PEERS_NEIGHBOURS_MAX = 32 };

/* The neighbours of a rank, ascending: those 1, 2, 4, 8, ... places before and behind it in the
 * ring of ranks. Each is a neighbour of its neighbours, and all ranks have equally many. They are
 * the ones that a ring and a binomial tree (with any root) need. The world is 2 to 65536. */
int wsl_peers_neighbours(int rank, int world, int ret[WSL_PEERS_NEIGHBOURS_MAX]);

struct wsl_peers_setup {
    int rank, world;  /* world: at least 2 */
    const char *host; /* numeric address of this machine */
    size_t each;      /* bytes for each neighbour, the same on all ranks; 0: nothing to hand in */
    const void *ours; /* `each` bytes for every neighbour, in their order; copied */
};

/* Rank 0 listens on `host` and fills *ret_address; the others leave it as it is. WSL_EIO: the
 * process may not have a descriptor for every rank; the line says which world fits. */
int wsl_peers_open(struct wsl_peers **ret, const struct wsl_peers_setup *setup,
                   struct wsl_peers_address *ret_address, struct wsl_err *err);

/* One turn of meeting: 0 when everybody is connected and ret_theirs has what each neighbour has for
 * this rank, in their order (nothing and NULL when `each` is 0); 1 when not yet (wait, call again);
 * WSL_EPEER when rank 0 cannot be reached, or a rank left meanwhile, which is named. */
int wsl_peers_connect(struct wsl_peers *p, const struct wsl_peers_address *zero, void *ret_theirs,
                      struct wsl_err *err);

/* 0, or WSL_EPEER with a line that names the rank that is gone; the same one from then on. */
int wsl_peers_check(struct wsl_peers *p, struct wsl_err *err);

/* Blocks until connect or check may have news, wake was called, or `timeout_ms` have passed (-1:
 * no limit). */
void wsl_peers_wait(struct wsl_peers *p, int timeout_ms);

/* Ends a wait, the running one or else the next. Any thread. */
void wsl_peers_wake(struct wsl_peers *p);

/* Lets the others know that this rank is gone. NULL is fine. */
void wsl_peers_close(struct wsl_peers *p);

#endif
