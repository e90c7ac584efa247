/* SPDX-License-Identifier: Apache-2.0
 *
 * The state machine's own data. Internal to cluster*.c.
 *
 * Who is where: every job is in `all` and `names`; one with a generation that has not ended also in
 * `live`. One that is queued (and accepted) or recovering is either in `line`, where it takes its
 * turn, or parked outside of it until what it waits for happens: in `too_big` until the cluster has
 * grown to its size, or with the job whose checkpoint it starts from until that one ends. So an
 * event costs what it changes, however long the queue is. A slot of a node is used by a rank that
 * has not ended, or by a orphan: a trainer that runs there and belongs to no current generation.
 *
 * Most jobs are queued or have ended and nobody looks at them: of these only struct job is in
 * memory, their record and events are in the store (cluster/records.c). wsl_cluster_find_job() reads them back.
 */
#ifndef WSL_DAEMON_COORDINATOR_CLUSTER_INTERNAL_H
#define WSL_DAEMON_COORDINATOR_CLUSTER_INTERNAL_H

#include "base/map.h"
#include "daemon/coordinator/cluster/cluster.h"

enum {
    EVENTS_MAX = 1000,
    WORLD_MAX = 4096,
    NODES_MAX = 4096,
    ORPHANS_MAX = 1024,       /* noted per node */
    PEER_WAIT_MS = 2000,      /* for the rank that another one lost to say why */
    DAMAGED_RETRY_MS = 1000,  /* until a record that could not be read is tried again */
    SAVING_EXTRA_MS = 600000, /* beyond the stop's grace time, for a checkpoint being written */
    HEARTBEATS_MISSED = 5,    /* then a worker is away */
    NODE_SAVE_MS = 300000,    /* how often it is saved when a connected worker was last seen */
    TEXT_MAX = 600,           /* bytes of a reason */
    SAME_NOTE_EVENTS = 32,    /* a note said among the newest so many is not repeated */
    NODE_NAME_SIZE = 64 + 1,  /* also of an instance */
};

#define ID_MAX ((1ull << 60) - 1) /* of a job */

enum rank_state { RANK_SENT, RANK_UP, RANK_ENDED }; /* SENT: a start is on its way */

struct rank {
    enum rank_state state;
    struct node *node;
    bool told;       /* to stop: how it ends explains nothing */
    uint32_t order;  /* in which its end was heard of, from 1 */
    int64_t exit_ms; /* by its worker's clock; 0: not known */
    Wsl__V1__TrainerOutcome outcome;
};

/* What the trainers of a generation were told. */
enum stop {
    STOP_NONE,
    STOP_WAIT, /* nothing yet: one has lost a peer, and the peer is about to be heard of */
    STOP_GRACEFUL,
    STOP_KILL,
};

/* Why a job has not started; told in words only when somebody looks. */
enum wait_kind {
    WAIT_NONE, /* the reason is the one of its last move */
    WAIT_SIZE, /* the cluster is too small */
    WAIT_SLOTS,
    WAIT_TURN, /* never stored: follows from the blocker */
    WAIT_INIT,
};

struct wait {
    enum wait_kind kind;
    uint32_t free, all, away, kept; /* slots: of WAIT_SIZE and WAIT_SLOTS */
    uint64_t job;                   /* the one it waits for: of WAIT_TURN and WAIT_INIT */
};

