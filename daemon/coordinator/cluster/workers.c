/* SPDX-License-Identifier: Apache-2.0
 *
 * Events that come from workers, and from the passing of time.
 */
#include "daemon/coordinator/cluster/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S(name) WSL__V1__JOB_STATE__##name

struct job *wsl_cluster_current_job(const struct wsl_cluster *c, const struct node *node,
                                    const Wsl__V1__TrainerKey *key)
{
    struct job *job = key ? wsl_cluster_find_job(c, key->job) : NULL;

    if (!job || !job->ranks || job->pb->generation != key->generation ||
        key->rank >= job->pb->n_ranks)
        return NULL;
    return job->ranks[key->rank].node == node ? job : NULL;
}

/* ---- sessions ---- */

static bool is_name(const char *text)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    return n >= 1 && n < NODE_NAME_SIZE && !text[n];
}

static bool is_same_machine(const Wsl__V1__NodeFacts *a, const Wsl__V1__NodeFacts *b)
{
    return strcmp(a->boot_id, b->boot_id) == 0 && strcmp(a->host, b->host) == 0;
}

/* May a Hello take the place of a session that has not been seen to end? The one whose session it
 * is, and who holds the same (locked) state directory: its daemon was started again, or its
 * connection broke without our noticing. Workers older than ids are told by their machine. */
static bool is_successor(const struct node *node, const Wsl__V1__Hello *hello)
{
    if (strcmp(node->instance, hello->instance) == 0)
        return true;
    if (node->pb->id[0] || hello->id[0])
        return strcmp(node->pb->id, hello->id) == 0;
    return is_same_machine(node->pb->facts, hello->facts);
}

/* Away for a moment, as all are after a restart of ours, with trainers that go on meanwhile: the name
 * is kept for the id that runs them until they count as lost. Otherwise whoever is refused now, and
 * tries again and again, had it at the first hiccup of the network. */
static bool is_held(const struct node *node, const Wsl__V1__Hello *hello)
{
    return !node->connected && node->ranks > 0 && node->pb->id[0] &&
           strcmp(node->pb->id, hello->id) != 0;
}

static int check_name(const struct node *node, const Wsl__V1__Hello *hello, struct wsl_err *err)
{
    const char *host = node->pb->facts ? node->pb->facts->host : "unknown";

    if (node->connected && !is_successor(node, hello))
        return wsl_fail(err, WSL_EEXIST,
                        "another worker named '%s' is connected, from host %s; give this one "
                        "another --name",
                        hello->name, host);
    if (is_held(node, hello))
        return wsl_fail(err, WSL_EEXIST,
                        "another worker named '%s', on host %s, is away and its trainers may still "
                        "run; give this one another --name, or let it wait for the name "
                        "('wslctl nodes remove %s' frees it at once)",
                        hello->name, host, hello->name);
    return 0;
}

static int check_hello(struct wsl_cluster *c, const Wsl__V1__Hello *hello, struct wsl_err *err)
{
    const struct node *node;

    if (!is_name(hello->name))
        return wsl_fail(err, WSL_EINVAL, "hello.name: must be 1 to 64 of a-z A-Z 0-9 . _ -");
    if (!hello->facts || hello->facts->slots == 0 || hello->facts->slots > 1024)
        return wsl_fail(err, WSL_EINVAL, "hello.facts.slots: must be 1 to 1024, is %u",
                        hello->facts ? hello->facts->slots : 0);
    if (!hello->instance[0] || strlen(hello->instance) >= NODE_NAME_SIZE ||
        strlen(hello->id) >= NODE_NAME_SIZE || strlen(hello->facts->address) > 255 ||
        strlen(hello->facts->host) > 255)
        return wsl_fail(err, WSL_EINVAL,
                        "hello: instance is missing, or instance, id, address or host is too long");
    node = wsl_cluster_find_node(c, hello->name);
    if (node)
        return check_name(node, hello, err);
    if (c->node_count >= NODES_MAX && !wsl_cluster_forget_oldest_node(c))
        return wsl_fail(err, WSL_ELIMIT, "worker limit reached (%d)", NODES_MAX);
    return 0;
}

