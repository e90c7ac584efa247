/* SPDX-License-Identifier: Apache-2.0
 *
 * A cluster in one process with a clock and a seed of its own: the coordinator's real state
 * machine, a store that is a table, workers and trainers that are structs. Random things happen to
 * all of them; then faults stop and everything must come to its end. Checked after every event:
 *
 *   - an accepted job is never lost, and a stored end is never taken back;
 *   - a job has trainers of one generation only, except on a worker that was out of reach for
 * longer than the grace time (the coordinator cannot know of those, and kills them when it can);
 *   - no worker is asked to run more trainers than it has slots for;
 *   - a job succeeds only if all ranks of a generation finished;
 *   - once faults stop, every job ends and no trainer is left.
 *
 *     sim_coordinator [FIRST_SEED [COUNT]]
 */
#include "base/args.h"
#include "base/rng.h"
#include "daemon/coordinator/cluster.h"
#include "proto/jobspec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WORKERS = 5,
    JOBS_MAX = 64,
    TRAINERS_MAX = 4096,
    INBOX_MAX = 256,
    STEPS_TO_DO = 150,
    CHECKPOINT_EVERY = 20,
    GRACE_MS = 10000,
    FAULTY_MS = 200000,
    QUIET_MS = 4000000,
};

struct trainer {
    struct trainer *next;
    Wsl__V1__TrainerKey key;
    uint32_t world;
    bool exchanged; /* knows its peers */
    bool ended;
    bool recorded; /* its end is in the store */
    bool excused;  /* its worker was out of reach for too long */
    bool deaf;     /* does not stop by itself */
    Wsl__V1__TrainerOutcome outcome;
    int64_t stop_at, peer_lost_at; /* 0: no */
    uint32_t metric_due;           /* rank 0: a checkpoint of this step is not yet delivered */
    uint32_t step;
};

struct worker {
    char name[16];
    uint32_t slots;
    uint32_t boot, instance;
    bool connected;
    int64_t away_since, back_at;
    struct trainer *trainers;
    Wsl__V1__CoordinatorMessage *inbox[INBOX_MAX];
    int inbox_count;
};

/* What a simulated disk holds of a job, and what is known of it for the checks. */
struct record {
    uint8_t *bytes;
    size_t size;
    bool accepted;
    Wsl__V1__JobState ended; /* as stored; 0: not */
    uint32_t finished_generation;
};

struct sim {
    uint64_t seed;
    struct wsl_rng rng;
    int64_t now;
    bool faults;
    struct wsl_cluster *cluster;
    struct worker workers[WORKERS];
    struct record jobs[JOBS_MAX];
    uint64_t job_count;
    uint64_t restarts, generations, kills;
};

static void broken(const struct sim *s, const char *what, uint64_t job)
{
    fprintf(stderr, "seed %" PRIu64 ", time %" PRId64 " ms, job %" PRIu64 ": %s\n", s->seed, s->now,
            job, what);
    fprintf(stderr, "again: sim_coordinator %" PRIu64 " 1\n", s->seed);
    exit(1);
}

static bool chance(struct sim *s, double p)
{
    return wsl_rng_unit(&s->rng) < p;
}

static uint32_t below(struct sim *s, uint32_t n)
{
    return (uint32_t)wsl_rng_below(&s->rng, n);
}

/* ---- the coordinator's process ---- */

