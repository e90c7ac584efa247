/* SPDX-License-Identifier: Apache-2.0
 *
 * A job's moves, and what the end of a rank leads to.
 */
#include "daemon/coordinator/cluster/internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define S(name)   WSL__V1__JOB_STATE__##name
#define BIT(name) (1u << S(name))

/* Allowed next states; the picture is in cluster.h. */
static const struct {
    const char *word;
    unsigned next;
} states[] = {
    [S(QUEUED)] = {"queued", BIT(STARTING) | BIT(CANCELLED) | BIT(FAILED)},
    [S(STARTING)] = {"starting", BIT(RUNNING) | BIT(RECOVERING) | BIT(SUCCEEDED) | BIT(FAILED) |
                                     BIT(CANCELLED)},
    [S(RUNNING)] = {"running", BIT(RECOVERING) | BIT(SUCCEEDED) | BIT(FAILED) | BIT(CANCELLED)},
    [S(RECOVERING)] = {"recovering", BIT(STARTING) | BIT(FAILED) | BIT(CANCELLED)},
    [S(SUCCEEDED)] = {"succeeded", 0},
    [S(FAILED)] = {"failed", 0},
    [S(CANCELLED)] = {"cancelled", 0},
};

const char *wsl_cluster_state_name(Wsl__V1__JobState state)
{
    return (unsigned)state < sizeof states / sizeof *states && states[state].word
               ? states[state].word
               : "unknown";
}

bool wsl_cluster_ended(Wsl__V1__JobState state)
{
    return state == S(SUCCEEDED) || state == S(FAILED) || state == S(CANCELLED);
}

/* What the lists of jobs by state go by. */
static void set_state(struct wsl_cluster *c, struct job *job, Wsl__V1__JobState to, int64_t now)
{
    wsl_cluster_leave_queue(c, job);
    wsl_cluster_set_job_state(c, job, to);
    if (to == S(RECOVERING))
        wsl_cluster_enqueue_job(c, job, now);
    if (wsl_cluster_ended(to))
        job->pb->ended_ms = now;
    c->changed = c->changed || (to != S(STARTING) && to != S(RUNNING));
}

enum { REASON_MAX = 100 }; /* bytes of a short one */

/* Its first statement, cut at a word when even that is long. */
static void shorten(const char *text, char ret_short[REASON_MAX + 4])
{
    const char *end = strstr(text, "; ");
    size_t n = end ? (size_t)(end - text) : strlen(text);

    if (n > REASON_MAX) {
        n = REASON_MAX;
        while (n > REASON_MAX / 2 && text[n] != ' ')
            n--;
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--;
        snprintf(ret_short, REASON_MAX + 4, "%.*s...", (int)n, text);
        return;
    }
    snprintf(ret_short, REASON_MAX + 4, "%.*s", (int)n, text);
}

static void set_reason(Wsl__V1__Job *pb, const char *text)
{
    char brief[REASON_MAX + 4];

    shorten(text, brief);
    wsl_cluster_set_text(&pb->reason, brief);
    wsl_cluster_set_text(&pb->detail, strcmp(brief, text) == 0 ? "" : text);
}

void wsl_cluster_move_job(struct wsl_cluster *c, struct job *job, Wsl__V1__JobState to, int64_t now,
                          const char *format, ...)
{
    Wsl__V1__Job *pb = job->pb;
    char reason[TEXT_MAX];
    va_list args;

    assert(states[pb->state].next & 1u << to);
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    wsl_cluster_clean_text(reason);
    wsl_cluster_add_event(c, job, now, "state", "%s -> %s: %s", states[pb->state].word,
                          states[to].word, reason);
    set_reason(pb, reason);
    job->wait = (struct wait){.kind = WAIT_NONE};
    if (pb->started_ms == 0 && (to == S(RUNNING) || to == S(SUCCEEDED)))
        pb->started_ms = now;
    set_state(c, job, to, now);
    wsl_cluster_save_job(c, job);
}

bool wsl_cluster_is_live(const struct job *job)
{
    return job->ranks && job->ended < job->pb->n_ranks;
}

/* ---- stopping ---- */

static void stop_rank(struct wsl_cluster *c, struct job *job, uint32_t rank)
{
    Wsl__V1__TrainerKey key = WSL__V1__TRAINER_KEY__INIT;

    if (job->ranks[rank].state == RANK_ENDED || job->stop < STOP_GRACEFUL)
        return;
    job->ranks[rank].told = true;
    key.job = job->pb->id;
    key.generation = job->pb->generation;
    key.rank = rank;
    wsl_cluster_send_stop(
        c, job->pb->ranks[rank]->node, &key,
        job->stop == STOP_GRACEFUL ? WSL__V1__STOP_MODE__GRACEFUL : WSL__V1__STOP_MODE__KILL,
        job->pb->cancel_requested ? "the job was cancelled" : "another rank has ended");
}

