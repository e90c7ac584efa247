/* SPDX-License-Identifier: Apache-2.0
 *
 * Blocking gRPC client for command-line programs: no loop, no thread of ours. One thread uses a
 * client. Failures carry the server's own text; an unreachable server is WSL_EUNAVAILABLE and names
 * the address.
 */
#ifndef WSL_PROTO_CLIENT_H
#define WSL_PROTO_CLIENT_H

#include "base/err.h"

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

struct wsl_client;

int wsl_client_open(struct wsl_client **ret, const char *address, struct wsl_err *err);
void wsl_client_close(struct wsl_client *client); /* NULL is fine */

/* One request, one answer: *ret is freed by the caller with protobuf_c_message_free_unpacked().
 * A connection that died while idle is tried once more. timeout_ms 0: 10 s. */
int wsl_client_call(struct wsl_client *client, const char *path, const ProtobufCMessage *request,
                    const ProtobufCMessageDescriptor *response, uint32_t timeout_ms,
                    ProtobufCMessage **ret, struct wsl_err *err);

/* One request, a stream of answers. */
struct wsl_client_stream;
int wsl_client_stream_open(struct wsl_client_stream **ret, struct wsl_client *client,
                           const char *path, const ProtobufCMessage *request,
                           const ProtobufCMessageDescriptor *response, struct wsl_err *err);

/* 0 and *ret; WSL_CLIENT_END when the server ended the stream well; WSL_ETIMEOUT when nothing came
 * in timeout_ms (call again; 0: wait for ever); WSL_ECANCELLED after wsl_client_stream_cancel. */
enum { WSL_CLIENT_END = 1 };
int wsl_client_stream_next(struct wsl_client_stream *stream, uint32_t timeout_ms,
                           ProtobufCMessage **ret, struct wsl_err *err);
void wsl_client_stream_cancel(
    struct wsl_client_stream *stream); /* any thread; not from a signal handler */
void wsl_client_stream_close(struct wsl_client_stream *stream); /* NULL is fine */

#endif
