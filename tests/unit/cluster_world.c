/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/cluster_world.h"

#include "proto/jobspec/jobspec.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the disk ---- */

static Wsl__V1__Job *read_job(void *context, uint64_t id)
{
    const struct world *w = context;

    for (const struct saved *s = w->saved; s; s = s->next)
        if (s->job == id && s->sequence == 0)
            return wsl__v1__job__unpack(NULL, s->size, s->bytes);
    return NULL;
}

static void read_events(void *context, uint64_t id, void (*each)(void *to, Wsl__V1__Event *event),
                        void *to)
{
    const struct world *w = context;

    for (const struct saved *s = w->saved; s; s = s->next)
        if (s->job == id && s->sequence != 0)
            each(to, wsl__v1__event__unpack(NULL, s->size, s->bytes));
}

static void drop_saved(struct world *w, uint64_t job, uint64_t sequence, bool all)
{
    for (struct saved **at = &w->saved; *at;) {
        struct saved *s = *at;

        if (s->job == job && (all || s->sequence == sequence)) {
            *at = s->next;
            free(s->bytes);
            free(s);
        } else {
            at = &s->next;
        }
    }
}

static struct saved *add_saved(struct world *w, uint64_t job, uint64_t sequence, size_t size)
{
    struct saved *s = calloc(1, sizeof *s), **at = &w->saved;

    drop_saved(w, job, sequence, false);
    while (*at && ((*at)->job < job || ((*at)->job == job && (*at)->sequence < sequence)))
        at = &(*at)->next;
    *s = (struct saved){
        .next = *at, .job = job, .sequence = sequence, .size = size, .bytes = malloc(size + 1)};
    *at = s;
    return s;
}

static void drop_node(struct world *w, const char *name)
{
    for (struct saved_node **at = &w->saved_nodes; *at; at = &(*at)->next) {
        struct saved_node *s = *at;

        if (strcmp(s->name, name) != 0)
            continue;
        *at = s->next;
        free(s);
        return;
    }
}

static void save_node(struct world *w, const char *name)
{
    const Wsl__V1__Node *node = wsl_cluster_node(w->cluster, name);
    struct saved_node *s;

    drop_node(w, name);
    if (!node)
        return;
    s = malloc(sizeof *s + wsl__v1__node__get_packed_size(node));
    snprintf(s->name, sizeof s->name, "%s", name);
    s->size = wsl__v1__node__pack(node, s->bytes);
    s->next = w->saved_nodes;
    w->saved_nodes = s;
}

static void carry_out(struct world *w, struct wsl_output *o)
{
    const Wsl__V1__Job *job = wsl_cluster_job(w->cluster, o->job);
    struct sent *sent;

    switch (o->kind) {
    case WSL_OUTPUT_SAVE_JOB:
        w->save_count++;
        if (job)
            wsl__v1__job__pack(job,
                               add_saved(w, o->job, 0, wsl__v1__job__get_packed_size(job))->bytes);
        break;
    case WSL_OUTPUT_SAVE_EVENT:
        w->event_count++;
        wsl__v1__event__pack(o->event, add_saved(w, o->job, o->event->sequence,
                                                 wsl__v1__event__get_packed_size(o->event))
                                           ->bytes);
        break;
    case WSL_OUTPUT_REMOVE_JOB:
        drop_saved(w, o->job, 0, true);
        break;
    case WSL_OUTPUT_SAVE_NODE:
        save_node(w, o->node);
        break;
    case WSL_OUTPUT_REMOVE_NODE:
        drop_node(w, o->node);
        break;
    case WSL_OUTPUT_SEND:
        sent = calloc(1, sizeof *sent);
        snprintf(sent->node, sizeof sent->node, "%s", o->node);
        sent->message = o->message;
        o->message = NULL;
        *w->sent_last = sent;
        w->sent_last = &sent->next;
        break;
    }
}

