/* SPDX-License-Identifier: Apache-2.0
 *
 * Log and metric bytes of trainers on their way to the store's files, and trainers' ends. Bytes,
 * and what metrics changed in a job, are durable in one commit; then they are acknowledged.
 */
#include "base/log.h"
#include "base/rng.h"
#include "daemon/coordinator/coordinator.h"
#include "proto/message.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One trainer. */
struct stream {
    struct stream *next; /* in its bucket */
    Wsl__V1__TrainerKey key;
    char node[65];       /* whose session sent last */
    uint64_t taken[2];   /* by enum trainer_file: bytes handed to the store */
    uint64_t durable[2]; /* bytes on the disk */
    uint64_t final[2];   /* of an ended trainer */
    bool ended;          /* its end is durable */
    Wsl__V1__TrainerReport
        *end; /* its end, held back until its metrics are here; owned; NULL: none */
};

/* Bytes under way to the disk. */
struct chunk {
    struct wsl_coordinator *co;
    Wsl__V1__TrainerKey key;
    enum trainer_file file;
    uint64_t end; /* position behind it */
    size_t size;
    uint8_t bytes[];
};

/* ---- the table ---- */

static bool same_key(const Wsl__V1__TrainerKey *a, const Wsl__V1__TrainerKey *b)
{
    return a->job == b->job && a->generation == b->generation && a->rank == b->rank;
}

static struct stream **bucket_of(struct wsl_coordinator *co, const Wsl__V1__TrainerKey *key)
{
    uint64_t hash = wsl_mix64(key->job, (uint64_t)key->generation << 32 | key->rank);

    return &co->streams[hash % STREAM_BUCKETS];
}

static struct stream *find_stream(struct wsl_coordinator *co, const Wsl__V1__TrainerKey *key)
{
    struct stream *t = *bucket_of(co, key);

    while (t && !same_key(&t->key, key))
        t = t->next;
    return t;
}

static void copy_key(Wsl__V1__TrainerKey *to, const Wsl__V1__TrainerKey *from)
{
    wsl__v1__trainer_key__init(to);
    to->job = from->job;
    to->generation = from->generation;
    to->rank = from->rank;
}

static bool is_known(const struct wsl_coordinator *co, const Wsl__V1__TrainerKey *key)
{
    return wsl_cluster_job(co->cluster, key->job) != NULL;
}

/* Made when missing, with what the store has; NULL: no key, or too many. */
static struct stream *get_stream(struct wsl_coordinator *co, const char *node,
                                 const Wsl__V1__TrainerKey *key)
{
    struct stream *t = key ? find_stream(co, key) : NULL;
    char name[64];

    if (!key || (!t && co->stream_count >= STREAMS_MAX))
        return NULL;
    if (!t) {
        t = calloc(1, sizeof *t);
        if (!t)
            abort();
        copy_key(&t->key, key);
        for (int file = TRAINER_LOG; file <= TRAINER_METRICS; file++) {
            wsl_trainer_file_name((enum trainer_file)file, key->generation, key->rank, name);
            t->taken[file] = t->durable[file] = wsl_state_file_size(co->state, key->job, name);
        }
        t->next = *bucket_of(co, key);
        *bucket_of(co, key) = t;
        co->stream_count++;
    }
    snprintf(t->node, sizeof t->node, "%s", node);
    return t;
}

static void free_at(struct wsl_coordinator *co, struct stream **at)
{
    struct stream *t = *at;

    *at = t->next;
    co->stream_count--;
    if (t->end)
        wsl__v1__trainer_report__free_unpacked(t->end, NULL);
    free(t);
}

void wsl_streams_drop(struct wsl_coordinator *co, uint64_t job)
{
    for (size_t i = 0; i < STREAM_BUCKETS; i++)
        for (struct stream **at = &co->streams[i]; *at;) {
            if (job == 0 || (*at)->key.job == job)
                free_at(co, at);
            else
                at = &(*at)->next;
        }
}

static bool has_all(const struct stream *t)
{
    return t->durable[TRAINER_LOG] >= t->final[TRAINER_LOG] &&
           t->durable[TRAINER_METRICS] >= t->final[TRAINER_METRICS];
}

