/* SPDX-License-Identifier: Apache-2.0
 *
 * Events that come from users, restoring from the store, and looking things up.
 */
#include "base/args.h"
#include "daemon/coordinator/internal.h"
#include "proto/jobspec.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S(name) WSL__V1__JOB_STATE__##name

/* ---- looking ---- */

const Wsl__V1__Job *wsl_cluster_job(const struct wsl_cluster *c, uint64_t id)
{
    const struct job *job = find_job(c, id);

    return job ? job->pb : NULL;
}

/* Names come first: a job may be called "7". */
const Wsl__V1__Job *wsl_cluster_find(const struct wsl_cluster *c, const char *id_or_name)
{
    uint64_t id;

    for (size_t i = c->job_count; i-- > 0;)
        if (!c->jobs[i]->uncommitted && strcmp(c->jobs[i]->pb->spec->name, id_or_name) == 0)
            return c->jobs[i]->pb;
    if (wsl_parse_u64(id_or_name, &id) == 0) {
        const struct job *job = find_job(c, id);

        return job && !job->uncommitted ? job->pb : NULL;
    }
    return NULL;
}

size_t wsl_cluster_job_count(const struct wsl_cluster *c)
{
    return c->job_count;
}

const Wsl__V1__Job *wsl_cluster_job_at(const struct wsl_cluster *c, size_t index)
{
    return c->jobs[index]->uncommitted ? NULL : c->jobs[index]->pb;
}

const Wsl__V1__Event *const *wsl_cluster_events(const struct wsl_cluster *c, uint64_t id,
                                                size_t *ret_count)
{
    const struct job *job = find_job(c, id);

    *ret_count = job ? job->event_count : 0;
    return job ? (const Wsl__V1__Event *const *)job->events : NULL;
}

uint64_t wsl_cluster_version(const struct wsl_cluster *c, uint64_t id)
{
    const struct job *job = find_job(c, id);

    return job ? job->version : 0;
}

/* ---- submit ---- */

static size_t count_unended(const struct wsl_cluster *c)
{
    size_t n = 0;

    for (size_t i = 0; i < c->job_count; i++)
        n += !wsl_cluster_ended(c->jobs[i]->pb->state);
    return n;
}

int wsl_cluster_check_submit(const struct wsl_cluster *c, const Wsl__V1__JobSpec *spec,
                             struct wsl_err *err)
{
    for (size_t i = 0; i < c->job_count; i++) {
        const Wsl__V1__Job *pb = c->jobs[i]->pb;

        if (!wsl_cluster_ended(pb->state) && strcmp(pb->spec->name, spec->name) == 0)
            return wsl_fail(err, WSL_EEXIST,
                            "name: job %llu of the name '%s' is %s; cancel it or take another name",
                            (unsigned long long)pb->id, spec->name,
                            wsl_cluster_state_word(pb->state));
    }
    if (spec->world > WORLD_MAX)
        return wsl_fail(err, WSL_EINVAL, "world: must be at most %d, is %u", WORLD_MAX,
                        spec->world);
    if (spec->init && spec->init->from_case == WSL__V1__INIT__FROM_JOB &&
        !wsl_cluster_find(c, spec->init->job))
        return wsl_fail(err, WSL_EINVAL,
                        "init: there is no job '%s'; 'wslctl list' shows those there are",
                        spec->init->job);
    if (count_unended(c) >= c->setup.queue_max)
        return wsl_fail(err, WSL_ELIMIT,
                        "the queue is full (%u jobs); try again when some have ended",
                        c->setup.queue_max);
    return 0;
}

/* The oldest ended jobs beyond the limit are forgotten. */
static void trim_history(struct wsl_cluster *c)
{
    size_t ended = c->job_count - count_unended(c);

    for (size_t i = 0; i < c->job_count && ended > c->setup.history_max;) {
        struct job *job = c->jobs[i];

        if (!wsl_cluster_ended(job->pb->state)) {
            i++;
            continue;
        }
        remove_saved(c, job->pb->id);
        drop_job(c, job);
        ended--;
    }
}

int wsl_cluster_submit(struct wsl_cluster *c, const Wsl__V1__JobSpec *spec, int64_t now,
                       uint64_t *ret_id, struct wsl_err *err)
{
    Wsl__V1__Job *pb;
    struct job *job;
    int r = wsl_cluster_check_submit(c, spec, err);

    if (r < 0)
        return r;
    pb = must_alloc(sizeof *pb);
    wsl__v1__job__init(pb);
    pb->id = c->next_id++;
    pb->state = S(QUEUED);
    pb->submitted_ms = now;
    pb->spec = wsl_jobspec_copy(spec);
    if (!pb->spec)
        abort();
    set_text(&pb->reason, "accepted");
    job = add_job(c, pb);
    job->uncommitted = true;
    add_event(c, job, now, "submitted", "%s job '%s', %u trainer%s, data %s",
              spec->kind == WSL__V1__JOB_KIND__TRANSFER ? "transfer" : "pretrain", spec->name,
              spec->world, spec->world == 1 ? "" : "s", spec->data);
    save_job(c, job);
    trim_history(c);
    *ret_id = pb->id;
    return 0;
}

