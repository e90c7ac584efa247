/* SPDX-License-Identifier: Apache-2.0
 *
 * The device: opening, memory, what a pass begins and ends with, copies, and the table of the
 * backend. */
#include "kernels/cpu/cpu.h"

#include "kernels/cpu_level.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define THREADS_MAX 1024

const struct wsl_cpu_loops *wsl_cpu_loops_choose(const char *cap)
{
    static const struct wsl_cpu_loops *const all[WSL_CPU_LEVELS] = {
        &wsl_cpu_loops_v2, &wsl_cpu_loops_v2, &wsl_cpu_loops_v3, &wsl_cpu_loops_v4};

    return all[wsl_cpu_level(cap)];
}

static int probe(struct wsl_err *err)
{
    if (wsl_cpu_level(NULL) < WSL_CPU_LEVEL_V2)
        return wsl_fail(err, WSL_EUNAVAILABLE,
                        "the backend cpu needs a processor with SSE4.2; use the backend ref");
    return 0;
}

static void cpu_close(struct wsl_device *dev)
{
    if (!dev)
        return;
    while (dev->convs) {
        struct wsl_conv *next = dev->convs->next;

        wsl_onednn_conv_close(dev->convs->plan);
        wsl_grouped_close(dev->convs->grouped);
        free(dev->convs);
        dev->convs = next;
    }
    wsl_onednn_close(dev->onednn);
    wsl_host_fini(&dev->memory);
    free(dev);
}

int wsl_cpu_open_capped(struct wsl_device **ret, const struct wsl_device_setup *setup,
                        const char *cap, struct wsl_err *err)
{
    struct wsl_device *dev;
    int rc;

    if (setup->threads < 1 || setup->threads > THREADS_MAX)
        return wsl_fail(err, WSL_EINVAL, "threads is %d; the backend cpu takes 1 to %d",
                        setup->threads, THREADS_MAX);
    dev = calloc(1, sizeof *dev);
    if (!dev)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the cpu backend's device");
    dev->setup = *setup;
    dev->count = setup->batch;
    dev->loops = wsl_cpu_loops_choose(cap);
    /* Plans depend on the number of threads. */
    wsl_onednn_set_threads(setup->threads);
    rc = wsl_onednn_open(&dev->onednn, err);
    if (rc) {
        cpu_close(dev);
        return rc;
    }
    *ret = dev;
    return 0;
}

static int cpu_open(struct wsl_device **ret, const struct wsl_device_setup *setup,
                    struct wsl_err *err)
{
    return wsl_cpu_open_capped(ret, setup, NULL, err);
}

static int cpu_alloc(struct wsl_device *dev, size_t bytes, const char *what, void **ret,
                     struct wsl_err *err)
{
    return wsl_host_alloc(&dev->memory, bytes, what, ret, err);
}

static int prepare(struct wsl_device *dev, struct wsl_err *err)
{
    void *scratch, *sums, *rows, *coefficients;
    int rc = cpu_alloc(dev, dev->scratch_bytes, "the convolutions' scratch", &scratch, err);

    if (rc == 0)
        rc = cpu_alloc(dev, dev->sums_floats * sizeof(float), "the partial sums", &sums, err);
    if (rc == 0)
        rc = cpu_alloc(dev, dev->parts_max * sizeof(size_t), "the parts of sums", &rows, err);
    if (rc == 0)
        rc = cpu_alloc(dev, 2 * WSL_CPU_DEFERRED_MAX * dev->channels * sizeof(float),
                       "the coefficients", &coefficients, err);
    if (rc)
        return rc;
    dev->scratch = scratch;
    dev->sums = sums;
    dev->part_rows = rows;
    dev->coefficients = coefficients;
    return 0;
}

static size_t workspace_bytes(struct wsl_device *dev, size_t *ret_more)
{
    *ret_more = 0;
    return dev->scratch_bytes +
           (dev->sums_floats + 2 * WSL_CPU_DEFERRED_MAX * dev->channels) * sizeof(float) +
           dev->parts_max * sizeof(size_t);
}

static void begin_pass(struct wsl_device *dev, int count)
{
    assert(count >= 1 && count <= dev->setup.batch);
    wsl_cpu_flush(dev);
    dev->count = count;
    /* OpenMP keeps the number for each calling thread: a net may step on another one than opened
     * it. */
    wsl_onednn_set_threads(dev->setup.threads);
    wsl_cpu_pin_threads(dev);
}

static void weights_changed(struct wsl_device *dev)
{
    (void)dev; /* nobody keeps copies */
}

