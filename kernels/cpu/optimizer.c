/* SPDX-License-Identifier: Apache-2.0
 *
 * Operations on blocks of floats: the optimizer's update, scaling, adding, the largest magnitude. */
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
    wsl_cpu_settle(dev);
    for (size_t r = 0; r < sgd->range_count; r++) {
        struct sgd_args args = {dev->loops, sgd, &sgd->ranges[r]};

        wsl_cpu_parallel(dev, (sgd->ranges[r].count + PART - 1) / PART, sgd_part, &args);
    }
}

void wsl_cpu_scale(struct wsl_device *dev, float *block, size_t count, float factor)
{
    wsl_cpu_settle(dev);
    dev->loops->scale(block, count, factor);
}

struct add_up_args {
    const struct wsl_cpu_loops *loops;
    float *block, *more;
    size_t count;
};

static void add_up_part(const void *args, size_t part)
{
    const struct add_up_args *a = args;
    size_t begin = part * PART, left = a->count - begin;
    size_t count = left > PART ? PART : left;

    a->loops->add(a->more + begin, count, a->block + begin);
    memset(a->more + begin, 0, count * sizeof(float));
}

void wsl_cpu_add_up(struct wsl_device *dev, float *block, float *more, size_t count)
{
    struct add_up_args args = {dev->loops, block, more, count};

    wsl_cpu_settle(dev);
    wsl_cpu_parallel(dev, (count + PART - 1) / PART, add_up_part, &args);
}

struct largest_args {
    const struct wsl_cpu_loops *loops;
    const float *block;
    size_t count;
    atomic_uint *most; /* in whatever order: it is a maximum */
};

static void largest_part(const void *args, size_t part)
{
    const struct largest_args *a = args;
    size_t begin = part * PART, left = a->count - begin;
    unsigned own = a->loops->largest(a->block + begin, left > PART ? PART : left);
    unsigned most = atomic_load(a->most);

    while (own > most && !atomic_compare_exchange_weak(a->most, &most, own))
        ;
}

void wsl_cpu_largest(struct wsl_device *dev, const float *block, size_t count, float *ret)
{
    atomic_uint most = 0;
    struct largest_args args = {dev->loops, block, count, &most};
    unsigned bits;

    wsl_cpu_settle(dev);
    wsl_cpu_parallel(dev, (count + PART - 1) / PART, largest_part, &args);
    bits = atomic_load(&most);
    memcpy(ret, &bits, sizeof *ret);
}