void world_drain(struct world *w)
{
    struct wsl_output *first = wsl_cluster_take_outputs(w->cluster), *next;

    wsl_cluster_check(w->cluster);
    for (struct wsl_output *o = first; o; o = o->next)
        carry_out(w, o);
    for (struct wsl_output *o = first; o; o = next) {
        next = o->next;
        if (o->kind == WSL_OUTPUT_SAVE_JOB || o->kind == WSL_OUTPUT_SAVE_EVENT)
            wsl_cluster_saved(w->cluster, o->job);
        wsl_output_free(o);
    }
}

void world_free_sent(struct sent *sent)
{
    wsl__v1__coordinator_message__free_unpacked(sent->message, NULL);
    free(sent);
}

struct sent *world_take_sent(struct world *w)
{
    struct sent *sent = w->sent;

    if (!sent)
        return NULL;
    w->sent = sent->next;
    if (!w->sent)
        w->sent_last = &w->sent;
    return sent;
}

void world_forget_sent(struct world *w)
{
    for (struct sent *s; (s = world_take_sent(w));)
        world_free_sent(s);
}

static void open_cluster(struct world *w)
{
    int r;

    w->setup.records =
        (struct wsl_cluster_records){.context = w, .job = read_job, .events = read_events};
    r = wsl_cluster_open(&w->cluster, &w->setup, NULL);
    assert(r == 0);
}

void world_open(struct world *w)
{
    *w = (struct world){
        .setup = {.worker_grace_ms = 30000,
                  .stop_grace_ms = 20000,
                  .backoff_ms = 1000,
                  .backoff_max_ms = 8000,
                  .heartbeat_ms = 1000,
                  .forget_ms = 86400000,
                  .queue_max = 100,
                  .history_max = 100},
        .now = 1000000,
    };
    w->sent_last = &w->sent;
    open_cluster(w);
}

void world_close(struct world *w)
{
    world_forget_sent(w);
    while (w->saved)
        drop_saved(w, w->saved->job, 0, true);
    while (w->saved_nodes)
        drop_node(w, w->saved_nodes->name);
    wsl_cluster_close(w->cluster);
}

static void restore(struct world *w, const struct saved *s)
{
    Wsl__V1__Job *job = wsl__v1__job__unpack(NULL, s->size, s->bytes);
    struct wsl_cluster_summary summary = {
        .id = job->id, .state = job->state, .world = job->spec->world, .init_job = job->init_job};
    int r;

    if (job->state == WSL__V1__JOB_STATE__QUEUED || wsl_cluster_ended(job->state)) {
        snprintf(summary.name, sizeof summary.name, "%s", job->spec->name);
        wsl__v1__job__free_unpacked(job, NULL);
        r = wsl_cluster_restore_summary(w->cluster, &summary);
    } else {
        r = wsl_cluster_restore_job(w->cluster, job);
    }
    assert(r == 0);
}

void world_restart(struct world *w)
{
    world_forget_sent(w);
    wsl_cluster_close(w->cluster);
    open_cluster(w);
    for (const struct saved_node *s = w->saved_nodes; s; s = s->next)
        wsl_cluster_restore_node(w->cluster, wsl__v1__node__unpack(NULL, s->size, s->bytes));
    for (const struct saved *s = w->saved; s; s = s->next)
        if (s->sequence == 0)
            restore(w, s);
    wsl_cluster_restored(w->cluster, w->now);
    world_drain(w);
}

/* ---- users ---- */

