/* SPDX-License-Identifier: Apache-2.0
 *
 * wsl-worker: one daemon per machine. Reads the command line, takes the state directory, runs the
 * loop.
 */
#include "base/args.h"
#include "base/file.h"
#include "base/lifeline.h"
#include "base/log.h"
#include "base/program.h"
#include "base/rlimit.h"
#include "base/stdfds.h"
#include "daemon/worker/address.h"
#include "daemon/worker/cuda_options.h"
#include "daemon/worker/identity.h"
#include "daemon/worker/worker.h"

#include <errno.h>
#include <limits.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NO_LIFELINE UINT64_MAX

enum { LOOK_AGAIN_SECONDS = 2 };

struct options {
    const char *coordinator, *state, *name, *trainer, *checkpoints, *address, *log_level, *gpus;
    uint64_t slots, lifeline;
    double stop_grace;
    bool stop_trainers, share_gpus, version;
    struct wsl_cuda_options cuda;
};

/* Paths as the daemon uses them: absolute, so that they mean the same to a later one. */
struct paths {
    char state[PATH_MAX], checkpoints[PATH_MAX], trainer[PATH_MAX], lock[PATH_MAX];
};

static int fit_name(const char *name, struct wsl_err *err)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    if (n < 1 || n > 64 || name[n])
        return wsl_fail(err, WSL_EINVAL, "--name '%.80s': must be 1 to 64 of a-z A-Z 0-9 . _ -",
                        name);
    return 0;
}

static int parse(int argc, char **argv, struct options *o, struct wsl_err *err)
{
    const struct wsl_arg rows[] = {
        {"coordinator", 0, WSL_ARG_TEXT, &o->coordinator, 0, 0, "ADDRESS",
         "where the coordinator listens (default 127.0.0.1:7070)"},
        {"state", 0, WSL_ARG_TEXT, &o->state, 0, 0, "DIR",
         "this daemon's own directory: run directories of its trainers (required)"},
        {"name", 0, WSL_ARG_TEXT, &o->name, 0, 0, "NAME",
         "this worker's name, unique in the cluster (default: the host's name)"},
        {"gpus", 0, WSL_ARG_TEXT, &o->gpus, 0, 0, "all|none|LIST",
         "GPUs to serve, one per trainer: numbers as nvidia-smi has them, or\nUUIDs (default: all "
         "that CUDA_VISIBLE_DEVICES leaves)"},
        {"slots", 0, WSL_ARG_UINT, &o->slots, 1, 256, "N",
         "trainers run at a time (default: one per GPU; without GPUs 1)"},
        {"share-gpus", 0, WSL_ARG_FLAG, &o->share_gpus, 0, 0, NULL,
         "let trainers share a GPU: more slots than GPUs, or several workers"},
        WSL_CUDA_OPTIONS_ROWS(&o->cuda),
        {"trainer", 0, WSL_ARG_TEXT, &o->trainer, 0, 0, "PATH",
         "the trainer program (default: wsl-trainer beside this one or in ../libexec/wsl)"},
        {"checkpoints", 0, WSL_ARG_TEXT, &o->checkpoints, 0, 0, "DIR",
         "where jobs' checkpoints go (default: STATE/checkpoints)"},
        {"address", 0, WSL_ARG_TEXT, &o->address, 0, 0, "HOST",
         "where other machines' trainers reach this one (default: the address that it reaches the "
         "coordinator from)"},
        {"stop-trainers", 0, WSL_ARG_FLAG, &o->stop_trainers, 0, 0, NULL,
         "on SIGTERM or SIGINT stop the trainers too; without it they go on"},
        {"stop-grace", 0, WSL_ARG_REAL, &o->stop_grace, 0.1, 86400, "SECONDS",
         "from a graceful stop of a trainer to its kill (default 60)"},
        {"lifeline", 0, WSL_ARG_UINT, &o->lifeline, 0, 1 << 20, "FD",
         "stop when this inherited pipe ends, as on SIGTERM ('wslctl run' uses it)"},
        {"log-level", 0, WSL_ARG_TEXT, &o->log_level, 0, 0, "LEVEL",
         "debug, info, warn or error (default info)"},
        {"version", 0, WSL_ARG_FLAG, &o->version, 0, 0, NULL, "print the version and exit"},
    };
    const struct wsl_args args = {
        .usage = "wsl-worker --state DIR [options]",
        .about = "Runs the trainers of this machine for a coordinator. Trainers outlive it: a "
                 "daemon started again\non the same state directory takes them over.",
        .rows = rows,
        .row_count = sizeof rows / sizeof rows[0],
    };
    int words;
    int r = wsl_args_parse(&args, argc, argv, &words, err);

    return r == WSL_ARGS_RUN ? wsl_args_expect_none(argc, argv, words, err) : r;
}

