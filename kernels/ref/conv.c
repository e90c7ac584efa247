/* SPDX-License-Identifier: Apache-2.0
 *
 * Convolution by definition:
 *   y[n][o][i][j] = sum over c, a, b of w[o][c][a][b] x[n][first(o) + c][i s - p + a][j s - p + b]
 * where c runs over the channels of o's group and x is 0 outside the image. One walk over all
 * products serves the three directions. */
#include "kernels/ref/ref.h"

#include <stdlib.h>
#include <string.h>

/* Where filter tap (a, b) meets output row i; false: nowhere inside the image. */
static bool row_of(const struct wsl_conv_shape *s, int i, int tap, struct wsl_ref_row *ret)
{
    int y = i * s->stride - s->pad + tap / s->kernel, x = tap % s->kernel - s->pad;
    int from = 0, to = s->out.width;

    while (from < to && x + from * s->stride < 0)
        from++;
    while (to > from && x + (to - 1) * s->stride >= s->in.width)
        to--;
    if (y < 0 || y >= s->in.height || from == to)
        return false;
    ret->length = to - from;
    ret->out = i * s->out.width + from;
    ret->in = y * s->in.width + x + from * s->stride;
    return true;
}

/* Does b go on where a ends? Then they are one long row, as all rows of a 1x1 convolution are. */
static bool continues(const struct wsl_conv_shape *s, const struct wsl_ref_row *a,
                      const struct wsl_ref_row *b)
{
    return s->stride == 1 && b->out == a->out + a->length && b->in == a->in + a->length;
}

int wsl_ref_conv_rows(struct wsl_conv *conv, struct wsl_err *err)
{
    const struct wsl_conv_shape *s = &conv->shape;
    int taps = s->kernel * s->kernel;

    conv->rows = calloc((size_t)taps * (size_t)s->out.height, sizeof *conv->rows);
    conv->row_counts = calloc((size_t)taps, sizeof *conv->row_counts);
    if (!conv->rows || !conv->row_counts)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the rows of a convolution");
    for (int tap = 0; tap < taps; tap++) {
        struct wsl_ref_row *rows = conv->rows + (size_t)tap * (size_t)s->out.height, row;
        int count = 0;

        for (int i = 0; i < s->out.height; i++) {
            if (!row_of(s, i, tap, &row))
                continue;
            if (count > 0 && continues(s, &rows[count - 1], &row))
                rows[count - 1].length += row.length;
            else
                rows[count++] = row;
        }
        conv->row_counts[tap] = count;
    }
    return 0;
}

enum direction { FORWARD, DATA, WEIGHTS };

/* All products of one tap of one pair of planes. Returns the sum that is the weight's gradient. */
static double plane(const struct wsl_conv *conv, int tap, enum direction direction, double *x,
                    double w, double *y)
{
    const struct wsl_ref_row *rows = conv->rows + (size_t)tap * (size_t)conv->shape.out.height;
    int stride = conv->shape.stride;
    double sum = 0;

    for (int r = 0; r < conv->row_counts[tap]; r++) {
        double *restrict in = x + rows[r].in, *restrict out = y + rows[r].out;

        if (direction == FORWARD)
            for (int j = 0; j < rows[r].length; j++)
                out[j] += w * in[j * stride];
        else if (direction == DATA)
            for (int j = 0; j < rows[r].length; j++)
                in[j * stride] += w * out[j];
        else
            for (int j = 0; j < rows[r].length; j++)
                sum += out[j] * in[j * stride];
    }
    return sum;
}

/* Every tap of every pair of an output and an input channel of its group, over all images. */
static void walk(const struct wsl_conv *conv, enum direction direction, double *x, float *w,
                 double *y)
{
    const struct wsl_conv_shape *s = &conv->shape;
    int group_in = s->in.channels / s->groups, group_out = s->out.channels / s->groups;
    int taps = s->kernel * s->kernel;
    size_t in_plane = (size_t)s->in.height * (size_t)s->in.width;
    size_t out_plane = (size_t)s->out.height * (size_t)s->out.width;

    for (int o = 0; o < s->out.channels; o++)
        for (int c = 0; c < group_in; c++)
            for (int tap = 0; tap < taps; tap++) {
                size_t channel = (size_t)(o / group_out * group_in + c);
                float *weight = w + ((size_t)o * (size_t)group_in + (size_t)c) * (size_t)taps + tap;
                double sum = 0, factor = direction == WEIGHTS ? 0 : (double)*weight;

                for (size_t n = 0; n < (size_t)conv->dev->count; n++)
                    sum += plane(conv, tap, direction,
                                 x + (n * (size_t)s->in.channels + channel) * in_plane, factor,
                                 y + (n * (size_t)s->out.channels + (size_t)o) * out_plane);
                if (direction == WEIGHTS)
                    *weight = (float)sum;
            }
}

void wsl_ref_conv_forward(struct wsl_conv *conv, const void *x, const float *weights, void *y,
                          const struct wsl_bn *bn)
{
    memset(y, 0, sizeof(double) * wsl_shape_count(&conv->shape.out) * (size_t)conv->dev->count);
    walk(conv, FORWARD, (double *)x, (float *)weights, y);
    if (bn)
        wsl_ref_bn_batch(conv->dev, bn, y);
}

void wsl_ref_conv_backward_data(struct wsl_conv *conv, const void *dy, const float *weights,
                                void *dx, bool add)
{
    if (!add)
        memset(dx, 0, sizeof(double) * wsl_shape_count(&conv->shape.in) * (size_t)conv->dev->count);
    walk(conv, DATA, dx, (float *)weights, (double *)dy);
}

void wsl_ref_conv_backward_weights(struct wsl_conv *conv, const void *x, const void *dy,
                                   float *dweights)
{
    walk(conv, WEIGHTS, (double *)x, dweights, (double *)dy);
}
