/* SPDX-License-Identifier: Apache-2.0
 *
 * How many images a second a net trains on: full steps (forward, backward, update) on random
 * images, after some to warm up. Prints one line: the median step's rate, the fastest step's, and
 * the peak of resident memory; with --profile a table of where the time goes. */
#include "base/args.h"
#include "base/clock.h"
#include "kernels/model/net.h"
#include "tests/bench/profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

struct options {
    const char *model, *depths, *backend;
    uint64_t groups, width, image, classes, batch, threads, steps, warm_up;
    bool profile;
    struct wsl_cuda_settings cuda;
};

static int fill_config(const struct options *o, struct wsl_net_config *ret, struct wsl_err *err)
{
    *ret = (struct wsl_net_config){.groups = (int)o->groups, .width = (int)o->width};
    if (o->model) {
        if (wsl_net_config_by_name(o->model, ret))
            return wsl_fail(err, WSL_EINVAL, "there is no model \"%s\"; try resnext50_32x4d",
                            o->model);
    } else {
        ret->stages = sscanf(o->depths, "%d,%d,%d,%d", &ret->depths[0], &ret->depths[1],
                             &ret->depths[2], &ret->depths[3]);
        if (ret->stages < 1)
            return wsl_fail(err, WSL_EINVAL, "--depths is \"%s\"; write 1,1,1,1", o->depths);
    }
    ret->image_size = (int)o->image;
    ret->classes = (int)o->classes;
    return 0;
}

/* One image after another: noise, with two tags each. */
struct batch {
    uint8_t *pixels;
    uint32_t *begin, *tags;
};

static int make_batch(struct batch *ret, const struct options *o, struct wsl_err *err)
{
    size_t bytes = o->batch * o->image * o->image * 3;
    uint32_t state = 1;

    ret->pixels = malloc(bytes);
    ret->begin = calloc(o->batch + 1, sizeof *ret->begin);
    ret->tags = calloc(2 * o->batch, sizeof *ret->tags);
    if (!ret->pixels || !ret->begin || !ret->tags)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a batch of %zu bytes", bytes);
    for (size_t i = 0; i < bytes; i++) {
        state = state * 1664525 + 1013904223;
        ret->pixels[i] = (uint8_t)(state >> 24);
    }
    for (size_t i = 0; i < o->batch; i++) {
        ret->begin[i + 1] = (uint32_t)(2 * i + 2);
        ret->tags[2 * i] = (uint32_t)(i % o->classes);
        ret->tags[2 * i + 1] = (uint32_t)((i + 7) % o->classes);
    }
    return 0;
}

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return left < right ? -1 : left > right;
}

