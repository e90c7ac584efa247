/* SPDX-License-Identifier: Apache-2.0
 *
 * What the coordinator knows and decides, as a pure state machine: no clock, no network, no disk,
 * no randomness. Each entry point is one event at time `now_ms`; what follows from it is put in the
 * list of outputs, in order, and whoever drives the machine writes the saves to the store before it
 * sends the messages that come after them.
 *
 *   submit -> QUEUED -> STARTING -> RUNNING -> SUCCEEDED   (all ranks finished)
 *                         ^   \       /
 *                         |    v     v   a rank ended badly, and all others are gone
 *                         +-- RECOVERING -> FAILED          (no restart left)
 *
 * and from each of the first four to CANCELLED, once no trainer is left; to FAILED from QUEUED when
 * the job that `init` names gives no checkpoint. The table of moves is in cluster/job.c.
 *
 * A membership of a job is a numbered generation, made here alone; what comes from older ones is
 * stored, never acted on, and a trainer of one that still runs is told to stop and counts as using
 * its slot until it has. When a rank ends badly all others of its generation are stopped (fate
 * sharing), and the next generation starts from the newest checkpoint once all are gone. After a
 * crash they are killed. After a rank that was stopped from outside (SIGTERM) they are asked to
 * stop: all did so after the same step, and rank 0 has time to write the checkpoint of it.
 *
 * Scheduling is first come, first served over whole worlds ("gang"): a job starts when all its
 * ranks fit at once. A job that waits for slots in use holds back those behind it, so it cannot
 * starve; for one that waits for its back-off, slots are kept; one that the cluster is too small
 * for, or that waits for another job, holds nobody back (but for the first moments after a restart,
 * when the cluster looks small until its workers are back).
 *
 * Single-threaded; no function blocks. Times are milliseconds of any one clock that does not jump
 * back.
 */
#ifndef WSL_DAEMON_COORDINATOR_CLUSTER_CLUSTER_H
#define WSL_DAEMON_COORDINATOR_CLUSTER_CLUSTER_H

#include "base/err.h"
#include "wsl/v1/agent.pb-c.h"
#include "wsl/v1/job.pb-c.h"
#include "wsl/v1/node.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- outputs ---- */

enum wsl_output_kind {
    WSL_OUTPUT_SAVE_JOB,   /* the job's present form; once in a list */
    WSL_OUTPUT_SAVE_EVENT, /* one event of a job */
    WSL_OUTPUT_REMOVE_JOB, /* history beyond its limit */
    WSL_OUTPUT_SAVE_NODE,  /* what is known of a worker, in its present form */
    WSL_OUTPUT_REMOVE_NODE,
    WSL_OUTPUT_SEND, /* a message for a node's session; dropped when it has none (a new Hello mends
                        it) */
};

struct wsl_output {
    struct wsl_output *next;
    enum wsl_output_kind kind;
    uint64_t job;
    Wsl__V1__Event *event;                /* SAVE_EVENT; owned */
    char node[65];                        /* SEND, SAVE_NODE, REMOVE_NODE */
    Wsl__V1__CoordinatorMessage *message; /* SEND; owned */
};

void wsl_output_free(struct wsl_output *output);

/* ---- settings ---- */

/* Where the records are that are not kept in memory: of queued and ended jobs, once
 * wsl_cluster_saved() said that their newest form is durable. Without `job` all stay in memory. */
struct wsl_cluster_records {
    void *context;
    /* As last saved, owned by the caller; NULL: it cannot be read. */
    Wsl__V1__Job *(*job)(void *context, uint64_t id);
    /* Calls `each` with every event of the job in order, which takes it. */
    void (*events)(void *context, uint64_t id, void (*each)(void *to, Wsl__V1__Event *event),
                   void *to);
};

struct wsl_cluster_setup {
    struct wsl_cluster_records records;
    uint32_t worker_grace_ms; /* how long a worker may be away before its trainers count as lost */
    uint32_t stop_grace_ms;   /* from a graceful stop to a kill */
    uint32_t backoff_ms;      /* before the first restart; doubles with each error in a row */
    uint32_t backoff_max_ms;
    uint32_t heartbeat_ms; /* a worker is away after five missed ones */
    uint64_t forget_ms;    /* how long a lost worker stays in the list */
    uint32_t queue_max;    /* jobs that have not ended */
    uint32_t history_max;  /* jobs that have */
    uint64_t random[2];    /* drawn anew at each start: identities of jobs come from it */
};

struct wsl_cluster;

int wsl_cluster_open(struct wsl_cluster **ret, const struct wsl_cluster_setup *setup,
                     struct wsl_err *err);
void wsl_cluster_close(struct wsl_cluster *cluster); /* NULL is fine */

/* Asserts what always holds between two calls. Takes time for every job: for tests, after each
 * event. */
void wsl_cluster_check(const struct wsl_cluster *cluster);

/* The outputs since the last call, oldest first; each freed by the caller. */
struct wsl_output *wsl_cluster_take_outputs(struct wsl_cluster *cluster);

/* ---- events: users ---- */

/* Queues a job; `spec` is checked and filled already and is copied. The job is not scheduled until
 * wsl_cluster_accept() says that its save is durable. WSL_EEXIST: a job of that name has not ended.
 * WSL_ELIMIT: the queue is full. WSL_EINVAL: spec.init names no known job. The job that spec.init
 * names is the newest of that name now, whatever is submitted later, and stays in the history as
 * long as it is needed. */
int wsl_cluster_submit(struct wsl_cluster *cluster, const Wsl__V1__JobSpec *spec, int64_t now_ms,
                       uint64_t *ret_id, struct wsl_err *err);