static bool is_reported(const Wsl__V1__Hello *hello, const struct job *job, uint32_t rank)
{
    for (size_t i = 0; i < hello->n_trainers; i++) {
        const Wsl__V1__TrainerKey *key = hello->trainers[i]->key;

        if (key && key->job == job->pb->id && key->generation == job->pb->generation &&
            key->rank == rank)
            return true;
    }
    return false;
}

/* What we believe runs there and the worker does not mention: a start that never arrived is sent
 * again, one that ran is lost. */
static void reconcile_job(struct wsl_cluster *c, struct job *job, const struct node *node,
                          const Wsl__V1__Hello *hello, int64_t now)
{
    for (uint32_t i = 0; job->ranks && i < job->pb->n_ranks; i++) {
        if (job->ranks[i].state == RANK_ENDED || job->ranks[i].node != node ||
            is_reported(hello, job, i))
            continue;
        if (job->ranks[i].state == RANK_UP)
            wsl_cluster_end_rank(
                c, job, i, WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR,
                "its worker came back without it (a reboot, or a lost state directory)", now);
        else if (job->stop)
            wsl_cluster_end_rank(c, job, i, WSL__V1__TRAINER_OUTCOME__STOPPED,
                                 "stopped before it started", now);
        else
            wsl_cluster_send_start(c, job, i);
    }
}

static void connect_node(struct wsl_cluster *c, struct node *node, int64_t now)
{
    node->connected = true;
    node->heard_ms = now;
    node->lost_ms = 0;
    node->pb->state = WSL__V1__NODE_STATE__READY;
    node->pb->last_seen_ms = now;
    wsl_cluster_set_text(&node->pb->reason, "");
    c->changed = true;
}

int wsl_cluster_hello(struct wsl_cluster *c, const Wsl__V1__Hello *hello, int64_t now,
                      struct wsl_err *err)
{
    struct node *node;
    int r = check_hello(c, hello, err);

    if (r < 0)
        return r;
    node = wsl_cluster_find_node(c, hello->name);
    if (!node)
        node = wsl_cluster_add_node(c, hello->name, now);
    snprintf(node->instance, sizeof node->instance, "%s", hello->instance);
    if (node->pb->facts)
        wsl__v1__node_facts__free_unpacked(node->pb->facts, NULL);
    node->pb->facts = (Wsl__V1__NodeFacts *)wsl_cluster_copy_message(&hello->facts->base);
    wsl_cluster_set_text(&node->pb->id, hello->id);
    connect_node(c, node, now);
    wsl_cluster_save_node(c, node, now);
    wsl_cluster_drop_orphans(c, node);
    /* Ends come again one by one, each after its trainer's last metrics. */
    for (size_t i = 0; i < hello->n_trainers; i++)
        if (hello->trainers[i]->state == WSL__V1__TRAINER_STATE__TRAINER_STARTED)
            wsl_cluster_trainer(c, hello->name, hello->trainers[i], now);
    /* Downwards: a job may leave the list. */
    for (size_t i = c->live.count; i-- > 0;) {
        struct job *job = c->live.jobs[i];

        reconcile_job(c, job, node, hello, now);
        wsl_cluster_repeat_stops(c, job, node);
    }
    wsl_cluster_schedule(c, now);
    return 0;
}

void wsl_cluster_gone(struct wsl_cluster *c, const char *name, const char *reason, int64_t now)
{
    struct node *node = wsl_cluster_find_node(c, name);

    if (!node || !node->connected)
        return;
    node->connected = false;
    node->pb->state = WSL__V1__NODE_STATE__LOST;
    node->lost_ms = now + c->setup.worker_grace_ms;
    wsl_cluster_set_textf(&node->pb->reason, "%s", reason);
    node->away_ms = now;
    wsl_cluster_save_node(c, node, now);
    c->changed = true;
}

