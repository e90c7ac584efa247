/* SPDX-License-Identifier: Apache-2.0
 *
 * Workers: their sessions, what they report, and what is made of it. A worker's word on what runs
 * on it wins over what the coordinator believed.
 */
#include "daemon/coordinator/machine_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct wsl_node *wsl_node_of(const struct wsl_machine *m, uint64_t session)
{
    for (size_t i = 0; session && i < m->node_count; i++)
        if (m->nodes[i]->session == session)
            return m->nodes[i];
    return NULL;
}

static struct wsl_node *find(const struct wsl_machine *m, const char *name)
{
    for (size_t i = 0; i < m->node_count; i++)
        if (strcmp(m->nodes[i]->name, name) == 0)
            return m->nodes[i];
    return NULL;
}

struct wsl_node *wsl_node_get(struct wsl_machine *m, const char *name)
{
    struct wsl_node *node = find(m, name);

    if (node)
        return node;
    node = wsl_need(calloc(1, sizeof *node));
    snprintf(node->name, sizeof node->name, "%s", name);
    m->nodes = wsl_need(realloc(m->nodes, (m->node_count + 1) * sizeof *m->nodes));
    m->nodes[m->node_count++] = node;
    return node;
}

void wsl_node_free(struct wsl_node *node)
{
    if (!node)
        return;
    if (node->facts)
        wsl__v1__node_facts__free_unpacked(node->facts, NULL);
    free(node->strays);
    free(node);
}

uint32_t wsl_node_slots(const struct wsl_node *node)
{
    return node->facts ? node->facts->slots : 0;
}

/* ---- strays: trainers of no generation of now ---- */

static bool same_key(const struct wsl_key *a, const struct wsl_key *b)
{
    return a->job == b->job && a->generation == b->generation && a->rank == b->rank;
}

static void kill_stray(struct wsl_step *s, const struct wsl_node *node, const struct wsl_key *key)
{
    struct wsl_output *out = wsl_step_output(s, WSL_OUT_STOP);

    out->session = node->session;
    out->key = *key;
    out->mode = WSL__V1__STOP_MODE__KILL;
    snprintf(out->text, sizeof out->text, "generation %u of job %llu is over", key->generation,
             (unsigned long long)key->job);
}

static void add_stray(struct wsl_step *s, struct wsl_node *node, struct wsl_key key)
{
    for (size_t i = 0; i < node->stray_count; i++)
        if (same_key(&node->strays[i], &key))
            return;
    if (node->stray_count < WSL_NODE_TRAINERS_MAX) {
        node->strays =
            wsl_need(realloc(node->strays, (node->stray_count + 1) * sizeof *node->strays));
        node->strays[node->stray_count++] = key;
    }
    kill_stray(s, node, &key);
}

static void drop_stray(struct wsl_step *s, struct wsl_node *node, const struct wsl_key *key)
{
    for (size_t i = 0; i < node->stray_count; i++) {
        if (!same_key(&node->strays[i], key))
            continue;
        node->strays[i] = node->strays[--node->stray_count];
        s->m->want_schedule = true;
        return;
    }
}

/* ---- reports ---- */

/* The rank of a generation that is not yet over, if this node has it. */
static struct wsl_rank *current(const struct wsl_node *node, struct wsl_job *job,
                                const struct wsl_key *key)
{
    if (!job || !job->open || key->generation != job->generation || key->rank >= job->rank_count ||
        job->ranks[key->rank].node != node)
        return NULL;
    return &job->ranks[key->rank];
}

static void say_exit(struct wsl_step *s, const struct wsl_node *node, const struct wsl_key *key,
                     bool known)
{
    struct wsl_output *out;

    if (known) {
        out = wsl_step_output(s, WSL_OUT_EXIT_ACK);
        out->session = node->session;
        out->key = *key;
    }
    out = wsl_step_output(s, WSL_OUT_FORGET);
    out->session = node->session;
    out->key = *key;
}

static void started(struct wsl_step *s, struct wsl_job *job, uint32_t rank,
                    const Wsl__V1__TrainerReport *report, bool in_hello)
{
    struct wsl_rank *r = &job->ranks[rank];
    char phase[sizeof r->phase];

    wsl_line_fit(phase, sizeof phase, report->phase);
    if (r->state != WSL_RANK_STARTED || r->pid != report->pid || strcmp(r->phase, phase) != 0)
        wsl_step_dirty(s, job);
    if (r->state == WSL_RANK_GONE) /* given up with its worker, and here again */
        wsl_job_event(s, job, "worker", "rank %u on %s runs after all", rank, r->node->name);
    r->state = WSL_RANK_STARTED;
    r->presumed = false;
    r->pid = report->pid;
    memcpy(r->phase, phase, sizeof phase);
    if (job->stop && in_hello)
        wsl_job_send_stop(s, job, rank);
    wsl_job_check_started(s, job);
}

