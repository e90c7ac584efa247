/* SPDX-License-Identifier: Apache-2.0
 *
 * The ends of a net: average pool, head and loss here; images come in through copies.c. */
#include "kernels/cuda/cuda.h"

#include <string.h>

/* ---- average pool ---- */

static struct wsl_cuda_average average_of(const struct wsl_device *dev,
                                          const struct wsl_shape *shape)
{
    return (struct wsl_cuda_average){.stream = dev->compute,
                                     .f32 = dev->f32,
                                     .count = dev->count,
                                     .pixels = (size_t)shape->height * (size_t)shape->width,
                                     .channels = shape->channels};
}

void wsl_cuda_average_pool(struct wsl_device *dev, const struct wsl_shape *shape, const void *x,
                           void *y)
{
    struct wsl_cuda_average average = average_of(dev, shape);

    wsl_cuda_ok(dev, wsl_cuda_launch_average(&average, x, y), "the average's kernel");
}

void wsl_cuda_average_pool_backward(struct wsl_device *dev, const struct wsl_shape *shape,
                                    const void *dy, void *dx)
{
    struct wsl_cuda_average average = average_of(dev, shape);

    wsl_cuda_ok(dev, wsl_cuda_launch_spread(&average, dy, dx),
                "the kernel of the average's gradient");
}

/* ---- head: its weights are rounded to bf16 as they are read ---- */

static enum wsl_cuda_type type_of(const struct wsl_device *dev)
{
    return dev->f32 ? WSL_CUDA_FLOAT : WSL_CUDA_BF16;
}

/* Rows of `width` values, or with `transposed` their columns. */
static struct wsl_cuda_matrix matrix(const void *data, enum wsl_cuda_type type, int width,
                                     bool transposed)
{
    return (struct wsl_cuda_matrix){data, type, transposed ? 1 : (size_t)width,
                                    transposed ? (size_t)width : 1};
}

void wsl_cuda_head(struct wsl_device *dev, const struct wsl_head *head, const void *x, void *logits)
{
    struct wsl_cuda_product p = {
        .stream = dev->compute,
        .f32 = dev->f32,
        .m = dev->count,
        .n = head->classes,
        .k = head->features,
        .a = matrix(x, type_of(dev), head->features, false),
        .b = matrix(head->weight, WSL_CUDA_FLOAT, head->features, true),
        .c = logits,
        .c_type = type_of(dev),
        .bias = head->bias,
    };

    wsl_cuda_ok(dev, wsl_cuda_launch_product(&p), "the head's kernel");
}

void wsl_cuda_head_backward(struct wsl_device *dev, const struct wsl_head *head, const void *x,
                            const void *dlogits, void *dx)
{
    struct wsl_cuda_product weights = {
        .stream = dev->compute,
        .f32 = dev->f32,
        .m = head->classes,
        .n = head->features,
        .k = dev->count,
        .a = matrix(dlogits, type_of(dev), head->classes, true),
        .b = matrix(x, type_of(dev), head->features, false),
        .c = head->dweight,
        .c_type = WSL_CUDA_FLOAT,
    };
    struct wsl_cuda_product data = {
        .stream = dev->compute,
        .f32 = dev->f32,
        .m = dev->count,
        .n = head->features,
        .k = head->classes,
        .a = matrix(dlogits, type_of(dev), head->classes, false),
        .b = matrix(head->weight, WSL_CUDA_FLOAT, head->features, false),
        .c = dx,
        .c_type = type_of(dev),
    };

    if (wsl_cuda_ok(dev, wsl_cuda_launch_product(&weights), "the head's weight gradient") &&
        wsl_cuda_ok(dev,
                    wsl_cuda_launch_column_sums(dev->compute, dev->f32, dev->count, head->classes,
                                                dlogits, head->dbias),
                    "the head's bias gradient"))
        wsl_cuda_ok(dev, wsl_cuda_launch_product(&data), "the head's data gradient");
}

/* ---- loss ---- */

int wsl_cuda_input_loss_init(struct wsl_device *dev, struct wsl_err *err)
{
    size_t batch = (size_t)dev->setup.batch, targets;
    void *host, *gpu;
    cudaError_t rc;
    int code;

    dev->tags_max = batch * WSL_CUDA_TAGS_IMAGE;
    if (dev->tags_max < WSL_CUDA_TAGS_MIN)
        dev->tags_max = WSL_CUDA_TAGS_MIN;
    targets = (batch + 1 + dev->tags_max) * sizeof(uint32_t);
    code = wsl_cuda_alloc_pinned(targets, "the targets", &host, err);
    if (code)
        return code;
    dev->targets_host = host;
    code = wsl_cuda_alloc_pinned(sizeof *dev->total, "the results", &host, err);
    if (code)
        return code;
    dev->total = host;
    code = wsl_cuda_alloc_pinned(WSL_CUDA_MAX_ABS_PENDING * sizeof(uint32_t), "the results", &host,
                                 err);
    if (code)
        return code;
    dev->max_abs_host = host;
    rc = cudaEventCreateWithFlags(&dev->targets_uploaded, cudaEventDisableTiming);
    if (rc != cudaSuccess)
        return wsl_cuda_fail(err, rc, "cudaEventCreate");
    code = wsl_cuda_alloc(dev, targets, "the targets", &gpu, err);
    if (code)
        return code;
    dev->targets_gpu = gpu;
    code = wsl_cuda_alloc(dev, (batch + 1) * sizeof *dev->losses, "the losses", &gpu, err);
    if (code)
        return code;
    dev->losses = gpu;
    code = wsl_cuda_alloc(dev, WSL_CUDA_MAX_ABS_PENDING * sizeof(uint32_t),
                          "the largest magnitudes", &gpu, err);
    dev->max_abs_gpu = gpu;
    return code;
}

