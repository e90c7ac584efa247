/* SPDX-License-Identifier: Apache-2.0
 *
 * The blocking client: one completion queue, from which each call plucks its own tags.
 */
#include "proto/rpc/client_internal.h"

#include "proto/rpc/diagnose.h"

#include <assert.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>
#include <stdlib.h>
#include <string.h>

enum { RECEIVE_MAX = 64 << 20, TIMEOUT_MS = 10000 };

struct wsl_client_stream {
    struct wsl_client *client;
    const char *path;
    const ProtobufCMessageDescriptor *response;
    grpc_call *call;
    grpc_byte_buffer *request;
    grpc_metadata_array initial, trailing;
    grpc_byte_buffer *received;
    grpc_status_code status;
    grpc_slice status_text;
    bool receiving;
    bool receive_ended;
    bool status_known;
    atomic_bool cancelled;
    /* The addresses of these are the tags. */
    char send_tag, receive_tag, status_tag;
};

int wsl_client_open(struct wsl_client **ret, const char *address, struct wsl_err *err)
{
    struct wsl_client *client = calloc(1, sizeof *client);

    if (!client || !(client->address = strdup(address ? address : ""))) {
        free(client);
        return wsl_fail(err, WSL_ENOMEM, "no memory for a client");
    }
    wsl_rpc_library_open();
    client->channel = wsl_rpc_connect(address, RECEIVE_MAX, err);
    if (!client->channel) {
        grpc_shutdown();
        free(client->address);
        free(client);
        return err ? err->code : WSL_EINVAL;
    }
    client->cq = grpc_completion_queue_create_for_pluck(NULL);
    *ret = client;
    return 0;
}

void wsl_client_close(struct wsl_client *client)
{
    if (!client)
        return;
    grpc_channel_destroy(client->channel);
    grpc_completion_queue_shutdown(client->cq);
    grpc_completion_queue_pluck(client->cq, NULL, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    grpc_completion_queue_destroy(client->cq);
    grpc_shutdown();
    free(client->address);
    free(client);
}

gpr_timespec wsl_client_deadline(uint32_t ms)
{
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                        gpr_time_from_millis(ms ? ms : TIMEOUT_MS, GPR_TIMESPAN));
}

/* gRPC's words for an answer that is HTTP/2, but not gRPC. */
static bool is_web_server(const char *text)
{
    return strncmp(text, "Received http2 header with status", 33) == 0;
}

int wsl_client_fail_status(const struct wsl_client *client, const char *path,
                           grpc_status_code status, grpc_slice slice, struct wsl_err *err)
{
    int code = wsl_rpc_error_of((enum wsl_rpc_status)status);
    char text[320];

    wsl_rpc_status_text(slice, text, sizeof text);
    if (is_web_server(text))
        return wsl_fail(err, WSL_EPEER,
                        "%s answers, but is not a wsl coordinator (a web server: HTTP/2)",
                        client->address);
    if (code == WSL_EUNSUPPORTED)
        return wsl_fail(err, code,
                        "%s answers, but is not a wsl coordinator of this version (it does not "
                        "know %s)",
                        client->address, path);
    if (code == WSL_EUNAVAILABLE || code == WSL_ETIMEOUT) {
        int why = wsl_rpc_diagnose(client->address, err);

        if (why != WSL_EAGAIN)
            return why;
    }
    if (code == WSL_EUNAVAILABLE)
        return wsl_fail(err, code, "the server at %s is unavailable: %s", client->address, text);
    if (code == WSL_ETIMEOUT)
        return wsl_fail(err, code, "%s did not answer %s in time", client->address, path);
    if (!text[0])
        return wsl_fail(err, code, "%s: %s answered status %d (%s)", path, client->address,
                        (int)status, wsl_err_name(code));
    return wsl_fail(err, code, "%s", text);
}

grpc_call *wsl_client_new_call(struct wsl_client *client, grpc_completion_queue *cq,
                               const char *path, gpr_timespec deadline)
{
    grpc_slice slice = grpc_slice_from_copied_string(path);
    grpc_call *call = grpc_channel_create_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS, cq,
                                               slice, NULL, deadline, NULL);

    grpc_slice_unref(slice);
    return call;
}

