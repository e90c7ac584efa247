/* SPDX-License-Identifier: Apache-2.0
 *
 * A star of TCP connections, one from every rank to rank 0. It is how ranks find each other, and
 * how they know who is still alive.
 *
 * Rendezvous: the exchange (collective.h) gives all ranks the address of rank 0 and nothing else,
 * so that what goes through the coordinator does not grow with the square of the world. Every rank
 * connects to rank 0 and hands in what it has for its neighbours (Gloo: where its pairs listen);
 * rank 0 gives every rank what its neighbours have for it.
 *
 * Liveness, for an implementation that cannot tell: NCCL does not notice a killed rank on the same
 * machine (its kernel waits indefinitely), and never says which one is missing; Gloo does not
 * always. The connections stay open as long as the rank lives; when one breaks, rank 0 tells the
 * others which.
 *
 * No thread of its own; nothing but wait blocks: the owner calls connect until it is done, then
 * check whenever wait returns or every now and then. A stopped rank is not noticed; a machine
 * without power is, after about 10 s.
 */
#ifndef WSL_KERNELS_COLLECTIVE_RENDEZVOUS_H
#define WSL_KERNELS_COLLECTIVE_RENDEZVOUS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wsl_rendezvous;

/* Where rank 0 waits for the others; every rank gets it in some other way. Plain bytes. */
struct wsl_rendezvous_address {
    char host[64]; /* numeric */
    uint16_t port;
    uint8_t token[16]; /* random: keeps out other programs, and ranks of an older generation */
};

enum { WSL_RENDEZVOUS_NEIGHBOURS_MAX = 32 };

/* The neighbours of a rank, ascending: those 1, 2, 4, 8, ... places before and behind it in the
 * ring of ranks. Each is a neighbour of its neighbours, and all ranks have equally many. They are
 * the ones that a ring and a binomial tree (with any root) need. The world is 2 to 65536. */
int wsl_rendezvous_neighbours(int rank, int world, int ret[WSL_RENDEZVOUS_NEIGHBOURS_MAX]);

struct wsl_rendezvous_setup {
    int rank, world;  /* world: at least 2 */
    const char *host; /* numeric address of this machine */
    size_t each;      /* bytes for each neighbour, the same on all ranks; 0: nothing to hand in */
    const void *ours; /* `each` bytes for every neighbour, in their order; copied */
};

/* Rank 0 listens on `host` and fills *ret_address; the others leave it as it is. WSL_EIO: the
 * process may not have a descriptor for every rank; the line says which world fits. */
int wsl_rendezvous_open(struct wsl_rendezvous **ret, const struct wsl_rendezvous_setup *setup,
                        struct wsl_rendezvous_address *ret_address, struct wsl_err *err);

/* One turn of the rendezvous: 0 when everybody is connected and ret_theirs has what each
 * neighbour has for this rank, in their order (nothing and NULL when `each` is 0); 1 when not
 * yet (wait, call again); WSL_EPEER when rank 0 cannot be reached, or a rank left meanwhile,
 * which is named. */
int wsl_rendezvous_connect(struct wsl_rendezvous *p, const struct wsl_rendezvous_address *zero,
                           void *ret_theirs, struct wsl_err *err);

/* 0, or WSL_EPEER with a line that names the rank that disconnected; the same one from then on. */
int wsl_rendezvous_check(struct wsl_rendezvous *p, struct wsl_err *err);

/* Blocks until connect or check may have news, wake was called, or `timeout_ms` have passed (-1:
 * no limit). */
void wsl_rendezvous_wait(struct wsl_rendezvous *p, int timeout_ms);

/* Ends a wait, the running one or else the next. Any thread. */
void wsl_rendezvous_wake(struct wsl_rendezvous *p);

/* Disconnects, which the others notice. NULL is fine. */
void wsl_rendezvous_close(struct wsl_rendezvous *p);

#endif
