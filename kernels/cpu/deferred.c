/* SPDX-License-Identifier: Apache-2.0
 *
 * The second half of a BN's backward pass, put off until the convolution behind it is
 * differentiated. A 1x1 convolution then computes its dy some pixels at a time and multiplies them
 * for both gradients while they are in the cache: dy as a whole is never written. Whatever else
 * comes first settles what was put off, as if nothing had been. */
#include "kernels/cpu/cpu.h"

#include <assert.h>

/* In the order in which they were put off: the second may write what the first reads. */
void wsl_cpu_put_off(struct wsl_device *dev, const struct wsl_cpu_gradient *gradient)
{
    struct wsl_cpu_put_off *off = &dev->put_off;

    assert(off->count < WSL_CPU_PUT_OFF && !off->conv);
    off->gradients[off->count++] = *gradient;
}

static int find(const struct wsl_cpu_put_off *off, const float *dx)
{
    int i = 0;

    while (i < off->count && off->gradients[i].dx != dx)
        i++;
    return i;
}

bool wsl_cpu_put_off_data(struct wsl_conv *conv, const float *dy, const float *weights, float *dx,
                          bool add)
{
    struct wsl_cpu_put_off *off = &conv->dev->put_off;

    if (off->conv || find(off, dy) == off->count || !wsl_pointwise_takes_gradient(conv))
        return false;
    off->conv = conv;
    off->dy = dy;
    off->weights = weights;
    off->dx = dx;
    off->add = add;
    return true;
}

bool wsl_cpu_run_put_off(struct wsl_conv *conv, const float *x, const float *dy, float *dweights)
{
    struct wsl_device *dev = conv->dev;
    struct wsl_cpu_put_off *off = &dev->put_off;
    int at = find(off, dy);

    if (off->conv != conv || off->dy != dy)
        return false;
    assert(at < off->count);
    wsl_cpu_fail(dev,
                 wsl_pointwise_backward(
                     conv, &(struct wsl_pointwise_backward){&off->gradients[at], x, off->weights,
                                                            off->dx, off->add, dweights}),
                 "a 1x1 convolution's gradients");
    off->conv = NULL;
    for (off->count--; at < off->count; at++)
        off->gradients[at] = off->gradients[at + 1];
    return true;
}

static bool belongs(const struct wsl_cpu_put_off *off, const float *activation)
{
    for (int i = 0; i < off->count; i++) {
        const struct wsl_cpu_gradient *gradient = &off->gradients[i];

        if (activation == gradient->g || activation == gradient->x || activation == gradient->dx)
            return true;
    }
    return off->conv && activation == off->dx;
}

bool wsl_cpu_is_put_off(const struct wsl_device *dev, const float *x, const float *y)
{
    return belongs(&dev->put_off, x) || belongs(&dev->put_off, y);
}

void wsl_cpu_settle(struct wsl_device *dev)
{
    struct wsl_cpu_put_off *off = &dev->put_off;
    struct wsl_conv *conv = off->conv;

    for (int i = 0; i < off->count; i++)
        wsl_cpu_gradient_all(dev, &off->gradients[i]);
    off->count = 0;
    off->conv = NULL;
    if (conv)
        wsl_cpu_fail(dev, wsl_pointwise_data(conv, off->dy, off->weights, off->dx, off->add),
                     "a 1x1 convolution's data gradient");
}
