/* SPDX-License-Identifier: Apache-2.0
 *
 * AgentService: one session per worker.
 */
#include "base/log.h"
#include "daemon/coordinator/coordinator.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct session {
    struct session *next;
    struct wsl_coordinator *co;
    struct wsl_rpc_call *call;
    char node[65]; /* empty until the Hello, and after another session took its place */
    uint32_t slots;
    bool checks_paths;
};

static struct session *session_for(struct wsl_coordinator *co, struct wsl_rpc_call *call)
{
    struct session *s = wsl_rpc_call_data(call);

    if (s || co->session_count >= SESSIONS_MAX)
        return s;
    s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->co = co;
    s->call = call;
    s->next = co->sessions;
    co->sessions = s;
    co->session_count++;
    wsl_rpc_call_set_data(call, s);
    return s;
}

static struct session *session_of_node(struct wsl_coordinator *co, const char *node)
{
    for (struct session *s = co->sessions; node[0] && s; s = s->next)
        if (strcmp(s->node, node) == 0)
            return s;
    return NULL;
}

/* ---- sending ---- */

/* A worker that reads too slowly to take a small message is as good as gone; its next session gets
 * everything anew. */
static void send_or_break(struct session *s, const Wsl__V1__CoordinatorMessage *message)
{
    if (wsl_rpc_send(s->call, &message->base) != WSL_EAGAIN)
        return;
    wsl_warn("event=worker_too_slow node=%s action=\"closing its session\"", s->node);
    wsl_rpc_cancel(s->call);
}

void wsl_workers_send(struct wsl_coordinator *co, const char *node,
                      const Wsl__V1__CoordinatorMessage *message)
{
    struct session *s = session_of_node(co, node);

    if (s)
        send_or_break(s, message);
}

void wsl_workers_ask(struct wsl_coordinator *co, const Wsl__V1__CoordinatorMessage *message,
                     void (*each)(void *context, const char *node, uint32_t slots, bool asked),
                     void *context)
{
    for (struct session *s = co->sessions; s; s = s->next) {
        if (!s->node[0])
            continue;
        each(context, s->node, s->slots, s->checks_paths);
        if (s->checks_paths)
            send_or_break(s, message);
    }
}

void wsl_workers_end_session(struct wsl_coordinator *co, const char *node,
                             enum wsl_rpc_status status, const char *text)
{
    struct session *s = session_of_node(co, node);

    if (!s)
        return;
    wsl_warn("event=session_ended node=%s reason=\"%s\" action=\"the worker connects again\"", node,
             text);
    wsl_rpc_finish(s->call, status, text);
}

/* ---- the session's messages ---- */

static void send_welcome(struct session *s, const Wsl__V1__Hello *hello)
{
    Wsl__V1__CoordinatorMessage message = WSL__V1__COORDINATOR_MESSAGE__INIT;
    Wsl__V1__Welcome welcome = WSL__V1__WELCOME__INIT;
    Wsl__V1__Ack *acks = calloc(hello->n_trainers + 1, sizeof *acks);
    Wsl__V1__TrainerKey *keys = calloc(hello->n_trainers + 1, sizeof *keys);

    welcome.acks = calloc(hello->n_trainers + 1, sizeof(*welcome.acks));
    if (!acks || !keys || !welcome.acks)
        abort();
    for (size_t i = 0; i < hello->n_trainers; i++)
        if (wsl_streams_welcome(s->co, s->node, hello->trainers[i]->key, &keys[i], &acks[i]))
            welcome.acks[welcome.n_acks++] = &acks[i];
    welcome.heartbeat_ms = s->co->heartbeat_ms;
    message.body_case = WSL__V1__COORDINATOR_MESSAGE__BODY_WELCOME;
    message.welcome = &welcome;
    send_or_break(s, &message);
    free(welcome.acks);
    free(keys);
    free(acks);
}