static Wsl__V1__JobSpec *make_spec(const struct wanted *wanted)
{
    Wsl__V1__JobSpec spec = WSL__V1__JOB_SPEC__INIT;
    Wsl__V1__Restart restart = WSL__V1__RESTART__INIT;
    Wsl__V1__Init init = WSL__V1__INIT__INIT;

    spec.name = (char *)wanted->name;
    spec.kind = WSL__V1__JOB_KIND__PRETRAIN;
    spec.data = (char *)"/data";
    spec.world = wanted->world ? wanted->world : 1;
    restart.max_machine_errors = wanted->machine_errors;
    restart.max_user_errors = wanted->user_errors;
    spec.restart = &restart;
    if (wanted->init_job) {
        init.from_case = WSL__V1__INIT__FROM_JOB;
        init.job = (char *)wanted->init_job;
        spec.init = &init;
    } else if (wanted->init_checkpoint) {
        init.from_case = WSL__V1__INIT__FROM_CHECKPOINT;
        init.checkpoint = (char *)wanted->init_checkpoint;
        spec.init = &init;
    }
    return wsl_jobspec_copy(&spec);
}

int world_try_submit(struct world *w, const struct wanted *wanted, uint64_t *ret_id,
                     struct wsl_err *err)
{
    Wsl__V1__JobSpec *spec = make_spec(wanted);
    int r = wsl_cluster_submit(w->cluster, spec, w->now, ret_id, err);

    wsl__v1__job_spec__free_unpacked(spec, NULL);
    world_drain(w);
    return r;
}

uint64_t world_submit(struct world *w, const struct wanted *wanted)
{
    uint64_t id = 0;
    int r = world_try_submit(w, wanted, &id, NULL);

    assert(r == 0);
    wsl_cluster_accept(w->cluster, id, w->now);
    world_drain(w);
    return id;
}

void world_cancel(struct world *w, uint64_t id)
{
    int r = wsl_cluster_cancel(w->cluster, id, "", w->now, NULL);

    assert(r == 0);
    world_drain(w);
}

/* ---- workers ---- */

static void read_key(const char *text, Wsl__V1__TrainerKey *key)
{
    int n =
        sscanf(text, "%" SCNu64 "/%" SCNu32 "/%" SCNu32, &key->job, &key->generation, &key->rank);

    assert(n == 3);
}

int world_try_hello(struct world *w, const char *node, uint32_t slots, const char *boot,
                    const char *const *running, struct wsl_err *err)
{
    Wsl__V1__Hello hello = WSL__V1__HELLO__INIT;
    Wsl__V1__NodeFacts facts = WSL__V1__NODE_FACTS__INIT;
    Wsl__V1__TrainerReport reports[64], *list[64];
    Wsl__V1__TrainerKey keys[64];
    char address[80];
    int r;

    for (; running && *running; running++) {
        size_t i = hello.n_trainers++;
        bool ended = **running == '!';

        wsl__v1__trainer_key__init(&keys[i]);
        wsl__v1__trainer_report__init(&reports[i]);
        read_key(*running + ended, &keys[i]);
        reports[i].key = &keys[i];
        reports[i].phase = (char *)"training";
        reports[i].state = ended ? WSL__V1__TRAINER_STATE__TRAINER_EXITED
                                 : WSL__V1__TRAINER_STATE__TRAINER_STARTED;
        list[i] = &reports[i];
    }
    hello.trainers = list;
    hello.name = (char *)node;
    hello.instance = (char *)boot;
    if (w->worker_id)
        hello.id = (char *)w->worker_id;
    hello.facts = &facts;
    snprintf(address, sizeof address, "%s.example", node);
    facts.host = (char *)node;
    facts.address = address;
    facts.boot_id = (char *)boot;
    facts.slots = slots;
    r = wsl_cluster_hello(w->cluster, &hello, w->now, err);
    world_drain(w);
    return r;
}

void world_hello(struct world *w, const char *node, uint32_t slots, const char *const *running)
{
    int r = world_try_hello(w, node, slots, "boot", running, NULL);

    assert(r == 0);
}

void world_gone(struct world *w, const char *node)
{
    wsl_cluster_gone(w->cluster, node, "its session ended", w->now);
    world_drain(w);
}

static void set_key(Wsl__V1__TrainerKey *key, uint64_t job, uint32_t generation, uint32_t rank)
{
    wsl__v1__trainer_key__init(key);
    key->job = job;
    key->generation = generation;
    key->rank = rank;
}

