/* SPDX-License-Identifier: Apache-2.0
 *
 * What the RPC tests share: a loop that runs until a condition holds, a server on port 0 with three
 * services, a client on the loop, and the blocking client on a thread of its own.
 */
#ifndef WSL_TESTS_UNIT_RPC_WORLD_H
#define WSL_TESTS_UNIT_RPC_WORLD_H

#include "base/clock.h"
#include "proto/rpc/client.h"
#include "proto/rpc/rpc.h"
#include "wsl/v1/agent.pb-c.h"
#include "wsl/v1/job.pb-c.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { DEADLINE_MS = 30000, CHUNK = 16384, CHUNKS = 2000, RECEIVE_MAX = 65536 };

struct world {
    uv_loop_t loop;
    uv_timer_t tick; /* so that flags set by other threads are seen */
    struct wsl_rpc *rpc;
    struct wsl_rpc_server *server;
    char address[64];
    bool rpc_closed;
};

void world_start(struct world *w);
/* A server at `port` (0: any). */
int world_listen(struct world *w, const struct wsl_rpc_server_setup *given, int port,
                 struct wsl_err *err);
/* Runs the loop until `holds(argument)`; fails the test when that takes too long. */
void world_run(struct world *w, bool (*holds)(void *argument), void *argument);
void world_close_rpc(struct world *w, uint32_t grace_ms);
void on_rpc_closed(void *world); /* the `done` of a wsl_rpc_close of one's own */
/* Ends everything; nothing may be left on the loop. */
void world_stop(struct world *w);

bool flag_is_set(void *atomic_flag);
bool plain_flag_is_set(void *flag);
bool is_one(void *count);

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

void *caller_thread(void *caller);
/* Runs caller->run on a thread while the loop runs here. */
void caller_run(struct caller *caller);
void run_one_call(struct caller *caller);
/* One call while the loop runs; the answer is the caller's to free. */
int call_once(struct caller *caller, const char *path, const ProtobufCMessage *request,
              const ProtobufCMessageDescriptor *response);

/* ---- services: Get answers with the name asked for ("none": NOT_FOUND, "hang": never), Logs sends
 * CHUNKS chunks (follow: one, and stays open), Session answers heartbeats ---- */

extern const char get_path[], logs_path[], session_path[];

/* What the test's services saw. */
struct seen {
    int unary_closed;
    int stream_closed;
    int session_messages;
    int session_half_closes;
    int session_closed;
    uint32_t chunks; /* sent on the newest log stream */
    atomic_bool blocked;
    int writable;
    struct wsl_rpc_call *hanging;
    struct wsl_rpc_call *session;
    struct wsl_rpc_call *logs;
};

struct wsl_rpc_server_setup setup_of(struct seen *seen);
/* world_start and world_listen with these services. */
void serve(struct world *w, struct seen *seen);
int get(struct caller *caller, const char *name);
/* A call that works: the server is well. */
void expect_answer(struct caller *caller);

/* ---- a session from the loop ---- */

struct talk {
    struct wsl_rpc_channel *channel;
    struct wsl_rpc_call *call;
    uint64_t sent, received, wanted;
    bool in_order;
    bool blocked;
    bool closed;
    enum wsl_rpc_status status;
    char text[200];
};

/* Sends `wanted` heartbeats through a queue of 4 and half-closes after as many answers. */
void talk_start(struct talk *talk, struct world *w, const char *path, uint64_t wanted);
bool has_session(void *seen);

#endif
