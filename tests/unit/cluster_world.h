/* SPDX-License-Identifier: Apache-2.0
 *
 * A coordinator's state machine with a clock, a disk and sessions that a test plays: what was saved
 * is kept as bytes, what was sent is kept in order, and a restart restores from the bytes alone.
 */
#ifndef WSL_TESTS_UNIT_CLUSTER_WORLD_H
#define WSL_TESTS_UNIT_CLUSTER_WORLD_H

#include "daemon/coordinator/cluster/cluster.h"

struct sent {
    struct sent *next;
    char node[65];
    Wsl__V1__CoordinatorMessage *message;
};

struct saved {
    struct saved *next;
    uint64_t job, sequence; /* sequence 0: the job itself */
    size_t size;
    uint8_t *bytes;
};

struct saved_node {
    struct saved_node *next;
    char name[65];
    size_t size;
    uint8_t bytes[];
};

struct world {
    struct wsl_cluster *cluster;
    struct wsl_cluster_setup setup;
    int64_t now;
    struct sent *sent, **sent_last;
    struct saved *saved;
    struct saved_node *saved_nodes;
    const char *worker_id;          /* of the next hello; NULL: a worker older than ids */
    int64_t exit_ms;                /* of the next exit, by its worker's clock */
    size_t save_count, event_count; /* outputs of these kinds so far */
};

void world_open(struct world *w);
void world_close(struct world *w);

/* Carries out what the machine put out. Every function below does it before it returns. */
void world_drain(struct world *w);
/* kill -9 and start again: only what was saved is left. */
void world_restart(struct world *w);
void world_forget_sent(struct world *w);

/* ---- users ---- */

struct wanted { /* zeros: a job of one trainer that may not fail */
    const char *name;
    uint32_t world;
    uint32_t machine_errors, user_errors;
    const char *init_job, *init_checkpoint;
};
/* WSL_E... or 0. */
int world_try_submit(struct world *w, const struct wanted *wanted, uint64_t *ret_id,
                     struct wsl_err *err);
uint64_t world_submit(struct world *w, const struct wanted *wanted); /* and accept */
void world_cancel(struct world *w, uint64_t id);

/* ---- workers; `running`: trainers the hello tells of, "job/generation/rank" each, NULL at the
 * end;
 * "!" before it: ended ---- */

int world_try_hello(struct world *w, const char *node, uint32_t slots, const char *boot,
                    const char *const *running, struct wsl_err *err);
void world_hello(struct world *w, const char *node, uint32_t slots, const char *const *running);
void world_gone(struct world *w, const char *node);
void world_started(struct world *w, const char *node, uint64_t job, uint32_t generation,
                   uint32_t rank);
void world_phase(struct world *w, const char *node, uint64_t job, uint32_t generation,
                 uint32_t rank, const char *phase);
void world_exited(struct world *w, const char *node, uint64_t job, uint32_t generation,
                  uint32_t rank, Wsl__V1__TrainerOutcome outcome, const char *reason);
void world_checkpoint(struct world *w, const char *node, uint64_t job, uint32_t generation,
                      uint64_t step);
/* Of 1000 steps. */
void world_progress(struct world *w, const char *node, uint64_t job, uint32_t generation,
                    uint64_t step);
void world_note(struct world *w, const char *node, uint64_t job, uint32_t generation,
                const char *text);
void world_exchange(struct world *w, const char *node, uint64_t job, uint32_t generation,
                    uint32_t rank, uint32_t round, const char *blob);
/* Lets time pass in ticks of a second; all connected workers send heartbeats, or none. */
void world_pass(struct world *w, int64_t ms);
void world_pass_silent(struct world *w, int64_t ms);
void world_heartbeat(struct world *w, const char *node);

/* ---- looking ---- */

const Wsl__V1__Job *world_job(struct world *w, uint64_t id);
Wsl__V1__JobState world_state(struct world *w, uint64_t id);
const char *world_reason(struct world *w, uint64_t id); /* the whole of it */
size_t world_events_of(struct world *w, uint64_t id, const char *kind);

/* Takes the next message out; NULL: none. Freed by the caller with world_free_sent(). */
struct sent *world_take_sent(struct world *w);
void world_free_sent(struct sent *sent);
/* How many starts (or stops of a mode, or exchange results) for this trainer wait to be taken. */
size_t world_starts(struct world *w, const char *node, uint64_t job, uint32_t generation,
                    uint32_t rank);
size_t world_stops(struct world *w, const char *node, uint64_t job, uint32_t generation,
                   uint32_t rank, Wsl__V1__StopMode mode);
size_t world_answers(struct world *w, const char *node, uint64_t job, uint32_t generation,
                     uint32_t round);

#endif
