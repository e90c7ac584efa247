/* SPDX-License-Identifier: Apache-2.0
 *
 * grpc.health.v1: SERVING from the moment that calls are taken.
 */
#include "grpc/health/v1/health.pb-c.h"
#include "proto/rpc/internal.h"

#include <stdlib.h>
#include <string.h>

typedef Grpc__Health__V1__HealthCheckRequest check_request;
typedef Grpc__Health__V1__HealthCheckResponse check_response;

#define STATUS(word) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##word

static const char watch_path[] = "/grpc.health.v1.Health/Watch";

static check_response answer_now(const struct wsl_rpc_server *server)
{
    check_response answer = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;

    answer.status = server->serving ? STATUS(SERVING) : STATUS(NOT_SERVING);
    return answer;
}

static void on_check(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    const struct wsl_rpc_server *server = context;
    const char *service = ((const check_request *)message)->service;
    check_response answer = answer_now(server);

    if (wsl_rpc_server_has_service(server, service))
        wsl_rpc_reply(call, &answer.base);
    else
        wsl_rpc_finish(call, WSL_RPC_NOT_FOUND, "no such service");
}

static void on_watch(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    struct wsl_rpc_server *server = context;
    check_response answer = answer_now(server);

    if (wsl_rpc_server_has_service(server, ((const check_request *)message)->service))
        wsl_rpc_call_set_data(call, server); /* wants to hear of changes */
    else
        answer.status = STATUS(SERVICE_UNKNOWN);
    wsl_rpc_send(call, &answer.base);
}

/* A reader too slow for the queue has missed a state: it hears the newest one now. */
static void on_watch_writable(struct wsl_rpc_call *call, void *context)
{
    check_response answer = answer_now(context);

    if (wsl_rpc_call_data(call))
        wsl_rpc_send(call, &answer.base);
}

size_t wsl_rpc_health_methods(struct wsl_rpc_method *methods)
{
    methods[0] = (struct wsl_rpc_method){
        .path = "/grpc.health.v1.Health/Check",
        .request = &grpc__health__v1__health_check_request__descriptor,
        .on_message = on_check,
    };
    methods[1] = (struct wsl_rpc_method){
        .path = watch_path,
        .request = &grpc__health__v1__health_check_request__descriptor,
        .send_queue_max = 4,
        .on_message = on_watch,
        .on_writable = on_watch_writable,
    };
    return 2;
}

void wsl_rpc_health_changed(struct wsl_rpc_server *server)
{
    check_response answer = answer_now(server);

    for (struct wsl_rpc_call *call = server->rpc->calls; call; call = call->next)
        if (call->server == server && call->method && call->method->path == watch_path &&
            wsl_rpc_call_data(call))
            wsl_rpc_send(call, &answer.base);
}
