/* SPDX-License-Identifier: Apache-2.0
 *
 * The coordinator around its state machine: services put events in, the driver carries the outputs
 * out. Everything here belongs to the loop thread. Internal to daemon/coordinator.
 */
#ifndef WSL_DAEMON_COORDINATOR_COORDINATOR_H
#define WSL_DAEMON_COORDINATOR_COORDINATOR_H

#include "daemon/coordinator/cluster/cluster.h"
#include "proto/delimited.h"
#include "proto/rpc/rpc.h"
#include "storage/state/state.h"

#include <uv.h>

enum {
    SESSIONS_MAX = 4096,
    SUBSCRIBERS_MAX = 1000, /* open Watch, Logs and Metrics calls */
    JOBS_MAX = 1000000,     /* that have not ended, and as many that have */
    BATCH_MAX = 1000,       /* submissions in one request */
    LIST_MAX = 1000,
    LIST_DEFAULT = 100,
    EVENTS_KEPT = 1000,      /* of a job */
    RETRY_MS = 1000,         /* between attempts to save when the disk is full */
    STREAM_BUCKETS = 1024,   /* of the table of trainers' files */
    STREAMS_MAX = 1 << 17,   /* trainers whose positions are kept in memory */
    UNSAVED_MAX = 256 << 20, /* bytes of logs and metrics that wait for the disk */
    CHUNK_MAX = WSL_DELIMITED_ROOM,
};

enum trainer_file { TRAINER_LOG, TRAINER_METRICS };

struct transaction;
struct wsl_data_check;
struct session;
struct stream;
struct subscriber;

struct wsl_coordinator {
    uv_loop_t *loop;
    struct wsl_rpc *rpc;
    struct wsl_rpc_server *server;
    struct wsl_state *state;
    struct wsl_cluster *cluster;
    uint32_t heartbeat_ms;
    uv_timer_t tick;
    int64_t (*now)(void);             /* milliseconds since 1970; never goes back */
    struct transaction *transactions; /* all that are not durable yet */
    struct transaction *failed;       /* of these, the ones to be tried again, in order */
    uint64_t next_transaction;
    bool closing;      /* nothing new is saved: what completes now is the last */
    bool disk_trouble; /* logged once */
    struct session *sessions;
    size_t session_count;
    struct stream *streams[STREAM_BUCKETS];
    size_t stream_count;
    size_t unsaved_bytes;
    struct subscriber *subscribers;
    size_t subscriber_count;
    struct wsl_data_check *checks;
    size_t check_count;
    uint64_t next_check;
};

/* ---- committer.c ---- */

/* Carries out what the cluster has put out since the last call: saves first, then, when they are
 * durable, the messages and `saved` (may be NULL). Saves that fail are tried again for ever, in
 * order, nothing overtakes them; how that is told depends: */
typedef void (*saved_fn)(void *context, const struct wsl_err *err);
enum commit_mode {
    COMMIT_TELL,    /* `saved` is told of the first failure, and not called again */
    COMMIT_PATIENT, /* `saved` is called once it succeeded, or with WSL_ECANCELLED at the end */
    COMMIT_ONCE,    /* given up at the first failure (a submit that is withdrawn) */
};
void wsl_committer_commit(struct wsl_coordinator *co);
void wsl_committer_commit_then(struct wsl_coordinator *co, enum commit_mode mode, saved_fn saved,
                               void *context);

/* The same with bytes for a file of a job in the same commit: COMMIT_PATIENT, but bytes that do not
 * join on to the file (WSL_ESTATE) are dropped and `saved` is told. `bytes` must stay until then.
 */
struct append {
    uint64_t job;
    char name[64];
    uint64_t offset;
    const uint8_t *bytes;
    size_t size;
    bool save_job; /* the job's record, too: what was read from the bytes has changed it */
};
void wsl_committer_append(struct wsl_coordinator *co, const struct append *append, saved_fn saved,
                          void *context);
/* Is a save of this job on its way to the disk? */
bool wsl_committer_is_unsaved(const struct wsl_coordinator *co, uint64_t job);
void wsl_committer_retry(struct wsl_coordinator *co);
void wsl_committer_free(struct wsl_coordinator *co);

/* ---- records.c: jobs' records in the store ---- */

/* Reads them from the store, which must outlive the cluster. */
struct wsl_cluster_records wsl_records_of(struct wsl_state *state);
/* For wsl_state_load(): gives the cluster one stored job. */
int wsl_records_restore_job(void *cluster, uint64_t id, const uint8_t *bytes, size_t size);
/* The same for wsl_state_load_nodes(). */
int wsl_records_restore_node(void *cluster, uint64_t number, const uint8_t *bytes, size_t size);

/* ---- workers_service.c ---- */

void wsl_workers_on_message(struct wsl_rpc_call *call, void *context,
                            const ProtobufCMessage *message);
