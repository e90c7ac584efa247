/* SPDX-License-Identifier: Apache-2.0
 *
 * Wiring: table, runners, session and the state directory of one worker.
 */
#include "daemon/worker/worker.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "daemon/worker/facts.h"
#include "daemon/worker/runner.h"
#include "daemon/worker/session.h"
#include "proto/rpc/rpc.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TICK_MS = 100,
    DELIVER_MS = 5000, /* at the end: how long the coordinator may take to record the ends */
};

struct wsl_worker {
    struct wsl_worker_setup setup;
    char trainers[4096]; /* directory */
    struct wsl_launch launch;
    struct wsl_runner_setup runner;
    struct wsl_table table;
    struct wsl_rpc *rpc;
    struct wsl_session *session;
    struct wsl_path_checks *checks;
    uv_timer_t tick;
    bool stopping;
    bool closing;
    uint64_t deliver_until_ns; /* 0: trainers still run */
};

#define KEY_FORMAT    "job=%" PRIu64 " generation=%u rank=%u"
#define KEY_VALUES(k) (k)->job, (k)->generation, (k)->rank

/* ---- trainers ---- */

static void on_change(void *context)
{
    struct wsl_worker *w = context;

    if (w->session)
        wsl_session_pump(w->session);
}

static void on_ended(void *context, struct wsl_trainer *t)
{
    const ProtobufCEnumValue *outcome = protobuf_c_enum_descriptor_get_value(
        &wsl__v1__trainer_outcome__descriptor, (int)t->outcome);

    wsl_info("event=trainer_ended " KEY_FORMAT " pid=%" PRId64 " outcome=%s log_bytes=%" PRIu64
             " metric_bytes=%" PRIu64 " reason=\"%s\"",
             KEY_VALUES(&t->key), t->pid, outcome ? outcome->name : "?", t->log.size,
             t->metrics.size, t->reason);
    on_change(context);
}

static void drop_trainer(struct wsl_worker *w, struct wsl_trainer *t, bool remove)
{
    wsl_runner_close(t->runner, remove);
    wsl_table_remove(&w->table, t);
}

static void on_settled(void *context)
{
    struct wsl_worker *w = context;

    for (size_t i = w->table.count; i-- > 0;) {
        struct wsl_trainer *t = w->table.trainers[i];

        if (!wsl_table_settled(t))
            continue;
        wsl_info("event=trainer_forgotten " KEY_FORMAT "%s", KEY_VALUES(&t->key),
                 t->unknown ? " known_to_coordinator=no" : "");
        drop_trainer(w, t, true);
    }
}

static void start_trainer(struct wsl_worker *w, const struct wsl_trainer_key *key,
                          const Wsl__V1__Assignment *assignment)
{
    struct wsl_trainer *t = wsl_table_add(&w->table, key);
    Wsl__V1__Assignment with_gpu = WSL__V1__ASSIGNMENT__INIT; /* shares all but the GPU */
    char reason[WSL_REASON_SIZE];
    struct wsl_err err;

    if (!t) {
        wsl_session_refuse(w->session, key, "not started: out of memory");
        return;
    }
    snprintf(t->gpu, sizeof t->gpu, "%s", wsl_gpus_pick(w->setup.gpus, &w->table));
    if (assignment) {
        with_gpu = *assignment;
        with_gpu.gpu = t->gpu;
    }
    if (wsl_runner_start(&w->runner, t, assignment ? &with_gpu : NULL, &err) < 0) {
        wsl_table_remove(&w->table, t);
        snprintf(reason, sizeof reason, "not started: %.380s", err.text);
        wsl_session_refuse(w->session, key, reason);
    }
}

static void on_start(void *context, const Wsl__V1__StartTrainer *start)
{
    struct wsl_worker *w = context;
    struct wsl_trainer_key key = wsl_table_key(start->key);
    char reason[WSL_REASON_SIZE];

    if (w->stopping) {
        wsl_session_refuse(w->session, &key, "not started: the worker is shutting down");
        return;
    }
    switch (wsl_table_admit(&w->table, &key, reason)) {
    case WSL_ADMIT_START:
        start_trainer(w, &key, start->assignment);
        break;
    case WSL_ADMIT_KNOWN: /* asked again: say how it stands */
        wsl_table_find(&w->table, &key)->report_due = true;
        break;
    case WSL_ADMIT_REFUSE:
        wsl_session_refuse(w->session, &key, reason);
        break;
    }
}

