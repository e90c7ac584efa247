/* SPDX-License-Identifier: Apache-2.0
 *
 * The coordinator's decisions as a pure state machine: step(state, event, now) -> outputs. No loop,
 * no network, no disk, no clock, no randomness in here: the caller feeds what happened and carries
 * out what comes back, so a test can play a cluster of any size with a clock and a seed of its own.
 *
 * The caller's duties: outputs are carried out in order. Those marked (stored) only after the jobs
 * of that step and of all earlier ones are in the store (wsl_job_pack, events beyond
 * `stored_events`); the others at once. A coordinator that dies in between is fine: what was not
 * stored was not acted on.
 *
 *                 +-----------------------------------------------+
 *                 |                                               v
 *   QUEUED -> STARTING -> RUNNING <-> RECOVERING -> SUCCEEDED | FAILED | CANCELLED
 *
 * One thread. Out of memory ends the process (a coordinator that forgot half a decision would be
 * worse than one that starts again from its store).
 */
#ifndef WSL_DAEMON_COORDINATOR_MACHINE_H
#define WSL_DAEMON_COORDINATOR_MACHINE_H

#include "base/err.h"
#include "wsl/v1/agent.pb-c.h"
#include "wsl/v1/job.pb-c.h"
#include "wsl/v1/node.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WSL_NAME_SIZE = 65,
    WSL_REASON_MAX = 400,         /* bytes of a reason or an event's message */
    WSL_JOB_EVENTS_MAX = 1000,    /* newest kept of a job */
    WSL_NODES_MAX = 4096,         /* names ever seen since the start */
    WSL_NODE_TRAINERS_MAX = 4096, /* in one Hello */
    WSL_EXCHANGE_ROUNDS = 8,      /* kept of a generation, the oldest go first */
    WSL_EXCHANGE_BLOB = 64 << 10, /* bytes of one part */
    WSL_EXCHANGE_ALL = 960 << 10, /* of all parts of a round: an answer must fit one message */
};

struct wsl_machine_settings {
    uint32_t lost_ms;         /* without a heartbeat, then a worker counts as lost */
    uint32_t worker_grace_ms; /* for a lost worker to come back before its trainers count as dead */
    uint32_t cancel_grace_ms; /* from the request to stop to KILL */
    uint32_t peer_window_ms;  /* for the cause to show when a rank only says it lost a peer */
    uint32_t drain_ms;        /* for the last metrics of ended trainers to arrive */
    uint32_t backoff_ms, backoff_max_ms; /* before the first restart; doubled up to the second */
    uint32_t backfill_ms;    /* how long a waiting job may be overtaken by smaller ones */
    uint32_t start_again_ms; /* an unanswered start is repeated */
    uint32_t jobs_max;       /* that have not ended */
    uint32_t history_max;    /* that have ended and are kept */
};
extern const struct wsl_machine_settings wsl_machine_defaults;

struct wsl_now {
    uint64_t ms;     /* monotonic: deadlines */
    int64_t wall_ms; /* for people */
};

struct wsl_key {
    uint64_t job;
    uint32_t generation;
    uint32_t rank;
};

/* ---- what there is; read-only outside ---- */

struct wsl_node {
    char name[WSL_NAME_SIZE];
    char instance[WSL_NAME_SIZE];
    Wsl__V1__NodeFacts *facts; /* NULL: not seen since the coordinator's start */
    uint64_t session;          /* 0: lost */
    uint64_t heard_ms, lost_ms;
    uint64_t grace_until_ms; /* while lost; 0: its trainers have been given up */
    int64_t last_seen_wall_ms, joined_wall_ms;
    uint64_t memory_available;
    struct wsl_key *strays; /* trainers it runs that belong to no generation of now */
    size_t stray_count;
    uint32_t used; /* slots; as of the last step */
};

enum wsl_rank_state { WSL_RANK_ASSIGNED, WSL_RANK_STARTED, WSL_RANK_GONE };

