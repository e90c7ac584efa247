/* SPDX-License-Identifier: Apache-2.0
 *
 * AgentService: one session per worker. Log and metric bytes are appended to the store's files and
 * acknowledged when they are durable; what metrics change in a job is durable before they are.
 */
#include "base/log.h"
#include "daemon/coordinator/coordinator.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_MAX = 128 << 10, STREAMS_MAX = 4096 };

/* Positions in one trainer's files. */
struct stream {
    struct stream *next;
    Wsl__V1__TrainerKey key;
    uint64_t taken[2];   /* by enum trainer_file: bytes handed to the store */
    uint64_t durable[2]; /* bytes on the disk */
    uint64_t final[2];   /* of an ended trainer */
    bool known;          /* its job is in the cluster: bytes are kept, not only acknowledged */
    bool ended;          /* its end is durable */
    Wsl__V1__TrainerReport
        *end; /* its end, held back until its metrics are here; owned; NULL: none */
    bool forgotten;
};

struct session {
    struct session *next;
    struct wsl_coordinator *co;
    struct wsl_rpc_call *call; /* NULL: closed, kept until saves under way come back */
    char node[65];             /* empty until the Hello */
    struct stream *streams;
    size_t stream_count;
    size_t saves; /* under way */
};

/* A save under way, to be acknowledged. */
struct chunk {
    struct session *session;
    Wsl__V1__TrainerKey key;
    enum trainer_file file;
    uint64_t end; /* position behind it */
    size_t size;
    uint8_t bytes[]; /* of metrics, from the first one not read yet */
};

/* ---- sessions ---- */

static struct session *session_of(struct wsl_rpc_call *call)
{
    return wsl_rpc_call_data(call);
}

static void free_session(struct session *s)
{
    struct wsl_coordinator *co = s->co;

    for (struct session **at = &co->sessions; *at; at = &(*at)->next) {
        if (*at == s) {
            *at = s->next;
            break;
        }
    }
    while (s->streams) {
        struct stream *t = s->streams;

        s->streams = t->next;
        if (t->end)
            wsl__v1__trainer_report__free_unpacked(t->end, NULL);
        free(t);
    }
    co->session_count--;
    free(s);
}

static struct session *session_for(struct wsl_coordinator *co, struct wsl_rpc_call *call)
{
    struct session *s = session_of(call);

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
    for (struct session *s = co->sessions; s; s = s->next)
        if (s->call && strcmp(s->node, node) == 0)
            return s;
    return NULL;
}

/* A worker that reads too slowly to take a small message is as good as gone; its next session gets
 * everything anew. */
static void send_or_break(struct session *s, const Wsl__V1__CoordinatorMessage *message)
{
    if (s->call && wsl_rpc_send(s->call, &message->base) == WSL_EAGAIN) {
        wsl_warn("event=worker_too_slow node=%s action=\"closing its session\"", s->node);
        wsl_rpc_cancel(s->call);
    }
}

void send_to_node(struct wsl_coordinator *co, const char *node,
                  const Wsl__V1__CoordinatorMessage *message)
{
    struct session *s = session_of_node(co, node);

    if (s)
        send_or_break(s, message);
}

/* ---- positions ---- */

static bool same_key(const Wsl__V1__TrainerKey *a, const Wsl__V1__TrainerKey *b)
{
    return a->job == b->job && a->generation == b->generation && a->rank == b->rank;
}

static struct stream *stream_of(struct session *s, const Wsl__V1__TrainerKey *key)
{
    struct stream *t;
    char name[64];

    if (!key)
        return NULL;
    for (t = s->streams; t; t = t->next)
        if (same_key(&t->key, key))
            return t;
    if (s->stream_count >= STREAMS_MAX || !(t = calloc(1, sizeof *t)))
        return NULL;
    wsl__v1__trainer_key__init(&t->key);
    t->key.job = key->job;
    t->key.generation = key->generation;
    t->key.rank = key->rank;
    t->known = wsl_cluster_job(s->co->cluster, key->job) != NULL;
    for (int file = TRAINER_LOG; file <= TRAINER_METRICS; file++) {
        trainer_file_name((enum trainer_file)file, key->generation, key->rank, name);
        t->taken[file] = t->durable[file] =
            t->known ? wsl_state_file_size(s->co->state, key->job, name) : 0;
    }
    t->next = s->streams;
    s->streams = t;
    s->stream_count++;
    return t;
}

