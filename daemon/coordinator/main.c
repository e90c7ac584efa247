/* SPDX-License-Identifier: Apache-2.0
 *
 * wsl-coordinator: wires the store, the state machine and the services to one loop.
 */
#include "base/args.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/lifeline.h"
#include "base/log.h"
#include "base/rlimit.h"
#include "base/stdfds.h"
#include "daemon/coordinator/coordinator.h"
#include "proto/descriptors.h"
#include "proto/rpc/address.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define NO_LIFELINE UINT64_MAX

enum { TICK_MS = 200, SHUTDOWN_GRACE_MS = 500 };

struct settings {
    const char *listen, *state, *port_file, *log_level;
    uint64_t lifeline, heartbeat_ms, worker_grace_ms, worker_forget_ms, stop_grace_ms, backoff_ms;
    bool insecure, version;
};

static struct {
    struct wsl_coordinator co;
    uv_loop_t loop;
    uv_signal_t terminate, interrupt;
    struct wsl_lifeline lifeline;
    bool has_lifeline;
    uint64_t ticks;
    int64_t wall_ms;
    uint64_t start_ns;
} app;

static const struct wsl_rpc_method methods[] = {
    {.path = "/wsl.v1.JobService/Submit",
     .request = &wsl__v1__submit_request__descriptor,
     .on_message = wsl_jobs_on_submit,
     .on_closed = wsl_jobs_on_closed},
    {.path = "/wsl.v1.JobService/SubmitBatch",
     .request = &wsl__v1__submit_batch_request__descriptor,
     .on_message = wsl_batch_on_submit,
     .on_closed = wsl_batch_on_closed},
    {.path = "/wsl.v1.JobService/Get",
     .request = &wsl__v1__get_job_request__descriptor,
     .on_message = wsl_jobs_on_get},
    {.path = "/wsl.v1.JobService/List",
     .request = &wsl__v1__list_jobs_request__descriptor,
     .on_message = wsl_jobs_on_list},
    {.path = "/wsl.v1.JobService/Cancel",
     .request = &wsl__v1__cancel_job_request__descriptor,
     .on_message = wsl_jobs_on_cancel,
     .on_closed = wsl_jobs_on_closed},
    {.path = "/wsl.v1.JobService/Watch",
     .request = &wsl__v1__watch_job_request__descriptor,
     .send_queue_max = 4,
     .on_message = wsl_subscribers_on_watch,
     .on_writable = wsl_subscribers_on_writable,
     .on_closed = wsl_subscribers_on_closed},
    {.path = "/wsl.v1.JobService/Logs",
     .request = &wsl__v1__logs_request__descriptor,
     .send_queue_max = 16,
     .on_message = wsl_subscribers_on_logs,
     .on_writable = wsl_subscribers_on_writable,
     .on_closed = wsl_subscribers_on_closed},
    {.path = "/wsl.v1.JobService/Metrics",
     .request = &wsl__v1__metrics_request__descriptor,
     .send_queue_max = 16,
     .on_message = wsl_subscribers_on_metrics,
     .on_writable = wsl_subscribers_on_writable,
     .on_closed = wsl_subscribers_on_closed},
    {.path = "/wsl.v1.NodeService/List",
     .request = &wsl__v1__list_nodes_request__descriptor,
     .on_message = wsl_nodes_on_list},
    {.path = "/wsl.v1.NodeService/Get",
     .request = &wsl__v1__get_node_request__descriptor,
     .on_message = wsl_nodes_on_get},
    {.path = "/wsl.v1.NodeService/Remove",
     .request = &wsl__v1__remove_node_request__descriptor,
     .on_message = wsl_nodes_on_remove,
     .on_closed = wsl_jobs_on_closed},
    {.path = "/wsl.v1.AgentService/Session",
     .request = &wsl__v1__worker_message__descriptor,
     .client_streams = true,
     .send_queue_max = 1024,
     .on_message = wsl_workers_on_message,
     .on_closed = wsl_workers_on_closed},
};

/* ---- the process ---- */

/* The clock of all decisions: the wall clock of the start, and monotonic from there on, so that a
 * clock that is set cannot make workers look lost. */
static int64_t steady_now(void)
{
    return app.wall_ms + (int64_t)((wsl_clock_ns() - app.start_ns) / 1000000);
}

static void prepare_process(void)
{
    app.wall_ms = wsl_clock_wall_ms();
    app.start_ns = wsl_clock_ns();
    signal(SIGPIPE, SIG_IGN);
    wsl_rlimit_file_size_is_an_error();
}

/* ---- restoring ---- */

