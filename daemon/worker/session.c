/* SPDX-License-Identifier: Apache-2.0
 *
 * One stream to the coordinator after the other: Hello first, then whatever the table says is
 * next.
 */
#include "daemon/worker/session.h"

#include "base/clock.h"
#include "base/log.h"
#include "daemon/worker/backoff.h"
#include "daemon/worker/text.h"
#include "proto/delimited.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum {
    WELCOME_MS = 10000,    /* a coordinator that takes a Hello and says nothing */
    HEARTBEAT_MS = 1000,   /* until the Welcome says otherwise */
    SILENT_HEARTBEATS = 5, /* unanswered before the session is given up */
    SILENT_LEAST_MS = 3000,
    QUEUE_MAX = 64, /* messages; the upper part is left to reports and heartbeats */
    QUEUE_BULK = 8,
    CHUNK_ROOM = WSL_DELIMITED_ROOM,
};

struct wsl_session {
    struct wsl_session_setup setup;
    char instance[17];
    struct wsl_rpc_channel *channel;
    struct wsl_rpc_call *call; /* NULL: none is open */
    uv_timer_t retry, heartbeat;
    int holds; /* timers and calls not yet closed: their callbacks come here */
    bool closed;

    struct wsl_backoff backoff;
    uint64_t started_ns, heard_ns;
    uint32_t heartbeat_ms;
    uint64_t sequence;
    int told_status; /* of the outage that was logged; -1: none */
    uint8_t *chunk;  /* CHUNK_ROOM bytes */
};

static void begin(struct wsl_session *s);

static void let_go(struct wsl_session *s)
{
    if (--s->holds > 0)
        return;
    free(s->chunk);
    free(s);
}

/* ---- sending ---- */

static int send_body(struct wsl_session *s, Wsl__V1__WorkerMessage *message)
{
    return s->call ? wsl_rpc_send(s->call, &message->base) : WSL_ESTATE;
}

static int send_report(struct wsl_session *s, const struct wsl_trainer *t)
{
    Wsl__V1__WorkerMessage message = WSL__V1__WORKER_MESSAGE__INIT;
    Wsl__V1__TrainerReport report;
    Wsl__V1__TrainerKey key;

    wsl_table_report(t, &report, &key);
    message.body_case = WSL__V1__WORKER_MESSAGE__BODY_TRAINER;
    message.trainer = &report;
    return send_body(s, &message);
}

static int send_part(struct wsl_session *s, const struct wsl_send *send)
{
    Wsl__V1__WorkerMessage message = WSL__V1__WORKER_MESSAGE__INIT;

    message.body_case = WSL__V1__WORKER_MESSAGE__BODY_EXCHANGE;
    message.exchange = send->part->message;
    return send_body(s, &message);
}

static int send_chunk(struct wsl_session *s, const struct wsl_send *send, size_t count)
{
    Wsl__V1__WorkerMessage message = WSL__V1__WORKER_MESSAGE__INIT;
    Wsl__V1__LogChunk log = WSL__V1__LOG_CHUNK__INIT;
    Wsl__V1__MetricChunk metrics = WSL__V1__METRIC_CHUNK__INIT;
    ProtobufCBinaryData data = {.len = count, .data = s->chunk};
    Wsl__V1__TrainerKey key;

    wsl_table_key_message(&send->trainer->key, &key);
    if (send->kind == WSL_SEND_LOG) {
        log.key = &key;
        log.offset = send->offset;
        log.data = data;
        message.body_case = WSL__V1__WORKER_MESSAGE__BODY_LOG;
        message.log = &log;
    } else {
        metrics.key = &key;
        metrics.offset = send->offset;
        metrics.data = data;
        message.body_case = WSL__V1__WORKER_MESSAGE__BODY_METRICS;
        message.metrics = &metrics;
    }
    return send_body(s, &message);
}

/* A file that cannot be read is not asked again until it grows. */
static int send_bulk(struct wsl_session *s, const struct wsl_send *send)
{
    struct wsl_err err;
    size_t count = 0;
    int r = s->setup.read(s->setup.context, send, s->chunk, &count, &err);

    if (r < 0) {
        wsl_warn("event=spool_unreadable job=%" PRIu64 " generation=%u rank=%u reason=\"%s\"",
                 send->trainer->key.job, send->trainer->key.generation, send->trainer->key.rank,
                 err.text);
        count = 0;
        r = 0;
    }
    if (r == 0 && count > 0)
        r = send_chunk(s, send, count);
    if (r == 0)
        wsl_table_sent(s->setup.table, send, count);
    return r;
}

