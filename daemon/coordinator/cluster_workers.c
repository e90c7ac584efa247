/* SPDX-License-Identifier: Apache-2.0
 *
 * Events that come from workers, and from the passing of time.
 */
#include "daemon/coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S(name) WSL__V1__JOB_STATE__##name

/* The job whose current generation the key names, and that has this rank on this node; NULL: the
 * message is stale. */
static struct job *current_job(const struct wsl_cluster *c, const char *node,
                               const Wsl__V1__TrainerKey *key)
{
    struct job *job = key ? find_job(c, key->job) : NULL;

    if (!job || !job->ranks || job->pb->generation != key->generation ||
        key->rank >= job->pb->n_ranks)
        return NULL;
    return strcmp(job->pb->ranks[key->rank]->node, node) == 0 ? job : NULL;
}

/* ---- sessions ---- */

static int check_hello(const struct wsl_cluster *c, const Wsl__V1__Hello *hello,
                       struct wsl_err *err)
{
    const struct node *node;

    if (!hello->name[0] || strlen(hello->name) > 64)
        return wsl_fail(err, WSL_EINVAL, "hello.name: must have 1 to 64 characters, has %zu",
                        strlen(hello->name));
    if (!hello->facts || hello->facts->slots == 0 || hello->facts->slots > 1024)
        return wsl_fail(err, WSL_EINVAL, "hello.facts.slots: must be 1 to 1024, is %u",
                        hello->facts ? hello->facts->slots : 0);
    if (strlen(hello->instance) > 64 || strlen(hello->facts->address) > 255 ||
        strlen(hello->facts->host) > 255)
        return wsl_fail(err, WSL_EINVAL, "hello: instance, address or host is too long");
    node = find_node(c, hello->name);
    /* The same machine may come again before its old session is seen to be dead; another machine
     * may not take its name. */
    if (node && node->connected && strcmp(node->instance, hello->instance) != 0 &&
        node->pb->facts &&
        (strcmp(node->pb->facts->boot_id, hello->facts->boot_id) != 0 ||
         strcmp(node->pb->facts->host, hello->facts->host) != 0))
        return wsl_fail(
            err, WSL_EEXIST,
            "a worker named '%s' is connected from host %s; give this one another --name",
            hello->name, node->pb->facts->host);
    if (!node && c->node_count >= NODES_MAX)
        return wsl_fail(err, WSL_ELIMIT, "there are %d workers already", NODES_MAX);
    return 0;
}

static Wsl__V1__NodeFacts *copy_facts(const Wsl__V1__NodeFacts *facts)
{
    size_t size = wsl__v1__node_facts__get_packed_size(facts);
    uint8_t *bytes = must_alloc(size + 1);
    Wsl__V1__NodeFacts *copy;

    wsl__v1__node_facts__pack(facts, bytes);
    copy = wsl__v1__node_facts__unpack(NULL, size, bytes);
    free(bytes);
    if (!copy)
        abort();
    return copy;
}

static const Wsl__V1__TrainerReport *report_of(const Wsl__V1__Hello *hello, const struct job *job,
                                               uint32_t rank)
{
    for (size_t i = 0; i < hello->n_trainers; i++) {
        const Wsl__V1__TrainerKey *key = hello->trainers[i]->key;

        if (key && key->job == job->pb->id && key->generation == job->pb->generation &&
            key->rank == rank)
            return hello->trainers[i];
    }
    return NULL;
}

/* What we believe runs there and the worker does not mention: a start that never arrived is sent
 * again, one that ran is lost. */
