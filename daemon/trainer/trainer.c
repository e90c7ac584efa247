/* SPDX-License-Identifier: Apache-2.0
 *
 * One rank from its assignment to its exit: data, network, collective and weights are opened in
 * the order in which a mistake in them is cheapest to find.
 */
#include "daemon/trainer/trainer.h"

#include "base/log.h"
#include "daemon/trainer/internal.h"
#include "daemon/trainer/weights.h"
#include "proto/jobspec/jobspec.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- stop requests while the ranks still look for each other ---- */

/* Control thread. Later the ranks agree on the step to stop at instead. */
static void on_stop(void *context)
{
    struct wsl_trainer *t = context;

    pthread_mutex_lock(&t->abort_lock);
    if (t->joining && t->collective)
        wsl_collective_abort(t->collective);
    pthread_mutex_unlock(&t->abort_lock);
}

static void set_joining(struct wsl_trainer *t, bool joining)
{
    pthread_mutex_lock(&t->abort_lock);
    t->joining = joining;
    pthread_mutex_unlock(&t->abort_lock);
    if (joining && wsl_trainer_control_stopped(t->control))
        on_stop(t);
}

/* ---- opening, in order ---- */

static int check_assignment(struct wsl_trainer *t, Wsl__V1__Assignment *a, struct wsl_err *err)
{
    int r;

    if (!a->spec || a->world == 0 || a->rank >= a->world)
        return wsl_fail(err, WSL_EINVAL, "assignment: rank %u of %u, %s", a->rank, a->world,
                        a->spec ? "impossible" : "no job specification");
    r = wsl_jobspec_fill(a->spec, err);
    if (r == 0)
        r = wsl_jobspec_check(a->spec, err);
    if (r < 0)
        return r;
    if (a->spec->batch % a->world != 0)
        return wsl_fail(err, WSL_EINVAL, "batch: %u images do not divide among %u ranks",
                        a->spec->batch, a->world);
    t->slots = a->spec->batch / a->world;
    if (t->slots % a->spec->micro_batches != 0)
        return wsl_fail(err, WSL_EINVAL,
                        "micro_batches: %u images of a rank do not divide into %u pieces", t->slots,
                        a->spec->micro_batches);
    t->assignment = a;
    t->spec = a->spec;
    return 0;
}

static int open_net(struct wsl_trainer *t, struct wsl_err *err)
{
    const Wsl__V1__Model *model = t->spec->model;
    struct wsl_net_setup setup = {
        .backend = *t->spec->backend ? t->spec->backend : NULL,
        .batch = (int)t->slots,
        .micro_batch = (int)(t->slots / t->spec->micro_batches),
        .recompute = t->spec->recompute,
        .threads = (int)t->spec->threads,
        .cuda = t->options->cuda,
    };

    if (model->n_depths > 4)
        return wsl_fail(err, WSL_EINVAL, "model.depths: %zu stages, at most 4", model->n_depths);
    t->config = (struct wsl_net_config){
        .stages = (int)model->n_depths,
        .groups = (int)model->groups,
        .width = (int)model->width,
        .image_size = (int)model->image_size,
        .classes = (int)wsl_dataset_tag_count(t->dataset),
    };
    for (size_t i = 0; i < model->n_depths; i++)
        t->config.depths[i] = (int)model->depths[i];
    setup.config = t->config;
    return wsl_net_open(&t->net, &setup, err);
}

static int open_collective(struct wsl_trainer *t, struct wsl_err *err)
{
    const Wsl__V1__Assignment *a = t->assignment;
    struct wsl_collective_setup setup = {
        .implementation = a->world == 1 ? "local" : wsl_collective_for(wsl_net_backend(t->net)),
        .rank = (int)a->rank,
        .world = (int)a->world,
        .address = a->address,
        .timeout_ms = t->options->timeout_ms,
        .exchange = wsl_trainer_control_exchange(t->control),
    };
    struct wsl_collective *c;
    int r = wsl_reduce_dtype_by_name(t->spec->gradient_dtype, &setup.gradient_dtype, err);

    if (r == 0)
        r = wsl_collective_open(&c, &setup, err);
    if (r < 0)
        return r;
    pthread_mutex_lock(&t->abort_lock);
    t->collective = c;
    pthread_mutex_unlock(&t->abort_lock);
    set_joining(t, true);
    return 0;
}

