/* SPDX-License-Identifier: Apache-2.0
 *
 * Events that come from users, restoring from the store, and looking things up.
 */
#include "base/number.h"
#include "daemon/coordinator/cluster/internal.h"
#include "proto/jobspec/jobspec.h"

#include <stdlib.h>
#include <string.h>

#define S(name) WSL__V1__JOB_STATE__##name

/* ---- looking ---- */

static const Wsl__V1__Job *show(const struct wsl_cluster *c, struct job *job)
{
    if (!job)
        return NULL;
    wsl_cluster_note_look(c, job);
    wsl_cluster_describe_wait(c, job);
    return job->pb;
}

const Wsl__V1__Job *wsl_cluster_job(const struct wsl_cluster *c, uint64_t id)
{
    return show(c, wsl_cluster_find_job(c, id));
}

/* Names come first: a job may be called "7". */
static struct job *find_accepted(const struct wsl_cluster *c, const char *id_or_name)
{
    struct job *job = wsl_cluster_find_name(c, id_or_name, false);
    uint64_t id;

    if (!job && wsl_number_parse_u64(id_or_name, &id) == 0)
        job = wsl_cluster_find_job(c, id);
    return job && !job->uncommitted ? job : NULL;
}

const Wsl__V1__Job *wsl_cluster_find(const struct wsl_cluster *c, const char *id_or_name)
{
    return show(c, find_accepted(c, id_or_name));
}

size_t wsl_cluster_job_count(const struct wsl_cluster *c)
{
    return c->all.count;
}

const Wsl__V1__Job *wsl_cluster_job_before(const struct wsl_cluster *c, uint64_t id,
                                           unsigned states)
{
    for (size_t i = wsl_cluster_index_seek(&c->all, id); i-- > c->all.first;) {
        const struct job_slot *slot = &c->all.slots[i];

        if (slot->job && (!states || states & 1u << slot->state) && !slot->job->uncommitted)
            return show(c, wsl_cluster_find_job(c, slot->id));
    }
    return NULL;
}

const Wsl__V1__Event *const *wsl_cluster_events(const struct wsl_cluster *c, uint64_t id,
                                                size_t *ret_count)
{
    struct job *job = wsl_cluster_find_job(c, id);
    size_t skip;

    *ret_count = 0;
    if (!job)
        return NULL;
    wsl_cluster_need_events(c, job);
    wsl_cluster_note_look(c, job);
    skip = job->event_count > EVENTS_MAX ? job->event_count - EVENTS_MAX : 0;
    *ret_count = job->event_count - skip;
    return *ret_count > 0 ? (const Wsl__V1__Event *const *)job->events + skip : NULL;
}

uint64_t wsl_cluster_version(const struct wsl_cluster *c, uint64_t id)
{
    const struct job *job = wsl_cluster_peek_job(c, id);

    return job ? job->version : 0;
}

/* ---- submit ---- */

static struct job *init_of(const struct wsl_cluster *c, const Wsl__V1__JobSpec *spec)
{
    return spec->init && spec->init->from_case == WSL__V1__INIT__FROM_JOB
               ? find_accepted(c, spec->init->job)
               : NULL;
}

int wsl_cluster_check_submit(const struct wsl_cluster *c, const Wsl__V1__JobSpec *spec,
                             struct wsl_err *err)
{
    const struct job *same = wsl_cluster_find_name(c, spec->name, true);

    if (same && !wsl_cluster_ended(same->state))
        return wsl_fail(err, WSL_EEXIST,
                        "name: job %llu of the name '%s' is %s; cancel it or take another name",
                        (unsigned long long)same->id, spec->name,
                        wsl_cluster_state_name(same->state));
    if (spec->world == 0 || spec->world > WORLD_MAX)
        return wsl_fail(err, WSL_EINVAL, "world: must be 1 to %d, is %u", WORLD_MAX, spec->world);
    if (spec->init && spec->init->from_case == WSL__V1__INIT__FROM_JOB && !init_of(c, spec))
        return wsl_fail(err, WSL_EINVAL,
                        "init: there is no job '%s'; 'wslctl list' shows those there are",
                        spec->init->job);
    if (c->all.count - c->ended_count >= c->setup.queue_max)
        return wsl_fail(err, WSL_ELIMIT,
                        "the queue is full (%u jobs); try again when some have ended",
                        c->setup.queue_max);
    return 0;
}

/* The oldest ended jobs beyond the limit are forgotten, but not one that another starts from. */
void wsl_cluster_trim_history(struct wsl_cluster *c)
{
    size_t i = c->all.first;

    while (c->ended_count > c->setup.history_max && i < c->all.end) {
        const struct job_slot *slot = &c->all.slots[i++];
        struct job *job = slot->job;
        uint64_t id = slot->id;

        if (!job || !wsl_cluster_ended((Wsl__V1__JobState)slot->state) || job->dependents > 0)
            continue;
        wsl_cluster_remove_saved(c, id);
        wsl_cluster_drop_job(c, job);
        i = wsl_cluster_index_seek(&c->all, id + 1); /* holes may have been closed */
    }
}

