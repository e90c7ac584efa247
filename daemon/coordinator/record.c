/* SPDX-License-Identifier: Apache-2.0
 *
 * Jobs to and from their records in the store.
 */
#include "daemon/coordinator/machine_internal.h"
#include "daemon/coordinator/record.pb-c.h"
#include "proto/jobspec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct parts {
    Wsl__Coordinator__StoredRank *ranks;
    Wsl__Coordinator__StoredRank **rank_list;
    Wsl__V1__RankPlacement *places;
    Wsl__V1__RankPlacement **place_list;
};

static void fill_ranks(const struct wsl_job *job, struct parts *p)
{
    size_t n = job->rank_count + 1;

    p->ranks = wsl_need(calloc(n, sizeof *p->ranks));
    p->rank_list = wsl_need(calloc(n, sizeof *p->rank_list));
    p->places = wsl_need(calloc(n, sizeof *p->places));
    p->place_list = wsl_need(calloc(n, sizeof *p->place_list));
    for (uint32_t i = 0; i < job->rank_count; i++) {
        const struct wsl_rank *r = &job->ranks[i];

        wsl__coordinator__stored_rank__init(&p->ranks[i]);
        wsl__v1__rank_placement__init(&p->places[i]);
        p->rank_list[i] = &p->ranks[i];
        p->place_list[i] = &p->places[i];
        p->ranks[i].node = p->places[i].node = r->node->name;
        p->ranks[i].pid = p->places[i].pid = r->pid;
        p->ranks[i].phase = p->places[i].phase = (char *)r->phase;
        p->places[i].rank = i;
        p->ranks[i].state = r->state;
        p->ranks[i].outcome = r->outcome;
        p->ranks[i].metric_bytes = r->metric_bytes;
        p->ranks[i].metric_have = r->metric_have;
        p->ranks[i].log_bytes = r->log_bytes;
        p->ranks[i].address = r->address;
    }
}

static void fill_job(const struct wsl_job *job, const struct parts *p, Wsl__V1__Job *to)
{
    wsl__v1__job__init(to);
    to->id = job->id;
    to->spec = job->spec;
    to->state = job->state;
    to->reason = (char *)job->reason;
    to->cancel_requested = job->cancel_requested;
    to->generation = job->generation;
    to->n_ranks = job->rank_count;
    to->ranks = p->place_list;
    to->submitted_ms = job->submitted_ms;
    to->started_ms = job->started_ms;
    to->ended_ms = job->ended_ms;
    to->restarts = job->restarts;
    to->progress = job->progress;
    to->checkpoint = job->checkpoint;
    to->checkpoint_node = (char *)job->checkpoint_node;
    to->checkpoint_step = job->checkpoint_step;
}

uint8_t *wsl_job_pack(const struct wsl_job *job, size_t *ret_size)
{
    Wsl__Coordinator__StoredJob record = WSL__COORDINATOR__STORED_JOB__INIT;
    Wsl__V1__Job shown;
    struct parts p;
    uint8_t *bytes;

    fill_ranks(job, &p);
    fill_job(job, &p, &shown);
    record.job = &shown;
    record.n_ranks = job->rank_count;
    record.ranks = p.rank_list;
    record.open = job->open;
    record.machine_errors = job->machine_errors;
    record.user_errors = job->user_errors;
    record.failures = job->failures;
    record.start_step = job->start_step;
    record.resume = job->resume;
    record.init = job->init;
    record.init_job = job->init_job;
    record.cause = job->cause;
    record.cause_text = (char *)job->cause_text;
    record.avoid = (char *)job->avoid;
    record.next_event = job->next_event;
    *ret_size = wsl__coordinator__stored_job__get_packed_size(&record);
    bytes = wsl_need(malloc(*ret_size + 1));
    wsl__coordinator__stored_job__pack(&record, bytes);
    free(p.ranks);
    free(p.rank_list);
    free(p.places);
    free(p.place_list);
    return bytes;
}

/* ---- loading ---- */

static bool sound(const Wsl__Coordinator__StoredJob *record, uint64_t id)
{
    const Wsl__V1__Job *job = record->job;

    if (!job || !job->spec || job->id != id || job->state < WSL__V1__JOB_STATE__QUEUED ||
        job->state > WSL__V1__JOB_STATE__CANCELLED || record->cause > WSL_CAUSE_USER ||
        wsl_jobspec_check(job->spec, NULL) < 0 ||
        (record->open && record->n_ranks != job->spec->world))
        return false;
    for (size_t i = 0; i < record->n_ranks; i++)
        if (record->ranks[i]->state > WSL_RANK_GONE || !record->ranks[i]->node[0] ||
            strlen(record->ranks[i]->node) >= WSL_NAME_SIZE)
            return false;
    return true;
}

