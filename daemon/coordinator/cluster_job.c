/* SPDX-License-Identifier: Apache-2.0
 *
 * A job's moves, and what the end of a rank leads to.
 */
#include "daemon/coordinator/internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
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

const char *wsl_cluster_state_word(Wsl__V1__JobState state)
{
    return (unsigned)state < sizeof states / sizeof *states && states[state].word
               ? states[state].word
               : "unknown";
}

bool wsl_cluster_ended(Wsl__V1__JobState state)
{
    return state == S(SUCCEEDED) || state == S(FAILED) || state == S(CANCELLED);
}

void move_job(struct wsl_cluster *c, struct job *job, Wsl__V1__JobState to, int64_t now,
              const char *format, ...)
{
    Wsl__V1__Job *pb = job->pb;
    char reason[600];
    va_list args;

    assert(states[pb->state].next & 1u << to);
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    add_event(c, job, now, "state", "%s -> %s: %s", states[pb->state].word, states[to].word,
              reason);
    pb->state = to;
    set_text(&pb->reason, reason);
    if (to == S(RUNNING) && pb->started_ms == 0)
        pb->started_ms = now;
    if (wsl_cluster_ended(to))
        pb->ended_ms = now;
    save_job(c, job);
}

bool is_live(const struct job *job)
{
    for (size_t i = 0; job->ranks && i < job->pb->n_ranks; i++)
        if (job->ranks[i].state != RANK_ENDED)
            return true;
    return false;
}

void stop_ranks(struct wsl_cluster *c, struct job *job, Wsl__V1__StopMode mode, const char *reason,
                int64_t now)
{
    for (size_t i = 0; job->ranks && i < job->pb->n_ranks; i++) {
        Wsl__V1__TrainerKey key = WSL__V1__TRAINER_KEY__INIT;

        if (job->ranks[i].state == RANK_ENDED)
            continue;
        key.job = job->pb->id;
        key.generation = job->pb->generation;
        key.rank = (uint32_t)i;
        send_stop(c, job->pb->ranks[i]->node, &key, mode, reason);
    }
    job->stopping = true;
    job->kill_ms = mode == WSL__V1__STOP_MODE__GRACEFUL ? now + c->setup.stop_grace_ms : 0;
}

void rank_up(struct wsl_cluster *c, struct job *job, uint32_t rank,
             const Wsl__V1__TrainerReport *report, int64_t now)
{
    Wsl__V1__RankPlacement *placement = job->pb->ranks[rank];
    bool news = job->ranks[rank].state == RANK_SENT || strcmp(placement->phase, report->phase) != 0;

    job->ranks[rank].state = RANK_UP;
    placement->pid = report->pid;
    set_text(&placement->phase, report->phase);
    job->version += news;
    if (job->pb->state != S(STARTING))
        return;
    for (size_t i = 0; i < job->pb->n_ranks; i++)
        if (job->ranks[i].state != RANK_UP)
            return;
    if (job->pb->checkpoint[0])
        move_job(c, job, S(RUNNING), now,
                 "all %zu trainers of generation %u are up, from the checkpoint at step %" PRIu64,
                 job->pb->n_ranks, job->pb->generation, job->pb->checkpoint_step);
    else
        move_job(c, job, S(RUNNING), now, "all %zu trainers of generation %u are up",
                 job->pb->n_ranks, job->pb->generation);
}

/* ---- ends ---- */

/* How much an outcome explains: a lost peer is a consequence, a stop nobody asked for nearly one.
 */
static int weight_of(Wsl__V1__TrainerOutcome outcome)
{
    switch (outcome) {
    case WSL__V1__TRAINER_OUTCOME__USER_ERROR:
        return 4;
    case WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR:
        return 3;
    case WSL__V1__TRAINER_OUTCOME__PEER_LOST:
        return 2;
    case WSL__V1__TRAINER_OUTCOME__STOPPED:
        return 1;
    default:
        return 0;
    }
}

static uint32_t cause_of(const struct job *job)
{
    uint32_t cause = 0;

    for (uint32_t i = 1; i < job->pb->n_ranks; i++)
        if (weight_of(job->ranks[i].outcome) > weight_of(job->ranks[cause].outcome))
            cause = i;
    return cause;
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
    const struct rank *rank = &job->ranks[cause];
    bool user = rank->outcome == WSL__V1__TRAINER_OUTCOME__USER_ERROR;
    uint32_t *errors = user ? &job->user_errors : &job->machine_errors;
    uint32_t allowed =
        user ? job->pb->spec->restart->max_user_errors : job->pb->spec->restart->max_machine_errors;
    char where[500];

    snprintf(where, sizeof where, "rank %u on %s: %.350s", cause, job->pb->ranks[cause]->node,
             rank->reason);
    if (++*errors > allowed) {
        if (allowed == 0)
            move_job(c, job, S(FAILED), now, "%s", where);
        else
            move_job(c, job, S(FAILED), now, "%s; %u restarts without progress were allowed", where,
                     allowed);
        return;
    }
    job->pb->restarts++;
    job->retry_ms = now + backoff(c, *errors);
    if (job->pb->checkpoint[0])
        move_job(c, job, S(RECOVERING), now, "%s; starts again from step %" PRIu64 " (restart %u)",
                 where, job->pb->checkpoint_step, job->pb->restarts);
    else
        move_job(c, job, S(RECOVERING), now,
                 "%s; starts again from the beginning, there is no checkpoint yet (restart %u)",
                 where, job->pb->restarts);
}

/* All ranks are gone: what now? */
void end_generation(struct wsl_cluster *c, struct job *job, int64_t now)
{
    uint32_t cause = cause_of(job);
    bool finished = weight_of(job->ranks[cause].outcome) == 0;

    job->stopping = false;
    job->kill_ms = 0;
    if (finished)
        move_job(c, job, S(SUCCEEDED), now, "trained to the end");
    else if (job->pb->cancel_requested)
        move_job(c, job, S(CANCELLED), now, "all trainers have stopped");
    else
        recover(c, job, cause, now);
    clear_ranks(job);
}

void end_rank(struct wsl_cluster *c, struct job *job, uint32_t rank,
              Wsl__V1__TrainerOutcome outcome, const char *reason, int64_t now)
{
    struct rank *r = &job->ranks[rank];

    if (r->state == RANK_ENDED)
        return;
    r->state = RANK_ENDED;
    r->outcome = outcome;
    snprintf(r->reason, sizeof r->reason, "%s", reason[0] ? reason : "ended without a reason");
    set_text(&job->pb->ranks[rank]->phase,
             outcome == WSL__V1__TRAINER_OUTCOME__FINISHED ? "finished" : "exited");
    add_event(c, job, now, "trainer_exited", "rank %u of generation %u on %s: %s", rank,
              job->pb->generation, job->pb->ranks[rank]->node, r->reason);
    save_job(c, job);
    if (!is_live(job)) {
        end_generation(c, job, now);
        return;
    }
    if (outcome == WSL__V1__TRAINER_OUTCOME__FINISHED || (job->stopping && job->kill_ms == 0))
        return;
    if (outcome == WSL__V1__TRAINER_OUTCOME__PEER_LOST) {
        /* The rank it lost is about to say why, or to be found dead: leave it a moment. */
        if (!job->stopping) {
            job->stopping = true;
            job->kill_ms = now + 2000;
        }
        return;
    }
    if (!job->pb->cancel_requested)
        stop_ranks(c, job, WSL__V1__STOP_MODE__KILL, "another rank has ended", now);
}
