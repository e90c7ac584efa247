/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fault/sim_cluster.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void broken(const struct sim *s, const char *what, uint64_t job)
{
    fprintf(stderr, "seed %" PRIu64 ", time %" PRId64 " ms, job %" PRIu64 ": %s\n", s->seed, s->now,
            job, what);
    fprintf(stderr, "again: sim_coordinator %" PRIu64 " 1\n", s->seed);
    exit(1);
}

bool chance(struct sim *s, double p)
{
    return wsl_rng_unit(&s->rng) < p;
}

uint32_t below(struct sim *s, uint32_t n)
{
    return (uint32_t)wsl_rng_below(&s->rng, n);
}

/* ---- the coordinator's process ---- */

static Wsl__V1__Job *read_job(void *context, uint64_t id)
{
    const struct record *r = &((struct sim *)context)->jobs[id - 1];

    return wsl__v1__job__unpack(NULL, r->size, r->bytes);
}

void open_cluster(struct sim *s)
{
    const struct wsl_cluster_setup setup = {
        .records = {.context = s, .job = read_job},
        .worker_grace_ms = GRACE_MS,
        .stop_grace_ms = 5000,
        .backoff_ms = 200,
        .backoff_max_ms = 5000,
        .heartbeat_ms = 1000,
        .forget_ms = 60000,
        .queue_max = JOBS_MAX,
        .history_max = JOBS_MAX,
    };
    struct wsl_err err = {0};

    if (wsl_cluster_open(&s->cluster, &setup, &err) < 0)
        broken(s, err.text, 0);
    for (uint64_t id = 1; id <= s->job_count; id++) {
        struct record *r = &s->jobs[id - 1];
        Wsl__V1__Job *job = r->bytes ? wsl__v1__job__unpack(NULL, r->size, r->bytes) : NULL;

        if (!r->bytes)
            continue;
        if (!job || wsl_cluster_restore_job(s->cluster, job) < 0)
            broken(s, "its record cannot be restored", id);
        r->accepted = true; /* stored: it counts, also if the crash came before the answer */
    }
    wsl_cluster_restored(s->cluster, s->now);
}

void lose_session(struct sim *s, struct worker *w, bool tell)
{
    for (int i = 0; i < w->inbox_count; i++)
        wsl__v1__coordinator_message__free_unpacked(w->inbox[i], NULL);
    w->inbox_count = 0;
    if (!w->connected)
        return;
    w->connected = false;
    w->away_since = s->now;
    if (tell)
        wsl_cluster_gone(s->cluster, w->name, "its session ended", s->now);
}

void crash(struct sim *s)
{
    s->restarts++;
    wsl_cluster_close(s->cluster); /* nothing of it is kept */
    for (int i = 0; i < WORKERS; i++) {
        lose_session(s, &s->workers[i], false);
        if (s->workers[i].back_at < s->now)
            s->workers[i].back_at = s->now + 200 + below(s, 4000);
    }
    open_cluster(s);
}

static void store_job(struct sim *s, uint64_t id)
{
    const Wsl__V1__Job *job = wsl_cluster_job(s->cluster, id);
    struct record *r = &s->jobs[id - 1];

    if (!job)
        return;
    if (r->ended && job->state != r->ended)
        broken(s, "a stored end was taken back", id);
    free(r->bytes);
    r->size = wsl__v1__job__get_packed_size(job);
    r->bytes = malloc(r->size + 1);
    if (!r->bytes)
        abort();
    wsl__v1__job__pack(job, r->bytes);
    if (wsl_cluster_ended(job->state))
        r->ended = job->state;
    if (job->state == WSL__V1__JOB_STATE__SUCCEEDED && r->finished_generation != job->generation)
        broken(s, "it succeeded, and its trainers did not finish", id);
}

static struct worker *worker_of(struct sim *s, const char *name)
{
    for (int i = 0; i < WORKERS; i++)
        if (strcmp(s->workers[i].name, name) == 0)
            return &s->workers[i];
    broken(s, "a message goes to nobody", 0);
    return NULL;
}