void wsl_cuda_input_loss_fini(struct wsl_device *dev)
{
    if (dev->targets_uploaded)
        cudaEventDestroy(dev->targets_uploaded);
    cudaFreeHost(dev->max_abs_host);
    cudaFreeHost(dev->total);
    cudaFreeHost(dev->targets_host);
}

void wsl_cuda_deliver_results(struct wsl_device *dev)
{
    if (dev->waiting)
        *dev->waiting =
            (struct wsl_loss_result){dev->total->loss, dev->total->hit1, dev->total->hit5};
    dev->waiting = NULL;
    for (int i = 0; i < dev->max_abs_count; i++)
        memcpy(dev->max_abs_waiting[i], &dev->max_abs_host[i], sizeof(float));
    dev->max_abs_count = 0;
}

/* How many images from `first` on have room for their tags. */
static int images_that_fit(const struct wsl_device *dev, const struct wsl_loss *loss, int first)
{
    int n = 0;

    while (first + n < dev->count &&
           loss->begin[first + n + 1] - loss->begin[first] <= dev->tags_max)
        n++;
    return n;
}

/* The targets of n images, counted from their own first tag. */
static bool upload_targets(struct wsl_device *dev, const struct wsl_loss *loss, int first, int n)
{
    uint32_t from = loss->begin[first], tags = loss->begin[first + n] - from;
    uint32_t *begin = dev->targets_host;
    size_t starts = (size_t)dev->setup.batch + 1;

    if (!wsl_cuda_ok(dev, cudaEventSynchronize(dev->targets_uploaded), "an upload of targets"))
        return false;
    for (int i = 0; i <= n; i++)
        begin[i] = loss->begin[first + i] - from;
    memcpy(begin + starts, loss->tags + from, tags * sizeof(uint32_t));
    return wsl_cuda_ok(dev,
                       cudaMemcpyAsync(dev->targets_gpu, dev->targets_host,
                                       (starts + tags) * sizeof(uint32_t), cudaMemcpyHostToDevice,
                                       dev->compute),
                       "cudaMemcpyAsync of targets") &&
           wsl_cuda_ok(dev, cudaEventRecord(dev->targets_uploaded, dev->compute),
                       "cudaEventRecord");
}

/* Images [first, first + n). */
static bool loss_of(struct wsl_device *dev, struct wsl_cuda_loss l, const struct wsl_loss *loss,
                    int first, int n)
{
    size_t at = (size_t)first * (size_t)l.classes * (dev->f32 ? sizeof(float) : sizeof(uint16_t));

    if (!upload_targets(dev, loss, first, n))
        return false;
    l.count = n;
    l.logits = (const char *)l.logits + at;
    l.dlogits = l.dlogits ? (char *)l.dlogits + at : NULL;
    l.images += first;
    return wsl_cuda_ok(dev, wsl_cuda_launch_loss(&l), "the loss's kernel");
}

void wsl_cuda_loss(struct wsl_device *dev, const struct wsl_loss *loss, const void *logits,
                   void *dlogits, struct wsl_loss_result *ret)
{
    struct wsl_cuda_loss l = {
        .stream = dev->compute,
        .f32 = dev->f32,
        .count = dev->count,
        .classes = loss->classes,
        .begin = dev->targets_gpu,
        .tags = dev->targets_gpu + dev->setup.batch + 1,
        .scale = loss->scale,
        .logits = logits,
        .dlogits = dlogits,
        .images = dev->losses + 1,
        .total = dev->losses,
    };

    *ret = (struct wsl_loss_result){0};
    wsl_cuda_capture_boundary(dev);
    /* One result is on its way at a time. */
    if (dev->waiting && wsl_cuda_ok(dev, cudaStreamSynchronize(dev->compute), "the loss before"))
        wsl_cuda_deliver_results(dev);
    for (int first = 0, n; first < dev->count; first += n) {
        n = images_that_fit(dev, loss, first);
        if (n == 0) {
            wsl_cuda_ok(dev, cudaErrorInvalidValue, "the loss: an image has too many tags");
            return;
        }
        if (!loss_of(dev, l, loss, first, n))
            return;
    }
    if (wsl_cuda_ok(dev, wsl_cuda_launch_loss_total(&l), "the kernel that adds losses") &&
        wsl_cuda_ok(dev,
                    cudaMemcpyAsync(dev->total, l.total, sizeof *dev->total, cudaMemcpyDeviceToHost,
                                    dev->compute),
                    "cudaMemcpyAsync of the loss"))
        dev->waiting = ret;
}