static void reconcile_job(struct wsl_cluster *c, struct job *job, const Wsl__V1__Hello *hello,
                          int64_t now)
{
    uint32_t generation = job->pb->generation;

    for (uint32_t i = 0; job->ranks && job->pb->generation == generation && i < job->pb->n_ranks;
         i++) {
        if (job->ranks[i].state == RANK_ENDED ||
            strcmp(job->pb->ranks[i]->node, hello->name) != 0 || report_of(hello, job, i))
            continue;
        if (job->ranks[i].state == RANK_UP)
            end_rank(c, job, i, WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR,
                     "its worker came back without it (a reboot, or a lost state folder)", now);
        else if (job->stopping)
            end_rank(c, job, i, WSL__V1__TRAINER_OUTCOME__STOPPED, "stopped before it started",
                     now);
        else
            send_start(c, job, i);
    }
}

static void resend_stops(struct wsl_cluster *c, const char *name)
{
    for (size_t i = 0; i < c->job_count; i++) {
        struct job *job = c->jobs[i];

        for (uint32_t k = 0; job->stopping && job->ranks && k < job->pb->n_ranks; k++) {
            Wsl__V1__TrainerKey key = WSL__V1__TRAINER_KEY__INIT;

            if (job->ranks[k].state == RANK_ENDED || strcmp(job->pb->ranks[k]->node, name) != 0)
                continue;
            key.job = job->pb->id;
            key.generation = job->pb->generation;
            key.rank = k;
            send_stop(c, name, &key,
                      job->kill_ms ? WSL__V1__STOP_MODE__GRACEFUL : WSL__V1__STOP_MODE__KILL,
                      job->pb->cancel_requested ? "the job was cancelled"
                                                : "another rank has ended");
        }
    }
}

int wsl_cluster_hello(struct wsl_cluster *c, const Wsl__V1__Hello *hello, int64_t now,
                      struct wsl_err *err)
{
    struct node *node;
    int r = check_hello(c, hello, err);

    if (r < 0)
        return r;
    node = find_node(c, hello->name);
    if (!node)
        node = add_node(c, hello->name, now);
    snprintf(node->instance, sizeof node->instance, "%s", hello->instance);
    if (node->pb->facts)
        wsl__v1__node_facts__free_unpacked(node->pb->facts, NULL);
    node->pb->facts = copy_facts(hello->facts);
    node->pb->state = WSL__V1__NODE_STATE__READY;
    node->pb->last_seen_ms = now;
    set_text(&node->pb->reason, "");
    node->connected = true;
    node->heard_ms = now;
    node->lost_ms = 0;
    /* Ends come again one by one, each after its trainer's last metrics. */
    for (size_t i = 0; i < hello->n_trainers; i++)
        if (hello->trainers[i]->state == WSL__V1__TRAINER_STATE__TRAINER_STARTED)
            wsl_cluster_trainer(c, hello->name, hello->trainers[i], now);
    for (size_t i = 0; i < c->job_count; i++)
        reconcile_job(c, c->jobs[i], hello, now);
    resend_stops(c, hello->name);
    schedule(c, now);
    return 0;
}

void wsl_cluster_gone(struct wsl_cluster *c, const char *name, const char *reason, int64_t now)
{
    struct node *node = find_node(c, name);

    if (!node || !node->connected)
        return;
    node->connected = false;
    node->pb->state = WSL__V1__NODE_STATE__LOST;
    node->lost_ms = now + c->setup.worker_grace_ms;
    set_text(&node->pb->reason, reason);
}

void wsl_cluster_heartbeat(struct wsl_cluster *c, const char *name, uint64_t memory_available,
                           int64_t now)
{
    struct node *node = find_node(c, name);

    if (!node)
        return;
    node->heard_ms = now;
    node->pb->last_seen_ms = now;
    node->pb->memory_available_bytes = memory_available;
}

/* ---- trainers ---- */

