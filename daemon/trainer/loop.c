/* SPDX-License-Identifier: Apache-2.0
 *
 * The steps. Every decision that changes what all ranks do next (stop, bad loss, too many bad
 * records) is made from totals that all ranks have, so that all make it in the same step.
 * Numbers that are not finite end the job before an update uses them or a checkpoint holds them.
 */
#include "daemon/trainer/internal.h"

#include "base/clock.h"
#include "daemon/trainer/evaluate.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Within wsl_net_step: the sum runs while the rest of the backward pass goes on. */
static void on_bucket(void *context, int bucket, float *gradients, size_t count)
{
    struct wsl_trainer *t = context;

    (void)bucket;
    if (t->bucket_err.code == 0)
        wsl_collective_all_reduce_gradients(t->collective, gradients, count, &t->bucket_err);
}

/* Forward, backward, and everything summed over the ranks. */
static int compute(struct wsl_trainer *t, const struct wsl_batch *batch, struct wsl_err *err)
{
    struct wsl_targets targets = {.begin = batch->tag_begin, .tags = batch->tags};
    struct wsl_step_result result;
    size_t statistics_count;
    float *statistics = wsl_net_statistics(t->net, &statistics_count);
    uint64_t before;
    int r;

    t->bucket_err.code = 0;
    r = wsl_net_step(t->net, &(struct wsl_net_batch){batch->pixels, targets, (int)batch->count},
                     &(struct wsl_step_options){1.0f / (float)t->spec->batch, on_bucket, t},
                     &result, err);
    if (r < 0)
        return r;
    if (t->bucket_err.code < 0) {
        *err = t->bucket_err;
        return err->code;
    }
    t->totals[WSL_TOTAL_LOSS] = result.loss;
    t->totals[WSL_TOTAL_HIT1] = result.hit1;
    t->totals[WSL_TOTAL_HIT5] = result.hit5;
    t->totals[WSL_TOTAL_BAD] = batch->bad;
    t->totals[WSL_TOTAL_STOP] = wsl_trainer_control_stopped(t->control);
    r = wsl_collective_all_reduce(t->collective, statistics, statistics_count, err);
    if (r == 0)
        r = wsl_collective_all_reduce_f64(t->collective, t->totals, WSL_TOTALS, err);
    if (r < 0)
        return r;
    before = wsl_clock_ns();
    r = wsl_collective_wait(t->collective, err);
    t->all_reduce_ns += wsl_clock_ns() - before;
    return r;
}

/* Before the update: loss, gradients and statistics are all-reduced by now. */
static int check_step(const struct wsl_trainer *t, double rate, struct wsl_err *err)
{
    double loss = t->totals[WSL_TOTAL_LOSS];
    struct wsl_err bad = {0};
    int r = wsl_net_check_step(t->net, &bad);

    if (r == 0 && isfinite(loss))
        return 0;
    if (r < 0 && r != WSL_EINVAL) {
        *err = bad;
        return r;
    }
    return wsl_fail(err, WSL_EINVAL,
                    "step %" PRIu64 ": %s%s%s; lower optimizer.learning_rate (now %g) or lengthen "
                    "schedule.warmup_epochs",
                    t->step + 1, isfinite(loss) ? "" : "the loss is not finite",
                    isfinite(loss) || r == 0 ? "" : "; ", bad.text, rate);
}

/* After the update, before it is saved: the rate may have been too much for the weights alone. */
static int check_values(const struct wsl_trainer *t, struct wsl_err *err)
{
    struct wsl_err bad = {0};
    int r = wsl_net_check_values(t->net, &bad);

    if (r == WSL_EINVAL)
        return wsl_fail(err, r,
                        "step %" PRIu64 ": after the update %s, and no checkpoint is made of it; "
                        "lower optimizer.learning_rate or lengthen schedule.warmup_epochs",
                        t->step, bad.text);
    if (r < 0)
        *err = bad;
    return r;
}

/* The share is of an epoch, or of what was read when that is more: one bad record among the first
 * ten is no reason to give up. */
static int check_bad(struct wsl_trainer *t, struct wsl_err *err)
{
    struct wsl_loader_stats stats;
    double base;
    char list[300] = "";

    t->drawn += t->spec->batch;
    t->bad_records += (uint64_t)t->totals[WSL_TOTAL_BAD];
    base = (double)(t->drawn > t->epoch_length ? t->drawn : t->epoch_length);
    if ((double)t->bad_records <= t->spec->max_bad_records * base)
        return 0;
    wsl_loader_stats(t->loader, &stats);
    for (int i = 0; i < stats.bad_line_count && i < 3; i++)
        snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%.90s", i ? "; " : ": ",
                 stats.bad_lines[i]);
    return wsl_fail(err, WSL_ECORRUPT,
                    "%" PRIu64 " unreadable records in %" PRIu64
                    " read, max_bad_records allows a share of %g%s",
                    t->bad_records, t->drawn, t->spec->max_bad_records, list);
}