/* A rank writes the checkpoint that the next generation starts from. All ranks agreed to stop
 * before it began, so the others are on their way out. */
static bool is_saving(const struct job *job)
{
    for (uint32_t i = 0; i < job->pb->n_ranks; i++)
        if (job->ranks[i].state == RANK_UP && strcmp(job->pb->ranks[i]->phase, "saving") == 0)
            return true;
    return false;
}

/* Nothing can be told to it now, and what it does is not known. */
static bool is_out_of_reach(const struct job *job)
{
    for (uint32_t i = 0; i < job->pb->n_ranks; i++)
        if (job->ranks[i].state != RANK_ENDED && !job->ranks[i].node->connected)
            return true;
    return false;
}

void wsl_cluster_stop_ranks(struct wsl_cluster *c, struct job *job, enum stop stop, int64_t now)
{
    job->stop = stop;
    job->kill_ms = stop == STOP_WAIT       ? now + PEER_WAIT_MS
                   : stop == STOP_GRACEFUL ? now + c->setup.stop_grace_ms
                                           : 0;
    for (uint32_t i = 0; i < job->pb->n_ranks; i++)
        stop_rank(c, job, i);
}

void wsl_cluster_check_stop_deadline(struct wsl_cluster *c, struct job *job, int64_t now)
{
    if (job->kill_ms == 0 || now < job->kill_ms)
        return;
    if ((is_saving(job) || is_out_of_reach(job)) && now < job->kill_ms + SAVING_EXTRA_MS)
        return;
    wsl_cluster_stop_ranks(c, job, STOP_KILL, now);
}

void wsl_cluster_repeat_stops(struct wsl_cluster *c, struct job *job, const struct node *node)
{
    for (uint32_t i = 0; job->ranks && i < job->pb->n_ranks; i++)
        if (job->ranks[i].node == node)
            stop_rank(c, job, i);
}

/* ---- starting ---- */

/* RUNNING once no rank is on its way up. */
static void check_running(struct wsl_cluster *c, struct job *job, int64_t now)
{
    if (job->pb->state != S(STARTING) || job->stop)
        return;
    for (size_t i = 0; i < job->pb->n_ranks; i++)
        if (job->ranks[i].state == RANK_SENT)
            return;
    if (job->pb->checkpoint[0])
        wsl_cluster_move_job(
            c, job, S(RUNNING), now,
            "all %zu trainers of generation %u are up, from the checkpoint at step %" PRIu64,
            job->pb->n_ranks, job->pb->generation, job->pb->checkpoint_step);
    else
        wsl_cluster_move_job(c, job, S(RUNNING), now, "all %zu trainers of generation %u are up",
                             job->pb->n_ranks, job->pb->generation);
}

void wsl_cluster_rank_up(struct wsl_cluster *c, struct job *job, uint32_t rank,
                         const Wsl__V1__TrainerReport *report, int64_t now)
{
    Wsl__V1__RankPlacement *placement = job->pb->ranks[rank];
    char phase[33];

    snprintf(phase, sizeof phase, "%s", report->phase);
    wsl_cluster_clean_text(phase);
    if (job->ranks[rank].state == RANK_UP && placement->pid == report->pid &&
        strcmp(placement->phase, phase) == 0)
        return;
    job->ranks[rank].state = RANK_UP;
    placement->pid = report->pid;
    wsl_cluster_set_text(&placement->phase, phase);
    job->version++;
    check_running(c, job, now);
}

/* ---- ends ---- */

static const char *const outcomes[] = {
    [WSL__V1__TRAINER_OUTCOME__FINISHED] = "finished",
    [WSL__V1__TRAINER_OUTCOME__STOPPED] = "stopped",
    [WSL__V1__TRAINER_OUTCOME__USER_ERROR] = "user error",
    [WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR] = "machine error",
    [WSL__V1__TRAINER_OUTCOME__PEER_LOST] = "peer lost",
};

enum { OUTCOMES = sizeof outcomes / sizeof *outcomes };

const char *wsl_cluster_outcome_name(Wsl__V1__TrainerOutcome outcome)
{
    return outcomes[outcome];
}

Wsl__V1__TrainerOutcome wsl_cluster_outcome_of_name(const char *word)
{
    for (size_t i = 0; i < OUTCOMES; i++)
        if (outcomes[i] && strcmp(outcomes[i], word) == 0)
            return (Wsl__V1__TrainerOutcome)i;
    return WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR;
}

/* How much an end explains. A lost peer is a consequence; so is nearly all that a rank says after
 * it was told to stop. */
