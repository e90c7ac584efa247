/* SPDX-License-Identifier: Apache-2.0
 *
 * The second half of a BN's backward pass, deferred until the convolution behind it is
 * differentiated. A 1x1 convolution then computes its dy some pixels at a time and multiplies them
 * for both gradients while they are in the cache: dy as a whole is never written. Whatever else
 * comes first flushes what is deferred, as if nothing had been. */
#include "kernels/cpu/cpu.h"

#include <assert.h>

static int find(const struct wsl_cpu_deferred *d, const float *dx)
{
    int i = 0;

    while (i < d->count && d->gradients[i].dx != dx)
        i++;
    return i;
}

/* In the order in which they were deferred: the second may write what the first reads. */
void wsl_cpu_defer(struct wsl_device *dev, const struct wsl_cpu_gradient *gradient)
{
    struct wsl_cpu_deferred *d = &dev->deferred;

    assert(d->count >= 0 && d->count < WSL_CPU_DEFERRED_MAX && !d->conv);
    assert(find(d, gradient->dx) == d->count); /* no two for the same activation */
    d->gradients[d->count++] = *gradient;
}

bool wsl_cpu_defer_data(struct wsl_conv *conv, const float *dy, const float *weights, float *dx,
                        bool add)
{
    struct wsl_cpu_deferred *d = &conv->dev->deferred;

    if (d->conv || find(d, dy) == d->count || !wsl_pointwise_takes_gradient(conv))
        return false;
    d->conv = conv;
    d->dy = dy;
    d->weights = weights;
    d->dx = dx;
    d->add = add;
    return true;
}

bool wsl_cpu_run_deferred(struct wsl_conv *conv, const float *x, const float *dy, float *dweights)
{
    struct wsl_device *dev = conv->dev;
    struct wsl_cpu_deferred *d = &dev->deferred;
    int at = find(d, dy);

    if (d->conv != conv || d->dy != dy)
        return false;
    assert(at < d->count);
    wsl_cpu_fail(dev,
                 wsl_pointwise_backward(conv, &(struct wsl_pointwise_backward){&d->gradients[at], x,
                                                                               d->weights, d->dx,
                                                                               d->add, dweights}),
                 "a 1x1 convolution's gradients");
    d->conv = NULL;
    for (d->count--; at < d->count; at++)
        d->gradients[at] = d->gradients[at + 1];
    return true;
}

static bool belongs(const struct wsl_cpu_deferred *d, const float *activation)
{
    for (int i = 0; i < d->count; i++) {
        const struct wsl_cpu_gradient *gradient = &d->gradients[i];

        if (activation == gradient->g || activation == gradient->x || activation == gradient->dx)
            return true;
    }
    return d->conv && activation == d->dx;
}

bool wsl_cpu_is_deferred(const struct wsl_device *dev, const float *x, const float *y)
{
    return belongs(&dev->deferred, x) || belongs(&dev->deferred, y);
}

void wsl_cpu_flush(struct wsl_device *dev)
{
    struct wsl_cpu_deferred *d = &dev->deferred;
    struct wsl_conv *conv = d->conv;

    assert(!conv || find(d, d->dy) < d->count); /* what it waits for is deferred too */
    for (int i = 0; i < d->count; i++)
        wsl_cpu_gradient_all(dev, &d->gradients[i]);
    d->count = 0;
    d->conv = NULL;
    if (conv)
        wsl_cpu_fail(dev, wsl_pointwise_data(conv, d->dy, d->weights, d->dx, d->add),
                     "a 1x1 convolution's data gradient");
}