void wsl_cluster_trainer(struct wsl_cluster *c, const char *name,
                         const Wsl__V1__TrainerReport *report, int64_t now)
{
    struct job *job = current_job(c, name, report->key);

    if (!report->key)
        return;
    if (!job) {
        /* Of an old generation, or of a job that ended: it must not go on. */
        if (report->state == WSL__V1__TRAINER_STATE__TRAINER_STARTED)
            send_stop(c, name, report->key, WSL__V1__STOP_MODE__KILL, "its generation is over");
        return;
    }
    if (report->state == WSL__V1__TRAINER_STATE__TRAINER_STARTED) {
        if (job->ranks[report->key->rank].state != RANK_ENDED)
            rank_up(c, job, report->key->rank, report, now);
        return;
    }
    if (report->state != WSL__V1__TRAINER_STATE__TRAINER_EXITED)
        return;
    end_rank(c, job, report->key->rank, report->outcome, report->reason, now);
    schedule(c, now);
}

static void answer_round(struct wsl_cluster *c, struct job *job, uint32_t round, const char *only)
{
    if (only) {
        send_exchange(c, job, round, only);
        return;
    }
    for (size_t i = 0; i < job->pb->n_ranks; i++) {
        bool told = false;

        for (size_t k = 0; k < i; k++)
            told = told || strcmp(job->pb->ranks[k]->node, job->pb->ranks[i]->node) == 0;
        if (!told)
            send_exchange(c, job, round, job->pb->ranks[i]->node);
    }
}

void wsl_cluster_exchange(struct wsl_cluster *c, const char *name,
                          const Wsl__V1__ExchangePart *part, int64_t now)
{
    struct job *job = current_job(c, name, part->key);
    struct round *round;
    ProtobufCBinaryData *blob;

    (void)now;
    if (!job || part->round >= ROUNDS_MAX || part->blob.len > BLOB_MAX)
        return;
    round = &job->rounds[part->round];
    if (!round->blobs)
        round->blobs = must_alloc(job->pb->n_ranks * sizeof *round->blobs);
    blob = &round->blobs[part->key->rank];
    if (blob->data) {
        /* Said again after a reconnect: if it was answered, the answer may have been lost. */
        if (round->have == job->pb->n_ranks)
            answer_round(c, job, part->round, name);
        return;
    }
    blob->data = must_alloc(part->blob.len + 1);
    blob->len = part->blob.len;
    if (blob->len > 0)
        memcpy(blob->data, part->blob.data, blob->len);
    if (++round->have == job->pb->n_ranks)
        answer_round(c, job, part->round, NULL);
}

/* ---- metrics ---- */

static Wsl__V1__Progress *copy_progress(const Wsl__V1__Progress *progress)
{
    size_t size = wsl__v1__progress__get_packed_size(progress);
    uint8_t *bytes = must_alloc(size + 1);
    Wsl__V1__Progress *copy;

    wsl__v1__progress__pack(progress, bytes);
    copy = wsl__v1__progress__unpack(NULL, size, bytes);
    free(bytes);
    if (!copy)
        abort();
    return copy;
}

static void take_checkpoint(struct wsl_cluster *c, struct job *job, const char *node,
                            const Wsl__V1__CheckpointWritten *w, int64_t now)
{
    /* Sent twice after a broken session, or older than what is known. */
    if (job->pb->checkpoint[0] && w->step <= job->pb->checkpoint_step)
        return;
    set_text(&job->pb->checkpoint, w->folder);
    set_text(&job->pb->checkpoint_node, node);
    job->pb->checkpoint_step = w->step;
    if (w->step > job->start_step) {
        job->user_errors = 0;
        job->machine_errors = 0;
    }
    add_event(c, job, now, "checkpoint", "step %" PRIu64 ", %.1f MB in %.1f s: %s", w->step,
              (double)w->bytes / 1e6, w->seconds, w->folder);
    save_job(c, job);
}