static void exited(struct wsl_step *s, struct wsl_job *job, uint32_t rank,
                   const Wsl__V1__TrainerReport *report)
{
    struct wsl_rank *r = &job->ranks[rank];
    char reason[WSL_REASON_MAX];

    if (r->state == WSL_RANK_GONE)
        return;
    wsl_line_fit(reason, sizeof reason, report->reason);
    if (report->pid)
        r->pid = report->pid;
    r->log_bytes = report->log_bytes;
    r->metric_bytes = report->metric_bytes;
    wsl_job_rank_gone(s, job, rank, report->outcome, reason);
}

void wsl_node_report(struct wsl_step *s, struct wsl_node *node,
                     const Wsl__V1__TrainerReport *report, bool in_hello)
{
    struct wsl_key key;
    struct wsl_job *job;
    struct wsl_rank *r;
    bool ended = report->state == WSL__V1__TRAINER_STATE__TRAINER_EXITED;

    if (!report->key || (!ended && report->state != WSL__V1__TRAINER_STATE__TRAINER_STARTED))
        return;
    key = (struct wsl_key){report->key->job, report->key->generation, report->key->rank};
    job = wsl_machine_find(s->m, key.job);
    r = current(node, job, &key);
    if (!ended && r && (r->state != WSL_RANK_GONE || r->presumed)) {
        r->seen = true;
        started(s, job, key.rank, report, in_hello);
    } else if (!ended) {
        add_stray(s, node, key);
    } else {
        if (r) {
            r->seen = true;
            exited(s, job, key.rank, report);
        }
        drop_stray(s, node, &key);
        say_exit(s, node, &key, job != NULL);
    }
}

/* ---- sessions ---- */

static void each_rank(struct wsl_step *s, struct wsl_node *node,
                      void (*visit)(struct wsl_step *s, struct wsl_job *job, uint32_t rank))
{
    for (size_t i = 0; i < s->m->job_count; i++) {
        struct wsl_job *job = s->m->jobs[i];

        for (uint32_t r = 0; job->open && r < job->rank_count; r++)
            if (job->ranks[r].node == node && job->ranks[r].state != WSL_RANK_GONE)
                visit(s, job, r);
    }
}

static void tell_lost(struct wsl_step *s, struct wsl_job *job, uint32_t rank)
{
    const struct wsl_rank *r = &job->ranks[rank];

    for (uint32_t i = 0; i < rank; i++)
        if (job->ranks[i].node == r->node)
            return; /* said already */
    wsl_job_event(s, job, "worker", "worker %s is not connected; it has %.1f s to come back",
                  r->node->name, s->m->settings.worker_grace_ms / 1000.0);
}

void wsl_node_closed(struct wsl_step *s, struct wsl_node *node, const char *why)
{
    (void)why;
    node->session = 0;
    node->lost_ms = s->now.ms;
    node->grace_until_ms = s->now.ms + s->m->settings.worker_grace_ms;
    s->m->want_schedule = true;
    each_rank(s, node, tell_lost);
}

static void unsee(struct wsl_step *s, struct wsl_job *job, uint32_t rank)
{
    (void)s;
    job->ranks[rank].seen = false;
}

/* A rank that the worker's Hello did not name. */
static void judge_unseen(struct wsl_step *s, struct wsl_job *job, uint32_t rank)
{
    struct wsl_rank *r = &job->ranks[rank];

    if (r->seen)
        return;
    if (r->state == WSL_RANK_STARTED)
        wsl_job_rank_gone(s, job, rank, WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR,
                          "its worker came back without it (the machine restarted, or the worker's "
                          "state folder is another one)");
    else if (job->stop)
        wsl_job_rank_gone(s, job, rank, WSL__V1__TRAINER_OUTCOME__STOPPED, "was never started");
    else
        wsl_job_send_start(s, job, rank); /* the first one was lost on the way */
}

static bool has_live(const struct wsl_machine *m, const struct wsl_node *node)
{
    for (size_t i = 0; i < m->job_count; i++)
        for (uint32_t r = 0; m->jobs[i]->open && r < m->jobs[i]->rank_count; r++)
            if (m->jobs[i]->ranks[r].node == node && m->jobs[i]->ranks[r].state != WSL_RANK_GONE)
                return true;
    return false;
}

static bool fit_name(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    return n >= 1 && n < WSL_NAME_SIZE && !name[n];
}

static void end_session(struct wsl_step *s, uint64_t session, int code, const char *text)
{
    struct wsl_output *out = wsl_step_output(s, WSL_OUT_END_SESSION);

    out->session = session;
    out->code = code;
    wsl_line_fit(out->text, sizeof out->text, text);
}