void wsl_cluster_heartbeat(struct wsl_cluster *c, const char *name, uint64_t memory_available,
                           int64_t now)
{
    struct node *node = wsl_cluster_find_node(c, name);

    if (!node || !node->instance[0])
        return;
    node->heard_ms = now;
    node->pb->last_seen_ms = now;
    node->pb->memory_available_bytes = memory_available;
    if (node->connected)
        return;
    /* Its session lived on: one of us two stood still. What counts as lost since may still run. */
    connect_node(c, node, now);
    for (size_t i = 0; i < node->orphan_count; i++) {
        Wsl__V1__TrainerKey key = WSL__V1__TRAINER_KEY__INIT;

        key.job = node->orphans[i].job;
        key.generation = node->orphans[i].generation;
        key.rank = node->orphans[i].rank;
        wsl_cluster_send_stop(c, name, &key, WSL__V1__STOP_MODE__KILL, "its generation is over");
    }
    wsl_cluster_schedule(c, now);
}

/* ---- trainers ---- */

static void on_started(struct wsl_cluster *c, struct node *node, struct job *job,
                       const Wsl__V1__TrainerReport *report, int64_t now)
{
    if (job && job->ranks[report->key->rank].state != RANK_ENDED) {
        wsl_cluster_rank_up(c, job, report->key->rank, report, now);
        return;
    }
    /* Of an old generation, of a job that ended, or given up while its worker was away. */
    wsl_cluster_add_orphan(c, node, report->key);
    wsl_cluster_send_stop(c, node->pb->name, report->key, WSL__V1__STOP_MODE__KILL,
                          "its generation is over");
}

void wsl_cluster_trainer(struct wsl_cluster *c, const char *name,
                         const Wsl__V1__TrainerReport *report, int64_t now)
{
    struct node *node = wsl_cluster_find_node(c, name);
    struct job *job = wsl_cluster_current_job(c, node, report->key);

    if (!node || !report->key)
        return;
    if (report->state == WSL__V1__TRAINER_STATE__TRAINER_STARTED) {
        on_started(c, node, job, report, now);
        return;
    }
    if (report->state != WSL__V1__TRAINER_STATE__TRAINER_EXITED)
        return;
    wsl_cluster_remove_orphan(c, node, report->key);
    if (job) {
        if (job->ranks[report->key->rank].state != RANK_ENDED)
            job->ranks[report->key->rank].exit_ms = report->time_ms;
        wsl_cluster_end_rank(c, job, report->key->rank, report->outcome, report->reason, now);
    }
    wsl_cluster_schedule(c, now);
}

/* ---- metrics ---- */

static void on_checkpoint(struct wsl_cluster *c, struct job *job, const char *node,
                          const Wsl__V1__TrainerKey *key, const Wsl__V1__CheckpointWritten *w,
                          int64_t now)
{
    /* Sent twice after a broken session, or older than what is known. */
    if (job->pb->checkpoint[0] && w->step <= job->pb->checkpoint_step)
        return;
    wsl_cluster_set_text(&job->pb->checkpoint, w->folder);
    wsl_cluster_set_text(&job->pb->checkpoint_node, node);
    job->pb->checkpoint_step = w->step;
    if (key->generation == job->pb->generation && w->step > job->start_step) {
        job->pb->user_errors = 0;
        job->pb->machine_errors = 0;
    }
    wsl_cluster_add_event(c, job, now, "checkpoint", "step %" PRIu64 ", %.1f MB in %.1f s: %s",
                          w->step, (double)w->bytes / 1e6, w->seconds, w->folder);
    wsl_cluster_save_job(c, job);
}

/* Sent twice after a crash of ours, or said at every step. */
static bool is_repeated(const struct job *job, const char *kind, const char *message)
{
    size_t n = job->event_count;

    for (size_t i = n > SAME_NOTE_EVENTS ? n - SAME_NOTE_EVENTS : 0; i < n; i++)
        if (strcmp(job->events[i]->kind, kind) == 0 &&
            strcmp(job->events[i]->message, message) == 0)
            return true;
    return false;
}