bool wsl_streams_awaited(const struct wsl_coordinator *co, uint64_t job)
{
    for (size_t i = 0; i < STREAM_BUCKETS; i++)
        for (const struct stream *t = co->streams[i]; t; t = t->next)
            if (t->key.job == job && (t->ended || t->end) && !has_all(t))
                return true;
    return false;
}

/* ---- acknowledging ---- */

static void fill_ack(const struct stream *t, Wsl__V1__Ack *ack)
{
    wsl__v1__ack__init(ack);
    ack->key = (Wsl__V1__TrainerKey *)&t->key;
    ack->log_offset = t->durable[TRAINER_LOG];
    ack->metric_offset = t->durable[TRAINER_METRICS];
    ack->exit_recorded = t->ended;
}

/* Where it stands; and that the worker may forget it, once everything of it is here. The worker
 * asks for as much in each session, so nothing is noted of what was told. */
static void acknowledge(struct wsl_coordinator *co, const struct stream *t)
{
    Wsl__V1__CoordinatorMessage message = WSL__V1__COORDINATOR_MESSAGE__INIT;
    Wsl__V1__Forget forget = WSL__V1__FORGET__INIT;
    Wsl__V1__Ack ack;

    fill_ack(t, &ack);
    message.body_case = WSL__V1__COORDINATOR_MESSAGE__BODY_ACK;
    message.ack = &ack;
    wsl_workers_send(co, t->node, &message);
    if (!t->ended || !has_all(t))
        return;
    forget.key = (Wsl__V1__TrainerKey *)&t->key;
    message.body_case = WSL__V1__COORDINATOR_MESSAGE__BODY_FORGET;
    message.forget = &forget;
    wsl_workers_send(co, t->node, &message);
}

bool wsl_streams_welcome(struct wsl_coordinator *co, const char *node,
                         const Wsl__V1__TrainerKey *key, Wsl__V1__TrainerKey *ret_key,
                         Wsl__V1__Ack *ret_ack)
{
    struct stream *t = key && is_known(co, key) ? get_stream(co, node, key) : NULL;

    if (!t)
        return false;
    fill_ack(t, ret_ack);
    copy_key(ret_key, key);
    ret_ack->key = ret_key;
    return true;
}

/* ---- bytes ---- */

static void read_metrics(struct wsl_coordinator *co, const char *node, const struct chunk *c)
{
    size_t at = 0;
    bool bad = false;
    Wsl__V1__TrainerMetric *metric;

    while ((metric = wsl_trainer_file_next_metric(c->bytes, c->size, &at, &bad))) {
        wsl_cluster_metric(co->cluster, node, &c->key, metric, co->now());
        wsl__v1__trainer_metric__free_unpacked(metric, NULL);
    }
    if (bad || at < c->size)
        wsl_warn("event=bad_metrics node=%s job=%" PRIu64 " rank=%u action=\"kept, not read\"",
                 node, c->key.job, c->key.rank);
}

static void on_chunk_saved(void *context, const struct wsl_err *err)
{
    struct chunk *c = context;
    struct wsl_coordinator *co = c->co;
    struct stream *t = find_stream(co, &c->key);

    co->unsaved_bytes -= c->size;
    if (err && t && !co->closing) { /* they did not join on: from what the disk has, then */
        t->taken[c->file] = t->durable[c->file];
        wsl_workers_end_session(co, t->node, WSL_RPC_ABORTED, err->text);
    }
    if (!err && t) {
        if (c->end > t->durable[c->file])
            t->durable[c->file] = c->end;
        acknowledge(co, t);
        wsl_subscribers_notify(co, c->key.job);
    }
    free(c);
}

static void save_chunk(struct wsl_coordinator *co, struct chunk *c)
{
    struct append append = {.job = c->key.job,
                            .offset = c->end - c->size,
                            .bytes = c->bytes,
                            .size = c->size,
                            .save_job = c->file == TRAINER_METRICS};

    wsl_trainer_file_name(c->file, c->key.generation, c->key.rank, append.name);
    co->unsaved_bytes += c->size;
    wsl_committer_append(co, &append, on_chunk_saved, c);
}

static void deliver_end(struct wsl_coordinator *co, struct stream *t);

