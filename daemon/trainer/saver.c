/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/trainer/saver.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/trainer/metrics.h"
#include "daemon/trainer/weights.h"
#include "proto/jobspec.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct wsl_saver {
    struct wsl_saver_setup setup;
    struct wsl_snapshot snapshot; /* the thread's while `busy`, else the owner's */
    struct wsl_checkpoint_info info;
    struct wsl_buf recipe;
    pthread_t thread;
    bool thread_runs;

    pthread_mutex_t lock; /* of the rest */
    pthread_cond_t changed;
    bool busy, closing;
    struct wsl_err result; /* of the last write; code 0: well */
};

static void report_written(struct wsl_saver *s, const char *folder, uint64_t bytes, double seconds)
{
    Wsl__V1__TrainerMetric metric = WSL__V1__TRAINER_METRIC__INIT;
    Wsl__V1__CheckpointWritten written = WSL__V1__CHECKPOINT_WRITTEN__INIT;

    written.folder = (char *)folder;
    written.step = s->info.step;
    written.bytes = bytes;
    written.seconds = seconds;
    metric.body_case = WSL__V1__TRAINER_METRIC__BODY_CHECKPOINT;
    metric.checkpoint = &written;
    wsl_metrics_add(s->setup.metrics, &metric);
    wsl_say("checkpoint: %s, %.1f MB in %.2f s", folder, (double)bytes / 1e6, seconds);
}

static int write_checkpoint(struct wsl_saver *s, struct wsl_err *err)
{
    const Wsl__V1__Assignment *a = s->setup.assignment;
    uint64_t before = wsl_clock_ns(), bytes = 0;
    char folder[4096];
    int r;

    s->info.written_ms = wsl_clock_wall_ms();
    r = wsl_checkpoint_write(a->checkpoint_folder, &s->info, s->snapshot.model,
                             s->snapshot.momentum, s->snapshot.model_count,
                             s->snapshot.momentum_count, (int)a->spec->checkpoint->keep, folder,
                             &bytes, err);
    if (r == 0) {
        report_written(s, folder, bytes, (double)(wsl_clock_ns() - before) / 1e9);
        return 0;
    }
    wsl_error("event=checkpoint_failed step=%" PRIu64 " text=\"%s\"", s->info.step, err->text);
    wsl_metrics_note(s->setup.metrics, "checkpoint_failed",
                     "checkpoint at step %" PRIu64 " failed, the older one stays: %s", s->info.step,
                     err->text);
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

void wsl_saver_save(struct wsl_saver *s, uint64_t step)
{
    wsl_saver_wait(s, NULL);
    wsl_snapshot_take(&s->snapshot, s->setup.net);
    s->info.step = step;
    pthread_mutex_lock(&s->lock);
    s->busy = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

int wsl_saver_wait(struct wsl_saver *s, struct wsl_err *err)
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
