/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/coordinator/machine.h"

#include "base/args.h"
#include "daemon/coordinator/machine_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define S(name) WSL__V1__JOB_STATE__##name

const struct wsl_machine_settings wsl_machine_defaults = {
    .lost_ms = 5000,
    .worker_grace_ms = 30000,
    .cancel_grace_ms = 30000,
    .peer_window_ms = 1000,
    .drain_ms = 10000,
    .backoff_ms = 1000,
    .backoff_max_ms = 60000,
    .backfill_ms = 600000,
    .start_again_ms = 10000,
    .jobs_max = 10000,
    .history_max = 2000,
};

/* ---- outputs ---- */

struct wsl_output *wsl_step_output(struct wsl_step *s, enum wsl_output_kind kind)
{
    struct wsl_outputs *out = s->out;

    if (out->count == out->room) {
        out->room = out->room ? 2 * out->room : 32;
        out->items = wsl_need(realloc(out->items, out->room * sizeof *out->items));
    }
    out->items[out->count] = (struct wsl_output){.kind = kind};
    return &out->items[out->count++];
}

void wsl_outputs_clear(struct wsl_outputs *out)
{
    out->count = 0;
}

void wsl_outputs_free(struct wsl_outputs *out)
{
    free(out->items);
    *out = (struct wsl_outputs){0};
}

void wsl_step_dirty(struct wsl_step *s, struct wsl_job *job)
{
    if (job->dirty)
        return;
    job->dirty = true;
    wsl_step_output(s, WSL_OUT_SAVE)->job = job->id;
}

/* ---- jobs ---- */

struct wsl_machine *wsl_machine_new(const struct wsl_machine_settings *settings)
{
    struct wsl_machine *m = wsl_need(calloc(1, sizeof *m));

    m->settings = *settings;
    m->next_id = 1;
    return m;
}

void wsl_machine_free(struct wsl_machine *m)
{
    if (!m)
        return;
    for (size_t i = 0; i < m->job_count; i++)
        wsl_job_free(m->jobs[i]);
    for (size_t i = 0; i < m->node_count; i++)
        wsl_node_free(m->nodes[i]);
    free(m->jobs);
    free(m->nodes);
    free(m);
}

