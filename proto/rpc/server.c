/* SPDX-License-Identifier: Apache-2.0
 *
 * Listening, taking calls and handing them to their methods; limits of calls and connections.
 */
#include "base/rlimit.h"
#include "proto/rpc/address.h"
#include "proto/rpc/internal.h"

#include <assert.h>
#include <grpc/slice.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RECEIVE_MAX = 1 << 20,
    STREAMS_PER_CONNECTION_MAX = 1000,
    CALLS_MAX = 10000, /* of all connections together */
};

/* ---- the server's role in a call ---- */

static void on_request(struct wsl_rpc_call *call, const ProtobufCMessage *message)
{
    const char *bad = wsl_rpc_bad_text(message);
    char text[200];

    if (!call->method->client_streams)
        call->deaf = true;
    if (!bad) {
        call->method->on_message(call, call->context, message);
        return;
    }
    snprintf(text, sizeof text, "%s: not UTF-8 text", bad);
    wsl_rpc_finish(call, WSL_RPC_INVALID_ARGUMENT, text);
}

static void on_unreadable(struct wsl_rpc_call *call)
{
    char text[200];

    snprintf(text, sizeof text, "the bytes sent to %s are no %s message", call->method->path,
             call->incoming->name);
    wsl_rpc_finish(call, WSL_RPC_INVALID_ARGUMENT, text);
}

static void on_receive_end(struct wsl_rpc_call *call)
{
    /* A broken call ends in on_closed only. */
    if (call->deaf || grpc_call_failed_before_recv_message(call->core))
        return;
    if (!call->method->client_streams)
        wsl_rpc_finish(call, WSL_RPC_INVALID_ARGUMENT, "the call carried no request message");
    else if (call->method->on_half_close)
        call->method->on_half_close(call, call->context);
}

static void on_writable(struct wsl_rpc_call *call)
{
    if (call->method && call->method->on_writable)
        call->method->on_writable(call, call->context);
}

static const struct wsl_rpc_role server_role = {
    .message = on_request,
    .unreadable = on_unreadable,
    .receive_end = on_receive_end,
    .writable = on_writable,
};

/* The one place where a call of ours ends, whatever the reason. */
static void on_call_over(struct wsl_rpc_tag *tag)
{
    struct wsl_rpc_call *call = OWNER(tag, struct wsl_rpc_call, end_tag);

    wsl_rpc_call_drop_queue(call);
    call->closed = true;
    if (call->method && call->method->on_closed)
        call->method->on_closed(call, call->context);
    wsl_rpc_call_batch_ended(call);
}

/* ---- accepting ---- */

static void on_accepted(struct wsl_rpc_tag *tag);

static void request_next(struct wsl_rpc_accept *accept)
{
    struct wsl_rpc_server *server = accept->server;
    grpc_call_error error;

    grpc_call_details_init(&accept->details);
    grpc_metadata_array_init(&accept->metadata);
    wsl_rpc_tag_arm(&accept->tag, on_accepted);
    server->accepting++;
    error =
        grpc_server_request_call(server->core, &accept->call, &accept->details, &accept->metadata,
                                 server->rpc->cq, server->rpc->cq, &accept->tag);
    assert(error == GRPC_CALL_OK);
    (void)error;
}

static const struct wsl_rpc_method *find_method(struct wsl_rpc_server *server, grpc_slice path,
                                                void **ret_context)
{
    *ret_context = server->context;
    for (size_t i = 0; i < server->method_count; i++)
        if (grpc_slice_str_cmp(path, server->methods[i].path) == 0)
            return &server->methods[i];
    *ret_context = server;
    for (size_t i = 0; i < server->builtin_count; i++)
        if (grpc_slice_str_cmp(path, server->builtins[i].path) == 0)
            return &server->builtins[i];
    return NULL;
}

/* The method's callbacks never hear of a refused call. */
static void refuse(struct wsl_rpc_call *call, grpc_slice path)
{
    bool known = call->method != NULL;
    char name[150], text[200];

    call->method = NULL;
    if (call->rpc->closing) {
        wsl_rpc_finish(call, WSL_RPC_UNAVAILABLE, "the server is shutting down");
    } else if (known) {
        wsl_rpc_finish(call, WSL_RPC_RESOURCE_EXHAUSTED, "too many open calls; try again later");
    } else {
        wsl_rpc_slice_text(path, name, sizeof name);
        snprintf(text, sizeof text, "no such method: %s", name);
        wsl_rpc_finish(call, WSL_RPC_UNIMPLEMENTED, text);
    }
}