struct wsl_rank {
    struct wsl_node *node;
    enum wsl_rank_state state;
    bool presumed; /* GONE, because its worker was lost for too long */
    bool seen;     /* in the Hello being read */
    Wsl__V1__TrainerOutcome outcome;
    int64_t pid;
    char phase[32];
    char *address;
    uint64_t metric_bytes, metric_have, log_bytes; /* final sizes, of GONE; stored so far */
    uint64_t gone_ms, asked_ms;
};

struct wsl_job_event {
    uint64_t sequence;
    int64_t time_ms;
    char *kind, *message;
};

struct wsl_exchange {
    uint32_t round;
    uint32_t have;
    size_t bytes;
    ProtobufCBinaryData *blobs; /* by rank; data NULL: not here yet */
};

enum wsl_cause { WSL_CAUSE_NONE, WSL_CAUSE_PEER, WSL_CAUSE_MACHINE, WSL_CAUSE_USER };

struct wsl_job {
    uint64_t id;
    Wsl__V1__JobSpec *spec; /* filled */
    Wsl__V1__JobState state;
    char reason[WSL_REASON_MAX];
    bool accepted; /* false: its first record is on the way to the store */
    bool cancel_requested;
    bool dirty;
    uint32_t generation;
    bool open; /* the generation has not been concluded */
    struct wsl_rank *ranks;
    uint32_t rank_count;
    int64_t submitted_ms, started_ms, ended_ms;
    uint32_t restarts;
    Wsl__V1__Progress *progress; /* NULL: none */
    char *checkpoint;            /* "" : none */
    char checkpoint_node[WSL_NAME_SIZE];
    uint64_t checkpoint_step;
    uint32_t machine_errors, user_errors, failures;
    uint64_t start_step;
    char *resume, *init;
    uint64_t init_job;
    enum wsl_cause cause;
    char cause_text[WSL_REASON_MAX];
    char avoid[WSL_NAME_SIZE];
    Wsl__V1__StopMode stop; /* asked of all ranks; 0: none */
    uint64_t kill_at_ms;    /* when it becomes KILL; 0: never */
    uint64_t retry_at_ms;   /* RECOVERING and not open: not before */
    uint64_t blocked_ms;    /* since when others could overtake it; 0: not blocked */
    struct wsl_exchange exchanges[WSL_EXCHANGE_ROUNDS];
    int exchange_count;
    struct wsl_job_event *events; /* in order */
    size_t event_count;
    uint64_t next_event;
    uint64_t stored_events; /* the caller's: events up to this sequence are in the store */
    void *shell;            /* the caller's */
};

struct wsl_machine {
    struct wsl_machine_settings settings;
    struct wsl_job **jobs; /* in the order of ids */
    size_t job_count, job_room;
    struct wsl_node **nodes;
    size_t node_count;
    size_t live_count; /* jobs that have not ended */
    uint64_t next_id;
    bool want_schedule;
    bool ending; /* a job ended in this step: history may be over its limit */
};

/* ---- events ---- */

enum wsl_event_kind {
    WSL_EVENT_SUBMIT,    /* spec: checked and filled, taken. Gives ACCEPTED or REFUSED */
    WSL_EVENT_STORED,    /* job's first record is in the store (ok) or could not be (!ok) */
    WSL_EVENT_CANCEL,    /* job, text */
    WSL_EVENT_HELLO,     /* session, hello */
    WSL_EVENT_HEARTBEAT, /* session, memory */
    WSL_EVENT_CLOSED,    /* session */
    WSL_EVENT_TRAINER,   /* session, report */
    WSL_EVENT_PART,      /* session, part */
    WSL_EVENT_METRIC, /* key, metric, bytes: of a stored metric file, which is read up to there */
    WSL_EVENT_DELIVERED, /* key, bytes: likewise, and nothing of use was in between */
    WSL_EVENT_TICK,      /* time passes; some times a second */
};

