/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/profile.h"

#include "base/clock.h"
#include "kernels/cpu/onednn.h"
#include "kernels/model/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CEILING_SIDE  2048
#define CEILING_TIMES 3

enum direction { FORWARD, DATA, WEIGHTS, DIRECTIONS };

enum other { INPUT, NORM, JOIN, POOL, HEAD, LOSS, UPDATE, OTHERS };

static const char *const other_names[OTHERS] = {[INPUT] = "pixels to floats", [NORM] = "BN + ReLU",
                                                [JOIN] = "BN + add + ReLU",   [POOL] = "pools",
                                                [HEAD] = "fully connected",   [LOSS] = "loss",
                                                [UPDATE] = "update"};

struct row {
    struct wsl_conv_shape shape;
    double seconds[DIRECTIONS];
    uint64_t calls[DIRECTIONS];
};

struct profile {
    uint64_t last; /* when the last operation ended */
    uint64_t steps;
    double others[OTHERS][2]; /* forward, backward */
    int row_count;
    struct row rows[]; /* room for every layer */
};

static bool same_shape(const struct wsl_conv_shape *a, const struct wsl_conv_shape *b)
{
    return a->in.channels == b->in.channels && a->in.height == b->in.height &&
           a->out.channels == b->out.channels && a->kernel == b->kernel && a->stride == b->stride &&
           a->groups == b->groups;
}

static struct row *row_of(struct profile *p, const struct wsl_layer *layer)
{
    int i = 0;

    while (i < p->row_count && !same_shape(&p->rows[i].shape, &layer->shape))
        i++;
    if (i == p->row_count)
        p->rows[p->row_count++].shape = layer->shape;
    return &p->rows[i];
}

static void add_conv(struct profile *p, const struct wsl_layer *layer, enum direction direction,
                     double seconds)
{
    struct row *row = row_of(p, layer);

    row->seconds[direction] += seconds;
    row->calls[direction]++;
}

static void on_op(void *context, const struct wsl_op *op, const struct wsl_layer *layer)
{
    static const struct {
        enum other other;
        int backward;
    } rest[] = {
        [WSL_OP_INPUT] = {INPUT, 0},
        [WSL_OP_BN_RELU] = {NORM, 0},
        [WSL_OP_BN_RELU_POOL] = {POOL, 0},
        [WSL_OP_ADD_RELU] = {JOIN, 0},
        [WSL_OP_AVERAGE_POOL] = {POOL, 0},
        [WSL_OP_HEAD] = {HEAD, 0},
        [WSL_OP_LOSS] = {LOSS, 1},
        [WSL_OP_HEAD_BACKWARD] = {HEAD, 1},
        [WSL_OP_AVERAGE_POOL_BACKWARD] = {POOL, 1},
        [WSL_OP_ADD_RELU_BACKWARD] = {JOIN, 1},
        [WSL_OP_BN_RELU_BACKWARD] = {NORM, 1},
        [WSL_OP_BN_RELU_POOL_BACKWARD] = {POOL, 1},
    };
    struct profile *p = context;
    uint64_t now = wsl_clock_ns();
    double seconds = (double)(now - p->last) * 1e-9;

    if (op->kind == WSL_OP_CONV)
        add_conv(p, layer, FORWARD, seconds);
    else if (op->kind == WSL_OP_CONV_BACKWARD_DATA)
        add_conv(p, layer, DATA, seconds);
    else if (op->kind == WSL_OP_CONV_BACKWARD_WEIGHTS)
        add_conv(p, layer, WEIGHTS, seconds);
    else
        p->others[rest[op->kind].other][rest[op->kind].backward] += seconds;
    p->last = wsl_clock_ns();
}

struct profile *profile_open(struct wsl_net *net)
{
    size_t layers = (size_t)net->graph.layer_count;
    struct profile *p = calloc(1, sizeof *p + layers * sizeof *p->rows);

    if (p) {
        net->profile = on_op;
        net->profile_context = p;
    }
    return p;
}

void profile_close(struct profile *profile)
{
    free(profile);
}

void profile_step_begins(struct profile *p)
{
    p->steps++;
    p->last = wsl_clock_ns();
}

void profile_update_done(struct profile *p)
{
    p->others[UPDATE][0] += (double)(wsl_clock_ns() - p->last) * 1e-9;
}

