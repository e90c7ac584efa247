/* SPDX-License-Identifier: Apache-2.0
 *
 * Who runs where. All ranks of a job start together or not at all.
 *
 * Order: jobs that recover go first and their slots are kept for them, then the queue by id. A job
 * that does not fit may be overtaken by smaller ones behind it for `backfill_ms`; after that
 * nothing behind it starts before it does. A job larger than the whole cluster holds nobody up.
 *
 * Place: rank 0 goes to the worker that wrote the checkpoint it starts from, if that has room; the
 * rest to as few workers as possible, the one the job failed on last.
 */
#include "daemon/coordinator/machine_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define S(name) WSL__V1__JOB_STATE__##name

enum { REASONS_MAX = 16 }; /* waiting jobs that are told figures; the rest wait for their turn */

void wsl_schedule_count(struct wsl_machine *m)
{
    for (size_t i = 0; i < m->node_count; i++)
        m->nodes[i]->used = (uint32_t)m->nodes[i]->stray_count;
    for (size_t i = 0; i < m->job_count; i++) {
        const struct wsl_job *job = m->jobs[i];

        for (uint32_t r = 0; job->open && r < job->rank_count; r++)
            if (job->ranks[r].state != WSL_RANK_GONE)
                job->ranks[r].node->used++;
    }
}

static uint32_t free_slots(const struct wsl_node *node)
{
    uint32_t slots = node->session ? wsl_node_slots(node) : 0;

    return slots > node->used ? slots - node->used : 0;
}

struct totals {
    uint32_t free, slots;
};

static struct totals count_slots(const struct wsl_machine *m)
{
    struct totals t = {0, 0};

    for (size_t i = 0; i < m->node_count; i++) {
        const struct wsl_node *node = m->nodes[i];

        t.free += free_slots(node);
        if (node->session || node->grace_until_ms)
            t.slots += wsl_node_slots(node);
    }
    return t;
}

/* ---- placing ---- */

static struct wsl_node *home_of(const struct wsl_machine *m, const struct wsl_job *job)
{
    const struct wsl_job *source = job->init_job ? wsl_machine_find(m, job->init_job) : NULL;
    const char *name = job->checkpoint[0] ? job->checkpoint_node
                       : source           ? source->checkpoint_node
                                          : "";

    for (size_t i = 0; name[0] && i < m->node_count; i++)
        if (strcmp(m->nodes[i]->name, name) == 0)
            return free_slots(m->nodes[i]) > 0 ? m->nodes[i] : NULL;
    return NULL;
}

/* Is `a` a better place than `b` for `need` ranks? One that holds them all, the tightest such; else
 * the one with most room. The worker it failed on comes last. */
static bool better(const struct wsl_job *job, const struct wsl_node *a, const struct wsl_node *b,
                   uint32_t need)
{
    uint32_t fa = free_slots(a), fb = free_slots(b);
    bool avoid_a = strcmp(a->name, job->avoid) == 0, avoid_b = strcmp(b->name, job->avoid) == 0;

    if (avoid_a != avoid_b)
        return avoid_b;
    if ((fa >= need) != (fb >= need))
        return fa >= need;
    if (fa != fb)
        return fa >= need ? fa < fb : fa > fb;
    return strcmp(a->name, b->name) < 0;
}

static struct wsl_node *best_node(const struct wsl_machine *m, const struct wsl_job *job,
                                  uint32_t need)
{
    struct wsl_node *best = NULL;

    for (size_t i = 0; i < m->node_count; i++)
        if (free_slots(m->nodes[i]) > 0 && (!best || better(job, m->nodes[i], best, need)))
            best = m->nodes[i];
    return best;
}