static void open_cluster(struct sim *s)
{
    const struct wsl_cluster_setup setup = {
        .worker_grace_ms = GRACE_MS,
        .stop_grace_ms = 5000,
        .backoff_ms = 200,
        .backoff_max_ms = 5000,
        .heartbeat_ms = 1000,
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

static void lose_session(struct sim *s, struct worker *w, bool tell)
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

static void crash(struct sim *s)
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

/* As the driver does: store, then send; a crash may come before either. False: it did. */
static bool carry_out(struct sim *s)
{
    struct wsl_output *list = wsl_cluster_take_outputs(s->cluster), *o = list;
    int crash_at = s->faults && list && chance(s, 0.002) ? 1 + (int)below(s, 2) : 0;

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
    report->phase = (char *)(t->ended ? "exited" : "training");
    report->state =
        t->ended ? WSL__V1__TRAINER_STATE__TRAINER_EXITED : WSL__V1__TRAINER_STATE__TRAINER_STARTED;
    report->outcome = t->outcome;
    report->reason = (char *)(t->ended ? "as the dice fell" : "");
}

static void deliver_metric(struct sim *s, struct worker *w, struct trainer *t)
{
    Wsl__V1__TrainerMetric metric = WSL__V1__TRAINER_METRIC__INIT;
    Wsl__V1__CheckpointWritten written = WSL__V1__CHECKPOINT_WRITTEN__INIT;

    written.folder = (char *)"/checkpoints/step";
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

static void end_trainer(struct sim *s, struct worker *w, struct trainer *t,
                        Wsl__V1__TrainerOutcome outcome)
{
    if (t->ended)
        return;
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
    if (start->assignment->resume[0])
        t->step = CHECKPOINT_EVERY; /* somewhere behind the start */
    t->next = w->trainers;
    w->trainers = t;
    s->generations += t->key.rank == 0;
    report(s, w, t);
    send_part(s, w, t);
}

static void on_stop(struct sim *s, struct worker *w, const Wsl__V1__StopTrainer *stop)
{
    struct trainer *t = find_trainer(w, stop->key);

    if (!t)
        refuse(s, w, stop->key);
    else if (t->ended)
        report(s, w, t);
    else if (stop->mode == WSL__V1__STOP_MODE__KILL)
        end_trainer(s, w, t, WSL__V1__TRAINER_OUTCOME__STOPPED);
    else if (!t->deaf && t->stop_at == 0)
        t->stop_at = s->now + 100 + below(s, 1000);
}

static void on_message(struct sim *s, struct worker *w, const Wsl__V1__CoordinatorMessage *m)
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

static void forget_recorded(struct worker *w)
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

static void connect(struct sim *s, struct worker *w)
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

static void finish_generation(struct sim *s, const struct trainer *one)
{
    Wsl__V1__TrainerKey key = one->key;

    s->jobs[key.job - 1].finished_generation = key.generation;
    for (int i = 0; i < WORKERS; i++)
        for (struct trainer *p = s->workers[i].trainers; p; p = p->next)
            if (p->key.job == key.job && p->key.generation == key.generation)
                end_trainer(s, &s->workers[i], p, WSL__V1__TRAINER_OUTCOME__FINISHED);
}

static void live(struct sim *s, struct worker *w, struct trainer *t)
{
    uint32_t finished, peers;

    if (t->ended)
        return;
    if (t->stop_at && s->now >= t->stop_at) {
        end_trainer(s, w, t, WSL__V1__TRAINER_OUTCOME__STOPPED);
        return;
    }
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

/* ---- what happens ---- */

static struct trainer *any_trainer(struct sim *s, struct worker **ret_worker)
{
    uint32_t n = 0;
    struct trainer *pick = NULL;

    for (int i = 0; i < WORKERS; i++)
        for (struct trainer *t = s->workers[i].trainers; t; t = t->next)
            if (!t->ended && below(s, ++n) == 0) {
                pick = t;
                *ret_worker = &s->workers[i];
            }
    return pick;
}

static void reboot(struct sim *s, struct worker *w)
{
    lose_session(s, w, true);
    while (w->trainers) {
        struct trainer *t = w->trainers;

        w->trainers = t->next;
        free(t);
    }
    w->boot++;
    w->instance++;
    w->back_at = s->now + 500 + below(s, 3 * GRACE_MS);
    carry_out(s);
}

static void do_fault(struct sim *s)
{
    struct worker *w = &s->workers[below(s, WORKERS)];
    struct trainer *t;

    switch (below(s, 6)) {
    case 0:
        crash(s);
        break;
    case 1:
        if (chance(s, 0.4))
            reboot(s, w);
        break;
    case 2: /* the daemon starts again; trainers go on */
        w->instance++;
        lose_session(s, w, true);
        w->back_at = s->now + 100 + below(s, 3000);
        carry_out(s);
        break;
    case 3: /* the network: mostly short, sometimes longer than the grace time */
        lose_session(s, w, chance(s, 0.5));
        w->back_at = s->now + (chance(s, 0.3) ? GRACE_MS + below(s, 3 * GRACE_MS) : below(s, 4000));
        carry_out(s);
        break;
    default:
        t = any_trainer(s, &w);
        if (t) {
            s->kills++;
            end_trainer(s, w, t,
                        chance(s, 0.15) ? WSL__V1__TRAINER_OUTCOME__USER_ERROR
                                        : WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR);
        }
        break;
    }
}

static void submit(struct sim *s)
{
    Wsl__V1__JobSpec spec = WSL__V1__JOB_SPEC__INIT, *filled;
    Wsl__V1__Model model = WSL__V1__MODEL__INIT;
    Wsl__V1__Init init = WSL__V1__INIT__INIT;
    uint32_t depths[] = {1};
    struct wsl_err err = {0};
    char name[32], from[32];
    uint64_t id = 0;

    if (s->job_count >= JOBS_MAX)
        return;
    snprintf(name, sizeof name, "job-%" PRIu64, s->job_count + 1);
    model.n_depths = 1;
    model.depths = depths;
    model.image_size = 32;
    spec.name = name;
    spec.kind = WSL__V1__JOB_KIND__PRETRAIN;
    spec.data = (char *)"/data";
    spec.model = &model;
    spec.world = 1 + below(s, 6);
    spec.batch = 60;
    spec.epochs = 1;
    if (s->job_count > 0 && chance(s, 0.2)) {
        snprintf(from, sizeof from, "%" PRIu64, 1 + wsl_rng_below(&s->rng, s->job_count));
        spec.kind = WSL__V1__JOB_KIND__TRANSFER;
        init.from_case = WSL__V1__INIT__FROM_JOB;
        init.job = from;
        spec.init = &init;
    }
    filled = wsl_jobspec_copy(&spec);
    if (!filled || wsl_jobspec_fill(filled, &err) < 0 || wsl_jobspec_check(filled, &err) < 0)
        broken(s, err.text, 0);
    if (wsl_cluster_submit(s->cluster, filled, s->now, &id, &err) == 0) {
        if (id != s->job_count + 1)
            broken(s, "an id was used twice, or left out", id);
        s->job_count++;
        if (carry_out(s)) {
            s->jobs[id - 1].accepted = true;
            wsl_cluster_accept(s->cluster, id, s->now);
            carry_out(s);
        } else if (!s->jobs[id - 1].bytes) {
            s->job_count--; /* the crash came before it was stored: it never was */
        }
    }
    wsl__v1__job_spec__free_unpacked(filled, NULL);
}

static void cancel(struct sim *s)
{
    uint64_t id;

    if (s->job_count == 0)
        return;
    id = 1 + wsl_rng_below(&s->rng, s->job_count);
    wsl_cluster_cancel(s->cluster, id, "by the dice", s->now, NULL);
    carry_out(s);
}

/* ---- checks ---- */

static void check_job(struct sim *s, uint64_t id)
{
    const struct record *r = &s->jobs[id - 1];
    const Wsl__V1__Job *job = wsl_cluster_job(s->cluster, id);
    uint32_t generation = 0;

    if (!r->accepted)
        return;
    if (!job)
        broken(s, "an accepted job is lost", id);
    if (r->ended && job->state != r->ended)
        broken(s, "it has ended, and runs again", id);
    for (int i = 0; i < WORKERS; i++)
        for (const struct trainer *t = s->workers[i].trainers; t; t = t->next) {
            if (t->key.job != id || t->ended || t->excused)
                continue;
            if (generation && t->key.generation != generation)
                broken(s, "trainers of two generations run", id);
            generation = t->key.generation;
        }
}

static void check(struct sim *s)
{
    for (uint64_t id = 1; id <= s->job_count; id++)
        check_job(s, id);
}

/* ---- the run ---- */

static void advance(struct sim *s)
{
    s->now += 100;
    for (int i = 0; i < WORKERS; i++) {
        struct worker *w = &s->workers[i];

        if (!w->connected && s->now >= w->back_at)
            connect(s, w);
        if (!w->connected && s->now - w->away_since >= GRACE_MS)
            for (struct trainer *t = w->trainers; t; t = t->next)
                t->excused = true;
        if (w->connected)
            wsl_cluster_heartbeat(s->cluster, w->name, 1, s->now);
        for (int n = w->inbox_count; w->connected && n > 0 && w->inbox_count > 0; n--) {
            Wsl__V1__CoordinatorMessage *m = w->inbox[0];

            memmove(w->inbox, w->inbox + 1, (size_t)--w->inbox_count * sizeof(*w->inbox));
            on_message(s, w, m);
            wsl__v1__coordinator_message__free_unpacked(m, NULL);
        }
        for (struct trainer *t = w->trainers; t; t = t->next)
            live(s, w, t);
        forget_recorded(w);
    }
    wsl_cluster_tick(s->cluster, s->now);
    carry_out(s);
    check(s);
}

static bool all_ended(const struct sim *s)
{
    for (uint64_t id = 1; id <= s->job_count; id++) {
        const Wsl__V1__Job *job = wsl_cluster_job(s->cluster, id);

        if (job && !wsl_cluster_ended(job->state))
            return false;
    }
    for (int i = 0; i < WORKERS; i++)
        if (s->workers[i].trainers)
            return false;
    return true;
}

static void end_sim(struct sim *s)
{
    wsl_cluster_close(s->cluster);
    for (int i = 0; i < WORKERS; i++) {
        s->workers[i].connected = false;
        lose_session(s, &s->workers[i], false);
    }
    for (int i = 0; i < JOBS_MAX; i++)
        free(s->jobs[i].bytes);
}

static void run(uint64_t seed, uint64_t totals[4])
{
    static struct sim sim;
    struct sim *s = &sim;

    memset(s, 0, sizeof *s);
    s->seed = seed;
    wsl_rng_start(&s->rng, seed, 1);
    s->now = 1000000;
    for (int i = 0; i < WORKERS; i++) {
        snprintf(s->workers[i].name, sizeof s->workers[i].name, "w%d", i);
        s->workers[i].slots = 1 + below(s, 3);
        s->workers[i].back_at = s->now + below(s, 3000);
        s->workers[i].away_since = s->now;
    }
    s->workers[0].slots = 6; /* so that every job fits */
    open_cluster(s);
    s->faults = true;
    while (s->now < 1000000 + FAULTY_MS) {
        if (chance(s, 0.02))
            submit(s);
        if (chance(s, 0.002))
            cancel(s);
        if (chance(s, 0.05))
            do_fault(s);
        advance(s);
    }
    s->faults = false;
    while (!all_ended(s)) {
        if (s->now > 1000000 + FAULTY_MS + QUIET_MS)
            for (uint64_t id = 1; id <= s->job_count; id++)
                if (!s->jobs[id - 1].ended)
                    broken(s, wsl_cluster_job(s->cluster, id)->reason, id);
        if (s->now > 1000000 + FAULTY_MS + QUIET_MS)
            broken(s, "trainers are left", 0);
        advance(s);
    }
    totals[0] += s->job_count;
    totals[1] += s->generations;
    totals[2] += s->restarts;
    totals[3] += s->kills;
    end_sim(s);
}

int main(int argc, char **argv)
{
    uint64_t first = 1, count = 60, totals[4] = {0};

    if ((argc > 1 && wsl_parse_u64(argv[1], &first) < 0) ||
        (argc > 2 && wsl_parse_u64(argv[2], &count) < 0)) {
        fprintf(stderr, "usage: sim_coordinator [FIRST_SEED [COUNT]]\n");
        return 2;
    }
    for (uint64_t seed = first; seed < first + count; seed++)
        run(seed, totals);
    printf("%" PRIu64 " seeds from %" PRIu64 ": %" PRIu64 " jobs, %" PRIu64 " starts, %" PRIu64
           " coordinator restarts, %" PRIu64 " trainers killed\n",
           count, first, totals[0], totals[1], totals[2], totals[3]);
    return 0;
}
