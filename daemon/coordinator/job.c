/* SPDX-License-Identifier: Apache-2.0
 *
 * A job's moves, the end of its generations, and what that costs it.
 */
#include "daemon/coordinator/machine_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATES = WSL__V1__JOB_STATE__CANCELLED + 1 };

#define S(name)   WSL__V1__JOB_STATE__##name
#define BIT(name) (1u << S(name))

/* From a state to which others. */
static const unsigned moves[STATES] = {
    [S(QUEUED)] = BIT(STARTING) | BIT(FAILED) | BIT(CANCELLED),
    [S(STARTING)] = BIT(RUNNING) | BIT(RECOVERING) | BIT(SUCCEEDED) | BIT(FAILED) | BIT(CANCELLED),
    [S(RUNNING)] = BIT(RECOVERING) | BIT(SUCCEEDED) | BIT(FAILED) | BIT(CANCELLED),
    [S(RECOVERING)] = BIT(RUNNING) | BIT(SUCCEEDED) | BIT(FAILED) | BIT(CANCELLED),
};

static const char *const state_words[STATES] = {
    "", "queued", "starting", "running", "recovering", "succeeded", "failed", "cancelled",
};

bool wsl_job_move_allowed(Wsl__V1__JobState from, Wsl__V1__JobState to)
{
    return (unsigned)from < STATES && (unsigned)to < STATES && (moves[from] & 1u << to);
}

bool wsl_job_ended(const struct wsl_job *job)
{
    return job->state >= S(SUCCEEDED);
}

/* ---- events, reasons, moves ---- */

static void drop_oldest_event(struct wsl_job *job)
{
    free(job->events[0].kind);
    free(job->events[0].message);
    memmove(job->events, job->events + 1, (job->event_count - 1) * sizeof *job->events);
    job->event_count--;
}

static void add_event(struct wsl_step *s, struct wsl_job *job, const char *kind,
                      const char *message)
{
    struct wsl_job_event *e;

    if (job->event_count == WSL_JOB_EVENTS_MAX)
        drop_oldest_event(job);
    job->events = wsl_need(realloc(job->events, (job->event_count + 1) * sizeof *job->events));
    e = &job->events[job->event_count++];
    *e = (struct wsl_job_event){++job->next_event, s->now.wall_ms, wsl_line_copy(kind),
                                wsl_line_copy(message)};
    wsl_step_dirty(s, job);
}

void wsl_job_event(struct wsl_step *s, struct wsl_job *job, const char *kind, const char *format,
                   ...)
{
    char text[2 * WSL_REASON_MAX], line[WSL_REASON_MAX];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    wsl_line_fit(line, sizeof line, text);
    add_event(s, job, kind, line);
}

static void set_reason(struct wsl_step *s, struct wsl_job *job, const char *line)
{
    if (strcmp(job->reason, line) == 0)
        return;
    memcpy(job->reason, line, strlen(line) + 1);
    wsl_step_dirty(s, job);
}

void wsl_job_set_reason(struct wsl_step *s, struct wsl_job *job, const char *format, ...)
{
    char text[2 * WSL_REASON_MAX], line[WSL_REASON_MAX];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    wsl_line_fit(line, sizeof line, text);
    set_reason(s, job, line);
}

void wsl_job_move(struct wsl_step *s, struct wsl_job *job, Wsl__V1__JobState to, const char *format,
                  ...)
{
    char text[2 * WSL_REASON_MAX], line[WSL_REASON_MAX];
    va_list list;

    assert(wsl_job_move_allowed(job->state, to));
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    wsl_line_fit(line, sizeof line, text);
    wsl_job_event(s, job, "state", "%s -> %s%s%s", state_words[job->state], state_words[to],
                  line[0] ? ": " : "", line);
    set_reason(s, job, line);
    job->state = to;
    job->blocked_ms = 0;
    if (to == S(RUNNING) && job->started_ms == 0)
        job->started_ms = s->now.wall_ms;
    if (!wsl_job_ended(job))
        return;
    job->ended_ms = s->now.wall_ms;
    s->m->live_count--;
    s->m->ending = true;
    s->m->want_schedule = true; /* slots, and jobs that wait for this one */
}

/* ---- to the workers ---- */

struct wsl_key wsl_job_key(const struct wsl_job *job, uint32_t rank)
{
    return (struct wsl_key){job->id, job->generation, rank};
}

void wsl_job_send_start(struct wsl_step *s, struct wsl_job *job, uint32_t rank)
{
    struct wsl_rank *r = &job->ranks[rank];
    struct wsl_output *out;

    r->asked_ms = s->now.ms;
    if (r->node->session == 0)
        return; /* its next Hello asks again */
    out = wsl_step_output(s, WSL_OUT_START);
    out->session = r->node->session;
    out->key = wsl_job_key(job, rank);
}

