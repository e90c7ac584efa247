/* SPDX-License-Identifier: Apache-2.0
 *
 * The two ends of a net: images to its input; average pool, head and loss. */
#include "kernels/cpu/cpu.h"

#include <math.h>

#define BEST 5

struct input_args {
    const uint8_t *pixels;
    float *x;
    size_t image; /* bytes */
    float table[3][256];
};

static void input_part(const void *args, size_t n)
{
    const struct input_args *a = args;
    const uint8_t *from = a->pixels + n * a->image;
    float *to = a->x + n * a->image;

    for (size_t i = 0; i < a->image; i += 3) {
        to[i] = a->table[0][from[i]];
        to[i + 1] = a->table[1][from[i + 1]];
        to[i + 2] = a->table[2][from[i + 2]];
    }
}

void wsl_cpu_input(struct wsl_device *dev, const struct wsl_shape *shape, const uint8_t *pixels,
                   void *x)
{
    static const double mean[3] = {.485, .456, .406}, deviation[3] = {.229, .224, .225};
    struct input_args args = {.pixels = pixels, .x = x, .image = wsl_shape_count(shape)};

    wsl_cpu_flush(dev);
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++)
            args.table[c][v] = (float)((v / 255.0 - mean[c]) / deviation[c]);
    wsl_cpu_parallel(dev, (size_t)dev->count, input_part, &args);
}

struct average_args {
    const struct wsl_cpu_loops *loops;
    const float *from;
    float *to;
    size_t pixels, channels;
};

static void average_part(const void *args, size_t n)
{
    const struct average_args *a = args;

    a->loops->row_sum(a->from + n * a->pixels * a->channels, a->pixels, a->channels,
                      1 / (float)a->pixels, a->to + n * a->channels);
}

static void spread_part(const void *args, size_t n)
{
    const struct average_args *a = args;

    a->loops->row_fill(a->from + n * a->channels, a->pixels, a->channels, 1 / (float)a->pixels,
                       a->to + n * a->pixels * a->channels);
}

static struct average_args average_of(struct wsl_device *dev, const struct wsl_shape *shape,
                                      const void *from, void *to)
{
    return (struct average_args){dev->loops, from, to, (size_t)shape->height * (size_t)shape->width,
                                 (size_t)shape->channels};
}

void wsl_cpu_average_pool(struct wsl_device *dev, const struct wsl_shape *shape, const void *x,
                          void *y)
{
    struct average_args args = average_of(dev, shape, x, y);

    wsl_cpu_flush(dev);
    wsl_cpu_parallel(dev, (size_t)dev->count, average_part, &args);
}

void wsl_cpu_average_pool_backward(struct wsl_device *dev, const struct wsl_shape *shape,
                                   const void *dy, void *dx)
{
    struct average_args args = average_of(dev, shape, dy, dx);

    wsl_cpu_flush(dev);
    wsl_cpu_parallel(dev, (size_t)dev->count, spread_part, &args);
}

void wsl_cpu_head(struct wsl_device *dev, const struct wsl_head *head, const void *x, void *logits)
{
    size_t classes = (size_t)head->classes, count = (size_t)dev->count;
    struct wsl_matmul shape = {
        .transpose_b = true, .add = true, .m = count, .n = classes, .k = (size_t)head->features};

    wsl_cpu_flush(dev);
    for (size_t n = 0; n < count; n++)
        dev->loops->row_fill(head->bias, 1, classes, 1, (float *)logits + n * classes);
    wsl_cpu_fail(dev, wsl_onednn_matmul(&shape, x, head->weight, logits), "the head");
}

void wsl_cpu_head_backward(struct wsl_device *dev, const struct wsl_head *head, const void *x,
                           const void *dlogits, void *dx)
{
    size_t classes = (size_t)head->classes, features = (size_t)head->features;
    size_t count = (size_t)dev->count;
    struct wsl_matmul weights = {.transpose_a = true, .m = classes, .n = features, .k = count};
    struct wsl_matmul data = {.m = count, .n = features, .k = classes};

    wsl_cpu_flush(dev);
    dev->loops->row_sum(dlogits, count, classes, 1, head->dbias);
    wsl_cpu_fail(dev, wsl_onednn_matmul(&weights, dlogits, x, head->dweight),
                 "the head's weight gradient");
    wsl_cpu_fail(dev, wsl_onednn_matmul(&data, dlogits, head->weight, dx),
                 "the head's data gradient");
}

/* ---- loss ---- */

/* Does a come before b among the answers? Equal ones in the order of classes, NaN last. */
static bool before(const float *logits, int a, int b)
{
    if (isnan(logits[a]) || isnan(logits[b]))
        return isnan(logits[b]) && (!isnan(logits[a]) || a < b);
    return logits[a] > logits[b] || (logits[a] == logits[b] && a < b);
}

/* The BEST best classes in order, -1 beyond the last class. */
static void best_answers(const float *logits, int classes, int ret_best[BEST])
{
    for (int i = 0; i < BEST; i++)
        ret_best[i] = -1;
    for (int o = 0; o < classes; o++) {
        int at = BEST;

        while (at > 0 && (ret_best[at - 1] < 0 || before(logits, o, ret_best[at - 1])))
            at--;
        for (int i = BEST - 1; i > at; i--)
            ret_best[i] = ret_best[i - 1];
        if (at < BEST)
            ret_best[at] = o;
    }
}

static void count_hits(const struct wsl_loss *loss, int n, const float *logits,
                       struct wsl_loss_result *ret)
{
    int best[BEST], first = BEST;

    best_answers(logits, loss->classes, best);
    for (uint32_t i = loss->begin[n]; i < loss->begin[n + 1]; i++)
        for (int k = 0; k < first; k++)
            if (best[k] >= 0 && (uint32_t)best[k] == loss->tags[i])
                first = k;
    ret->hit1 += first < 1;
    ret->hit5 += first < BEST;
}

static void image_loss(const struct wsl_loss *loss, int n, const float *logits, float *dlogits,
                       struct wsl_loss_result *ret)
{
    float largest = -INFINITY, k = (float)(loss->begin[n + 1] - loss->begin[n]);
    double sum = 0, log_sum;

    count_hits(loss, n, logits, ret);
    for (int o = 0; o < loss->classes; o++)
        largest = logits[o] > largest ? logits[o] : largest;
    for (int o = 0; o < loss->classes; o++)
        sum += (double)expf(logits[o] - largest);
    log_sum = log(sum) + (double)largest;
    for (uint32_t i = loss->begin[n]; i < loss->begin[n + 1]; i++)
        ret->loss += (log_sum - (double)logits[loss->tags[i]]) / (double)k;
    if (!dlogits)
        return;
    for (int o = 0; o < loss->classes; o++)
        dlogits[o] = loss->scale * expf(logits[o] - largest) / (float)sum;
    for (uint32_t i = loss->begin[n]; i < loss->begin[n + 1]; i++)
        dlogits[loss->tags[i]] -= loss->scale / k;
}

void wsl_cpu_loss(struct wsl_device *dev, const struct wsl_loss *loss, const void *logits,
                  void *dlogits, struct wsl_loss_result *ret)
{
    wsl_cpu_flush(dev);
    *ret = (struct wsl_loss_result){0};
    for (int n = 0; n < dev->count; n++) {
        size_t at = (size_t)n * (size_t)loss->classes;

        image_loss(loss, n, (const float *)logits + at, dlogits ? (float *)dlogits + at : NULL,
                   ret);
    }
}
