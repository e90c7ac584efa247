/* SPDX-License-Identifier: Apache-2.0
 *
 * The session with the coordinator: kept up for ever, whatever the coordinator does. Says Hello,
 * sends what the table says is next, watches that somebody answers, tries again with backoff.
 * Loop thread.
 */
#ifndef WSL_DAEMON_WORKER_SESSION_H
#define WSL_DAEMON_WORKER_SESSION_H

#include "daemon/worker/facts.h"
#include "daemon/worker/path_check.h"
#include "daemon/worker/table.h"
#include "proto/rpc/rpc.h"

#include <uv.h>

struct wsl_session;

struct wsl_session_setup {
    uv_loop_t *loop;
    struct wsl_rpc *rpc;
    const char *coordinator; /* address */
    const char *name;        /* of this worker */
    const char *id;          /* of wsl_identity_read() */
    const char *address;     /* where other machines' trainers reach this one */
    const struct wsl_facts *facts;
    struct wsl_table *table;
    void *context;
    void (*on_start)(void *context, const Wsl__V1__StartTrainer *start);
    void (*on_stop)(void *context, const Wsl__V1__StopTrainer *stop);
    void (*on_exchange)(void *context, const Wsl__V1__ExchangeResult *result);
    void (*on_check)(void *context, const Wsl__V1__CheckPaths *check);
    void (*on_settled)(void *context); /* acknowledgements came: an entry may be settled */
    /* The bytes of a LOG or METRICS send, see wsl_runner_read(). */
    int (*read)(void *context, const struct wsl_send *send, uint8_t *ret, size_t *ret_count,
                struct wsl_err *err);
};

int wsl_session_open(struct wsl_session **ret, const struct wsl_session_setup *setup,
                     struct wsl_err *err);

/* Sends what there is to send, as far as it may. Cheap when there is nothing. */
void wsl_session_pump(struct wsl_session *session);

/* Tells of a trainer that has no entry: one that was not started, or is not known here. Lost when
 * the session breaks; the next Hello does not name it, which says as much. */
void wsl_session_refuse(struct wsl_session *session, const struct wsl_trainer_key *key,
                        const char *reason);

/* The answer to a CheckPaths; lost when the session breaks, as the question is. */
void wsl_session_send_paths(struct wsl_session *session, const struct wsl_path_answer *answer);

/* Ends the session for good and frees it once its handles are closed. No callback follows. Before
 * wsl_rpc_close(). */
void wsl_session_close(struct wsl_session *session);

#endif
