/* SPDX-License-Identifier: Apache-2.0
 *
 * The normalisation entries of the table: what the kernels of norm.cu and pool.cu want to know. */
#include "kernels/cuda/cuda.h"

static struct wsl_cuda_bn bn_of(const struct wsl_bn *bn)
{
    size_t channels = (size_t)bn->shape.channels;
    float *saved = bn->saved;

    return (struct wsl_cuda_bn){
        .channels = bn->shape.channels,
        .saved = {saved, saved + channels, saved + 2 * channels, saved + 3 * channels},
        .gamma = bn->gamma,
        .beta = bn->beta,
        .dgamma = bn->dgamma,
        .dbeta = bn->dbeta,
        .running_mean = bn->running_mean,
        .running_var = bn->running_var,
    };
}

static size_t rows_of(const struct wsl_shape *shape, int count)
{
    return (size_t)shape->height * (size_t)shape->width * (size_t)count;
}

static struct wsl_cuda_norm norm_of(const struct wsl_device *dev, const struct wsl_bn *bn)
{
    return (struct wsl_cuda_norm){
        .stream = dev->compute,
        .f32 = dev->f32,
        .rows = rows_of(&bn->shape, dev->count),
        .bn = bn_of(bn),
        .sums = dev->sums,
        .slope_level = dev->slope_level,
    };
}

/* Three sums for each channel of each part. Fewer images have fewer parts, never more. */
size_t wsl_cuda_bn_sums_floats(const struct wsl_shape *shape, int batch)
{
    struct wsl_cuda_rows r = wsl_cuda_sum_rows(rows_of(shape, batch), shape->channels);

    return 3 * (size_t)r.parts * (size_t)shape->channels;
}

void wsl_cuda_bn_batch(struct wsl_device *dev, const struct wsl_bn *bn, const void *x)
{
    struct wsl_cuda_norm n = norm_of(dev, bn);

    wsl_cuda_ok(dev, wsl_cuda_launch_bn_batch(&n, x), "the kernels of batch statistics");
}

void wsl_cuda_bn_running(struct wsl_device *dev, const struct wsl_bn *bn)
{
    struct wsl_cuda_norm n = norm_of(dev, bn);

    wsl_cuda_ok(dev, wsl_cuda_launch_bn_running(&n), "the kernel of running statistics");
}

void wsl_cuda_bn_relu(struct wsl_device *dev, const struct wsl_bn *bn, const void *x, void *y)
{
    struct wsl_cuda_norm n = norm_of(dev, bn);

    wsl_cuda_ok(dev, wsl_cuda_launch_bn_relu(&n, x, y), "the kernel of BN and ReLU");
}

void wsl_cuda_bn_relu_backward(struct wsl_device *dev, const struct wsl_bn *bn, const void *dy,
                               const void *x, void *dx)
{
    struct wsl_cuda_norm n = norm_of(dev, bn);

    wsl_cuda_ok(dev, wsl_cuda_launch_bn_relu_backward(&n, dy, x, dx),
                "the kernels of BN's and ReLU's gradient");
}

void wsl_cuda_add_relu(struct wsl_device *dev, const struct wsl_add_relu *residual, void *y)
{
    struct wsl_cuda_norm n = norm_of(dev, residual->bn);
    struct wsl_cuda_bn shortcut;

    if (residual->shortcut_bn)
        shortcut = bn_of(residual->shortcut_bn);
    wsl_cuda_ok(dev,
                wsl_cuda_launch_add_relu(&n, residual->shortcut_bn ? &shortcut : NULL, residual->x,
                                         residual->shortcut, y),
                "the kernel of the residual addition");
}

void wsl_cuda_add_relu_backward(struct wsl_device *dev, const struct wsl_add_relu *residual,
                                const void *dy, const void *y, void *dx, void *dshortcut)
{
    struct wsl_cuda_norm n = norm_of(dev, residual->bn);
    struct wsl_cuda_add_relu_gradient j = {dy, y, residual->x, residual->shortcut, dx, dshortcut};
    struct wsl_cuda_bn shortcut;

    if (residual->shortcut_bn)
        shortcut = bn_of(residual->shortcut_bn);
    wsl_cuda_ok(dev,
                wsl_cuda_launch_add_relu_backward(&n, residual->shortcut_bn ? &shortcut : NULL, &j),
                "the kernels of the residual addition's gradient");
}

static struct wsl_cuda_pool pool_of(const struct wsl_bn *bn)
{
    return wsl_cuda_pool_init(bn->shape.channels, bn->shape.height, bn->shape.width);
}

void wsl_cuda_bn_relu_pool(struct wsl_device *dev, const struct wsl_bn *bn, const void *x, void *y,
                           void *index)
{
    struct wsl_cuda_norm n = norm_of(dev, bn);
    struct wsl_cuda_pool pool = pool_of(bn);

    wsl_cuda_ok(dev, wsl_cuda_launch_pool(&n, &pool, x, y, index), "the pool's kernel");
}

void wsl_cuda_bn_relu_pool_backward(struct wsl_device *dev, const struct wsl_bn *bn, const void *dy,
                                    const void *index, const void *x, void *dx)
{
    struct wsl_cuda_norm n = norm_of(dev, bn);
    struct wsl_cuda_pool pool = pool_of(bn);

    if (wsl_cuda_ok(dev, wsl_cuda_launch_pool_sums(&n, &pool, dy, index, x, dx),
                    "the kernel of the pool's gradient"))
        wsl_cuda_ok(dev, wsl_cuda_launch_bn_gradient(&n, dx, x, dx),
                    "the kernels of BN's gradient");
}