void wsl_session_pump(struct wsl_session *s)
{
    struct wsl_send send;
    int r = 0;

    while (r == 0 && s->call) {
        bool bulk = wsl_rpc_send_waiting(s->call) < QUEUE_BULK;

        if (!wsl_table_next(s->setup.table, bulk, &send))
            return;
        if (send.kind == WSL_SEND_LOG || send.kind == WSL_SEND_METRICS) {
            r = send_bulk(s, &send);
            continue;
        }
        r = send.kind == WSL_SEND_REPORT ? send_report(s, send.trainer) : send_part(s, &send);
        if (r == 0)
            wsl_table_sent(s->setup.table, &send, 0);
    }
}

void wsl_session_refuse(struct wsl_session *s, const struct wsl_trainer_key *key,
                        const char *reason)
{
    struct wsl_trainer refused = {.key = *key,
                                  .ended = true,
                                  .time_ms = wsl_clock_wall_ms(),
                                  .phase = "exited",
                                  .outcome = WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR};

    wsl_text_line(refused.reason, sizeof refused.reason, reason, strlen(reason));
    wsl_warn("event=trainer_refused job=%" PRIu64 " generation=%u rank=%u reason=\"%s\"", key->job,
             key->generation, key->rank, refused.reason);
    send_report(s, &refused);
}

void wsl_session_send_paths(struct wsl_session *s, const struct wsl_path_answer *answer)
{
    Wsl__V1__WorkerMessage message = WSL__V1__WORKER_MESSAGE__INIT;
    Wsl__V1__PathsChecked paths = WSL__V1__PATHS_CHECKED__INIT;

    paths.id = answer->id;
    paths.data = (char *)answer->data;
    paths.init = (char *)answer->init;
    paths.unknown = answer->unknown;
    message.body_case = WSL__V1__WORKER_MESSAGE__BODY_PATHS;
    message.paths = &paths;
    send_body(s, &message);
}

/* ---- Hello and heartbeats ---- */

struct hello_parts {
    Wsl__V1__NodeFacts facts;
    Wsl__V1__Gpu gpus[WSL_FACTS_GPUS_MAX];
    Wsl__V1__Gpu *gpu_list[WSL_FACTS_GPUS_MAX];
    Wsl__V1__TrainerReport reports[WSL_TABLE_TRAINERS_MAX];
    Wsl__V1__TrainerKey keys[WSL_TABLE_TRAINERS_MAX];
    Wsl__V1__TrainerReport *report_list[WSL_TABLE_TRAINERS_MAX];
};

static void fill_facts(const struct wsl_session *s, struct hello_parts *p)
{
    const struct wsl_facts *facts = s->setup.facts;

    wsl__v1__node_facts__init(&p->facts);
    p->facts.host = (char *)facts->host;
    p->facts.cpus = facts->cpus;
    p->facts.memory_bytes = facts->memory_bytes;
    p->facts.cpu_model = (char *)facts->cpu_model;
    p->facts.slots = s->setup.table->slots;
    p->facts.version = (char *)WSL_VERSION;
    p->facts.address = (char *)s->setup.address;
    p->facts.boot_id = (char *)facts->boot_id;
    for (uint32_t i = 0; i < facts->gpu_count; i++) {
        wsl__v1__gpu__init(&p->gpus[i]);
        p->gpus[i].name = (char *)facts->gpus[i].name;
        p->gpus[i].uuid = (char *)facts->gpus[i].uuid;
        p->gpu_list[i] = &p->gpus[i];
    }
    p->facts.n_gpus = facts->gpu_count;
    p->facts.gpus = p->gpu_list;
}

static int send_hello(struct wsl_session *s)
{
    struct hello_parts *p = calloc(1, sizeof *p);
    Wsl__V1__WorkerMessage message = WSL__V1__WORKER_MESSAGE__INIT;
    Wsl__V1__Hello hello = WSL__V1__HELLO__INIT;
    const struct wsl_table *table = s->setup.table;
    int r;

    if (!p)
        return WSL_ENOMEM;
    fill_facts(s, p);
    for (size_t i = 0; i < table->count; i++) {
        wsl_table_report(table->trainers[i], &p->reports[i], &p->keys[i]);
        p->report_list[i] = &p->reports[i];
    }
    hello.name = (char *)s->setup.name;
    hello.facts = &p->facts;
    hello.instance = s->instance;
    hello.id = (char *)s->setup.id;
    hello.checks_paths = true;
    hello.n_trainers = table->count;
    hello.trainers = p->report_list;
    message.body_case = WSL__V1__WORKER_MESSAGE__BODY_HELLO;
    message.hello = &hello;
    r = send_body(s, &message);
    if (r == 0)
        wsl_table_hello(s->setup.table);
    free(p);
    return r;
}