void wsl_workers_on_closed(struct wsl_rpc_call *call, void *context);
/* Sends to the node's session; dropped when it has none. A worker that does not read is cut off. */
void wsl_workers_send(struct wsl_coordinator *co, const char *node,
                      const Wsl__V1__CoordinatorMessage *message);
/* To all workers that answer CheckPaths; `each` is called for all that are connected, with `asked`
 * for those. */
void wsl_workers_ask(struct wsl_coordinator *co, const Wsl__V1__CoordinatorMessage *message,
                     void (*each)(void *context, const char *node, uint32_t slots, bool asked),
                     void *context);
/* Ends the node's session: the worker comes again, and sends what was not acknowledged. */
void wsl_workers_end_session(struct wsl_coordinator *co, const char *node,
                             enum wsl_rpc_status status, const char *text);

/* ---- data_check.c ---- */

enum { DATA_NOTE = 460 }; /* bytes of a note */

/* `err`: it must not be accepted, WSL_EINVAL names the path and the workers; else `note` is what the
 * user should know all the same (empty: nothing). */
typedef void (*data_checked_fn)(void *context, const struct wsl_err *err, const char *note);
/* Asks the workers for the paths of a filled specification. `done` is called exactly once: within
 * seconds, or before it returns (as always when no worker is connected). */
void wsl_data_check_start(struct wsl_coordinator *co, const Wsl__V1__JobSpec *spec,
                          data_checked_fn done, void *context);
void wsl_data_check_answer(struct wsl_coordinator *co, const char *node,
                           const Wsl__V1__PathsChecked *paths);
/* Its session is over: no answer comes any more. */
void wsl_data_check_node_left(struct wsl_coordinator *co, const char *node);
void wsl_data_check_tick(struct wsl_coordinator *co);
void wsl_data_check_free(struct wsl_coordinator *co); /* `done` is told of a WSL_ECANCELLED */

/* ---- streams.c: files of trainers, and their ends ---- */

/* A trainer's positions are kept by its key, not by session: what a broken session left under way
 * to the disk is not taken twice. */
void wsl_streams_bytes(struct wsl_coordinator *co, const char *node, enum trainer_file file,
                       const Wsl__V1__TrainerKey *key, uint64_t offset,
                       const ProtobufCBinaryData *data);
void wsl_streams_end(struct wsl_coordinator *co, const char *node,
                     const Wsl__V1__TrainerReport *report);
/* The position to go on from, for the Welcome; false: its job is not known. */
bool wsl_streams_welcome(struct wsl_coordinator *co, const char *node,
                         const Wsl__V1__TrainerKey *key, Wsl__V1__TrainerKey *ret_key,
                         Wsl__V1__Ack *ret_ack);
/* Are bytes of this job's newest generation that its ended trainers wrote still on their way? */
bool wsl_streams_awaited(const struct wsl_coordinator *co, uint64_t job);
void wsl_streams_drop(struct wsl_coordinator *co, uint64_t job); /* 0: all */

/* ---- jobs_service.c ---- */

void wsl_jobs_on_submit(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message);
void wsl_jobs_on_get(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message);
void wsl_jobs_on_list(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message);
void wsl_jobs_on_cancel(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message);
void wsl_jobs_on_closed(struct wsl_rpc_call *call, void *context);
void wsl_nodes_on_list(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message);
void wsl_nodes_on_get(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message);
void wsl_nodes_on_remove(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message);

/* ---- submit_batch.c ---- */

void wsl_batch_on_submit(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message);
void wsl_batch_on_closed(struct wsl_rpc_call *call, void *context);

/* ---- subscribers.c ---- */

void wsl_subscribers_on_watch(struct wsl_rpc_call *call, void *context,
                              const ProtobufCMessage *message);
void wsl_subscribers_on_logs(struct wsl_rpc_call *call, void *context,
                             const ProtobufCMessage *message);
void wsl_subscribers_on_metrics(struct wsl_rpc_call *call, void *context,
                                const ProtobufCMessage *message);
void wsl_subscribers_on_writable(struct wsl_rpc_call *call, void *context);
void wsl_subscribers_on_closed(struct wsl_rpc_call *call, void *context);
/* Something of this job changed. */
void wsl_subscribers_notify(struct wsl_coordinator *co, uint64_t job);
/* Those that wait for the last bytes of a job that has ended. */
void wsl_subscribers_notify_waiting(struct wsl_coordinator *co);

/* ---- trainer_files.c ---- */

/* Names of a trainer's files in the store: "log-<generation>-<rank>",
 * "metrics-<generation>-<rank>". */
void wsl_trainer_file_name(enum trainer_file file, uint32_t generation, uint32_t rank,
                           char ret_name[64]);

/* The next length-delimited TrainerMetric in bytes[*at..size): moves *at behind it. NULL: no whole
 * one, or (with *ret_bad) rubbish. */
Wsl__V1__TrainerMetric *wsl_trainer_file_next_metric(const uint8_t *bytes, size_t size, size_t *at,
                                                     bool *ret_bad);

#endif
