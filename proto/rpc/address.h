/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses of servers: "HOST:PORT", "[V6]:PORT" or "unix:/path". All functions but the split
 * and the form resolve names and so may block; they are for start-up.
 */
#ifndef WSL_PROTO_RPC_ADDRESS_H
#define WSL_PROTO_RPC_ADDRESS_H

#include "base/err.h"

#include <stdbool.h>

/* WSL_EINVAL: no such form. (gRPC itself would take port 99999 for 34463.) */
int wsl_rpc_address_form(const char *address, struct wsl_err *err);

/* The host and the port (a number) of "HOST:PORT"; WSL_EINVAL: no such form. */
int wsl_rpc_address_split(const char *address, char host[256], char port[8], struct wsl_err *err);

/* Of a server. WSL_EINVAL: no such form. WSL_EDENIED: `remote` is not set and some address of the
 * host is reachable from other machines. */
int wsl_rpc_address_check(const char *address, bool remote, struct wsl_err *err);

/* After a failed bind: says why by trying it with plain sockets. Always fails; WSL_EEXIST when the
 * port is taken. */
int wsl_rpc_address_why_not(const char *address, struct wsl_err *err);

/* How this machine reaches a server. */
struct wsl_rpc_route {
    char local[64]; /* numeric address of this machine's end; "127.0.0.1" where it stays within */
    bool within;    /* the server is on this machine: a Unix socket, or one of its own addresses */
    bool loopback;  /* over an address that no other machine can use */
};

/* What the kernel would choose; nothing is sent, and nobody has to listen there. A name that has
 * addresses of both families is reached over IPv4. WSL_EINVAL: no such form; WSL_EUNAVAILABLE: the
 * name is not known at the moment, or there is no route. */
int wsl_rpc_address_route(const char *address, struct wsl_rpc_route *ret, struct wsl_err *err);

#endif
