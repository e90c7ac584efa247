/* SPDX-License-Identifier: Apache-2.0
 *
 * Operations on flat buffers: the optimizer's update, scaling, adding, the largest magnitude. */
#include "kernels/cpu/cpu.h"

#include <stdatomic.h>
#include <string.h>

#define PART ((size_t)1 << 16) /* floats */

struct sgd_args {
    const struct wsl_cpu_loops *loops;
    const struct wsl_sgd *sgd;
    const struct wsl_range *range;
};

static void sgd_part(const void *args, size_t part)
{
    const struct sgd_args *a = args;
    size_t begin = a->range->begin + part * PART, end = a->range->begin + a->range->count;

    a->loops->sgd(a->sgd, begin, end - begin > PART ? begin + PART : end, a->range->decay);
}

void wsl_cpu_sgd(struct wsl_device *dev, const struct wsl_sgd *sgd)
{
    wsl_cpu_flush(dev);
    for (size_t r = 0; r < sgd->range_count; r++) {
        struct sgd_args args = {dev->loops, sgd, &sgd->ranges[r]};

        wsl_cpu_parallel(dev, (sgd->ranges[r].count + PART - 1) / PART, sgd_part, &args);
    }
}

void wsl_cpu_scale(struct wsl_device *dev, float *buffer, size_t count, float factor)
{
    wsl_cpu_flush(dev);
    dev->loops->scale(buffer, count, factor);
}

struct accumulate_args {
    const struct wsl_cpu_loops *loops;
    float *buffer, *more;
    size_t count;
};

static void accumulate_part(const void *args, size_t part)
{
    const struct accumulate_args *a = args;
    size_t begin = part * PART, left = a->count - begin;
    size_t count = left > PART ? PART : left;

    a->loops->add(a->more + begin, count, a->buffer + begin);
    memset(a->more + begin, 0, count * sizeof(float));
}

void wsl_cpu_accumulate(struct wsl_device *dev, float *buffer, float *more, size_t count)
{
    struct accumulate_args args = {dev->loops, buffer, more, count};

    wsl_cpu_flush(dev);
    wsl_cpu_parallel(dev, (count + PART - 1) / PART, accumulate_part, &args);
}

struct max_abs_args {
    const struct wsl_cpu_loops *loops;
    const float *buffer;
    size_t count;
    atomic_uint *max; /* in whatever order: it is a maximum */
};

static void max_abs_part(const void *args, size_t part)
{
    const struct max_abs_args *a = args;
    size_t begin = part * PART, left = a->count - begin;
    unsigned own = a->loops->max_abs(a->buffer + begin, left > PART ? PART : left);
    unsigned max = atomic_load(a->max);

    while (own > max && !atomic_compare_exchange_weak(a->max, &max, own))
        ;
}

void wsl_cpu_max_abs(struct wsl_device *dev, const float *buffer, size_t count, float *ret)
{
    atomic_uint max = 0;
    struct max_abs_args args = {dev->loops, buffer, count, &max};
    unsigned bits;

    wsl_cpu_flush(dev);
    wsl_cpu_parallel(dev, (count + PART - 1) / PART, max_abs_part, &args);
    bits = atomic_load(&max);
    memcpy(ret, &bits, sizeof *ret);
}