static void assign(struct wsl_machine *m, struct wsl_job *job)
{
    struct wsl_node *node = home_of(m, job);
    uint32_t done = 0;

    while (done < job->rank_count) {
        if (!node)
            node = best_node(m, job, job->rank_count - done);
        while (done < job->rank_count && free_slots(node) > 0) {
            struct wsl_rank *r = &job->ranks[done++];

            r->node = node;
            r->address =
                wsl_line_copy(node->facts->address[0] ? node->facts->address : "127.0.0.1");
            snprintf(r->phase, sizeof r->phase, "starting");
            node->used++;
        }
        node = NULL;
    }
}

static void tell_places(const struct wsl_job *job, char *text, size_t size)
{
    size_t n = 0;

    text[0] = '\0';
    for (uint32_t first = 0, i = 1; i <= job->rank_count && n + 100 < size; i++) {
        if (i < job->rank_count && job->ranks[i].node == job->ranks[first].node)
            continue;
        if (i - 1 == first)
            n += (size_t)snprintf(text + n, size - n, "%srank %u on %s", n ? ", " : "", first,
                                  job->ranks[first].node->name);
        else
            n += (size_t)snprintf(text + n, size - n, "%sranks %u to %u on %s", n ? ", " : "",
                                  first, i - 1, job->ranks[first].node->name);
        first = i;
    }
}

static void begin_generation(struct wsl_step *s, struct wsl_job *job)
{
    char places[WSL_REASON_MAX];

    wsl_job_free_ranks(job);
    job->rank_count = job->spec->world;
    job->ranks = wsl_need(calloc(job->rank_count, sizeof *job->ranks));
    job->generation++;
    job->open = true;
    job->stop = 0;
    job->cause = WSL_CAUSE_NONE;
    job->kill_at_ms = 0;
    job->start_step = job->checkpoint_step;
    wsl_line_replace(&job->resume, job->checkpoint);
    assign(s->m, job);
    tell_places(job, places, sizeof places);
    wsl_job_event(s, job, "generation", "generation %u: %.300s%s", job->generation, places,
                  job->resume[0] ? "; from the newest checkpoint" : "");
    if (job->state == S(QUEUED))
        wsl_job_move(s, job, S(STARTING), "generation %u: %.300s", job->generation, places);
    else
        wsl_job_set_reason(s, job, "starting generation %u: %.300s", job->generation, places);
    job->blocked_ms = 0;
    wsl_step_dirty(s, job);
    for (uint32_t r = 0; r < job->rank_count; r++)
        wsl_job_send_start(s, job, r);
}

/* ---- weights of another job ---- */

/* True when it may start; else a reason is set, or the job has failed. */
static bool resolve_init(struct wsl_step *s, struct wsl_job *job)
{
    const struct wsl_job *source;

    if (job->init_job == 0 || job->init[0] || job->checkpoint[0])
        return true;
    source = wsl_machine_find(s->m, job->init_job);
    if (!source) {
        wsl_job_move(s, job, S(FAILED), "init: job %" PRIu64 " is no longer known", job->init_job);
    } else if (!wsl_job_ended(source)) {
        wsl_job_set_reason(s, job,
                           "waits for job %" PRIu64 " (%s) to end: its weights are the start",
                           source->id, source->spec->name);
    } else if (source->state != S(SUCCEEDED)) {
        wsl_job_move(s, job, S(FAILED), "init: job %" PRIu64 " (%s) %s: %.200s", source->id,
                     source->spec->name, source->state == S(FAILED) ? "failed" : "was cancelled",
                     source->reason);
    } else if (!source->checkpoint[0]) {
        wsl_job_move(s, job, S(FAILED), "init: job %" PRIu64 " (%s) has no checkpoint", source->id,
                     source->spec->name);
    } else {
        wsl_line_replace(&job->init, source->checkpoint);
        return true;
    }
    return false;
}

/* ---- the queue ---- */