/* Within wsl_net_step, while the rest of it computes. A failure belongs to the next step. */
static void prefetch_batch(void *context)
{
    struct wsl_trainer *t = context;

    if (t->step + 1 >= t->total_steps)
        return;
    t->has_prefetched = true;
    t->prefetch_result = wsl_loader_next(t->loader, &t->prefetched, &t->prefetch_err);
    if (t->prefetch_result == 0)
        wsl_net_prefetch(t->net, t->prefetched.pixels, (int)t->prefetched.count);
}

static int next_batch(struct wsl_trainer *t, struct wsl_batch *ret, struct wsl_err *err)
{
    if (!t->has_prefetched)
        return wsl_loader_next(t->loader, ret, err);
    t->has_prefetched = false;
    *ret = t->prefetched;
    if (t->prefetch_result < 0)
        *err = t->prefetch_err;
    return t->prefetch_result;
}

static int run_step(struct wsl_trainer *t, double rate, struct wsl_err *err)
{
    struct wsl_batch batch;
    int r = next_batch(t, &batch, err);

    if (r == WSL_LOADER_END)
        return wsl_fail(err, WSL_EINTERNAL, "the loader ended at step %" PRIu64, t->step);
    if (r == 0)
        r = compute(t, &batch, err);
    if (r == 0)
        r = check_step(t, rate, err);
    if (r == 0)
        r = check_bad(t, err);
    if (r < 0)
        return r;
    wsl_net_update(t->net, (float)rate, (float)t->spec->optimizer->momentum,
                   (float)t->spec->optimizer->weight_decay);
    if (t->assignment->world > 1)
        wsl_net_scale_statistics(t->net, 1.0f / (float)t->assignment->world);
    t->step++;
    return 0;
}

/* Only rank 0 writes, but all look at what it writes, and end together when that is no good. */
static int save(struct wsl_trainer *t, struct wsl_err *err)
{
    int r;

    if (t->saved_step == t->step)
        return 0;
    r = check_values(t, err);
    if (r < 0)
        return r;
    if (t->saver)
        wsl_saver_save(t->saver, t->step);
    t->saved_step = t->step;
    return 0;
}

static int evaluate(struct wsl_trainer *t, struct wsl_err *err)
{
    struct wsl_evaluate_setup setup = {
        .net = t->net,
        .collective = t->collective,
        .dataset = t->dataset,
        .image_size = t->config.image_size,
        .rank = t->assignment->rank,
        .world = t->assignment->world,
        .slots = t->slots,
        .threads = (int)t->spec->loader_threads,
    };
    uint64_t before = wsl_clock_ns();
    int r;

    if (t->evaluation.images > 0 && t->evaluation.step == t->step)
        return 0;
    wsl_trainer_control_phase(t->control, "evaluating");
    r = wsl_evaluate(&setup, &t->evaluation, err);
    t->evaluation.step = t->step;
    t->evaluation.epoch = wsl_trainer_epoch(t, t->step);
    wsl_report_paused(t, before);
    if (r == 0)
        wsl_report_evaluation(t);
    wsl_trainer_control_phase(t->control, "training");
    return r;
}

/* What belongs after a step: lines, checkpoints, evaluation. */
static int after_step(struct wsl_trainer *t, double rate, struct wsl_err *err)
{
    uint64_t epochs = wsl_trainer_epochs_done(t, t->step);
    bool epoch_ended = epochs > wsl_trainer_epochs_done(t, t->step - 1);
    uint64_t every = t->spec->checkpoint->every_steps;
    bool last = t->step == t->total_steps;
    int r = 0;

    wsl_report_step(t, rate);
    if (epoch_ended || last)
        wsl_report_epoch(t, rate);
    if (last || (every > 0 ? t->step % every == 0 : epoch_ended))
        r = save(t, err);
    if (r == 0 && (last || (epoch_ended && epochs % t->spec->evaluate_every_epochs == 0))) {
        r = evaluate(t, err);
        if (r == 0)
            wsl_report_progress(t, rate);
    }
    return r;
}

int wsl_trainer_loop(struct wsl_trainer *t, struct wsl_err *err)
{
    int r = 0;

    t->begun_ns = t->progress.begun_ns = t->line.begun_ns = wsl_clock_ns();
    wsl_net_set_prefetch(t->net, prefetch_batch, t);
    wsl_trainer_control_phase(t->control, "training");
    if (t->step >= t->total_steps) { /* resumed from the last checkpoint */
        r = evaluate(t, err);
        if (r == 0)
            wsl_report_progress(t, wsl_schedule_rate(&t->schedule, t->step));
        return r;
    }
    while (r == 0 && t->step < t->total_steps) {
        double rate = wsl_schedule_rate(&t->schedule, t->step);

        r = run_step(t, rate, err);
        if (r == 0)
            r = after_step(t, rate, err);
        if (r == 0 && t->totals[WSL_TOTAL_STOP] > 0 && t->step < t->total_steps) {
            r = save(t, err);
            if (r == 0)
                r = WSL_TRAINER_STOPPED;
        }
    }
    return r;
}