void world_phase(struct world *w, const char *node, uint64_t job, uint32_t generation,
                 uint32_t rank, const char *phase)
{
    Wsl__V1__TrainerReport report = WSL__V1__TRAINER_REPORT__INIT;
    Wsl__V1__TrainerKey key;

    set_key(&key, job, generation, rank);
    report.key = &key;
    report.state = WSL__V1__TRAINER_STATE__TRAINER_STARTED;
    report.phase = (char *)phase;
    report.pid = 100 + rank;
    wsl_cluster_trainer(w->cluster, node, &report, w->now);
    world_drain(w);
}

void world_started(struct world *w, const char *node, uint64_t job, uint32_t generation,
                   uint32_t rank)
{
    world_phase(w, node, job, generation, rank, "starting");
}

void world_exited(struct world *w, const char *node, uint64_t job, uint32_t generation,
                  uint32_t rank, Wsl__V1__TrainerOutcome outcome, const char *reason)
{
    Wsl__V1__TrainerReport report = WSL__V1__TRAINER_REPORT__INIT;
    Wsl__V1__TrainerKey key;

    set_key(&key, job, generation, rank);
    report.key = &key;
    report.state = WSL__V1__TRAINER_STATE__TRAINER_EXITED;
    report.phase = (char *)"exited";
    report.time_ms = w->exit_ms;
    report.outcome = outcome;
    report.reason = (char *)reason;
    wsl_cluster_trainer(w->cluster, node, &report, w->now);
    world_drain(w);
}

void world_checkpoint(struct world *w, const char *node, uint64_t job, uint32_t generation,
                      uint64_t step)
{
    Wsl__V1__TrainerMetric metric = WSL__V1__TRAINER_METRIC__INIT;
    Wsl__V1__CheckpointWritten written = WSL__V1__CHECKPOINT_WRITTEN__INIT;
    Wsl__V1__TrainerKey key;
    char folder[80];

    set_key(&key, job, generation, 0);
    snprintf(folder, sizeof folder, "/checkpoints/%" PRIu64 "/step-%012" PRIu64, job, step);
    written.folder = folder;
    written.step = step;
    metric.body_case = WSL__V1__TRAINER_METRIC__BODY_CHECKPOINT;
    metric.checkpoint = &written;
    wsl_cluster_metric(w->cluster, node, &key, &metric, w->now);
    world_drain(w);
}

void world_progress(struct world *w, const char *node, uint64_t job, uint32_t generation,
                    uint64_t step)
{
    Wsl__V1__TrainerMetric metric = WSL__V1__TRAINER_METRIC__INIT;
    Wsl__V1__Progress progress = WSL__V1__PROGRESS__INIT;
    Wsl__V1__TrainerKey key;

    set_key(&key, job, generation, 0);
    progress.step = step;
    progress.total_steps = 1000;
    progress.epoch = (double)step / 100;
    progress.loss = 2.5;
    metric.body_case = WSL__V1__TRAINER_METRIC__BODY_PROGRESS;
    metric.progress = &progress;
    wsl_cluster_metric(w->cluster, node, &key, &metric, w->now);
    world_drain(w);
}

void world_note(struct world *w, const char *node, uint64_t job, uint32_t generation,
                const char *text)
{
    Wsl__V1__TrainerMetric metric = WSL__V1__TRAINER_METRIC__INIT;
    Wsl__V1__Note note = WSL__V1__NOTE__INIT;
    Wsl__V1__TrainerKey key;

    set_key(&key, job, generation, 0);
    note.message = (char *)text;
    metric.body_case = WSL__V1__TRAINER_METRIC__BODY_NOTE;
    metric.note = &note;
    wsl_cluster_metric(w->cluster, node, &key, &metric, w->now);
    world_drain(w);
}