static int severity_of(const struct rank *rank)
{
    switch (rank->outcome) {
    case WSL__V1__TRAINER_OUTCOME__FINISHED:
        return 0;
    case WSL__V1__TRAINER_OUTCOME__USER_ERROR:
        return 5;
    case WSL__V1__TRAINER_OUTCOME__STOPPED: /* by somebody on that machine */
        return rank->told ? 1 : 3;
    case WSL__V1__TRAINER_OUTCOME__PEER_LOST:
        return rank->told ? 1 : 2;
    default:
        return rank->told ? 1 : 4;
    }
}

/* Of the ends as weighty as this one on the same worker, which has one clock, the earliest: after a
 * broken session they are told in any order. If this one had not been told to stop when it ended,
 * nor had those that ended before it, whatever they have been told since. */
static uint32_t earliest_beside(const struct job *job, uint32_t cause)
{
    const struct node *node = job->ranks[cause].node;
    int severity = severity_of(&job->ranks[cause]);
    bool told = job->ranks[cause].told;

    if (!node || job->ranks[cause].exit_ms == 0)
        return cause;
    for (uint32_t i = 0; i < job->pb->n_ranks; i++) {
        struct rank r = job->ranks[i];

        r.told = r.told && told;
        if (r.node == node && severity_of(&r) == severity && r.exit_ms != 0 &&
            r.exit_ms < job->ranks[cause].exit_ms)
            cause = i;
    }
    return cause;
}

/* The weightiest end; of several the one heard of first, which need not be the first that was. */
static uint32_t cause_of(const struct job *job)
{
    uint32_t cause = 0;

    for (uint32_t i = 1; i < job->pb->n_ranks; i++) {
        const struct rank *a = &job->ranks[i], *b = &job->ranks[cause];

        if (severity_of(a) > severity_of(b) ||
            (severity_of(a) == severity_of(b) && a->order < b->order))
            cause = i;
    }
    return earliest_beside(job, cause);
}

static int64_t backoff(const struct wsl_cluster *c, uint32_t errors)
{
    int64_t wait = c->setup.backoff_ms;

    for (uint32_t i = 1; i < errors && wait < c->setup.backoff_max_ms; i++)
        wait *= 2;
    return wait < c->setup.backoff_max_ms ? wait : c->setup.backoff_max_ms;
}

static void recover(struct wsl_cluster *c, struct job *job, uint32_t cause, int64_t now)
{
    Wsl__V1__Job *pb = job->pb;
    bool user = job->ranks[cause].outcome == WSL__V1__TRAINER_OUTCOME__USER_ERROR;
    bool stopped = job->ranks[cause].outcome == WSL__V1__TRAINER_OUTCOME__STOPPED;
    uint32_t *errors = user ? &pb->user_errors : &pb->machine_errors;
    uint32_t allowed =
        user ? pb->spec->restart->max_user_errors : pb->spec->restart->max_machine_errors;
    char where[500];

    snprintf(where, sizeof where, "rank %u on %s: %.350s", cause, pb->ranks[cause]->node,
             pb->ranks[cause]->reason);
    /* Whoever takes a machine away may do so as often as they like: no error of anybody's. */
    if (!stopped && ++*errors > allowed) {
        if (allowed == 0)
            wsl_cluster_move_job(c, job, S(FAILED), now, "%s", where);
        else
            wsl_cluster_move_job(c, job, S(FAILED), now,
                                 "%s; %u restart%s without progress were allowed", where, allowed,
                                 allowed == 1 ? "" : "s");
        return;
    }
    pb->restarts++;
    job->retry_ms = now + backoff(c, *errors);
    if (pb->checkpoint[0])
        wsl_cluster_move_job(c, job, S(RECOVERING), now,
                             "%s; starts again from step %" PRIu64 " (restart %u)", where,
                             pb->checkpoint_step, pb->restarts);
    else
        wsl_cluster_move_job(
            c, job, S(RECOVERING), now,
            "%s; starts again from the beginning, there is no checkpoint yet (restart %u)", where,
            pb->restarts);
}

static void note_end(struct wsl_cluster *c, struct job *job, uint32_t rank,
                     Wsl__V1__TrainerOutcome outcome, const char *reason)
{
    Wsl__V1__RankPlacement *placement = job->pb->ranks[rank];
    struct rank *r = &job->ranks[rank];

    if ((unsigned)outcome >= OUTCOMES || !outcomes[outcome])
        outcome = WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR;
    r->state = RANK_ENDED;
    r->outcome = outcome;
    r->order = ++job->ended;
    r->node->ranks--;
    c->changed = true;
    wsl_cluster_set_text(&placement->phase,
                         outcome == WSL__V1__TRAINER_OUTCOME__FINISHED ? "finished" : "exited");
    wsl_cluster_set_text(&placement->outcome, wsl_cluster_outcome_name(outcome));
    wsl_cluster_set_textf(&placement->reason, "%.400s",
                          reason[0] ? reason : "ended without a reason");
    wsl_cluster_save_job(c, job);
}