static void begin_call(struct wsl_rpc_server *server, grpc_call *core, grpc_slice path)
{
    struct wsl_rpc_call *call = wsl_rpc_call_new(server->rpc, core, &server_role);
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};

    if (!call)
        return;
    call->server = server;
    server->open_calls++;
    call->peer = grpc_call_get_peer(core);
    call->method = find_method(server, path, &call->context);
    op.data.recv_close_on_server.cancelled = &call->cancelled;
    wsl_rpc_call_start(call, &op, 1, &call->end_tag, on_call_over);
    if (!call->method || server->open_calls > CALLS_MAX || server->rpc->closing) {
        refuse(call, path);
        return;
    }
    call->incoming = call->method->request;
    if (call->method->send_queue_max)
        call->waiting_max = call->method->send_queue_max;
    wsl_rpc_call_receive(call);
}

static void on_accepted(struct wsl_rpc_tag *tag)
{
    struct wsl_rpc_accept *accept = OWNER(tag, struct wsl_rpc_accept, tag);
    struct wsl_rpc_server *server = accept->server;
    grpc_call_details details = accept->details;
    grpc_metadata_array metadata = accept->metadata;
    grpc_call *core = accept->call;

    server->accepting--;
    /* Not ok: the server is shutting down. */
    if (tag->ok) {
        if (!server->rpc->closing)
            request_next(accept);
        begin_call(server, core, details.method);
    }
    grpc_call_details_destroy(&details);
    grpc_metadata_array_destroy(&metadata);
}

/* ---- answers ---- */

void wsl_rpc_finish(struct wsl_rpc_call *call, enum wsl_rpc_status status, const char *text)
{
    assert(call->server);
    if (call->finishing || call->closed)
        return;
    call->finishing = true;
    call->deaf = true;
    call->finish_status = (grpc_status_code)status;
    call->finish_text = grpc_slice_from_copied_string(text ? text : "");
    wsl_rpc_call_send_next(call);
}

void wsl_rpc_finish_err(struct wsl_rpc_call *call, const struct wsl_err *err)
{
    wsl_rpc_finish(call, wsl_rpc_status_of(err->code),
                   err->text[0] ? err->text : wsl_err_name(err->code));
}

void wsl_rpc_reply(struct wsl_rpc_call *call, const ProtobufCMessage *message)
{
    if (call->finishing || call->closed || call->broken)
        return;
    /* The message waits for its status, so that both leave in one write. */
    if (wsl_rpc_call_queue(call, message) < 0)
        wsl_rpc_finish(call, WSL_RPC_RESOURCE_EXHAUSTED, "the server is out of memory");
    else
        wsl_rpc_finish(call, WSL_RPC_OK, NULL);
}

/* ---- open ---- */

static grpc_server *make_core(size_t receive_max)
{
#define INT_ARG(name, number)                                                                      \
    {.type = GRPC_ARG_INTEGER, .key = (char *)(name), .value.integer = (number)}
    grpc_arg list[] = {
        INT_ARG(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)receive_max),
        INT_ARG(GRPC_ARG_ALLOW_REUSEPORT, 0), /* two daemons on one port would share its calls */
        INT_ARG(GRPC_ARG_MAX_CONCURRENT_STREAMS, STREAMS_PER_CONNECTION_MAX),
        INT_ARG(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10000),
        INT_ARG(GRPC_ARG_KEEPALIVE_TIME_MS, 10000),
        INT_ARG(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000),
        INT_ARG(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
        /* Below our clients' 10 s (wire.c), or they would be sent away for pinging. */
        INT_ARG(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 4000),
    };
#undef INT_ARG
    grpc_channel_args args = {.num_args = sizeof list / sizeof *list, .args = list};

    return grpc_server_create(&args, NULL);
}

static int bind_address(struct wsl_rpc_server *server, const char *address, struct wsl_err *err)
{
    grpc_server_credentials *plain = grpc_insecure_server_credentials_create();

    server->port = grpc_server_add_http2_port(server->core, address, plain);
    grpc_server_credentials_release(plain);
    return server->port > 0 ? 0 : wsl_rpc_address_why_not(address, err);
}