static int open_loader(struct wsl_trainer *t, struct wsl_err *err)
{
    static const enum wsl_sampling kinds[] = {
        [WSL__V1__SAMPLING_KIND__SAMPLING_KIND_UNSPECIFIED] = WSL_SAMPLING_NATURAL,
        [WSL__V1__SAMPLING_KIND__NATURAL] = WSL_SAMPLING_NATURAL,
        [WSL__V1__SAMPLING_KIND__SQUARE_ROOT] = WSL_SAMPLING_SQUARE_ROOT,
        [WSL__V1__SAMPLING_KIND__UNIFORM] = WSL_SAMPLING_UNIFORM,
    };
    const Wsl__V1__JobSpec *spec = t->spec;
    struct wsl_loader_setup setup = {
        .dataset = t->dataset,
        .split = WSL_SPLIT_TRAIN,
        .seed = spec->seed,
        .sampling = kinds[spec->sampling->kind],
        .threshold = spec->sampling->threshold,
        .max_repeat = spec->sampling->max_repeat,
        .window = spec->sampling->window,
        .image_size = t->config.image_size,
        .augment = !spec->augmentation->none,
        .min_area = spec->augmentation->min_area,
        .no_flip = spec->augmentation->no_flip,
        .jitter = {spec->augmentation->brightness, spec->augmentation->contrast,
                   spec->augmentation->saturation, spec->augmentation->lighting},
        .batch = spec->batch,
        .first_slot = t->assignment->rank * t->slots,
        .slots = t->slots,
        .start_step = t->step,
        .threads = (int)spec->loader_threads,
    };

    return wsl_loader_open(&t->loader, &setup, err);
}

static uint64_t steps_of_epochs(const struct wsl_trainer *t, double epochs)
{
    return (uint64_t)ceil(epochs * (double)t->epoch_length / t->spec->batch);
}

static void plan(struct wsl_trainer *t)
{
    static const enum wsl_schedule_kind kinds[] = {
        [WSL__V1__SCHEDULE_KIND__SCHEDULE_KIND_UNSPECIFIED] = WSL_SCHEDULE_STEP_HALVING,
        [WSL__V1__SCHEDULE_KIND__STEP_HALVING] = WSL_SCHEDULE_STEP_HALVING,
        [WSL__V1__SCHEDULE_KIND__STEP_TENTH] = WSL_SCHEDULE_STEP_TENTH,
        [WSL__V1__SCHEDULE_KIND__COSINE] = WSL_SCHEDULE_COSINE,
        [WSL__V1__SCHEDULE_KIND__CONSTANT] = WSL_SCHEDULE_CONSTANT,
    };
    const Wsl__V1__Schedule *s = t->spec->schedule;
    uint64_t steps = t->spec->max_steps;

    t->epoch_length = wsl_loader_epoch_length(t->loader);
    if (t->spec->epochs > 0) {
        uint64_t by_epochs = steps_of_epochs(t, t->spec->epochs);

        if (steps == 0 || by_epochs < steps)
            steps = by_epochs;
    }
    t->total_steps = steps;
    t->schedule = (struct wsl_schedule){
        .kind = kinds[s->kind],
        .reductions = s->steps,
        .total_steps = steps,
        .warmup_steps = steps_of_epochs(t, s->warmup_epochs),
        .warmup_from = s->warmup_from,
        .peak = t->spec->optimizer->learning_rate,
    };
}

static int open_saver(struct wsl_trainer *t, struct wsl_err *err)
{
    struct wsl_saver_setup setup = {.net = t->net,
                                    .config = &t->config,
                                    .assignment = t->assignment,
                                    .dataset = t->dataset,
                                    .metrics = t->metrics};

    return wsl_saver_open(&t->saver, &setup, err);
}

/* Data set, net, weights on rank 0, and all ranks together with the same weights. */
static int load(struct wsl_trainer *t, struct wsl_err *err)
{
    int r;

    wsl_trainer_control_phase(t->control, "loading");
    r = wsl_dataset_open(&t->dataset, t->spec->data, err);
    if (r == 0 && wsl_dataset_count(t->dataset, WSL_SPLIT_TRAIN) == 0)
        r = wsl_fail(err, WSL_EINVAL, "data: %s has no training images", t->spec->data);
    if (r == 0)
        r = open_net(t, err);
    if (r == 0 && t->assignment->rank == 0)
        r = open_saver(t, err);
    if (r == 0 && t->assignment->rank == 0)
        r = wsl_weights_load(t->net, t->assignment, t->dataset, t->metrics, &t->step, err);
    if (t->assignment->rank != 0)
        wsl_weights_look_for_init(t->assignment, t->metrics);
    return r;
}

