/* SPDX-License-Identifier: Apache-2.0
 *
 * run, its job: the private coordinator's answers, following the job, stopping it.
 */
#include "client/wslctl/run.h"

#include "base/clock.h"
#include "base/file.h"
#include "client/wslctl/follow.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    READY_MS = 60000, /* until the worker has said hello */
    POLL_MS = 50,
};

/* ---- interruption ---- */

bool wsl_run_give_up(void *context)
{
    (void)context;
    return wsl_ctl_interrupt_count() > 0;
}

static void stop_for(struct wsl_run *run)
{
    wsl_run_view_clear(&run->view);
    run->view.stopping = true;
    wsl_ctl_say(run->interrupts == 1
                    ? "stopping after this step and a checkpoint; Ctrl-C again to kill now"
                    : "killing the job's processes");
    wsl_local_cluster_stop(run->cluster);
}

/* Several times a second while the job is followed. */
static int on_check(void *context, struct wsl_err *err)
{
    struct wsl_run *run = context;

    while (run->interrupts < wsl_ctl_interrupt_count()) {
        run->interrupts++;
        stop_for(run);
    }
    if (run->interrupts > 0 && wsl_local_cluster_stopped(run->cluster))
        return wsl_fail(err, WSL_ECANCELLED, "stopped");
    return wsl_local_cluster_check(run->cluster, err);
}

int wsl_run_fail(const struct wsl_run *run, const struct wsl_err *err)
{
    if (err->code == WSL_EEXIST)
        wsl_ctl_say("%s is running already in %s; Ctrl-C stops it there, --state DIR gives this "
                    "one a directory of its own",
                    run->spec->name, wsl_run_short_path(run->directory));
    else if (err->code == WSL_ECANCELLED && wsl_ctl_interrupt_count() > 0)
        return WSL_CTL_INTERRUPTED;
    else if (err->code == WSL_EUNAVAILABLE || err->code == WSL_ETIMEOUT)
        wsl_ctl_say("the job's processes do not answer; their logs are %s/*.log",
                    wsl_run_short_path(run->daemons));
    else
        wsl_ctl_say("%s", err->text);
    return err->code == WSL_EINVAL ? WSL_CTL_USAGE : WSL_CTL_FAILED;
}

/* ---- the private coordinator ---- */

/* The newest job of this directory: *ret is NULL when there is none; the caller frees *list. */
int wsl_run_newest_job(struct wsl_run *run, Wsl__V1__ListJobsResponse **list, Wsl__V1__Job **ret,
                       struct wsl_err *err)
{
    Wsl__V1__ListJobsRequest request = WSL__V1__LIST_JOBS_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    int r;

    request.limit = 1;
    r = wsl_ctl_call(run->ctl, "/wsl.v1.JobService/List", &request.base,
                     &wsl__v1__list_jobs_response__descriptor, &answer, err);
    *list = (Wsl__V1__ListJobsResponse *)answer;
    *ret = r == 0 && (*list)->n_jobs > 0 && (*list)->jobs[0]->spec ? (*list)->jobs[0] : NULL;
    return r;
}

/* As the worker counts them: those that CUDA_VISIBLE_DEVICES leaves, or all of the driver's. */
static bool has_gpus(void)
{
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    DIR *dir = visible ? NULL : opendir("/proc/driver/nvidia/gpus");
    const struct dirent *entry;
    bool found = visible && visible[0] && strcmp(visible, "-1") != 0;

    while (dir && (entry = readdir(dir)))
        found = found || entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return found;
}

/* Trainers on the CPU, or 0: one on each GPU. */
static uint32_t slots_for(const Wsl__V1__JobSpec *spec)
{
    const char *backend = spec->backend;

    if (strcmp(backend, "cuda") == 0 || (!backend[0] && has_gpus()))
        return 0;
    return spec->world;
}

/* Slots of the worker, 0 when it has not said hello yet. */
static int read_slots(struct wsl_run *run, uint32_t *ret_slots, struct wsl_err *err)
{
    Wsl__V1__ListNodesRequest request = WSL__V1__LIST_NODES_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    const Wsl__V1__ListNodesResponse *list;
    int r = wsl_ctl_call(run->ctl, "/wsl.v1.NodeService/List", &request.base,
                         &wsl__v1__list_nodes_response__descriptor, &answer, err);

    *ret_slots = 0;
    if (r < 0)
        return r;
    list = (const Wsl__V1__ListNodesResponse *)answer;
    for (size_t i = 0; i < list->n_nodes; i++)
        if (list->nodes[i]->state == WSL__V1__NODE_STATE__READY && list->nodes[i]->facts)
            *ret_slots += list->nodes[i]->facts->slots;
    protobuf_c_message_free_unpacked(answer, NULL);
    return 0;
}

/* Starts the worker and sees that the job fits. */
int wsl_run_start_worker(struct wsl_run *run, struct wsl_err *err)
{
    const struct timespec pause = {0, POLL_MS * 1000000L};
    uint64_t deadline = wsl_clock_ns() + READY_MS * 1000000ull;
    uint32_t slots = 0;
    int r = wsl_local_cluster_start_worker(run->cluster, slots_for(run->spec), err);

    while (r == 0 && slots == 0) {
        nanosleep(&pause, NULL);
        r = wsl_local_cluster_check(run->cluster, err);
        if (r == 0 && wsl_run_give_up(run))
            return wsl_fail(err, WSL_ECANCELLED, "interrupted");
        if (r == 0 && wsl_clock_ns() > deadline)
            return wsl_fail(err, WSL_ETIMEOUT, "the worker does not come up");
        if (r == 0)
            r = read_slots(run, &slots, err);
    }
    if (r == 0 && slots < run->spec->world)
        return wsl_fail(err, WSL_EINVAL,
                        "world: the job asks for %u trainers, this machine has %u GPU%s; "
                        "--set world=%u fits",
                        run->spec->world, slots, slots == 1 ? "" : "s", slots);
    return r;
}