static void on_stop(void *context, const Wsl__V1__StopTrainer *stop)
{
    struct wsl_worker *w = context;
    struct wsl_trainer_key key = wsl_table_key(stop->key);
    struct wsl_trainer *t = wsl_table_find(&w->table, &key);

    if (!t)
        wsl_session_refuse(w->session, &key, "not known to this worker");
    else if (t->ended)
        t->report_due = true;
    else
        wsl_runner_stop(t->runner, stop->mode, stop->reason, wsl_clock_ns());
}

static void on_path_answer(void *context, const struct wsl_path_answer *answer)
{
    struct wsl_worker *w = context;

    if (w->session)
        wsl_session_send_paths(w->session, answer);
}

/* Where nobody can look the coordinator takes the job all the same, and says so. */
static void on_check(void *context, const Wsl__V1__CheckPaths *check)
{
    struct wsl_worker *w = context;
    struct wsl_path_answer unknown = {.id = check->id, .unknown = true};
    struct wsl_err err = {0};

    if (wsl_path_checks_ask(w->checks, check->id, check->data, check->init, &err) == 0)
        return;
    wsl_warn("event=paths_not_checked data=\"%s\" reason=\"%s\"", check->data, err.text);
    on_path_answer(w, &unknown);
}

static void on_exchange(void *context, const Wsl__V1__ExchangeResult *result)
{
    struct wsl_worker *w = context;

    for (size_t i = 0; i < w->table.count; i++) {
        struct wsl_trainer *t = w->table.trainers[i];

        if (!t->ended && t->key.job == result->job && t->key.generation == result->generation)
            wsl_runner_exchange(t->runner, result);
    }
}

static int read_spool(void *context, const struct wsl_send *send, uint8_t *ret, size_t *ret_count,
                      struct wsl_err *err)
{
    (void)context;
    return wsl_runner_read(send->trainer->runner, send, ret, ret_count, err);
}

/* ---- the run directories of an earlier daemon ---- */

static void adopt(struct wsl_worker *w, const char *name)
{
    struct wsl_trainer_key key;
    struct wsl_trainer *t;
    struct wsl_err err;

    if (name[0] == '.')
        return;
    if (!wsl_launch_key_of_name(name, &key)) {
        wsl_warn("event=strange_folder path=%s/%s next=\"left alone\"", w->trainers, name);
        return;
    }
    t = wsl_table_add(&w->table, &key);
    if (!t) {
        wsl_error("event=not_adopted path=%s/%s reason=\"more than %d trainers are kept\"",
                  w->trainers, name, WSL_TABLE_TRAINERS_MAX);
        return;
    }
    if (wsl_runner_adopt(&w->runner, t, &err) < 0) {
        wsl_error("event=not_adopted reason=\"%s\"", err.text);
        wsl_table_remove(&w->table, t);
    }
}

static int adopt_all(struct wsl_worker *w, struct wsl_err *err)
{
    DIR *dir = opendir(w->trainers);
    const struct dirent *entry;

    if (!dir)
        return wsl_fail_errno(err, "cannot open %s", w->trainers);
    while ((entry = readdir(dir)))
        adopt(w, entry->d_name);
    closedir(dir);
    return 0;
}

/* ---- the end ---- */

static void on_rpc_closed(void *context)
{
    struct wsl_worker *w = context;

    wsl_table_fini(&w->table);
    free(w);
}

static void on_tick_closed(uv_handle_t *tick)
{
    struct wsl_worker *w = tick->data;

    wsl_rpc_close(w->rpc, 1000, on_rpc_closed, w);
}

static void close_all(struct wsl_worker *w)
{
    w->closing = true;
    wsl_session_close(w->session);
    w->session = NULL;
    wsl_path_checks_close(w->checks);
    w->checks = NULL;
    while (w->table.count > 0)
        drop_trainer(w, w->table.trainers[w->table.count - 1], false);
    uv_close((uv_handle_t *)&w->tick, on_tick_closed);
}

static void leave(struct wsl_worker *w)
{
    wsl_info("event=stopped trainers_left_running=%u", wsl_table_running(&w->table));
    close_all(w);
}

