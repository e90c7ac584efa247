/* SPDX-License-Identifier: Apache-2.0
 *
 * gRPC for loop-threaded daemons: servers and outgoing calls on gRPC core, handed to one libuv loop
 * thread.
 *
 * Threads: every function here is for the loop thread, and every callback runs there. One pump
 * thread (named "rpc-pump") waits on the completion queue and posts to the loop; it touches nothing
 * else.
 *
 * Life of a call, server or client: callbacks in this order, each on the loop thread,
 *   on_message (any number) -> on_half_close (peer sends no more) -> on_closed (exactly once,
 * always last, also for a call that never brought a message; never from within a function called
 * here). The `struct wsl_rpc_call *` is valid until on_closed returns. Sending on a call whose peer
 * went away is harmless (WSL_ESTATE), and so are reply and finish. Nothing but on_closed is called
 * after reply, finish or cancel.
 *
 * A server refuses by itself, before any callback: bytes that are no such message and strings that
 * are not UTF-8 (INVALID_ARGUMENT), messages over the limit (RESOURCE_EXHAUSTED).
 *
 * Messages are protobuf-c structs; those given to callbacks are freed when the callback returns;
 * those passed to send are packed at once and stay the caller's.
 */
#ifndef WSL_PROTO_RPC_RPC_H
#define WSL_PROTO_RPC_RPC_H

#include "base/err.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

/* gRPC status codes that we give and read (numbers of the gRPC specification). */
enum wsl_rpc_status {
    WSL_RPC_OK = 0,
    WSL_RPC_CANCELLED = 1,
    WSL_RPC_UNKNOWN = 2,
    WSL_RPC_INVALID_ARGUMENT = 3,
    WSL_RPC_DEADLINE_EXCEEDED = 4,
    WSL_RPC_NOT_FOUND = 5,
    WSL_RPC_ALREADY_EXISTS = 6,
    WSL_RPC_PERMISSION_DENIED = 7,
    WSL_RPC_RESOURCE_EXHAUSTED = 8,
    WSL_RPC_FAILED_PRECONDITION = 9,
    WSL_RPC_ABORTED = 10,
    WSL_RPC_OUT_OF_RANGE = 11,
    WSL_RPC_UNIMPLEMENTED = 12,
    WSL_RPC_INTERNAL = 13,
    WSL_RPC_UNAVAILABLE = 14,
    WSL_RPC_DATA_LOSS = 15,
    WSL_RPC_UNAUTHENTICATED = 16,
};

/* The status that tells a client of this error, and the error a status means. */
enum wsl_rpc_status wsl_rpc_status_of(int err_code);
int wsl_rpc_error_of(enum wsl_rpc_status status);

struct wsl_rpc; /* a completion queue, its pump thread and its place on a loop */
struct wsl_rpc_call;

int wsl_rpc_open(struct wsl_rpc **ret, uv_loop_t *loop, struct wsl_err *err);

/* Closes servers and channels that are still open (calls end with UNAVAILABLE), joins the pump, and
 * calls `done` from the loop when nothing of it is left. `grace_ms`: how long open calls may take
 * to end by themselves. */
void wsl_rpc_close(struct wsl_rpc *rpc, uint32_t grace_ms, void (*done)(void *context),
                   void *context);

/* ---- calls, both sides ---- */

void *wsl_rpc_call_data(const struct wsl_rpc_call *call);
void wsl_rpc_call_set_data(struct wsl_rpc_call *call, void *data);
const char *wsl_rpc_call_peer(const struct wsl_rpc_call *call); /* "ipv4:127.0.0.1:4711" */

/* Queues a message on a stream. WSL_EAGAIN when `send_queue_max` messages wait already: nothing was
 * queued, and on_writable is called once the queue is empty. WSL_ESTATE after the call ended or
 * finish. */