bool carry_out(struct sim *s)
{
    struct wsl_output *list = wsl_cluster_take_outputs(s->cluster), *o = list;
    int crash_at = s->faults && list && chance(s, 0.002) ? 1 + (int)below(s, 2) : 0;

    wsl_cluster_check(s->cluster);

    for (o = list; o && crash_at != 1; o = o->next)
        if (o->kind == WSL_OUTPUT_SAVE_JOB)
            store_job(s, o->job);
    for (o = list; o && !crash_at; o = o->next) {
        struct worker *w = o->kind == WSL_OUTPUT_SEND ? worker_of(s, o->node) : NULL;

        if (w && w->connected && w->inbox_count < INBOX_MAX) {
            w->inbox[w->inbox_count++] = o->message;
            o->message = NULL;
        }
    }
    while (list) {
        o = list;
        list = o->next;
        if (!crash_at && (o->kind == WSL_OUTPUT_SAVE_JOB || o->kind == WSL_OUTPUT_SAVE_EVENT))
            wsl_cluster_saved(s->cluster, o->job);
        wsl_output_free(o);
    }
    if (crash_at)
        crash(s);
    return !crash_at;
}

/* ---- workers ---- */

static struct trainer *find_trainer(const struct worker *w, const Wsl__V1__TrainerKey *key)
{
    for (struct trainer *t = w->trainers; t; t = t->next)
        if (t->key.job == key->job && t->key.generation == key->generation &&
            t->key.rank == key->rank)
            return t;
    return NULL;
}

static void fill_report(struct trainer *t, Wsl__V1__TrainerReport *report)
{
    wsl__v1__trainer_report__init(report);
    report->key = &t->key;
    report->pid = 100;
    report->phase = (char *)(t->ended ? "exited" : t->saving ? "saving" : "training");
    report->state =
        t->ended ? WSL__V1__TRAINER_STATE__TRAINER_EXITED : WSL__V1__TRAINER_STATE__TRAINER_STARTED;
    report->outcome = t->outcome;
    report->reason = (char *)(t->ended ? "as the dice fell" : "");
}

static void deliver_metric(struct sim *s, struct worker *w, struct trainer *t)
{
    Wsl__V1__TrainerMetric metric = WSL__V1__TRAINER_METRIC__INIT;
    Wsl__V1__CheckpointWritten written = WSL__V1__CHECKPOINT_WRITTEN__INIT;
    char folder[40];

    snprintf(folder, sizeof folder, "/checkpoints/%u", t->metric_due);
    written.folder = folder;
    written.step = t->metric_due;
    metric.body_case = WSL__V1__TRAINER_METRIC__BODY_CHECKPOINT;
    metric.checkpoint = &written;
    wsl_cluster_metric(s->cluster, w->name, &t->key, &metric, s->now);
    if (carry_out(s))
        t->metric_due = 0; /* else it is sent again */
}

static void report(struct sim *s, struct worker *w, struct trainer *t)
{
    Wsl__V1__TrainerReport message;

    if (t->metric_due)
        deliver_metric(s, w, t); /* an end counts after the metrics */
    if (!w->connected || t->metric_due)
        return;
    fill_report(t, &message);
    wsl_cluster_trainer(s->cluster, w->name, &message, s->now);
    if (carry_out(s) && t->ended)
        t->recorded = true;
}

static void send_part(struct sim *s, struct worker *w, struct trainer *t)
{
    Wsl__V1__ExchangePart part = WSL__V1__EXCHANGE_PART__INIT;

    part.key = &t->key;
    part.blob.data = (uint8_t *)"address";
    part.blob.len = 7;
    if (!w->connected || t->ended)
        return;
    wsl_cluster_exchange(s->cluster, w->name, &part, s->now);
    carry_out(s);
}

void spoil(struct sim *s, const struct trainer *t)
{
    struct record *r = &s->jobs[t->key.job - 1];

    if (t->key.generation > r->spoiled_generation)
        r->spoiled_generation = t->key.generation;
}

void end_trainer(struct sim *s, struct worker *w, struct trainer *t,
                 Wsl__V1__TrainerOutcome outcome)
{
    if (t->ended)
        return;
    if (outcome != WSL__V1__TRAINER_OUTCOME__STOPPED)
        spoil(s, t);
    t->ended = true;
    t->outcome = outcome;
    if (w->connected)
        report(s, w, t);
}

static void refuse(struct sim *s, struct worker *w, const Wsl__V1__TrainerKey *key)
{
    Wsl__V1__TrainerReport message = WSL__V1__TRAINER_REPORT__INIT;

    message.key = (Wsl__V1__TrainerKey *)key;
    message.state = WSL__V1__TRAINER_STATE__TRAINER_EXITED;
    message.outcome = WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR;
    message.reason = (char *)"not known here, or not started";
    wsl_cluster_trainer(s->cluster, w->name, &message, s->now);
    carry_out(s);
}