static void give_up(struct wsl_session *s, const char *why, uint64_t after_ms)
{
    wsl_warn("event=coordinator_silent coordinator=%s reason=\"%s for %" PRIu64 " ms\"",
             s->setup.coordinator, why, after_ms);
    uv_timer_stop(&s->heartbeat);
    wsl_rpc_cancel(s->call);
}

static void on_heartbeat(uv_timer_t *timer)
{
    struct wsl_session *s = timer->data;
    Wsl__V1__WorkerMessage message = WSL__V1__WORKER_MESSAGE__INIT;
    Wsl__V1__WorkerHeartbeat beat = WSL__V1__WORKER_HEARTBEAT__INIT;
    uint64_t now = wsl_clock_ns(), limit = (uint64_t)s->heartbeat_ms * SILENT_HEARTBEATS;

    if (!s->call)
        return;
    if (limit < SILENT_LEAST_MS)
        limit = SILENT_LEAST_MS;
    if (!s->setup.table->welcomed) {
        if (now - s->started_ns > WELCOME_MS * 1000000ull)
            give_up(s, "no welcome", (now - s->started_ns) / 1000000);
        return;
    }
    if (now - s->heard_ns > limit * 1000000) {
        give_up(s, "nothing heard", (now - s->heard_ns) / 1000000);
        return;
    }
    beat.sequence = ++s->sequence;
    beat.memory_available_bytes = wsl_facts_memory_available();
    message.body_case = WSL__V1__WORKER_MESSAGE__BODY_HEARTBEAT;
    message.heartbeat = &beat;
    send_body(s, &message); /* a full queue: nobody reads, which the silence will tell */
}

static void set_heartbeat(struct wsl_session *s, uint32_t ms)
{
    s->heartbeat_ms = ms == 0 ? HEARTBEAT_MS : ms < 50 ? 50 : ms > 60000 ? 60000 : ms;
    uv_timer_start(&s->heartbeat, on_heartbeat, s->heartbeat_ms, s->heartbeat_ms);
}

/* ---- what the coordinator says ---- */

static void on_welcome(struct wsl_session *s, const Wsl__V1__Welcome *welcome)
{
    if (s->setup.table->welcomed)
        return;
    wsl_table_welcome(s->setup.table, welcome);
    wsl_backoff_reset(&s->backoff);
    set_heartbeat(s, welcome->heartbeat_ms);
    wsl_info("event=connected coordinator=%s trainers=%zu heartbeat_ms=%u", s->setup.coordinator,
             s->setup.table->count, s->heartbeat_ms);
    s->told_status = -1;
    s->setup.on_settled(s->setup.context);
}

static void on_message(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *base)
{
    const Wsl__V1__CoordinatorMessage *message = (const void *)base;
    struct wsl_session *s = context;
    struct wsl_trainer_key key;

    if (call != s->call)
        return;
    s->heard_ns = wsl_clock_ns();
    switch (message->body_case) {
    case WSL__V1__COORDINATOR_MESSAGE__BODY_WELCOME:
        on_welcome(s, message->welcome);
        break;
    case WSL__V1__COORDINATOR_MESSAGE__BODY_START:
        s->setup.on_start(s->setup.context, message->start);
        break;
    case WSL__V1__COORDINATOR_MESSAGE__BODY_STOP:
        s->setup.on_stop(s->setup.context, message->stop);
        break;
    case WSL__V1__COORDINATOR_MESSAGE__BODY_EXCHANGE:
        s->setup.on_exchange(s->setup.context, message->exchange);
        break;
    case WSL__V1__COORDINATOR_MESSAGE__BODY_ACK:
        wsl_table_ack(s->setup.table, message->ack);
        s->setup.on_settled(s->setup.context);
        break;
    case WSL__V1__COORDINATOR_MESSAGE__BODY_FORGET:
        key = wsl_table_key(message->forget->key);
        wsl_table_forget(s->setup.table, &key);
        s->setup.on_settled(s->setup.context);
        break;
    case WSL__V1__COORDINATOR_MESSAGE__BODY_CHECK:
        s->setup.on_check(s->setup.context, message->check);
        break;
    default: /* a heartbeat's answer; or of a newer coordinator */
        break;
    }
    wsl_session_pump(s);
}