int wsl_rpc_send(struct wsl_rpc_call *call, const ProtobufCMessage *message);
size_t wsl_rpc_send_waiting(
    const struct wsl_rpc_call *call); /* messages queued and not yet taken by the transport */

/* Ends the call at once, queued messages are dropped: the peer sees CANCELLED. on_closed still
 * follows, on_message no more. */
void wsl_rpc_cancel(struct wsl_rpc_call *call);

/* ---- server ---- */

struct wsl_rpc_method {
    const char *path; /* "/wsl.v1.JobService/Submit" */
    const ProtobufCMessageDescriptor *request;
    bool client_streams;   /* several requests may come; a unary request is given once, then
                              on_half_close is not called */
    size_t send_queue_max; /* of a server stream; 0: 64 */
    void (*on_message)(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *request);
    void (*on_half_close)(struct wsl_rpc_call *call, void *context); /* may be NULL */
    void (*on_writable)(struct wsl_rpc_call *call, void *context);   /* may be NULL */
    void (*on_closed)(struct wsl_rpc_call *call, void *context);     /* may be NULL */
};

struct wsl_rpc_server_setup {
    const char *address;                  /* "127.0.0.1:7070", port 0: any; "unix:/path" */
    const struct wsl_rpc_method *methods; /* copied; the paths must stay */
    size_t method_count;
    void *context;      /* for the callbacks */
    size_t receive_max; /* bytes of one message; 0: 1 MiB; larger ones get RESOURCE_EXHAUSTED */
    const uint8_t *descriptor_set; /* FileDescriptorSet for reflection, must stay
                                      (proto/descriptors.h); NULL: no reflection */
    size_t descriptor_set_size;
    bool remote_plaintext; /* allow an address off loopback without TLS (asked for by name) */
};

struct wsl_rpc_server;

/* Serves also grpc.health.v1.Health (Check, Watch) and reflection (v1 and v1alpha). Unknown methods
 * get UNIMPLEMENTED. WSL_EEXIST when the port is taken: the text names the address. WSL_EDENIED for
 * a plaintext address off loopback. */
int wsl_rpc_server_open(struct wsl_rpc_server **ret, struct wsl_rpc *rpc,
                        const struct wsl_rpc_server_setup *setup, struct wsl_err *err);
int wsl_rpc_server_port(const struct wsl_rpc_server *server); /* the bound TCP port */
void wsl_rpc_server_set_serving(struct wsl_rpc_server *server,
                                bool serving); /* what health answers; true after open */

/* Server side of a call: unary answer and end; end of a stream after all queued messages; or
 * failure. */
void wsl_rpc_reply(struct wsl_rpc_call *call, const ProtobufCMessage *message);
void wsl_rpc_finish(struct wsl_rpc_call *call, enum wsl_rpc_status status, const char *text);
void wsl_rpc_finish_err(struct wsl_rpc_call *call, const struct wsl_err *err);

/* ---- client on a loop (bidirectional streams of the worker) ---- */

struct wsl_rpc_channel;
int wsl_rpc_channel_open(struct wsl_rpc_channel **ret, struct wsl_rpc *rpc, const char *address,
                         struct wsl_err *err);
void wsl_rpc_channel_close(struct wsl_rpc_channel *channel);

struct wsl_rpc_stream_setup {
    const char *path;
    const ProtobufCMessageDescriptor *response;
    size_t send_queue_max; /* 0: 64 */
    void *context;
    void (*on_message)(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *response);
    void (*on_writable)(struct wsl_rpc_call *call, void *context);
    void (*on_closed)(struct wsl_rpc_call *call, void *context, enum wsl_rpc_status status,
                      const char *text);
};
int wsl_rpc_stream_start(struct wsl_rpc_call **ret, struct wsl_rpc_channel *channel,
                         const struct wsl_rpc_stream_setup *setup, struct wsl_err *err);
/* Says that nothing more will be sent, after all queued messages. */
void wsl_rpc_half_close(struct wsl_rpc_call *call);

#endif