static uint32_t running_on(const struct worker *w, bool with_excused)
{
    uint32_t n = 0;

    for (const struct trainer *t = w->trainers; t; t = t->next)
        n += !t->ended && (with_excused || !t->excused);
    return n;
}

/* All ranks of its generation that run and know each other. */
static uint32_t peers_of(const struct sim *s, const struct trainer *t, uint32_t *ret_finished)
{
    uint32_t n = 0;

    *ret_finished = 0;
    for (int i = 0; i < WORKERS; i++)
        for (const struct trainer *p = s->workers[i].trainers; p; p = p->next) {
            if (p->key.job != t->key.job || p->key.generation != t->key.generation)
                continue;
            n += !p->ended && p->exchanged;
            *ret_finished += p->ended && p->outcome == WSL__V1__TRAINER_OUTCOME__FINISHED;
        }
    return n;
}

static void check_resume(const struct sim *s, const struct trainer *t)
{
    const struct record *r = &s->jobs[t->key.job - 1];

    if (r->saved_generation + 1 == t->key.generation &&
        r->spoiled_generation < r->saved_generation && t->step < r->saved_step)
        broken(s, "it stopped as a whole, and lost steps", t->key.job);
}

static void on_start(struct sim *s, struct worker *w, const Wsl__V1__StartTrainer *start)
{
    struct trainer *t = find_trainer(w, start->key);

    if (t) {
        report(s, w, t);
        return;
    }
    if (running_on(w, false) >= w->slots)
        broken(s, "a worker was asked for more trainers than it has slots", start->key->job);
    if (running_on(w, true) >= w->slots) { /* strays that are being killed are in the way */
        refuse(s, w, start->key);
        return;
    }
    t = calloc(1, sizeof *t);
    if (!t)
        abort();
    wsl__v1__trainer_key__init(&t->key);
    t->key.job = start->key->job;
    t->key.generation = start->key->generation;
    t->key.rank = start->key->rank;
    t->world = start->assignment->world;
    t->deaf = s->faults && chance(s, 0.05);
    if (start->assignment->resume[0] &&
        sscanf(start->assignment->resume, "/checkpoints/%u", &t->step) != 1)
        broken(s, "it resumes from something else than a checkpoint", t->key.job);
    check_resume(s, t);
    t->next = w->trainers;
    w->trainers = t;
    s->generations += t->key.rank == 0;
    report(s, w, t);
    send_part(s, w, t);
}

void ask_to_stop(struct sim *s, struct trainer *one)
{
    struct record *r = &s->jobs[one->key.job - 1];
    uint32_t finished;
    bool whole = one->exchanged && peers_of(s, one, &finished) == one->world;

    if (one->deaf || one->ended || one->agreed || one->stop_at)
        return;
    one->stop_at = s->now + 100 + below(s, 1000);
    for (int i = 0; whole && i < WORKERS; i++)
        for (struct trainer *t = s->workers[i].trainers; t; t = t->next) {
            if (t->key.job != one->key.job || t->key.generation != one->key.generation)
                continue;
            t->agreed = true;
            t->stop_at = s->now + 100 + below(s, 1000);
            if (t->deaf) /* hangs on its way out */
                t->stop_at = INT64_MAX;
            if (t->deaf && t->key.rank == 0)
                spoil(s, t);
            if (t->key.rank != 0 || t->deaf)
                continue;
            t->saving = true;
            t->stop_at += below(s, SAVING_MS);
            r->saved_generation = t->key.generation;
            r->saved_step = t->step;
            if (s->workers[i].connected)
                report(s, &s->workers[i], t);
        }
    if (!whole)
        spoil(s, one);
}

static void kill_trainer(struct sim *s, struct worker *w, struct trainer *t)
{
    if (t->saving && t->key.generation > s->jobs[t->key.job - 1].spoiled_generation)
        broken(s, "rank 0 was killed while it wrote the checkpoint", t->key.job);
    spoil(s, t);
    end_trainer(s, w, t, WSL__V1__TRAINER_OUTCOME__STOPPED);
}