struct wsl_event {
    enum wsl_event_kind kind;
    uint64_t session;
    uint64_t job;
    bool ok;
    const char *text;
    uint64_t memory, bytes;
    struct wsl_key key;
    Wsl__V1__JobSpec *spec;
    const Wsl__V1__Hello *hello;
    const Wsl__V1__TrainerReport *report;
    const Wsl__V1__ExchangePart *part;
    const Wsl__V1__TrainerMetric *metric;
};

/* ---- outputs ---- */

enum wsl_output_kind {
    WSL_OUT_ACCEPTED,    /* (stored) job; its STORED event is due */
    WSL_OUT_REFUSED,     /* code, text: the submission */
    WSL_OUT_SAVE,        /* job changed: store it. Once per step */
    WSL_OUT_REMOVED,     /* job is forgotten: remove it from the store; the pointer is gone */
    WSL_OUT_WELCOME,     /* session: answer its Hello */
    WSL_OUT_END_SESSION, /* session, code, text: refuse it or end it */
    WSL_OUT_START,       /* (stored) session, key; skip it when the job has another generation */
    WSL_OUT_STOP,        /* (stored) session, key, mode, text */
    WSL_OUT_EXIT_ACK,    /* (stored) session, key: its end is recorded */
    WSL_OUT_FORGET,      /* (stored) session, key */
    WSL_OUT_EXCHANGE,    /* session, key.job, key.generation, round */
};

struct wsl_output {
    enum wsl_output_kind kind;
    uint64_t session;
    uint64_t job;
    struct wsl_key key;
    uint32_t round;
    Wsl__V1__StopMode mode;
    int code;
    char text[200];
};

struct wsl_outputs {
    struct wsl_output *items;
    size_t count, room;
};
void wsl_outputs_clear(struct wsl_outputs *out);
void wsl_outputs_free(struct wsl_outputs *out);

/* ---- use ---- */

struct wsl_machine *wsl_machine_new(const struct wsl_machine_settings *settings);
void wsl_machine_free(struct wsl_machine *machine);

/* Adds to *out. */
void wsl_machine_step(struct wsl_machine *machine, const struct wsl_event *event,
                      struct wsl_now now, struct wsl_outputs *out);

/* Jobs and events of the store, in order, before the first step; then start. */
int wsl_machine_load_job(struct wsl_machine *machine, uint64_t id, const uint8_t *bytes,
                         size_t size, struct wsl_err *err);
int wsl_machine_load_event(struct wsl_machine *machine, uint64_t job, const Wsl__V1__Event *event);
/* Workers of running jobs get the grace time to come back from now on. */
void wsl_machine_start(struct wsl_machine *machine, struct wsl_now now);

struct wsl_job *wsl_machine_find(const struct wsl_machine *machine, uint64_t id); /* NULL: none */
/* A decimal id, or a name (the newest job of that name). */
struct wsl_job *wsl_machine_look_up(const struct wsl_machine *machine, const char *word);
const struct wsl_node *wsl_machine_node(const struct wsl_machine *machine, const char *name);
const struct wsl_node *wsl_machine_session(const struct wsl_machine *machine, uint64_t session);

bool wsl_job_ended(const struct wsl_job *job);
bool wsl_job_move_allowed(Wsl__V1__JobState from, Wsl__V1__JobState to);
/* The record: a packed wsl.coordinator.StoredJob, malloc'd. */
uint8_t *wsl_job_pack(const struct wsl_job *job, size_t *ret_size);
const struct wsl_exchange *wsl_job_exchange(const struct wsl_job *job, uint32_t round);

/* Why this job could not start now: one line; "" when it could. */
void wsl_machine_explain(const struct wsl_machine *machine, const Wsl__V1__JobSpec *spec,
                         char ret_text[WSL_REASON_MAX]);
/* Refuses what a SUBMIT would refuse: 0 or a failure. */
int wsl_machine_check_submit(const struct wsl_machine *machine, const Wsl__V1__JobSpec *spec,
                             struct wsl_err *err);

#endif