int wsl_run_submit(struct wsl_run *run, uint64_t *ret_id, struct wsl_err *err)
{
    Wsl__V1__SubmitRequest request = WSL__V1__SUBMIT_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    const Wsl__V1__SubmitResponse *response;
    int r;

    request.spec = run->spec;
    r = wsl_ctl_call(run->ctl, "/wsl.v1.JobService/Submit", &request.base,
                     &wsl__v1__submit_response__descriptor, &answer, err);
    if (r < 0)
        return r;
    response = (const Wsl__V1__SubmitResponse *)answer;
    *ret_id = response->job ? response->job->id : 0;
    if (response->note[0])
        wsl_ctl_note(run->ctl, "note: %s", response->note);
    protobuf_c_message_free_unpacked(answer, NULL);
    return *ret_id ? 0 : wsl_fail(err, WSL_EINTERNAL, "the job was not accepted");
}

/* ---- following ---- */

/* A link to the checkpoint of a job that succeeded, for `init: job:NAME` and for people. */
static void link_final(const struct wsl_run *run)
{
    char link[PATH_MAX], temporary[PATH_MAX];
    const char *target = run->view.checkpoint;
    size_t n = strlen(run->directory);

    if (wsl_file_join(link, sizeof link, run->directory, "final") < 0 ||
        wsl_file_join(temporary, sizeof temporary, run->directory, ".final") < 0)
        return;
    if (strncmp(target, run->directory, n) == 0 && target[n] == '/')
        target += n + 1; /* the directory may be moved */
    unlink(temporary);
    if (symlink(target, temporary) < 0 || rename(temporary, link) < 0)
        wsl_ctl_say("cannot make the link %s", link);
}

/* The last word of the job after a stop: what came after the last update. */
static void look_again(struct wsl_run *run, uint64_t id)
{
    Wsl__V1__GetJobResponse *response = NULL;
    char word[24];

    snprintf(word, sizeof word, "%" PRIu64, id);
    if (wsl_ctl_get_job(run->ctl, word, &response, NULL) == 0 && response->job) {
        Wsl__V1__WatchJobResponse update = WSL__V1__WATCH_JOB_RESPONSE__INIT;

        update.job = response->job;
        wsl_run_view_update(&run->view, &update);
    }
    if (response)
        wsl__v1__get_job_response__free_unpacked(response, NULL);
}

static int report_stop(struct wsl_run *run, uint64_t id)
{
    look_again(run, id);
    wsl_run_view_clear(&run->view);
    if (run->view.checkpoint[0])
        wsl_ctl_say("stopped; the same command resumes at step %" PRIu64 " from %s",
                    run->view.checkpoint_step, wsl_run_short_path(run->view.checkpoint));
    else
        wsl_ctl_say("stopped before the first checkpoint; the same command starts again");
    return WSL_CTL_INTERRUPTED;
}

static void say_why(const struct wsl_run *run, uint64_t id)
{
    wsl_ctl_say("%s", run->view.reason);
    wsl_ctl_note(run->ctl, "what its trainers wrote: %s/coordinator/jobs/%" PRIu64 "/log-*",
                 wsl_run_short_path(run->daemons), id);
}

static int on_update(void *context, const Wsl__V1__WatchJobResponse *update)
{
    struct wsl_run *run = context;

    wsl_run_view_update(&run->view, update);
    return 0;
}

int wsl_run_follow(struct wsl_run *run, uint64_t id)
{
    char word[24];
    struct wsl_ctl_follow f = {.ctl = run->ctl,
                               .job = word,
                               .retry_ms = READY_MS,
                               .update = on_update,
                               .check = on_check,
                               .context = run};
    struct wsl_err err = {0};

    snprintf(word, sizeof word, "%" PRIu64, id);
    if (wsl_ctl_follow(&f, &err) == 0) {
        if (f.exit_code == WSL_CTL_DONE && run->view.checkpoint[0])
            link_final(run);
        if (f.exit_code != WSL_CTL_DONE)
            say_why(run, id);
        return f.exit_code;
    }
    if (err.code == WSL_ECANCELLED && run->interrupts > 0)
        return report_stop(run, id);
    wsl_run_view_clear(&run->view);
    return wsl_run_fail(run, &err);
}

/* An unfinished job holds its name until its end. */
int wsl_run_cancel(struct wsl_run *run, uint64_t id)
{
    Wsl__V1__CancelJobRequest request = WSL__V1__CANCEL_JOB_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    struct wsl_err err = {0};
    char word[24], reason[] = "started afresh";
    struct wsl_ctl_follow f = {
        .ctl = run->ctl, .job = word, .retry_ms = READY_MS, .check = on_check, .context = run};

    snprintf(word, sizeof word, "%" PRIu64, id);
    request.job = word;
    request.reason = reason;
    if (wsl_run_start_worker(run, &err) < 0 ||
        wsl_ctl_call(run->ctl, "/wsl.v1.JobService/Cancel", &request.base,
                     &wsl__v1__cancel_job_response__descriptor, &answer, &err) < 0)
        return wsl_run_fail(run, &err);
    protobuf_c_message_free_unpacked(answer, NULL);
    return wsl_ctl_follow(&f, &err) < 0 ? wsl_run_fail(run, &err) : WSL_CTL_DONE;
}
