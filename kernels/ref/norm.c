/* SPDX-License-Identifier: Apache-2.0
 *
 * Batch normalisation (Ioffe and Szegedy 2015), alone and fused with what follows it. With
 * x^ = (x - mean) rstd and g the gradient of gamma x^ + beta, over the m values of a channel:
 *   dbeta = sum g, dgamma = sum g x^, dx = gamma rstd (g - dbeta / m - x^ dgamma / m). */
#include "kernels/ref/ref.h"

#include <math.h>

#define EPSILON 1e-5
#define RUNNING 0.1

/* Position of channel c of image n. */
static size_t plane_of(const struct wsl_shape *s, int n, int c)
{
    return ((size_t)n * (size_t)s->channels + (size_t)c) * (size_t)s->height * (size_t)s->width;
}

static size_t plane_size(const struct wsl_shape *s)
{
    return (size_t)s->height * (size_t)s->width;
}

static double normed(const struct wsl_bn *bn, int c, double x)
{
    const struct wsl_ref_saved *saved = bn->saved;

    return (x - saved[c].mean) * saved[c].rstd;
}

static double applied(const struct wsl_bn *bn, int c, double x)
{
    return (double)bn->gamma[c] * normed(bn, c, x) + (double)bn->beta[c];
}

/* Hands NaN on, as fmax would not. */
static double relu(double x)
{
    return x <= 0 ? 0 : x;
}

void wsl_ref_bn_batch(struct wsl_device *dev, const struct wsl_bn *bn, const void *x)
{
    size_t size = plane_size(&bn->shape);
    double m = (double)size * dev->count;
    struct wsl_ref_saved *saved = bn->saved;

    for (int c = 0; c < bn->shape.channels; c++) {
        double sum = 0, squares = 0, mean, unbiased;

        for (int n = 0; n < dev->count; n++)
            for (size_t i = 0; i < size; i++)
                sum += ((const double *)x)[plane_of(&bn->shape, n, c) + i];
        mean = sum / m;
        for (int n = 0; n < dev->count; n++)
            for (size_t i = 0; i < size; i++) {
                double d = ((const double *)x)[plane_of(&bn->shape, n, c) + i] - mean;

                squares += d * d;
            }
        saved[c].mean = mean;
        saved[c].rstd = 1 / sqrt(squares / m + EPSILON);
        unbiased = m > 1 ? squares / (m - 1) : squares;
        bn->running_mean[c] += (float)(RUNNING * (mean - (double)bn->running_mean[c]));
        bn->running_var[c] += (float)(RUNNING * (unbiased - (double)bn->running_var[c]));
    }
}

void wsl_ref_bn_running(struct wsl_device *dev, const struct wsl_bn *bn)
{
    struct wsl_ref_saved *saved = bn->saved;

    (void)dev;
    for (int c = 0; c < bn->shape.channels; c++) {
        saved[c].mean = (double)bn->running_mean[c];
        saved[c].rstd = 1 / sqrt((double)bn->running_var[c] + EPSILON);
    }
}

/* Finishes a backward pass: g holds the gradient of bn's output and becomes that of its input. */
static void backward(struct wsl_device *dev, const struct wsl_bn *bn, const double *x, double *g)
{
    const struct wsl_ref_saved *saved = bn->saved;
    size_t size = plane_size(&bn->shape);
    double m = (double)size * dev->count;

    for (int c = 0; c < bn->shape.channels; c++) {
        double dbeta = 0, dgamma = 0;

        for (int n = 0; n < dev->count; n++)
            for (size_t i = 0, at = plane_of(&bn->shape, n, c); i < size; i++, at++) {
                dbeta += g[at];
                dgamma += g[at] * normed(bn, c, x[at]);
            }
        for (int n = 0; n < dev->count; n++)
            for (size_t i = 0, at = plane_of(&bn->shape, n, c); i < size; i++, at++)
                g[at] = (double)bn->gamma[c] * saved[c].rstd *
                        (g[at] - dbeta / m - normed(bn, c, x[at]) * dgamma / m);
        bn->dbeta[c] = (float)dbeta;
        bn->dgamma[c] = (float)dgamma;
    }
}

void wsl_ref_bn_relu(struct wsl_device *dev, const struct wsl_bn *bn, const void *x, void *y)
{
    for (int n = 0; n < dev->count; n++)
        for (int c = 0; c < bn->shape.channels; c++)
            for (size_t i = 0, at = plane_of(&bn->shape, n, c); i < plane_size(&bn->shape);
                 i++, at++)
                ((double *)y)[at] = relu(applied(bn, c, ((const double *)x)[at]));
}

