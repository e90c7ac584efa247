/* SPDX-License-Identifier: Apache-2.0
 *
 * The simulated cluster of sim_coordinator.c: a store that is a table, workers and trainers that
 * are structs, all with one clock and one seed.
 */
#ifndef WSL_TESTS_FAULT_SIM_CLUSTER_H
#define WSL_TESTS_FAULT_SIM_CLUSTER_H

#include "base/rng.h"
#include "daemon/coordinator/cluster/cluster.h"

enum {
    WORKERS = 5,
    JOBS_MAX = 64,
    TRAINERS_MAX = 4096,
    INBOX_MAX = 256,
    STEPS_TO_DO = 150,
    CHECKPOINT_EVERY = 20,
    GRACE_MS = 10000,
    FAULTY_MS = 200000,
    QUIET_MS = 4000000,
    SAVING_MS = 20000, /* longer than the stop's grace time */
};

struct trainer {
    struct trainer *next;
    Wsl__V1__TrainerKey key;
    uint32_t world;
    bool exchanged; /* knows its peers */
    bool ended;
    bool recorded; /* its end is in the store */
    bool excused;  /* its worker was out of reach for too long */
    bool deaf;     /* does not stop by itself */
    Wsl__V1__TrainerOutcome outcome;
    bool saving; /* rank 0: writes the checkpoint of the step at which all stopped */
    bool agreed; /* all ranks stop in the same step */
    int64_t stop_at, peer_lost_at; /* 0: no */
    uint32_t metric_due;           /* rank 0: a checkpoint of this step is not yet delivered */
    uint32_t step;
};

struct worker {
    char name[16];
    uint32_t slots;
    uint32_t boot, instance;
    bool connected;
    int64_t away_since, back_at;
    struct trainer *trainers;
    Wsl__V1__CoordinatorMessage *inbox[INBOX_MAX];
    int inbox_count;
};

/* What a simulated disk holds of a job, and what is known of it for the checks. */
struct record {
    uint8_t *bytes;
    size_t size;
    bool accepted;
    Wsl__V1__JobState ended; /* as stored; 0: not */
    uint32_t finished_generation;
    uint32_t spoiled_generation; /* the newest of which something else than SIGTERM happened to */
    uint32_t saved_generation, saved_step; /* the newest that stopped as a whole, and where */
};

struct sim {
    uint64_t seed;
    struct wsl_rng rng;
    int64_t now;
    bool faults;
    struct wsl_cluster *cluster;
    struct worker workers[WORKERS];
    struct record jobs[JOBS_MAX];
    uint64_t job_count;
    uint64_t restarts, generations, kills, terms;
};

/* Says what is wrong and how to see it again, and exits. */
void broken(const struct sim *s, const char *what, uint64_t job);

bool chance(struct sim *s, double p);
uint32_t below(struct sim *s, uint32_t n);

/* ---- the coordinator ---- */

/* From what is stored. */
void open_cluster(struct sim *s);
/* kill -9 and a new one; all sessions are gone. */
void crash(struct sim *s);
/* As the driver does: store, then send; a crash may come before either. False: it did. */
bool carry_out(struct sim *s);

/* ---- workers and trainers ---- */

void lose_session(struct sim *s, struct worker *w, bool tell);
void connect_worker(struct sim *s, struct worker *w);
void on_message(struct sim *s, struct worker *w, const Wsl__V1__CoordinatorMessage *m);
void forget_recorded(struct worker *w);

/* One turn of a trainer's life. */
void live(struct sim *s, struct worker *w, struct trainer *t);
void end_trainer(struct sim *s, struct worker *w, struct trainer *t,
                 Wsl__V1__TrainerOutcome outcome);
/* SIGTERM, or a graceful stop: a generation that trains stops as a whole, after a step. */
void ask_to_stop(struct sim *s, struct trainer *one);
/* Its generation may lose steps. */
void spoil(struct sim *s, const struct trainer *t);

#endif
