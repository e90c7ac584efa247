/* SPDX-License-Identifier: Apache-2.0
 *
 * Operations on flat buffers: the optimizer's update, scaling, adding, the largest magnitude. */
#include "kernels/cuda/cuda.h"

#include <math.h>

/* Which working copies the update can write: those that are copies of this buffer. */
static size_t list_copies(struct wsl_device *dev, const struct wsl_sgd *sgd)
{
    size_t count = 0, total = 0;

    for (size_t i = 0; i < sgd->range_count; i++)
        if (sgd->ranges[i].begin + sgd->ranges[i].count > total)
            total = sgd->ranges[i].begin + sgd->ranges[i].count;
    for (struct wsl_conv *c = dev->convs; c && dev->copies; c = c->next)
        if (c->weights_copied && c->weights_copied >= sgd->parameters &&
            c->weights_copied < sgd->parameters + total)
            dev->copies[count++] = (struct wsl_cuda_copy){
                (size_t)(c->weights_copied - sgd->parameters), c->weight_count, c->working};
    return count;
}

void wsl_cuda_sgd_update(struct wsl_device *dev, const struct wsl_sgd *sgd)
{
    struct wsl_cuda_rates rates = {sgd->learning_rate, sgd->momentum_factor};
    struct wsl_cuda_segments segments;
    struct wsl_cuda_cut cut = {0};
    size_t copies;

    wsl_cuda_capture_boundary(dev);
    copies = list_copies(dev, sgd);
    while ((segments.count = wsl_cuda_cut_next(&cut, sgd, dev->copies, copies, segments.items,
                                               WSL_CUDA_SEGMENTS)) > 0)
        if (!wsl_cuda_ok(dev,
                         wsl_cuda_launch_sgd(dev->compute, &segments, sgd->parameters,
                                             sgd->momentum, sgd->gradients, rates),
                         "the update's kernel"))
            return;
}

void wsl_cuda_scale(struct wsl_device *dev, float *buffer, size_t count, float factor)
{
    wsl_cuda_invalidate_copies(dev, buffer, count);
    wsl_cuda_ok(dev, wsl_cuda_launch_scale(dev->compute, buffer, count, factor),
                "the kernel that scales a buffer");
}

void wsl_cuda_accumulate(struct wsl_device *dev, float *buffer, float *more, size_t count)
{
    wsl_cuda_invalidate_copies(dev, buffer, count);
    wsl_cuda_invalidate_copies(dev, more, count);
    wsl_cuda_ok(dev, wsl_cuda_launch_accumulate(dev->compute, buffer, more, count),
                "the kernel that adds buffers");
}

void wsl_cuda_max_abs(struct wsl_device *dev, const float *buffer, size_t count, float *ret)
{
    int i;

    *ret = NAN;
    wsl_cuda_capture_boundary(dev);
    if (dev->max_abs_count == WSL_CUDA_MAX_ABS_PENDING &&
        wsl_cuda_ok(dev, cudaStreamSynchronize(dev->compute), "the largest magnitudes before"))
        wsl_cuda_deliver_results(dev);
    i = dev->max_abs_count;
    if (i < WSL_CUDA_MAX_ABS_PENDING &&
        wsl_cuda_ok(dev, wsl_cuda_launch_max_abs(dev->compute, buffer, count, &dev->max_abs_gpu[i]),
                    "the kernel of a largest magnitude") &&
        wsl_cuda_ok(dev,
                    cudaMemcpyAsync(&dev->max_abs_host[i], &dev->max_abs_gpu[i], sizeof(uint32_t),
                                    cudaMemcpyDeviceToHost, dev->compute),
                    "cudaMemcpyAsync of a largest magnitude"))
        dev->max_abs_waiting[dev->max_abs_count++] = ret;
}