/* Another process under a name that is taken: the same worker started again, or a double? */
static bool is_double(struct wsl_step *s, struct wsl_node *node, const Wsl__V1__Hello *hello,
                      char text[200])
{
    bool same_host = node->facts && strcmp(node->facts->host, hello->facts->host) == 0;
    bool rebooted = same_host && strcmp(node->facts->boot_id, hello->facts->boot_id) != 0;

    if (!node->facts || strcmp(node->instance, hello->instance) == 0 || rebooted)
        return false;
    if (node->session) {
        snprintf(text, 200,
                 "another worker named %s is connected (host %.60s); give this one another --name",
                 node->name, node->facts->host);
        return true;
    }
    if (same_host || node->grace_until_ms == 0 || !has_live(s->m, node))
        return false;
    snprintf(text, 200,
             "trainers of worker %s on host %.60s may still run; wait, or use another "
             "--name",
             node->name, node->facts->host);
    return true;
}

static bool refuse(struct wsl_step *s, uint64_t session, const Wsl__V1__Hello *hello)
{
    struct wsl_node *node;
    char text[200];
    int code = WSL_EINVAL;

    if (!fit_name(hello->name)) {
        snprintf(text, sizeof text, "hello.name: must be 1 to 64 of a-z A-Z 0-9 . _ -");
    } else if (!hello->facts || hello->facts->slots < 1 ||
               hello->facts->slots > WSL_NODE_TRAINERS_MAX) {
        snprintf(text, sizeof text, "hello.facts.slots: must be 1 to %d", WSL_NODE_TRAINERS_MAX);
    } else if (hello->n_trainers > WSL_NODE_TRAINERS_MAX) {
        snprintf(text, sizeof text, "hello.trainers: more than %d", WSL_NODE_TRAINERS_MAX);
        code = WSL_ELIMIT;
    } else if (!(node = find(s->m, hello->name))) {
        if (s->m->node_count < WSL_NODES_MAX)
            return false;
        snprintf(text, sizeof text, "the coordinator has seen %d worker names, which is its limit",
                 WSL_NODES_MAX);
        code = WSL_ELIMIT;
    } else if (is_double(s, node, hello, text)) {
        code = WSL_EEXIST;
    } else {
        return false;
    }
    end_session(s, session, code, text);
    return true;
}

static void keep_facts(struct wsl_node *node, const Wsl__V1__NodeFacts *facts)
{
    size_t size = wsl__v1__node_facts__get_packed_size(facts);
    uint8_t *bytes = wsl_need(malloc(size + 1));

    wsl__v1__node_facts__pack(facts, bytes);
    if (node->facts)
        wsl__v1__node_facts__free_unpacked(node->facts, NULL);
    node->facts = wsl_need(wsl__v1__node_facts__unpack(NULL, size, bytes));
    free(bytes);
}

void wsl_node_hello(struct wsl_step *s, uint64_t session, const Wsl__V1__Hello *hello)
{
    struct wsl_node *node;

    if (refuse(s, session, hello))
        return;
    node = wsl_node_get(s->m, hello->name);
    if (node->session)
        end_session(s, node->session, WSL_ECANCELLED, "the worker has connected again");
    node->session = session;
    node->grace_until_ms = 0;
    node->heard_ms = s->now.ms;
    node->last_seen_wall_ms = s->now.wall_ms;
    node->joined_wall_ms = s->now.wall_ms;
    snprintf(node->instance, sizeof node->instance, "%s", hello->instance);
    keep_facts(node, hello->facts);
    node->stray_count = 0;
    wsl_step_output(s, WSL_OUT_WELCOME)->session = session;
    each_rank(s, node, unsee);
    for (size_t i = 0; i < hello->n_trainers; i++)
        wsl_node_report(s, node, hello->trainers[i], true);
    each_rank(s, node, judge_unseen);
    s->m->want_schedule = true;
}

/* ---- time ---- */

static void give_up(struct wsl_step *s, struct wsl_job *job, uint32_t rank)
{
    struct wsl_rank *r = &job->ranks[rank];
    char text[100];

    snprintf(text, sizeof text, "its worker has been away for %.1f s",
             (double)(s->now.ms - r->node->lost_ms) / 1000.0);
    r->presumed = true;
    wsl_job_rank_gone(s, job, rank, WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR, text);
}

void wsl_node_tick(struct wsl_step *s, struct wsl_node *node)
{
    char text[120];

    if (node->session && s->now.ms - node->heard_ms > s->m->settings.lost_ms) {
        snprintf(text, sizeof text, "no heartbeat for %llu ms",
                 (unsigned long long)(s->now.ms - node->heard_ms));
        end_session(s, node->session, WSL_ETIMEOUT, text);
        wsl_node_closed(s, node, text);
    }
    if (!node->session && node->grace_until_ms && s->now.ms >= node->grace_until_ms) {
        node->grace_until_ms = 0;
        s->m->want_schedule = true;
        each_rank(s, node, give_up);
    }
}