static void fill_ack(const struct stream *t, Wsl__V1__Ack *ack)
{
    wsl__v1__ack__init(ack);
    ack->key = (Wsl__V1__TrainerKey *)&t->key;
    ack->log_offset = t->durable[TRAINER_LOG];
    ack->metric_offset = t->durable[TRAINER_METRICS];
    ack->exit_recorded = t->ended;
}

static void send_ack(struct session *s, struct stream *t)
{
    Wsl__V1__CoordinatorMessage message = WSL__V1__COORDINATOR_MESSAGE__INIT;
    Wsl__V1__Ack ack;

    fill_ack(t, &ack);
    message.body_case = WSL__V1__COORDINATOR_MESSAGE__BODY_ACK;
    message.ack = &ack;
    send_or_break(s, &message);
}

/* When its end and all its bytes are here, the worker need keep nothing of it. */
static void send_forget(struct session *s, struct stream *t)
{
    Wsl__V1__CoordinatorMessage message = WSL__V1__COORDINATOR_MESSAGE__INIT;
    Wsl__V1__Forget forget = WSL__V1__FORGET__INIT;

    if (!t->ended || t->forgotten || t->durable[TRAINER_LOG] < t->final[TRAINER_LOG] ||
        t->durable[TRAINER_METRICS] < t->final[TRAINER_METRICS])
        return;
    t->forgotten = true;
    forget.key = &t->key;
    message.body_case = WSL__V1__COORDINATOR_MESSAGE__BODY_FORGET;
    message.forget = &forget;
    send_or_break(s, &message);
}

/* ---- log and metric bytes ---- */

static void read_metrics(struct session *s, const struct chunk *c)
{
    size_t at = 0;
    bool bad = false;
    Wsl__V1__TrainerMetric *metric;

    while ((metric = next_metric(c->bytes, c->size, &at, &bad))) {
        wsl_cluster_metric(s->co->cluster, s->node, &c->key, metric, s->co->now());
        wsl__v1__trainer_metric__free_unpacked(metric, NULL);
    }
    if (bad)
        wsl_warn("event=bad_metrics node=%s job=%" PRIu64 " rank=%u action=\"kept, not read\"",
                 s->node, c->key.job, c->key.rank);
}

static void drop_chunk(struct chunk *c)
{
    struct session *s = c->session;

    free(c);
    s->saves--;
    if (!s->call && s->saves == 0)
        free_session(s);
}

/* The worker keeps what is not acknowledged, and sends it again in its next session. */
static void refuse_chunk(struct chunk *c, const char *reason)
{
    struct session *s = c->session;

    if (!s->co->closing)
        wsl_error("event=log_not_saved node=%s job=%" PRIu64
                  " reason=\"%s\" action=\"the worker keeps it and sends it again\"",
                  s->node, c->key.job, reason);
    if (s->call)
        wsl_rpc_cancel(s->call);
    drop_chunk(c);
}

static void on_chunk_saved(void *context, const struct wsl_err *err)
{
    struct chunk *c = context;
    struct session *s = c->session;
    struct stream *t = stream_of(s, &c->key);

    if (err) {
        refuse_chunk(c, err->text);
        return;
    }
    if (t && c->end > t->durable[c->file])
        t->durable[c->file] = c->end;
    if (t && s->call) {
        send_ack(s, t);
        send_forget(s, t);
    }
    poke_followers(s->co, c->key.job);
    drop_chunk(c);
}