static int open_state(struct wsl_coordinator *co, const struct settings *s, struct wsl_err *err)
{
    struct wsl_state_setup state = {.directory = s->state, .loop = co->loop};
    struct wsl_cluster_setup cluster = {
        .worker_grace_ms = (uint32_t)s->worker_grace_ms,
        .stop_grace_ms = (uint32_t)s->stop_grace_ms,
        .backoff_ms = (uint32_t)s->backoff_ms,
        .backoff_max_ms = 30000,
        .heartbeat_ms = (uint32_t)s->heartbeat_ms,
        .forget_ms = s->worker_forget_ms,
        .queue_max = JOBS_MAX,
        .history_max = JOBS_MAX,
    };
    int r = wsl_state_open(&co->state, &state, err);

    if (r == 0 && getrandom(cluster.random, sizeof cluster.random, 0) != sizeof cluster.random)
        r = wsl_fail_errno(err, "no random numbers");
    if (r < 0)
        return r;
    cluster.records = wsl_records_of(co->state);
    r = wsl_cluster_open(&co->cluster, &cluster, err);
    if (r < 0)
        return r;
    r = wsl_state_load_nodes(co->state, wsl_records_restore_node, co->cluster, err);
    if (r == 0)
        r = wsl_state_load(co->state, wsl_records_restore_job, co->cluster, err);
    if (r < 0)
        return wsl_err_prefix(err, "state directory %s", s->state);
    if (wsl_state_mended(co->state) > 0)
        wsl_warn("event=files_mended count=%zu reason=\"the last end was no clean one\"",
                 wsl_state_mended(co->state));
    wsl_cluster_restored(co->cluster, co->now());
    return 0;
}

/* ---- serving ---- */

static void on_tick(uv_timer_t *timer)
{
    struct wsl_coordinator *co = timer->data;

    if (++app.ticks % (RETRY_MS / TICK_MS) == 0)
        wsl_committer_retry(co);
    wsl_cluster_tick(co->cluster, co->now());
    wsl_data_check_tick(co);
    wsl_committer_commit(co);
    wsl_subscribers_notify_waiting(co);
}

static void on_rpc_closed(void *context)
{
    struct wsl_coordinator *co = context;

    /* The store's mailbox keeps the loop alive until close_all. */
    uv_stop(co->loop);
}

static void stop(struct wsl_coordinator *co)
{
    uv_close((uv_handle_t *)&app.terminate, NULL);
    uv_close((uv_handle_t *)&app.interrupt, NULL);
    if (app.has_lifeline)
        wsl_lifeline_close(&app.lifeline);
    uv_close((uv_handle_t *)&co->tick, NULL);
    wsl_rpc_close(co->rpc, SHUTDOWN_GRACE_MS, on_rpc_closed, co);
}

static void on_signal(uv_signal_t *handle, int number)
{
    wsl_info("event=stopping signal=%d action=\"jobs go on without the coordinator\"", number);
    stop(handle->data);
}

static void on_lifeline(void *context)
{
    wsl_info("event=stopping reason=\"the lifeline has ended\"");
    stop(context);
}

static int serve(struct wsl_coordinator *co, const struct settings *s, struct wsl_err *err)
{
    struct wsl_rpc_server_setup setup = {
        .address = s->listen,
        .methods = methods,
        .method_count = sizeof methods / sizeof *methods,
        .context = co,
        .descriptor_set = wsl_descriptor_set,
        .descriptor_set_size = wsl_descriptor_set_size,
        .remote_plaintext = s->insecure,
    };
    char text[32];
    int r = wsl_rpc_open(&co->rpc, co->loop, err);

    if (r == 0)
        r = wsl_rpc_server_open(&co->server, co->rpc, &setup, err);
    if (r < 0)
        return r;
    snprintf(text, sizeof text, "%d\n", wsl_rpc_server_port(co->server));
    if (s->port_file)
        r = wsl_file_write_atomic(s->port_file, text, strlen(text), err);
    if (r == 0 && s->lifeline != NO_LIFELINE)
        r = wsl_lifeline_open(&app.lifeline, co->loop, (int)s->lifeline, on_lifeline, co, err);
    app.has_lifeline = r == 0 && s->lifeline != NO_LIFELINE;
    return r;
}

static void start_timers(struct wsl_coordinator *co)
{
    uv_timer_init(co->loop, &co->tick);
    co->tick.data = co;
    uv_timer_start(&co->tick, on_tick, TICK_MS, TICK_MS);
    uv_signal_init(co->loop, &app.terminate);
    uv_signal_init(co->loop, &app.interrupt);
    app.terminate.data = co;
    app.interrupt.data = co;
    uv_signal_start(&app.terminate, on_signal, SIGTERM);
    uv_signal_start(&app.interrupt, on_signal, SIGINT);
}

static void close_all(struct wsl_coordinator *co)
{
    co->closing = true;
    wsl_data_check_free(co);
    wsl_state_close(co->state); /* what was begun is finished: its completions run in here */
    uv_run(co->loop, UV_RUN_DEFAULT);
    wsl_committer_free(co);
    wsl_streams_drop(co, 0);
    wsl_cluster_close(co->cluster);
    uv_loop_close(co->loop);
}