/* GFLOP/s of a square matrix product: what no convolution is expected to beat by much. */
static int ceiling(int threads, double *ret, struct wsl_err *err)
{
    size_t side = CEILING_SIDE, count = side * side;
    float *a = calloc(3 * count, sizeof *a);
    struct wsl_matmul shape = {.m = side, .n = side, .k = side};
    double best = 0;

    if (!a)
        return wsl_fail(err, WSL_ENOMEM, "no memory for three matrices of %zu x %zu", side, side);
    wsl_onednn_set_threads(threads);
    for (int i = 0; i < CEILING_TIMES; i++) {
        uint64_t start = wsl_clock_ns();
        double seconds;

        wsl_onednn_matmul(&shape, a, a + count, a + 2 * count);
        seconds = (double)(wsl_clock_ns() - start) * 1e-9;
        if (best == 0 || seconds < best)
            best = seconds;
    }
    free(a);
    *ret = 2 * (double)side * (double)side * (double)side / best * 1e-9;
    return 0;
}

static double step_seconds(const struct profile *p)
{
    double sum = 0;

    for (int i = 0; i < p->row_count; i++)
        for (int d = 0; d < DIRECTIONS; d++)
            sum += p->rows[i].seconds[d];
    for (int i = 0; i < OTHERS; i++)
        sum += p->others[i][0] + p->others[i][1];
    return sum / (double)p->steps;
}

struct sums {
    double seconds[DIRECTIONS], flops[DIRECTIONS];
};

static void print_conv(const struct profile *p, const struct row *row, int batch, struct sums *sums)
{
    const struct wsl_conv_shape *s = &row->shape;
    double flops = 2.0 * (double)wsl_conv_shape_weights(s) * s->out.height * s->out.width * batch;
    double all = row->seconds[0] + row->seconds[1] + row->seconds[2];
    char name[64], groups[24] = "";

    if (s->groups > 1)
        snprintf(groups, sizeof groups, " in %d groups", s->groups);
    snprintf(name, sizeof name, "%dx%d/%d %d -> %d%s, %d", s->kernel, s->kernel, s->stride,
             s->in.channels, s->out.channels, groups, s->in.height);
    printf("%-40s %4d", name, (int)(row->calls[FORWARD] / p->steps));
    for (int d = 0; d < DIRECTIONS; d++) {
        double seconds = row->seconds[d] / (double)p->steps;
        double work = flops * (double)row->calls[d] / (double)p->steps;

        if (row->calls[d] == 0) {
            printf("  %8s %6s", "-", "-");
            continue;
        }
        printf("  %8.1f %6.0f", seconds * 1e3, work / seconds * 1e-9);
        sums->seconds[d] += seconds;
        sums->flops[d] += work;
    }
    printf("  %5.1f\n", 100 * all / (double)p->steps / step_seconds(p));
}

static void print_other(const struct profile *p, int i)
{
    double forward = p->others[i][0] / (double)p->steps;
    double backward = p->others[i][1] / (double)p->steps;

    printf("%-45s  %8.1f %6s  %8.1f %6s  %8s %6s  %5.1f\n", other_names[i], forward * 1e3, "",
           backward * 1e3, "", "", "", 100 * (forward + backward) / step_seconds(p));
}

int profile_print(const struct profile *p, int batch, int threads, struct wsl_err *err)
{
    struct sums sums = {0};
    double most = 0;
    int rc = ceiling(threads, &most, err);

    if (rc)
        return rc;
    printf("%-40s %4s  %15s  %15s  %15s  %5s\n", "", "", "forward", "data gradient",
           "weight gradient", "");
    printf("%-40s %4s  %8s %6s  %8s %6s  %8s %6s  %5s\n", "kernel/stride in -> out, pixels", "n",
           "ms", "GF/s", "ms", "GF/s", "ms", "GF/s", "%");
    for (int i = 0; i < p->row_count; i++)
        print_conv(p, &p->rows[i], batch, &sums);
    printf("%-45s", "all convolutions");
    for (int d = 0; d < DIRECTIONS; d++)
        printf("  %8.1f %6.0f", sums.seconds[d] * 1e3, sums.flops[d] / sums.seconds[d] * 1e-9);
    printf("  %5.1f\n",
           100 * (sums.seconds[0] + sums.seconds[1] + sums.seconds[2]) / step_seconds(p));
    for (int i = 0; i < OTHERS; i++)
        print_other(p, i);
    printf("%-45s  %8.1f\n", "a step", step_seconds(p) * 1e3);
    printf(
        "Forward of a convolution includes the sums of its BN. A product of two %d x %d matrices "
        "runs at %.0f GFLOP/s here.\n",
        CEILING_SIDE, CEILING_SIDE, most);
    return 0;
}
