/* SPDX-License-Identifier: Apache-2.0
 *
 * What both sides of a call do alike: counting operations under way, the bounded send queue with
 * one message in flight, and the receive loop. */
#include "proto/rpc/internal.h"

#include <assert.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <stdlib.h>
#include <string.h>

struct wsl_rpc_call *wsl_rpc_call_new(struct wsl_rpc *rpc, grpc_call *core,
                                      const struct wsl_rpc_role *role)
{
    struct wsl_rpc_call *call = calloc(1, sizeof *call);

    if (!call) {
        grpc_call_cancel(core, NULL);
        grpc_call_unref(core);
        return NULL;
    }
    call->rpc = rpc;
    call->core = core;
    call->role = role;
    call->last = &call->first;
    call->waiting_max = 64;
    call->finish_text = grpc_empty_slice();
    call->end_text = grpc_empty_slice();
    grpc_metadata_array_init(&call->initial);
    grpc_metadata_array_init(&call->trailing);
    call->next = rpc->calls;
    call->link = &rpc->calls;
    if (call->next)
        call->next->link = &call->next;
    rpc->calls = call;
    return call;
}

static void call_free(struct wsl_rpc_call *call)
{
    *call->link = call->next;
    if (call->next)
        call->next->link = call->link;
    if (call->server)
        call->server->open_calls--;
    wsl_rpc_call_drop_queue(call);
    grpc_metadata_array_destroy(&call->initial);
    grpc_metadata_array_destroy(&call->trailing);
    grpc_slice_unref(call->finish_text);
    grpc_slice_unref(call->end_text);
    gpr_free(call->peer);
    grpc_call_unref(call->core);
    free(call);
}

void wsl_rpc_call_start(struct wsl_rpc_call *call, const grpc_op *ops, size_t count,
                        struct wsl_rpc_tag *tag, void (*run)(struct wsl_rpc_tag *tag))
{
    grpc_call_error error;

    call->batches++;
    wsl_rpc_tag_arm(tag, run);
    error = grpc_call_start_batch(call->core, ops, count, tag, NULL);
    assert(error == GRPC_CALL_OK); /* anything else is misuse of gRPC */
    (void)error;
}

void wsl_rpc_call_batch_ended(struct wsl_rpc_call *call)
{
    assert(call->batches > 0);
    if (--call->batches == 0)
        call_free(call);
}

void *wsl_rpc_call_data(const struct wsl_rpc_call *call)
{
    return call->data;
}

void wsl_rpc_call_set_data(struct wsl_rpc_call *call, void *data)
{
    call->data = data;
}

const char *wsl_rpc_call_peer(const struct wsl_rpc_call *call)
{
    return call->peer ? call->peer : "";
}

/* ---- sending ---- */

void wsl_rpc_call_drop_queue(struct wsl_rpc_call *call)
{
    while (call->first) {
        struct wsl_rpc_outgoing *out = call->first;

        call->first = out->next;
        grpc_byte_buffer_destroy(out->bytes);
        free(out);
        call->waiting--;
    }
    call->last = &call->first;
}

int wsl_rpc_call_queue(struct wsl_rpc_call *call, const ProtobufCMessage *message)
{
    struct wsl_rpc_outgoing *out = calloc(1, sizeof *out);

    if (!out)
        return WSL_ENOMEM;
    out->bytes = wsl_rpc_pack(message);
    *call->last = out;
    call->last = &out->next;
    call->waiting++;
    return 0;
}

static void take_first(struct wsl_rpc_call *call)
{
    struct wsl_rpc_outgoing *out = call->first;

    call->in_flight = out->bytes;
    call->first = out->next;
    if (!call->first)
        call->last = &call->first;
    free(out);
}

static void on_sent(struct wsl_rpc_tag *tag)
{
    struct wsl_rpc_call *call = OWNER(tag, struct wsl_rpc_call, send_tag);

    call->sending = false;
    if (call->in_flight) {
        grpc_byte_buffer_destroy(call->in_flight);
        call->in_flight = NULL;
        call->waiting--;
    }
    if (!tag->ok) {
        call->broken = true;
        wsl_rpc_call_drop_queue(call);
    } else if (call->blocked && call->waiting == 0 && !call->closed && !call->finishing) {
        call->blocked = false;
        call->role->writable(call);
    }
    wsl_rpc_call_send_next(call);
    wsl_rpc_call_batch_ended(call);
}