struct job {
    uint64_t id;       /* this and the next: as in the record, which may be in the store */
    uint64_t init_job; /* 0: none */
    Wsl__V1__JobState state;
    uint32_t world;
    struct wsl_map_entry name; /* in cluster.names; its hash is the name's */
    Wsl__V1__Job *pb;          /* the record: what is saved; NULL: only in the store */
    uint64_t version;
    uint64_t saved_turn; /* cluster.turn when a save of it was put out last */
    bool uncommitted;    /* its first save is not durable */
    bool in_line;
    bool damaged;           /* its record could not be read: pb stands in for it */
    bool events_read;       /* `events` has them all; else they are in the store */
    bool restored;          /* and not started since: waits_noted is not known */
    uint32_t unsaved;       /* outputs with its record or events that are not durable */
    uint32_t looks;         /* places in the ring of those looked at last */
    uint32_t dependents;    /* jobs that have not ended and start from its checkpoint */
    struct job *parked;     /* of these, the ones that wait for its end */
    struct job **park_link; /* its own place in such a list, or in too_big; NULL: not parked */
    struct job *park_next;
    struct rank *ranks; /* of the current generation, pb->n_ranks; NULL: it has ended */
    uint32_t ended;     /* of them */
    enum stop stop;
    struct round
        *rounds;      /* of the current generation's exchange (cluster/exchange.c); may be NULL */
    int64_t kill_ms;  /* of STOP_WAIT and STOP_GRACEFUL: when patience ends */
    int64_t retry_ms; /* not placed before */
    uint64_t start_step; /* of the generation: progress is a checkpoint beyond it */
    struct wait wait;
    unsigned waits_noted; /* bits of enum wait_kind: has an event */
    Wsl__V1__Event **events;
    size_t event_count, event_capacity;
    uint64_t next_event;
};

/* Jobs in the order of ids, for few. */
struct job_list {
    struct job **jobs;
    size_t count, capacity;
};

/* The same for many: removing leaves a hole (job NULL), which is closed later. */
struct job_index {
    struct job_slot {
        uint64_t id : 60, state : 4; /* the state only in `all` */
        struct job *job;
    } * slots;
    size_t first, end; /* those in use, holes included; the first one is no hole */
    size_t capacity;
    size_t count; /* jobs */
};

struct orphan {
    uint64_t job;
    uint32_t generation, rank;
};

struct node {
    Wsl__V1__Node *pb;
    char instance[NODE_NAME_SIZE]; /* empty: no Hello since the coordinator's start */
    bool connected;
    bool marked; /* scratch */
    int64_t heard_ms;
    int64_t lost_ms;  /* when its trainers count as lost; 0: it is connected, or they do */
    int64_t away_ms;  /* since when it is not connected */
    int64_t saved_ms; /* when its record was saved last */
    uint32_t ranks;   /* slots used by ranks */
    uint32_t free;    /* scratch of wsl_cluster_schedule() */
    struct orphan *orphans;
    size_t orphan_count, orphan_capacity;
};

struct wsl_cluster {
    struct wsl_cluster_setup setup;
    struct job_index all, line;
    struct job_list live;
    struct wsl_map names;
    size_t ended_count;
    struct job **too_big;   /* by world: parked jobs, WORLD_MAX + 1 lists */
    uint32_t slots;         /* of the cluster, at the last wsl_cluster_schedule() */
    uint64_t blocker;       /* the job in line that holds back all behind it; 0: none */
    struct job *released;   /* parked ones whose source has ended: to be looked at */
    struct look_ring *ring; /* ids of the jobs looked at last */
    struct node **nodes;    /* in the order of names */
    size_t node_count;
    uint64_t next_id;
    bool changed;             /* something a waiting job may wait for */
    int64_t last_schedule_ms; /* when wsl_cluster_schedule() looked last */
    int64_t
        next_schedule_ms; /* wsl_cluster_schedule() then, even when nothing changes; INT64_MAX: no need */
    int64_t settled_ms; /* until then workers may be coming back after the coordinator's restart */
    struct wsl_output *first;
    struct wsl_output **last;
    uint64_t turn; /* how often they were taken, from 1 */
};

/* cluster/data.c */
void *wsl_cluster_alloc(
    size_t size); /* zeroed; the coordinator cannot do without its small records:
                                  aborts when there is none */