static double processor_seconds(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

struct times {
    double *seconds;  /* of each step */
    double processor; /* seconds of all of them */
};

/* A step with its update. */
static int step(const struct options *o, struct wsl_net *net, const struct batch *batch,
                struct profile *profile, struct wsl_err *err)
{
    struct wsl_targets targets = {batch->begin, batch->tags};
    struct wsl_step_result result;
    int rc;

    if (profile)
        profile_step_begins(profile);
    rc = wsl_net_step(net, &(struct wsl_net_batch){batch->pixels, targets, (int)o->batch},
                      &(struct wsl_step_options){1 / (float)o->batch, NULL, NULL}, &result, err);
    if (rc)
        return rc;
    wsl_net_update(net, 0.01f, 0.9f, 1e-4f);
    if (profile)
        profile_update_done(profile);
    return 0;
}

static int measure(const struct options *o, struct wsl_net *net, const struct batch *batch,
                   struct times *ret, struct wsl_err *err)
{
    double before = 0;

    for (uint64_t i = 0; i < o->warm_up + o->steps; i++) {
        uint64_t start = wsl_clock_ns();
        int rc;

        if (i == o->warm_up)
            before = processor_seconds();
        rc = step(o, net, batch, NULL, err);
        if (rc)
            return rc;
        if (i >= o->warm_up)
            ret->seconds[i - o->warm_up] = (double)(wsl_clock_ns() - start) * 1e-9;
    }
    ret->processor = processor_seconds() - before;
    return 0;
}

static int print_profile(const struct options *o, struct wsl_net *net, const struct batch *batch,
                         struct wsl_err *err)
{
    struct profile *profile = profile_open(net);
    int rc = profile ? 0 : wsl_fail(err, WSL_ENOMEM, "no memory for the profile");

    for (uint64_t i = 0; rc == 0 && i < o->steps; i++)
        rc = step(o, net, batch, profile, err);
    if (rc == 0)
        rc = profile_print(profile, (int)o->batch, (int)o->threads, err);
    profile_close(profile);
    return rc;
}

static int bench(const struct options *o, struct wsl_err *err)
{
    struct wsl_net_setup setup = {
        .backend = o->backend, .batch = (int)o->batch, .threads = (int)o->threads, .cuda = o->cuda};
    struct times times = {.seconds = calloc(o->steps, sizeof *times.seconds)};
    struct batch batch = {0};
    struct wsl_net *net = NULL;
    struct rusage usage;
    int rc = times.seconds ? 0 : wsl_fail(err, WSL_ENOMEM, "no memory for the times");

    if (rc == 0)
        rc = fill_config(o, &setup.config, err);
    if (rc == 0)
        rc = make_batch(&batch, o, err);
    if (rc == 0)
        rc = wsl_net_open(&net, &setup, err);
    if (rc == 0) {
        wsl_net_init(net, 1);
        rc = measure(o, net, &batch, &times, err);
    }
    if (rc == 0) {
        qsort(times.seconds, o->steps, sizeof *times.seconds, by_value);
        getrusage(RUSAGE_SELF, &usage);
        printf("backend=%s params=%.2fM macs=%.3fG batch=%d threads=%d images_per_second=%.2f "
               "best=%.2f per_processor_second=%.2f peak_MiB=%ld\n",
               wsl_net_backend(net), (double)wsl_net_parameter_count(&setup.config) * 1e-6,
               (double)wsl_net_macs(&setup.config) * 1e-9, setup.batch, setup.threads,
               (double)o->batch / times.seconds[o->steps / 2], (double)o->batch / times.seconds[0],
               (double)(o->batch * o->steps) / times.processor, usage.ru_maxrss / 1024);
    }
    if (rc == 0 && o->profile)
        rc = print_profile(o, net, &batch, err);
    wsl_net_close(net);
    free(times.seconds);
    free(batch.pixels);
    free(batch.begin);
    free(batch.tags);
    return rc;
}

int main(int argc, char **argv)
{
    struct options o = {.depths = "1,1,1,1",
                        .groups = 32,
                        .width = 4,
                        .image = 64,
                        .classes = 150,
                        .batch = 32,
                        .threads = 1,
                        .steps = 20,
                        .warm_up = 3};
    const struct wsl_arg rows[] = {
        {"model", 0, WSL_ARG_TEXT, &o.model, 0, 0, "NAME", "a named model, instead of --depths"},
        {"depths", 0, WSL_ARG_TEXT, &o.depths, 0, 0, "LIST", "blocks of each stage"},
        {"backend", 0, WSL_ARG_TEXT, &o.backend, 0, 0, "NAME", "cpu, ref or cuda"},
        {"groups", 0, WSL_ARG_UINT, &o.groups, 1, 65536, "N", "groups of the 3x3 convolutions"},
        {"width", 0, WSL_ARG_UINT, &o.width, 1, 65536, "N", "channels of a group in stage 1"},
        {"image", 0, WSL_ARG_UINT, &o.image, 32, 2048, "PIXELS", "size of the images"},
        {"classes", 0, WSL_ARG_UINT, &o.classes, 1, 100000, "N", "classes"},
        {"batch", 0, WSL_ARG_UINT, &o.batch, 1, 65536, "N", "images of a step"},
        {"threads", 0, WSL_ARG_UINT, &o.threads, 1, 1024, "N", "compute threads"},
        {"steps", 0, WSL_ARG_UINT, &o.steps, 1, 100000, "N", "measured steps"},
        {"warm-up", 0, WSL_ARG_UINT, &o.warm_up, 0, 1000, "N", "steps before them"},
        WSL_CUDA_SETTINGS_ROWS(o.cuda),
        {"profile", 0, WSL_ARG_FLAG, &o.profile, 0, 0, NULL, "then as many steps with a clock"},
    };
    const struct wsl_args args = {"train_step [options]",
                                  "Images a second of training steps on random images.", rows,
                                  (int)(sizeof rows / sizeof rows[0])};
    struct wsl_err err;
    int words, rc = wsl_args_parse(&args, argc, argv, &words, &err);

    if (rc == WSL_ARGS_HELP)
        return 0;
    if (rc == WSL_ARGS_RUN)
        rc = bench(&o, &err);
    if (rc)
        fprintf(stderr, "train_step: %s\n", err.text);
    return rc ? 1 : 0;
}
