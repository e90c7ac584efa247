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

float ops_round_bf16(float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

/* ---- a backend with memory ---- */

#define POOL_BYTES ((size_t)64 << 20)

struct wsl_cuda_settings ops_cuda_settings;

void ops_open_world(struct world *w, const char *isa, int count)
{
    ops_open_world_threads(w, isa, count, 1);
}

void ops_open_world_threads(struct world *w, const char *isa, int count, int threads)
{
    struct wsl_device_setup setup = {.batch = BATCH, .threads = threads};
    struct wsl_err err = {0};

    *w = (struct world){.ops = isa ? &wsl_ops_cpu : &wsl_ops_ref, .count = count, .on_host = true};
    snprintf(w->name, sizeof w->name, "%s %s", w->ops->name, isa ? isa : "");
    if (isa ? wsl_cpu_open_capped(&w->dev, &setup, isa, &err) : w->ops->open(&w->dev, &setup, &err))
        fail_msg("%s", err.text);
}

void ops_open_backend(struct world *w, const char *backend, int count)
{
    struct wsl_device_setup setup = {.batch = BATCH, .threads = 1, .cuda = ops_cuda_settings};
    struct wsl_err err = {0};
    void *pool = NULL;
    char name[16] = "";

    *w = (struct world){.count = count};
    assert_non_null(backend);
    assert_true(strcspn(backend, " ") < sizeof name);
    memcpy(name, backend, strcspn(backend, " "));
    if (strstr(backend, " f32"))
        setup.precision = WSL_PRECISION_F32;
    if (wsl_ops_find(name, &w->ops, &err) || w->ops->open(&w->dev, &setup, &err))
        fail_msg("%s", err.text);
    snprintf(w->name, sizeof w->name, "%s", backend);
    w->on_host = w->ops == &wsl_ops_ref || w->ops == &wsl_ops_cpu;
    if (!w->on_host && w->ops->alloc(w->dev, POOL_BYTES, "the test's blocks", &pool, &err))
        fail_msg("%s", err.text);
    w->pool = pool;
}

void ops_finish(struct world *w)
{
    struct wsl_err err = {0};

    if (w->ops->synchronize(w->dev, &err))
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

void ops_poison(struct world *w, void *taken, size_t bytes)
{
    float *poison;

    if (w->on_host) {
        memset(taken, 0xff, bytes);
        return;
    }
    poison = ops_poisoned(bytes);
    w->ops->floats_write(w->dev, poison, (bytes + 3) / 4, taken);
    free(poison);
}

void *ops_take(struct world *w, size_t bytes)
{
    void *taken;

    if (w->on_host)
        return ops_poisoned(bytes);
    taken = w->pool + w->pool_used;
    w->pool_used += (bytes + 511) / 256 * 256; /* at least 4 bytes more, as ops_poison rounds up */
    assert_true(w->pool_used <= POOL_BYTES);
    ops_poison(w, taken, bytes);
    return taken;
}

void ops_give(struct world *w, void *taken)
{
    if (w->on_host)
        free(taken);
}

float *ops_block(struct world *w, size_t n, struct dice *d)
{
    float *values = ops_floats(n, d), *block;

    if (w->on_host)
        return values;
    block = ops_take(w, n * sizeof *block);
    w->ops->floats_write(w->dev, values, n, block);
    free(values);
    return block;
}

float *ops_block_read(struct world *w, const float *block, size_t n)
{
    float *values = ops_poisoned(n * sizeof *values);

    w->ops->floats_read(w->dev, block, n, values);
    return values;
}

static float *log_room(struct ops_log *log, size_t n)
{
    if (log->count + n > log->capacity) {
        log->capacity = 2 * (log->count + n);
        log->values = realloc(log->values, log->capacity * sizeof *log->values);
        assert_non_null(log->values);
    }
    log->count += n;
    return log->values + log->count - n;
}

void ops_agree(struct world *w, const struct wsl_shape *shape, void *x)
{
    size_t n = wsl_shape_count(shape) * (size_t)w->count;

    if (w->record)
        w->ops->activation_read(w->dev, shape, w->count, x, log_room(w->record, n));
    if (w->replay) {
        assert_true(w->replay->next + n <= w->replay->count);
        w->ops->activation_write(w->dev, shape, w->count, w->replay->values + w->replay->next, x);
        w->replay->next += n;
    }
}

void *ops_empty_activation(struct world *w, const struct wsl_shape *shape)
{
    return ops_take(w, w->ops->activation_bytes(w->dev, shape));
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
    ops_agree(w, shape, x);
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

/* A layer never has 3 channels: the backend cuda takes 3 only as an image. */
static int not_three(int channels)
{
    return channels == 3 ? 4 : channels;
}

struct wsl_conv_shape ops_random_conv(struct dice *d)
{
    static const int widths[] = {1, 2, 3, 4, 5, 8, 12, 16, 20};
    int width = widths[ops_roll(d, 9)], groups = 1 + (int)ops_roll(d, 9),
        kind = (int)ops_roll(d, 3);
    int in = not_three(1 + (int)ops_roll(d, 40)), out = not_three(1 + (int)ops_roll(d, 70));
    int stride = 1 + (int)ops_roll(d, 2);
    struct wsl_conv_shape s;

    groups += width * groups == 3; /* not_three, and a multiple of both */
    s = kind == 0   ? ops_conv_shape(in, out, 1, stride, 1)
        : kind == 1 ? ops_conv_shape(width * groups, width * groups, 3, stride, groups)
                    : ops_conv_shape(3, 8 * (1 + (int)ops_roll(d, 8)), 7, 2, 1);

    /* An image has more than one pixel. */
    set_size(&s, (kind == 2) + 1 + (int)ops_roll(d, 14), 1 + (int)ops_roll(d, 14));
    return s;
}

/* Many groups, few, or few of whole vectors. */
struct wsl_conv_shape ops_random_grouped(struct dice *d)
{
    static const int wide[] = {16, 32, 48, 64};
    int kind = (int)ops_roll(d, 3), most = kind == 0 ? 18 : kind == 1 ? 40 : 16;
    int groups = kind == 0 ? 32 : 1 + (int)ops_roll(d, kind == 1 ? 9 : 3);
    int group = kind == 2 ? wide[ops_roll(d, 4)] : ops_roll(d, 2) ? 4 : 8;
    struct wsl_conv_shape s =
        ops_conv_shape(groups * group, groups * group, 3, 1 + (int)ops_roll(d, 2), groups);

    set_size(&s, 1 + (int)ops_roll(d, (uint32_t)most), 1 + (int)ops_roll(d, (uint32_t)most));
    return s;
}

/* ---- a convolution with its BN, in a world ---- */

/* A 1x1 convolution that copies its input. */
static void init_same(struct unit *u, struct world *w)
{
    size_t channels = (size_t)u->shape.out.channels;
    struct wsl_conv_shape shape = {
        .in = u->shape.out, .out = u->shape.out, .kernel = 1, .stride = 1, .groups = 1};
    float *canonical = calloc(channels * channels, sizeof *canonical);
    struct wsl_err err = {0};

    assert_non_null(canonical);
    for (size_t i = 0; i < channels; i++)
        canonical[i * channels + i] = 1;
    if (w->ops->conv_open(w->dev, &shape, &u->same, &err))
        fail_msg("%s: %s", w->name, err.text);
    u->same_weights = ops_take(w, w->ops->conv_weight_count(u->same) * sizeof(float));
    w->ops->conv_weights_write(u->same, canonical, u->same_weights);
    u->same_y = ops_empty_activation(w, &shape.out);
    free(canonical);
}

void ops_init_unit(struct unit *u, struct world *w, struct dice *d, struct wsl_conv_shape shape)
{
    size_t channels = (size_t)shape.out.channels, n = wsl_conv_shape_weights(&shape);
    struct wsl_err err = {0};
    float *canonical = ops_floats(n, d), *values = ops_block(w, 4 * channels, d);

    for (size_t i = 0; i < n; i++)
        canonical[i] = ops_round_bf16(canonical[i]);
    u->shape = shape;
    u->borrowed = !w->on_host;
    if (w->ops->conv_open(w->dev, &shape, &u->conv, &err))
        fail_msg("%s: %s", w->name, err.text);
    u->weights = ops_take(w, w->ops->conv_weight_count(u->conv) * sizeof(float));
    u->dweights = ops_take(w, w->ops->conv_weight_count(u->conv) * sizeof(float));
    w->ops->conv_weights_write(u->conv, canonical, u->weights);
    u->bn = (struct wsl_bn){.shape = shape.out,
                            .gamma = values,
                            .beta = values + channels,
                            .running_mean = values + 2 * channels,
                            .running_var = values + 3 * channels,
                            .dgamma = ops_take(w, channels * sizeof(float)),
                            .dbeta = ops_take(w, channels * sizeof(float)),
                            .saved = ops_take(w, w->ops->bn_saved_bytes(w->dev, &shape.out))};
    u->x = ops_activation(w, &shape.in, d);
    u->y = ops_empty_activation(w, &shape.out);
    u->same = NULL;
    if (w->replay)
        init_same(u, w);
    free(canonical);
}

void ops_free_unit(struct unit *u)
{
    if (u->borrowed)
        return;
    free(u->weights);
    free(u->dweights);
    free((float *)u->bn.gamma);
    free(u->bn.dgamma);
    free(u->bn.dbeta);
    free(u->bn.saved);
    free(u->x);
    free(u->y);
    if (u->same) {
        free(u->same_weights);
        free(u->same_y);
    }
}

void ops_start(struct world *w)
{
    struct wsl_err err = {0};

    if (w->ops->prepare(w->dev, &err))
        fail_msg("%s: %s", w->name, err.text);
    w->ops->begin_pass(w->dev, w->count);
}

/* Statistics are of the y that is stored. One that is taken over had others when it was computed,
 * so there the convolution comes without BN, and a copy of y through the unit convolution with it.
 */
void ops_forward_agreed(struct world *w, struct unit *u)
{
    w->ops->conv_forward(u->conv, u->x, u->weights, u->y, w->replay ? NULL : &u->bn);
    ops_agree(w, &u->shape.out, u->y);
    if (w->replay)
        w->ops->conv_forward(u->same, u->y, u->same_weights, u->same_y, &u->bn);
}

void ops_forward(struct world *w, struct unit *u)
{
    w->ops->conv_forward(u->conv, u->x, u->weights, u->y, &u->bn);
}

static void point_head(struct ends *e, float *block)
{
    int features = e->features.channels, classes = e->logits.channels;
    size_t weights = (size_t)features * (size_t)classes;

    e->block = block;
    e->head = (struct wsl_head){features,
                                classes,
                                block,
                                block + weights,
                                block + weights + classes,
                                block + 2 * weights + classes};
}

static size_t head_floats(const struct ends *e)
{
    return 2 * ((size_t)e->features.channels + 1) * (size_t)e->logits.channels;
}

void ops_init_ends(struct ends *e, struct dice *d)
{
    int features = not_three(1 + (int)ops_roll(d, 40)), classes = 2 + (int)ops_roll(d, 30);

    e->image = (struct wsl_shape){3, 2 + (int)ops_roll(d, 8), 1 + (int)ops_roll(d, 9)};
    e->maps = (struct wsl_shape){features, 1 + (int)ops_roll(d, 5), 1 + (int)ops_roll(d, 5)};
    e->features = (struct wsl_shape){features, 1, 1};
    e->logits = (struct wsl_shape){classes, 1, 1};
    point_head(e, ops_floats(head_floats(e), d));
    for (size_t i = 0; i < head_floats(e); i++)
        e->block[i] = ops_round_bf16(e->block[i]);
    e->begin[0] = 0;
    for (uint32_t i = 0; i < BATCH; i++) {
        uint32_t k = 1 + ops_roll(d, 4);

        e->begin[i + 1] = e->begin[i] + k;
        for (uint32_t j = 0; j < k; j++)
            e->tags[e->begin[i] + j] = ops_roll(d, (uint32_t)classes);
    }
    e->loss = (struct wsl_loss){classes, e->begin, e->tags, 0.125f};
}

void ops_lend_ends(struct world *w, struct ends *e)
{
    float *block = e->block;

    if (w->on_host)
        return;
    point_head(e, ops_take(w, head_floats(e) * sizeof *block));
    w->ops->floats_write(w->dev, block, head_floats(e), e->block);
    free(block);
}
