/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the host and the GPU, through two staging buffers of pinned memory. Copies of
 * activations and weights change the layout on the host, value by value: they serve tests,
 * checkpoints and results, not the step. Images are prefetched, a whole batch while the pass
 * before computes; or they are uploaded now: while one staging buffer is uploaded and
 * normalised, the next is filled. */
#include "kernels/cuda/cuda.h"

#include <string.h>

static int staging_open(struct wsl_device *dev, struct wsl_cuda_staging *p, size_t bytes,
                        const char *what, struct wsl_err *err)
{
    void *host, *gpu;
    cudaError_t status;
    int rc = wsl_cuda_alloc_pinned(bytes, what, &host, err);

    if (rc)
        return rc;
    p->host = host;
    rc = wsl_cuda_alloc(dev, bytes, what, &gpu, err);
    if (rc)
        return rc;
    p->gpu = gpu;
    status = cudaEventCreateWithFlags(&p->uploaded, cudaEventDisableTiming);
    if (status == cudaSuccess)
        status = cudaEventCreateWithFlags(&p->consumed, cudaEventDisableTiming);
    return status == cudaSuccess ? 0 : wsl_cuda_fail(err, status, "cudaEventCreate");
}

int wsl_cuda_staging_init(struct wsl_device *dev, struct wsl_err *err)
{
    int rc = staging_open(dev, &dev->staging[0], WSL_CUDA_STAGING_BYTES, "the uploads", err);

    return rc ? rc
              : staging_open(dev, &dev->staging[1], WSL_CUDA_STAGING_BYTES, "the uploads", err);
}

int wsl_cuda_prefetch_init(struct wsl_device *dev, struct wsl_err *err)
{
    if (dev->images_bytes == 0)
        return 0;
    return staging_open(dev, &dev->prefetch, dev->images_bytes, "the next images", err);
}

static void staging_close(struct wsl_cuda_staging *p)
{
    if (p->consumed)
        cudaEventDestroy(p->consumed);
    if (p->uploaded)
        cudaEventDestroy(p->uploaded);
    cudaFreeHost(p->host);
}

void wsl_cuda_staging_fini(struct wsl_device *dev)
{
    staging_close(&dev->staging[0]);
    staging_close(&dev->staging[1]);
    staging_close(&dev->prefetch);
}

/* ---- values of a layout, a staging buffer at a time ---- */

/* Everything enqueued is done, so that the staging buffers are free. */
static bool quiet(struct wsl_device *dev)
{
    wsl_cuda_capture_boundary(dev);
    return wsl_cuda_ok(dev, cudaStreamSynchronize(dev->upload), "an upload") &&
           wsl_cuda_ok(dev, cudaStreamSynchronize(dev->compute), "an operation before a copy");
}

static bool copy(struct wsl_device *dev, void *to, const void *from, size_t bytes)
{
    wsl_cuda_capture_boundary(dev);
    return wsl_cuda_ok(dev, cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, dev->compute),
                       "cudaMemcpy") &&
           wsl_cuda_ok(dev, cudaStreamSynchronize(dev->compute), "a copy");
}

/* An array of `count` stored values and where each is in its canonical twin. */
struct layout {
    bool bf16;
    size_t count;
    int channels;  /* of an activation; or input channels of a group */
    int stored;    /* the same with padding, of weights */
    size_t pixels; /* of an activation, 0: weights */
    int taps;
};

static bool canonical(const struct layout *l, size_t stored, size_t *ret)
{
    return l->pixels ? wsl_cuda_canonical(l->channels, l->pixels, stored, ret)
                     : wsl_cuda_weight_canonical(l->channels, l->stored, l->taps, stored, ret);
}

static void read_layout(struct wsl_device *dev, const struct layout *l, const void *gpu, float *to)
{
    size_t size = l->bf16 ? sizeof(uint16_t) : sizeof(float), max = WSL_CUDA_STAGING_BYTES / size,
           at;
    const void *host = dev->staging[0].host;

    if (!quiet(dev))
        return;
    for (size_t begin = 0; begin < l->count; begin += max) {
        size_t n = l->count - begin < max ? l->count - begin : max;

        if (!copy(dev, dev->staging[0].host, (const char *)gpu + begin * size, n * size))
            return;
        for (size_t i = 0; i < n; i++)
            if (canonical(l, begin + i, &at))
                to[at] = l->bf16 ? wsl_cuda_from_bf16(((const uint16_t *)host)[i])
                                 : ((const float *)host)[i];
    }
}

static void write_layout(struct wsl_device *dev, const struct layout *l, const float *from,
                         void *gpu)
{
    size_t size = l->bf16 ? sizeof(uint16_t) : sizeof(float), max = WSL_CUDA_STAGING_BYTES / size,
           at;
    void *host = dev->staging[0].host;

    if (!quiet(dev))
        return;
    for (size_t begin = 0; begin < l->count; begin += max) {
        size_t n = l->count - begin < max ? l->count - begin : max;

        for (size_t i = 0; i < n; i++) {
            float value = canonical(l, begin + i, &at) ? from[at] : 0;

            if (l->bf16)
                ((uint16_t *)host)[i] = wsl_cuda_to_bf16(value);
            else
                ((float *)host)[i] = value;
        }
        if (!copy(dev, (char *)gpu + begin * size, host, n * size))
            return;
    }
}

