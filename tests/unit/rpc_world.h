/* SPDX-License-Identifier: Apache-2.0
 *
 * What the RPC tests share: a server on port 0 and a loop that runs until a condition holds, with
 * the blocking client on a thread of its own beside it.
 */
#ifndef WSL_TESTS_UNIT_RPC_WORLD_H
#define WSL_TESTS_UNIT_RPC_WORLD_H

#include "base/clock.h"
#include "proto/rpc/client.h"
#include "proto/rpc/rpc.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DEADLINE_MS = 30000 };

struct world {
    uv_loop_t loop;
    uv_timer_t tick; /* so that flags set by other threads are seen */
    struct wsl_rpc *rpc;
    struct wsl_rpc_server *server;
    char address[64];
    bool rpc_closed;
};

static inline void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

static inline void world_start(struct world *w)
{
    struct wsl_err err = {0};

    memset(w, 0, sizeof *w);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    uv_timer_init(&w->loop, &w->tick);
    uv_timer_start(&w->tick, on_tick, 5, 5);
    if (wsl_rpc_open(&w->rpc, &w->loop, &err) < 0)
        fail_msg("%s", err.text);
}

/* A server at `port` (0: any). */
static inline int world_listen(struct world *w, const struct wsl_rpc_server_setup *given, int port,
                               struct wsl_err *err)
{
    struct wsl_rpc_server_setup setup = *given;
    int r;

    snprintf(w->address, sizeof w->address, "127.0.0.1:%d", port);
    setup.address = w->address;
    r = wsl_rpc_server_open(&w->server, w->rpc, &setup, err);
    if (r == 0)
        snprintf(w->address, sizeof w->address, "127.0.0.1:%d", wsl_rpc_server_port(w->server));
    return r;
}

/* Runs the loop until `holds(argument)`; fails the test when that takes too long. */
static inline void world_run(struct world *w, bool (*holds)(void *argument), void *argument)
{
    uint64_t until = wsl_clock_ns() + DEADLINE_MS * UINT64_C(1000000);

    while (!holds(argument)) {
        if (wsl_clock_ns() > until)
            fail_msg("%s", "the condition did not come in time");
        uv_run(&w->loop, UV_RUN_ONCE);
    }
}

static inline bool flag_is_set(void *flag)
{
    return atomic_load((atomic_bool *)flag);
}

static inline bool plain_flag_is_set(void *flag)
{
    return *(bool *)flag;
}

static inline void on_rpc_closed(void *context)
{
    ((struct world *)context)->rpc_closed = true;
}

static inline void world_close_rpc(struct world *w, uint32_t grace_ms)
{
    w->rpc_closed = false;
    wsl_rpc_close(w->rpc, grace_ms, on_rpc_closed, w);
    world_run(w, plain_flag_is_set, &w->rpc_closed);
    w->rpc = NULL;
}

/* Ends everything; nothing may be left on the loop. */
static inline void world_stop(struct world *w)
{
    if (w->rpc)
        world_close_rpc(w, 0);
    uv_close((uv_handle_t *)&w->tick, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

/* ---- the blocking client beside the loop ---- */

struct caller {
    struct world *world;
    void (*run)(struct caller *caller); /* on its own thread: no cmocka assertions in there */
    pthread_t thread;
    atomic_bool done;
    struct wsl_client *client;

    /* For one call. */
    const char *path;
    const ProtobufCMessage *request;
    const ProtobufCMessageDescriptor *response;
    uint32_t timeout_ms;
    ProtobufCMessage *answer;
    struct wsl_err err;
    int result;
};

static inline void *caller_thread(void *argument)
{
    struct caller *caller = argument;

    caller->run(caller);
    atomic_store(&caller->done, true);
    return NULL;
}

static inline void caller_run(struct caller *caller)
{
    atomic_store(&caller->done, false);
    assert_int_equal(pthread_create(&caller->thread, NULL, caller_thread, caller), 0);
    world_run(caller->world, flag_is_set, &caller->done);
    pthread_join(caller->thread, NULL);
}

static inline void run_one_call(struct caller *caller)
{
    bool own = !caller->client;

    caller->result = 0;
    if (own)
        caller->result = wsl_client_open(&caller->client, caller->world->address, &caller->err);
    if (caller->result == 0)
        caller->result =
            wsl_client_call(caller->client, caller->path, caller->request, caller->response,
                            caller->timeout_ms, &caller->answer, &caller->err);
    if (own) {
        wsl_client_close(caller->client);
        caller->client = NULL;
    }
}

/* One call while the loop runs; the answer is the caller's to free. */
static inline int call_once(struct caller *caller, const char *path,
                            const ProtobufCMessage *request,
                            const ProtobufCMessageDescriptor *response)
{
    caller->run = run_one_call;
    caller->path = path;
    caller->request = request;
    caller->response = response;
    caller->answer = NULL;
    caller->err = (struct wsl_err){0};
    caller_run(caller);
    return caller->result;
}

#endif