void wsl_ref_bn_relu_backward(struct wsl_device *dev, const struct wsl_bn *bn, const void *dy,
                              const void *x, void *dx)
{
    for (int n = 0; n < dev->count; n++)
        for (int c = 0; c < bn->shape.channels; c++)
            for (size_t i = 0, at = plane_of(&bn->shape, n, c); i < plane_size(&bn->shape);
                 i++, at++)
                ((double *)dx)[at] =
                    applied(bn, c, ((const double *)x)[at]) > 0 ? ((const double *)dy)[at] : 0;
    backward(dev, bn, x, dx);
}

/* Largest value of the window at (i, j) of a plane; its position in the plane to *ret_at, -1 when
 * ReLU makes it 0. */
static double window(const struct wsl_bn *bn, int c, const double *plane, int i, int j,
                     int32_t *ret_at)
{
    double best = 0;

    *ret_at = -1;
    for (int y = i * 2 - 1; y <= i * 2 + 1; y++)
        for (int x = j * 2 - 1; x <= j * 2 + 1; x++) {
            double value;

            if (y < 0 || y >= bn->shape.height || x < 0 || x >= bn->shape.width)
                continue;
            value = applied(bn, c, plane[y * bn->shape.width + x]);
            if (!(value <= best)) {
                best = value;
                *ret_at = y * bn->shape.width + x;
            }
        }
    return best;
}

static struct wsl_shape pooled_shape(const struct wsl_shape *s)
{
    return (struct wsl_shape){s->channels, (s->height + 1) / 2, (s->width + 1) / 2};
}

void wsl_ref_bn_relu_pool(struct wsl_device *dev, const struct wsl_bn *bn, const void *x, void *y,
                          void *index)
{
    struct wsl_shape pooled = pooled_shape(&bn->shape);

    for (int n = 0; n < dev->count; n++)
        for (int c = 0; c < bn->shape.channels; c++)
            for (int i = 0; i < pooled.height; i++)
                for (int j = 0; j < pooled.width; j++) {
                    size_t at =
                        plane_of(&pooled, n, c) + (size_t)i * (size_t)pooled.width + (size_t)j;

                    ((double *)y)[at] =
                        window(bn, c, (const double *)x + plane_of(&bn->shape, n, c), i, j,
                               (int32_t *)index + at);
                }
}

void wsl_ref_bn_relu_pool_backward(struct wsl_device *dev, const struct wsl_bn *bn, const void *dy,
                                   const void *index, const void *x, void *dx)
{
    struct wsl_shape pooled = pooled_shape(&bn->shape);

    for (int n = 0; n < dev->count; n++)
        for (int c = 0; c < bn->shape.channels; c++) {
            double *plane = (double *)dx + plane_of(&bn->shape, n, c);

            for (size_t i = 0; i < plane_size(&bn->shape); i++)
                plane[i] = 0;
            for (size_t i = 0, at = plane_of(&pooled, n, c); i < plane_size(&pooled); i++, at++)
                if (((const int32_t *)index)[at] >= 0)
                    plane[((const int32_t *)index)[at]] += ((const double *)dy)[at];
        }
    backward(dev, bn, x, dx);
}

void wsl_ref_add_relu(struct wsl_device *dev, const struct wsl_add_relu *residual, void *y)
{
    const struct wsl_bn *bn = residual->bn;
    const double *x = residual->x, *z = residual->shortcut;

    for (int n = 0; n < dev->count; n++)
        for (int c = 0; c < bn->shape.channels; c++)
            for (size_t i = 0, at = plane_of(&bn->shape, n, c); i < plane_size(&bn->shape);
                 i++, at++) {
                double shortcut =
                    residual->shortcut_bn ? applied(residual->shortcut_bn, c, z[at]) : z[at];

                ((double *)y)[at] = relu(applied(bn, c, x[at]) + shortcut);
            }
}

void wsl_ref_add_relu_backward(struct wsl_device *dev, const struct wsl_add_relu *residual,
                               const void *dy, const void *y, void *dx, void *dshortcut)
{
    size_t total = wsl_shape_count(&residual->bn->shape) * (size_t)dev->count;

    for (size_t i = 0; i < total; i++) {
        double g = ((const double *)y)[i] > 0 ? ((const double *)dy)[i] : 0;

        ((double *)dx)[i] = g;
        ((double *)dshortcut)[i] = g;
    }
    backward(dev, residual->bn, residual->x, dx);
    if (residual->shortcut_bn)
        backward(dev, residual->shortcut_bn, residual->shortcut, dshortcut);
}
