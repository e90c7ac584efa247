/* SPDX-License-Identifier: Apache-2.0
 *
 * The state machine's own data. Internal to cluster*.c.
 *
 * Who is where: every job is in `jobs`; one that is queued or recovering also in `waiting`; one
 * with a generation that has not ended also in `live`. A slot of a node is used by a rank that has
 * not ended, or by a stray: a trainer that runs there and belongs to no generation of now.
 */
#ifndef WSL_DAEMON_COORDINATOR_INTERNAL_H
#define WSL_DAEMON_COORDINATOR_INTERNAL_H

#include "daemon/coordinator/cluster.h"

enum {
    EVENTS_MAX = 1000,
    ROUNDS_MAX = 8,
    BLOB_MAX = 65536,
    WORLD_MAX = 4096,
    NODES_MAX = 4096,
    STRAYS_MAX = 1024,        /* noted per node */
    PEER_WAIT_MS = 2000,      /* for the rank that another one lost to say why */
    SAVING_EXTRA_MS = 600000, /* beyond the stop's grace time, for a checkpoint being written */
    HEARTBEATS_MISSED = 5,    /* then a worker is away */
    TEXT_MAX = 600,           /* bytes of a reason */
    SAME_NOTE_EVENTS = 32,    /* a note said among the newest so many is not repeated */
    NODE_NAME_SIZE = 64 + 1,  /* also of an instance */
};

enum rank_state { RANK_SENT, RANK_UP, RANK_ENDED }; /* SENT: a start is on its way */

struct rank {
    enum rank_state state;
    struct node *node;
    bool told;      /* to stop: how it ends explains nothing */
    uint32_t order; /* of its end among the ranks, from 1 */
    Wsl__V1__TrainerOutcome outcome;
};

/* One all-gather of a generation. */
struct round {
    ProtobufCBinaryData *blobs; /* world of them, or NULL before the first part */
    uint32_t have;
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
    WAIT_TURN,
    WAIT_INIT,
};

struct wait {
    enum wait_kind kind;
    uint32_t free, all, kept; /* slots: of WAIT_SIZE and WAIT_SLOTS */
    uint64_t job;             /* the one it waits for: of WAIT_TURN and WAIT_INIT */
};

struct job {
    Wsl__V1__Job *pb; /* what is saved */
    uint64_t version;
    uint64_t name_hash;
    bool uncommitted;
    bool kept;          /* beyond the history's limit: another job starts from it */
    struct rank *ranks; /* of the current generation, pb->n_ranks; NULL: it has ended */
    uint32_t ended;     /* of them */
    struct round rounds[ROUNDS_MAX];
    enum stop stop;
    int64_t kill_ms;     /* of STOP_WAIT and STOP_GRACEFUL: when patience ends */
    int64_t retry_ms;    /* not placed before */
    uint64_t start_step; /* of the generation: progress is a checkpoint beyond it */
    struct wait wait;
    bool wait_told;       /* pb->reason says so */
    unsigned waits_noted; /* bits of enum wait_kind: has an event */
    Wsl__V1__Event **events;
    size_t event_count, event_capacity;
    uint64_t next_event;
};

/* Jobs in the order of ids. */
struct job_list {
    struct job **jobs;
    size_t count, capacity;
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
    int64_t lost_ms; /* when its trainers count as lost; 0: it is connected, or they do */
    uint32_t ranks;  /* slots used by ranks */
    uint32_t free;   /* scratch of schedule() */
    struct stray *strays;
    size_t stray_count, stray_capacity;
};

struct wsl_cluster {
    struct wsl_cluster_setup setup;
    struct job_list all, waiting, live;
    size_t ended_count;
    struct node **nodes; /* in the order of names */
    size_t node_count;
    uint64_t next_id;
    bool changed;       /* something a waiting job may wait for */
    int64_t look_ms;    /* schedule() then, even when nothing changes; INT64_MAX: no need */
    int64_t settled_ms; /* until then workers may be coming back after the coordinator's restart */
    struct wsl_output *first;
    struct wsl_output **last;
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
uint64_t hash_name(const char *name);
struct job *find_job(const struct wsl_cluster *c, uint64_t id);
struct job *find_name(const struct wsl_cluster *c, const char *name); /* newest accepted one */
struct job *add_job(struct wsl_cluster *c, Wsl__V1__Job *pb);         /* by its state: waiting */
void drop_job(struct wsl_cluster *c, struct job *job);
void list_add(struct job_list *list, struct job *job);
void list_remove(struct job_list *list, const struct job *job); /* fine when it is not in there */
/* An empty generation of pb->n_ranks ranks: the job is live. */
void open_generation(struct wsl_cluster *c, struct job *job);
void close_generation(struct wsl_cluster *c, struct job *job);
void drop_placements(Wsl__V1__Job *pb);

/* cluster_nodes.c */
struct node *find_node(const struct wsl_cluster *c, const char *name);
struct node *add_node(struct wsl_cluster *c, const char *name, int64_t now);
bool forget_node(struct wsl_cluster *c); /* the one away longest of those nobody needs */
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
void send_exchange(struct wsl_cluster *c, struct job *job, uint32_t round, const char *node);
void remove_saved(struct wsl_cluster *c, uint64_t id);

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
void tell_wait(const struct wsl_cluster *c, struct job *job);

/* cluster_users.c */
void trim_history(struct wsl_cluster *c);

#endif
