/* SPDX-License-Identifier: Apache-2.0
 *
 * When progress is reported and in which words: to the metric file every second, on standard
 * output every half minute.
 */
#include "daemon/trainer/internal.h"

#include "base/clock.h"
#include "base/number.h"
#include "proto/jobspec/jobspec.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PROGRESS_NS ((uint64_t)1000000000)
#define LINE_NS     ((uint64_t)30000000000)

static const char *schedule_text(const struct wsl_trainer *t, char text[200])
{
    const struct wsl_schedule *s = &t->schedule;
    char warmup[100] = "";

    if (s->warmup_steps > 0)
        snprintf(warmup, sizeof(warmup), "warm-up over %" PRIu64 " steps from %g, then ",
                 s->warmup_steps, s->warmup_from);
    switch (s->kind) {
    case WSL_SCHEDULE_STEP_HALVING:
        snprintf(text, 200, "%s%g, halved %u times", warmup, s->peak, s->reductions);
        break;
    case WSL_SCHEDULE_STEP_TENTH:
        snprintf(text, 200, "%s%g, a tenth of it %u times", warmup, s->peak, s->reductions);
        break;
    case WSL_SCHEDULE_COSINE:
        snprintf(text, 200, "%s%g, falling as a cosine to 0", warmup, s->peak);
        break;
    case WSL_SCHEDULE_CONSTANT:
        snprintf(text, 200, "%s%g, constant", warmup, s->peak);
        break;
    }
    return text;
}

static const char *sampling_name(const Wsl__V1__JobSpec *spec)
{
    switch (spec->sampling->kind) {
    case WSL__V1__SAMPLING_KIND__SQUARE_ROOT:
        return "square-root";
    case WSL__V1__SAMPLING_KIND__UNIFORM:
        return "uniform";
    default:
        return "natural";
    }
}

/* Two values of a channel become -1 and 1 whatever they are, and a few are not much better. */
static void note_small_norm(const struct wsl_trainer *t)
{
    enum { ENOUGH = 16 };
    uint32_t side;
    uint64_t values = wsl_jobspec_norm_values(t->spec, &side);

    if (values < ENOUGH)
        wsl_metrics_note(t->metrics, "small_batch_norm",
                         "batch norm of the last stage is over %" PRIu64
                         " values a channel (%ux%u pixels, %u images at a time): statistics of "
                         "fewer than %d are poor; raise model.image_size or batch, or lower world "
                         "or micro_batches",
                         values, side, side, t->slots / t->spec->micro_batches, ENOUGH);
}

void wsl_report_start(const struct wsl_trainer *t)
{
    const struct wsl_net_config *c = &t->config;
    char text[200], depths[48] = "", pieces[64] = "";

    if (t->assignment->rank != 0)
        return;
    for (int i = 0; i < c->stages; i++)
        snprintf(depths + strlen(depths), sizeof(depths) - strlen(depths), "%s%d", i ? "-" : "",
                 c->depths[i]);
    wsl_say("data: %s (%s), %" PRIu64 " training and %" PRIu64
            " held-out images, %zu classes, fingerprint %.8s",
            wsl_dataset_name(t->dataset), t->spec->data,
            wsl_dataset_count(t->dataset, WSL_SPLIT_TRAIN),
            wsl_dataset_count(t->dataset, WSL_SPLIT_HELDOUT), wsl_dataset_tag_count(t->dataset),
            wsl_dataset_fingerprint(t->dataset));
    wsl_say("model: ResNeXt %s, %dx%dd, %d x %d pixels, %.2f M parameters, %.3f G multiply-adds an "
            "image, backend %s",
            depths, c->groups, c->width, c->image_size, c->image_size,
            (double)wsl_net_parameter_count(c) / 1e6, (double)wsl_net_macs(c) / 1e9,
            wsl_net_backend(t->net));
    if (t->spec->micro_batches > 1)
        snprintf(pieces, sizeof(pieces), ", in %u pieces of %u on each", t->spec->micro_batches,
                 t->slots / t->spec->micro_batches);
    wsl_say("batch: %u over %u %s%s; an epoch is %" PRIu64 " draws (%s sampling); %" PRIu64
            " steps are %.2f epochs",
            t->spec->batch, t->assignment->world, t->assignment->world == 1 ? "rank" : "ranks",
            pieces, t->epoch_length, sampling_name(t->spec), t->total_steps,
            wsl_trainer_epoch(t, t->total_steps));
    if (t->assignment->world > 1 && strcmp(t->spec->gradient_dtype, "bf16") == 0)
        wsl_say("gradients are all-reduced as bf16");
    wsl_say("learning rate: %s; momentum %g (Nesterov), weight decay %g", schedule_text(t, text),
            t->spec->optimizer->momentum, t->spec->optimizer->weight_decay);
    note_small_norm(t);
}

static double seconds_of(const struct wsl_interval *i)
{
    uint64_t all = wsl_clock_ns() - i->begun_ns;
    double s = (double)(all > i->paused_ns ? all - i->paused_ns : 0) / 1e9;

    return s > 1e-9 ? s : 1e-9;
}

static void restart(struct wsl_interval *i)
{
    *i = (struct wsl_interval){.begun_ns = wsl_clock_ns()};
}

