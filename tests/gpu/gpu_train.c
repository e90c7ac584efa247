/* SPDX-License-Identifier: Apache-2.0
 *
 * Short trainings on one fixed batch of noise. With --against, the same one on another backend: the
 * curves of the loss must lie together. With --twice, the same one again: losses and weights must
 * be equal bit by bit. Either way the loss must fall. Exit status 77 when a backend cannot run
 * here.
 */
#include "base/args.h"
#include "base/crc32c.h"
#include "kernels/model/net.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const char *backend, *against;
    bool twice;
    uint64_t width, image, classes, batch, threads, steps;
    double rate, tolerance;
    struct wsl_cuda_settings cuda;
};

#define STEPS_MAX 1000

struct curve {
    double loss[STEPS_MAX]; /* mean of a step */
    uint32_t weights;       /* checksum of all tensors and momentum afterwards */
};

struct batch {
    uint8_t *pixels;
    uint32_t *begin, *tags;
};

static int make_batch(struct batch *ret, const struct options *o, struct wsl_err *err)
{
    size_t bytes = o->batch * o->image * o->image * 3;
    uint32_t state = 7;

    ret->pixels = malloc(bytes);
    ret->begin = calloc(o->batch + 1, sizeof *ret->begin);
    ret->tags = calloc(o->batch, sizeof *ret->tags);
    if (!ret->pixels || !ret->begin || !ret->tags)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a batch of %zu bytes", bytes);
    for (size_t i = 0; i < bytes; i++) {
        state = state * 1664525 + 1013904223;
        ret->pixels[i] = (uint8_t)(state >> 24);
    }
    for (size_t i = 0; i < o->batch; i++) {
        ret->begin[i + 1] = (uint32_t)i + 1;
        ret->tags[i] = (uint32_t)(i % o->classes);
    }
    return 0;
}

static void free_batch(struct batch *batch)
{
    free(batch->pixels);
    free(batch->begin);
    free(batch->tags);
}

static int checksum(struct wsl_net *net, uint32_t *ret, struct wsl_err *err)
{
    uint32_t sum = 0;

    for (size_t i = 0; i < wsl_net_tensor_count(net); i++) {
        const struct wsl_tensor_info *info = wsl_net_tensor(net, i);
        float *values = malloc(info->count * sizeof *values);

        if (!values)
            return wsl_fail(err, WSL_ENOMEM, "no memory for tensor %s", info->name);
        for (int what = WSL_TENSOR_VALUE; what <= WSL_TENSOR_MOMENTUM; what++) {
            if (what == WSL_TENSOR_MOMENTUM && info->kind != WSL_TENSOR_WEIGHT)
                continue;
            wsl_net_get(net, i, what, values);
            sum = wsl_crc32c(sum, values, info->count * sizeof *values);
        }
        free(values);
    }
    *ret = sum;
    return 0;
}

static int run_steps(const struct options *o, struct wsl_net *net, const struct batch *batch,
                     struct curve *ret, struct wsl_err *err)
{
    struct wsl_targets targets = {batch->begin, batch->tags};
    struct wsl_step_result result;

    wsl_net_init(net, 1);
    for (uint64_t i = 0; i < o->steps; i++) {
        int rc =
            wsl_net_step(net, &(struct wsl_net_batch){batch->pixels, targets, (int)o->batch},
                         &(struct wsl_step_options){1 / (float)o->batch, NULL, NULL}, &result, err);

        if (rc)
            return rc;
        wsl_net_update(net, (float)o->rate, 0.9f, 1e-4f);
        ret->loss[i] = result.loss / (double)o->batch;
    }
    return checksum(net, &ret->weights, err);
}

static int train(const struct options *o, const char *backend, struct curve *ret,
                 struct wsl_err *err)
{
    struct wsl_net_setup setup = {.config = {.stages = 4,
                                             .depths = {1, 1, 1, 1},
                                             .groups = 32,
                                             .width = (int)o->width,
                                             .image_size = (int)o->image,
                                             .classes = (int)o->classes},
                                  .backend = backend,
                                  .batch = (int)o->batch,
                                  .threads = (int)o->threads,
                                  .cuda = o->cuda};
    struct batch batch = {0};
    struct wsl_net *net = NULL;
    int rc = make_batch(&batch, o, err);

    if (rc == 0)
        rc = wsl_net_open(&net, &setup, err);
    if (rc == 0)
        rc = run_steps(o, net, &batch, ret, err);
    wsl_net_close(net);
    free_batch(&batch);
    return rc;
}