/* "330 peer lost, 5 stopped": of all ranks but one. */
static void count_others(const struct job *job, uint32_t but, char *text, size_t size)
{
    size_t counts[OUTCOMES] = {0}, used = 0;

    text[0] = '\0';
    for (uint32_t i = 0; i < job->pb->n_ranks; i++)
        counts[job->ranks[i].outcome] += i != but;
    for (size_t o = 0; o < OUTCOMES; o++)
        if (counts[o] > 0 && outcomes[o] && used < size)
            used += (size_t)snprintf(text + used, size - used, "%s%zu %s", used ? ", " : "",
                                     counts[o], outcomes[o]);
}

/* One event for a whole generation: hundreds of ranks would drive all others out of the list. It does
 * not say who was first: ends are heard of in the order of sessions and of last metrics, and the
 * clocks of two machines differ. */
static void describe_ends(struct wsl_cluster *c, struct job *job, uint32_t cause, int64_t now)
{
    const Wsl__V1__Job *pb = job->pb;
    const Wsl__V1__RankPlacement *rank = pb->ranks[cause];
    bool finished = severity_of(&job->ranks[cause]) == 0;
    char others[150];

    if (pb->n_ranks == 1) {
        wsl_cluster_add_event(c, job, now, "trainers_exited",
                              "the trainer of generation %u on %s %s: %s", pb->generation,
                              rank->node, finished ? "finished" : "exited", rank->reason);
        return;
    }
    if (finished) {
        wsl_cluster_add_event(c, job, now, "trainers_exited",
                              "all %zu ranks of generation %u finished: %s", pb->n_ranks,
                              pb->generation, rank->reason);
        return;
    }
    count_others(job, cause, others, sizeof others);
    wsl_cluster_add_event(c, job, now, "trainers_exited",
                          "rank %u of generation %u on %s exited: %s; %zu more exited (%s)", cause,
                          pb->generation, rank->node, rank->reason, pb->n_ranks - 1, others);
}

static bool ended_without_a_score(const Wsl__V1__Job *pb)
{
    return pb->progress && pb->progress->evaluation && pb->progress->evaluation->not_finite;
}

void wsl_cluster_end_generation(struct wsl_cluster *c, struct job *job, int64_t now)
{
    uint32_t cause = cause_of(job);

    describe_ends(c, job, cause, now);
    if (severity_of(&job->ranks[cause]) == 0)
        wsl_cluster_move_job(
            c, job, S(SUCCEEDED), now, "trained to the end%s",
            ended_without_a_score(job->pb) ? ", but its last evaluation is not finite" : "");
    else if (job->pb->cancel_requested)
        wsl_cluster_move_job(c, job, S(CANCELLED), now, "all trainers have stopped");
    else
        recover(c, job, cause, now);
    wsl_cluster_close_generation(c, job);
}

/* One of several has ended: what does it mean for the others? */
static void share_fate(struct wsl_cluster *c, struct job *job, uint32_t rank, int64_t now)
{
    enum stop stop;
    char reason[TEXT_MAX];

    if (job->stop >= STOP_GRACEFUL)
        return;
    switch (job->ranks[rank].outcome) {
    case WSL__V1__TRAINER_OUTCOME__FINISHED:
        check_running(c, job, now);
        return;
    case WSL__V1__TRAINER_OUTCOME__PEER_LOST:
        /* The rank it lost is about to say why, or to be found dead. */
        if (job->stop == STOP_NONE)
            wsl_cluster_stop_ranks(c, job, STOP_WAIT, now);
        return;
    case WSL__V1__TRAINER_OUTCOME__STOPPED:
        /* Its machine is taken away. All ranks stopped after the same step, and rank 0 may be
         * writing the checkpoint of that step. */
        stop = STOP_GRACEFUL;
        break;
    default:
        stop = is_saving(job) ? STOP_GRACEFUL : STOP_KILL;
    }
    snprintf(reason, sizeof reason, "stopping the other trainers: rank %u on %s: %.350s", rank,
             job->pb->ranks[rank]->node, job->pb->ranks[rank]->reason);
    wsl_cluster_clean_text(reason);
    set_reason(job->pb, reason);
    wsl_cluster_stop_ranks(c, job, stop, now);
}

void wsl_cluster_end_rank(struct wsl_cluster *c, struct job *job, uint32_t rank,
                          Wsl__V1__TrainerOutcome outcome, const char *reason, int64_t now)
{
    if (job->ranks[rank].state == RANK_ENDED)
        return;
    note_end(c, job, rank, outcome, reason);
    if (wsl_cluster_is_live(job))
        share_fate(c, job, rank, now);
    else
        wsl_cluster_end_generation(c, job, now);
}