static void tell_need(struct totals t, uint32_t need, uint32_t kept, char text[WSL_REASON_MAX])
{
    uint32_t usable = t.free > kept ? t.free - kept : 0;

    if (need > t.slots)
        snprintf(text, WSL_REASON_MAX, "needs %u slot%s, the cluster has %u", need,
                 need == 1 ? "" : "s", t.slots);
    else if (need > usable && kept > 0)
        snprintf(text, WSL_REASON_MAX,
                 "needs %u slot%s, %u %s free and %u %s kept for jobs that recover", need,
                 need == 1 ? "" : "s", t.free, t.free == 1 ? "is" : "are", kept,
                 kept == 1 ? "is" : "are");
    else if (need > usable)
        snprintf(text, WSL_REASON_MAX, "needs %u slot%s, %u of %u %s free", need,
                 need == 1 ? "" : "s", t.free, t.slots, t.free == 1 ? "is" : "are");
    else
        text[0] = '\0';
}

/* Those that recover; returns the slots to keep for the ones that could not start now. */
static uint32_t schedule_recovering(struct wsl_step *s, struct totals *t)
{
    uint32_t kept = 0;
    char text[WSL_REASON_MAX];

    for (size_t i = 0; i < s->m->job_count; i++) {
        struct wsl_job *job = s->m->jobs[i];
        uint32_t need = job->spec->world;

        if (job->state != S(RECOVERING) || job->open)
            continue;
        if (s->now.ms >= job->retry_at_ms && need <= t->free) {
            begin_generation(s, job);
            t->free -= need;
            continue;
        }
        if (need <= t->slots)
            kept += need;
        if (s->now.ms >= job->retry_at_ms) {
            tell_need(*t, need, 0, text);
            wsl_job_set_reason(s, job, "%s", text);
        }
    }
    return kept;
}

static void schedule_queued(struct wsl_step *s, struct totals *t, uint32_t kept)
{
    const struct wsl_job *wall = NULL; /* nothing behind it may start */
    int told = 0;
    char text[WSL_REASON_MAX];

    for (size_t i = 0; i < s->m->job_count; i++) {
        struct wsl_job *job = s->m->jobs[i];
        uint32_t need = job->spec->world;

        if (job->state != S(QUEUED) || !job->accepted || !resolve_init(s, job))
            continue;
        tell_need(*t, need, kept, text);
        if (text[0] == '\0' && !wall) {
            begin_generation(s, job);
            t->free -= need;
            continue;
        }
        if (need > t->slots || (text[0] && told < REASONS_MAX && !wall))
            wsl_job_set_reason(s, job, "%s", text);
        else if (wall)
            wsl_job_set_reason(s, job, "waits behind job %" PRIu64 " (%s)", wall->id,
                               wall->spec->name);
        else
            wsl_job_set_reason(s, job, "waits for its turn");
        told++;
        if (need > t->slots)
            continue;
        if (job->blocked_ms == 0)
            job->blocked_ms = s->now.ms ? s->now.ms : 1;
        if (!wall && s->now.ms - job->blocked_ms >= s->m->settings.backfill_ms)
            wall = job;
    }
}

void wsl_schedule(struct wsl_step *s)
{
    struct totals t;
    uint32_t kept;

    s->m->want_schedule = false;
    wsl_schedule_count(s->m);
    t = count_slots(s->m);
    kept = schedule_recovering(s, &t);
    schedule_queued(s, &t, kept);
}

void wsl_machine_explain(const struct wsl_machine *m, const Wsl__V1__JobSpec *spec,
                         char ret_text[WSL_REASON_MAX])
{
    uint32_t kept = 0, waiting = 0;
    struct totals t = count_slots(m);

    for (size_t i = 0; i < m->job_count; i++) {
        const struct wsl_job *job = m->jobs[i];

        if (job->state == S(RECOVERING) && !job->open)
            kept += job->spec->world;
        waiting += job->state == S(QUEUED) && job->spec->world <= t.slots;
    }
    tell_need(t, spec->world, kept, ret_text);
    if (ret_text[0] == '\0' && waiting > 0)
        snprintf(ret_text, WSL_REASON_MAX, "%u job%s wait%s before it", waiting,
                 waiting == 1 ? "" : "s", waiting == 1 ? "s" : "");
}