/* The loss may wander a little more with every step: rounding grows. */
static int compare_curves(const struct options *o, const struct curve *ours,
                          const struct curve *theirs, struct wsl_err *err)
{
    double worst = 0;

    for (uint64_t i = 0; i < o->steps; i++) {
        double off = fabs(ours->loss[i] - theirs->loss[i]) / fmax(theirs->loss[i], 1);

        printf("step %2d: %s %.5f, %s %.5f, %.3f %% off\n", (int)i, o->backend, ours->loss[i],
               o->against, theirs->loss[i], 100 * off);
        if (!isfinite(off))
            return wsl_fail(err, WSL_EINTERNAL, "step %d: the loss is not finite", (int)i);
        worst = fmax(worst, off);
    }
    printf("curves: at most %.3f %% apart; limit %.3f %%\n", 100 * worst, 100 * o->tolerance);
    if (worst > o->tolerance)
        return wsl_fail(err, WSL_EINTERNAL, "%s and %s drift apart by %.3f %%", o->backend,
                        o->against, 100 * worst);
    return 0;
}

static int compare_bits(const struct options *o, const struct curve *first,
                        const struct curve *second, struct wsl_err *err)
{
    for (uint64_t i = 0; i < o->steps; i++)
        if (memcmp(&first->loss[i], &second->loss[i], sizeof(double)) != 0)
            return wsl_fail(err, WSL_EINTERNAL, "step %d: the loss is %.17g and then %.17g", (int)i,
                            first->loss[i], second->loss[i]);
    if (first->weights != second->weights)
        return wsl_fail(err, WSL_EINTERNAL, "the weights differ: checksums %08x and %08x",
                        first->weights, second->weights);
    printf("two runs of %d steps: equal bits, checksum of weights and momentum %08x\n",
           (int)o->steps, first->weights);
    return 0;
}

static int run(const struct options *o, struct wsl_err *err)
{
    static struct curve first, second;
    int rc = train(o, o->backend, &first, err);

    if (rc == 0 && o->against)
        rc = train(o, o->against, &second, err);
    if (rc == 0 && o->against)
        rc = compare_curves(o, &first, &second, err);
    if (rc == 0 && o->twice)
        rc = train(o, o->backend, &second, err);
    if (rc == 0 && o->twice)
        rc = compare_bits(o, &first, &second, err);
    if (rc == 0 && !(first.loss[o->steps - 1] < first.loss[0]))
        rc = wsl_fail(err, WSL_EINTERNAL, "the loss does not fall: %g, and %g after %d steps",
                      first.loss[0], first.loss[o->steps - 1], (int)o->steps);
    return rc;
}

int main(int argc, char **argv)
{
    struct options o = {.backend = "cuda",
                        .width = 4,
                        .image = 64,
                        .classes = 100,
                        .batch = 32,
                        .threads = 1,
                        .steps = 20,
                        .rate = 0.001,
                        .tolerance = 0.03};
    const struct wsl_arg rows[] = {
        {"backend", 0, WSL_ARG_TEXT, &o.backend, 0, 0, "NAME", "what trains (cuda)"},
        {"against", 0, WSL_ARG_TEXT, &o.against, 0, 0, "NAME", "compare with this backend's curve"},
        {"twice", 0, WSL_ARG_FLAG, &o.twice, 0, 0, NULL, "train twice and compare bits"},
        {"width", 0, WSL_ARG_UINT, &o.width, 1, 65536, "N", "channels of a group in stage 1 (4)"},
        {"image", 0, WSL_ARG_UINT, &o.image, 32, 2048, "PIXELS", "size of the images (64)"},
        {"classes", 0, WSL_ARG_UINT, &o.classes, 1, 100000, "N", "classes (100)"},
        {"batch", 0, WSL_ARG_UINT, &o.batch, 1, 65536, "N", "images of a step (32)"},
        {"threads", 0, WSL_ARG_UINT, &o.threads, 1, 1024, "N", "compute threads of cpu (1)"},
        {"steps", 0, WSL_ARG_UINT, &o.steps, 2, STEPS_MAX, "N", "steps (20)"},
        {"rate", 0, WSL_ARG_REAL, &o.rate, 1e-9, 10, "R", "learning rate (0.001)"},
        WSL_CUDA_SETTINGS_ROWS(o.cuda),
        {"tolerance", 0, WSL_ARG_REAL, &o.tolerance, 0, 1, "R", "of the curves (0.03)"},
    };
    const struct wsl_args args = {"gpu_train [options]", "Short trainings, compared.", rows,
                                  (int)(sizeof rows / sizeof rows[0])};
    struct wsl_err err;
    int words, rc = wsl_args_parse(&args, argc, argv, &words, &err);

    if (rc == WSL_ARGS_HELP)
        return 0;
    if (rc == WSL_ARGS_RUN)
        rc = run(&o, &err);
    if (rc)
        fprintf(stderr, "gpu_train: %s\n", err.text);
    if (rc == WSL_EUNAVAILABLE || rc == WSL_EUNSUPPORTED)
        return 77;
    return rc ? 1 : 0;
}
