/* SPDX-License-Identifier: Apache-2.0
 *
 * The coordinator around its state machine: services put events in, the driver carries the outputs
 * out. Everything here belongs to the loop thread. Internal to daemon/coordinator.
 */
#ifndef WSL_DAEMON_COORDINATOR_COORDINATOR_H
#define WSL_DAEMON_COORDINATOR_COORDINATOR_H

#include "daemon/coordinator/cluster.h"
#include "proto/rpc/rpc.h"
#include "storage/state/state.h"

#include <uv.h>

enum {
    SESSIONS_MAX = 4096,
    FOLLOWERS_MAX = 1000, /* open Watch, Logs and Metrics calls */
    LIST_MAX = 1000,
    LIST_DEFAULT = 100,
    RETRY_MS = 1000, /* between attempts to save when the disk is full */
};

struct act;
struct session;
struct follower;

struct wsl_coordinator {
    uv_loop_t *loop;
    struct wsl_rpc *rpc;
    struct wsl_rpc_server *server;
    struct wsl_state *state;
    struct wsl_cluster *cluster;
    uint32_t heartbeat_ms;
    uv_timer_t tick;
    int64_t (*now)(void); /* milliseconds since 1970 */
    struct act *failed;   /* saves to be tried again */
    bool closing;         /* nothing new is saved: what completes now is the last */
    bool disk_trouble;    /* logged once */
    struct session *sessions;
    size_t session_count;
    struct follower *followers;
    size_t follower_count;
};

/* ---- driver.c ---- */

/* Carries out what the cluster has put out since the last call: saves first, then, when they are
 * durable, the messages and `saved` (may be NULL). Saves that fail are tried again for ever, and
 * `saved` is told of the first failure and not called again; with `once` they are given up instead
 * (a submit that is withdrawn). */
typedef void (*saved_fn)(void *context, const struct wsl_err *err);
void drive(struct wsl_coordinator *co);
void drive_then(struct wsl_coordinator *co, bool once, saved_fn saved, void *context);
void retry_failed(struct wsl_coordinator *co);
void free_failed(struct wsl_coordinator *co);

/* ---- agents.c ---- */

void session_message(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message);
void session_writable(struct wsl_rpc_call *call, void *context);
void session_closed(struct wsl_rpc_call *call, void *context);
/* Sends to the node's session; dropped when it has none. */
void send_to_node(struct wsl_coordinator *co, const char *node,
                  const Wsl__V1__CoordinatorMessage *message);

/* ---- jobs_service.c ---- */

void on_submit(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message);
void on_get_job(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message);
void on_list_jobs(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message);
void on_cancel(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message);
void unary_closed(struct wsl_rpc_call *call, void *context);
void on_list_nodes(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message);
void on_get_node(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message);

/* ---- follow.c ---- */

void on_watch(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message);
void on_logs(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message);
void on_metrics(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message);
void follower_writable(struct wsl_rpc_call *call, void *context);
void follower_closed(struct wsl_rpc_call *call, void *context);
/* Something changed: of one job, or of any (0). */
void poke_followers(struct wsl_coordinator *co, uint64_t job);

/* ---- trainer_files.c ---- */

/* Names of a trainer's files in the store: "log-<generation>-<rank>",
 * "metrics-<generation>-<rank>". */
enum trainer_file { TRAINER_LOG, TRAINER_METRICS };
void trainer_file_name(enum trainer_file file, uint32_t generation, uint32_t rank,
                       char ret_name[64]);

/* The next length-delimited TrainerMetric in bytes[*at..size): moves *at behind it. NULL: no whole
 * one, or (with *ret_bad) rubbish. */
Wsl__V1__TrainerMetric *next_metric(const uint8_t *bytes, size_t size, size_t *at, bool *ret_bad);

#endif
