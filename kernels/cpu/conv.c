/* SPDX-License-Identifier: Apache-2.0
 *
 * Convolutions: which of the three ways computes one, and what is the same for all. */
#include "kernels/cpu/cpu.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* Own sweeps, and the weight gradient by oneDNN where there are no loops of our own. */
static int open_grouped(struct wsl_conv *conv, size_t *scratch, size_t *parts, struct wsl_err *err)
{
    struct wsl_device *dev = conv->dev;
    struct wsl_conv_shape shape = conv->shape;
    int rc = wsl_grouped_open(dev, &shape, &conv->grouped, err);

    if (rc)
        return rc;
    *scratch = wsl_grouped_scratch(dev, conv->grouped);
    *parts = max_size(*parts, wsl_grouped_bn_parts(conv->grouped, dev->setup.batch));
    if (wsl_grouped_sums(conv->grouped) || dev->setup.inference_only)
        return 0;
    shape.input_gradient = false;
    rc = wsl_onednn_conv_open(dev->onednn, &shape, dev->setup.batch, false, &conv->plan, err);
    if (rc == 0)
        *scratch = max_size(*scratch, wsl_onednn_conv_scratch(conv->plan));
    return rc;
}

int wsl_cpu_conv_open(struct wsl_device *dev, const struct wsl_conv_shape *shape,
                      struct wsl_conv **ret, struct wsl_err *err)
{
    bool pointwise = shape->kernel == 1 && shape->groups == 1 && shape->pad == 0;
    struct wsl_conv *conv = calloc(1, sizeof *conv);
    size_t scratch = 0, parts = wsl_cpu_bn_parts(&shape->out, dev->setup.batch);
    int rc = 0;

    if (!conv)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a convolution of the cpu backend");
    conv->dev = dev;
    conv->shape = *shape;
    if (pointwise) {
        scratch = wsl_pointwise_scratch(conv);
    } else if (wsl_grouped_fits(dev, shape)) {
        rc = open_grouped(conv, &scratch, &parts, err);
    } else {
        rc = wsl_onednn_conv_open(dev->onednn, shape, dev->setup.batch, dev->setup.inference_only,
                                  &conv->plan, err);
        if (rc == 0)
            scratch = wsl_onednn_conv_scratch(conv->plan);
    }
    if (rc) {
        wsl_grouped_close(conv->grouped);
        free(conv);
        return rc;
    }
    conv->next = dev->convs;
    dev->convs = conv;
    dev->scratch_bytes = max_size(dev->scratch_bytes, scratch);
    dev->sums_floats = max_size(dev->sums_floats, 3 * parts * (size_t)shape->out.channels);
    dev->parts_max = max_size(dev->parts_max, parts);
    dev->channels = max_size(dev->channels, (size_t)shape->out.channels);
    *ret = conv;
    return 0;
}

/* ---- the three directions ---- */

void wsl_cpu_conv_forward(struct wsl_conv *conv, const void *x, const float *weights, void *y,
                          const struct wsl_bn *bn)
{
    struct wsl_device *dev = conv->dev;

    wsl_cpu_flush(dev);
    if (conv->grouped)
        wsl_grouped_forward(dev, conv->grouped, x, weights, y, bn);
    else if (conv->plan)
        wsl_cpu_fail(dev, wsl_onednn_conv_forward(conv->plan, x, weights, y, dev->scratch),
                     "a convolution");
    else
        wsl_cpu_fail(dev, wsl_pointwise_forward(conv, x, weights, y, bn), "a 1x1 convolution");
    if (bn && conv->plan && !conv->grouped)
        wsl_cpu_bn_batch(dev, bn, y);
}

void wsl_cpu_conv_backward_data(struct wsl_conv *conv, const void *dy, const float *weights,
                                void *dx, bool add)
{
    struct wsl_device *dev = conv->dev;

    assert(conv->shape.input_gradient && !dev->setup.inference_only);
    if (wsl_cpu_defer_data(conv, dy, weights, dx, add))
        return;
    wsl_cpu_flush(dev);
    if (!conv->plan && !conv->grouped) {
        wsl_cpu_fail(dev, wsl_pointwise_data(conv, dy, weights, dx, add),
                     "a 1x1 convolution's data gradient");
        return;
    }
    assert(!add); /* no net adds behind a wider convolution */
    if (conv->grouped)
        wsl_grouped_data(dev, conv->grouped, dy, weights, dx);
    else
        wsl_cpu_fail(dev, wsl_onednn_conv_data(conv->plan, dy, weights, dx, dev->scratch),
                     "a convolution's data gradient");
}

/* A plan sums over the whole batch: the images beyond `count` must not add anything. Their contents
 * are nobody's. */
static void clear_rest(const struct wsl_device *dev, const struct wsl_shape *shape, const void *x)
{
    size_t image = wsl_shape_count(shape);
    size_t rest = (size_t)(dev->setup.batch - dev->count);

    memset((float *)x + image * (size_t)dev->count, 0, rest * image * sizeof(float));
}

void wsl_cpu_conv_backward_weights(struct wsl_conv *conv, const void *x, const void *dy,
                                   float *dweights)
{
    struct wsl_device *dev = conv->dev;

    if (wsl_cpu_run_deferred(conv, x, dy, dweights))
        return;
    wsl_cpu_flush(dev);
    if (conv->grouped && wsl_grouped_sums(conv->grouped)) {
        wsl_grouped_weights(dev, conv->grouped, x, dy, dweights);
        return;
    }
    if (!conv->plan) {
        wsl_cpu_fail(dev, wsl_pointwise_weights(conv, x, dy, dweights),
                     "a 1x1 convolution's weight gradient");
        return;
    }
    clear_rest(dev, &conv->shape.in, x);
    clear_rest(dev, &conv->shape.out, dy);
    wsl_cpu_fail(dev, wsl_onednn_conv_weights(conv->plan, x, dy, dweights, dev->scratch),
                 "a convolution's weight gradient");
}