static void on_stop(struct sim *s, struct worker *w, const Wsl__V1__StopTrainer *stop)
{
    struct trainer *t = find_trainer(w, stop->key);

    if (!t)
        refuse(s, w, stop->key);
    else if (t->ended)
        report(s, w, t);
    else if (stop->mode == WSL__V1__STOP_MODE__KILL)
        kill_trainer(s, w, t);
    else
        ask_to_stop(s, t);
}

void on_message(struct sim *s, struct worker *w, const Wsl__V1__CoordinatorMessage *m)
{
    switch (m->body_case) {
    case WSL__V1__COORDINATOR_MESSAGE__BODY_START:
        on_start(s, w, m->start);
        break;
    case WSL__V1__COORDINATOR_MESSAGE__BODY_STOP:
        on_stop(s, w, m->stop);
        break;
    case WSL__V1__COORDINATOR_MESSAGE__BODY_EXCHANGE:
        for (struct trainer *t = w->trainers; t; t = t->next)
            if (t->key.job == m->exchange->job && t->key.generation == m->exchange->generation)
                t->exchanged = true;
        break;
    default:
        break;
    }
}

void forget_recorded(struct worker *w)
{
    for (struct trainer **at = &w->trainers; *at;) {
        struct trainer *t = *at;

        if (t->ended && t->recorded) {
            *at = t->next;
            free(t);
        } else {
            at = &t->next;
        }
    }
}

void connect_worker(struct sim *s, struct worker *w)
{
    Wsl__V1__Hello hello = WSL__V1__HELLO__INIT;
    Wsl__V1__NodeFacts facts = WSL__V1__NODE_FACTS__INIT;
    static Wsl__V1__TrainerReport reports[TRAINERS_MAX], *list[TRAINERS_MAX];
    char boot[24], instance[24];
    struct wsl_err err = {0};

    snprintf(boot, sizeof boot, "boot-%u", w->boot);
    snprintf(instance, sizeof instance, "instance-%u", w->instance);
    facts.host = w->name;
    facts.boot_id = boot;
    facts.slots = w->slots;
    facts.address = (char *)"127.0.0.1";
    hello.name = w->name;
    hello.instance = instance;
    hello.facts = &facts;
    hello.trainers = list;
    for (struct trainer *t = w->trainers; t; t = t->next) {
        fill_report(t, &reports[hello.n_trainers]);
        list[hello.n_trainers] = &reports[hello.n_trainers];
        hello.n_trainers++;
    }
    if (wsl_cluster_hello(s->cluster, &hello, s->now, &err) < 0)
        return; /* taken for a double; tries again */
    w->connected = true;
    if (!carry_out(s))
        return;
    for (struct trainer *t = w->trainers; t && w->connected; t = t->next) {
        if (t->ended)
            report(s, w, t);
        else
            send_part(s, w, t);
    }
}

/* ---- trainers ---- */

static void finish_generation(struct sim *s, const struct trainer *one)
{
    Wsl__V1__TrainerKey key = one->key;

    s->jobs[key.job - 1].finished_generation = key.generation;
    for (int i = 0; i < WORKERS; i++)
        for (struct trainer *p = s->workers[i].trainers; p; p = p->next)
            if (p->key.job == key.job && p->key.generation == key.generation)
                end_trainer(s, &s->workers[i], p, WSL__V1__TRAINER_OUTCOME__FINISHED);
}

void live(struct sim *s, struct worker *w, struct trainer *t)
{
    uint32_t finished, peers;

    if (t->ended)
        return;
    if (t->stop_at && s->now >= t->stop_at) {
        t->metric_due = t->saving ? t->step : t->metric_due;
        t->saving = false;
        end_trainer(s, w, t, WSL__V1__TRAINER_OUTCOME__STOPPED);
        return;
    }
    if (t->agreed)
        return;
    peers = peers_of(s, t, &finished);
    if (t->exchanged && peers < t->world) { /* a peer is gone */
        if (t->peer_lost_at == 0)
            t->peer_lost_at = s->now + 100 + below(s, 2000);
        else if (s->now >= t->peer_lost_at)
            end_trainer(s, w, t, WSL__V1__TRAINER_OUTCOME__PEER_LOST);
        return;
    }
    if (t->key.rank != 0 || peers < t->world)
        return;
    t->step++;
    if (t->step % CHECKPOINT_EVERY == 0)
        t->metric_due = t->step;
    if (t->metric_due && w->connected && chance(s, 0.5))
        deliver_metric(s, w, t);
    if (t->step >= STEPS_TO_DO)
        finish_generation(s, t);
}
