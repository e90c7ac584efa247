/* SPDX-License-Identifier: Apache-2.0
 *
 * The checkpoint thread: one write at a time, from a copy of the weights; a failed last one is
 * tried again.
 */
#include "daemon/trainer/saver.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/trainer/metrics.h"
#include "daemon/trainer/weights.h"
#include "proto/jobspec/jobspec.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct wsl_saver {
    struct wsl_saver_setup setup;
    struct wsl_snapshot snapshot; /* the thread's while `busy`, else the owner's */
    struct wsl_checkpoint_info info;
    struct wsl_buf recipe;
    pthread_t thread;
    bool thread_runs;
    bool again; /* the write is one more try of the last: no event for each */

    pthread_mutex_t lock; /* of the rest */
    pthread_cond_t changed;
    bool busy, closing;
    struct wsl_err result; /* of the last write; code 0: well */
};

static void report_written(struct wsl_saver *s, const char *directory, uint64_t bytes,
                           double seconds)
{
    Wsl__V1__TrainerMetric metric = WSL__V1__TRAINER_METRIC__INIT;
    Wsl__V1__CheckpointWritten written = WSL__V1__CHECKPOINT_WRITTEN__INIT;

    written.folder = (char *)directory;
    written.step = s->info.step;
    written.bytes = bytes;
    written.seconds = seconds;
    metric.body_case = WSL__V1__TRAINER_METRIC__BODY_CHECKPOINT;
    metric.checkpoint = &written;
    wsl_metrics_add(s->setup.metrics, &metric);
    wsl_say("checkpoint: %s, %.1f MB in %.2f s", directory, (double)bytes / 1e6, seconds);
}

static int write_checkpoint(struct wsl_saver *s, struct wsl_err *err)
{
    const Wsl__V1__Assignment *a = s->setup.assignment;
    const struct wsl_checkpoint_contents contents = {&s->info, s->snapshot.model,
                                                     s->snapshot.momentum, s->snapshot.model_count,
                                                     s->snapshot.momentum_count};
    uint64_t before = wsl_clock_ns(), bytes = 0;
    char directory[4096];
    int r;

    s->info.written_ms = wsl_clock_wall_ms();
    r = wsl_checkpoint_write(a->checkpoint_folder, &contents, (int)a->spec->checkpoint->keep,
                             directory, &bytes, err);
    if (r == 0) {
        report_written(s, directory, bytes, (double)(wsl_clock_ns() - before) / 1e9);
        return 0;
    }
    wsl_error("event=checkpoint_failed step=%" PRIu64 " text=\"%s\"", s->info.step, err->text);
    if (!s->again)
        wsl_metrics_note(s->setup.metrics, "checkpoint_failed",
                         "the checkpoint at step %" PRIu64 " could not be written: %s",
                         s->info.step, err->text);
    return r;
}

