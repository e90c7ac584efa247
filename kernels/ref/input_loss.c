/* SPDX-License-Identifier: Apache-2.0
 *
 * The two ends of a net: images to its input; average pool, head and loss. */
#include "kernels/ref/ref.h"

#include <math.h>

void wsl_ref_input(struct wsl_device *dev, const struct wsl_shape *shape, const uint8_t *pixels,
                   void *x)
{
    static const double mean[3] = {.485, .456, .406}, deviation[3] = {.229, .224, .225};
    size_t size = (size_t)shape->height * (size_t)shape->width;

    for (size_t n = 0; n < (size_t)dev->count; n++)
        for (size_t c = 0; c < 3; c++)
            for (size_t i = 0; i < size; i++)
                ((double *)x)[(n * 3 + c) * size + i] =
                    (pixels[(n * size + i) * 3 + c] / 255.0 - mean[c]) / deviation[c];
}

void wsl_ref_average_pool(struct wsl_device *dev, const struct wsl_shape *shape, const void *x,
                          void *y)
{
    size_t size = (size_t)shape->height * (size_t)shape->width;

    for (size_t p = 0; p < (size_t)shape->channels * (size_t)dev->count; p++) {
        double sum = 0;

        for (size_t i = 0; i < size; i++)
            sum += ((const double *)x)[p * size + i];
        ((double *)y)[p] = sum / (double)size;
    }
}

void wsl_ref_average_pool_backward(struct wsl_device *dev, const struct wsl_shape *shape,
                                   const void *dy, void *dx)
{
    size_t size = (size_t)shape->height * (size_t)shape->width;

    for (size_t p = 0; p < (size_t)shape->channels * (size_t)dev->count; p++)
        for (size_t i = 0; i < size; i++)
            ((double *)dx)[p * size + i] = ((const double *)dy)[p] / (double)size;
}

void wsl_ref_head(struct wsl_device *dev, const struct wsl_head *head, const void *x, void *logits)
{
    size_t features = (size_t)head->features, classes = (size_t)head->classes;

    for (size_t n = 0; n < (size_t)dev->count; n++)
        for (size_t o = 0; o < classes; o++) {
            double sum = (double)head->bias[o];

            for (size_t f = 0; f < features; f++)
                sum +=
                    (double)head->weight[o * features + f] * ((const double *)x)[n * features + f];
            ((double *)logits)[n * classes + o] = sum;
        }
}

void wsl_ref_head_backward(struct wsl_device *dev, const struct wsl_head *head, const void *x,
                           const void *dlogits, void *dx)
{
    size_t features = (size_t)head->features, classes = (size_t)head->classes;
    size_t count = (size_t)dev->count;
    const double *in = x, *g = dlogits;

    for (size_t o = 0; o < classes; o++) {
        double bias = 0;

        for (size_t n = 0; n < count; n++)
            bias += g[n * classes + o];
        head->dbias[o] = (float)bias;
        for (size_t f = 0; f < features; f++) {
            double sum = 0;

            for (size_t n = 0; n < count; n++)
                sum += g[n * classes + o] * in[n * features + f];
            head->dweight[o * features + f] = (float)sum;
        }
    }
    for (size_t n = 0; n < count; n++)
        for (size_t f = 0; f < features; f++) {
            double sum = 0;

            for (size_t o = 0; o < classes; o++)
                sum += g[n * classes + o] * (double)head->weight[o * features + f];
            ((double *)dx)[n * features + f] = sum;
        }
}

/* How many classes come before class t. */
static int rank_of(const double *logits, int classes, uint32_t t)
{
    int rank = 0;

    for (int o = 0; o < classes; o++)
        if (isnan(logits[t]) ? !isnan(logits[o]) || (uint32_t)o < t
                             : logits[o] > logits[t] || (logits[o] == logits[t] && (uint32_t)o < t))
            rank++;
    return rank;
}

void wsl_ref_loss(struct wsl_device *dev, const struct wsl_loss *loss, const void *logits,
                  void *dlogits, struct wsl_loss_result *ret)
{
    *ret = (struct wsl_loss_result){0};
    for (int n = 0; n < dev->count; n++) {
        const double *in = (const double *)logits + (size_t)n * (size_t)loss->classes;
        double *out = dlogits ? (double *)dlogits + (size_t)n * (size_t)loss->classes : NULL;
        double k = loss->begin[n + 1] - loss->begin[n];
        double largest = -INFINITY, sum = 0;
        int best = loss->classes;

        for (int o = 0; o < loss->classes; o++)
            largest = fmax(largest, in[o]);
        for (int o = 0; o < loss->classes; o++)
            sum += exp(in[o] - largest);
        for (uint32_t i = loss->begin[n]; i < loss->begin[n + 1]; i++) {
            int rank = rank_of(in, loss->classes, loss->tags[i]);

            ret->loss += (log(sum) + largest - in[loss->tags[i]]) / k;
            best = rank < best ? rank : best;
        }
        ret->hit1 += best < 1;
        ret->hit5 += best < 5;
        if (!out)
            continue;
        for (int o = 0; o < loss->classes; o++)
            out[o] = (double)loss->scale * exp(in[o] - largest) / sum;
        for (uint32_t i = loss->begin[n]; i < loss->begin[n + 1]; i++)
            out[loss->tags[i]] -= (double)loss->scale / k;
    }
}
