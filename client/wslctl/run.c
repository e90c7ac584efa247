/* SPDX-License-Identifier: Apache-2.0
 *
 * run: a job on this machine, from its start to its end, in one command. A private coordinator and
 * worker (local_cluster.h) do the work; whoever uses this need not know of them.
 *
 * The directory of a run, runs/NAME unless --state names another: checkpoints/, `final` (a link to
 * the last checkpoint of a job that succeeded) and .wsl/ (the daemons' state and logs).
 */
#include "client/wslctl/run.h"

#include "base/file.h"
#include "proto/jobspec/jobspec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SLOTS_MAX = 256 }; /* what one worker takes */

/* ---- the job file and the directory ---- */

static int make_paths(struct wsl_run *run)
{
    char here[PATH_MAX], name[PATH_MAX];

    snprintf(name, sizeof name, "runs/%s", run->spec->name);
    if (!getcwd(here, sizeof here) ||
        wsl_file_join(run->directory, sizeof run->directory, here, run->state ? run->state : name) <
            0 ||
        wsl_file_join(run->daemons, sizeof run->daemons, run->directory, ".wsl") < 0 ||
        wsl_file_join(run->checkpoints, sizeof run->checkpoints, run->directory, "checkpoints") < 0)
        return wsl_ctl_usage(run->ctl, "the path of the run's directory is too long");
    for (size_t n = strlen(run->directory); n > 1 && run->directory[n - 1] == '/'; n--)
        run->directory[n - 1] = '\0';
    return WSL_CTL_DONE;
}

/* `init: job:NAME` means the run of that name beside this one. */
static int resolve_init(struct wsl_run *run)
{
    Wsl__V1__Init *init = run->spec->init;
    char path[PATH_MAX], whole[PATH_MAX];
    int n;

    if (!init || init->from_case == WSL__V1__INIT__FROM__NOT_SET)
        return WSL_CTL_DONE;
    if (init->from_case == WSL__V1__INIT__FROM_CHECKPOINT) {
        if (wsl_file_exists(init->checkpoint))
            return WSL_CTL_DONE;
        wsl_ctl_say("init: %s does not exist", init->checkpoint);
        return WSL_CTL_USAGE;
    }
    n = (int)(strrchr(run->directory, '/') - run->directory);
    n = snprintf(path, sizeof path, "%.*s/%s/final", n, run->directory, init->job);
    if (n < 0 || n >= (int)sizeof path || !realpath(path, whole)) {
        wsl_ctl_say("init: no run '%s' beside %s has succeeded; run that job first, or give the "
                    "path of a checkpoint",
                    init->job, wsl_run_short_path(run->directory));
        return WSL_CTL_USAGE;
    }
    free(init->job);
    init->from_case = WSL__V1__INIT__FROM_CHECKPOINT;
    init->checkpoint = strdup(whole);
    return init->checkpoint ? WSL_CTL_DONE : WSL_CTL_FAILED;
}

/* Here is where the job will run: what is missing is known at once. */
static int check_inputs(struct wsl_run *run)
{
    char path[PATH_MAX];

    if (wsl_file_join(path, sizeof path, run->spec->data, "dataset.json") < 0 ||
        !wsl_file_exists(path)) {
        wsl_ctl_say("data: %s is not a data set (it has no dataset.json); 'wslctl data import' "
                    "makes one",
                    run->spec->data);
        return WSL_CTL_USAGE;
    }
    if (run->spec->world > SLOTS_MAX) {
        wsl_ctl_say("world: %u trainers are too many for one machine (at most %d)",
                    run->spec->world, SLOTS_MAX);
        return WSL_CTL_USAGE;
    }
    return resolve_init(run);
}

static int prepare(struct wsl_run *run)
{
    int code = wsl_ctl_load_job(run->file, &run->sets, &run->spec);

    if (code == WSL_CTL_DONE && wsl_jobspec_fill(run->spec, NULL) < 0) {
        wsl_ctl_say("no memory for the job");
        code = WSL_CTL_FAILED;
    }
    if (code == WSL_CTL_DONE)
        code = make_paths(run);
    return code == WSL_CTL_DONE ? check_inputs(run) : code;
}

/* ---- what to do ---- */

static int start_new(struct wsl_run *run)
{
    struct wsl_err err = {0};
    uint64_t id = 0;

    wsl_ctl_note(run->ctl, "running %s in %s; Ctrl-C stops it, the same command resumes it",
                 run->spec->name, wsl_run_short_path(run->directory));
    if (wsl_run_start_worker(run, &err) < 0 || wsl_run_submit(run, &id, &err) < 0)
        return wsl_run_fail(run, &err);
    return wsl_run_follow(run, id);
}

static int resume(struct wsl_run *run, const Wsl__V1__Job *job)
{
    struct wsl_err err = {0};
    uint64_t id = job->id;

    if (job->checkpoint[0])
        wsl_ctl_note(run->ctl, "resuming %s at step %" PRIu64 " from %s", run->spec->name,
                     job->checkpoint_step, wsl_run_short_path(job->checkpoint));
    else
        wsl_ctl_note(run->ctl, "resuming %s in %s", run->spec->name,
                     wsl_run_short_path(run->directory));
    return wsl_run_start_worker(run, &err) < 0 ? wsl_run_fail(run, &err) : wsl_run_follow(run, id);
}

