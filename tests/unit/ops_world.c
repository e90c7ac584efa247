/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/ops_world.h"

#include "kernels/cpu/cpu.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- random numbers ---- */

uint32_t ops_roll(struct dice *d, uint32_t below)
{
    d->state = d->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(d->state >> 33) % below;
}

/* About uniform in (-1, 1), never so near to 0 that rounding could decide a ReLU alone. */
float ops_roll_value(struct dice *d)
{
    return (float)((int)ops_roll(d, 2001) - 1000) / 1000.0f + 0.0003f;
}

/* ---- a backend with memory ---- */

void ops_open_world(struct world *w, const char *isa, int count)
{
    ops_open_world_threads(w, isa, count, 1);
}

void ops_open_world_threads(struct world *w, const char *isa, int count, int threads)
{
    struct wsl_device_setup setup = {.batch = BATCH, .threads = threads};
    struct wsl_err err = {0};

    w->ops = isa ? &wsl_ops_cpu : &wsl_ops_ref;
    w->count = count;
    snprintf(w->name, sizeof w->name, "%s %s", w->ops->name, isa ? isa : "");
    if (isa ? wsl_cpu_open_capped(&w->dev, &setup, isa, &err) : w->ops->open(&w->dev, &setup, &err))
        fail_msg("%s", err.text);
}

void ops_finish(struct world *w)
{
    struct wsl_err err = {0};

    if (w->ops->wait(w->dev, &err))
        fail_msg("%s: %s", w->name, err.text);
}

/* The interface has no way to give memory back but close; tests keep theirs apart. */
void *ops_poisoned(size_t bytes)
{
    void *data = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);

    assert_non_null(data);
    memset(data, 0xff, (bytes + 63) / 64 * 64 + 64);
    return data;
}

void *ops_empty_activation(struct world *w, const struct wsl_shape *shape)
{
    return ops_poisoned(w->ops->activation_bytes(w->dev, shape));
}

void *ops_activation(struct world *w, const struct wsl_shape *shape, struct dice *d)
{
    size_t n = wsl_shape_count(shape) * (size_t)w->count;
    float *values = malloc(n * sizeof *values);
    void *x = ops_empty_activation(w, shape);

    assert_non_null(values);
    for (size_t i = 0; i < n; i++)
        values[i] = ops_roll_value(d);
    w->ops->activation_write(w->dev, shape, w->count, values, x);
    free(values);
    return x;
}

float *ops_floats(size_t n, struct dice *d)
{
    float *x = ops_poisoned(n * sizeof *x);

    for (size_t i = 0; i < n; i++)
        x[i] = ops_roll_value(d);
    return x;
}

/* ---- shapes ---- */

struct wsl_conv_shape ops_conv_shape(int in, int out, int kernel, int stride, int groups)
{
    return (struct wsl_conv_shape){.in = {in, 0, 0},
                                   .out = {out, 0, 0},
                                   .kernel = kernel,
                                   .stride = stride,
                                   .pad = kernel / 2,
                                   .groups = groups,
                                   .input_gradient = true};
}

static void set_size(struct wsl_conv_shape *s, int height, int width)
{
    s->in.height = height;
    s->in.width = width;
    s->out.height = (height + 2 * s->pad - s->kernel) / s->stride + 1;
    s->out.width = (width + 2 * s->pad - s->kernel) / s->stride + 1;
}

struct wsl_conv_shape ops_random_conv(struct dice *d)
{
    static const int widths[] = {1, 2, 3, 4, 5, 8, 12, 16, 20};
    int width = widths[ops_roll(d, 9)], groups = 1 + (int)ops_roll(d, 9),
        kind = (int)ops_roll(d, 3);
    int stride = 1 + (int)ops_roll(d, 2);
    struct wsl_conv_shape s =
        kind == 0 ? ops_conv_shape(1 + (int)ops_roll(d, 40), 1 + (int)ops_roll(d, 70), 1, stride, 1)
        : kind == 1 ? ops_conv_shape(width * groups, width * groups, 3, stride, groups)
                    : ops_conv_shape(3, 8 * (1 + (int)ops_roll(d, 8)), 7, 2, 1);

