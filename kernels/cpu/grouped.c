/* SPDX-License-Identifier: Apache-2.0
 *
 * Grouped convolutions: which taps, which parts, which order of sums. Every pass first puts the
 * weights into the order of the loops: they are few, and flat buffers stay canonical. */
#include "kernels/cpu/cpu.h"

#include <stdlib.h>
#include <string.h>

#define PARTS_MAX   32  /* of the weight gradient: each has sums of its own */
#define PART_PIXELS 128 /* at least, so that adding up the parts stays cheap */

struct wsl_grouped {
    struct wsl_grouped_sweep forward, data;
    size_t floats; /* of all weights, in the order of the loops */
};

bool wsl_grouped_fits(const struct wsl_device *dev, const struct wsl_conv_shape *s)
{
    int group = s->in.channels / s->groups;
    bool narrow = group == 4 || group == 8;
    bool wide = dev->loops->sweeps->lanes == 16 && group % 16 == 0 && s->groups > 1 &&
                group <= WSL_GROUPED_WIDE_MAX;

    return s->kernel == 3 && s->pad == 1 && (s->stride == 1 || s->stride == 2) &&
           (narrow || wide) && s->in.channels == s->out.channels;
}

bool wsl_grouped_sums(const struct wsl_grouped *grouped)
{
    return grouped->forward.group <= 8;
}

/* What a piece sees, border included, is within WSL_GROUPED_PIXELS. Wide pieces: their rows are
 * long runs of memory. */
static void set_piece(struct wsl_grouped_sweep *sweep, int stride)
{
    sweep->rows = stride == 1 ? 8 : 4;
    sweep->columns = 16;
}

/* y[i] = sum over k of w[k] x[stride i + k - 1] */
static struct wsl_grouped_sweep forward_of(const struct wsl_conv_shape *s)
{
    struct wsl_grouped_sweep ret = {.in = s->in,
                                    .out = s->out,
                                    .group = s->in.channels / s->groups,
                                    .in_step = s->stride,
                                    .out_step = 1,
                                    .first = -1,
                                    .reach = 3,
                                    .phases = 1,
                                    .phase[0].taps = WSL_GROUPED_TAPS};

    set_piece(&ret, s->stride);
    for (int t = 0; t < WSL_GROUPED_TAPS; t++)
        ret.phase[0].tap[t] = (struct wsl_grouped_tap){t / 3, t % 3, t};
    return ret;
}

/* dx[i] = sum over k of w[k] dy[(i + 1 - k) / stride], for each k that stride divides i + 1 - k by.
 * With i = stride a + phase: dy[a + (phase + 1 - k) / stride]. */
static struct wsl_grouped_sweep data_of(const struct wsl_conv_shape *s)
{
    struct wsl_grouped_sweep ret = {.in = s->out,
                                    .out = s->in,
                                    .group = s->in.channels / s->groups,
                                    .in_step = 1,
                                    .out_step = s->stride,
                                    .first = s->stride == 1 ? -1 : 0,
                                    .reach = s->stride == 1 ? 3 : 2,
                                    .phases = s->stride * s->stride};

    set_piece(&ret, s->stride);
    for (int n = 0; n < ret.phases; n++) {
        struct wsl_grouped_phase *phase = &ret.phase[n];

        phase->row = n / s->stride;
        phase->column = n % s->stride;
        for (int t = 0; t < WSL_GROUPED_TAPS; t++) {
            int row = phase->row + 1 - t / 3, column = phase->column + 1 - t % 3;

            if (row % s->stride == 0 && column % s->stride == 0)
                phase->tap[phase->taps++] = (struct wsl_grouped_tap){
                    row / s->stride - ret.first, column / s->stride - ret.first, t};
        }
    }
    return ret;
}

int wsl_grouped_open(const struct wsl_device *dev, const struct wsl_conv_shape *shape,
                     struct wsl_grouped **ret, struct wsl_err *err)
{
    size_t lanes = dev->loops->sweeps->lanes;
    struct wsl_grouped *grouped = calloc(1, sizeof *grouped);

    if (!grouped)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a grouped convolution");
    grouped->forward = forward_of(shape);
    grouped->data = data_of(shape);
    grouped->floats = wsl_grouped_slabs(lanes, &grouped->forward) *
                      wsl_grouped_slab_floats(lanes, grouped->forward.group);
    *ret = grouped;
    return 0;
}

void wsl_grouped_close(struct wsl_grouped *grouped)
{
    free(grouped);
}

/* Images of a batch are cut into so many parts for the weight gradient. */
static size_t gradient_parts(const struct wsl_grouped *grouped, int count)
{
    const struct wsl_shape *out = &grouped->forward.out;
    size_t images = (size_t)count;
    size_t parts = images * (size_t)out->height * (size_t)out->width / PART_PIXELS;

    parts = parts < images ? parts : images;
    parts = parts < PARTS_MAX ? parts : PARTS_MAX;
    return parts > 0 ? parts : 1;
}

size_t wsl_grouped_scratch(const struct wsl_device *dev, const struct wsl_grouped *grouped)
{
    bool sums = !dev->setup.inference_only && wsl_grouped_sums(grouped);
    size_t parts = sums ? gradient_parts(grouped, dev->setup.batch) : 1;

    return parts * grouped->floats * sizeof(float);
}

