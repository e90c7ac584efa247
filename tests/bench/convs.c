/* SPDX-License-Identifier: Apache-2.0
 *
 * Each convolution of a net on the backend cpu, each direction: milliseconds of a batch and
 * GFLOP/s, beside oneDNN's plan for the same shape (NHWC, canonical weights). The two take turns on
 * the same memory. One thread, processor time, the median of the rounds. */
#include "base/args.h"
#include "kernels/cpu/cpu.h"
#include "kernels/model/graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define ROUNDS_MAX 100

struct options {
    const char *isa, *depths;
    uint64_t groups, width, image, batch, rounds;
    bool grouped;
};

enum direction { FORWARD, DATA, WEIGHTS, DIRECTIONS };

struct bench {
    struct wsl_device *dev;
    struct wsl_conv_shape shape;
    struct wsl_conv *ours;
    struct wsl_onednn_conv *theirs;
    char *scratch;
    float *x, *y, *weights;
};

/* Seconds of all convolutions so far: [ours or theirs][direction]. */
struct sums {
    double seconds[2][DIRECTIONS], flops[DIRECTIONS];
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

static int open_bench(struct bench *ret, const struct options *o,
                      const struct wsl_conv_shape *shape, struct wsl_err *err)
{
    struct wsl_device_setup setup = {.batch = (int)o->batch, .threads = 1};
    int rc = wsl_cpu_open_capped(&ret->dev, &setup, o->isa, err);

    ret->shape = *shape;
    if (rc == 0)
        rc = wsl_cpu_conv_open(ret->dev, shape, &ret->ours, err);
    if (rc == 0)
        rc = wsl_onednn_conv_open(ret->dev->onednn, shape, setup.batch, false, &ret->theirs, err);
    if (rc == 0)
        rc = wsl_ops_cpu.prepare(ret->dev, err);
    if (rc)
        return rc;
    wsl_ops_cpu.begin_pass(ret->dev, setup.batch);
    ret->x = floats(ret->dev, wsl_shape_count(&shape->in) * o->batch, err);
    ret->y = floats(ret->dev, wsl_shape_count(&shape->out) * o->batch, err);
    ret->weights = floats(ret->dev, wsl_conv_shape_weights(shape), err);
    ret->scratch = (char *)floats(ret->dev, wsl_onednn_conv_scratch(ret->theirs) / 4 + 1, err);
    return ret->x && ret->y && ret->weights && ret->scratch ? 0 : err->code;
}

static void close_bench(struct bench *b)
{
    wsl_onednn_conv_close(b->theirs);
    wsl_ops_cpu.close(b->dev);
}

static void run_ours(struct bench *b, enum direction direction)
{
    if (direction == FORWARD)
        wsl_cpu_conv_forward(b->ours, b->x, b->weights, b->y, NULL);
    else if (direction == DATA)
        wsl_cpu_conv_backward_data(b->ours, b->y, b->weights, b->x, false);
    else
        wsl_cpu_conv_backward_weights(b->ours, b->x, b->y, b->weights);
}

static void run_theirs(struct bench *b, enum direction direction)
{
    if (direction == FORWARD)
        (void)wsl_onednn_conv_forward(b->theirs, b->x, b->weights, b->y, b->scratch);
    else if (direction == DATA)
        (void)wsl_onednn_conv_data(b->theirs, b->y, b->weights, b->x, b->scratch);
    else
        (void)wsl_onednn_conv_weights(b->theirs, b->x, b->y, b->weights, b->scratch);
}

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return left < right ? -1 : left > right;
}

/* Median seconds: ours, theirs. */
static void measure(struct bench *b, uint64_t rounds, enum direction direction, double ret[2])
{
    double seconds[2][ROUNDS_MAX];

    run_ours(b, direction);
    run_theirs(b, direction);
    for (uint64_t round = 0; round < rounds; round++)
        for (int who = 0; who < 2; who++) {
            double start = processor_seconds();

            (who == 0 ? run_ours : run_theirs)(b, direction);
            seconds[who][round] = processor_seconds() - start;
        }
    for (int who = 0; who < 2; who++) {
        qsort(seconds[who], rounds, sizeof(double), by_value);
        ret[who] = seconds[who][rounds / 2];
    }
}

static void print_row(const char *name, const char *direction, const double seconds[2],
                      double flops)
{
    printf("%-52s %-8s %8.2f %8.1f %8.2f %8.1f %7.2f\n", name, direction, seconds[0] * 1e3,
           flops / seconds[0] * 1e-9, seconds[1] * 1e3, flops / seconds[1] * 1e-9,
           seconds[1] / seconds[0]);
}

