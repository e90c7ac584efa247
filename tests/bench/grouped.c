/* SPDX-License-Identifier: Apache-2.0
 *
 * Grouped convolutions: our loops against oneDNN's plans for the same shapes, each direction, in
 * turns on the same memory. One thread, processor time, the fastest of the rounds; both are warm.
 */
#include "base/args.h"
#include "kernels/cpu/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

struct options {
    const char *isa;
    uint64_t batch, rounds;
};

struct row {
    int channels, groups, size, stride;
};

static const struct row rows[] = {
    {128, 32, 56, 1}, {128, 32, 56, 2}, {256, 32, 28, 1}, {256, 32, 56, 2},
    {256, 32, 56, 1}, {128, 32, 16, 1}, {256, 32, 16, 2}, {256, 32, 8, 1},
};

static const char *const directions[] = {"forward", "data", "weights"};

struct bench {
    struct wsl_device *dev;
    struct wsl_conv_shape shape;
    struct wsl_conv *ours;
    struct wsl_onednn_conv *theirs;
    char *scratch;
    float *x, *y, *weights;
};

static double processor_seconds(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static float *floats(struct wsl_device *dev, size_t n, struct wsl_err *err)
{
    void *ret = NULL;

    if (wsl_ops_cpu.alloc(dev, n * sizeof(float), "the bench", &ret, err))
        return NULL;
    for (size_t i = 0; i < n; i++)
        ((float *)ret)[i] = (float)((i * 2654435761u >> 8) % 2001) * 1e-3f - 1;
    return ret;
}

static int open_bench(struct bench *ret, const struct options *o, const struct row *row,
                      struct wsl_err *err)
{
    struct wsl_device_setup setup = {.batch = (int)o->batch, .threads = 1};
    int out = (row->size - 1) / row->stride + 1;
    struct wsl_conv_shape shape = {{row->channels, row->size, row->size},
                                   {row->channels, out, out},
                                   3,
                                   row->stride,
                                   1,
                                   row->groups,
                                   true};
    int rc = wsl_cpu_open_capped(&ret->dev, &setup, o->isa, err);

    ret->shape = shape;
    if (rc == 0)
        rc = wsl_cpu_conv_open(ret->dev, &shape, &ret->ours, err);
    if (rc == 0)
        rc = wsl_onednn_conv_open(ret->dev->onednn, &shape, setup.batch, false, &ret->theirs, err);
    if (rc == 0)
        rc = wsl_ops_cpu.prepare(ret->dev, err);
    if (rc)
        return rc;
    wsl_ops_cpu.begin(ret->dev, setup.batch);
    ret->x = floats(ret->dev, wsl_shape_count(&shape.in) * o->batch, err);
    ret->y = floats(ret->dev, wsl_shape_count(&shape.out) * o->batch, err);
    ret->weights = floats(ret->dev, wsl_conv_shape_weights(&shape), err);
    ret->scratch = (char *)floats(ret->dev, wsl_onednn_conv_scratch(ret->theirs) / 4 + 1, err);
    return ret->x && ret->y && ret->weights && ret->scratch ? 0 : err->code;
}

static void close_bench(struct bench *b)
{
    wsl_onednn_conv_close(b->theirs);
    wsl_ops_cpu.close(b->dev);
}

static void run(struct bench *b, int direction, bool ours)
{
    if (direction == 0 && ours)
        wsl_cpu_conv_forward(b->ours, b->x, b->weights, b->y, NULL);
    else if (direction == 0)
        (void)wsl_onednn_conv_forward(b->theirs, b->x, b->weights, b->y, b->scratch);
    else if (direction == 1 && ours)
        wsl_cpu_conv_backward_data(b->ours, b->y, b->weights, b->x, false);
    else if (direction == 1)
        (void)wsl_onednn_conv_data(b->theirs, b->y, b->weights, b->x, b->scratch);
    else if (ours)
        wsl_cpu_conv_backward_weights(b->ours, b->x, b->y, b->weights);
    else
        (void)wsl_onednn_conv_weights(b->theirs, b->x, b->y, b->weights, b->scratch);
}

/* Fastest of the rounds, [ours]. A direction's outputs become another's inputs, but its own inputs
 * stay what they are. */
static void measure(struct bench *b, const struct options *o, int direction, double ret[2])
{
    ret[0] = ret[1] = 1e9;
    for (uint64_t round = 0; round <= o->rounds; round++)
        for (int ours = 0; ours < 2; ours++) {
            double start = processor_seconds(), seconds;

            run(b, direction, ours);
            seconds = processor_seconds() - start;
            if (round > 0 && seconds < ret[ours])
                ret[ours] = seconds;
        }
}

static int bench(const struct options *o, struct wsl_err *err)
{
    printf("%-34s %-8s %9s %9s %6s\n", "GFLOP/s", "", "ours", "oneDNN", "ratio");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct bench b = {0};
        int rc = open_bench(&b, o, &rows[i], err);
        double flops = 2 * (double)wsl_conv_shape_weights(&b.shape) * (double)o->batch *
                       (double)b.shape.out.height * (double)b.shape.out.width;

        for (int direction = 0; rc == 0 && direction < 3; direction++) {
            double seconds[2];

            measure(&b, o, direction, seconds);
            printf("%d channels, %d a group, %dx%d, stride %d   %-8s %9.1f %9.1f %6.2f\n",
                   rows[i].channels, rows[i].channels / rows[i].groups, rows[i].size, rows[i].size,
                   rows[i].stride, directions[direction], flops / seconds[1] * 1e-9,
                   flops / seconds[0] * 1e-9, seconds[0] / seconds[1]);
        }
        close_bench(&b);
        if (rc)
            return rc;
    }
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = {.batch = 32, .rounds = 7};
    const struct wsl_arg args_rows[] = {
        {"isa", 0, WSL_ARG_TEXT, &o.isa, 0, 0, "NAME", "our instruction set at most: v2, v3 or v4"},
        {"batch", 0, WSL_ARG_UINT, &o.batch, 1, 65536, "N", "images"},
        {"rounds", 0, WSL_ARG_UINT, &o.rounds, 1, 100000, "N", "measured rounds"},
    };
    const struct wsl_args args = {"grouped [options]", "GFLOP/s of grouped 3x3 convolutions.",
                                  args_rows, (int)(sizeof args_rows / sizeof args_rows[0])};
    struct wsl_err err;
    int words, rc = wsl_args_parse(&args, argc, argv, &words, &err);

    if (rc == WSL_ARGS_HELP)
        return 0;
    if (rc == WSL_ARGS_RUN)
        rc = bench(&o, &err);
    if (rc)
        fprintf(stderr, "grouped: %s\n", err.text);
    return rc ? 1 : 0;
}