static void on_hello(struct session *s, const Wsl__V1__Hello *hello)
{
    struct session *old = session_of_node(s->co, hello->name);
    struct wsl_err err = {0};

    if (s->node[0]) {
        wsl_rpc_finish(s->call, WSL_RPC_FAILED_PRECONDITION, "a session has one hello");
        return;
    }
    if (wsl_cluster_hello(s->co->cluster, hello, s->co->now(), &err) < 0) {
        wsl_warn("event=worker_refused peer=%s reason=\"%s\"", wsl_rpc_call_peer(s->call),
                 err.text);
        wsl_rpc_finish_err(s->call, &err);
        return;
    }
    if (old) {
        wsl_data_check_node_left(s->co, old->node);
        old->node[0] = '\0';
        wsl_rpc_cancel(old->call);
    }
    snprintf(s->node, sizeof s->node, "%s", hello->name);
    s->checks_paths = hello->checks_paths;
    s->slots = hello->facts->slots;
    wsl_info("event=worker_joined node=%s peer=%s slots=%u trainers=%zu", s->node,
             wsl_rpc_call_peer(s->call), hello->facts->slots, hello->n_trainers);
    send_welcome(s, hello);
    for (size_t i = 0; i < hello->n_trainers; i++)
        if (hello->trainers[i]->key &&
            hello->trainers[i]->state == WSL__V1__TRAINER_STATE__TRAINER_EXITED)
            wsl_streams_end(s->co, s->node, hello->trainers[i]);
    wsl_committer_commit(s->co);
}

static void on_report(struct session *s, const Wsl__V1__TrainerReport *report)
{
    if (!report->key)
        return;
    if (report->state == WSL__V1__TRAINER_STATE__TRAINER_EXITED) {
        wsl_streams_end(s->co, s->node, report);
        return;
    }
    wsl_cluster_trainer(s->co->cluster, s->node, report, s->co->now());
    wsl_committer_commit(s->co);
    wsl_subscribers_notify(s->co, report->key->job); /* a phase is news that is not saved */
}

static void on_heartbeat(struct session *s, const Wsl__V1__WorkerHeartbeat *heartbeat)
{
    Wsl__V1__CoordinatorMessage message = WSL__V1__COORDINATOR_MESSAGE__INIT;
    Wsl__V1__HeartbeatReply reply = WSL__V1__HEARTBEAT_REPLY__INIT;

    wsl_cluster_heartbeat(s->co->cluster, s->node, heartbeat->memory_available_bytes, s->co->now());
    reply.sequence = heartbeat->sequence;
    message.body_case = WSL__V1__COORDINATOR_MESSAGE__BODY_HEARTBEAT;
    message.heartbeat = &reply;
    send_or_break(s, &message);
}

void wsl_workers_on_message(struct wsl_rpc_call *call, void *context,
                            const ProtobufCMessage *message)
{
    const Wsl__V1__WorkerMessage *m = (const void *)message;
    struct wsl_coordinator *co = context;
    struct session *s = session_for(co, call);

    if (!s) {
        wsl_rpc_finish(call, WSL_RPC_RESOURCE_EXHAUSTED, "too many workers are connected");
        return;
    }
    if (m->body_case != WSL__V1__WORKER_MESSAGE__BODY_HELLO && !s->node[0]) {
        wsl_rpc_finish(call, WSL_RPC_FAILED_PRECONDITION, "a session begins with a hello");
        return;
    }
    switch (m->body_case) {
    case WSL__V1__WORKER_MESSAGE__BODY_HELLO:
        on_hello(s, m->hello);
        break;
    case WSL__V1__WORKER_MESSAGE__BODY_HEARTBEAT:
        on_heartbeat(s, m->heartbeat);
        break;
    case WSL__V1__WORKER_MESSAGE__BODY_TRAINER:
        on_report(s, m->trainer);
        break;
    case WSL__V1__WORKER_MESSAGE__BODY_EXCHANGE:
        if (m->exchange->key)
            wsl_cluster_exchange(co->cluster, s->node, m->exchange, co->now());
        wsl_committer_commit(co);
        break;
    case WSL__V1__WORKER_MESSAGE__BODY_PATHS:
        wsl_data_check_answer(co, s->node, m->paths);
        break;
    case WSL__V1__WORKER_MESSAGE__BODY_LOG:
        wsl_streams_bytes(co, s->node, TRAINER_LOG, m->log->key, m->log->offset, &m->log->data);
        break;
    case WSL__V1__WORKER_MESSAGE__BODY_METRICS:
        wsl_streams_bytes(co, s->node, TRAINER_METRICS, m->metrics->key, m->metrics->offset,
                          &m->metrics->data);
        break;
    default:
        break; /* from a newer worker */
    }
}

void wsl_workers_on_closed(struct wsl_rpc_call *call, void *context)
{
    struct wsl_coordinator *co = context;
    struct session *s = wsl_rpc_call_data(call);
    struct session **at = &co->sessions;

    if (!s)
        return;
    while (*at != s)
        at = &(*at)->next;
    *at = s->next;
    co->session_count--;
    if (s->node[0]) {
        wsl_info("event=worker_left node=%s", s->node);
        wsl_cluster_gone(co->cluster, s->node, "its session ended", co->now());
        wsl_data_check_node_left(co, s->node);
        wsl_committer_commit(co);
    }
    free(s);
}