static void on_note(struct wsl_cluster *c, struct job *job, const Wsl__V1__Note *note, int64_t now)
{
    char kind[65], message[801];

    snprintf(kind, sizeof kind, "%s", note->kind[0] ? note->kind : "note");
    snprintf(message, sizeof message, "%s", note->message);
    wsl_cluster_clean_text(kind);
    wsl_cluster_clean_text(message);
    if (!is_repeated(job, kind, message))
        wsl_cluster_add_event(c, job, now, kind, "%s", message);
}

void wsl_cluster_metric(struct wsl_cluster *c, const char *node, const Wsl__V1__TrainerKey *key,
                        const Wsl__V1__TrainerMetric *metric, int64_t now)
{
    struct job *job = wsl_cluster_find_job(c, key->job);

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
        job->pb->progress = (Wsl__V1__Progress *)wsl_cluster_copy_message(&metric->progress->base);
        job->version++;
        return;
    case WSL__V1__TRAINER_METRIC__BODY_CHECKPOINT:
        on_checkpoint(c, job, node, key, metric->checkpoint, now);
        return;
    case WSL__V1__TRAINER_METRIC__BODY_NOTE:
        on_note(c, job, metric->note, now);
        return;
    default:
        return;
    }
}

/* ---- time ---- */

/* Its trainers may run all the same: should it come back without a Hello, they are orphans. */
static void lose_rank(struct wsl_cluster *c, struct node *node, struct job *job, uint32_t rank,
                      int64_t now)
{
    Wsl__V1__TrainerKey key = WSL__V1__TRAINER_KEY__INIT;
    char reason[120];

    key.job = job->pb->id;
    key.generation = job->pb->generation;
    key.rank = rank;
    wsl_cluster_add_orphan(c, node, &key);
    snprintf(reason, sizeof reason, "its worker has been away for %u s",
             c->setup.worker_grace_ms / 1000);
    wsl_cluster_end_rank(c, job, rank, WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR, reason, now);
}

static void lose_node(struct wsl_cluster *c, struct node *node, int64_t now)
{
    node->lost_ms = 0;
    c->changed = true;
    for (size_t i = c->live.count; i-- > 0;) {
        struct job *job = c->live.jobs[i];

        for (uint32_t k = 0; job->ranks && k < job->pb->n_ranks; k++)
            if (job->ranks[k].state != RANK_ENDED && job->ranks[k].node == node)
                lose_rank(c, node, job, k, now);
    }
}

int wsl_cluster_remove_node(struct wsl_cluster *c, const char *name, int64_t now,
                            struct wsl_err *err)
{
    struct node *node = wsl_cluster_find_node(c, name);

    if (!node)
        return wsl_fail(err, WSL_ENOENT, "there is no worker named '%.64s'", name);
    if (node->connected)
        return wsl_fail(err, WSL_ESTATE,
                        "worker %s is connected: stop its daemon (wsl-worker) first", name);
    lose_node(c, node, now);
    wsl_cluster_forget_node(c, node);
    wsl_cluster_schedule(c, now);
    return 0;
}

void wsl_cluster_tick(struct wsl_cluster *c, int64_t now)
{
    for (size_t i = 0; i < c->node_count; i++) {
        struct node *node = c->nodes[i];

        if (node->connected &&
            now - node->heard_ms > HEARTBEATS_MISSED * (int64_t)c->setup.heartbeat_ms)
            wsl_cluster_gone(c, node->pb->name, "no heartbeat", now);
        if (node->lost_ms && now >= node->lost_ms)
            lose_node(c, node, now);
        if (node->connected && now - node->saved_ms >= NODE_SAVE_MS)
            wsl_cluster_save_node(c, node, now);
    }
    wsl_cluster_forget_old_nodes(c, now);
    for (size_t i = 0; i < c->live.count; i++)
        wsl_cluster_check_stop_deadline(c, c->live.jobs[i], now);
    wsl_cluster_schedule(c, now);
    wsl_cluster_trim_history(c);
}