void wsl_job_send_stop(struct wsl_step *s, struct wsl_job *job, uint32_t rank)
{
    const struct wsl_rank *r = &job->ranks[rank];
    struct wsl_output *out;

    if (r->node->session == 0 || r->state == WSL_RANK_GONE)
        return;
    out = wsl_step_output(s, WSL_OUT_STOP);
    out->session = r->node->session;
    out->key = wsl_job_key(job, rank);
    out->mode = job->stop;
    wsl_line_fit(out->text, sizeof out->text,
                 job->cancel_requested ? "the job was cancelled" : job->cause_text);
}

/* Asks all that are left to stop; never less than before. */
static void stop_ranks(struct wsl_step *s, struct wsl_job *job, Wsl__V1__StopMode mode)
{
    if (mode <= job->stop)
        return;
    job->stop = mode;
    if (mode == WSL__V1__STOP_MODE__KILL)
        job->kill_at_ms = 0;
    for (uint32_t i = 0; i < job->rank_count; i++)
        wsl_job_send_stop(s, job, i);
}

void wsl_job_check_started(struct wsl_step *s, struct wsl_job *job)
{
    if (job->stop || job->cause || !job->open ||
        (job->state != S(STARTING) && job->state != S(RECOVERING)))
        return;
    for (uint32_t i = 0; i < job->rank_count; i++)
        if (job->ranks[i].state == WSL_RANK_ASSIGNED)
            return;
    wsl_job_move(s, job, S(RUNNING), "%s", "");
}

/* ---- the end of a generation ---- */

void wsl_job_drop_exchanges(struct wsl_job *job)
{
    for (int i = 0; i < job->exchange_count; i++) {
        for (uint32_t r = 0; r < job->rank_count; r++)
            free(job->exchanges[i].blobs[r].data);
        free(job->exchanges[i].blobs);
    }
    job->exchange_count = 0;
}

void wsl_job_free_ranks(struct wsl_job *job)
{
    wsl_job_drop_exchanges(job);
    for (uint32_t i = 0; i < job->rank_count; i++)
        free(job->ranks[i].address);
    free(job->ranks);
    job->ranks = NULL;
    job->rank_count = 0;
}

static uint32_t errors_allowed(const struct wsl_job *job, bool user)
{
    return user ? job->spec->restart->max_user_errors : job->spec->restart->max_machine_errors;
}

static uint32_t backoff_ms(const struct wsl_machine_settings *set, uint32_t failures)
{
    uint64_t ms = set->backoff_ms;

    for (uint32_t i = 1; i < failures && ms < set->backoff_max_ms; i++)
        ms *= 2;
    return (uint32_t)(ms < set->backoff_max_ms ? ms : set->backoff_max_ms);
}

/* Restart, or the end. */
static void charge(struct wsl_step *s, struct wsl_job *job)
{
    bool user = job->cause == WSL_CAUSE_USER;
    uint32_t *errors = user ? &job->user_errors : &job->machine_errors;
    uint32_t allowed = errors_allowed(job, user), wait;
    char text[2 * WSL_REASON_MAX];

    if (*errors >= allowed) {
        if (allowed == 0)
            wsl_job_move(s, job, S(FAILED), "%s", job->cause_text);
        else
            wsl_job_move(s, job, S(FAILED),
                         "%.300s (%u restarts without progress were allowed, all are used)",
                         job->cause_text, allowed);
        return;
    }
    ++*errors;
    job->restarts++;
    wait = backoff_ms(&s->m->settings, ++job->failures);
    job->retry_at_ms = s->now.ms + wait;
    snprintf(text, sizeof text, "%.260s; restart %u of %u from %s%" PRIu64 " in %.1f s",
             job->cause_text, *errors, allowed, job->checkpoint[0] ? "step " : "the start, step ",
             job->checkpoint_step, wait / 1000.0);
    if (job->state != S(RECOVERING)) {
        wsl_job_move(s, job, S(RECOVERING), "%s", text);
    } else {
        wsl_job_event(s, job, "restart", "%s", text);
        wsl_job_set_reason(s, job, "%s", text);
    }
    s->m->want_schedule = true;
}

static void conclude(struct wsl_step *s, struct wsl_job *job)
{
    job->open = false;
    job->stop = 0;
    job->kill_at_ms = 0;
    wsl_job_drop_exchanges(job);
    wsl_step_dirty(s, job);
    s->m->want_schedule = true;
    if (job->cancel_requested)
        wsl_job_move(s, job, S(CANCELLED), "%s", job->reason);
    else if (job->cause == WSL_CAUSE_NONE)
        wsl_job_move(s, job, S(SUCCEEDED), "%s", "");
    else
        charge(s, job);
    job->cause = WSL_CAUSE_NONE;
}

