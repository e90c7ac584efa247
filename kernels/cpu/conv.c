/* SPDX-License-Identifier: Apache-2.0
 *
 * Convolutions. With NHWC pictures X (pixels x in) and canonical weights W (out x in), a 1x1
 * convolution is Y = X W^T, dX = dY W, dW = dY^T X; with stride 2 the pixels that it sees are
 * gathered first, and dX is scattered. */
#include "kernels/cpu/cpu.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static size_t at_least(size_t a, size_t b)
{
    return a > b ? a : b;
}

int wsl_cpu_conv_open(struct wsl_device *dev, const struct wsl_conv_shape *shape,
                      struct wsl_conv **ret, struct wsl_err *err)
{
    bool pointwise = shape->kernel == 1 && shape->groups == 1 && shape->pad == 0;
    struct wsl_conv *conv = calloc(1, sizeof *conv);
    size_t scratch = 0;
    int rc = 0;

    if (!conv)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a convolution of the cpu backend");
    conv->dev = dev;
    conv->shape = *shape;
    if (pointwise) {
        if (shape->stride > 1)
            scratch = sizeof(float) * (size_t)dev->setup.batch * (size_t)shape->in.channels *
                      (size_t)shape->out.height * (size_t)shape->out.width;
    } else if (wsl_grouped_fits(shape)) {
        rc = wsl_grouped_open(dev, shape, &conv->grouped, err);
        if (rc == 0)
            scratch = wsl_grouped_scratch(dev, conv->grouped);
    } else {
        rc = wsl_onednn_conv_open(dev->onednn, shape, dev->setup.batch, dev->setup.inference_only,
                                  &conv->plan, err);
        if (rc == 0)
            scratch = wsl_onednn_conv_scratch(conv->plan);
    }
    if (rc) {
        free(conv);
        return rc;
    }
    conv->next = dev->convs;
    dev->convs = conv;
    dev->scratch_bytes = at_least(dev->scratch_bytes, scratch);
    dev->sums_floats =
        at_least(dev->sums_floats, wsl_cpu_bn_sums_floats(&shape->out, dev->setup.batch));
    dev->channels = at_least(dev->channels, (size_t)shape->out.channels);
    *ret = conv;
    return 0;
}

/* ---- the pixels that a strided 1x1 convolution sees ---- */

struct stride_args {
    const struct wsl_conv *conv;
    float *all, *seen; /* pictures of in and of out's size, in.channels deep */
    enum { GATHER, SCATTER, SCATTER_ADD } what;
};

/* One image. */
static void stride_part(const void *args, size_t n)
{
    const struct stride_args *a = args;
    const struct wsl_conv_shape *s = &a->conv->shape;
    const struct wsl_cpu_loops *loops = a->conv->dev->loops;
    size_t channels = (size_t)s->in.channels, width = (size_t)s->in.width;
    float *all = a->all + n * wsl_shape_count(&s->in);
    float *seen = a->seen + n * (size_t)s->out.height * (size_t)s->out.width * channels;

    if (a->what == SCATTER)
        memset(all, 0, wsl_shape_count(&s->in) * sizeof(float));
    for (int i = 0; i < s->out.height; i++)
        for (int j = 0; j < s->out.width; j++, seen += channels) {
            float *at =
                all + ((size_t)(i * s->stride) * width + (size_t)(j * s->stride)) * channels;

            if (a->what == GATHER)
                memcpy(seen, at, channels * sizeof(float));
            else if (a->what == SCATTER)
                memcpy(at, seen, channels * sizeof(float));
            else
                loops->add(seen, channels, at);
        }
}

static void stride_copy(struct stride_args args)
{
    wsl_cpu_parallel(args.conv->dev, (size_t)args.conv->dev->count, stride_part, &args);
}

/* What a 1x1 convolution multiplies: x itself, or the gathered pixels. */
static const float *seen_pixels(struct wsl_conv *conv, const float *x)
{
    if (conv->shape.stride == 1)
        return x;
    stride_copy((struct stride_args){conv, (float *)x, (float *)conv->dev->scratch, GATHER});
    return (const float *)conv->dev->scratch;
}

static size_t pixels_out(const struct wsl_conv *conv)
{
    return (size_t)conv->dev->count * (size_t)conv->shape.out.height *
           (size_t)conv->shape.out.width;
}

/* ---- the three directions ---- */

static int pointwise_forward(struct wsl_conv *conv, const float *x, const float *weights, float *y)
{
    struct wsl_matmul shape = {false,
                               true,
                               false,
                               pixels_out(conv),
                               (size_t)conv->shape.out.channels,
                               (size_t)conv->shape.in.channels};

    return wsl_onednn_matmul(&shape, seen_pixels(conv, x), weights, y);
}

static int pointwise_data(struct wsl_conv *conv, const float *dy, const float *weights, float *dx,
                          bool add)
{
    bool strided = conv->shape.stride > 1;
    struct wsl_matmul shape = {false,
                               false,
                               add && !strided,
                               pixels_out(conv),
                               (size_t)conv->shape.in.channels,
                               (size_t)conv->shape.out.channels};
    float *to = strided ? (float *)conv->dev->scratch : dx;
    int rc = wsl_onednn_matmul(&shape, dy, weights, to);

    if (strided)
        stride_copy((struct stride_args){conv, dx, to, add ? SCATTER_ADD : SCATTER});
    return rc;
}

static int pointwise_weights(struct wsl_conv *conv, const float *x, const float *dy,
                             float *dweights)
{
    struct wsl_matmul shape = {true,
                               false,
                               false,
                               (size_t)conv->shape.out.channels,
                               (size_t)conv->shape.in.channels,
                               pixels_out(conv)};

    return wsl_onednn_matmul(&shape, dy, seen_pixels(conv, x), dweights);
}

void wsl_cpu_conv_forward(struct wsl_conv *conv, const void *x, const float *weights, void *y,
                          const struct wsl_bn *bn)
{
    struct wsl_device *dev = conv->dev;

    if (conv->grouped)
        wsl_grouped_forward(dev, conv->grouped, x, weights, y);
    else if (conv->plan)
        wsl_cpu_fail(dev, wsl_onednn_conv_forward(conv->plan, x, weights, y, dev->scratch),
                     "a convolution");
    else
        wsl_cpu_fail(dev, pointwise_forward(conv, x, weights, y), "a 1x1 convolution");
    if (bn)
        wsl_cpu_bn_batch(dev, bn, y);
}

void wsl_cpu_conv_backward_data(struct wsl_conv *conv, const void *dy, const float *weights,
                                void *dx, bool add)
{
    struct wsl_device *dev = conv->dev;

    assert(conv->shape.input_gradient && !dev->setup.inference_only);
    if (!conv->plan && !conv->grouped) {
        wsl_cpu_fail(dev, pointwise_data(conv, dy, weights, dx, add),
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

    if (conv->grouped) {
        wsl_grouped_weights(dev, conv->grouped, x, dy, dweights);
        return;
    }
    if (!conv->plan) {
        wsl_cpu_fail(dev, pointwise_weights(conv, x, dy, dweights),
                     "a 1x1 convolution's weight gradient");
        return;
    }
    clear_rest(dev, &conv->shape.in, x);
    clear_rest(dev, &conv->shape.out, dy);
    wsl_cpu_fail(dev, wsl_onednn_conv_weights(conv->plan, x, dy, dweights, dev->scratch),
                 "a convolution's weight gradient");
}
