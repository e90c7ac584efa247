/* SPDX-License-Identifier: Apache-2.0
 *
 * What is at an address that gRPC could not talk to, found with a plain socket: gRPC's own words
 * ("Failed parsing HTTP/2") name neither the mistake nor the remedy.
 */
#ifndef WSL_PROTO_RPC_DIAGNOSE_H
#define WSL_PROTO_RPC_DIAGNOSE_H

#include "base/err.h"

/* Connects to "HOST:PORT", "[V6]:PORT" or "unix:/path", says hello as an HTTP/2 client does and
 * looks at the first bytes of the answer. Blocks for 2 seconds at most, and as long as the resolver
 * takes. Always fails, with one line that begins with the address:
 * WSL_EUNAVAILABLE: nothing accepts connections there (yet);
 * WSL_EPEER: something else than a server of ours does, or the address is wrong;
 * WSL_EAGAIN: an HTTP/2 server answers, so that the trouble is another. */
int wsl_rpc_diagnose(const char *address, struct wsl_err *err);

#endif
