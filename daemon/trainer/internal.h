/* SPDX-License-Identifier: Apache-2.0
 *
 * The trainer's state, shared by trainer.c (opening, closing, the outcome), agree.c (what all ranks
 * must have the same of), loop.c (the steps) and report.c (progress and lines for people).
 * Everything belongs to the step thread, but for `abort_lock` and the collective pointer under it.
 */
#ifndef WSL_DAEMON_TRAINER_INTERNAL_H
#define WSL_DAEMON_TRAINER_INTERNAL_H

#include "daemon/trainer/control.h"
#include "daemon/trainer/metrics.h"
#include "daemon/trainer/saver.h"
#include "daemon/trainer/schedule.h"
#include "daemon/trainer/trainer.h"
#include "kernels/collective/collective.h"
#include "kernels/model/net.h"
#include "storage/dataset/dataset.h"
#include "storage/loader/loader.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* What every step all-reduces besides gradients and statistics. */
enum wsl_total {
    WSL_TOTAL_LOSS,
    WSL_TOTAL_HIT1,
    WSL_TOTAL_HIT5,
    WSL_TOTAL_BAD,  /* unreadable records met in this step */
    WSL_TOTAL_STOP, /* ranks that were asked to stop */
    WSL_TOTALS,
};

/* Sums since the last line or progress metric. */
struct wsl_interval {
    uint64_t begun_ns, steps;
    uint64_t paused_ns; /* of that time, spent on evaluation */
    double loss, hit1, hit5;
};

struct wsl_trainer {
    const Wsl__V1__Assignment *assignment;
    const Wsl__V1__JobSpec *spec;
    const struct wsl_trainer_options *options;

    struct wsl_trainer_control *control;
    struct wsl_metrics *metrics;
    struct wsl_dataset *dataset;
    struct wsl_net_config config;
    struct wsl_net *net;
    struct wsl_loader *loader;
    struct wsl_saver *saver; /* rank 0 only */
    struct wsl_schedule schedule;

    pthread_mutex_t abort_lock;
    bool joining; /* a stop request may abort the collective */
    struct wsl_collective *collective;

    struct wsl_batch prefetched; /* the next step's, got while this one computes */
    int prefetch_result;         /* of getting it */
    bool has_prefetched;
    struct wsl_err prefetch_err;

    uint32_t slots; /* images of a step on this rank */
    uint64_t first_step, step, total_steps;
    uint64_t epoch_length; /* draws */
    double totals[WSL_TOTALS];
    struct wsl_err bucket_err; /* first failure of starting a sum in this step */
    uint64_t bad_records, drawn;
    uint64_t saved_step; /* newest checkpoint, also one resumed from; UINT64_MAX: none */

    uint64_t begun_ns;
    uint64_t all_reduce_ns;       /* waited for all-reduces after the backward pass */
    struct wsl_interval progress; /* to the next metric */
    struct wsl_interval line;     /* to the next line */
    double images_per_second;
    Wsl__V1__Evaluation evaluation; /* images 0: none yet */
};

/* agree.c: blocks until all ranks are there and have the same data set, net, backend, build...;
 * then the same epoch length and total steps. WSL_EINVAL: a line that names two ranks and what
 * differs. */
int wsl_trainer_agree(struct wsl_trainer *t, struct wsl_err *err);
int wsl_trainer_agree_plan(struct wsl_trainer *t, struct wsl_err *err);

/* loop.c: trains from first_step on; 0 when all steps are done, 1 when stopped, or an error. */
enum { WSL_TRAINER_STOPPED = 1 };
int wsl_trainer_loop(struct wsl_trainer *t, struct wsl_err *err);

/* Whole epochs in `steps` steps, and the same with its fraction. */
static inline uint64_t wsl_trainer_epochs_done(const struct wsl_trainer *t, uint64_t steps)
{
    return steps * t->spec->batch / t->epoch_length;
}

static inline double wsl_trainer_epoch(const struct wsl_trainer *t, uint64_t steps)
{
    return (double)steps * t->spec->batch / (double)t->epoch_length;
}

/* report.c; all but the last only write on rank 0. */
void wsl_report_start(const struct wsl_trainer *t);
void wsl_report_step(struct wsl_trainer *t,
                     double rate); /* after each step: sums, maybe a metric */
void wsl_report_progress(struct wsl_trainer *t, double rate); /* a metric now */
void wsl_report_epoch(struct wsl_trainer *t, double rate);
void wsl_report_evaluation(struct wsl_trainer *t);
void wsl_report_end(const struct wsl_trainer *t, const char *word);
/* Time that was not training: not part of any images per second. */
void wsl_report_paused(struct wsl_trainer *t, uint64_t since_ns);

#endif