    set_size(&s, 1 + (int)ops_roll(d, 14), 1 + (int)ops_roll(d, 14));
    return s;
}

struct wsl_conv_shape ops_random_grouped(struct dice *d)
{
    bool many = ops_roll(d, 3) == 0;
    int groups = many ? 32 : 1 + (int)ops_roll(d, 9), channels = groups * (ops_roll(d, 2) ? 4 : 8);
    struct wsl_conv_shape s =
        ops_conv_shape(channels, channels, 3, 1 + (int)ops_roll(d, 2), groups);

    set_size(&s, 1 + (int)ops_roll(d, many ? 18 : 40), 1 + (int)ops_roll(d, many ? 18 : 40));
    return s;
}

/* ---- a convolution with its BN, in a world ---- */

void ops_init_unit(struct unit *u, struct world *w, struct dice *d, struct wsl_conv_shape shape)
{
    size_t channels = (size_t)shape.out.channels, n = wsl_conv_shape_weights(&shape);
    struct wsl_err err = {0};
    float *canonical = ops_floats(n, d), *values = ops_floats(4 * channels, d);

    u->shape = shape;
    if (w->ops->conv_open(w->dev, &shape, &u->conv, &err))
        fail_msg("%s: %s", w->name, err.text);
    u->weights = ops_poisoned(w->ops->conv_weight_count(u->conv) * sizeof(float));
    u->dweights = ops_poisoned(w->ops->conv_weight_count(u->conv) * sizeof(float));
    w->ops->conv_weights_write(u->conv, canonical, u->weights);
    u->bn = (struct wsl_bn){.shape = shape.out,
                            .gamma = values,
                            .beta = values + channels,
                            .running_mean = values + 2 * channels,
                            .running_var = values + 3 * channels,
                            .dgamma = ops_poisoned(channels * sizeof(float)),
                            .dbeta = ops_poisoned(channels * sizeof(float)),
                            .saved = ops_poisoned(w->ops->bn_saved_bytes(w->dev, &shape.out))};
    u->x = ops_activation(w, &shape.in, d);
    u->y = ops_empty_activation(w, &shape.out);
    free(canonical);
}

void ops_free_unit(struct unit *u)
{
    free(u->weights);
    free(u->dweights);
    free((float *)u->bn.gamma);
    free(u->bn.dgamma);
    free(u->bn.dbeta);
    free(u->bn.saved);
    free(u->x);
    free(u->y);
}

void ops_start(struct world *w)
{
    struct wsl_err err = {0};

    if (w->ops->prepare(w->dev, &err))
        fail_msg("%s: %s", w->name, err.text);
    w->ops->begin(w->dev, w->count);
}

void ops_forward(struct world *w, struct unit *u)
{
    w->ops->conv_forward(u->conv, u->x, u->weights, u->y, &u->bn);
}

void ops_init_ends(struct ends *e, struct dice *d)
{
    int features = 1 + (int)ops_roll(d, 40), classes = 2 + (int)ops_roll(d, 30);
    size_t weights = (size_t)features * (size_t)classes;

    e->picture = (struct wsl_shape){3, 1 + (int)ops_roll(d, 9), 1 + (int)ops_roll(d, 9)};
    e->maps = (struct wsl_shape){features, 1 + (int)ops_roll(d, 5), 1 + (int)ops_roll(d, 5)};
    e->features = (struct wsl_shape){features, 1, 1};
    e->logits = (struct wsl_shape){classes, 1, 1};
    e->block = ops_floats(2 * (weights + (size_t)classes), d);
    e->head = (struct wsl_head){features,
                                classes,
                                e->block,
                                e->block + weights,
                                e->block + weights + classes,
                                e->block + 2 * weights + classes};
    e->begin[0] = 0;
    for (uint32_t i = 0; i < BATCH; i++) {
        uint32_t k = 1 + ops_roll(d, 4);

        e->begin[i + 1] = e->begin[i] + k;
        for (uint32_t j = 0; j < k; j++)
            e->tags[e->begin[i] + j] = ops_roll(d, (uint32_t)classes);
    }
    e->loss = (struct wsl_loss){classes, e->begin, e->tags, 0.125f};
}