static int absolute(const char *path, char ret[PATH_MAX], struct wsl_err *err)
{
    int r = wsl_file_make_directories(path, err);

    if (r < 0)
        return r;
    return realpath(path, ret) ? 0 : wsl_fail_errno(err, "cannot use %s", path);
}

static int find_trainer(char ret[PATH_MAX], struct wsl_err *err)
{
    struct wsl_err where = {0};
    int r = wsl_program_find("wsl-trainer", ret, &where);

    return r < 0 ? wsl_fail(err, r, "%s; name it with --trainer", where.text) : 0;
}

static int find_paths(const struct options *o, struct paths *p, struct wsl_err *err)
{
    char checkpoints[PATH_MAX];
    int r;

    r = wsl_args_require(o->state, "--state DIR", err);
    if (r == 0)
        r = absolute(o->state, p->state, err);
    if (r < 0)
        return r;
    if (wsl_file_join(checkpoints, sizeof checkpoints, p->state, "checkpoints") < 0 ||
        wsl_file_join(p->lock, sizeof p->lock, p->state, "lock") < 0)
        return wsl_fail(err, WSL_EINVAL, "--state: path too long");
    r = absolute(o->checkpoints ? o->checkpoints : checkpoints, p->checkpoints, err);
    if (r < 0)
        return r;
    if (!o->trainer)
        return find_trainer(p->trainer, err);
    if (!realpath(o->trainer, p->trainer) || access(p->trainer, X_OK) < 0)
        return wsl_fail(err, WSL_EINVAL, "cannot run --trainer %s: %s", o->trainer,
                        strerror(errno));
    return 0;
}

static void prepare_process(void)
{
    signal(SIGPIPE, SIG_IGN);
    wsl_rlimit_file_size_is_an_error();
    signal(SIGCHLD, SIG_DFL);                 /* ignored, our children's ends would be lost */
    close_range(3, ~0u, CLOSE_RANGE_CLOEXEC); /* what we were started with is not the trainers' */
    wsl_rlimit_raise_open_files(WSL_RLIMIT_DAEMON_FILES);
}

/* What may end the worker. */
struct signals {
    uv_signal_t term, interrupt;
    struct wsl_lifeline lifeline;
    bool has_lifeline, stopping;
    struct wsl_worker *worker;
};

static void on_signal(uv_signal_t *handle, int number)
{
    struct signals *s = handle->data;

    wsl_info("event=signal number=%d", number);
    s->stopping = true;
    wsl_worker_stop(s->worker);
}

/* A second stop would kill the trainers: whoever asked for the first wanted their checkpoints. */
static void on_lifeline(void *context)
{
    struct signals *s = context;

    wsl_info("event=lifeline_ended stopping=%s", s->stopping ? "already" : "now");
    if (!s->stopping)
        wsl_worker_stop(s->worker);
    s->stopping = true;
}

static int watch_signals(uv_loop_t *loop, struct signals *s, uint64_t lifeline, struct wsl_err *err)
{
    int r = 0;

    uv_signal_init(loop, &s->term);
    uv_signal_init(loop, &s->interrupt);
    s->term.data = s->interrupt.data = s;
    uv_signal_start(&s->term, on_signal, SIGTERM);
    uv_signal_start(&s->interrupt, on_signal, SIGINT);
    /* they do not keep the loop alive: it ends with the worker */
    uv_unref((uv_handle_t *)&s->term);
    uv_unref((uv_handle_t *)&s->interrupt);
    if (lifeline != NO_LIFELINE)
        r = wsl_lifeline_open(&s->lifeline, loop, (int)lifeline, on_lifeline, s, err);
    s->has_lifeline = r == 0 && lifeline != NO_LIFELINE;
    return r;
}

static void unwatch_signals(struct signals *s)
{
    uv_close((uv_handle_t *)&s->term, NULL);
    uv_close((uv_handle_t *)&s->interrupt, NULL);
    if (s->has_lifeline)
        wsl_lifeline_close(&s->lifeline);
}

static int run(const struct wsl_worker_setup *setup, uint64_t lifeline, struct wsl_err *err)
{
    struct wsl_worker_setup with_loop = *setup;
    struct signals signals = {0};
    uv_loop_t loop;
    int r = uv_loop_init(&loop);

    if (r < 0)
        return wsl_fail(err, WSL_EIO, "cannot make an event loop: %s", uv_strerror(r));
    with_loop.loop = &loop;
    r = watch_signals(&loop, &signals, lifeline, err);
    if (r == 0)
        r = wsl_worker_open(&signals.worker, &with_loop, err);
    if (r == 0)
        wsl_info("event=started name=%s slots=%u coordinator=%s state=%s trainer=%s", setup->name,
                 setup->slots, setup->coordinator, setup->state, setup->trainer);
    uv_run(&loop, UV_RUN_DEFAULT);
    unwatch_signals(&signals);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return r;
}