static struct layout activation_of(const struct wsl_device *dev, const struct wsl_shape *s,
                                   int count)
{
    size_t pixels = (size_t)s->height * (size_t)s->width;

    return (struct layout){
        .bf16 = !dev->f32,
        .count = pixels * (size_t)count * (size_t)wsl_cuda_stored_of(s->channels, pixels),
        .channels = s->channels,
        .pixels = pixels,
    };
}

static struct layout weights_of(const struct wsl_conv *conv)
{
    return (struct layout){
        .count = conv->weight_count,
        .channels = conv->shape.in.channels / conv->shape.groups,
        .stored = wsl_cuda_stored(conv->shape.in.channels) / conv->shape.groups,
        .taps = conv->shape.kernel * conv->shape.kernel,
    };
}

void wsl_cuda_activation_read(struct wsl_device *dev, const struct wsl_shape *shape, int count,
                              const void *x, float *ret_canonical)
{
    struct layout l = activation_of(dev, shape, count);

    read_layout(dev, &l, x, ret_canonical);
}

void wsl_cuda_activation_write(struct wsl_device *dev, const struct wsl_shape *shape, int count,
                               const float *canonical, void *x)
{
    struct layout l = activation_of(dev, shape, count);

    write_layout(dev, &l, canonical, x);
}

void wsl_cuda_weights_read(const struct wsl_conv *conv, const float *weights, float *ret_canonical)
{
    struct layout l = weights_of(conv);

    read_layout(conv->dev, &l, weights, ret_canonical);
}

void wsl_cuda_weights_write(const struct wsl_conv *conv, const float *canonical, float *weights)
{
    struct layout l = weights_of(conv);

    wsl_cuda_invalidate_copies(conv->dev, weights, conv->weight_count);
    write_layout(conv->dev, &l, canonical, weights);
}

void wsl_cuda_floats_read(struct wsl_device *dev, const float *buffer, size_t count,
                          float *ret_host)
{
    copy(dev, ret_host, buffer, count * sizeof(float));
}

void wsl_cuda_floats_write(struct wsl_device *dev, const float *host, size_t count, float *buffer)
{
    wsl_cuda_invalidate_copies(dev, buffer, count);
    copy(dev, buffer, host, count * sizeof(float));
}

/* ---- images ---- */

/* Copies pixels into a staging buffer and uploads them. */
static bool send(struct wsl_device *dev, struct wsl_cuda_staging *p, const uint8_t *pixels,
                 size_t bytes)
{
    /* An event that was never recorded counts as done. */
    if (!wsl_cuda_ok(dev, cudaEventSynchronize(p->uploaded), "an upload of images"))
        return false;
    memcpy(p->host, pixels, bytes);
    return wsl_cuda_ok(dev, cudaStreamWaitEvent(dev->upload, p->consumed, 0),
                       "cudaStreamWaitEvent") &&
           wsl_cuda_ok(dev,
                       cudaMemcpyAsync(p->gpu, p->host, bytes, cudaMemcpyHostToDevice, dev->upload),
                       "cudaMemcpyAsync of images") &&
           wsl_cuda_ok(dev, cudaEventRecord(p->uploaded, dev->upload), "cudaEventRecord");
}

/* `count` pixels of a staging buffer that was uploaded, into x. */
static bool consume(struct wsl_device *dev, struct wsl_cuda_staging *p, size_t count, void *x)
{
    return wsl_cuda_ok(dev, cudaStreamWaitEvent(dev->compute, p->uploaded, 0),
                       "cudaStreamWaitEvent") &&
           wsl_cuda_ok(dev, wsl_cuda_launch_input(dev->compute, dev->f32, p->gpu, count, x),
                       "the images' kernel") &&
           wsl_cuda_ok(dev, cudaEventRecord(p->consumed, dev->compute), "cudaEventRecord");
}

static size_t pixels_of(const struct wsl_shape *shape, int count)
{
    return (size_t)shape->height * (size_t)shape->width * (size_t)count;
}

void wsl_cuda_prefetch_input(struct wsl_device *dev, const struct wsl_shape *shape,
                             const uint8_t *pixels, int count)
{
    size_t bytes = pixels_of(shape, count) * WSL_CUDA_IMAGE_CHANNELS;

    wsl_cuda_capture_boundary(dev);
    dev->prefetched = NULL;
    if (bytes > dev->images_bytes || !send(dev, &dev->prefetch, pixels, bytes))
        return;
    dev->prefetched = pixels;
    dev->prefetched_count = count;
}

void wsl_cuda_input(struct wsl_device *dev, const struct wsl_shape *shape, const uint8_t *pixels,
                    void *x)
{
    size_t total = pixels_of(shape, dev->count);
    size_t max = WSL_CUDA_STAGING_BYTES / WSL_CUDA_IMAGE_CHANNELS;
    size_t row = WSL_CUDA_IMAGE_STORED * (dev->f32 ? sizeof(float) : sizeof(uint16_t));
    bool sent = dev->prefetched == pixels && dev->prefetched_count == dev->count;

    wsl_cuda_capture_boundary(dev);
    dev->prefetched = NULL;
    if (sent) {
        consume(dev, &dev->prefetch, total, x);
        return;
    }
    for (size_t at = 0; at < total; at += max) {
        struct wsl_cuda_staging *p = &dev->staging[dev->staging_next];
        size_t count = total - at < max ? total - at : max;

        dev->staging_next = 1 - dev->staging_next;
        if (!send(dev, p, pixels + at * WSL_CUDA_IMAGE_CHANNELS, count * WSL_CUDA_IMAGE_CHANNELS) ||
            !consume(dev, p, count, (char *)x + at * row))
            return;
    }
}