static struct wsl_rpc_server *server_new(struct wsl_rpc *rpc,
                                         const struct wsl_rpc_server_setup *setup)
{
    struct wsl_rpc_server *server = calloc(1, sizeof *server);

    if (!server)
        return NULL;
    server->methods = calloc(setup->method_count + 1, sizeof *server->methods);
    if (!server->methods) {
        free(server);
        return NULL;
    }
    if (setup->method_count > 0)
        memcpy(server->methods, setup->methods, setup->method_count * sizeof *server->methods);
    server->rpc = rpc;
    server->method_count = setup->method_count;
    server->context = setup->context;
    server->descriptor_set = setup->descriptor_set;
    server->descriptor_set_size = setup->descriptor_set_size;
    server->serving = true;
    server->builtin_count = wsl_rpc_health_methods(server->builtins);
    if (setup->descriptor_set)
        server->builtin_count +=
            wsl_rpc_reflection_methods(server->builtins + server->builtin_count);
    assert(server->builtin_count <= WSL_RPC_BUILTINS);
    return server;
}

static void on_down(struct wsl_rpc_tag *tag)
{
    OWNER(tag, struct wsl_rpc_server, down_tag)->down = true;
}

static void shut_down_core(struct wsl_rpc_server *server)
{
    wsl_rpc_tag_arm(&server->down_tag, on_down);
    grpc_server_shutdown_and_notify(server->core, server->rpc->cq, &server->down_tag);
}

int wsl_rpc_server_open(struct wsl_rpc_server **ret, struct wsl_rpc *rpc,
                        const struct wsl_rpc_server_setup *setup, struct wsl_err *err)
{
    struct wsl_rpc_server *server;
    int r;

    if (rpc->closing)
        return wsl_fail(err, WSL_ESTATE, "cannot listen on %s: shutting down", setup->address);
    r = wsl_rpc_address_check(setup->address, setup->remote_plaintext, err);
    if (r < 0)
        return r;
    server = server_new(rpc, setup);
    if (!server)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the server on %s", setup->address);
    /* Running out of descriptors makes this gRPC version deaf for good: one failed accept() ends
     * its listener. */
    wsl_rlimit_raise_open_files(WSL_RLIMIT_DAEMON_FILES);
    server->core = make_core(setup->receive_max ? setup->receive_max : RECEIVE_MAX);
    grpc_server_register_completion_queue(server->core, rpc->cq, NULL);
    server->next = rpc->servers;
    rpc->servers = server;
    r = bind_address(server, setup->address, err);
    if (r < 0) {
        shut_down_core(server); /* freed by wsl_rpc_close: its end comes through the queue */
        return r;
    }
    grpc_server_start(server->core);
    for (int i = 0; i < WSL_RPC_ACCEPTS; i++) {
        server->accepts[i].server = server;
        request_next(&server->accepts[i]);
    }
    *ret = server;
    return 0;
}

int wsl_rpc_server_port(const struct wsl_rpc_server *server)
{
    return server->port;
}

void wsl_rpc_server_set_serving(struct wsl_rpc_server *server, bool serving)
{
    if (server->serving == serving)
        return;
    server->serving = serving;
    wsl_rpc_health_changed(server);
}

static bool path_is_of(const char *path, const char *service)
{
    size_t length = strlen(service);

    return strncmp(path + 1, service, length) == 0 && path[1 + length] == '/';
}

bool wsl_rpc_server_has_service(const struct wsl_rpc_server *server, const char *name)
{
    if (!name[0])
        return true;
    for (size_t i = 0; i < server->method_count; i++)
        if (path_is_of(server->methods[i].path, name))
            return true;
    for (size_t i = 0; i < server->builtin_count; i++)
        if (path_is_of(server->builtins[i].path, name))
            return true;
    return false;
}

/* ---- close ---- */

static bool is_builtin(const struct wsl_rpc_server *server, const struct wsl_rpc_method *method)
{
    return method >= server->builtins && method < server->builtins + server->builtin_count;
}

void wsl_rpc_server_stop(struct wsl_rpc_server *server)
{
    if (server->down_tag.run) /* never got as far as serving */
        return;
    wsl_rpc_server_set_serving(server, false);
    for (struct wsl_rpc_call *call = server->rpc->calls; call; call = call->next)
        if (call->server == server && call->method && is_builtin(server, call->method))
            wsl_rpc_finish(call, WSL_RPC_UNAVAILABLE, "the server is shutting down");
    shut_down_core(server);
}

void wsl_rpc_server_cancel_all(struct wsl_rpc_server *server)
{
    if (!server->down)
        grpc_server_cancel_all_calls(server->core);
}

bool wsl_rpc_server_stopped(const struct wsl_rpc_server *server)
{
    return server->down && server->accepting == 0;
}

void wsl_rpc_server_free(struct wsl_rpc_server *server)
{
    grpc_server_destroy(server->core);
    free(server->methods);
    free(server);
}