static void *thread_main(void *context)
{
    struct wsl_saver *s = context;

    pthread_mutex_lock(&s->lock);
    for (;;) {
        struct wsl_err err = {0};

        while (!s->busy && !s->closing)
            pthread_cond_wait(&s->changed, &s->lock);
        if (!s->busy)
            break;
        pthread_mutex_unlock(&s->lock);
        write_checkpoint(s, &err);
        pthread_mutex_lock(&s->lock);
        s->result = err;
        s->busy = false;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static int fill_info(struct wsl_saver *s, struct wsl_err *err)
{
    const struct wsl_net_config *config = s->setup.config;
    const Wsl__V1__Assignment *a = s->setup.assignment;
    size_t n = wsl_dataset_tag_count(s->setup.dataset);

    s->info = (struct wsl_checkpoint_info){
        .job = a->job,
        .seed = a->spec->seed,
        .batch = a->spec->batch,
        .stages = config->stages,
        .groups = config->groups,
        .width = config->width,
        .image_size = config->image_size,
        .classes = config->classes,
    };
    memcpy(s->info.depths, config->depths, sizeof(s->info.depths));
    snprintf(s->info.job_name, sizeof(s->info.job_name), "%s", a->spec->name);
    if (a->identity)
        snprintf(s->info.job_uid, sizeof(s->info.job_uid), "%s", a->identity->uid);
    snprintf(s->info.fingerprint, sizeof(s->info.fingerprint), "%s",
             wsl_dataset_fingerprint(s->setup.dataset));
    s->info.class_names = calloc(n + 1, sizeof(char *));
    if (!s->info.class_names || wsl_jobspec_print(a->spec, &s->recipe) < 0)
        return wsl_fail(err, WSL_ENOMEM, "checkpoint: out of memory");
    for (size_t i = 0; i < n; i++)
        s->info.class_names[i] = (char *)wsl_dataset_tag(s->setup.dataset, i)->name;
    s->info.recipe = (char *)s->recipe.data;
    return 0;
}

/* The disk's faults are the machine's; another job's checkpoints in the way are the user's. */
static int try_directory(const struct wsl_saver *s, struct wsl_err *err)
{
    const struct wsl_snapshot *copy = &s->snapshot;
    int r = wsl_checkpoint_try(s->setup.assignment->checkpoint_folder, s->info.job_uid,
                               wsl_safetensors_size(copy->model, copy->model_count),
                               wsl_safetensors_size(copy->momentum, copy->momentum_count), err);

    if (r < 0 && r != WSL_EEXIST && r != WSL_ENOSPC && r != WSL_EAGAIN)
        err->code = WSL_EIO;
    return r < 0 ? wsl_err_prefix(err, "no checkpoint could be written") : 0;
}

int wsl_saver_open(struct wsl_saver **ret, const struct wsl_saver_setup *setup, struct wsl_err *err)
{
    struct wsl_saver *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return wsl_fail(err, WSL_ENOMEM, "checkpoint: out of memory");
    s->setup = *setup;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    r = fill_info(s, err);
    if (r == 0)
        r = wsl_snapshot_open(&s->snapshot, setup->net, err);
    if (r == 0)
        r = try_directory(s, err);
    if (r == 0) {
        errno = pthread_create(&s->thread, NULL, thread_main, s);
        s->thread_runs = errno == 0;
        if (errno != 0)
            r = wsl_fail_errno(err, "checkpoint: cannot start a thread");
    }
    if (r < 0) {
        wsl_saver_close(s);
        return r;
    }
    pthread_setname_np(s->thread, "checkpoint");
    *ret = s;
    return 0;
}

/* ---- the owner's side ---- */

static void begin_write(struct wsl_saver *s)
{
    pthread_mutex_lock(&s->lock);
    s->busy = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

/* Until nothing is being written; 0, or how the last write failed. */
static int wait_idle(struct wsl_saver *s, struct wsl_err *err)
{
    int r;

    pthread_mutex_lock(&s->lock);
    while (s->busy)
        pthread_cond_wait(&s->changed, &s->lock);
    r = s->result.code;
    if (r != 0 && err)
        *err = s->result;
    pthread_mutex_unlock(&s->lock);
    return r;
}

void wsl_saver_save(struct wsl_saver *s, uint64_t step)
{
    wait_idle(s, NULL);
    wsl_snapshot_take(&s->snapshot, s->setup.net);
    s->info.step = step;
    begin_write(s);
}

static bool is_stopped(const struct wsl_saver_patience *p)
{
    return p->stopped && p->stopped(p->context);
}

/* False when it was stopped meanwhile. */
static bool wait_between(const struct wsl_saver_patience *p, uint64_t ns)
{
    static const struct timespec slice = {.tv_nsec = 100000000};
    uint64_t until = wsl_clock_ns() + ns;

    while (!is_stopped(p) && wsl_clock_ns() < until)
        nanosleep(&slice, NULL);
    return !is_stopped(p);
}

static void tell_again(struct wsl_saver *s, const struct wsl_saver_patience *p,
                       const struct wsl_err *why)
{
    if (!s->again)
        wsl_metrics_note(s->setup.metrics, "checkpoint_retry",
                         "training has ended at step %" PRIu64 "; its weights stay in memory, and "
                         "their checkpoint is tried again for up to %u s: %s",
                         s->info.step, p->retry_seconds, why->text);
    wsl_say("checkpoint: step %" PRIu64 " is in memory and tried again: %s", s->info.step,
            why->text);
    s->again = true;
}

int wsl_saver_finish(struct wsl_saver *s, const struct wsl_saver_patience *p, struct wsl_err *err)
{
    const uint64_t second = 1000000000, longest = 30 * second;
    uint64_t deadline = wsl_clock_ns() + p->retry_seconds * second, pause = second;
    struct wsl_err why = {0};
    int r;

    while ((r = wait_idle(s, &why)) < 0) {
        uint64_t now = wsl_clock_ns(), left = deadline > now ? deadline - now : 0;

        /* Another job's place stays another job's. */
        if (left == 0 || r == WSL_EEXIST || r == WSL_EINVAL || is_stopped(p))
            break;
        tell_again(s, p, &why);
        if (!wait_between(p, pause < left ? pause : left))
            break;
        pause = 2 * pause < longest ? 2 * pause : longest;
        begin_write(s);
    }
    if (r < 0 && err)
        *err = why;
    return r;
}

void wsl_saver_close(struct wsl_saver *s)
{
    if (!s)
        return;
    if (s->thread_runs) {
        pthread_mutex_lock(&s->lock);
        s->closing = true;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    wsl_snapshot_close(&s->snapshot);
    free(s->info.class_names);
    wsl_buf_free(&s->recipe);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
