/* SPDX-License-Identifier: Apache-2.0
 *
 * Many unary calls in flight at once, for clients that wait: a completion queue of the kind that
 * hands out whatever ends next.
 */
#include "proto/rpc/client_internal.h"

#include <assert.h>
#include <stdlib.h>

struct flight {
    struct wsl_client_unary unary; /* first: its address is the tag */
    struct flight *next, **link;
    void *context;
};

struct wsl_client_calls {
    struct wsl_client *client;
    grpc_completion_queue *cq;
    const char *path;
    const ProtobufCMessageDescriptor *response;
    struct flight *flights;
    size_t in_flight;
};

int wsl_client_calls_open(struct wsl_client_calls **ret, struct wsl_client *client,
                          const char *path, const ProtobufCMessageDescriptor *response,
                          struct wsl_err *err)
{
    struct wsl_client_calls *calls = calloc(1, sizeof *calls);

    if (!calls)
        return wsl_fail(err, WSL_ENOMEM, "no memory for calls of %s", path);
    calls->client = client;
    calls->path = path;
    calls->response = response;
    calls->cq = grpc_completion_queue_create_for_next(NULL);
    *ret = calls;
    return 0;
}

int wsl_client_calls_start(struct wsl_client_calls *calls, const ProtobufCMessage *request,
                           uint32_t timeout_ms, void *context, struct wsl_err *err)
{
    struct flight *f = malloc(sizeof *f);

    if (!f)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a call of %s", calls->path);
    f->context = context;
    f->next = calls->flights;
    f->link = &calls->flights;
    if (f->next)
        f->next->link = &f->next;
    calls->flights = f;
    calls->in_flight++;
    wsl_client_unary_start(&f->unary, calls->client, calls->cq, calls->path, request,
                           wsl_client_deadline(timeout_ms));
    return 0;
}

static struct flight *take_ended(struct wsl_client_calls *calls)
{
    grpc_event event =
        grpc_completion_queue_next(calls->cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    struct flight *f = event.tag;

    assert(event.type == GRPC_OP_COMPLETE);
    *f->link = f->next;
    if (f->next)
        f->next->link = f->link;
    calls->in_flight--;
    return f;
}

static void free_flight(struct flight *f)
{
    wsl_client_unary_free(&f->unary);
    free(f);
}

int wsl_client_calls_next(struct wsl_client_calls *calls, void **ret_context,
                          ProtobufCMessage **ret, struct wsl_err *err)
{
    struct flight *f;
    int r;

    *ret_context = NULL;
    if (calls->in_flight == 0)
        return WSL_CLIENT_END;
    f = take_ended(calls);
    *ret_context = f->context;
    if (f->unary.status == GRPC_STATUS_OK)
        r = wsl_client_read_answer(calls->client, calls->path, calls->response, f->unary.received,
                                   ret, err);
    else
        r = wsl_client_fail_status(calls->client, calls->path, f->unary.status, f->unary.text, err);
    free_flight(f);
    return r;
}

size_t wsl_client_calls_in_flight(const struct wsl_client_calls *calls)
{
    return calls->in_flight;
}

void wsl_client_calls_close(struct wsl_client_calls *calls)
{
    if (!calls)
        return;
    for (struct flight *f = calls->flights; f; f = f->next)
        grpc_call_cancel(f->unary.call, NULL);
    while (calls->in_flight > 0)
        free_flight(take_ended(calls));
    grpc_completion_queue_shutdown(calls->cq);
    grpc_completion_queue_next(calls->cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
    grpc_completion_queue_destroy(calls->cq);
    free(calls);
}