/* Index of the first job with an id not below this one. */
static size_t lower_bound(const struct wsl_machine *m, uint64_t id)
{
    size_t low = 0, high = m->job_count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (m->jobs[mid]->id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct wsl_job *wsl_machine_find(const struct wsl_machine *m, uint64_t id)
{
    size_t i = lower_bound(m, id);

    return i < m->job_count && m->jobs[i]->id == id ? m->jobs[i] : NULL;
}

struct wsl_job *wsl_machine_look_up(const struct wsl_machine *m, const char *word)
{
    uint64_t id;
    struct wsl_job *job = wsl_parse_u64(word, &id) == 0 ? wsl_machine_find(m, id) : NULL;

    if (job && job->accepted)
        return job;
    for (size_t i = m->job_count; i-- > 0;)
        if (m->jobs[i]->accepted && strcmp(m->jobs[i]->spec->name, word) == 0)
            return m->jobs[i];
    return NULL;
}

const struct wsl_node *wsl_machine_node(const struct wsl_machine *m, const char *name)
{
    for (size_t i = 0; i < m->node_count; i++)
        if (strcmp(m->nodes[i]->name, name) == 0)
            return m->nodes[i];
    return NULL;
}

const struct wsl_node *wsl_machine_session(const struct wsl_machine *m, uint64_t session)
{
    return wsl_node_of(m, session);
}

struct wsl_job *wsl_machine_add_job(struct wsl_machine *m, uint64_t id)
{
    struct wsl_job *job = wsl_need(calloc(1, sizeof *job));

    assert(m->job_count == 0 || m->jobs[m->job_count - 1]->id < id);
    if (m->job_count == m->job_room) {
        m->job_room = m->job_room ? 2 * m->job_room : 64;
        m->jobs = wsl_need(realloc(m->jobs, m->job_room * sizeof *m->jobs));
    }
    m->jobs[m->job_count++] = job;
    job->id = id;
    job->checkpoint = wsl_line_copy("");
    job->resume = wsl_line_copy("");
    job->init = wsl_line_copy("");
    m->live_count++;
    if (id >= m->next_id)
        m->next_id = id + 1;
    return job;
}

static void remove_job(struct wsl_step *s, struct wsl_job *job)
{
    struct wsl_machine *m = s->m;
    size_t i = lower_bound(m, job->id);

    memmove(&m->jobs[i], &m->jobs[i + 1], (m->job_count - i - 1) * sizeof *m->jobs);
    m->job_count--;
    wsl_step_output(s, WSL_OUT_REMOVED)->job = job->id;
    wsl_job_free(job);
}

static bool is_source(const struct wsl_machine *m, uint64_t id)
{
    for (size_t i = 0; i < m->job_count; i++)
        if (m->jobs[i]->init_job == id && !wsl_job_ended(m->jobs[i]))
            return true;
    return false;
}

/* Ended jobs beyond the limit are forgotten, the oldest first; not those whose weights are waited
 * for. */
static void trim_history(struct wsl_step *s)
{
    struct wsl_machine *m = s->m;
    size_t ended = m->job_count - m->live_count;

    m->ending = false;
    for (size_t i = 0; i < m->job_count && ended > m->settings.history_max;) {
        struct wsl_job *job = m->jobs[i];

        if (wsl_job_ended(job) && !is_source(m, job->id)) {
            remove_job(s, job);
            ended--;
        } else {
            i++;
        }
    }
}

/* ---- submissions ---- */

int wsl_machine_check_submit(const struct wsl_machine *m, const Wsl__V1__JobSpec *spec,
                             struct wsl_err *err)
{
    if (m->live_count >= m->settings.jobs_max)
        return wsl_fail(err, WSL_ELIMIT, "the queue is full: %u jobs wait or run",
                        m->settings.jobs_max);
    for (size_t i = 0; i < m->job_count; i++)
        if (!wsl_job_ended(m->jobs[i]) && strcmp(m->jobs[i]->spec->name, spec->name) == 0)
            return wsl_fail(err, WSL_EEXIST,
                            "name: job %" PRIu64 " is named %s and has not ended; use another name",
                            m->jobs[i]->id, spec->name);
    if (spec->init && spec->init->from_case == WSL__V1__INIT__FROM_JOB &&
        !wsl_machine_look_up(m, spec->init->job))
        return wsl_fail(err, WSL_EINVAL, "init: no job has the name or id '%.80s'",
                        spec->init->job);
    return 0;
}

static void submit(struct wsl_step *s, Wsl__V1__JobSpec *spec)
{
    struct wsl_err err = {0};
    struct wsl_output *out;
    struct wsl_job *job;

    if (wsl_machine_check_submit(s->m, spec, &err) < 0) {
        out = wsl_step_output(s, WSL_OUT_REFUSED);
        out->code = err.code;
        wsl_line_fit(out->text, sizeof out->text, err.text);
        wsl__v1__job_spec__free_unpacked(spec, NULL);
        return;
    }
    job = wsl_machine_add_job(s->m, s->m->next_id);
    job->spec = spec;
    job->state = S(QUEUED);
    job->submitted_ms = s->now.wall_ms;
    if (spec->init && spec->init->from_case == WSL__V1__INIT__FROM_JOB)
        job->init_job = wsl_machine_look_up(s->m, spec->init->job)->id;
    else if (spec->init && spec->init->from_case == WSL__V1__INIT__FROM_CHECKPOINT)
        wsl_line_replace(&job->init, spec->init->checkpoint);
    wsl_job_event(s, job, "submitted", "%s, %u rank%s",
                  spec->kind == WSL__V1__JOB_KIND__TRANSFER ? "transfer" : "pretrain", spec->world,
                  spec->world == 1 ? "" : "s");
    wsl_step_output(s, WSL_OUT_ACCEPTED)->job = job->id;
}

static void stored(struct wsl_step *s, uint64_t id, bool ok)
{
    struct wsl_job *job = wsl_machine_find(s->m, id);

    if (!job || job->accepted)
        return;
    if (ok) {
        job->accepted = true;
        s->m->want_schedule = true;
    } else {
        s->m->live_count--;
        remove_job(s, job);
    }
}

/* ---- steps ---- */

static void heartbeat(struct wsl_step *s, const struct wsl_event *event)
{
    struct wsl_node *node = wsl_node_of(s->m, event->session);

    if (!node)
        return;
    node->heard_ms = s->now.ms;
    node->last_seen_wall_ms = s->now.wall_ms;
    node->memory_available = event->memory;
}

static void tick(struct wsl_step *s)
{
    for (size_t i = 0; i < s->m->node_count; i++)
        wsl_node_tick(s, s->m->nodes[i]);
    for (size_t i = 0; i < s->m->job_count; i++)
        if (!wsl_job_ended(s->m->jobs[i]))
            wsl_job_tick(s, s->m->jobs[i]);
    s->m->want_schedule = true; /* waits that only time ends */
}

static void take(struct wsl_step *s, const struct wsl_event *event)
{
    struct wsl_node *node = wsl_node_of(s->m, event->session);
    struct wsl_job *job;

    switch (event->kind) {
    case WSL_EVENT_SUBMIT:
        submit(s, event->spec);
        break;
    case WSL_EVENT_STORED:
        stored(s, event->job, event->ok);
        break;
    case WSL_EVENT_CANCEL:
        job = wsl_machine_find(s->m, event->job);
        if (job)
            wsl_job_cancel(s, job, event->text);
        break;
    case WSL_EVENT_HELLO:
        wsl_node_hello(s, event->session, event->hello);
        break;
    case WSL_EVENT_HEARTBEAT:
        heartbeat(s, event);
        break;
    case WSL_EVENT_CLOSED:
        if (node)
            wsl_node_closed(s, node, "the connection was closed");
        break;
    case WSL_EVENT_TRAINER:
        if (node)
            wsl_node_report(s, node, event->report, false);
        break;
    case WSL_EVENT_PART:
        if (node)
            wsl_exchange_part(s, node, event->part);
        break;
    case WSL_EVENT_METRIC:
    case WSL_EVENT_DELIVERED:
        job = wsl_machine_find(s->m, event->key.job);
        if (job)
            wsl_job_metric(s, job, event);
        break;
    case WSL_EVENT_TICK:
        tick(s);
        break;
    }
}

void wsl_machine_step(struct wsl_machine *m, const struct wsl_event *event, struct wsl_now now,
                      struct wsl_outputs *out)
{
    struct wsl_step s = {m, now, out};
    size_t from = out->count;

    take(&s, event);
    if (m->want_schedule)
        wsl_schedule(&s);
    if (m->ending)
        trim_history(&s);
    for (size_t i = from; i < out->count; i++) {
        struct wsl_job *job =
            out->items[i].kind == WSL_OUT_SAVE ? wsl_machine_find(m, out->items[i].job) : NULL;

        if (job)
            job->dirty = false;
    }
}