static bool drained(const struct wsl_step *s, const struct wsl_rank *r)
{
    return r->presumed || r->metric_have >= r->metric_bytes ||
           s->now.ms - r->gone_ms >= s->m->settings.drain_ms;
}

void wsl_job_settle(struct wsl_step *s, struct wsl_job *job)
{
    if (!job->open)
        return;
    for (uint32_t i = 0; i < job->rank_count; i++)
        if (job->ranks[i].state != WSL_RANK_GONE || !drained(s, &job->ranks[i]))
            return;
    conclude(s, job);
}

/* What a generation ends of: the first error that is nobody else's echo. */
static void blame(struct wsl_step *s, struct wsl_job *job, enum wsl_cause cause, uint32_t rank,
                  const char *reason)
{
    const struct wsl_rank *r = &job->ranks[rank];
    bool user = cause == WSL_CAUSE_USER;

    if (job->cause > WSL_CAUSE_PEER || (job->cause == cause))
        return;
    job->cause = cause;
    snprintf(job->cause_text, sizeof job->cause_text, "rank %u on %.64s: %.300s", rank,
             r->node->name, reason);
    wsl_line_fit(job->cause_text, sizeof job->cause_text, job->cause_text);
    snprintf(job->avoid, sizeof job->avoid, "%s", cause == WSL_CAUSE_MACHINE ? r->node->name : "");
    wsl_step_dirty(s, job);
    if (user ? job->user_errors >= errors_allowed(job, true)
             : job->machine_errors >= errors_allowed(job, false))
        wsl_job_set_reason(s, job, "ending: %s", job->cause_text);
    else if (job->state == S(RUNNING) || job->state == S(STARTING))
        wsl_job_move(s, job, S(RECOVERING), "%s", job->cause_text);
    else
        wsl_job_set_reason(s, job, "%s", job->cause_text);
    if (cause == WSL_CAUSE_PEER)
        job->kill_at_ms = s->now.ms + s->m->settings.peer_window_ms;
    else
        stop_ranks(s, job, WSL__V1__STOP_MODE__KILL);
}

static const char *outcome_word(Wsl__V1__TrainerOutcome outcome)
{
    switch (outcome) {
    case WSL__V1__TRAINER_OUTCOME__FINISHED:
        return "finished";
    case WSL__V1__TRAINER_OUTCOME__STOPPED:
        return "stopped";
    case WSL__V1__TRAINER_OUTCOME__USER_ERROR:
        return "error of the job";
    case WSL__V1__TRAINER_OUTCOME__PEER_LOST:
        return "lost a peer";
    default:
        return "error of the machine";
    }
}

void wsl_job_rank_gone(struct wsl_step *s, struct wsl_job *job, uint32_t rank,
                       Wsl__V1__TrainerOutcome outcome, const char *reason)
{
    struct wsl_rank *r = &job->ranks[rank];

    assert(r->state != WSL_RANK_GONE);
    r->state = WSL_RANK_GONE;
    r->outcome = outcome;
    r->gone_ms = s->now.ms;
    snprintf(r->phase, sizeof r->phase, "exited");
    s->m->want_schedule = true;
    wsl_job_event(s, job, "trainer_exited", "generation %u, rank %u on %s: %s%s%s", job->generation,
                  rank, r->node->name, outcome_word(outcome), reason[0] ? ": " : "", reason);
    if (job->cancel_requested || outcome == WSL__V1__TRAINER_OUTCOME__FINISHED)
        ; /* nobody's fault */
    else if (outcome == WSL__V1__TRAINER_OUTCOME__USER_ERROR)
        blame(s, job, WSL_CAUSE_USER, rank, reason);
    else if (outcome == WSL__V1__TRAINER_OUTCOME__PEER_LOST)
        blame(s, job, WSL_CAUSE_PEER, rank, reason[0] ? reason : "lost a peer");
    else if (outcome != WSL__V1__TRAINER_OUTCOME__STOPPED || !job->stop)
        blame(s, job, WSL_CAUSE_MACHINE, rank, reason[0] ? reason : "ended without a reason");
    wsl_job_settle(s, job);
}

void wsl_job_cancel(struct wsl_step *s, struct wsl_job *job, const char *why)
{
    char line[200];

    if (wsl_job_ended(job) || job->cancel_requested)
        return;
    wsl_line_fit(line, sizeof line, why ? why : "");
    job->cancel_requested = true;
    wsl_job_event(s, job, "cancel", "cancel requested%s%s", line[0] ? ": " : "", line);
    wsl_job_set_reason(s, job, "cancelled%s%s", line[0] ? ": " : " on request", line);
    if (!job->open) {
        wsl_job_move(s, job, S(CANCELLED), "%s", job->reason);
        return;
    }
    if (!job->stop)
        job->kill_at_ms = s->now.ms + s->m->settings.cancel_grace_ms;
    stop_ranks(s, job, WSL__V1__STOP_MODE__GRACEFUL);
}