void wsl_cluster_accept(struct wsl_cluster *c, uint64_t id, int64_t now)
{
    struct job *job = find_job(c, id);

    if (!job)
        return;
    job->uncommitted = false;
    schedule(c, now);
}

void wsl_cluster_withdraw(struct wsl_cluster *c, uint64_t id)
{
    struct job *job = find_job(c, id);

    if (job && job->uncommitted)
        drop_job(c, job);
}

/* ---- cancel ---- */

int wsl_cluster_cancel(struct wsl_cluster *c, uint64_t id, const char *reason, int64_t now,
                       struct wsl_err *err)
{
    struct job *job = find_job(c, id);
    const char *why = reason[0] ? reason : "asked for by a user";

    if (!job || job->uncommitted)
        return wsl_fail(err, WSL_ENOENT, "there is no job %llu", (unsigned long long)id);
    if (wsl_cluster_ended(job->pb->state) || job->pb->cancel_requested)
        return 0;
    job->pb->cancel_requested = true;
    add_event(c, job, now, "cancel", "%.400s", why);
    if (!is_live(job)) {
        move_job(c, job, S(CANCELLED), now, "%.400s", why);
        schedule(c, now);
        return 0;
    }
    set_textf(&job->pb->reason, "stopping its trainers: %.400s", why);
    save_job(c, job);
    stop_ranks(c, job, WSL__V1__STOP_MODE__GRACEFUL, "the job was cancelled", now);
    return 0;
}

/* ---- restore ---- */

int wsl_cluster_restore_job(struct wsl_cluster *c, Wsl__V1__Job *pb)
{
    struct job *job;

    if (pb->id == 0 || !pb->spec || !pb->spec->restart || find_job(c, pb->id) ||
        pb->n_ranks > WORLD_MAX) {
        wsl__v1__job__free_unpacked(pb, NULL);
        return WSL_ECORRUPT;
    }
    job = add_job(c, pb);
    if (pb->id >= c->next_id)
        c->next_id = pb->id + 1;
    if (pb->state == S(STARTING) || pb->state == S(RUNNING)) {
        job->ranks = must_alloc((pb->n_ranks + 1) * sizeof *job->ranks);
        for (size_t i = 0; i < pb->n_ranks; i++) {
            const char *phase = pb->ranks[i]->phase;
            bool finished = strcmp(phase, "finished") == 0;

            job->ranks[i].state = finished || strcmp(phase, "exited") == 0 ? RANK_ENDED
                                  : strcmp(phase, "starting") == 0         ? RANK_SENT
                                                                           : RANK_UP;
            /* What a rank that ended badly said is in the events; that it did is all that is left
             * to know. */
            job->ranks[i].outcome = finished ? WSL__V1__TRAINER_OUTCOME__FINISHED
                                             : WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR;
            snprintf(job->ranks[i].reason, sizeof job->ranks[i].reason,
                     "ended before the coordinator's restart");
        }
        job->start_step = pb->checkpoint_step;
    }
    return 0;
}

int wsl_cluster_restore_event(struct wsl_cluster *c, uint64_t id, Wsl__V1__Event *event)
{
    struct job *job = find_job(c, id);

    if (!job) {
        wsl__v1__event__free_unpacked(event, NULL);
        return 0; /* left over from a job that was removed */
    }
    keep_event(job, event);
    return 0;
}

void wsl_cluster_restored(struct wsl_cluster *c, int64_t now)
{
    for (size_t i = 0; i < c->job_count; i++) {
        struct job *job = c->jobs[i];

        for (size_t k = 0; job->ranks && k < job->pb->n_ranks; k++) {
            const char *name = job->pb->ranks[k]->node;
            struct node *node = find_node(c, name);

            if (!node)
                node = add_node(c, name, now);
            node->lost_ms = now + c->setup.worker_grace_ms;
            set_text(&node->pb->reason, "not heard of since the coordinator started");
        }
        if (job->ranks && job->pb->cancel_requested)
            job->kill_ms = now + c->setup.stop_grace_ms;
        /* All ended, and the decision was not saved: take it now. */
        if (job->ranks && !is_live(job))
            end_generation(c, job, now);
    }
}