/* Everything a pass may need. */
struct pass {
    struct wsl_device *dev;
    const struct wsl_grouped *grouped;
    const struct wsl_grouped_sweep *sweep;
    const float *in, *weights, *dy;
    float *out, *scratch;
    const struct wsl_bn *bn; /* NULL: no statistics */
    size_t pieces;           /* rows of pieces of an image */
    size_t parts;
};

static struct pass pass_of(struct wsl_device *dev, const struct wsl_grouped *grouped,
                           const struct wsl_grouped_sweep *sweep)
{
    return (struct pass){
        .dev = dev, .grouped = grouped, .sweep = sweep, .scratch = (float *)dev->scratch};
}

static size_t slabs_of(const struct pass *p)
{
    return wsl_grouped_slabs(p->dev->loops->sweeps->lanes, p->sweep);
}

/* A part is a slab. */
static void weights_part(const void *args, size_t slab)
{
    const struct pass *p = args;
    size_t floats = wsl_grouped_slab_floats(p->dev->loops->sweeps->lanes, p->sweep->group);

    p->dev->loops->sweeps->weights(p->sweep, p->weights, slab, p->sweep == &p->grouped->data,
                                   p->scratch + slab * floats);
}

static size_t pieces_of(const struct wsl_grouped_sweep *sweep)
{
    int step = sweep->out_step * sweep->rows;

    return (size_t)((sweep->out.height + step - 1) / step);
}

size_t wsl_grouped_bn_parts(const struct wsl_grouped *grouped, int batch)
{
    return pieces_of(&grouped->forward) * (size_t)batch;
}

/* The sums of what a part has just written, whole rows of an image. */
static void sum_part(const struct pass *p, size_t part, const float *image, int row)
{
    const struct wsl_shape *out = &p->sweep->out;
    int rows = out->height - row < p->sweep->rows ? out->height - row : p->sweep->rows;
    size_t width = (size_t)out->width, channels = (size_t)out->channels;

    wsl_cpu_bn_part(p->dev, p->bn,
                    &(struct wsl_cpu_bn_part){image + (size_t)row * width * channels,
                                              (size_t)rows * width, 0, channels, part});
}

/* A part is a row of pieces of an image. */
static void sweep_part(const void *args, size_t part)
{
    const struct pass *p = args;
    size_t image = part / p->pieces;
    int row = (int)(part % p->pieces) * p->sweep->rows;
    float *out = p->out + image * wsl_shape_count(&p->sweep->out);

    p->dev->loops->sweeps->sweep(p->sweep, p->scratch,
                                 p->in + image * wsl_shape_count(&p->sweep->in),
                                 (size_t)p->dev->count - image, row, out);
    if (p->bn)
        sum_part(p, part, out, row);
}

static void run_sweep(struct pass *p)
{
    p->pieces = pieces_of(p->sweep);
    wsl_cpu_parallel(p->dev, slabs_of(p), weights_part, p);
    wsl_cpu_parallel(p->dev, p->pieces * (size_t)p->dev->count, sweep_part, p);
}

void wsl_grouped_forward(struct wsl_device *dev, const struct wsl_grouped *grouped, const float *x,
                         const float *weights, float *y, const struct wsl_bn *bn)
{
    struct pass p = pass_of(dev, grouped, &grouped->forward);

    p.in = x;
    p.weights = weights;
    p.out = y;
    p.bn = bn;
    run_sweep(&p);
    if (bn)
        wsl_cpu_bn_finish(dev, bn, p.pieces * (size_t)dev->count);
}

void wsl_grouped_data(struct wsl_device *dev, const struct wsl_grouped *grouped, const float *dy,
                      const float *weights, float *dx)
{
    struct pass p = pass_of(dev, grouped, &grouped->data);

    p.in = dy;
    p.weights = weights;
    p.out = dx;
    run_sweep(&p);
}

/* A part is some images, with sums of its own. */
static void gradient_part(const void *args, size_t part)
{
    const struct pass *p = args;
    size_t begin, end, in = wsl_shape_count(&p->sweep->in), out = wsl_shape_count(&p->sweep->out);
    float *sums = p->scratch + part * p->grouped->floats;

    wsl_cpu_part((size_t)p->dev->count, p->parts, part, &begin, &end);
    memset(sums, 0, p->grouped->floats * sizeof(float));
    p->dev->loops->gradients->gradient(p->sweep, p->in + begin * in, p->dy + begin * out,
                                       end - begin, sums);
}

/* A part is a slab. */
static void total_part(const void *args, size_t slab)
{
    const struct pass *p = args;

    p->dev->loops->gradients->total(p->sweep, p->scratch, p->parts, p->grouped->floats, slab,
                                    p->out);
}

/* Floats add up a piece, then the pieces of a part; doubles add the parts up, in order. */
void wsl_grouped_weights(struct wsl_device *dev, const struct wsl_grouped *grouped, const float *x,
                         const float *dy, float *dweights)
{
    struct pass p = pass_of(dev, grouped, &grouped->forward);

    p.in = x;
    p.dy = dy;
    p.out = dweights;
    p.parts = gradient_parts(grouped, dev->count);
    wsl_cpu_parallel(dev, p.parts, gradient_part, &p);
    wsl_cpu_parallel(dev, slabs_of(&p), total_part, &p);
}
