/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared by the files of this directory; nobody else includes it.
 *
 * Everything belongs to the loop thread. The pump thread takes finished tags from gRPC's completion
 * queue, appends them to a list and wakes the loop; it looks at nothing but the tag's own fields.
 */
#ifndef WSL_PROTO_RPC_INTERNAL_H
#define WSL_PROTO_RPC_INTERNAL_H

#include "proto/rpc/rpc.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <pthread.h>
#include <stdatomic.h>

#define OWNER(tag, type, member) ((type *)((char *)(tag)-offsetof(type, member)))

/* One per kind of operation that may be under way, embedded in what it belongs to. */
struct wsl_rpc_tag {
    void (*run)(struct wsl_rpc_tag *tag); /* on the loop, when the operation ended */
    struct wsl_rpc_tag *next;             /* the pump's list */
    bool ok;                              /* gRPC's word on how it ended */
    /* Set before the operation starts and read after it ended: gRPC orders the two, but thread
     * checkers cannot see into it. */
    atomic_int armed;
};

struct wsl_rpc {
    uv_loop_t *loop;
    uv_async_t wake;
    uv_timer_t grace;
    grpc_completion_queue *cq;
    pthread_t pump;

    pthread_mutex_t lock; /* guards the next three */
    struct wsl_rpc_tag *first;
    struct wsl_rpc_tag **last;
    bool pump_ended;

    struct wsl_rpc_server *servers;
    struct wsl_rpc_channel *channels;
    struct wsl_rpc_call *calls; /* all that are not freed yet */
    bool closing;
    bool queue_down; /* the completion queue was told to end */
    int handles;     /* uv handles not closed yet */
    void (*done)(void *context);
    void *context;
};

/* Marks a tag as under way; call it right before the operation starts. */
void wsl_rpc_tag_arm(struct wsl_rpc_tag *tag, void (*run)(struct wsl_rpc_tag *tag));

/* Goes on with wsl_rpc_close once nothing is open any more. */
void wsl_rpc_close_step(struct wsl_rpc *rpc);

/* Initialises gRPC and sends its log to ours. Pairs with grpc_shutdown(). */
void wsl_rpc_library_open(void);

/* ---- calls ---- */

/* What differs between the two sides. Each runs on the loop; none after `closed` is set. */
struct wsl_rpc_role {
    void (*message)(struct wsl_rpc_call *call, const ProtobufCMessage *message);
    void (*unreadable)(struct wsl_rpc_call *call); /* bytes that are no such message */
    void (*receive_end)(struct wsl_rpc_call *call);
    void (*writable)(struct wsl_rpc_call *call);
};

struct wsl_rpc_outgoing {
    struct wsl_rpc_outgoing *next;
    grpc_byte_buffer *bytes;
};

struct wsl_rpc_call {
    struct wsl_rpc *rpc;
    struct wsl_rpc_call *next, **link; /* in rpc->calls */
    const struct wsl_rpc_role *role;
    struct wsl_rpc_server *server;       /* NULL: client side */
    const struct wsl_rpc_method *method; /* server side; NULL: unknown method */
    struct wsl_rpc_channel *channel;     /* client side; NULL once that is closed */
    struct wsl_rpc_stream_setup stream;  /* client side */
    const ProtobufCMessageDescriptor *incoming;
    void *context; /* for the callbacks */
    void *data;    /* the user's */
    char *peer;    /* gRPC's memory; NULL: not known yet */
    grpc_call *core;
    int batches; /* under way; freed when it falls to zero */
    bool closed; /* on_closed is running or has run */

    struct wsl_rpc_tag receive_tag;
    grpc_byte_buffer *received;
    grpc_metadata_array initial; /* client side */
    bool initial_received;
    bool receiving;
    bool receive_ended;
    bool deaf; /* messages that still come are dropped */

    struct wsl_rpc_tag send_tag;
    struct wsl_rpc_outgoing *first, **last;
    grpc_byte_buffer *in_flight;
    size_t waiting; /* queued and in flight */
    size_t waiting_max;
    bool sending;
    bool initial_sent;
    bool blocked;   /* somebody was told WSL_EAGAIN */
    bool broken;    /* a send failed: the peer is gone */
    bool finishing; /* the end (status or half-close) follows the queue */
    bool finish_sent;
    grpc_status_code finish_status;
    grpc_slice finish_text;