static bool all_delivered(const struct wsl_table *table)
{
    for (size_t i = 0; i < table->count; i++)
        if (!wsl_table_delivered(table->trainers[i]))
            return false;
    return true;
}

static void check_stopped(struct wsl_worker *w, uint64_t now)
{
    if (!w->stopping || wsl_table_running(&w->table) > 0)
        return;
    if (w->deliver_until_ns == 0)
        w->deliver_until_ns = now + DELIVER_MS * 1000000ull;
    if (all_delivered(&w->table) || now >= w->deliver_until_ns)
        leave(w);
}

static void stop_trainers(struct wsl_worker *w, Wsl__V1__StopMode mode)
{
    for (size_t i = 0; i < w->table.count; i++)
        if (!w->table.trainers[i]->ended)
            wsl_runner_stop(w->table.trainers[i]->runner, mode, "the worker is shutting down",
                            wsl_clock_ns());
}

void wsl_worker_stop(struct wsl_worker *w)
{
    if (w->closing)
        return;
    if (!w->setup.stop_trainers) {
        leave(w);
        return;
    }
    if (w->stopping) {
        stop_trainers(w, WSL__V1__STOP_MODE__KILL);
        w->deliver_until_ns = 1; /* no waiting for the coordinator */
        return;
    }
    w->stopping = true;
    wsl_info("event=stopping trainers=%u grace_ms=%u", wsl_table_running(&w->table),
             w->setup.stop_grace_ms);
    stop_trainers(w, WSL__V1__STOP_MODE__GRACEFUL);
}

/* ---- the loop ---- */

static void on_tick(uv_timer_t *timer)
{
    struct wsl_worker *w = timer->data;
    uint64_t now = wsl_clock_ns();

    for (size_t i = 0; i < w->table.count; i++)
        wsl_runner_tick(w->table.trainers[i]->runner, now);
    wsl_session_pump(w->session);
    check_stopped(w, now);
}

static int open_session(struct wsl_worker *w, struct wsl_err *err)
{
    const struct wsl_session_setup session = {
        .loop = w->setup.loop,
        .rpc = w->rpc,
        .coordinator = w->setup.coordinator,
        .name = w->setup.name,
        .id = w->setup.id,
        .address = w->setup.address,
        .facts = w->setup.facts,
        .table = &w->table,
        .context = w,
        .on_start = on_start,
        .on_stop = on_stop,
        .on_exchange = on_exchange,
        .on_check = on_check,
        .on_settled = on_settled,
        .read = read_spool,
    };

    return wsl_session_open(&w->session, &session, err);
}

int wsl_worker_open(struct wsl_worker **ret, const struct wsl_worker_setup *setup,
                    struct wsl_err *err)
{
    struct wsl_worker *w = calloc(1, sizeof *w);
    int r;

    if (!w)
        return wsl_fail(err, WSL_ENOMEM, "out of memory");
    w->setup = *setup;
    wsl_table_init(&w->table, setup->slots);
    w->launch = (struct wsl_launch){.trainer = setup->trainer,
                                    .arguments = setup->trainer_arguments,
                                    .trainers = w->trainers,
                                    .checkpoints = setup->checkpoints,
                                    .assigns_gpus = setup->gpus->assigned};
    w->runner = (struct wsl_runner_setup){.loop = setup->loop,
                                          .launch = &w->launch,
                                          .stop_grace_ms = setup->stop_grace_ms,
                                          .context = w,
                                          .on_change = on_change,
                                          .on_ended = on_ended};
    if (wsl_file_join(w->trainers, sizeof w->trainers, setup->state, "trainers") < 0)
        r = wsl_fail(err, WSL_EINVAL, "path too long: %s", setup->state);
    else
        r = wsl_file_make_directories(w->trainers, err);
    if (r == 0)
        r = wsl_rpc_open(&w->rpc, setup->loop, err);
    if (r < 0) {
        free(w);
        return r;
    }
    uv_timer_init(setup->loop, &w->tick);
    w->tick.data = w;
    uv_timer_start(&w->tick, on_tick, TICK_MS, TICK_MS);
    r = wsl_path_checks_open(&w->checks, setup->loop, on_path_answer, w, err);
    if (r == 0)
        r = adopt_all(w, err);
    if (r == 0)
        r = open_session(w, err);
    if (r < 0) {
        close_all(w);
        return r;
    }
    *ret = w;
    return 0;
}