static void add_step(struct wsl_interval *i, const double totals[WSL_TOTALS])
{
    i->steps++;
    i->loss += totals[WSL_TOTAL_LOSS];
    i->hit1 += totals[WSL_TOTAL_HIT1];
    i->hit5 += totals[WSL_TOTAL_HIT5];
}

void wsl_report_paused(struct wsl_trainer *t, uint64_t since_ns)
{
    uint64_t ns = wsl_clock_ns() - since_ns;

    t->progress.paused_ns += ns;
    t->line.paused_ns += ns;
}

void wsl_report_progress(struct wsl_trainer *t, double rate)
{
    Wsl__V1__TrainerMetric metric = WSL__V1__TRAINER_METRIC__INIT;
    Wsl__V1__Progress progress = WSL__V1__PROGRESS__INIT;
    double images = (double)t->progress.steps * t->spec->batch;

    if (t->assignment->rank != 0)
        return;
    if (images > 0)
        t->images_per_second = images / seconds_of(&t->progress);
    progress.step = t->step;
    progress.total_steps = t->total_steps;
    progress.epoch = wsl_trainer_epoch(t, t->step);
    if (images > 0) {
        progress.loss = t->progress.loss / images;
        progress.hit1 = t->progress.hit1 / images;
    } else if (t->step > t->first_step) { /* right after a metric: the last step */
        progress.loss = t->totals[WSL_TOTAL_LOSS] / t->spec->batch;
        progress.hit1 = t->totals[WSL_TOTAL_HIT1] / t->spec->batch;
    } else { /* nothing was left to train */
        progress.loss = t->evaluation.loss;
        progress.hit1 = t->evaluation.hit1;
    }
    progress.images_per_second = t->images_per_second;
    progress.learning_rate = rate;
    if (t->images_per_second > 0)
        progress.eta_seconds =
            (double)(t->total_steps - t->step) * t->spec->batch / t->images_per_second;
    if (t->evaluation.images > 0)
        progress.evaluation = &t->evaluation;
    progress.bad_records = t->bad_records;
    metric.body_case = WSL__V1__TRAINER_METRIC__BODY_PROGRESS;
    metric.progress = &progress;
    wsl_metrics_add(t->metrics, &metric);
    restart(&t->progress);
}

static void say_line(struct wsl_trainer *t, const char *head, double rate)
{
    double images = (double)t->line.steps * t->spec->batch;
    char loss[WSL_NUMBER_TEXT];

    if (images > 0 && t->assignment->rank == 0)
        wsl_say("%s  step %" PRIu64 "/%" PRIu64
                "  loss %s  hit@1 %.3f  hit@5 %.3f  %.1f images/s  learning rate %.4g",
                head, t->step, t->total_steps, wsl_number_text(t->line.loss / images, 4, loss),
                t->line.hit1 / images, t->line.hit5 / images, images / seconds_of(&t->line), rate);
    restart(&t->line);
}

void wsl_report_step(struct wsl_trainer *t, double rate)
{
    uint64_t now = wsl_clock_ns();
    char head[64];

    add_step(&t->progress, t->totals);
    add_step(&t->line, t->totals);
    if (t->step == t->first_step + 1 || now - t->progress.begun_ns >= PROGRESS_NS)
        wsl_report_progress(t, rate);
    if (now - t->line.begun_ns >= LINE_NS) {
        snprintf(head, sizeof(head), "  epoch %.2f", wsl_trainer_epoch(t, t->step));
        say_line(t, head, rate);
    }
}

void wsl_report_epoch(struct wsl_trainer *t, double rate)
{
    char head[64];

    snprintf(head, sizeof(head), "epoch %.2f", wsl_trainer_epoch(t, t->step));
    say_line(t, head, rate);
}

void wsl_report_evaluation(struct wsl_trainer *t)
{
    const Wsl__V1__Evaluation *e = &t->evaluation;
    char loss[WSL_NUMBER_TEXT];

    if (t->assignment->rank != 0)
        return;
    if (e->images == 0)
        wsl_say("evaluation: the data set has no held-out images");
    else
        wsl_say("evaluation at epoch %.2f: loss %s  hit@1 %.3f  hit@5 %.3f  on %" PRIu64
                " held-out images (always the most frequent tags: %.3f, %.3f)",
                e->epoch, wsl_number_text(e->loss, 4, loss), e->hit1, e->hit5, e->images,
                e->baseline_hit1, e->baseline_hit5);
    if (e->not_finite)
        wsl_metrics_note(t->metrics, "evaluation_not_finite",
                         "the evaluation after step %" PRIu64
                         " is not finite: the net overflows on "
                         "held-out images; lower optimizer.learning_rate or lengthen "
                         "schedule.warmup_epochs",
                         e->step);
}

void wsl_report_end(const struct wsl_trainer *t, const char *word)
{
    double seconds = (double)(wsl_clock_ns() - t->begun_ns) / 1e9;
    struct wsl_loader_stats stats;

    wsl_loader_stats(t->loader, &stats);
    wsl_say("%s: rank %u, step %" PRIu64 "/%" PRIu64 ", %" PRIu64 " steps in %.1f s, of which "
            "%.1f s waiting for images and %.1f s for all-reduce; %" PRIu64 " unreadable records",
            word, t->assignment->rank, t->step, t->total_steps, t->step - t->first_step, seconds,
            (double)stats.waited_ns / 1e9, (double)t->all_reduce_ns / 1e9, t->bad_records);
}