static int run(const struct settings *s)
{
    struct wsl_coordinator *co = &app.co;
    struct wsl_err err = {0};
    int r;

    uv_loop_init(&app.loop);
    co->loop = &app.loop;
    co->now = steady_now;
    co->heartbeat_ms = (uint32_t)s->heartbeat_ms;
    prepare_process();
    r = open_state(co, s, &err);
    if (r == 0)
        r = serve(co, s, &err);
    if (r < 0) {
        wsl_error("event=start_failed reason=\"%s\"", err.text);
        if (co->rpc) {
            wsl_rpc_close(co->rpc, 0, on_rpc_closed, co);
            uv_run(co->loop, UV_RUN_DEFAULT);
        }
        close_all(co);
        return 1;
    }
    wsl_info("event=serving address=%s port=%d state=%s jobs=%zu", s->listen,
             wsl_rpc_server_port(co->server), s->state, wsl_cluster_job_count(co->cluster));
    start_timers(co);
    wsl_committer_commit(co);
    uv_run(co->loop, UV_RUN_DEFAULT);
    close_all(co);
    wsl_info("event=stopped");
    return 0;
}

int main(int argc, char **argv)
{
    struct settings s = {.listen = "127.0.0.1:7070",
                         .log_level = "info",
                         .lifeline = NO_LIFELINE,
                         .heartbeat_ms = 1000,
                         .worker_grace_ms = 30000,
                         .worker_forget_ms = 86400000,
                         .stop_grace_ms = 30000,
                         .backoff_ms = 500};
    const struct wsl_arg rows[] = {
        {"listen", 'l', WSL_ARG_TEXT, &s.listen, 0, 0, "ADDRESS",
         "address and port to serve on (127.0.0.1:7070); port 0: any"},
        {"state", 's', WSL_ARG_TEXT, &s.state, 0, 0, "DIR",
         "directory of jobs, events, logs; made when missing (required)"},
        {"port-file", 0, WSL_ARG_TEXT, &s.port_file, 0, 0, "FILE",
         "write the bound port there once serving"},
        {"insecure", 0, WSL_ARG_FLAG, &s.insecure, 0, 0, NULL,
         "allow an address off loopback, without TLS or login"},
        {"heartbeat-ms", 0, WSL_ARG_UINT, &s.heartbeat_ms, 50, 60000, "MS",
         "how often workers report (1000); away after five missed"},
        {"worker-grace-ms", 0, WSL_ARG_UINT, &s.worker_grace_ms, 100, 86400000, "MS",
         "how long a worker may be away before its trainers count as lost (30000)"},
        {"worker-forget-ms", 0, WSL_ARG_UINT, &s.worker_forget_ms, 100, 31536000000, "MS",
         "how long a lost worker stays in the list of nodes (86400000, a day)"},
        {"stop-grace-ms", 0, WSL_ARG_UINT, &s.stop_grace_ms, 100, 86400000, "MS",
         "from a cancel to the kill of what has not stopped (30000)"},
        {"backoff-ms", 0, WSL_ARG_UINT, &s.backoff_ms, 1, 60000, "MS",
         "before the first restart of a job; doubles each time, up to 30 s (500)"},
        {"lifeline", 0, WSL_ARG_UINT, &s.lifeline, 0, 1 << 20, "FD",
         "stop when this inherited pipe ends, as on SIGTERM ('wslctl run' uses it)"},
        {"log-level", 0, WSL_ARG_TEXT, &s.log_level, 0, 0, "LEVEL",
         "debug, info, warn or error (info)"},
        {"version", 0, WSL_ARG_FLAG, &s.version, 0, 0, NULL, "print the version and exit"},
    };
    const struct wsl_args args = {
        .usage = "wsl-coordinator --state DIR [options]",
        .about =
            "Accepts jobs, schedules them over workers, restarts what failed, keeps logs and "
            "metrics.\n"
            "It may be stopped or killed at any moment: jobs go on, and it picks them up again.",
        .rows = rows,
        .row_count = sizeof rows / sizeof *rows,
    };
    enum wsl_log_level level;
    struct wsl_err err = {0};
    int words, r;

    wsl_stdfds_open();
    r = wsl_args_parse(&args, argc, argv, &words, &err);
    if (r == WSL_ARGS_HELP)
        return 0;
    if (r == 0)
        r = wsl_args_expect_none(argc, argv, words, &err);
    if (r == 0 && s.version) {
        printf("wsl-coordinator %s\n", WSL_VERSION);
        return 0;
    }
    if (r == 0)
        r = wsl_args_require(s.state, "--state DIR", &err);
    if (r == 0)
        r = wsl_log_level_parse(s.log_level, &level, &err);
    if (r == 0)
        r = wsl_rpc_address_check(s.listen, s.insecure, &err);
    if (r < 0) {
        fprintf(stderr, "wsl-coordinator: %s\n", err.text);
        return WSL_ARGS_WRONG;
    }
    wsl_log_open("coordinator", level);
    return run(&s);
}
