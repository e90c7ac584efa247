/* SPDX-License-Identifier: Apache-2.0
 *
 * The state machine's own data. Internal to cluster*.c.
 */
#ifndef WSL_DAEMON_COORDINATOR_INTERNAL_H
#define WSL_DAEMON_COORDINATOR_INTERNAL_H

#include "daemon/coordinator/cluster.h"

enum { EVENTS_MAX = 1000, ROUNDS_MAX = 8, BLOB_MAX = 65536, WORLD_MAX = 4096, NODES_MAX = 4096 };

enum rank_state { RANK_SENT, RANK_UP, RANK_ENDED }; /* SENT: a start is on its way */

struct rank {
    enum rank_state state;
    Wsl__V1__TrainerOutcome outcome;
    char reason[400];
};

/* One all-gather of a generation. */
struct round {
    ProtobufCBinaryData *blobs; /* world of them, or NULL before the first part */
    uint32_t have;
};

struct job {
    Wsl__V1__Job *pb; /* what is saved */
    uint64_t version;
    bool uncommitted;
    struct rank *ranks; /* of the current generation, pb->n_ranks; NULL: none are alive */
    struct round rounds[ROUNDS_MAX];
    bool stopping;                        /* the generation was told to stop */
    int64_t kill_ms;                      /* graceful until then; 0: no deadline */
    int64_t retry_ms;                     /* not placed before */
    uint32_t user_errors, machine_errors; /* since the last progress */
    uint64_t start_step; /* of the generation: progress is a checkpoint beyond it */
    Wsl__V1__Event **events;
    size_t event_count;
    uint64_t next_event;
};

struct node {
    Wsl__V1__Node *pb;
    char instance[65];
    bool connected;
    int64_t heard_ms;
    int64_t lost_ms; /* when its trainers count as lost; 0: it is connected or has none */
};

struct wsl_cluster {
    struct wsl_cluster_setup setup;
    struct job **jobs; /* in the order of ids */
    size_t job_count, job_capacity;
    struct node **nodes; /* in the order of names */
    size_t node_count;
    uint64_t next_id;
    struct wsl_output *first;
    struct wsl_output **last;
};

/* cluster_data.c */
void *must_alloc(size_t size); /* zeroed; the coordinator cannot do without its small records:
                                  aborts when there is none */
void set_text(char **field, const char *text);
void set_textf(char **field, const char *format, ...) __attribute__((format(printf, 2, 3)));
struct job *find_job(const struct wsl_cluster *c, uint64_t id);
struct job *add_job(struct wsl_cluster *c, Wsl__V1__Job *pb);
void drop_job(struct wsl_cluster *c, struct job *job);
struct node *find_node(const struct wsl_cluster *c, const char *name);
struct node *add_node(struct wsl_cluster *c, const char *name, int64_t now);
void clear_ranks(struct job *job);
void drop_events(struct job *job);
void forget_rounds(struct job *job);

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
void stop_ranks(struct wsl_cluster *c, struct job *job, Wsl__V1__StopMode mode, const char *reason,
                int64_t now);
void end_rank(struct wsl_cluster *c, struct job *job, uint32_t rank,
              Wsl__V1__TrainerOutcome outcome, const char *reason, int64_t now);
/* All ranks have ended: decides what becomes of the job. */
void end_generation(struct wsl_cluster *c, struct job *job, int64_t now);
void rank_up(struct wsl_cluster *c, struct job *job, uint32_t rank,
             const Wsl__V1__TrainerReport *report, int64_t now);

/* cluster_schedule.c */
void schedule(struct wsl_cluster *c, int64_t now);
uint32_t slots_used(const struct wsl_cluster *c, const char *node);

#endif
