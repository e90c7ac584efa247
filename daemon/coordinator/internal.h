/* SPDX-License-Identifier: Apache-2.0
 *
 * The state machine's own data. Internal to cluster*.c.
 *
 * Who is where: every job is in `all` and `names`; one with a generation that has not ended also in
 * `live`. One that is queued (and accepted) or recovering is either in `line`, where it takes its
 * turn, or parked outside of it until what it waits for happens: in `too_big` until the cluster has
 * grown to its size, or with the job whose checkpoint it starts from until that one ends. So an
 * event costs what it changes, however long the queue is. A slot of a node is used by a rank that
 * has not ended, or by a stray: a trainer that runs there and belongs to no current generation.
 *
 * Most jobs are queued or have ended and nobody looks at them: of these only struct job is in
 * memory, their record and events are in the store (cluster_records.c). find_job() reads them back.
 */
#ifndef WSL_DAEMON_COORDINATOR_INTERNAL_H
#define WSL_DAEMON_COORDINATOR_INTERNAL_H

#include "base/map.h"
#include "daemon/coordinator/cluster.h"

enum {
    EVENTS_MAX = 1000,
    WORLD_MAX = 4096,
    NODES_MAX = 4096,
    STRAYS_MAX = 1024,        /* noted per node */
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
    bool told;      /* to stop: how it ends explains nothing */
    uint32_t order; /* of its end among the ranks, from 1 */
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
        *rounds;      /* of the current generation's exchange (cluster_exchange.c); may be NULL */
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

struct stray {
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
    uint32_t free;    /* scratch of schedule() */
    struct stray *strays;
    size_t stray_count, stray_capacity;
};

struct wsl_cluster {
    struct wsl_cluster_setup setup;
    struct job_index all, line;
    struct job_list live;
    struct wsl_map names;
    size_t ended_count;
    struct job **too_big;   /* by world: parked jobs, WORLD_MAX + 1 lists */
    uint32_t slots;         /* of the cluster, at the last schedule() */
    uint64_t blocker;       /* the job in line that holds back all behind it; 0: none */
    struct job *released;   /* parked ones whose source has ended: to be looked at */
    struct look_ring *ring; /* ids of the jobs looked at last */
    struct node **nodes;    /* in the order of names */
    size_t node_count;
    uint64_t next_id;
    bool changed;       /* something a waiting job may wait for */
    int64_t looked_ms;  /* when schedule() looked last */
    int64_t look_ms;    /* schedule() then, even when nothing changes; INT64_MAX: no need */
    int64_t settled_ms; /* until then workers may be coming back after the coordinator's restart */
    struct wsl_output *first;
    struct wsl_output **last;
    uint64_t turn; /* how often they were taken, from 1 */
};

/* cluster_data.c */
void *must_alloc(size_t size); /* zeroed; the coordinator cannot do without its small records:
                                  aborts when there is none */
/* Makes room for one more of `size` bytes in an array. */
void *must_grow(void *array, size_t count, size_t *capacity, size_t size);
void set_text(char **field, const char *text);
void set_textf(char **field, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One line of valid UTF-8: what is not becomes '?'. Bytes from others, or cut at some length, go
 * through it: one bad byte makes a whole answer unreadable for most clients. */
void clean_text(char *text);
ProtobufCMessage *copy_message(const ProtobufCMessage *message);
struct job *add_job(struct wsl_cluster *c, uint64_t id, Wsl__V1__JobState state, uint32_t world,
                    uint64_t init_job, uint64_t name_hash);
/* An identity, for a job that has none yet; the caller saves it before a trainer hears of it. */
void give_identity(const struct wsl_cluster *c, struct job *job);
void drop_job(struct wsl_cluster *c, struct job *job);
void set_job_state(struct wsl_cluster *c, struct job *job, Wsl__V1__JobState to);
/* An empty generation of pb->n_ranks ranks: the job is live. */
void open_generation(struct wsl_cluster *c, struct job *job);
void close_generation(struct wsl_cluster *c, struct job *job);
void drop_placements(Wsl__V1__Job *pb);

/* cluster_index.c: finding and lists */
struct job *peek_job(const struct wsl_cluster *c, uint64_t id); /* its record may be in the store */
struct job *find_job(const struct wsl_cluster *c, uint64_t id); /* with its record */
/* Of the jobs with this name the newest one that is accepted; or, with `any`, the newest at all:
 * the only one that may not have ended. With its record. */
struct job *find_name(const struct wsl_cluster *c, const char *name, bool any);
void list_add(struct job_list *list, struct job *job);
void list_remove(struct job_list *list, const struct job *job); /* fine when it is not in there */
void index_add(struct job_index *index, struct job *job);
void index_remove(struct job_index *index, const struct job *job); /* likewise */
/* The place in `slots` of the first job whose id is at least `id`; `end` when there is none. */
size_t index_seek(const struct job_index *index, uint64_t id);
/* Waits elsewhere than in line, in this list. */
void park_job(struct wsl_cluster *c, struct job *job, struct job **list);
void unpark_job(struct job *job); /* fine when it is not */

/* cluster_records.c: what is in memory of a job */
void need_record(const struct wsl_cluster *c, struct job *job);
void need_events(const struct wsl_cluster *c, struct job *job);
void note_look(const struct wsl_cluster *c, struct job *job); /* keep it for a while */
/* Its record and events, when the store has them as they are and nothing will change them soon. */
void rest_job(const struct wsl_cluster *c, struct job *job);
void forget_record(struct job *job);
struct look_ring *look_ring_new(void);

/* cluster_nodes.c */
struct node *find_node(const struct wsl_cluster *c, const char *name);
struct node *add_node(struct wsl_cluster *c, const char *name, int64_t now);
/* The one away longest of those nobody needs; false: there is none. */
bool forget_oldest_node(struct wsl_cluster *c);
void forget_node(struct wsl_cluster *c, struct node *node);
void forget_old_nodes(struct wsl_cluster *c, int64_t now); /* lost for longer than forget_ms */
void free_node(struct node *node);
void add_stray(struct wsl_cluster *c, struct node *node, const Wsl__V1__TrainerKey *key);
void remove_stray(struct wsl_cluster *c, struct node *node, const Wsl__V1__TrainerKey *key);
void drop_strays(struct wsl_cluster *c, struct node *node);
uint32_t slots_of(const struct node *node);
uint32_t slots_used(const struct node *node);

/* cluster_output.c */
void save_job(struct wsl_cluster *c, struct job *job);
void add_event(struct wsl_cluster *c, struct job *job, int64_t now, const char *kind,
               const char *format, ...) __attribute__((format(printf, 5, 6)));
void keep_event(struct job *job, Wsl__V1__Event *event);
void send_start(struct wsl_cluster *c, struct job *job, uint32_t rank);
void send_stop(struct wsl_cluster *c, const char *node, const Wsl__V1__TrainerKey *key,
               Wsl__V1__StopMode mode, const char *reason);
void send_exchange(struct wsl_cluster *c, const char *node,
                   Wsl__V1__ExchangeResult *result); /* takes it */
void remove_saved(struct wsl_cluster *c, uint64_t id);
void save_node(struct wsl_cluster *c, struct node *node, int64_t now);
void remove_saved_node(struct wsl_cluster *c, const char *name);

/* cluster_exchange.c */
void forget_rounds(struct job *job);

/* cluster_workers.c */
/* The job whose current generation the key names, and that has this rank on this node; NULL: the
 * message is stale. */
struct job *current_job(const struct wsl_cluster *c, const struct node *node,
                        const Wsl__V1__TrainerKey *key);

/* cluster_job.c: moves and ends */
void move_job(struct wsl_cluster *c, struct job *job, Wsl__V1__JobState to, int64_t now,
              const char *format, ...) __attribute__((format(printf, 5, 6)));
bool is_live(const struct job *job); /* has a rank that has not ended */
void stop_ranks(struct wsl_cluster *c, struct job *job, enum stop stop, int64_t now);
/* Kills what was asked to stop and has not, when its time is over. */
void check_stop_deadline(struct wsl_cluster *c, struct job *job, int64_t now);
/* What the live ranks on this node were told, once more. */
void repeat_stops(struct wsl_cluster *c, struct job *job, const struct node *node);
void end_rank(struct wsl_cluster *c, struct job *job, uint32_t rank,
              Wsl__V1__TrainerOutcome outcome, const char *reason, int64_t now);
/* All ranks have ended: decides what becomes of the job. */
void end_generation(struct wsl_cluster *c, struct job *job, int64_t now);
void rank_up(struct wsl_cluster *c, struct job *job, uint32_t rank,
             const Wsl__V1__TrainerReport *report, int64_t now);
const char *outcome_word(Wsl__V1__TrainerOutcome outcome);
Wsl__V1__TrainerOutcome outcome_of_word(const char *word);

/* cluster_schedule.c */
void schedule(struct wsl_cluster *c, int64_t now); /* cheap when nothing has changed */
/* A job that is queued or recovering begins to wait: in line, or parked. */
void enqueue_job(struct wsl_cluster *c, struct job *job, int64_t now);
void leave_queue(struct wsl_cluster *c, struct job *job);
void tell_wait(const struct wsl_cluster *c, struct job *job);

/* cluster_users.c */
void trim_history(struct wsl_cluster *c);

#endif