/* The same checks, and nothing else. */
int wsl_cluster_check_submit(const struct wsl_cluster *cluster, const Wsl__V1__JobSpec *spec,
                             struct wsl_err *err);
void wsl_cluster_accept(struct wsl_cluster *cluster, uint64_t id, int64_t now_ms);
void wsl_cluster_withdraw(struct wsl_cluster *cluster,
                          uint64_t id); /* its save failed: it never was */

/* WSL_ENOENT. WSL_EIO: its record cannot be read. Cancelling what has ended is fine and changes
 * nothing. */
int wsl_cluster_cancel(struct wsl_cluster *cluster, uint64_t id, const char *reason, int64_t now_ms,
                       struct wsl_err *err);

/* Forgets a lost worker; trainers that it may still run count as lost. WSL_ENOENT. WSL_ESTATE: it
 * is connected. */
int wsl_cluster_remove_node(struct wsl_cluster *cluster, const char *node, int64_t now_ms,
                            struct wsl_err *err);

/* ---- events: workers ---- */

/* A session begins; ends among the reports of the hello are not taken from it but come by
 * wsl_cluster_trainer(). A worker with the id of the one that is connected under its name takes that
 * one's place, as does any once that one is lost and no trainers of it are waited for. WSL_EEXIST:
 * another one has that name. WSL_EINVAL: a field is missing or too long. */
int wsl_cluster_hello(struct wsl_cluster *cluster, const Wsl__V1__Hello *hello, int64_t now_ms,
                      struct wsl_err *err);
/* The session ended, or its heartbeats did. Should they come again without a new session, it is
 * back. */
void wsl_cluster_gone(struct wsl_cluster *cluster, const char *node, const char *reason,
                      int64_t now_ms);
void wsl_cluster_heartbeat(struct wsl_cluster *cluster, const char *node, uint64_t memory_available,
                           int64_t now_ms);
void wsl_cluster_trainer(struct wsl_cluster *cluster, const char *node,
                         const Wsl__V1__TrainerReport *report, int64_t now_ms);
void wsl_cluster_exchange(struct wsl_cluster *cluster, const char *node,
                          const Wsl__V1__ExchangePart *part, int64_t now_ms);
void wsl_cluster_metric(struct wsl_cluster *cluster, const char *node,
                        const Wsl__V1__TrainerKey *key, const Wsl__V1__TrainerMetric *metric,
                        int64_t now_ms);

/* ---- events: the store ---- */

/* One SAVE_JOB or SAVE_EVENT output for this job is durable, or was given up with the job. */
void wsl_cluster_saved(struct wsl_cluster *cluster, uint64_t id);
/* The driver saves the record on its own account; a wsl_cluster_saved() follows. */
void wsl_cluster_saving(struct wsl_cluster *cluster, uint64_t id);

/* ---- events: time and restart ---- */

/* To be called at least every second: deadlines, back-offs. */
void wsl_cluster_tick(struct wsl_cluster *cluster, int64_t now_ms);

/* What the store holds, before anything else: each job in the order of ids, then the end. Jobs that
 * ran are taken to run still; their workers have the grace time to come back and say so. Events are
 * read from `records` when they are needed. The record is taken; WSL_ECORRUPT: no such job can be.
 */
int wsl_cluster_restore_job(struct wsl_cluster *cluster, Wsl__V1__Job *job);
/* The same for a queued or ended job whose record stays where `records` reads it. */
struct wsl_cluster_summary {
    uint64_t id;
    Wsl__V1__JobState state;
    uint32_t world;
    uint64_t init_job;
    char name[65];
};
int wsl_cluster_restore_summary(struct wsl_cluster *cluster,
                                const struct wsl_cluster_summary *summary);
/* And each worker, before the jobs; the record is taken. Lost until its Hello. */
int wsl_cluster_restore_node(struct wsl_cluster *cluster, Wsl__V1__Node *node);
void wsl_cluster_restored(struct wsl_cluster *cluster, int64_t now_ms);

/* ---- looking ---- */

/* The job of an id in decimal or a name (the newest of that name); NULL: none. This and the next
 * two: valid until the next event, or until 4096 other jobs were looked at. */
const Wsl__V1__Job *wsl_cluster_find(const struct wsl_cluster *cluster, const char *id_or_name);
/* By id, also one that is not accepted yet. */
const Wsl__V1__Job *wsl_cluster_job(const struct wsl_cluster *cluster, uint64_t id);

size_t wsl_cluster_job_count(const struct wsl_cluster *cluster);
/* The newest job below this id whose state is in the set (bits 1 << state; 0: all); NULL: none.
 * From UINT64_MAX on, each with the id of the one before, it gives all that are accepted. */
const Wsl__V1__Job *wsl_cluster_job_before(const struct wsl_cluster *cluster, uint64_t id,
                                           unsigned states);
const Wsl__V1__Event *const *wsl_cluster_events(const struct wsl_cluster *cluster, uint64_t id,
                                                size_t *ret_count);
/* Grows with every change of the job that a watcher should see. */
uint64_t wsl_cluster_version(const struct wsl_cluster *cluster, uint64_t id);

/* Nodes in the order of their names, `jobs` and `wsl_cluster_slots_used` filled in; valid until the next event
 * or look at the same node. */
size_t wsl_cluster_node_count(const struct wsl_cluster *cluster);
const Wsl__V1__Node *wsl_cluster_node_at(struct wsl_cluster *cluster, size_t index);
const Wsl__V1__Node *wsl_cluster_node(struct wsl_cluster *cluster, const char *name);

bool wsl_cluster_ended(Wsl__V1__JobState state);
const char *wsl_cluster_state_name(Wsl__V1__JobState state); /* "queued"; static */

#endif