static int bench_layer(const struct options *o, const struct wsl_layer *layer, struct sums *sums,
                       struct wsl_err *err)
{
    static const char *const names[] = {"forward", "data", "weights"};
    const struct wsl_conv_shape *s = &layer->shape;
    double flops = 2 * (double)wsl_conv_shape_weights(s) * (double)o->batch *
                   (double)s->out.height * (double)s->out.width;
    struct bench b = {0};
    char name[128];
    int rc = open_bench(&b, o, s, err);

    snprintf(name, sizeof name, "%s %dx%dx%d, %dx%d, stride %d, %d a group", layer->name,
             s->in.channels, s->in.height, s->in.width, s->kernel, s->kernel, s->stride,
             s->in.channels / s->groups);
    for (enum direction d = FORWARD; rc == 0 && d < DIRECTIONS; d++) {
        double seconds[2];

        if (d == DATA && !s->input_gradient)
            continue;
        measure(&b, o->rounds, d, seconds);
        print_row(name, names[d], seconds, flops);
        sums->seconds[0][d] += seconds[0];
        sums->seconds[1][d] += seconds[1];
        sums->flops[d] += flops;
    }
    close_bench(&b);
    return rc;
}

static int bench(const struct options *o, struct wsl_err *err)
{
    static const char *const names[] = {"forward", "data", "weights"};
    struct wsl_net_config config = {.groups = (int)o->groups,
                                    .width = (int)o->width,
                                    .image_size = (int)o->image,
                                    .classes = 10};
    struct wsl_graph graph;
    struct sums sums = {0};
    int rc;

    config.stages = sscanf(o->depths, "%d,%d,%d,%d", &config.depths[0], &config.depths[1],
                           &config.depths[2], &config.depths[3]);
    rc = wsl_net_config_check(&config, err);
    if (rc == 0)
        rc = wsl_graph_init(&graph, &config, err);
    if (rc)
        return rc;
    printf("%-61s %8s %8s %8s %8s %7s\n", "", "ms", "GFLOP/s", "oneDNN", "GFLOP/s", "ratio");
    for (int i = 0; rc == 0 && i < graph.layer_count; i++)
        if (!o->grouped || graph.layers[i].shape.groups > 1)
            rc = bench_layer(o, &graph.layers[i], &sums, err);
    for (enum direction d = FORWARD; rc == 0 && d < DIRECTIONS; d++)
        print_row("all", names[d], (double[]){sums.seconds[0][d], sums.seconds[1][d]},
                  sums.flops[d]);
    wsl_graph_fini(&graph);
    return rc;
}

int main(int argc, char **argv)
{
    struct options o = {
        .depths = "1,1,1,1", .groups = 32, .width = 4, .image = 64, .batch = 32, .rounds = 9};
    const struct wsl_arg rows[] = {
        {"depths", 0, WSL_ARG_TEXT, &o.depths, 0, 0, "LIST", "blocks of each stage"},
        {"groups", 0, WSL_ARG_UINT, &o.groups, 1, 65536, "N", "groups of the 3x3 convolutions"},
        {"width", 0, WSL_ARG_UINT, &o.width, 1, 65536, "N", "channels of a group in stage 1"},
        {"image", 0, WSL_ARG_UINT, &o.image, 32, 2048, "PIXELS", "size of the images"},
        {"batch", 0, WSL_ARG_UINT, &o.batch, 1, 65536, "N", "images"},
        {"rounds", 0, WSL_ARG_UINT, &o.rounds, 1, ROUNDS_MAX, "N", "measured rounds"},
        {"isa", 0, WSL_ARG_TEXT, &o.isa, 0, 0, "NAME", "of our own loops at most: v2, v3 or v4"},
        {"grouped", 0, WSL_ARG_FLAG, &o.grouped, 0, 0, NULL, "only the grouped ones"},
    };
    const struct wsl_args args = {"convs [options]",
                                  "Speed of each convolution of a net, beside oneDNN's.", rows,
                                  (int)(sizeof rows / sizeof rows[0])};
    struct wsl_err err;
    int words, rc = wsl_args_parse(&args, argc, argv, &words, &err);

    if (rc == WSL_ARGS_HELP)
        return 0;
    if (rc == WSL_ARGS_RUN)
        rc = bench(&o, &err);
    if (rc)
        fprintf(stderr, "convs: %s\n", err.text);
    return rc ? 1 : 0;
}