static grpc_op end_op(struct wsl_rpc_call *call)
{
    grpc_op op = {0};

    if (!call->server) {
        op.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
        return op;
    }
    op.op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    op.data.send_status_from_server.status = call->finish_status;
    op.data.send_status_from_server.status_details = &call->finish_text;
    return op;
}

void wsl_rpc_call_send_next(struct wsl_rpc_call *call)
{
    grpc_op ops[3] = {0};
    size_t count = 0;
    bool with_end;

    if (call->sending || call->broken || call->closed || call->finish_sent)
        return;
    with_end = call->finishing && (!call->first || !call->first->next);
    if (!call->first && !with_end && (call->initial_sent || call->server))
        return;
    if (!call->initial_sent) {
        ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
        call->initial_sent = true;
    }
    if (call->first) {
        take_first(call);
        ops[count].op = GRPC_OP_SEND_MESSAGE;
        ops[count++].data.send_message.send_message = call->in_flight;
    }
    if (with_end) {
        ops[count++] = end_op(call);
        call->finish_sent = true;
    }
    call->sending = true;
    wsl_rpc_call_start(call, ops, count, &call->send_tag, on_sent);
}

int wsl_rpc_send(struct wsl_rpc_call *call, const ProtobufCMessage *message)
{
    int r;

    if (call->closed || call->broken || call->finishing)
        return WSL_ESTATE;
    if (call->waiting >= call->waiting_max) {
        call->blocked = true;
        return WSL_EAGAIN;
    }
    r = wsl_rpc_call_queue(call, message);
    if (r == 0)
        wsl_rpc_call_send_next(call);
    return r;
}

size_t wsl_rpc_send_waiting(const struct wsl_rpc_call *call)
{
    return call->waiting;
}

void wsl_rpc_cancel(struct wsl_rpc_call *call)
{
    if (call->closed)
        return;
    call->deaf = true;
    grpc_call_cancel(call->core, NULL);
}

/* ---- receiving ---- */

static void take_received(struct wsl_rpc_call *call)
{
    grpc_byte_buffer *bytes = call->received;
    ProtobufCMessage *message;

    call->received = NULL;
    if (call->deaf || call->closed) {
        grpc_byte_buffer_destroy(bytes);
        return;
    }
    message = wsl_rpc_unpack(call->incoming, bytes);
    grpc_byte_buffer_destroy(bytes);
    if (!message) {
        call->role->unreadable(call);
        return;
    }
    call->role->message(call, message);
    protobuf_c_message_free_unpacked(message, NULL);
}

static void on_received(struct wsl_rpc_tag *tag)
{
    struct wsl_rpc_call *call = OWNER(tag, struct wsl_rpc_call, receive_tag);

    call->receiving = false;
    if (!call->peer)
        call->peer = grpc_call_get_peer(call->core);
    if (call->received) {
        take_received(call);
        wsl_rpc_call_receive(call);
    } else {
        call->receive_ended = true;
        if (!call->closed)
            call->role->receive_end(call);
    }
    wsl_rpc_call_batch_ended(call);
}

void wsl_rpc_call_receive(struct wsl_rpc_call *call)
{
    grpc_op ops[2] = {0};
    size_t count = 0;

    if (call->receiving || call->receive_ended || call->closed)
        return;
    /* A server has no use for more; a client reads on to the status behind the messages. */
    if (call->server && call->deaf)
        return;
    if (!call->server && !call->initial_received) {
        ops[count].op = GRPC_OP_RECV_INITIAL_METADATA;
        ops[count++].data.recv_initial_metadata.recv_initial_metadata = &call->initial;
        call->initial_received = true;
    }
    ops[count].op = GRPC_OP_RECV_MESSAGE;
    ops[count++].data.recv_message.recv_message = &call->received;
    call->receiving = true;
    wsl_rpc_call_start(call, ops, count, &call->receive_tag, on_received);
}
