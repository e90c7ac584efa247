/* SPDX-License-Identifier: Apache-2.0
 *
 * The device of the reference backend: memory, copies, and the table of its entries.
 */
#include "kernels/ref/ref.h"

#include <stdlib.h>
#include <string.h>

static int probe(struct wsl_err *err)
{
    (void)err;
    return 0;
}

static int ref_open(struct wsl_device **ret, const struct wsl_device_setup *setup,
                    struct wsl_err *err)
{
    struct wsl_device *dev = calloc(1, sizeof *dev);

    if (!dev)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the ref backend's device");
    dev->setup = *setup;
    dev->count = setup->batch;
    *ret = dev;
    return 0;
}

static void ref_close(struct wsl_device *dev)
{
    if (!dev)
        return;
    while (dev->convs) {
        struct wsl_conv *next = dev->convs->next;

        free(dev->convs->rows);
        free(dev->convs->row_counts);
        free(dev->convs);
        dev->convs = next;
    }
    wsl_host_fini(&dev->memory);
    free(dev);
}

static int ref_alloc(struct wsl_device *dev, size_t bytes, const char *what, void **ret,
                     struct wsl_err *err)
{
    return wsl_host_alloc(&dev->memory, bytes, what, ret, err);
}

static int prepare(struct wsl_device *dev, struct wsl_err *err)
{
    (void)dev, (void)err;
    return 0;
}

static size_t workspace_bytes(struct wsl_device *dev, size_t *ret_more)
{
    (void)dev;
    *ret_more = 0;
    return 0;
}

static void begin_pass(struct wsl_device *dev, int count)
{
    dev->count = count;
}

static void weights_changed(struct wsl_device *dev)
{
    (void)dev; /* nobody keeps copies */
}

static void fence(struct wsl_device *dev)
{
    (void)dev;
}

static int ref_synchronize(struct wsl_device *dev, struct wsl_err *err)
{
    (void)dev, (void)err;
    return 0;
}

static size_t activation_bytes(struct wsl_device *dev, const struct wsl_shape *shape)
{
    return sizeof(double) * wsl_shape_count(shape) * (size_t)dev->setup.batch;
}

static size_t pool_index_bytes(struct wsl_device *dev, const struct wsl_shape *pooled)
{
    return sizeof(int32_t) * wsl_shape_count(pooled) * (size_t)dev->setup.batch;
}

static size_t bn_saved_bytes(struct wsl_device *dev, const struct wsl_shape *shape)
{
    (void)dev;
    return sizeof(struct wsl_ref_saved) * (size_t)shape->channels;
}

static void activation_read(struct wsl_device *dev, const struct wsl_shape *shape, int count,
                            const void *x, float *ret_canonical)
{
    const double *from = x;

    (void)dev;
    for (size_t i = 0; i < wsl_shape_count(shape) * (size_t)count; i++)
        ret_canonical[i] = (float)from[i];
}

static void activation_write(struct wsl_device *dev, const struct wsl_shape *shape, int count,
                             const float *canonical, void *x)
{
    double *to = x;

    (void)dev;
    for (size_t i = 0; i < wsl_shape_count(shape) * (size_t)count; i++)
        to[i] = canonical[i];
}

static void floats_read(struct wsl_device *dev, const float *buffer, size_t count, float *ret_host)
{
    (void)dev;
    memcpy(ret_host, buffer, count * sizeof(float));
}

static void floats_write(struct wsl_device *dev, const float *host, size_t count, float *buffer)
{
    (void)dev;
    memcpy(buffer, host, count * sizeof(float));
}

static int conv_open(struct wsl_device *dev, const struct wsl_conv_shape *shape,
                     struct wsl_conv **ret, struct wsl_err *err)
{
    struct wsl_conv *conv = calloc(1, sizeof *conv);

    if (!conv)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a convolution of the ref backend");
    conv->dev = dev;
    conv->shape = *shape;
    conv->next = dev->convs;
    dev->convs = conv; /* close frees it in any case */
    *ret = conv;
    return wsl_ref_conv_rows(conv, err);
}

static size_t conv_weight_count(const struct wsl_conv *conv)
{
    return wsl_conv_shape_weights(&conv->shape);
}

static void conv_weights_read(const struct wsl_conv *conv, const float *weights,
                              float *ret_canonical)
{
    memcpy(ret_canonical, weights, conv_weight_count(conv) * sizeof(float));
}

static void conv_weights_write(const struct wsl_conv *conv, const float *canonical, float *weights)
{
    memcpy(weights, canonical, conv_weight_count(conv) * sizeof(float));
}

const struct wsl_ops wsl_ops_ref = {
    .name = "ref",
    .bucket_bytes = (size_t)1 << 20,
    .probe = probe,
    .open = ref_open,
    .close = ref_close,
    .alloc = ref_alloc,
    .prepare = prepare,
    .workspace_bytes = workspace_bytes,
    .begin_pass = begin_pass,
    .weights_changed = weights_changed,
    .fence = fence,
    .synchronize = ref_synchronize,
    .activation_bytes = activation_bytes,
    .pool_index_bytes = pool_index_bytes,
    .bn_saved_bytes = bn_saved_bytes,
    .activation_read = activation_read,
    .activation_write = activation_write,
    .floats_read = floats_read,
    .floats_write = floats_write,
    .conv_open = conv_open,
    .conv_weight_count = conv_weight_count,
    .conv_weights_read = conv_weights_read,
    .conv_weights_write = conv_weights_write,
    .conv_forward = wsl_ref_conv_forward,
    .conv_backward_data = wsl_ref_conv_backward_data,
    .conv_backward_weights = wsl_ref_conv_backward_weights,
    .bn_running = wsl_ref_bn_running,
    .bn_relu = wsl_ref_bn_relu,
    .bn_relu_backward = wsl_ref_bn_relu_backward,
    .bn_relu_pool = wsl_ref_bn_relu_pool,
    .bn_relu_pool_backward = wsl_ref_bn_relu_pool_backward,
    .add_relu = wsl_ref_add_relu,
    .add_relu_backward = wsl_ref_add_relu_backward,
    .input = wsl_ref_input,
    .average_pool = wsl_ref_average_pool,
    .average_pool_backward = wsl_ref_average_pool_backward,
    .head = wsl_ref_head,
    .head_backward = wsl_ref_head_backward,
    .loss = wsl_ref_loss,
    .sgd = wsl_ref_sgd,
    .scale = wsl_ref_scale,
    .accumulate = wsl_ref_accumulate,
    .max_abs = wsl_ref_max_abs,
};