static void fence(struct wsl_device *dev)
{
    (void)dev; /* what writes a buffer is done when it returns */
}

static int cpu_synchronize(struct wsl_device *dev, struct wsl_err *err)
{
    const char *failed;

    wsl_cpu_flush(dev);
    failed = dev->failed;
    dev->failed = NULL;
    if (failed)
        return wsl_fail(err, WSL_EINTERNAL, "the backend cpu failed in %s", failed);
    return 0;
}

static size_t activation_bytes(struct wsl_device *dev, const struct wsl_shape *shape)
{
    return sizeof(float) * wsl_shape_count(shape) * (size_t)dev->setup.batch;
}

static size_t pool_index_bytes(struct wsl_device *dev, const struct wsl_shape *pooled)
{
    return wsl_shape_count(pooled) * (size_t)dev->setup.batch;
}

static void activation_read(struct wsl_device *dev, const struct wsl_shape *shape, int count,
                            const void *x, float *ret_canonical)
{
    size_t size = (size_t)shape->height * (size_t)shape->width, channels = (size_t)shape->channels;

    wsl_cpu_flush(dev);
    for (size_t n = 0; n < (size_t)count; n++)
        for (size_t c = 0; c < channels; c++)
            for (size_t i = 0; i < size; i++)
                ret_canonical[(n * channels + c) * size + i] =
                    ((const float *)x)[(n * size + i) * channels + c];
}

static void activation_write(struct wsl_device *dev, const struct wsl_shape *shape, int count,
                             const float *canonical, void *x)
{
    size_t size = (size_t)shape->height * (size_t)shape->width, channels = (size_t)shape->channels;

    wsl_cpu_flush(dev);
    for (size_t n = 0; n < (size_t)count; n++)
        for (size_t c = 0; c < channels; c++)
            for (size_t i = 0; i < size; i++)
                ((float *)x)[(n * size + i) * channels + c] =
                    canonical[(n * channels + c) * size + i];
}

static void floats_read(struct wsl_device *dev, const float *buffer, size_t count, float *ret_host)
{
    wsl_cpu_flush(dev);
    memcpy(ret_host, buffer, count * sizeof(float));
}

static void floats_write(struct wsl_device *dev, const float *host, size_t count, float *buffer)
{
    wsl_cpu_flush(dev);
    memcpy(buffer, host, count * sizeof(float));
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

const struct wsl_ops wsl_ops_cpu = {
    .name = "cpu",
    .bucket_bytes = (size_t)1 << 20,
    .probe = probe,
    .open = cpu_open,
    .close = cpu_close,
    .alloc = cpu_alloc,
    .prepare = prepare,
    .workspace_bytes = workspace_bytes,
    .begin_pass = begin_pass,
    .weights_changed = weights_changed,
    .fence = fence,
    .synchronize = cpu_synchronize,
    .activation_bytes = activation_bytes,
    .pool_index_bytes = pool_index_bytes,
    .bn_saved_bytes = wsl_cpu_bn_saved_bytes,
    .activation_read = activation_read,
    .activation_write = activation_write,
    .floats_read = floats_read,
    .floats_write = floats_write,
    .conv_open = wsl_cpu_conv_open,
    .conv_weight_count = conv_weight_count,
    .conv_weights_read = conv_weights_read,
    .conv_weights_write = conv_weights_write,
    .conv_forward = wsl_cpu_conv_forward,
    .conv_backward_data = wsl_cpu_conv_backward_data,
    .conv_backward_weights = wsl_cpu_conv_backward_weights,
    .bn_running = wsl_cpu_bn_running,
    .bn_relu = wsl_cpu_bn_relu,
    .bn_relu_backward = wsl_cpu_bn_relu_backward,
    .bn_relu_pool = wsl_cpu_bn_relu_pool,
    .bn_relu_pool_backward = wsl_cpu_bn_relu_pool_backward,
    .add_relu = wsl_cpu_add_relu,
    .add_relu_backward = wsl_cpu_add_relu_backward,
    .input = wsl_cpu_input,
    .average_pool = wsl_cpu_average_pool,
    .average_pool_backward = wsl_cpu_average_pool_backward,
    .head = wsl_cpu_head,
    .head_backward = wsl_cpu_head_backward,
    .loss = wsl_cpu_loss,
    .sgd = wsl_cpu_sgd,
    .scale = wsl_cpu_scale,
    .accumulate = wsl_cpu_accumulate,
    .max_abs = wsl_cpu_max_abs,
};