static void on_writable(struct wsl_rpc_call *call, void *context)
{
    struct wsl_session *s = context;

    if (call == s->call)
        wsl_session_pump(s);
}

/* ---- connecting ---- */

/* One line for an outage, and one more when its kind changes; not one for each try. */
static void tell_of_outage(struct wsl_session *s, int status, const char *text)
{
    char line[300];

    if (s->told_status == status)
        return;
    s->told_status = status;
    wsl_text_line(line, sizeof line, text, strlen(text));
    wsl_warn("event=disconnected coordinator=%s status=%d reason=\"%s\" next=\"trainers go on; "
             "trying again\"",
             s->setup.coordinator, status, line);
}

static void on_retry(uv_timer_t *timer)
{
    begin(timer->data);
}

static void again_later(struct wsl_session *s)
{
    if (!s->closed)
        uv_timer_start(&s->retry, on_retry, wsl_backoff_next_ms(&s->backoff), 0);
}

static void on_closed(struct wsl_rpc_call *call, void *context, enum wsl_rpc_status status,
                      const char *text)
{
    struct wsl_session *s = context;

    if (call == s->call && !s->closed) {
        s->call = NULL;
        uv_timer_stop(&s->heartbeat);
        wsl_table_closed(s->setup.table);
        tell_of_outage(s, (int)status, status == WSL_RPC_OK ? "the coordinator ended it" : text);
        again_later(s);
    }
    let_go(s);
}

static void begin(struct wsl_session *s)
{
    const struct wsl_rpc_stream_setup setup = {
        .path = "/wsl.v1.AgentService/Session",
        .response = &wsl__v1__coordinator_message__descriptor,
        .send_queue_max = QUEUE_MAX,
        .context = s,
        .on_message = on_message,
        .on_writable = on_writable,
        .on_closed = on_closed,
    };
    struct wsl_err err;

    if (s->closed || s->call)
        return;
    if (wsl_rpc_stream_start(&s->call, s->channel, &setup, &err) < 0) {
        s->call = NULL;
        tell_of_outage(s, 1000, err.text);
        again_later(s);
        return;
    }
    s->holds++;
    s->started_ns = s->heard_ns = wsl_clock_ns();
    set_heartbeat(s, 0);
    if (send_hello(s) < 0)
        wsl_rpc_cancel(s->call);
}

static void on_timer_closed(uv_handle_t *handle)
{
    let_go(handle->data);
}

int wsl_session_open(struct wsl_session **ret, const struct wsl_session_setup *setup,
                     struct wsl_err *err)
{
    struct wsl_session *s = calloc(1, sizeof *s);
    uint64_t seed = 0;
    int r;

    if (s)
        s->chunk = malloc(CHUNK_ROOM);
    if (!s || !s->chunk) {
        free(s);
        return wsl_fail(err, WSL_ENOMEM, "out of memory for the session");
    }
    s->setup = *setup;
    s->told_status = -1;
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
        seed = wsl_clock_ns();
    snprintf(s->instance, sizeof s->instance, "%016" PRIx64, seed);
    wsl_rng_start(&s->backoff.rng, seed, 1);
    r = wsl_rpc_channel_open(&s->channel, setup->rpc, setup->coordinator, err);
    if (r < 0) {
        s->holds = 1;
        let_go(s);
        return r;
    }
    uv_timer_init(setup->loop, &s->retry);
    uv_timer_init(setup->loop, &s->heartbeat);
    s->retry.data = s->heartbeat.data = s;
    s->holds = 2;
    *ret = s;
    begin(s);
    return 0;
}

void wsl_session_close(struct wsl_session *s)
{
    struct wsl_rpc_call *call;

    if (!s)
        return;
    s->closed = true;
    call = s->call;
    s->call = NULL; /* its last callback finds another call */
    if (call)
        wsl_rpc_cancel(call);
    wsl_rpc_channel_close(s->channel);
    uv_close((uv_handle_t *)&s->retry, on_timer_closed);
    uv_close((uv_handle_t *)&s->heartbeat, on_timer_closed);
}