static void append_chunk(struct chunk *c)
{
    struct wsl_coordinator *co = c->session->co;
    struct wsl_state_commit *commit = co->closing ? NULL : wsl_state_begin(co->state);
    char name[64];

    if (!commit) {
        refuse_chunk(c, co->closing ? "the coordinator is stopping" : "the disk does not keep up");
        return;
    }
    trainer_file_name(c->file, c->key.generation, c->key.rank, name);
    wsl_state_append(commit, c->key.job, name, c->end - c->size, c->bytes, c->size);
    wsl_state_end(commit, on_chunk_saved, c);
}

/* What the metrics changed is durable: now they may be, and be acknowledged. The other way round a
 * crash in between would lose a checkpoint's event for good; this way the worker sends it a second
 * time, which changes nothing. */
static void on_metrics_taken(void *context, const struct wsl_err *err)
{
    if (err)
        refuse_chunk(context, err->text);
    else
        append_chunk(context);
}

static void deliver_end(struct session *s, struct stream *t);

static void take_bytes(struct session *s, enum trainer_file file, const Wsl__V1__TrainerKey *key,
                       uint64_t offset, const ProtobufCBinaryData *data)
{
    struct stream *t = stream_of(s, key);
    struct chunk *c;
    size_t skip;

    if (!t || data->len > CHUNK_MAX || offset > t->taken[file] ||
        offset + data->len <= t->taken[file]) {
        /* Sent twice, or from beyond what is here: say again where we are. */
        if (t)
            send_ack(s, t);
        return;
    }
    if (!t->known) {
        t->taken[file] = t->durable[file] = offset + data->len;
        deliver_end(s, t);
        send_ack(s, t);
        send_forget(s, t);
        return;
    }
    skip = (size_t)(t->taken[file] - offset);
    c = malloc(sizeof *c + data->len - skip);
    if (!c)
        abort();
    *c = (struct chunk){.session = s,
                        .key = t->key,
                        .file = file,
                        .end = offset + data->len,
                        .size = data->len - skip};
    memcpy(c->bytes, data->data + skip, c->size);
    t->taken[file] = c->end;
    s->saves++;
    if (file == TRAINER_LOG) {
        append_chunk(c);
        return;
    }
    read_metrics(s, c);
    drive_then(s->co, false, on_metrics_taken, c);
    deliver_end(s, t);
}

/* ---- trainers ---- */

/* An end that is being saved, to be acknowledged. */
struct ending {
    struct session *session;
    Wsl__V1__TrainerKey key;
};

static void on_end_saved(void *context, const struct wsl_err *err)
{
    struct ending *e = context;
    struct session *s = e->session;
    struct stream *t = stream_of(s, &e->key);

    s->saves--;
    if (!err && t) {
        t->ended = true;
        if (s->call) {
            send_ack(s, t);
            send_forget(s, t);
        }
    }
    free(e);
    if (!s->call && s->saves == 0)
        free_session(s);
}

/* Reports overtake metrics on their way here, and the last metrics may tell of the checkpoint that
 * a job ends with, or that the next generation must start from: an end counts once they are read.
 */
static void deliver_end(struct session *s, struct stream *t)
{
    struct ending *e;

    if (!t->end || t->taken[TRAINER_METRICS] < t->final[TRAINER_METRICS])
        return;
    e = malloc(sizeof *e);
    if (!e)
        abort();
    *e = (struct ending){.session = s, .key = t->key};
    wsl_cluster_trainer(s->co->cluster, s->node, t->end, s->co->now());
    wsl__v1__trainer_report__free_unpacked(t->end, NULL);
    t->end = NULL;
    s->saves++;
    drive_then(s->co, false, on_end_saved, e);
}

static Wsl__V1__TrainerReport *copy_report(const Wsl__V1__TrainerReport *report)
{
    size_t size = wsl__v1__trainer_report__get_packed_size(report);
    uint8_t *bytes = malloc(size + 1);
    Wsl__V1__TrainerReport *copy;

    if (!bytes)
        abort();
    wsl__v1__trainer_report__pack(report, bytes);
    copy = wsl__v1__trainer_report__unpack(NULL, size, bytes);
    free(bytes);
    if (!copy)
        abort();
    return copy;
}

