/* SPDX-License-Identifier: Apache-2.0
 *
 * Convolutions: weights into bf16, cuDNN's plan, weight gradients back into floats. */
#include "kernels/cuda/cuda.h"

#include <stdlib.h>

static size_t max_size(size_t a, size_t b)
{
    return a > b ? a : b;
}

int wsl_cuda_conv_open(struct wsl_device *dev, const struct wsl_conv_shape *shape,
                       struct wsl_conv **ret, struct wsl_err *err)
{
    const int image = WSL_CUDA_IMAGE_CHANNELS;
    struct wsl_conv *conv;

    /* 3 channels are an image, stored with 8; what writes and sums feature maps knows nothing of
     * padding. */
    if (shape->out.channels == image ||
        (shape->in.channels == image &&
         (shape->groups != 1 || shape->in.height * shape->in.width == 1)))
        return wsl_fail(err, WSL_EUNSUPPORTED,
                        "a layer of 3 channels; the backend cuda takes any other number of "
                        "channels, and 3 only as an image of more than one pixel");
    conv = calloc(1, sizeof *conv);
    if (!conv)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a convolution of the cuda backend");
    conv->dev = dev;
    conv->shape = *shape;
    conv->weight_count = (size_t)shape->out.channels * (size_t)shape->kernel *
                         (size_t)shape->kernel *
                         (size_t)(wsl_cuda_stored(shape->in.channels) / shape->groups);
    conv->next = dev->convs;
    dev->convs = conv;
    if (shape->in.channels == image && !dev->setup.inference_only)
        dev->images_bytes = wsl_shape_count(&shape->in) * (size_t)dev->setup.batch;
    dev->weights_max = max_size(dev->weights_max, conv->weight_count);
    dev->channels = max_size(dev->channels, (size_t)shape->out.channels);
    dev->sums_floats =
        max_size(dev->sums_floats, wsl_cuda_bn_sums_floats(&shape->out, dev->setup.batch));
    *ret = conv;
    return 0;
}

void wsl_cuda_conv_free(struct wsl_conv *conv)
{
    wsl_cuda_pack_fini(&conv->forward.pack);
    wsl_cuda_pack_fini(&conv->data.pack);
    wsl_cuda_pack_fini(&conv->data_add.pack);
    wsl_cuda_pack_fini(&conv->weights.pack);
    free(conv);
}

/* ---- working copies ---- */

void wsl_cuda_weights_changed(struct wsl_device *dev)
{
    wsl_cuda_capture_boundary(dev);
    for (struct wsl_conv *c = dev->convs; c; c = c->next)
        c->weights_copied = NULL;
}

void wsl_cuda_invalidate_copies(struct wsl_device *dev, const float *buffer, size_t count)
{
    wsl_cuda_capture_boundary(dev);
    for (struct wsl_conv *c = dev->convs; c; c = c->next)
        if (c->weights_copied && c->weights_copied < buffer + count &&
            buffer < c->weights_copied + c->weight_count)
            c->weights_copied = NULL;
}

/* What cuDNN reads: the floats themselves, or their bf16 copy, made now if it is not there. */
static const void *working_of(struct wsl_conv *conv, const float *weights)
{
    struct wsl_device *dev = conv->dev;

    if (dev->f32)
        return weights;
    if (conv->weights_copied != weights &&
        wsl_cuda_ok(
            dev, wsl_cuda_launch_narrow(dev->compute, weights, conv->weight_count, conv->working),
            "the kernel that rounds weights"))
        conv->weights_copied = weights;
    return conv->working;
}

void wsl_cuda_conv_refresh(struct wsl_conv *conv, const float *weights)
{
    working_of(conv, weights);
}

/* ---- the three directions ---- */

static void run(struct wsl_conv *conv, struct wsl_cuda_conv_direction *direction, const void *x,
                const void *w, const void *y)
{
    struct wsl_device *dev = conv->dev;
    const void *pointers[4] = {x, w, y, dev->workspace};
    char text[WSL_CUDA_PROBLEM_TEXT];
    cudnnStatus_t status;

    if (!direction->selected) {
        wsl_cuda_ok(dev, cudaErrorNotSupported, "a convolution that prepare made no plan for");
        return;
    }
    status =
        wsl_cuda_plan_run(&dev->target, &direction->selected->plan, &direction->pack, pointers);
    if (status == CUDNN_STATUS_SUCCESS)
        return;
    wsl_cuda_problem_text(&direction->selected->graph.problem, text);
    wsl_cuda_cudnn_ok(dev, status, text);
}

void wsl_cuda_conv_forward(struct wsl_conv *conv, const void *x, const float *weights, void *y,
                           const struct wsl_bn *bn)
{
    run(conv, &conv->forward, x, working_of(conv, weights), y);
    if (bn)
        wsl_cuda_bn_batch(conv->dev, bn, y);
}

void wsl_cuda_conv_backward_data(struct wsl_conv *conv, const void *dy, const float *weights,
                                 void *dx, bool add)
{
    run(conv, add ? &conv->data_add : &conv->data, dx, working_of(conv, weights), dy);
}

/* A plan sums over the whole batch: the images beyond `count` must not add anything. Their contents
 * are nobody's. */
static void clear_rest(struct wsl_device *dev, const struct wsl_shape *shape, const void *x)
{
    size_t pixels = (size_t)shape->height * (size_t)shape->width;
    size_t image = pixels * (size_t)wsl_cuda_stored_of(shape->channels, pixels) *
                   (dev->f32 ? sizeof(float) : 2);
    size_t rest = (size_t)(dev->setup.batch - dev->count);

    if (rest > 0)
        wsl_cuda_ok(
            dev,
            cudaMemsetAsync((char *)x + image * (size_t)dev->count, 0, rest * image, dev->compute),
            "cudaMemset");
}

void wsl_cuda_conv_backward_weights(struct wsl_conv *conv, const void *x, const void *dy,
                                    float *dweights)
{
    struct wsl_device *dev = conv->dev;

    clear_rest(dev, &conv->shape.in, x);
    clear_rest(dev, &conv->shape.out, dy);
    if (dev->f32) {
        run(conv, &conv->weights, x, dweights, dy);
        return;
    }
    run(conv, &conv->weights, x, dev->dweights, dy);
    wsl_cuda_ok(dev,
                wsl_cuda_launch_widen(dev->compute, dev->dweights, conv->weight_count, dweights),
                "the kernel that widens weight gradients");
}