void wsl_client_start(grpc_call *call, const grpc_op *ops, size_t count, void *tag)
{
    grpc_call_error error = grpc_call_start_batch(call, ops, count, tag, NULL);

    assert(error == GRPC_CALL_OK);
    (void)error;
}

/* ---- one answer ---- */

void wsl_client_unary_start(struct wsl_client_unary *u, struct wsl_client *client,
                            grpc_completion_queue *cq, const char *path,
                            const ProtobufCMessage *request, gpr_timespec deadline)
{
    grpc_op ops[6] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA},
        {.op = GRPC_OP_SEND_MESSAGE},
        {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
        {.op = GRPC_OP_RECV_INITIAL_METADATA,
         .data.recv_initial_metadata.recv_initial_metadata = &u->initial},
        {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &u->received},
        {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
         .data.recv_status_on_client = {.trailing_metadata = &u->trailing,
                                        .status = &u->status,
                                        .status_details = &u->text}},
    };

    *u = (struct wsl_client_unary){.status = GRPC_STATUS_UNKNOWN, .text = grpc_empty_slice()};
    grpc_metadata_array_init(&u->initial);
    grpc_metadata_array_init(&u->trailing);
    u->call = wsl_client_new_call(client, cq, path, deadline);
    u->sent = wsl_rpc_pack(request);
    ops[1].data.send_message.send_message = u->sent;
    wsl_client_start(u->call, ops, 6, u);
}

void wsl_client_unary_free(struct wsl_client_unary *u)
{
    grpc_metadata_array_destroy(&u->initial);
    grpc_metadata_array_destroy(&u->trailing);
    grpc_byte_buffer_destroy(u->sent);
    grpc_slice_unref(u->text);
    if (u->received)
        grpc_byte_buffer_destroy(u->received);
    grpc_call_unref(u->call);
}

/* Runs one call to its end; the deadline bounds the wait. */
static void try_call(struct wsl_client *client, const char *path, const ProtobufCMessage *request,
                     gpr_timespec deadline, struct wsl_client_unary *ret)
{
    wsl_client_unary_start(ret, client, client->cq, path, request, deadline);
    grpc_completion_queue_pluck(client->cq, ret, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
}

int wsl_client_read_answer(const struct wsl_client *client, const char *path,
                           const ProtobufCMessageDescriptor *response, grpc_byte_buffer *bytes,
                           ProtobufCMessage **ret, struct wsl_err *err)
{
    ProtobufCMessage *message = bytes ? wsl_rpc_unpack(response, bytes) : NULL;

    if (!message)
        return wsl_fail(err, WSL_ECORRUPT,
                        "%s answered %s with bytes that are no %s; is it another version?",
                        client->address, path, response->name);
    *ret = message;
    return 0;
}

int wsl_client_call(struct wsl_client *client, const struct wsl_client_method *method,
                    const ProtobufCMessage *request, uint32_t timeout_ms, ProtobufCMessage **ret,
                    struct wsl_err *err)
{
    gpr_timespec deadline = wsl_client_deadline(timeout_ms);
    struct wsl_client_unary attempt;
    int r;

    try_call(client, method->path, request, deadline, &attempt);
    if (attempt.status == GRPC_STATUS_UNAVAILABLE && client->connected_before) {
        wsl_client_unary_free(&attempt);
        client->connected_before = false;
        try_call(client, method->path, request, deadline, &attempt);
    }
    if (attempt.status != GRPC_STATUS_UNAVAILABLE)
        client->connected_before = true;
    if (attempt.status == GRPC_STATUS_OK)
        r = wsl_client_read_answer(client, method->path, method->response, attempt.received, ret,
                                   err);
    else
        r = wsl_client_fail_status(client, method->path, attempt.status, attempt.text, err);
    wsl_client_unary_free(&attempt);
    return r;
}

/* ---- a stream of answers ---- */

static void start_stream(struct wsl_client_stream *stream)
{
    grpc_op first[4] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA},
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = stream->request},
        {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
        {.op = GRPC_OP_RECV_INITIAL_METADATA,
         .data.recv_initial_metadata.recv_initial_metadata = &stream->initial},
    };
    grpc_op last = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
                    .data.recv_status_on_client = {.trailing_metadata = &stream->trailing,
                                                   .status = &stream->status,
                                                   .status_details = &stream->status_text}};

    wsl_client_start(stream->call, first, 4, &stream->send_tag);
    wsl_client_start(stream->call, &last, 1, &stream->status_tag);
}