struct machine {
    struct wsl_facts facts;
    struct wsl_gpus gpus;
};

/* Whom the GPUs are given to, and so how many trainers run at a time. */
static int assign_gpus(const struct options *o, struct machine *m, uint32_t *ret_slots,
                       struct wsl_err *err)
{
    int r;

    wsl_facts_read(&m->facts);
    r = wsl_gpus_choose(&m->gpus, &m->facts, getenv("CUDA_VISIBLE_DEVICES"), o->gpus, err);
    if (r < 0)
        return r;
    wsl_gpus_limit_facts(&m->gpus, &m->facts);
    *ret_slots = o->slots > 0 ? (uint32_t)o->slots : m->gpus.count > 0 ? m->gpus.count : 1;
    if (m->gpus.count == 0 || o->share_gpus)
        return 0;
    if (*ret_slots > m->gpus.count)
        return wsl_fail(err, WSL_EINVAL,
                        "--slots %u, and there %s %u GPU%s: trainers would share one; --share-gpus "
                        "allows that, --gpus none trains on the CPU",
                        *ret_slots, m->gpus.count == 1 ? "is" : "are", m->gpus.count,
                        m->gpus.count == 1 ? "" : "s");
    return wsl_gpus_lock(&m->gpus, err);
}

/* At the start of a machine its network and its names may not be there yet: then we wait for them.
 */
static int find_address(const struct options *o, struct wsl_address_facts *ret, struct wsl_err *err)
{
    bool told = false;
    int r;

    while ((r = wsl_address_look(ret, o->address, o->coordinator, err)) == WSL_EUNAVAILABLE) {
        if (!told)
            wsl_warn("event=no_address reason=\"%s\" next=\"trying again; --address would do "
                     "without it\"",
                     err->text);
        told = true;
        sleep(LOOK_AGAIN_SECONDS);
    }
    return r;
}

static int serve(const struct options *o, struct wsl_err *err)
{
    static struct paths paths;
    static struct machine machine;
    static struct wsl_trainer_arguments arguments;
    static char id[WSL_IDENTITY_SIZE];
    char host[65] = "worker";
    struct wsl_address_facts address;
    struct wsl_worker_setup setup;
    enum wsl_log_level level;
    int lock = -1, r;

    r = wsl_log_level_parse(o->log_level, &level, err);
    if (r < 0)
        return r;
    wsl_log_open("worker", level);
    gethostname(host, sizeof host - 1);
    setup = (struct wsl_worker_setup){
        .coordinator = o->coordinator,
        .name = o->name ? o->name : host,
        .id = id,
        .state = paths.state,
        .checkpoints = paths.checkpoints,
        .trainer = paths.trainer,
        .trainer_arguments = arguments.items,
        .facts = &machine.facts,
        .gpus = &machine.gpus,
        .stop_grace_ms = (uint32_t)(o->stop_grace * 1000),
        .stop_trainers = o->stop_trainers,
    };
    r = fit_name(setup.name, err);
    if (r == 0)
        r = find_paths(o, &paths, err);
    if (r == 0)
        r = wsl_cuda_options_arguments(&o->cuda, &arguments, err);
    if (r < 0)
        return r;
    r = wsl_file_lock(paths.lock, &lock, err);
    if (r == WSL_EEXIST)
        return wsl_fail(err, r, "another wsl-worker runs on the state directory %s", paths.state);
    if (r < 0)
        return r;
    r = wsl_identity_read(paths.state, id, err);
    if (r == 0)
        r = find_address(o, &address, err);
    if (r == 0)
        r = wsl_address_choose(&address, &setup.address, err);
    if (r == 0)
        r = assign_gpus(o, &machine, &setup.slots, err);
    if (r == 0)
        r = run(&setup, o->lifeline, err);
    close(lock);
    return r;
}

int main(int argc, char **argv)
{
    struct options options = {.coordinator = "127.0.0.1:7070",
                              .log_level = "info",
                              .gpus = "all",
                              .lifeline = NO_LIFELINE,
                              .stop_grace = 60};
    struct wsl_err err = {0};
    int r;

    wsl_stdfds_open();
    prepare_process();
    r = parse(argc, argv, &options, &err);
    if (r == WSL_ARGS_HELP)
        return 0;
    if (r == 0 && options.version) {
        printf("wsl-worker %s\n", WSL_VERSION);
        return 0;
    }
    if (r == 0)
        r = serve(&options, &err);
    if (r < 0)
        fprintf(stderr, "wsl-worker: %s\n", err.text);
    return r == WSL_EINVAL ? WSL_ARGS_WRONG : r < 0 ? 1 : 0;
}
