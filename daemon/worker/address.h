/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the trainers of other machines reach the ranks of this worker. Found or refused at start:
 * an address that nobody reaches would fail each job that comes here, and blame its peers.
 */
#ifndef WSL_DAEMON_WORKER_ADDRESS_H
#define WSL_DAEMON_WORKER_ADDRESS_H

#include "base/err.h"
#include "proto/rpc/address.h"

/* What is known of it. */
struct wsl_address_facts {
    const char *given;       /* --address; NULL: none */
    char numeric[64];        /* of `given` */
    bool given_loopback;     /* only this machine reaches it */
    bool given_ours;         /* it belongs to this machine */
    const char *coordinator; /* as --coordinator says */
    bool route_known;        /* `route` is to it */
    struct wsl_rpc_route route;
};

/* Looks all of it up; may block on a name. A name that cannot be looked up at the moment is
 * WSL_EUNAVAILABLE, unless `given` makes it unimportant. WSL_EINVAL: `given` is unknown, or
 * `coordinator` has no such form. */
int wsl_address_look(struct wsl_address_facts *ret, const char *given, const char *coordinator,
                     struct wsl_err *err);

/* Pure. The address to tell the coordinator, `given` or the local end of the way to it. WSL_EINVAL:
 * `given` cannot be reached by other machines; the line says what to give instead. */
int wsl_address_choose(const struct wsl_address_facts *facts, const char **ret,
                       struct wsl_err *err);

#endif