    struct wsl_rpc_tag end_tag;
    int cancelled;                /* server side */
    grpc_metadata_array trailing; /* client side, as the next ones */
    grpc_status_code end_status;
    grpc_slice end_text;
    bool end_known;
};

/* Takes over `core`; NULL when out of memory (core is then released). */
struct wsl_rpc_call *wsl_rpc_call_new(struct wsl_rpc *rpc, grpc_call *core,
                                      const struct wsl_rpc_role *role);
void wsl_rpc_call_start(struct wsl_rpc_call *call, const grpc_op *ops, size_t count,
                        struct wsl_rpc_tag *tag, void (*run)(struct wsl_rpc_tag *tag));
/* At the end of every completion; may free the call. */
void wsl_rpc_call_batch_ended(struct wsl_rpc_call *call);
void wsl_rpc_call_receive(struct wsl_rpc_call *call);
/* Sends what can be sent now. */
void wsl_rpc_call_send_next(struct wsl_rpc_call *call);
/* Queues without a limit. */
int wsl_rpc_call_queue(struct wsl_rpc_call *call, const ProtobufCMessage *message);
void wsl_rpc_call_drop_queue(struct wsl_rpc_call *call);

/* ---- server and channels, as wsl_rpc_close sees them ---- */

enum { WSL_RPC_ACCEPTS = 32 };

struct wsl_rpc_accept {
    struct wsl_rpc_tag tag;
    struct wsl_rpc_server *server;
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array metadata;
};

enum { WSL_RPC_BUILTINS = 4 };

struct wsl_rpc_server {
    struct wsl_rpc *rpc;
    struct wsl_rpc_server *next;
    grpc_server *core;
    int port;
    void *context;
    struct wsl_rpc_method *methods;
    size_t method_count;
    struct wsl_rpc_method builtins[WSL_RPC_BUILTINS];
    size_t builtin_count;
    const uint8_t *descriptor_set;
    size_t descriptor_set_size;
    bool serving;
    size_t open_calls;
    struct wsl_rpc_accept accepts[WSL_RPC_ACCEPTS];
    int accepting;
    struct wsl_rpc_tag down_tag;
    bool down;
};

void wsl_rpc_server_stop(struct wsl_rpc_server *server);       /* no new calls */
void wsl_rpc_server_cancel_all(struct wsl_rpc_server *server); /* after _stop */
bool wsl_rpc_server_stopped(const struct wsl_rpc_server *server);
void wsl_rpc_server_free(struct wsl_rpc_server *server);
/* Does it have this service ("wsl.v1.JobService"; "" is the server itself)? */
bool wsl_rpc_server_has_service(const struct wsl_rpc_server *server, const char *name);

struct wsl_rpc_channel {
    struct wsl_rpc *rpc;
    struct wsl_rpc_channel *next, **link;
    grpc_channel *core;
    char *address;
};

/* ---- built-in services ---- */

size_t wsl_rpc_health_methods(struct wsl_rpc_method *methods);     /* 2 */
size_t wsl_rpc_reflection_methods(struct wsl_rpc_method *methods); /* 2 */
void wsl_rpc_health_changed(struct wsl_rpc_server *server);

/* ---- bytes (wire.c), any thread ---- */

grpc_byte_buffer *wsl_rpc_pack(const ProtobufCMessage *message); /* NULL: out of memory */
/* NULL: not such a message. Freed with protobuf_c_message_free_unpacked. */
ProtobufCMessage *wsl_rpc_unpack(const ProtobufCMessageDescriptor *type, grpc_byte_buffer *bytes);
/* The first string field that is not UTF-8; NULL when all are. */
const char *wsl_rpc_bad_text(const ProtobufCMessage *message);
/* A new plaintext channel; NULL with *err. `receive_max` bytes of one message. */
grpc_channel *wsl_rpc_connect(const char *address, int receive_max, struct wsl_err *err);
/* A C string of a slice, cut to `size`, on one line. */
void wsl_rpc_slice_text(grpc_slice slice, char *text, size_t size);
/* The same for a status received; of gRPC's own words for a failed connection only the innermost
 * reason: "Connection refused". */
void wsl_rpc_status_text(grpc_slice slice, char *text, size_t size);

#endif