int wsl_cluster_submit(struct wsl_cluster *c, const Wsl__V1__JobSpec *spec, int64_t now,
                       uint64_t *ret_id, struct wsl_err *err)
{
    const struct job *from = init_of(c, spec);
    Wsl__V1__Job *pb;
    struct job *job;
    int r = wsl_cluster_check_submit(c, spec, err);

    if (r < 0)
        return r;
    pb = wsl_cluster_alloc(sizeof *pb);
    wsl__v1__job__init(pb);
    pb->id = c->next_id++;
    pb->state = S(QUEUED);
    pb->submitted_ms = now;
    pb->init_job = from ? from->id : 0;
    pb->spec = wsl_jobspec_copy(spec);
    if (!pb->spec)
        abort();
    wsl_cluster_set_text(&pb->reason, "accepted");
    job = wsl_cluster_add_job(c, pb->id, pb->state, spec->world, pb->init_job,
                              wsl_hash_text(spec->name));
    job->pb = pb;
    job->events_read = true;
    job->uncommitted = true;
    wsl_cluster_give_identity(c, job);
    wsl_cluster_add_event(c, job, now, "submitted", "%s job '%s', %u trainer%s, data %s",
                          spec->kind == WSL__V1__JOB_KIND__TRANSFER ? "transfer" : "pretrain",
                          spec->name, spec->world, spec->world == 1 ? "" : "s", spec->data);
    wsl_cluster_save_job(c, job);
    *ret_id = pb->id;
    return 0;
}

void wsl_cluster_accept(struct wsl_cluster *c, uint64_t id, int64_t now)
{
    struct job *job = wsl_cluster_peek_job(c, id);

    if (!job || !job->uncommitted)
        return;
    job->uncommitted = false;
    wsl_cluster_enqueue_job(c, job, now);
    wsl_cluster_schedule(c, now);
}

void wsl_cluster_withdraw(struct wsl_cluster *c, uint64_t id)
{
    struct job *job = wsl_cluster_peek_job(c, id);

    if (job && job->uncommitted)
        wsl_cluster_drop_job(c, job);
}

/* ---- cancel ---- */

int wsl_cluster_cancel(struct wsl_cluster *c, uint64_t id, const char *reason, int64_t now,
                       struct wsl_err *err)
{
    struct job *job = wsl_cluster_find_job(c, id);
    const char *why = reason[0] ? reason : "asked for by a user";

    if (!job || job->uncommitted)
        return wsl_fail(err, WSL_ENOENT, "there is no job %llu", (unsigned long long)id);
    if (wsl_cluster_ended(job->pb->state) || job->pb->cancel_requested)
        return 0;
    if (job->damaged)
        return wsl_fail(err, WSL_EIO, "job %llu cannot be cancelled now: %s",
                        (unsigned long long)id, job->pb->reason);
    job->pb->cancel_requested = true;
    wsl_cluster_add_event(c, job, now, "cancel", "%.400s", why);
    if (!wsl_cluster_is_live(job)) {
        wsl_cluster_move_job(c, job, S(CANCELLED), now, "%.400s", why);
        wsl_cluster_schedule(c, now);
        return 0;
    }
    wsl_cluster_set_textf(&job->pb->reason, "stopping its trainers: %.400s", why);
    wsl_cluster_save_job(c, job);
    if (job->stop != STOP_KILL)
        wsl_cluster_stop_ranks(c, job, STOP_GRACEFUL, now);
    return 0;
}

/* ---- restore ---- */

static bool has_generation(const Wsl__V1__Job *pb)
{
    return pb->state == S(STARTING) || pb->state == S(RUNNING);
}

static bool can_be(const struct wsl_cluster *c, const Wsl__V1__Job *pb)
{
    return pb->id > 0 && pb->id <= ID_MAX && pb->spec && pb->spec->restart && pb->spec->world > 0 &&
           pb->spec->world <= WORLD_MAX && pb->n_ranks <= WORLD_MAX && pb->state >= S(QUEUED) &&
           pb->state <= S(CANCELLED) && (!has_generation(pb) || pb->n_ranks > 0) &&
           !wsl_cluster_peek_job(c, pb->id);
}

/* Phases are saved only with something else: a job that ran had all its trainers up, whatever they
 * say. */
static void restore_rank(struct job *job, uint32_t rank)
{
    const Wsl__V1__RankPlacement *placement = job->pb->ranks[rank];
    struct rank *r = &job->ranks[rank];

    if (placement->outcome[0]) {
        r->state = RANK_ENDED;
        r->outcome = wsl_cluster_outcome_of_name(placement->outcome);
        r->told = r->outcome == WSL__V1__TRAINER_OUTCOME__STOPPED;
        r->order = ++job->ended;
    } else {
        r->state = job->pb->state == S(STARTING) && strcmp(placement->phase, "starting") == 0
                       ? RANK_SENT
                       : RANK_UP;
    }
}