/* On all ranks: they have the same weights by now. */
static int check_weights(const struct wsl_trainer *t, struct wsl_err *err)
{
    const Wsl__V1__Assignment *a = t->assignment;
    int r = wsl_net_check_values(t->net, err);

    if (r == WSL_EINVAL && *a->resume)
        return wsl_err_prefix(err, "cannot resume: %.120s", a->resume);
    if (r == WSL_EINVAL && *a->init)
        return wsl_err_prefix(err, "init: %.120s", a->init);
    return r;
}

static int join(struct wsl_trainer *t, struct wsl_err *err)
{
    int r = open_collective(t, err);

    if (r == 0)
        r = wsl_collective_wait(t->collective, err);
    if (r == 0)
        r = wsl_weights_broadcast(t->net, t->collective, &t->step, err);
    t->first_step = t->step;
    set_joining(t, false);
    return r;
}

static int prepare(struct wsl_trainer *t, struct wsl_err *err)
{
    int r = open_loader(t, err);

    if (r < 0)
        return r;
    plan(t);
    r = wsl_trainer_agree_plan(t, err);
    if (r < 0)
        return r;
    t->saved_step = *t->assignment->resume ? t->step : UINT64_MAX;
    wsl_report_start(t);
    return 0;
}

/* ---- ending ---- */

static void close_collective(struct wsl_trainer *t)
{
    struct wsl_collective *c = t->collective;

    pthread_mutex_lock(&t->abort_lock);
    t->collective = NULL;
    pthread_mutex_unlock(&t->abort_lock);
    wsl_collective_close(c);
}

/* All ranks come here before any closes its connections: who is late still gets its last sum. That
 * somebody is gone already is no failure any more. Afterwards rank 0 may take its time over the
 * last checkpoint: nobody waits for it. */
static void final_barrier(struct wsl_trainer *t)
{
    double nothing = 0;
    struct wsl_err err;

    if (wsl_collective_all_reduce_f64(t->collective, &nothing, 1, &err) == 0)
        wsl_collective_wait(t->collective, &err);
    close_collective(t);
}

/* Whose fault a failure is. */
static Wsl__V1__TrainerOutcome classify_failure(const struct wsl_err *err)
{
    switch (err->code) {
    case WSL_EPEER:
    case WSL_ETIMEOUT:
        return WSL__V1__TRAINER_OUTCOME__PEER_LOST;
    case WSL_EINVAL:
    case WSL_ENOENT:
    case WSL_EEXIST:
    case WSL_ECORRUPT:
    case WSL_ELIMIT:
    case WSL_EDENIED:
    case WSL_EUNSUPPORTED:
    case WSL_ENOMEM:
        return WSL__V1__TRAINER_OUTCOME__USER_ERROR;
    default:
        return WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR;
    }
}

static void set_outcome(struct wsl_trainer_end *ret, Wsl__V1__TrainerOutcome outcome,
                        const char *reason)
{
    ret->outcome = outcome;
    snprintf(ret->reason, sizeof(ret->reason), "%s", reason);
}

/* Whoever stops this trainer now gives it time: what is being written is what the job goes on from.
 */
static void tell_saving(struct wsl_trainer *t)
{
    if (t->saver)
        wsl_trainer_control_phase(t->control, "saving");
}

static bool asked_to_stop(void *context)
{
    const struct wsl_trainer *t = context;

    return wsl_trainer_control_stopped(t->control);
}

/* Waits for the last checkpoint, and tries again for as long as the patience goes. */
static int finish_saving(struct wsl_trainer *t, struct wsl_saver_patience patience,
                         struct wsl_err *err)
{
    tell_saving(t);
    return t->saver ? wsl_saver_finish(t->saver, &patience, err) : 0;
}

