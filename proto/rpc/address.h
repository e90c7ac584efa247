/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses a server is asked to listen on: "HOST:PORT", "[V6]:PORT" or "unix:/path". Both
 * functions resolve names and so may block; they are for start-up.
 */
#ifndef WSL_PROTO_RPC_ADDRESS_H
#define WSL_PROTO_RPC_ADDRESS_H

#include "base/err.h"

#include <stdbool.h>

/* WSL_EINVAL: no such form. (gRPC itself would take port 99999 for 34463.) */
int wsl_rpc_address_form(const char *address, struct wsl_err *err);

/* Of a server. WSL_EINVAL: no such form. WSL_EDENIED: `remote` is not set and some address of the
 * host is reachable from other machines. */
int wsl_rpc_address_check(const char *address, bool remote, struct wsl_err *err);

/* After a failed bind: says why by trying it with plain sockets. Always fails; WSL_EEXIST when the
 * port is taken. */
int wsl_rpc_address_why_not(const char *address, struct wsl_err *err);

#endif
