/* SPDX-License-Identifier: Apache-2.0
 *
 * The pump: one thread takes completions off gRPC's queue and hands them to the loop. And the
 * order in which everything closes.
 */
#include "base/log.h"
#include "proto/rpc/internal.h"

#include <assert.h>
#include <grpc/support/log.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static void log_from_grpc(gpr_log_func_args *args)
{
    const char *slash = strrchr(args->file, '/');

    wsl_debug("event=grpc at=%s:%d message=\"%s\"", slash ? slash + 1 : args->file, args->line,
              args->message);
}

void wsl_rpc_library_open(void)
{
    gpr_set_log_function(log_from_grpc);
    grpc_init();
}

void wsl_rpc_tag_arm(struct wsl_rpc_tag *tag, void (*run)(struct wsl_rpc_tag *tag))
{
    tag->run = run;
    atomic_store_explicit(&tag->armed, 1, memory_order_release);
}

/* ---- the pump ---- */

static void hand_over(struct wsl_rpc *rpc, struct wsl_rpc_tag *tag)
{
    bool wake;

    pthread_mutex_lock(&rpc->lock);
    wake = !rpc->first;
    if (tag) {
        tag->next = NULL;
        *rpc->last = tag;
        rpc->last = &tag->next;
    } else {
        rpc->pump_ended = true;
        wake = true;
    }
    /* Under the lock: the loop closes the handle only after it saw pump_ended. */
    if (wake)
        uv_async_send(&rpc->wake);
    pthread_mutex_unlock(&rpc->lock);
}

static void *pump(void *argument)
{
    struct wsl_rpc *rpc = argument;

    pthread_setname_np(pthread_self(), "rpc-pump");
    for (;;) {
        grpc_event event =
            grpc_completion_queue_next(rpc->cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        struct wsl_rpc_tag *tag;

        if (event.type == GRPC_QUEUE_SHUTDOWN)
            break;
        assert(event.type == GRPC_OP_COMPLETE);
        tag = event.tag;
        (void)atomic_load_explicit(&tag->armed, memory_order_acquire);
        tag->ok = event.success != 0;
        hand_over(rpc, tag);
    }
    hand_over(rpc, NULL);
    return NULL;
}

/* Signals are for the loop thread's handlers. */
static int start_pump(struct wsl_rpc *rpc)
{
    sigset_t all, before;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(&rpc->pump, NULL, pump, rpc);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

/* ---- the loop's side ---- */

static void on_handle_closed(uv_handle_t *handle)
{
    struct wsl_rpc *rpc = handle->data;
    void (*done)(void *) = rpc->done;
    void *context = rpc->context;

    if (--rpc->handles > 0)
        return;
    pthread_mutex_destroy(&rpc->lock);
    free(rpc);
    grpc_shutdown();
    if (done)
        done(context);
}

static void close_handles(struct wsl_rpc *rpc)
{
    uv_close((uv_handle_t *)&rpc->wake, on_handle_closed);
    uv_close((uv_handle_t *)&rpc->grace, on_handle_closed);
}

static void on_wake(uv_async_t *wake)
{
    struct wsl_rpc *rpc = wake->data;
    struct wsl_rpc_tag *tag;
    bool ended;

    pthread_mutex_lock(&rpc->lock);
    tag = rpc->first;
    rpc->first = NULL;
    rpc->last = &rpc->first;
    ended = rpc->pump_ended;
    pthread_mutex_unlock(&rpc->lock);
    while (tag) {
        struct wsl_rpc_tag *next = tag->next;

        tag->run(tag);
        tag = next;
    }
    if (rpc->closing)
        wsl_rpc_close_step(rpc);
    if (ended) {
        pthread_join(rpc->pump, NULL);
        grpc_completion_queue_destroy(rpc->cq);
        close_handles(rpc);
    }
}

int wsl_rpc_open(struct wsl_rpc **ret, uv_loop_t *loop, struct wsl_err *err)
{
    struct wsl_rpc *rpc = calloc(1, sizeof *rpc);
    int r;

    if (!rpc)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the RPC layer");
    r = uv_async_init(loop, &rpc->wake, on_wake);
    if (r < 0) {
        free(rpc);
        return wsl_fail(err, WSL_EIO, "cannot make a wake-up handle: %s", uv_strerror(r));
    }
    uv_timer_init(loop, &rpc->grace);
    rpc->loop = loop;
    rpc->wake.data = rpc->grace.data = rpc;
    rpc->handles = 2;
    rpc->last = &rpc->first;
    pthread_mutex_init(&rpc->lock, NULL);
    wsl_rpc_library_open();
    rpc->cq = grpc_completion_queue_create_for_next(NULL);
    r = start_pump(rpc);
    if (r != 0) {
        grpc_completion_queue_shutdown(rpc->cq);
        grpc_completion_queue_next(rpc->cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        grpc_completion_queue_destroy(rpc->cq);
        close_handles(rpc);
        return wsl_fail(err, WSL_EAGAIN, "cannot start the rpc-pump thread: %s", strerror(r));
    }
    *ret = rpc;
    return 0;
}

/* ---- closing ---- */

void wsl_rpc_close_step(struct wsl_rpc *rpc)
{
    if (rpc->queue_down || rpc->calls)
        return;
    for (struct wsl_rpc_server *s = rpc->servers; s; s = s->next)
        if (!wsl_rpc_server_stopped(s))
            return;
    while (rpc->servers) {
        struct wsl_rpc_server *server = rpc->servers;

        rpc->servers = server->next;
        wsl_rpc_server_free(server);
    }
    while (rpc->channels)
        wsl_rpc_channel_close(rpc->channels);
    uv_timer_stop(&rpc->grace);
    rpc->queue_down = true;
    grpc_completion_queue_shutdown(rpc->cq);
}

static void end_open_calls(struct wsl_rpc *rpc)
{
    for (struct wsl_rpc_call *call = rpc->calls; call; call = call->next)
        if (!call->server)
            grpc_call_cancel_with_status(call->core, GRPC_STATUS_UNAVAILABLE,
                                         "this side is shutting down", NULL);
    for (struct wsl_rpc_server *s = rpc->servers; s; s = s->next)
        wsl_rpc_server_cancel_all(s);
}

static void on_grace_over(uv_timer_t *timer)
{
    end_open_calls(timer->data);
}

void wsl_rpc_close(struct wsl_rpc *rpc, uint32_t grace_ms, void (*done)(void *context),
                   void *context)
{
    assert(!rpc->closing);
    rpc->closing = true;
    rpc->done = done;
    rpc->context = context;
    for (struct wsl_rpc_server *s = rpc->servers; s; s = s->next)
        wsl_rpc_server_stop(s);
    if (grace_ms == 0)
        end_open_calls(rpc);
    else
        uv_timer_start(&rpc->grace, on_grace_over, grace_ms, 0);
    wsl_rpc_close_step(rpc);
}
