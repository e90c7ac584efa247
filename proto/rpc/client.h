/* SPDX-License-Identifier: Apache-2.0
 *
 * Blocking gRPC client for command-line programs: no loop, no thread of ours. One thread uses a
 * client. Failures carry the server's own text. Where no coordinator can be talked to, the line
 * begins with the address: WSL_EUNAVAILABLE when nothing is there (yet), WSL_EPEER when something
 * else answers or the host is unknown (diagnose.h), which takes up to 2 s more to find out;
 * WSL_EUNSUPPORTED when a gRPC server does not know the method.
 */
#ifndef WSL_PROTO_RPC_CLIENT_H
#define WSL_PROTO_RPC_CLIENT_H

#include "base/err.h"

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>
#include <stdint.h>

struct wsl_client;
enum { WSL_CLIENT_END = 1 }; /* nothing more will come */

int wsl_client_open(struct wsl_client **ret, const char *address, struct wsl_err *err);
void wsl_client_close(struct wsl_client *client); /* NULL is fine */

/* A method by its path, "/wsl.v1.JobService/Get", and what it answers with. */
struct wsl_client_method {
    const char *path;
    const ProtobufCMessageDescriptor *response;
};

/* One request, one answer: *ret is freed by the caller with protobuf_c_message_free_unpacked().
 * A connection that died while idle is tried once more. timeout_ms 0: 10 s. */
int wsl_client_call(struct wsl_client *client, const struct wsl_client_method *method,
                    const ProtobufCMessage *request, uint32_t timeout_ms, ProtobufCMessage **ret,
                    struct wsl_err *err);

/* Many calls of one method in flight at once on the client's connection; each is one operation of
 * gRPC. The client must outlive it. */
struct wsl_client_calls;
int wsl_client_calls_open(struct wsl_client_calls **ret, struct wsl_client *client,
                          const char *path, const ProtobufCMessageDescriptor *response,
                          struct wsl_err *err);
/* Starts one; does not wait. `context` comes back with its answer. timeout_ms 0: 10 s. */
int wsl_client_calls_start(struct wsl_client_calls *calls, const ProtobufCMessage *request,
                           uint32_t timeout_ms, void *context, struct wsl_err *err);
/* Waits for any of them to end: *ret_context tells which. 0 and *ret, freed by the caller;
 * negative: that call failed, the others go on; WSL_CLIENT_END: none is in flight (*ret_context is
 * NULL). */
int wsl_client_calls_next(struct wsl_client_calls *calls, void **ret_context,
                          ProtobufCMessage **ret, struct wsl_err *err);
size_t wsl_client_calls_in_flight(const struct wsl_client_calls *calls);
/* Cancels what is in flight and waits for its end. NULL is fine. */
void wsl_client_calls_close(struct wsl_client_calls *calls);

/* One request, a stream of answers. */
struct wsl_client_stream;
int wsl_client_stream_open(struct wsl_client_stream **ret, struct wsl_client *client,
                           const char *path, const ProtobufCMessage *request,
                           const ProtobufCMessageDescriptor *response, struct wsl_err *err);

/* 0 and *ret; WSL_CLIENT_END when the server ended the stream well; WSL_ETIMEOUT when nothing came
 * in timeout_ms (call again; 0: wait for ever); WSL_ECANCELLED after wsl_client_stream_cancel. */
int wsl_client_stream_next(struct wsl_client_stream *stream, uint32_t timeout_ms,
                           ProtobufCMessage **ret, struct wsl_err *err);
void wsl_client_stream_cancel(
    struct wsl_client_stream *stream); /* any thread; not from a signal handler */
void wsl_client_stream_close(struct wsl_client_stream *stream); /* NULL is fine */

#endif
