/* SPDX-License-Identifier: Apache-2.0
 *
 * What batch normalisation does to rows of an activation, for its own passes and for convolutions
 * that compute sums or gradients of the rows that they have in the cache. Each pass is cut into
 * parts of rows; a part's sums are floats over at most a few hundred rows, and doubles add the
 * parts up in order, so neither the number of threads nor the size of the batch costs bits. Sums of
 * squares are taken around the values of a part's first pixel, which keeps the variance of a
 * channel with a large mean.
 */
#include "kernels/cpu/cpu.h"

#include <math.h>

#define EPSILON   1e-5
#define RUNNING   0.1
#define PART_ROWS 64 /* at least, in a part */

size_t wsl_cpu_rows(const struct wsl_shape *shape, int count)
{
    return (size_t)shape->height * (size_t)shape->width * (size_t)count;
}

size_t wsl_cpu_row_parts(size_t rows)
{
    size_t parts = (rows + PART_ROWS - 1) / PART_ROWS;

    return parts < WSL_CPU_BN_PARTS_MAX ? parts : WSL_CPU_BN_PARTS_MAX;
}

/* The stem's pool has one part for each image. */
size_t wsl_cpu_bn_parts(const struct wsl_shape *shape, int batch)
{
    size_t parts = wsl_cpu_row_parts(wsl_cpu_rows(shape, batch));

    return parts < (size_t)batch ? (size_t)batch : parts;
}

struct wsl_cpu_saved wsl_cpu_saved_of(const struct wsl_bn *bn)
{
    float *saved = bn->saved;
    size_t channels = (size_t)bn->shape.channels;

    return (struct wsl_cpu_saved){saved, saved + channels, saved + 2 * channels,
                                  saved + 3 * channels};
}

/* ---- batch statistics ---- */

void wsl_cpu_bn_fold(const struct wsl_bn *bn, size_t c, double mean, double var)
{
    struct wsl_cpu_saved saved = wsl_cpu_saved_of(bn);
    double rstd = 1 / sqrt(var + EPSILON), scale = (double)bn->gamma[c] * rstd;

    saved.mean[c] = (float)mean;
    saved.rstd[c] = (float)rstd;
    saved.scale[c] = (float)scale;
    saved.offset[c] = (float)((double)bn->beta[c] - mean * scale);
}

void wsl_cpu_bn_part(struct wsl_device *dev, const struct wsl_bn *bn,
                     const struct wsl_cpu_bn_part *part)
{
    size_t channels = (size_t)bn->shape.channels;
    float *sums = dev->sums + part->part * 3 * channels + part->channel;
    float *const three[3] = {sums, sums + channels, sums + 2 * channels};

    if (part->channel == 0)
        dev->part_rows[part->part] = part->rows;
    dev->loops->bn_sums(part->x, part->rows, part->channels, channels, three);
}

/* With s and q the sums of x - base and of its square over a part's n values, its sum is n base + s
 * and its sum of (x - mean)^2 is q + 2 s (base - mean) + n (base - mean)^2. */
void wsl_cpu_bn_finish(struct wsl_device *dev, const struct wsl_bn *bn, size_t parts)
{
    size_t channels = (size_t)bn->shape.channels;
    double m = (double)wsl_cpu_rows(&bn->shape, dev->count);

    for (size_t c = 0; c < channels; c++) {
        double sum = 0, squares = 0, mean, var, unbiased;

        for (size_t i = 0; i < parts; i++)
            sum += (double)dev->part_rows[i] * (double)wsl_cpu_sum_of(dev, channels, i, 2)[c] +
                   (double)wsl_cpu_sum_of(dev, channels, i, 0)[c];
        mean = sum / m;
        for (size_t i = 0; i < parts; i++) {
            double off = (double)wsl_cpu_sum_of(dev, channels, i, 2)[c] - mean,
                   s = (double)wsl_cpu_sum_of(dev, channels, i, 0)[c];

            squares += (double)wsl_cpu_sum_of(dev, channels, i, 1)[c] + 2 * s * off +
                       (double)dev->part_rows[i] * off * off;
        }
        var = squares < 0 ? 0 : squares / m;
        unbiased = m > 1 ? var * m / (m - 1) : var;
        wsl_cpu_bn_fold(bn, c, mean, var);
        bn->running_mean[c] += (float)(RUNNING * (mean - (double)bn->running_mean[c]));
        bn->running_var[c] += (float)(RUNNING * (unbiased - (double)bn->running_var[c]));
    }
}

/* ---- gradients ---- */

static void gradient_rows(const struct wsl_device *dev, const struct wsl_cpu_gradient *gradient,
                          size_t row, size_t rows, bool past_cache, float *to)
{
    const float *offset_and_dx[2] = {gradient->offset, to};
    const float *g = gradient->g + row * gradient->channels;
    const float *x = gradient->x + row * gradient->channels;

    if (gradient->offset)
        dev->loops->bn_relu_gradient(g, x, rows, gradient->channels, &gradient->coefficients,
                                     offset_and_dx);
    else
        dev->loops->bn_gradient(&(struct wsl_cpu_rows){rows, gradient->channels, past_cache},
                                &gradient->coefficients, g, x, to);
}

void wsl_cpu_gradient_rows(const struct wsl_device *dev, const struct wsl_cpu_gradient *gradient,
                           size_t row, size_t rows, float *to)
{
    gradient_rows(dev, gradient, row, rows, false, to);
}

struct all {
    const struct wsl_device *dev;
    const struct wsl_cpu_gradient *gradient;
    size_t parts;
};

static void all_part(const void *args, size_t part)
{
    const struct all *a = args;
    size_t begin, end, bytes = a->gradient->rows * a->gradient->channels * sizeof(float);

    wsl_cpu_part(a->gradient->rows, a->parts, part, &begin, &end);
    gradient_rows(a->dev, a->gradient, begin, end - begin, bytes > WSL_CPU_BN_CACHED_BYTES,
                  a->gradient->dx + begin * a->gradient->channels);
}

void wsl_cpu_gradient_all(struct wsl_device *dev, const struct wsl_cpu_gradient *gradient)
{
    struct all all = {dev, gradient, wsl_cpu_row_parts(gradient->rows)};

    wsl_cpu_parallel(dev, all.parts, all_part, &all);
}