/* Makes room for one more of `size` bytes in an array. */
void *wsl_cluster_grow(void *array, size_t count, size_t *capacity, size_t size);
void wsl_cluster_set_text(char **field, const char *text);
void wsl_cluster_set_textf(char **field, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* One line of valid UTF-8: what is not becomes '?'. Bytes from others, or cut at some length, go
 * through it: one bad byte makes a whole answer unreadable for most clients. */
void wsl_cluster_clean_text(char *text);
ProtobufCMessage *wsl_cluster_copy_message(const ProtobufCMessage *message);
struct job *wsl_cluster_add_job(struct wsl_cluster *c, uint64_t id, Wsl__V1__JobState state,
                                uint32_t world, uint64_t init_job, uint64_t name_hash);
/* An identity, for a job that has none yet; the caller saves it before a trainer hears of it. */
void wsl_cluster_give_identity(const struct wsl_cluster *c, struct job *job);
void wsl_cluster_drop_job(struct wsl_cluster *c, struct job *job);
void wsl_cluster_set_job_state(struct wsl_cluster *c, struct job *job, Wsl__V1__JobState to);
/* An empty generation of pb->n_ranks ranks: the job is live. */
void wsl_cluster_open_generation(struct wsl_cluster *c, struct job *job);
void wsl_cluster_close_generation(struct wsl_cluster *c, struct job *job);
void wsl_cluster_drop_placements(Wsl__V1__Job *pb);

/* cluster/index.c: finding and lists */
struct job *wsl_cluster_peek_job(const struct wsl_cluster *c,
                                 uint64_t id); /* its record may be in the store */
struct job *wsl_cluster_find_job(const struct wsl_cluster *c, uint64_t id); /* with its record */
/* Of the jobs with this name the newest one that is accepted; or, with `any`, the newest at all:
 * the only one that may not have ended. With its record. */
struct job *wsl_cluster_find_name(const struct wsl_cluster *c, const char *name, bool any);
void wsl_cluster_list_add(struct job_list *list, struct job *job);
void wsl_cluster_list_remove(struct job_list *list,
                             const struct job *job); /* fine when it is not in there */
void wsl_cluster_index_add(struct job_index *index, struct job *job);
void wsl_cluster_index_remove(struct job_index *index, const struct job *job); /* likewise */
/* The place in `slots` of the first job whose id is at least `id`; `end` when there is none. */
size_t wsl_cluster_index_seek(const struct job_index *index, uint64_t id);
/* Waits elsewhere than in line, in this list. */
void wsl_cluster_park_job(struct wsl_cluster *c, struct job *job, struct job **list);
void wsl_cluster_unpark_job(struct job *job); /* fine when it is not */

/* cluster/records.c: what is in memory of a job */
void wsl_cluster_need_record(const struct wsl_cluster *c, struct job *job);
void wsl_cluster_need_events(const struct wsl_cluster *c, struct job *job);
void wsl_cluster_note_look(const struct wsl_cluster *c, struct job *job); /* keep it for a while */
/* Its record and events, when the store has them as they are and nothing will change them soon. */
void wsl_cluster_rest_job(const struct wsl_cluster *c, struct job *job);
void wsl_cluster_forget_record(struct job *job);
struct look_ring *wsl_cluster_new_look_ring(void);

/* cluster/nodes.c */
struct node *wsl_cluster_find_node(const struct wsl_cluster *c, const char *name);
struct node *wsl_cluster_add_node(struct wsl_cluster *c, const char *name, int64_t now);
/* The one away longest of those nobody needs; false: there is none. */
bool wsl_cluster_forget_oldest_node(struct wsl_cluster *c);
void wsl_cluster_forget_node(struct wsl_cluster *c, struct node *node);
void wsl_cluster_forget_old_nodes(struct wsl_cluster *c,
                                  int64_t now); /* lost for longer than forget_ms */
void wsl_cluster_free_node(struct node *node);
void wsl_cluster_add_orphan(struct wsl_cluster *c, struct node *node,
                            const Wsl__V1__TrainerKey *key);
void wsl_cluster_remove_orphan(struct wsl_cluster *c, struct node *node,
                               const Wsl__V1__TrainerKey *key);
void wsl_cluster_drop_orphans(struct wsl_cluster *c, struct node *node);
uint32_t wsl_cluster_slots_of(const struct node *node);
uint32_t wsl_cluster_slots_used(const struct node *node);

/* cluster/output.c */
void wsl_cluster_save_job(struct wsl_cluster *c, struct job *job);
void wsl_cluster_add_event(struct wsl_cluster *c, struct job *job, int64_t now, const char *kind,
                           const char *format, ...) __attribute__((format(printf, 5, 6)));
void wsl_cluster_keep_event(struct job *job, Wsl__V1__Event *event);
void wsl_cluster_send_start(struct wsl_cluster *c, struct job *job, uint32_t rank);
void wsl_cluster_send_stop(struct wsl_cluster *c, const char *node, const Wsl__V1__TrainerKey *key,
                           Wsl__V1__StopMode mode, const char *reason);
void wsl_cluster_send_exchange(struct wsl_cluster *c, const char *node,
                               Wsl__V1__ExchangeResult *result); /* takes it */
void wsl_cluster_remove_saved(struct wsl_cluster *c, uint64_t id);
void wsl_cluster_save_node(struct wsl_cluster *c, struct node *node, int64_t now);
void wsl_cluster_remove_saved_node(struct wsl_cluster *c, const char *name);

/* cluster/exchange.c */
void wsl_cluster_forget_rounds(struct job *job);

/* cluster/workers.c */
/* The job whose current generation the key names, and that has this rank on this node; NULL: the
 * message is stale. */
struct job *wsl_cluster_current_job(const struct wsl_cluster *c, const struct node *node,
                                    const Wsl__V1__TrainerKey *key);

/* cluster/job.c: moves and ends */
void wsl_cluster_move_job(struct wsl_cluster *c, struct job *job, Wsl__V1__JobState to, int64_t now,
                          const char *format, ...) __attribute__((format(printf, 5, 6)));
bool wsl_cluster_is_live(const struct job *job); /* has a rank that has not ended */
void wsl_cluster_stop_ranks(struct wsl_cluster *c, struct job *job, enum stop stop, int64_t now);
/* Kills what was asked to stop and has not, when its time is over. */
void wsl_cluster_check_stop_deadline(struct wsl_cluster *c, struct job *job, int64_t now);
/* What the live ranks on this node were told, once more. */
void wsl_cluster_repeat_stops(struct wsl_cluster *c, struct job *job, const struct node *node);
void wsl_cluster_end_rank(struct wsl_cluster *c, struct job *job, uint32_t rank,
                          Wsl__V1__TrainerOutcome outcome, const char *reason, int64_t now);
/* All ranks have ended: decides what becomes of the job. */
void wsl_cluster_end_generation(struct wsl_cluster *c, struct job *job, int64_t now);
void wsl_cluster_rank_up(struct wsl_cluster *c, struct job *job, uint32_t rank,
                         const Wsl__V1__TrainerReport *report, int64_t now);
const char *wsl_cluster_outcome_name(Wsl__V1__TrainerOutcome outcome);
Wsl__V1__TrainerOutcome wsl_cluster_outcome_of_name(const char *word);

/* cluster/schedule.c */
void wsl_cluster_schedule(struct wsl_cluster *c, int64_t now); /* cheap when nothing has changed */
/* A job that is queued or recovering begins to wait: in line, or parked. */
void wsl_cluster_enqueue_job(struct wsl_cluster *c, struct job *job, int64_t now);
void wsl_cluster_leave_queue(struct wsl_cluster *c, struct job *job);
void wsl_cluster_describe_wait(const struct wsl_cluster *c, struct job *job);

/* cluster/users.c */
void wsl_cluster_trim_history(struct wsl_cluster *c);

#endif