static void on_end(struct session *s, const Wsl__V1__TrainerReport *report)
{
    struct stream *t = stream_of(s, report->key);

    if (!t || t->end)
        return;
    t->final[TRAINER_LOG] = report->log_bytes;
    t->final[TRAINER_METRICS] = report->metric_bytes;
    t->end = copy_report(report);
    deliver_end(s, t);
}

static void on_report(struct session *s, const Wsl__V1__TrainerReport *report)
{
    if (!report->key)
        return;
    if (report->state == WSL__V1__TRAINER_STATE__TRAINER_EXITED) {
        on_end(s, report);
        return;
    }
    wsl_cluster_trainer(s->co->cluster, s->node, report, s->co->now());
    drive(s->co);
}

/* ---- the session's own messages ---- */

static void send_welcome(struct session *s, const Wsl__V1__Hello *hello)
{
    Wsl__V1__CoordinatorMessage message = WSL__V1__COORDINATOR_MESSAGE__INIT;
    Wsl__V1__Welcome welcome = WSL__V1__WELCOME__INIT;
    Wsl__V1__Ack *acks = calloc(hello->n_trainers + 1, sizeof *acks);

    welcome.acks = calloc(hello->n_trainers + 1, sizeof(*welcome.acks));
    if (!acks || !welcome.acks)
        abort();
    for (size_t i = 0; i < hello->n_trainers; i++) {
        struct stream *t = stream_of(s, hello->trainers[i]->key);

        if (!t)
            continue;
        fill_ack(t, &acks[i]);
        welcome.acks[welcome.n_acks++] = &acks[i];
    }
    welcome.heartbeat_ms = s->co->heartbeat_ms;
    message.body_case = WSL__V1__COORDINATOR_MESSAGE__BODY_WELCOME;
    message.welcome = &welcome;
    send_or_break(s, &message);
    free(welcome.acks);
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
        old->node[0] = '\0';
        wsl_rpc_cancel(old->call);
    }
    snprintf(s->node, sizeof s->node, "%s", hello->name);
    wsl_info("event=worker_joined node=%s peer=%s slots=%u trainers=%zu", s->node,
             wsl_rpc_call_peer(s->call), hello->facts->slots, hello->n_trainers);
    send_welcome(s, hello);
    for (size_t i = 0; i < hello->n_trainers; i++)
        if (hello->trainers[i]->key &&
            hello->trainers[i]->state == WSL__V1__TRAINER_STATE__TRAINER_EXITED)
            on_end(s, hello->trainers[i]);
    drive(s->co);
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

void session_message(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    const Wsl__V1__WorkerMessage *m = (const void *)message;
    struct session *s = session_for(context, call);

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
            wsl_cluster_exchange(s->co->cluster, s->node, m->exchange, s->co->now());
        drive(s->co);
        break;
    case WSL__V1__WORKER_MESSAGE__BODY_LOG:
        take_bytes(s, TRAINER_LOG, m->log->key, m->log->offset, &m->log->data);
        break;
    case WSL__V1__WORKER_MESSAGE__BODY_METRICS:
        take_bytes(s, TRAINER_METRICS, m->metrics->key, m->metrics->offset, &m->metrics->data);
        break;
    default:
        break; /* from a newer worker */
    }
}

void session_writable(struct wsl_rpc_call *call, void *context)
{
    (void)call;
    (void)context;
}

void session_closed(struct wsl_rpc_call *call, void *context)
{
    struct wsl_coordinator *co = context;
    struct session *s = session_of(call);

    if (!s)
        return;
    s->call = NULL;
    if (s->node[0] && !session_of_node(co, s->node)) {
        wsl_info("event=worker_left node=%s", s->node);
        wsl_cluster_gone(co->cluster, s->node, "its session ended", co->now());
        drive(co);
    }
    if (s->saves == 0)
        free_session(s);
}