void wsl_cluster_metric(struct wsl_cluster *c, const char *node, const Wsl__V1__TrainerKey *key,
                        const Wsl__V1__TrainerMetric *metric, int64_t now)
{
    struct job *job = find_job(c, key->job);

    /* A checkpoint is good whichever generation wrote it; progress counts only for the current one.
     */
    if (!job || key->generation > job->pb->generation)
        return;
    switch (metric->body_case) {
    case WSL__V1__TRAINER_METRIC__BODY_PROGRESS:
        if (key->generation != job->pb->generation)
            return;
        if (job->pb->progress)
            wsl__v1__progress__free_unpacked(job->pb->progress, NULL);
        job->pb->progress = copy_progress(metric->progress);
        job->version++;
        return;
    case WSL__V1__TRAINER_METRIC__BODY_CHECKPOINT:
        take_checkpoint(c, job, node, metric->checkpoint, now);
        return;
    case WSL__V1__TRAINER_METRIC__BODY_NOTE:
        add_event(c, job, now, metric->note->kind[0] ? metric->note->kind : "note", "%.800s",
                  metric->note->message);
        return;
    default:
        return;
    }
}

/* ---- time ---- */

static void lose_node(struct wsl_cluster *c, struct node *node, int64_t now)
{
    char reason[120];

    node->lost_ms = 0;
    snprintf(reason, sizeof reason, "its worker has been away for %u s",
             c->setup.worker_grace_ms / 1000);
    for (size_t i = 0; i < c->job_count; i++) {
        struct job *job = c->jobs[i];
        uint32_t generation = job->pb->generation;

        for (uint32_t k = 0;
             job->ranks && job->pb->generation == generation && k < job->pb->n_ranks; k++)
            if (job->ranks[k].state != RANK_ENDED &&
                strcmp(job->pb->ranks[k]->node, node->pb->name) == 0)
                end_rank(c, job, k, WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR, reason, now);
    }
}

void wsl_cluster_tick(struct wsl_cluster *c, int64_t now)
{
    for (size_t i = 0; i < c->node_count; i++) {
        struct node *node = c->nodes[i];

        if (node->connected && now - node->heard_ms > 5 * (int64_t)c->setup.heartbeat_ms)
            wsl_cluster_gone(c, node->pb->name, "no heartbeat", now);
        if (node->lost_ms && now >= node->lost_ms)
            lose_node(c, node, now);
    }
    for (size_t i = 0; i < c->job_count; i++) {
        struct job *job = c->jobs[i];

        if (job->kill_ms && now >= job->kill_ms)
            stop_ranks(c, job, WSL__V1__STOP_MODE__KILL, "it did not stop by itself in time", now);
    }
    schedule(c, now);
}

/* ---- looking ---- */

size_t wsl_cluster_node_count(const struct wsl_cluster *c)
{
    return c->node_count;
}

static void list_jobs(const struct wsl_cluster *c, Wsl__V1__Node *pb)
{
    for (size_t i = 0; i < pb->n_jobs; i++)
        free(pb->jobs[i]);
    free(pb->jobs);
    pb->jobs = NULL;
    pb->n_jobs = 0;
    pb->slots_used = slots_used(c, pb->name);
    if (pb->slots_used == 0)
        return;
    pb->jobs = must_alloc(pb->slots_used * sizeof *pb->jobs);
    for (size_t i = 0; i < c->job_count; i++) {
        const struct job *job = c->jobs[i];

        for (size_t k = 0; job->ranks && k < job->pb->n_ranks; k++)
            if (job->ranks[k].state != RANK_ENDED && strcmp(job->pb->ranks[k]->node, pb->name) == 0)
                set_textf(&pb->jobs[pb->n_jobs++], "%" PRIu64 "/%zu", job->pb->id, k);
    }
}

const Wsl__V1__Node *wsl_cluster_node_at(struct wsl_cluster *c, size_t index)
{
    list_jobs(c, c->nodes[index]->pb);
    return c->nodes[index]->pb;
}

const Wsl__V1__Node *wsl_cluster_node(struct wsl_cluster *c, const char *name)
{
    struct node *node = find_node(c, name);

    if (!node)
        return NULL;
    list_jobs(c, node->pb);
    return node->pb;
}
