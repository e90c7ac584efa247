/* SPDX-License-Identifier: Apache-2.0
 *
 * Convolution by definition:
 *   y[n][o][i][j] = sum over c, a, b of w[o][c][a][b] x[n][first(o) + c][i s - p + a][j s - p + b]
 * where c runs over the channels of o's group and x is 0 outside the picture. One walk over all
 * products serves the three directions. */
#include "kernels/ref/ref.h"

#include <string.h>

/* One row of products: input and output positions (relative to their planes) that meet under filter
 * tap (a, b) in output row i. */
struct row {
    int from, to; /* output columns [from, to) whose input column is inside */
    size_t out;   /* position of output column 0 of the row */
    long in;      /* position of the input column that meets output column 0, may lie outside */
    int stride;
};

static bool row_of(const struct wsl_conv_shape *s, int i, int a, int b, struct row *ret)
{
    int y = i * s->stride - s->pad + a;
    int x0 = b - s->pad;
    int from = 0, to = s->out.width;

    if (y < 0 || y >= s->in.height)
        return false;
    while (from < to && x0 + from * s->stride < 0)
        from++;
    while (to > from && x0 + (to - 1) * s->stride >= s->in.width)
        to--;
    *ret = (struct row){from, to, (size_t)i * (size_t)s->out.width, (long)y * s->in.width + x0,
                        s->stride};
    return true;
}

typedef void (*tap_fn)(const struct row *row, double *x, float *w, double *y, double *sum);

static void tap_forward(const struct row *row, double *x, float *w, double *y, double *sum)
{
    (void)sum;
    for (int j = row->from; j < row->to; j++)
        y[row->out + (size_t)j] += (double)*w * x[row->in + (long)j * row->stride];
}

static void tap_data(const struct row *row, double *dx, float *w, double *dy, double *sum)
{
    (void)sum;
    for (int j = row->from; j < row->to; j++)
        dx[row->in + (long)j * row->stride] += (double)*w * dy[row->out + (size_t)j];
}

static void tap_weights(const struct row *row, double *x, float *w, double *dy, double *sum)
{
    (void)w;
    for (int j = row->from; j < row->to; j++)
        *sum += dy[row->out + (size_t)j] * x[row->in + (long)j * row->stride];
}

/* All rows of one tap of one pair of planes. */
static void plane(const struct wsl_conv_shape *s, int tap, tap_fn fn, double *x, float *w,
                  double *y_and_sum[2])
{
    struct row row;

    for (int i = 0; i < s->out.height; i++)
        if (row_of(s, i, tap / s->kernel, tap % s->kernel, &row))
            fn(&row, x, w, y_and_sum[0], y_and_sum[1]);
}

/* Calls fn for every tap of every (o, c) pair and every image; weights' sums run over the images.
 */
static void walk(const struct wsl_conv *conv, tap_fn fn, double *x, float *w, double *y)
{
    const struct wsl_conv_shape *s = &conv->shape;
    int group_in = s->in.channels / s->groups, group_out = s->out.channels / s->groups;
    int taps = s->kernel * s->kernel;
    size_t in_plane = (size_t)s->in.height * (size_t)s->in.width;
    size_t out_plane = (size_t)s->out.height * (size_t)s->out.width;

    for (int o = 0; o < s->out.channels; o++)
        for (int c = 0; c < group_in; c++)
            for (int tap = 0; tap < taps; tap++) {
                int channel = o / group_out * group_in + c;
                float *weight = w + ((size_t)o * (size_t)group_in + (size_t)c) * (size_t)taps + tap;
                double sum = 0;

                for (int n = 0; n < conv->dev->count; n++) {
                    size_t in = (size_t)n * (size_t)s->in.channels + (size_t)channel;
                    size_t out = (size_t)n * (size_t)s->out.channels + (size_t)o;

                    plane(s, tap, fn, x + in * in_plane, weight,
                          (double *[2]){y + out * out_plane, &sum});
                }
                if (fn == tap_weights)
                    *weight = (float)sum;
            }
}

void wsl_ref_conv_forward(struct wsl_conv *conv, const void *x, const float *weights, void *y,
                          const struct wsl_bn *bn)
{
    memset(y, 0, sizeof(double) * wsl_shape_count(&conv->shape.out) * (size_t)conv->dev->count);
    walk(conv, tap_forward, (double *)x, (float *)weights, y);
    if (bn)
        wsl_ref_bn_batch(conv->dev, bn, y);
}

void wsl_ref_conv_backward_data(struct wsl_conv *conv, const void *dy, const float *weights,
                                void *dx, bool add)
{
    if (!add)
        memset(dx, 0, sizeof(double) * wsl_shape_count(&conv->shape.in) * (size_t)conv->dev->count);
    walk(conv, tap_data, dx, (float *)weights, (double *)dy);
}

void wsl_ref_conv_backward_weights(struct wsl_conv *conv, const void *x, const void *dy,
                                   float *dweights)
{
    walk(conv, tap_weights, (double *)x, dweights, (double *)dy);
}
