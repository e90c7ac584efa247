/* SPDX-License-Identifier: Apache-2.0
 *
 * Operations on flat buffers: the optimizer's update, scaling, adding, the largest magnitude. */
#include "kernels/ref/ref.h"

#include <math.h>

void wsl_ref_sgd(struct wsl_device *dev, const struct wsl_sgd *sgd)
{
    double lr = (double)sgd->learning_rate, m = (double)sgd->momentum_factor;

    (void)dev;
    for (size_t r = 0; r < sgd->range_count; r++) {
        const struct wsl_range *range = &sgd->ranges[r];
        double decay = range->decay ? (double)sgd->weight_decay : 0;

        for (size_t i = range->begin; i < range->begin + range->count; i++) {
            double w = (double)sgd->parameters[i];
            double g = (double)sgd->gradients[i] + decay * w;
            double u = m * (double)sgd->momentum[i] + g;

            sgd->momentum[i] = (float)u;
            sgd->parameters[i] = (float)(w - lr * (g + m * u));
        }
    }
}

void wsl_ref_scale(struct wsl_device *dev, float *buffer, size_t count, float factor)
{
    (void)dev;
    for (size_t i = 0; i < count; i++)
        buffer[i] *= factor;
}

void wsl_ref_accumulate(struct wsl_device *dev, float *buffer, float *more, size_t count)
{
    (void)dev;
    for (size_t i = 0; i < count; i++) {
        buffer[i] += more[i];
        more[i] = 0;
    }
}

void wsl_ref_max_abs(struct wsl_device *dev, const float *buffer, size_t count, float *ret)
{
    (void)dev;
    *ret = 0;
    for (size_t i = 0; i < count && !isnan(*ret); i++)
        if (!(fabsf(buffer[i]) <= *ret)) /* larger, or NaN */
            *ret = fabsf(buffer[i]);
}