int wsl_cluster_restore_job(struct wsl_cluster *c, Wsl__V1__Job *pb)
{
    struct job *job;

    if (!can_be(c, pb)) {
        wsl__v1__job__free_unpacked(pb, NULL);
        return WSL_ECORRUPT;
    }
    job = wsl_cluster_add_job(c, pb->id, pb->state, pb->spec->world, pb->init_job,
                              wsl_hash_text(pb->spec->name));
    job->pb = pb;
    job->restored = true;
    if (pb->id >= c->next_id)
        c->next_id = pb->id + 1;
    if (has_generation(pb)) {
        wsl_cluster_open_generation(c, job);
        for (uint32_t i = 0; i < pb->n_ranks; i++)
            restore_rank(job, i);
        job->start_step = pb->checkpoint_step;
    }
    return 0;
}

int wsl_cluster_restore_summary(struct wsl_cluster *c, const struct wsl_cluster_summary *s)
{
    struct job *job;

    if (s->id == 0 || s->id > ID_MAX || s->world == 0 || s->world > WORLD_MAX ||
        wsl_cluster_peek_job(c, s->id) || (s->state != S(QUEUED) && !wsl_cluster_ended(s->state)))
        return WSL_ECORRUPT;
    job = wsl_cluster_add_job(c, s->id, s->state, s->world, s->init_job, wsl_hash_text(s->name));
    job->restored = true;
    if (s->id >= c->next_id)
        c->next_id = s->id + 1;
    return 0;
}

static void restore_places(struct wsl_cluster *c, struct job *job, int64_t now)
{
    for (size_t i = 0; i < job->pb->n_ranks; i++) {
        const char *name = job->pb->ranks[i]->node;
        struct node *node = wsl_cluster_find_node(c, name);

        if (!node)
            node = wsl_cluster_add_node(c, name, now);
        node->lost_ms = now + c->setup.worker_grace_ms;
        wsl_cluster_set_text(&node->pb->reason, "not heard of since the coordinator started");
        job->ranks[i].node = node;
        node->ranks += job->ranks[i].state != RANK_ENDED;
    }
}

/* What its trainers had been told is not saved, but follows. */
static void restore_stop(struct wsl_cluster *c, struct job *job, int64_t now)
{
    static const enum stop stop_after[] = {
        [WSL__V1__TRAINER_OUTCOME__FINISHED] = STOP_NONE,
        [WSL__V1__TRAINER_OUTCOME__PEER_LOST] = STOP_WAIT,
        [WSL__V1__TRAINER_OUTCOME__STOPPED] = STOP_GRACEFUL,
        [WSL__V1__TRAINER_OUTCOME__USER_ERROR] = STOP_KILL,
        [WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR] = STOP_KILL,
    };
    enum stop stop = job->pb->cancel_requested ? STOP_GRACEFUL : STOP_NONE;

    for (size_t i = 0; !job->pb->cancel_requested && i < job->pb->n_ranks; i++) {
        const struct rank *r = &job->ranks[i];

        if (r->state == RANK_ENDED && stop_after[r->outcome] > stop)
            stop = stop_after[r->outcome];
    }
    if (stop != STOP_NONE)
        wsl_cluster_stop_ranks(c, job, stop, now);
}

/* Records of before `init_job` was in them name their source only. */
static void restore_source(struct wsl_cluster *c, struct job *job)
{
    struct job *from = job->pb && job->init_job == 0 ? init_of(c, job->pb->spec) : NULL;

    if (!from)
        return;
    job->init_job = job->pb->init_job = from->id;
    from->dependents++;
}

static void restore_queue(struct wsl_cluster *c, int64_t now)
{
    for (size_t i = c->all.first; i < c->all.end; i++) {
        struct job *job = c->all.slots[i].job;

        if (job && (job->state == S(QUEUED) || job->state == S(RECOVERING))) {
            restore_source(c, job);
            if (!job->in_line && !job->park_link) /* its end was decided just now */
                wsl_cluster_enqueue_job(c, job, now);
            c->settled_ms = now + (int64_t)HEARTBEATS_MISSED * c->setup.heartbeat_ms;
        }
        if (job)
            wsl_cluster_rest_job(c, job);
    }
    c->changed = true;
}

void wsl_cluster_restored(struct wsl_cluster *c, int64_t now)
{
    for (size_t i = 0; i < c->node_count; i++) /* nobody was here to see it away before */
        c->nodes[i]->away_ms = now;
    for (size_t i = c->live.count; i-- > 0;) {
        struct job *job = c->live.jobs[i];

        restore_places(c, job, now);
        /* All ended, and the decision was not saved: take it now. */
        if (!wsl_cluster_is_live(job))
            wsl_cluster_end_generation(c, job, now);
        else
            restore_stop(c, job, now);
    }
    restore_queue(c, now);
    wsl_cluster_trim_history(c);
}