static void load_ranks(struct wsl_machine *m, struct wsl_job *job,
                       const Wsl__Coordinator__StoredJob *record)
{
    job->rank_count = (uint32_t)record->n_ranks;
    job->ranks = wsl_need(calloc(record->n_ranks + 1, sizeof *job->ranks));
    for (uint32_t i = 0; i < job->rank_count; i++) {
        const Wsl__Coordinator__StoredRank *from = record->ranks[i];
        struct wsl_rank *to = &job->ranks[i];

        to->node = wsl_node_get(m, from->node);
        to->state = (enum wsl_rank_state)from->state;
        to->outcome = from->outcome;
        to->pid = from->pid;
        wsl_line_fit(to->phase, sizeof to->phase, from->phase);
        to->address = wsl_line_copy(from->address);
        to->metric_bytes = from->metric_bytes;
        to->metric_have = from->metric_have;
        to->log_bytes = from->log_bytes;
    }
}

static void load_fields(struct wsl_job *job, Wsl__Coordinator__StoredJob *record)
{
    Wsl__V1__Job *from = record->job;

    job->accepted = true;
    job->spec = from->spec;
    from->spec = NULL; /* taken */
    job->progress = from->progress;
    from->progress = NULL;
    job->state = from->state;
    wsl_line_fit(job->reason, sizeof job->reason, from->reason);
    job->cancel_requested = from->cancel_requested;
    job->generation = from->generation;
    job->submitted_ms = from->submitted_ms;
    job->started_ms = from->started_ms;
    job->ended_ms = from->ended_ms;
    job->restarts = from->restarts;
    wsl_line_replace(&job->checkpoint, from->checkpoint);
    wsl_line_fit(job->checkpoint_node, sizeof job->checkpoint_node, from->checkpoint_node);
    job->checkpoint_step = from->checkpoint_step;
    job->open = record->open;
    job->machine_errors = record->machine_errors;
    job->user_errors = record->user_errors;
    job->failures = record->failures;
    job->start_step = record->start_step;
    wsl_line_replace(&job->resume, record->resume);
    wsl_line_replace(&job->init, record->init);
    job->init_job = record->init_job;
    job->cause = (enum wsl_cause)record->cause;
    wsl_line_fit(job->cause_text, sizeof job->cause_text, record->cause_text);
    wsl_line_fit(job->avoid, sizeof job->avoid, record->avoid);
    job->next_event = job->stored_events = record->next_event;
}

int wsl_machine_load_job(struct wsl_machine *m, uint64_t id, const uint8_t *bytes, size_t size,
                         struct wsl_err *err)
{
    Wsl__Coordinator__StoredJob *record = wsl__coordinator__stored_job__unpack(NULL, size, bytes);
    struct wsl_job *job;

    if (!record || !sound(record, id) ||
        (m->job_count > 0 && m->jobs[m->job_count - 1]->id >= id) ||
        wsl_jobspec_fill(record->job->spec, NULL) < 0) {
        if (record)
            wsl__coordinator__stored_job__free_unpacked(record, NULL);
        return wsl_fail(err, WSL_ECORRUPT, "the record of job %llu is damaged",
                        (unsigned long long)id);
    }
    job = wsl_machine_add_job(m, id);
    load_ranks(m, job, record);
    load_fields(job, record);
    if (wsl_job_ended(job))
        m->live_count--;
    wsl__coordinator__stored_job__free_unpacked(record, NULL);
    return 0;
}

int wsl_machine_load_event(struct wsl_machine *m, uint64_t id, const Wsl__V1__Event *event)
{
    struct wsl_job *job = wsl_machine_find(m, id);

    if (!job || event->sequence == 0 || event->sequence > job->next_event ||
        (job->event_count > 0 && job->events[job->event_count - 1].sequence >= event->sequence) ||
        job->event_count >= WSL_JOB_EVENTS_MAX)
        return WSL_ECORRUPT;
    job->events = wsl_need(realloc(job->events, (job->event_count + 1) * sizeof *job->events));
    job->events[job->event_count++] = (struct wsl_job_event){
        event->sequence, event->time_ms, wsl_line_copy(event->kind), wsl_line_copy(event->message)};
    return 0;
}

void wsl_machine_start(struct wsl_machine *m, struct wsl_now now)
{
    for (size_t i = 0; i < m->node_count; i++) {
        m->nodes[i]->lost_ms = now.ms;
        m->nodes[i]->grace_until_ms = now.ms + m->settings.worker_grace_ms;
    }
    for (size_t i = 0; i < m->job_count; i++) {
        struct wsl_job *job = m->jobs[i];

        if (!job->open)
            continue;
        for (uint32_t r = 0; r < job->rank_count; r++) {
            job->ranks[r].gone_ms = job->ranks[r].asked_ms = now.ms;
            job->ranks[r].presumed = false;
        }
        if (job->cause)
            job->stop = WSL__V1__STOP_MODE__KILL;
        else if (job->cancel_requested) {
            job->stop = WSL__V1__STOP_MODE__GRACEFUL;
            job->kill_at_ms = now.ms + m->settings.cancel_grace_ms;
        }
    }
    m->want_schedule = true;
}