/* ---- metrics ---- */

static void take_progress(struct wsl_step *s, struct wsl_job *job,
                          const Wsl__V1__Progress *progress)
{
    size_t size = wsl__v1__progress__get_packed_size(progress);
    uint8_t *bytes = wsl_need(malloc(size + 1));
    Wsl__V1__Progress *old = job->progress;

    wsl__v1__progress__pack(progress, bytes);
    job->progress = wsl_need(wsl__v1__progress__unpack(NULL, size, bytes));
    free(bytes);
    if (old && old->evaluation && !job->progress->evaluation) {
        job->progress->evaluation = old->evaluation;
        old->evaluation = NULL;
    }
    if (old)
        wsl__v1__progress__free_unpacked(old, NULL);
    wsl_step_dirty(s, job);
}

static void take_checkpoint(struct wsl_step *s, struct wsl_job *job, uint32_t rank,
                            const Wsl__V1__CheckpointWritten *c)
{
    const struct wsl_rank *r = &job->ranks[rank];

    if (c->folder[0] == '\0' || c->step < job->checkpoint_step)
        return;
    wsl_line_replace(&job->checkpoint, c->folder);
    job->checkpoint_step = c->step;
    snprintf(job->checkpoint_node, sizeof job->checkpoint_node, "%s", r->node->name);
    wsl_job_event(s, job, "checkpoint", "step %" PRIu64 ": %.1f MB in %.1f s, %.256s on %s",
                  c->step, (double)c->bytes / 1e6, c->seconds, c->folder, r->node->name);
    if (c->step > job->start_step) /* progress: the budgets are full again */
        job->machine_errors = job->user_errors = job->failures = 0;
}

void wsl_job_metric(struct wsl_step *s, struct wsl_job *job, const struct wsl_event *event)
{
    const Wsl__V1__TrainerMetric *metric = event->metric;
    char kind[40];

    if (event->key.generation != job->generation || event->key.rank >= job->rank_count)
        return; /* of a generation that is no more */
    job->ranks[event->key.rank].metric_have = event->bytes;
    wsl_step_dirty(s, job);
    if (!metric) {
        wsl_job_settle(s, job);
        return;
    }
    switch (metric->body_case) {
    case WSL__V1__TRAINER_METRIC__BODY_PROGRESS:
        if (event->key.rank == 0)
            take_progress(s, job, metric->progress);
        break;
    case WSL__V1__TRAINER_METRIC__BODY_CHECKPOINT:
        take_checkpoint(s, job, event->key.rank, metric->checkpoint);
        break;
    case WSL__V1__TRAINER_METRIC__BODY_NOTE:
        wsl_line_fit(kind, sizeof kind, metric->note->kind);
        wsl_job_event(s, job, kind[0] ? kind : "note", "rank %u on %s: %s", event->key.rank,
                      job->ranks[event->key.rank].node->name, metric->note->message);
        break;
    default: /* of a newer trainer */
        break;
    }
    wsl_job_settle(s, job);
}

/* ---- time ---- */

void wsl_job_tick(struct wsl_step *s, struct wsl_job *job)
{
    if (job->open && job->kill_at_ms && s->now.ms >= job->kill_at_ms) {
        job->kill_at_ms = 0;
        stop_ranks(s, job, WSL__V1__STOP_MODE__KILL);
    }
    for (uint32_t i = 0; job->open && i < job->rank_count; i++) {
        struct wsl_rank *r = &job->ranks[i];

        if (r->state == WSL_RANK_ASSIGNED && !job->stop && r->node->session &&
            s->now.ms - r->asked_ms >= s->m->settings.start_again_ms)
            wsl_job_send_start(s, job, i);
    }
    if (job->open)
        wsl_job_settle(s, job);
    else if (job->state == S(RECOVERING) && s->now.ms >= job->retry_at_ms)
        s->m->want_schedule = true;
}

void wsl_job_free(struct wsl_job *job)
{
    if (!job)
        return;
    wsl_job_free_ranks(job);
    if (job->spec)
        wsl__v1__job_spec__free_unpacked(job->spec, NULL);
    if (job->progress)
        wsl__v1__progress__free_unpacked(job->progress, NULL);
    for (size_t i = 0; i < job->event_count; i++) {
        free(job->events[i].kind);
        free(job->events[i].message);
    }
    free(job->events);
    free(job->checkpoint);
    free(job->resume);
    free(job->init);
    free(job);
}