void world_exchange(struct world *w, const char *node, uint64_t job, uint32_t generation,
                    uint32_t rank, uint32_t round, const char *blob)
{
    Wsl__V1__ExchangePart part = WSL__V1__EXCHANGE_PART__INIT;
    Wsl__V1__TrainerKey key;

    set_key(&key, job, generation, rank);
    part.key = &key;
    part.round = round;
    part.blob.data = (uint8_t *)blob;
    part.blob.len = strlen(blob);
    wsl_cluster_exchange(w->cluster, node, &part, w->now);
    world_drain(w);
}

void world_heartbeat(struct world *w, const char *node)
{
    wsl_cluster_heartbeat(w->cluster, node, 1 << 30, w->now);
    world_drain(w);
}

static void pass(struct world *w, int64_t ms, bool heartbeats)
{
    for (int64_t end = w->now + ms; w->now < end;) {
        w->now = w->now + 1000 < end ? w->now + 1000 : end;
        for (size_t i = 0; heartbeats && i < wsl_cluster_node_count(w->cluster); i++) {
            const Wsl__V1__Node *node = wsl_cluster_node_at(w->cluster, i);

            if (node->state == WSL__V1__NODE_STATE__READY)
                wsl_cluster_heartbeat(w->cluster, node->name, 1 << 30, w->now);
        }
        wsl_cluster_tick(w->cluster, w->now);
        world_drain(w);
    }
}

void world_pass(struct world *w, int64_t ms)
{
    pass(w, ms, true);
}

void world_pass_silent(struct world *w, int64_t ms)
{
    pass(w, ms, false);
}

/* ---- looking ---- */

const Wsl__V1__Job *world_job(struct world *w, uint64_t id)
{
    const Wsl__V1__Job *job = wsl_cluster_job(w->cluster, id);

    assert(job);
    return job;
}

Wsl__V1__JobState world_state(struct world *w, uint64_t id)
{
    return world_job(w, id)->state;
}

const char *world_reason(struct world *w, uint64_t id)
{
    const Wsl__V1__Job *job = world_job(w, id);

    return job->detail[0] ? job->detail : job->reason;
}

size_t world_events_of(struct world *w, uint64_t id, const char *kind)
{
    size_t count, found = 0;
    const Wsl__V1__Event *const *events = wsl_cluster_events(w->cluster, id, &count);

    for (size_t i = 0; i < count; i++)
        found += strcmp(events[i]->kind, kind) == 0;
    return found;
}

static bool is_for(const Wsl__V1__TrainerKey *key, uint64_t job, uint32_t generation, uint32_t rank)
{
    return key->job == job && key->generation == generation && key->rank == rank;
}

size_t world_starts(struct world *w, const char *node, uint64_t job, uint32_t generation,
                    uint32_t rank)
{
    size_t n = 0;

    for (const struct sent *s = w->sent; s; s = s->next)
        n += s->message->body_case == WSL__V1__COORDINATOR_MESSAGE__BODY_START &&
             strcmp(s->node, node) == 0 && is_for(s->message->start->key, job, generation, rank);
    return n;
}

size_t world_stops(struct world *w, const char *node, uint64_t job, uint32_t generation,
                   uint32_t rank, Wsl__V1__StopMode mode)
{
    size_t n = 0;

    for (const struct sent *s = w->sent; s; s = s->next)
        n += s->message->body_case == WSL__V1__COORDINATOR_MESSAGE__BODY_STOP &&
             s->message->stop->mode == mode && strcmp(s->node, node) == 0 &&
             is_for(s->message->stop->key, job, generation, rank);
    return n;
}

size_t world_answers(struct world *w, const char *node, uint64_t job, uint32_t generation,
                     uint32_t round)
{
    size_t n = 0;

    for (const struct sent *s = w->sent; s; s = s->next)
        n += s->message->body_case == WSL__V1__COORDINATOR_MESSAGE__BODY_EXCHANGE &&
             strcmp(s->node, node) == 0 && s->message->exchange->job == job &&
             s->message->exchange->generation == generation && s->message->exchange->round == round;
    return n;
}