static int say_changed(const Wsl__V1__Job *job, const char *changes)
{
    wsl_ctl_say(
        "the job file has changed since this run %s (%s); --fresh starts it afresh, --state "
        "DIR runs it beside the old one",
        wsl_ctl_job_ended(job) ? "succeeded" : "began", changes);
    return WSL_CTL_USAGE;
}

static int say_done(const struct wsl_run *run, const Wsl__V1__Job *job)
{
    if (!run->ctl->quiet)
        printf("%s has succeeded already; checkpoint: %s\n", run->spec->name,
               wsl_run_short_path(job->checkpoint));
    wsl_ctl_note(run->ctl, "--fresh starts it afresh");
    return WSL_CTL_DONE;
}

static int start_afresh(struct wsl_run *run, const Wsl__V1__Job *old)
{
    struct wsl_err err = {0};
    uint64_t id = 0;
    int code;

    if (wsl_ctl_job_ended(old))
        return start_new(run);
    code = wsl_run_cancel(run, old->id);
    if (code != WSL_CTL_DONE)
        return code;
    wsl_ctl_note(run->ctl, "running %s afresh in %s; earlier checkpoints stay", run->spec->name,
                 wsl_run_short_path(run->directory));
    return wsl_run_submit(run, &id, &err) < 0 ? wsl_run_fail(run, &err) : wsl_run_follow(run, id);
}

static int decide(struct wsl_run *run, const Wsl__V1__Job *job)
{
    struct wsl_buf changes = {0};
    int code;

    if (!job)
        return start_new(run);
    if (run->fresh)
        return start_afresh(run, job);
    if (job->state == WSL__V1__JOB_STATE__FAILED || job->state == WSL__V1__JOB_STATE__CANCELLED) {
        wsl_ctl_note(run->ctl, "the last run ended early (%s); this one starts from the beginning",
                     wsl_ctl_job_detail(job));
        return start_new(run);
    }
    if (wsl_jobspec_differences(job->spec, run->spec, &changes) < 0) {
        wsl_ctl_say("no memory to compare the job with its last run");
        code = WSL_CTL_FAILED;
    } else if (changes.size > 0) {
        code = say_changed(job, (const char *)changes.data);
    } else {
        code = wsl_ctl_job_ended(job) ? say_done(run, job) : resume(run, job);
    }
    wsl_buf_free(&changes);
    return code;
}

static void on_waiting(void *context)
{
    struct wsl_run *run = context;

    wsl_ctl_note(run->ctl, "the last run of this job is still stopping; waiting for it");
}

static int run_here(struct wsl_run *run)
{
    const struct wsl_local_cluster_setup setup = {.directory = run->daemons,
                                                  .checkpoints = run->checkpoints,
                                                  .give_up = wsl_run_give_up,
                                                  .waiting = on_waiting,
                                                  .context = run};
    Wsl__V1__ListJobsResponse *list = NULL;
    Wsl__V1__Job *job = NULL;
    struct wsl_err err = {0};
    int code;

    wsl_ctl_count_interrupts();
    if (wsl_local_cluster_open(&run->cluster, &setup, &err) < 0)
        return wsl_run_fail(run, &err);
    run->ctl->server = wsl_local_cluster_address(run->cluster);
    if (wsl_run_newest_job(run, &list, &job, &err) < 0)
        code = wsl_run_fail(run, &err);
    else
        code = decide(run, job);
    if (list)
        protobuf_c_message_free_unpacked(&list->base, NULL);
    wsl_ctl_disconnect(run->ctl);
    wsl_local_cluster_close(run->cluster);
    return code;
}

int wsl_ctl_run(struct wsl_ctl *ctl, int argc, char **argv)
{
    struct wsl_run run = {.ctl = ctl, .interval_s = 5};
    int code;
    const struct wsl_arg rows[] = {
        {"file", 'f', WSL_ARG_TEXT, &run.file, 0, 0, "FILE", "the job file; - is standard input"},
        {"set", 0, WSL_ARG_LIST, &run.sets, 0, 0, "KEY=VALUE",
         "replaces what the file says; may be repeated"},
        {"state", 0, WSL_ARG_TEXT, &run.state, 0, 0, "DIR",
         "the run's directory (default: runs/NAME)"},
        {"fresh", 0, WSL_ARG_FLAG, &run.fresh, 0, 0, NULL,
         "start at step 0 whatever ran before; its checkpoints stay"},
        {"interval", 0, WSL_ARG_UINT, &run.interval_s, 0, 86400, "SECONDS",
         "time between progress lines without a terminal (default: 5)"},
    };

    if (!wsl_ctl_parse(ctl, rows, 5, argc, argv))
        return ctl->exit_code;
    if (ctl->word_count == 1 && run.file)
        return wsl_ctl_usage(ctl, "two job files: %s and %s", run.file, ctl->words[0]);
    if (ctl->word_count == 1)
        run.file = ctl->words[0];
    if (!run.file)
        return wsl_ctl_usage(ctl, "run needs a job file");
    code = prepare(&run);
    wsl_run_view_init(&run.view, ctl, run.interval_s);
    if (code == WSL_CTL_DONE)
        code = run_here(&run);
    if (run.spec)
        wsl__v1__job_spec__free_unpacked(run.spec, NULL);
    return code;
}
