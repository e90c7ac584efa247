/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection of a program that has a loop, and its state.
 */
#include "proto/rpc/internal.h"

#include <grpc/slice.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECEIVE_MAX = 16 << 20 };

int wsl_rpc_channel_open(struct wsl_rpc_channel **ret, struct wsl_rpc *rpc, const char *address,
                         struct wsl_err *err)
{
    struct wsl_rpc_channel *channel;

    if (rpc->closing)
        return wsl_fail(err, WSL_ESTATE, "cannot connect to %s: shutting down", address);
    channel = calloc(1, sizeof *channel);
    if (!channel || !(channel->address = strdup(address ? address : ""))) {
        free(channel);
        return wsl_fail(err, WSL_ENOMEM, "no memory for a connection to %s", address);
    }
    channel->core = wsl_rpc_connect(address, RECEIVE_MAX, err);
    if (!channel->core) {
        free(channel->address);
        free(channel);
        return err ? err->code : WSL_EINVAL;
    }
    channel->rpc = rpc;
    channel->next = rpc->channels;
    channel->link = &rpc->channels;
    if (channel->next)
        channel->next->link = &channel->next;
    rpc->channels = channel;
    *ret = channel;
    return 0;
}

void wsl_rpc_channel_close(struct wsl_rpc_channel *channel)
{
    if (!channel)
        return;
    for (struct wsl_rpc_call *call = channel->rpc->calls; call; call = call->next) {
        if (call->channel != channel)
            continue;
        call->channel = NULL;
        wsl_rpc_cancel(call);
    }
    *channel->link = channel->next;
    if (channel->next)
        channel->next->link = channel->link;
    grpc_channel_destroy(channel->core);
    free(channel->address);
    free(channel);
}

/* ---- the client's role in a call ---- */

static void end_if_over(struct wsl_rpc_call *call)
{
    char text[400];

    if (!call->end_known || !call->receive_ended || call->closed)
        return;
    wsl_rpc_call_drop_queue(call);
    call->closed = true;
    wsl_rpc_status_text(call->end_text, text, sizeof text);
    if (call->stream.on_closed)
        call->stream.on_closed(call, call->context, (enum wsl_rpc_status)call->end_status, text);
}

static void on_response(struct wsl_rpc_call *call, const ProtobufCMessage *message)
{
    call->stream.on_message(call, call->context, message);
}

static void on_unreadable(struct wsl_rpc_call *call)
{
    char text[200];

    snprintf(text, sizeof text, "the server's answer to %s is no %s message", call->stream.path,
             call->incoming->name);
    call->deaf = true;
    grpc_call_cancel_with_status(call->core, GRPC_STATUS_INTERNAL, text, NULL);
}

static void on_writable(struct wsl_rpc_call *call)
{
    if (call->stream.on_writable)
        call->stream.on_writable(call, call->context);
}

static const struct wsl_rpc_role client_role = {
    .message = on_response,
    .unreadable = on_unreadable,
    .receive_end = end_if_over,
    .writable = on_writable,
};

/* Messages that came before the status are still handed out first. */
static void on_status(struct wsl_rpc_tag *tag)
{
    struct wsl_rpc_call *call = OWNER(tag, struct wsl_rpc_call, end_tag);

    call->end_known = true;
    wsl_rpc_call_receive(call);
    end_if_over(call);
    wsl_rpc_call_batch_ended(call);
}

int wsl_rpc_stream_start(struct wsl_rpc_call **ret, struct wsl_rpc_channel *channel,
                         const struct wsl_rpc_stream_setup *setup, struct wsl_err *err)
{
    struct wsl_rpc *rpc = channel->rpc;
    grpc_slice path;
    grpc_call *core;
    struct wsl_rpc_call *call;
    grpc_op op = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};

    if (rpc->closing)
        return wsl_fail(err, WSL_ESTATE, "cannot call %s: shutting down", channel->address);
    path = grpc_slice_from_copied_string(setup->path);
    core = grpc_channel_create_call(channel->core, NULL, GRPC_PROPAGATE_DEFAULTS, rpc->cq, path,
                                    NULL, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    grpc_slice_unref(path);
    call = wsl_rpc_call_new(rpc, core, &client_role);
    if (!call)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a call to %s", channel->address);
    call->channel = channel;
    call->stream = *setup;
    call->context = setup->context;
    call->incoming = setup->response;
    if (setup->send_queue_max)
        call->waiting_max = setup->send_queue_max;
    op.data.recv_status_on_client.trailing_metadata = &call->trailing;
    op.data.recv_status_on_client.status = &call->end_status;
    op.data.recv_status_on_client.status_details = &call->end_text;
    wsl_rpc_call_start(call, &op, 1, &call->end_tag, on_status);
    wsl_rpc_call_send_next(call); /* the initial metadata */
    wsl_rpc_call_receive(call);
    *ret = call;
    return 0;
}

void wsl_rpc_half_close(struct wsl_rpc_call *call)
{
    if (call->server || call->closed || call->finishing)
        return;
    call->finishing = true;
    wsl_rpc_call_send_next(call);
}