int wsl_client_stream_open(struct wsl_client_stream **ret, struct wsl_client *client,
                           const char *path, const ProtobufCMessage *request,
                           const ProtobufCMessageDescriptor *response, struct wsl_err *err)
{
    struct wsl_client_stream *stream = calloc(1, sizeof *stream);

    if (!stream)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a stream");
    stream->client = client;
    stream->path = path;
    stream->response = response;
    stream->status_text = grpc_empty_slice();
    grpc_metadata_array_init(&stream->initial);
    grpc_metadata_array_init(&stream->trailing);
    stream->call =
        wsl_client_new_call(client, client->cq, path, gpr_inf_future(GPR_CLOCK_REALTIME));
    stream->request = wsl_rpc_pack(request);
    start_stream(stream);
    *ret = stream;
    return 0;
}

static int end_of_stream(struct wsl_client_stream *stream, struct wsl_err *err)
{
    if (!stream->status_known) {
        grpc_completion_queue_pluck(stream->client->cq, &stream->status_tag,
                                    gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        stream->status_known = true;
    }
    if (stream->status == GRPC_STATUS_OK)
        return WSL_CLIENT_END;
    if (atomic_load(&stream->cancelled))
        return wsl_fail(err, WSL_ECANCELLED, "%s: cancelled", stream->path);
    return wsl_client_fail_status(stream->client, stream->path, stream->status, stream->status_text,
                                  err);
}

int wsl_client_stream_next(struct wsl_client_stream *stream, uint32_t timeout_ms,
                           ProtobufCMessage **ret, struct wsl_err *err)
{
    gpr_timespec until =
        timeout_ms ? wsl_client_deadline(timeout_ms) : gpr_inf_future(GPR_CLOCK_REALTIME);
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &stream->received};
    grpc_byte_buffer *bytes;
    int r;

    if (stream->receive_ended)
        return end_of_stream(stream, err);
    if (!stream->receiving) {
        wsl_client_start(stream->call, &op, 1, &stream->receive_tag);
        stream->receiving = true;
    }
    if (grpc_completion_queue_pluck(stream->client->cq, &stream->receive_tag, until, NULL).type ==
        GRPC_QUEUE_TIMEOUT)
        return wsl_fail(err, WSL_ETIMEOUT, "%s: nothing came for %u ms", stream->path, timeout_ms);
    stream->receiving = false;
    bytes = stream->received;
    stream->received = NULL;
    if (!bytes) {
        stream->receive_ended = true;
        return end_of_stream(stream, err);
    }
    stream->client->connected_before = true;
    r = wsl_client_read_answer(stream->client, stream->path, stream->response, bytes, ret, err);
    grpc_byte_buffer_destroy(bytes);
    return r;
}

void wsl_client_stream_cancel(struct wsl_client_stream *stream)
{
    atomic_store(&stream->cancelled, true);
    grpc_call_cancel(stream->call, NULL);
}

void wsl_client_stream_close(struct wsl_client_stream *stream)
{
    gpr_timespec ever = gpr_inf_future(GPR_CLOCK_REALTIME);

    if (!stream)
        return;
    grpc_call_cancel(stream->call, NULL);
    grpc_completion_queue_pluck(stream->client->cq, &stream->send_tag, ever, NULL);
    if (stream->receiving)
        grpc_completion_queue_pluck(stream->client->cq, &stream->receive_tag, ever, NULL);
    if (!stream->status_known)
        grpc_completion_queue_pluck(stream->client->cq, &stream->status_tag, ever, NULL);
    if (stream->received)
        grpc_byte_buffer_destroy(stream->received);
    grpc_byte_buffer_destroy(stream->request);
    grpc_slice_unref(stream->status_text);
    grpc_metadata_array_destroy(&stream->initial);
    grpc_metadata_array_destroy(&stream->trailing);
    grpc_call_unref(stream->call);
    free(stream);
}