static void take_chunk(struct wsl_coordinator *co, struct stream *t, enum trainer_file file,
                       uint64_t offset, const ProtobufCBinaryData *data)
{
    size_t skip = (size_t)(t->taken[file] - offset);
    struct chunk *c = malloc(sizeof *c + data->len - skip);

    if (!c)
        abort();
    c->co = co;
    copy_key(&c->key, &t->key);
    c->file = file;
    c->end = offset + data->len;
    c->size = data->len - skip;
    memcpy(c->bytes, data->data + skip, c->size);
    t->taken[file] = c->end;
    if (file == TRAINER_METRICS)
        read_metrics(co, t->node, c);
    save_chunk(co, c);
    if (file == TRAINER_METRICS)
        deliver_end(co, t);
}

void wsl_streams_bytes(struct wsl_coordinator *co, const char *node, enum trainer_file file,
                       const Wsl__V1__TrainerKey *key, uint64_t offset,
                       const ProtobufCBinaryData *data)
{
    struct stream *t = get_stream(co, node, key);
    char text[200];

    if (!t) {
        wsl_workers_end_session(co, node, WSL_RPC_RESOURCE_EXHAUSTED,
                                key ? "too many trainers are known" : "bytes of no trainer");
    } else if (data->len > CHUNK_MAX || offset > UINT64_MAX - data->len) {
        snprintf(text, sizeof text, "a chunk of %zu bytes; at most %d", data->len, CHUNK_MAX);
        wsl_workers_end_session(co, node, WSL_RPC_INVALID_ARGUMENT, text);
    } else if (!is_known(co, key)) { /* of a forgotten job: only to be done with */
        t->taken[file] = t->durable[file] = offset + data->len;
        deliver_end(co, t);
        acknowledge(co, t);
    } else if (offset + data->len <= t->taken[file]) {
        acknowledge(co, t); /* sent twice */
    } else if (offset > t->taken[file]) {
        snprintf(text, sizeof text, "bytes from %" PRIu64 " on were sent, %" PRIu64 " are here",
                 offset, t->taken[file]);
        wsl_workers_end_session(co, node, WSL_RPC_OUT_OF_RANGE, text);
    } else if (co->unsaved_bytes + data->len > UNSAVED_MAX) {
        wsl_workers_end_session(co, node, WSL_RPC_RESOURCE_EXHAUSTED,
                                "the coordinator's disk does not keep up; send it again later");
    } else {
        take_chunk(co, t, file, offset, data);
    }
}

/* ---- ends ---- */

/* An end that is being saved, to be acknowledged. */
struct ending {
    struct wsl_coordinator *co;
    Wsl__V1__TrainerKey key;
};

static void on_end_saved(void *context, const struct wsl_err *err)
{
    struct ending *e = context;
    struct stream *t = find_stream(e->co, &e->key);

    if (!err && t) {
        t->ended = true;
        acknowledge(e->co, t);
        wsl_subscribers_notify(e->co, e->key.job);
    }
    free(e);
}

/* Reports overtake metrics on their way here, and the last metrics may tell of the checkpoint that
 * a job ends with, or that the next generation must start from: an end counts once they are read.
 */
static void deliver_end(struct wsl_coordinator *co, struct stream *t)
{
    Wsl__V1__TrainerReport *end = t->end;
    struct ending *e;

    if (!end || (is_known(co, &t->key) && t->taken[TRAINER_METRICS] < t->final[TRAINER_METRICS]))
        return;
    t->end = NULL;
    e = malloc(sizeof *e);
    if (!e)
        abort();
    e->co = co;
    copy_key(&e->key, &t->key);
    if (!is_known(co, &t->key)) /* nothing of it will be kept: the worker may drop it as it is */
        t->final[TRAINER_LOG] = t->final[TRAINER_METRICS] = 0;
    wsl_cluster_trainer(co->cluster, t->node, end, co->now());
    wsl__v1__trainer_report__free_unpacked(end, NULL);
    wsl_committer_commit_then(co, COMMIT_PATIENT, on_end_saved, e);
}

void wsl_streams_end(struct wsl_coordinator *co, const char *node,
                     const Wsl__V1__TrainerReport *report)
{
    struct stream *t = get_stream(co, node, report->key);

    if (!t || t->end)
        return;
    t->final[TRAINER_LOG] = report->log_bytes;
    t->final[TRAINER_METRICS] = report->metric_bytes;
    t->end = (Wsl__V1__TrainerReport *)wsl_message_copy(&report->base);
    if (!t->end)
        abort();
    deliver_end(co, t);
}