/* Who stops a trainer does not wait for long; the job goes on from the checkpoint before. */
static void end_stopped(struct wsl_trainer *t, struct wsl_trainer_end *ret)
{
    enum { LONGEST_S = 60 };
    uint32_t retry_s = t->spec->checkpoint->retry_seconds;
    struct wsl_saver_patience patience = {.retry_seconds =
                                              retry_s < LONGEST_S ? retry_s : LONGEST_S};
    char who[200], reason[600];
    struct wsl_err err = {0};
    int n;

    wsl_trainer_control_stop_reason(t->control, who);
    n = snprintf(reason, sizeof(reason), "stopped after step %" PRIu64 "%s%s", t->step,
                 *who ? ": " : "", who);
    if (finish_saving(t, patience, &err) < 0)
        snprintf(reason + n, sizeof(reason) - (size_t)n,
                 "; its checkpoint could not be written: %.300s", err.text);
    set_outcome(ret, WSL__V1__TRAINER_OUTCOME__STOPPED, reason);
}

/* The last checkpoint must be on disk before the job counts as done. */
static void end_finished(struct wsl_trainer *t, struct wsl_trainer_end *ret)
{
    struct wsl_saver_patience patience = {t->spec->checkpoint->retry_seconds, asked_to_stop, t};
    struct wsl_err err = {0};
    char reason[600];
    bool stopped;

    if (finish_saving(t, patience, &err) < 0) {
        stopped = asked_to_stop(t);
        snprintf(reason, sizeof(reason), "%sthe final checkpoint could not be written: %s",
                 stopped ? "stopped before it was saved: " : "", err.text);
        set_outcome(ret,
                    stopped ? WSL__V1__TRAINER_OUTCOME__STOPPED
                            : WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR,
                    reason);
        return;
    }
    snprintf(reason, sizeof(reason), "%" PRIu64 " steps", t->step);
    set_outcome(ret, WSL__V1__TRAINER_OUTCOME__FINISHED, reason);
}

static void train(struct wsl_trainer *t, Wsl__V1__Assignment *assignment,
                  struct wsl_trainer_end *ret)
{
    struct wsl_err err = {0};
    int r = check_assignment(t, assignment, &err);

    if (r == 0)
        r = load(t, &err);
    if (r == 0)
        r = wsl_trainer_agree(t, &err);
    if (r == 0) {
        r = join(t, &err);
        if (r == WSL_EINVAL) /* the address is the worker's setting, not the job's */
            err.code = r = WSL_EIO;
    }
    if (r == 0)
        r = check_weights(t, &err);
    if (r == 0)
        r = prepare(t, &err);
    if (r == 0)
        r = wsl_trainer_loop(t, &err);
    if (r >= 0)
        final_barrier(t);
    if (r == WSL_TRAINER_STOPPED ||
        (r == WSL_ECANCELLED && wsl_trainer_control_stopped(t->control)))
        end_stopped(t, ret);
    else if (r < 0)
        set_outcome(ret, classify_failure(&err), err.text);
    else
        end_finished(t, ret);
    if (r >= 0)
        wsl_report_end(t, r == 0 ? "finished" : "stopped");
}

static void close_all(struct wsl_trainer *t)
{
    wsl_saver_close(t->saver);
    close_collective(t);
    wsl_loader_close(t->loader);
    wsl_net_close(t->net);
    wsl_dataset_close(t->dataset);
    if (t->control)
        wsl_trainer_control_phase(t->control, "exited");
    wsl_trainer_control_close(t->control);
    wsl_metrics_close(t->metrics);
    pthread_mutex_destroy(&t->abort_lock);
}

void wsl_trainer_run(Wsl__V1__Assignment *assignment, const struct wsl_trainer_options *options,
                     struct wsl_trainer_end *ret)
{
    struct wsl_trainer t = {
        .options = options, .saved_step = UINT64_MAX, .evaluation = WSL__V1__EVALUATION__INIT};
    struct wsl_trainer_control_setup setup = {
        .job = assignment->job,
        .generation = assignment->generation,
        .rank = assignment->rank,
        .world = assignment->world,
        .on_stop = on_stop,
        .context = &t,
    };
    struct wsl_err err = {0};

    pthread_mutex_init(&t.abort_lock, NULL);
    wsl_say("wsl-trainer %s: job %" PRIu64 " \"%s\", generation %u, rank %u of %u, process %d",
            WSL_VERSION, assignment->job, assignment->spec ? assignment->spec->name : "",
            assignment->generation, assignment->rank, assignment->world, (int)getpid());
    if (wsl_metrics_open(&t.metrics, "metrics", &err) < 0 ||
        wsl_trainer_control_open(&t.control, &setup, &err) < 0)
        set_outcome(ret, WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR, err.text);
    else
        train(&t, assignment, ret);
    close_all(&t);
}
