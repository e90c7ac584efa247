/* SPDX-License-Identifier: Apache-2.0
 *
 * Every operation of the backend interface: ref against central differences, and cpu, with each of
 * its instruction sets, against ref. Outputs are poisoned with NaN before they are written. Shapes
 * are drawn from fixed seeds; a failure names its seed. */
#include "kernels/cpu/cpu.h"
#include "kernels/ops.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BATCH 3

/* ---- random numbers ---- */

struct dice {
    uint64_t state;
};

static uint32_t roll(struct dice *d, uint32_t below)
{
    d->state = d->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(d->state >> 33) % below;
}

/* About uniform in (-1, 1), never so near to 0 that rounding could decide a ReLU alone. */
static float roll_value(struct dice *d)
{
    return (float)((int)roll(d, 2001) - 1000) / 1000.0f + 0.0003f;
}

/* ---- a backend with memory ---- */

struct world {
    const struct wsl_ops *ops;
    struct wsl_device *dev;
    char name[16];
    int count;
};

static void open_world(struct world *w, const char *isa, int count)
{
    struct wsl_device_setup setup = {.batch = BATCH, .threads = 1};
    struct wsl_err err = {0};

    w->ops = isa ? &wsl_ops_cpu : &wsl_ops_ref;
    w->count = count;
    snprintf(w->name, sizeof w->name, "%s %s", w->ops->name, isa ? isa : "");
    if (isa ? wsl_cpu_open_capped(&w->dev, &setup, isa, &err) : w->ops->open(&w->dev, &setup, &err))
        fail_msg("%s", err.text);
}

static void finish(struct world *w)
{
    struct wsl_err err = {0};

    if (w->ops->wait(w->dev, &err))
        fail_msg("%s: %s", w->name, err.text);
}

/* The interface has no way to give memory back but close; tests keep theirs apart. */
static void *poisoned(size_t bytes)
{
    void *data = aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);

    assert_non_null(data);
    memset(data, 0xff, (bytes + 63) / 64 * 64 + 64);
    return data;
}

static void *empty_activation(struct world *w, const struct wsl_shape *shape)
{
    return poisoned(w->ops->activation_bytes(w->dev, shape));
}

static void *activation(struct world *w, const struct wsl_shape *shape, struct dice *d)
{
    size_t n = wsl_shape_count(shape) * (size_t)w->count;
    float *values = malloc(n * sizeof *values);
    void *x = empty_activation(w, shape);

    assert_non_null(values);
    for (size_t i = 0; i < n; i++)
        values[i] = roll_value(d);
    w->ops->activation_write(w->dev, shape, w->count, values, x);
    free(values);
    return x;
}

static float *floats(size_t n, struct dice *d)
{
    float *x = poisoned(n * sizeof *x);

    for (size_t i = 0; i < n; i++)
        x[i] = roll_value(d);
    return x;
}

/* ---- results: named arrays that two worlds are compared by ---- */

#define RESULTS 16

struct results {
    struct {
        const char *name;
        float *values;
        size_t count;
    } items[RESULTS];
    int count;
};

static void keep_floats(struct results *r, const char *name, const float *values, size_t n)
{
    assert_true(r->count < RESULTS);
    r->items[r->count].name = name;
    r->items[r->count].count = n;
    r->items[r->count].values = malloc(n * sizeof *values);
    assert_non_null(r->items[r->count].values);
    memcpy(r->items[r->count].values, values, n * sizeof *values);
    r->count++;
}

static void keep(struct results *r, struct world *w, const char *name,
                 const struct wsl_shape *shape, const void *x)
{
    size_t n = wsl_shape_count(shape) * (size_t)w->count;
    float *values = malloc(n * sizeof *values);

    assert_non_null(values);
    w->ops->activation_read(w->dev, shape, w->count, x, values);
    keep_floats(r, name, values, n);
    free(values);
}

static void free_results(struct results *r)
{
    for (int i = 0; i < r->count; i++)
        free(r->items[i].values);
    r->count = 0;
}

/* Largest difference against the largest value. */
static void compare(const struct results *expected, const struct results *got,
                    const struct world *w, uint64_t seed, double tolerance)
{
    assert_int_equal(expected->count, got->count);
    for (int i = 0; i < expected->count; i++) {
        double size = 1e-3, difference = 0;

        assert_int_equal(expected->items[i].count, got->items[i].count);
        for (size_t j = 0; j < expected->items[i].count; j++) {
            double e = (double)expected->items[i].values[j], g = (double)got->items[i].values[j];

            if (!isfinite(e) || !isfinite(g))
                fail_msg("%s, seed %llu: %s[%zu] is %g, ref says %g", w->name,
                         (unsigned long long)seed, expected->items[i].name, j, g, e);
            size = fmax(size, fabs(e));
            difference = fmax(difference, fabs(e - g));
        }
        if (difference > tolerance * size)
            fail_msg("%s, seed %llu: %s is off by %g of %g", w->name, (unsigned long long)seed,
                     expected->items[i].name, difference, size);
    }
}

/* Runs a scenario on ref and on cpu with each instruction set, for several seeds. */
typedef void (*scenario_fn)(struct world *w, struct dice *d, struct results *ret);

static void run_everywhere(scenario_fn scenario, int seeds, double tolerance)
{
    static const char *const isas[] = {NULL, "v2", "v3", "v4"};

    for (uint64_t seed = 1; seed <= (uint64_t)seeds; seed++) {
        struct results expected = {0};

        for (int i = 0; i < 4; i++) {
            struct dice d = {seed * 7919};
            struct results got = {0};
            struct world w;

            open_world(&w, isas[i], 1 + (int)roll(&d, BATCH));
            scenario(&w, &d, i == 0 ? &expected : &got);
            if (i > 0)
                compare(&expected, &got, &w, seed, tolerance);
            free_results(&got);
            w.ops->close(w.dev);
        }
        free_results(&expected);
    }
}

/* ---- shapes ---- */

static struct wsl_conv_shape conv_shape(int in, int out, int kernel, int stride, int groups)
{
    return (struct wsl_conv_shape){.in = {in, 0, 0},
                                   .out = {out, 0, 0},
                                   .kernel = kernel,
                                   .stride = stride,
                                   .pad = kernel / 2,
                                   .groups = groups,
                                   .input_gradient = true};
}

static struct wsl_conv_shape random_conv(struct dice *d)
{
    static const int widths[] = {1, 2, 3, 4, 5, 8, 12, 16, 20};
    int width = widths[roll(d, 9)], groups = 1 + (int)roll(d, 9), kind = (int)roll(d, 3);
    int stride = 1 + (int)roll(d, 2);
    struct wsl_conv_shape s =
        kind == 0   ? conv_shape(1 + (int)roll(d, 40), 1 + (int)roll(d, 70), 1, stride, 1)
        : kind == 1 ? conv_shape(width * groups, width * groups, 3, stride, groups)
                    : conv_shape(3, 8 * (1 + (int)roll(d, 8)), 7, 2, 1);

    s.in.height = 1 + (int)roll(d, 14);
    s.in.width = 1 + (int)roll(d, 14);
    s.out.height = (s.in.height + 2 * s.pad - s.kernel) / s.stride + 1;
    s.out.width = (s.in.width + 2 * s.pad - s.kernel) / s.stride + 1;
    return s;
}

/* ---- a convolution with its BN, in a world ---- */

struct unit {
    struct wsl_conv_shape shape;
    struct wsl_conv *conv;
    struct wsl_bn bn;
    float *weights, *dweights;
    void *x, *y; /* input and output of the convolution */
};

static void init_unit(struct unit *u, struct world *w, struct dice *d, struct wsl_conv_shape shape)
{
    size_t channels = (size_t)shape.out.channels, n = wsl_conv_shape_weights(&shape);
    struct wsl_err err = {0};
    float *canonical = floats(n, d), *values = floats(4 * channels, d);

    u->shape = shape;
    if (w->ops->conv_open(w->dev, &shape, &u->conv, &err))
        fail_msg("%s: %s", w->name, err.text);
    u->weights = poisoned(w->ops->conv_weight_count(u->conv) * sizeof(float));
    u->dweights = poisoned(w->ops->conv_weight_count(u->conv) * sizeof(float));
    w->ops->conv_weights_write(u->conv, canonical, u->weights);
    u->bn = (struct wsl_bn){.shape = shape.out,
                            .gamma = values,
                            .beta = values + channels,
                            .running_mean = values + 2 * channels,
                            .running_var = values + 3 * channels,
                            .dgamma = poisoned(channels * sizeof(float)),
                            .dbeta = poisoned(channels * sizeof(float)),
                            .saved = poisoned(w->ops->bn_saved_bytes(w->dev, &shape.out))};
    u->x = activation(w, &shape.in, d);
    u->y = empty_activation(w, &shape.out);
    free(canonical);
}

static void free_unit(struct unit *u)
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

static void start(struct world *w)
{
    struct wsl_err err = {0};

    if (w->ops->prepare(w->dev, &err))
        fail_msg("%s: %s", w->name, err.text);
    w->ops->begin(w->dev, w->count);
}

static void forward(struct world *w, struct unit *u)
{
    w->ops->conv_forward(u->conv, u->x, u->weights, u->y, &u->bn);
}

static void keep_unit_gradients(struct results *r, struct world *w, struct unit *u)
{
    size_t n = wsl_conv_shape_weights(&u->shape);
    float *canonical = poisoned(n * sizeof(float));

    w->ops->conv_weights_read(u->conv, u->dweights, canonical);
    keep_floats(r, "dw", canonical, n);
    keep_floats(r, "dgamma", u->bn.dgamma, (size_t)u->shape.out.channels);
    keep_floats(r, "dbeta", u->bn.dbeta, (size_t)u->shape.out.channels);
    free(canonical);
}

/* ---- cpu against ref ---- */

static void conv_scenario(struct world *w, struct dice *d, struct results *ret)
{
    struct wsl_conv_shape shape = random_conv(d);
    size_t n = wsl_conv_shape_weights(&shape), channels = (size_t)shape.out.channels;
    struct unit u;
    void *dy, *dx;
    float *canonical = poisoned(n * sizeof(float));

    init_unit(&u, w, d, shape);
    dy = activation(w, &shape.out, d);
    start(w);
    w->ops->conv_forward(u.conv, u.x, u.weights, u.y, NULL);
    keep(ret, w, "y without bn", &shape.out, u.y);
    memset(u.y, 0xff, w->ops->activation_bytes(w->dev, &shape.out));
    forward(w, &u);
    keep(ret, w, "y", &shape.out, u.y);
    keep_floats(ret, "running_mean", u.bn.running_mean, channels);
    keep_floats(ret, "running_var", u.bn.running_var, channels);
    dx = empty_activation(w, &shape.in);
    w->ops->conv_backward_data(u.conv, dy, u.weights, dx, false);
    keep(ret, w, "dx", &shape.in, dx);
    if (shape.kernel == 1) {
        w->ops->conv_backward_data(u.conv, dy, u.weights, dx, true);
        keep(ret, w, "dx added", &shape.in, dx);
    }
    w->ops->conv_backward_weights(u.conv, u.x, dy, u.dweights);
    w->ops->conv_weights_read(u.conv, u.dweights, canonical);
    keep_floats(ret, "dw", canonical, n);
    finish(w);
    free_unit(&u);
    free(canonical);
    free(dy);
    free(dx);
}

static void test_convolutions(void **state)
{
    (void)state;
    run_everywhere(conv_scenario, 60, 1e-5);
}

/* A shape whose BN sees enough values that its derivative is not all rounding. */
static struct wsl_conv_shape small_conv(struct dice *d, int channels)
{
    struct wsl_conv_shape s = conv_shape(5, channels, 1, 1, 1);

    s.in.height = s.out.height = 4 + (int)roll(d, 8);
    s.in.width = s.out.width = 4 + (int)roll(d, 8);
    return s;
}

static int some_channels(struct dice *d)
{
    static const int channels[] = {1, 3, 8, 17, 64, 70};

    return channels[roll(d, 6)];
}

static void bn_relu_scenario(struct world *w, struct dice *d, struct results *ret)
{
    struct wsl_conv_shape shape = small_conv(d, some_channels(d));
    struct unit u;
    void *y, *dy, *dx;

    init_unit(&u, w, d, shape);
    y = empty_activation(w, &shape.out);
    dx = empty_activation(w, &shape.out);
    dy = activation(w, &shape.out, d);
    start(w);
    forward(w, &u);
    w->ops->bn_relu(w->dev, &u.bn, u.y, y);
    keep(ret, w, "relu", &shape.out, y);
    w->ops->bn_relu_backward(w->dev, &u.bn, dy, u.y, dx);
    keep(ret, w, "dx", &shape.out, dx);
    w->ops->bn_relu_backward(w->dev, &u.bn, dy, u.y, dy);
    keep(ret, w, "dx in place", &shape.out, dy);
    w->ops->conv_backward_weights(u.conv, u.x, dy, u.dweights);
    keep_unit_gradients(ret, w, &u);
    for (int c = 0; c < shape.out.channels; c++)
        u.bn.running_var[c] = 0.5f + fabsf(u.bn.running_var[c]);
    w->ops->bn_running(w->dev, &u.bn);
    w->ops->bn_relu(w->dev, &u.bn, u.y, y);
    keep(ret, w, "with running statistics", &shape.out, y);
    finish(w);
    free_unit(&u);
    free(y);
    free(dy);
    free(dx);
}

static void test_bn_relu(void **state)
{
    (void)state;
    run_everywhere(bn_relu_scenario, 24, 1e-4);
}

static void pool_scenario(struct world *w, struct dice *d, struct results *ret)
{
    struct wsl_conv_shape shape = small_conv(d, some_channels(d));
    struct wsl_shape pooled = {shape.out.channels, (shape.out.height + 1) / 2,
                               (shape.out.width + 1) / 2};
    struct unit u;
    void *y, *dy, *dx, *index = poisoned(w->ops->pool_index_bytes(w->dev, &pooled));

    init_unit(&u, w, d, shape);
    y = empty_activation(w, &pooled);
    dy = activation(w, &pooled, d);
    dx = empty_activation(w, &shape.out);
    start(w);
    forward(w, &u);
    w->ops->bn_relu_pool(w->dev, &u.bn, u.y, y, index);
    keep(ret, w, "pooled", &pooled, y);
    w->ops->bn_relu_pool_backward(w->dev, &u.bn, dy, index, u.y, dx);
    keep(ret, w, "dx", &shape.out, dx);
    w->ops->conv_backward_weights(u.conv, u.x, dx, u.dweights);
    keep_unit_gradients(ret, w, &u);
    finish(w);
    free_unit(&u);
    free(y);
    free(dy);
    free(dx);
    free(index);
}

static void test_pool(void **state)
{
    (void)state;
    run_everywhere(pool_scenario, 24, 1e-4);
}

static void join_scenario(struct world *w, struct dice *d, struct results *ret)
{
    struct wsl_conv_shape shape = small_conv(d, some_channels(d));
    bool projection = roll(d, 2), in_place = roll(d, 2);
    struct unit main_path, shortcut;
    void *z, *y, *dy, *dx, *dz;
    struct wsl_join join;

    init_unit(&main_path, w, d, shape);
    init_unit(&shortcut, w, d, shape);
    z = activation(w, &shape.out, d);
    y = empty_activation(w, &shape.out);
    dy = activation(w, &shape.out, d);
    dx = empty_activation(w, &shape.out);
    dz = empty_activation(w, &shape.out);
    start(w);
    forward(w, &main_path);
    forward(w, &shortcut);
    join = (struct wsl_join){&main_path.bn, projection ? &shortcut.bn : NULL, main_path.y,
                             projection ? shortcut.y : z};
    w->ops->join(w->dev, &join, y);
    keep(ret, w, "y", &shape.out, y);
    w->ops->join_backward(w->dev, &join, dy, y, dx, in_place ? dy : dz);
    keep(ret, w, "dx", &shape.out, dx);
    keep(ret, w, "dshortcut", &shape.out, in_place ? dy : dz);
    w->ops->conv_backward_weights(main_path.conv, main_path.x, dx, main_path.dweights);
    keep_unit_gradients(ret, w, &main_path);
    if (projection)
        keep_floats(ret, "shortcut dgamma", shortcut.bn.dgamma, (size_t)shape.out.channels);
    finish(w);
    free_unit(&main_path);
    free_unit(&shortcut);
    free(z);
    free(y);
    free(dy);
    free(dx);
    free(dz);
}

static void test_join(void **state)
{
    (void)state;
    run_everywhere(join_scenario, 32, 1e-4);
}

struct ends {
    struct wsl_shape picture, maps, features, logits;
    struct wsl_head head;
    struct wsl_loss loss;
    uint32_t begin[BATCH + 1], tags[4 * BATCH];
    float *block;
};

static void init_ends(struct ends *e, struct dice *d)
{
    int features = 1 + (int)roll(d, 40), classes = 2 + (int)roll(d, 30);
    size_t weights = (size_t)features * (size_t)classes;

    e->picture = (struct wsl_shape){3, 1 + (int)roll(d, 9), 1 + (int)roll(d, 9)};
    e->maps = (struct wsl_shape){features, 1 + (int)roll(d, 5), 1 + (int)roll(d, 5)};
    e->features = (struct wsl_shape){features, 1, 1};
    e->logits = (struct wsl_shape){classes, 1, 1};
    e->block = floats(2 * (weights + (size_t)classes), d);
    e->head = (struct wsl_head){features,
                                classes,
                                e->block,
                                e->block + weights,
                                e->block + weights + classes,
                                e->block + 2 * weights + classes};
    e->begin[0] = 0;
    for (uint32_t i = 0; i < BATCH; i++) {
        uint32_t k = 1 + roll(d, 4);

        e->begin[i + 1] = e->begin[i] + k;
        for (uint32_t j = 0; j < k; j++)
            e->tags[e->begin[i] + j] = roll(d, (uint32_t)classes);
    }
    e->loss = (struct wsl_loss){classes, e->begin, e->tags, 0.125f};
}

static void ends_scenario(struct world *w, struct dice *d, struct results *ret)
{
    struct ends e;
    uint8_t pixels[BATCH * 9 * 9 * 3];
    struct wsl_loss_result result;
    size_t weights;
    void *picture, *maps, *features, *logits, *dlogits, *dfeatures, *dmaps;

    init_ends(&e, d);
    weights = (size_t)e.head.features * (size_t)e.head.classes;
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)roll(d, 256);
    picture = empty_activation(w, &e.picture);
    maps = activation(w, &e.maps, d);
    features = empty_activation(w, &e.features);
    logits = empty_activation(w, &e.logits);
    dlogits = empty_activation(w, &e.logits);
    dfeatures = empty_activation(w, &e.features);
    dmaps = empty_activation(w, &e.maps);
    memset(e.head.dweight, 0xff, weights * sizeof(float));
    start(w);
    w->ops->input(w->dev, &e.picture, pixels, picture);
    keep(ret, w, "picture", &e.picture, picture);
    w->ops->average_pool(w->dev, &e.maps, maps, features);
    keep(ret, w, "features", &e.features, features);
    w->ops->head(w->dev, &e.head, features, logits);
    keep(ret, w, "logits", &e.logits, logits);
    w->ops->loss(w->dev, &e.loss, logits, dlogits, &result);
    finish(w);
    keep(ret, w, "dlogits", &e.logits, dlogits);
    keep_floats(ret, "loss and hits",
                (float[]){(float)result.loss, (float)result.hit1, (float)result.hit5}, 3);
    w->ops->loss(w->dev, &e.loss, logits, logits, &result);
    keep(ret, w, "dlogits in place", &e.logits, logits);
    w->ops->head_backward(w->dev, &e.head, features, dlogits, dfeatures);
    keep_floats(ret, "head dweight", e.head.dweight, weights);
    keep_floats(ret, "head dbias", e.head.dbias, (size_t)e.head.classes);
    keep(ret, w, "dfeatures", &e.features, dfeatures);
    w->ops->average_pool_backward(w->dev, &e.maps, dfeatures, dmaps);
    keep(ret, w, "dmaps", &e.maps, dmaps);
    finish(w);
    void *const taken[] = {picture, maps, features, logits, dlogits, dfeatures, dmaps, e.block};
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        free(taken[i]);
}

static void test_ends(void **state)
{
    (void)state;
    run_everywhere(ends_scenario, 40, 1e-5);
}

static void sgd_scenario(struct world *w, struct dice *d, struct results *ret)
{
    size_t n = 1 + roll(d, 200000), cut = roll(d, (uint32_t)n);
    float *parameters = floats(n, d), *momentum = floats(n, d), *gradients = floats(n, d);
    double *expected = malloc(2 * n * sizeof *expected);
    struct wsl_range ranges[] = {{0, cut, true}, {cut, n - cut, false}};
    struct wsl_sgd sgd = {parameters, momentum, gradients, ranges, 2, 0.25f, 0.9f, 0.01f};

    assert_non_null(expected);
    for (size_t i = 0; i < n; i++) {
        double g = (double)gradients[i] + (i < cut ? (double)0.01f : 0) * (double)parameters[i];
        double u = (double)0.9f * (double)momentum[i] + g;

        expected[i] = u;
        expected[n + i] = (double)parameters[i] - 0.25 * (g + (double)0.9f * u);
    }
    w->ops->sgd(w->dev, &sgd);
    finish(w);
    for (size_t i = 0; i < n; i++) {
        assert_true(fabs((double)momentum[i] - expected[i]) < 1e-6);
        assert_true(fabs((double)parameters[i] - expected[n + i]) < 1e-6);
    }
    w->ops->scale(w->dev, gradients, n, -0.5f);
    finish(w);
    keep_floats(ret, "scaled", gradients, n);
    free(parameters);
    free(momentum);
    free(gradients);
    free(expected);
}

static void test_sgd_and_scale(void **state)
{
    (void)state;
    run_everywhere(sgd_scenario, 4, 0);
}

/* ---- ref against central differences ---- */

/* A chain of operations with a loss L = sum of r times its output, on ref, whose activations are
 * NCHW doubles. Entries of `inputs` are perturbed; `gradients` are what the backward operations
 * said. */
struct chain {
    struct world w;
    struct unit main_path, shortcut;
    enum { RELU, POOL, IDENTITY, PROJECTION } kind;
    struct wsl_shape out_shape;
    double *y, *r, *dx, *dz, *dinput; /* activations */
    double *z;
    void *index;
};

static double chain_loss(struct chain *c)
{
    const struct wsl_ops *ops = c->w.ops;
    struct wsl_join join = {&c->main_path.bn, c->kind == PROJECTION ? &c->shortcut.bn : NULL,
                            c->main_path.y, c->kind == PROJECTION ? c->shortcut.y : c->z};
    size_t n = wsl_shape_count(&c->out_shape) * (size_t)c->w.count;
    double sum = 0;

    forward(&c->w, &c->main_path);
    if (c->kind == PROJECTION)
        forward(&c->w, &c->shortcut);
    if (c->kind == RELU)
        ops->bn_relu(c->w.dev, &c->main_path.bn, c->main_path.y, c->y);
    else if (c->kind == POOL)
        ops->bn_relu_pool(c->w.dev, &c->main_path.bn, c->main_path.y, c->y, c->index);
    else
        ops->join(c->w.dev, &join, c->y);
    for (size_t i = 0; i < n; i++)
        sum += c->y[i] * c->r[i];
    return sum;
}

static void chain_backward(struct chain *c)
{
    const struct wsl_ops *ops = c->w.ops;
    struct wsl_join join = {&c->main_path.bn, c->kind == PROJECTION ? &c->shortcut.bn : NULL,
                            c->main_path.y, c->kind == PROJECTION ? c->shortcut.y : c->z};

    if (c->kind == RELU)
        ops->bn_relu_backward(c->w.dev, &c->main_path.bn, c->r, c->main_path.y, c->dx);
    else if (c->kind == POOL)
        ops->bn_relu_pool_backward(c->w.dev, &c->main_path.bn, c->r, c->index, c->main_path.y,
                                   c->dx);
    else
        ops->join_backward(c->w.dev, &join, c->r, c->y, c->dx, c->dz);
    ops->conv_backward_data(c->main_path.conv, c->dx, c->main_path.weights, c->dinput, false);
    ops->conv_backward_weights(c->main_path.conv, c->main_path.x, c->dx, c->main_path.dweights);
    if (c->kind == PROJECTION)
        ops->conv_backward_weights(c->shortcut.conv, c->shortcut.x, c->dz, c->shortcut.dweights);
    finish(&c->w);
}

/* A value that can be nudged, float or double. */
struct knob {
    float *f;
    double *d;
    double gradient;
    const char *name;
};

/* *ret_moved: by how much really, a float being a float. */
static double nudged_loss(struct chain *c, const struct knob *k, double by, double *ret_moved)
{
    float kept_f = k->f ? *k->f : 0;
    double kept_d = k->d ? *k->d : 0, loss;

    *ret_moved = by;
    if (k->f) {
        *k->f = (float)((double)kept_f + by);
        *ret_moved = (double)*k->f - (double)kept_f;
    } else {
        *k->d = kept_d + by;
    }
    loss = chain_loss(c);
    if (k->f)
        *k->f = kept_f;
    else
        *k->d = kept_d;
    return loss;
}

static double slope_of(struct chain *c, const struct knob *k, double eps)
{
    double up, down;
    double above = nudged_loss(c, k, eps, &up), below = nudged_loss(c, k, -eps, &down);

    return (above - below) / (up - down);
}

static bool check_knob(struct chain *c, const struct knob *k, uint64_t seed)
{
    double coarse = slope_of(c, k, 2e-4), fine = slope_of(c, k, 1e-4);

    if (fabs(coarse - fine) > 1e-4 * fmax(1, fabs(fine)))
        return false; /* a ReLU or a maximum changed its mind in between */
    if (fabs(fine - k->gradient) > 1e-4 * fmax(1, fabs(fine)))
        fail_msg("seed %llu: gradient of %s is %g, by differences %g", (unsigned long long)seed,
                 k->name, k->gradient, fine);
    return true;
}

static void init_chain(struct chain *c, struct dice *d, int kind)
{
    struct wsl_conv_shape shape = random_conv(d);
    size_t bytes;

    /* Enough values for a BN, few enough for a quick check. */
    shape.in.height = 5 + (int)roll(d, 3);
    shape.in.width = 5 + (int)roll(d, 3);
    shape.out.height = (shape.in.height + 2 * shape.pad - shape.kernel) / shape.stride + 1;
    shape.out.width = (shape.in.width + 2 * shape.pad - shape.kernel) / shape.stride + 1;
    *c = (struct chain){.kind = kind};
    open_world(&c->w, NULL, BATCH);
    init_unit(&c->main_path, &c->w, d, shape);
    init_unit(&c->shortcut, &c->w, d, shape);
    c->out_shape = shape.out;
    if (c->kind == POOL) {
        c->out_shape.height = (shape.out.height + 1) / 2;
        c->out_shape.width = (shape.out.width + 1) / 2;
    }
    bytes = c->w.ops->activation_bytes(c->w.dev, &shape.out);
    c->y = poisoned(bytes);
    c->dx = poisoned(bytes);
    c->dz = poisoned(bytes);
    c->z = activation(&c->w, &shape.out, d);
    c->r = activation(&c->w, &c->out_shape, d);
    c->dinput = empty_activation(&c->w, &shape.in);
    c->index = poisoned(c->w.ops->pool_index_bytes(c->w.dev, &c->out_shape));
    start(&c->w);
}

static void free_chain(struct chain *c)
{
    void *const taken[] = {c->y, c->dx, c->dz, c->z, c->r, c->dinput, c->index};

    free_unit(&c->main_path);
    free_unit(&c->shortcut);
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        free(taken[i]);
    c->w.ops->close(c->w.dev);
}

/* Nudges some of everything the loss depends on; counts what was smooth. */
static void check_chain(struct chain *c, struct dice *d, uint64_t seed, int ret_counts[2])
{
    struct unit *u = &c->main_path, *v = &c->shortcut;
    size_t weights = wsl_conv_shape_weights(&u->shape), channels = (size_t)u->shape.out.channels;
    size_t in = wsl_shape_count(&u->shape.in) * BATCH, out = wsl_shape_count(&u->shape.out) * BATCH;

    chain_loss(c);
    chain_backward(c);
    for (int i = 0; i < 6; i++) {
        size_t at_w = roll(d, (uint32_t)weights), at_c = roll(d, (uint32_t)channels);
        size_t at_in = roll(d, (uint32_t)in), at_out = roll(d, (uint32_t)out);
        struct knob knobs[] = {
            {&u->weights[at_w], NULL, (double)u->dweights[at_w], "weight"},
            {(float *)&u->bn.gamma[at_c], NULL, (double)u->bn.dgamma[at_c], "gamma"},
            {(float *)&u->bn.beta[at_c], NULL, (double)u->bn.dbeta[at_c], "beta"},
            {NULL, (double *)u->x + at_in, c->dinput[at_in], "input"},
            {NULL, c->z + at_out, c->dz[at_out], "identity shortcut"},
            {&v->weights[at_w], NULL, (double)v->dweights[at_w], "projection weight"},
            {(float *)&v->bn.gamma[at_c], NULL, (double)v->bn.dgamma[at_c], "projection gamma"},
        };

        for (int k = 0; k < 7; k++) {
            if (k >= 4 && c->kind != (k == 4 ? IDENTITY : PROJECTION))
                continue;
            ret_counts[0]++;
            ret_counts[1] += check_knob(c, &knobs[k], seed);
        }
    }
}

static void test_ref_against_differences(void **state)
{
    int counts[2] = {0, 0};

    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct dice d = {seed};
        struct chain c;

        init_chain(&c, &d, (int)(seed % 4));
        check_chain(&c, &d, seed, counts);
        free_chain(&c);
    }
    assert_true(counts[1] >= counts[0] * 9 / 10);
}

/* The loss of average pool, head and cross-entropy, from perturbed maps and weights. */
static double ends_loss(struct world *w, struct ends *e, void *const buffers[5], bool gradient)
{
    struct wsl_loss_result result;

    w->ops->average_pool(w->dev, &e->maps, buffers[0], buffers[1]);
    w->ops->head(w->dev, &e->head, buffers[1], buffers[2]);
    w->ops->loss(w->dev, &e->loss, buffers[2], gradient ? buffers[2] : NULL, &result);
    if (gradient) {
        w->ops->head_backward(w->dev, &e->head, buffers[1], buffers[2], buffers[3]);
        w->ops->average_pool_backward(w->dev, &e->maps, buffers[3], buffers[4]);
    }
    finish(w);
    return result.loss;
}

static void check_ends(struct world *w, struct ends *e, void *const buffers[5], struct dice *d)
{
    double *maps = buffers[0], *dmaps = buffers[4], eps = 1e-5;
    size_t n = wsl_shape_count(&e->maps) * BATCH;

    ends_loss(w, e, buffers, true);
    for (int i = 0; i < 10; i++) {
        size_t at = roll(d, (uint32_t)n);
        double kept = maps[at], above, below;

        maps[at] = kept + eps;
        above = ends_loss(w, e, buffers, false);
        maps[at] = kept - eps;
        below = ends_loss(w, e, buffers, false);
        maps[at] = kept;
        assert_true(fabs((above - below) / (2 * eps) * 0.125 - dmaps[at]) < 1e-7);
    }
    for (int i = 0; i < 10; i++) {
        size_t at = roll(d, (uint32_t)(e->head.features * e->head.classes));
        float *weight = (float *)e->head.weight + at, kept = *weight, up, down;
        double above, below;

        up = *weight = kept + 1e-3f;
        above = ends_loss(w, e, buffers, false);
        down = *weight = kept - 1e-3f;
        below = ends_loss(w, e, buffers, false);
        *weight = kept;
        assert_true(fabs((above - below) / ((double)up - (double)down) * 0.125 -
                         (double)e->head.dweight[at]) < 1e-6);
    }
}

static void test_ends_against_differences(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct dice d = {seed};
        struct ends e;
        struct world w;
        void *buffers[5];

        open_world(&w, NULL, BATCH);
        init_ends(&e, &d);
        buffers[0] = activation(&w, &e.maps, &d);
        buffers[1] = empty_activation(&w, &e.features);
        buffers[2] = empty_activation(&w, &e.logits);
        buffers[3] = empty_activation(&w, &e.features);
        buffers[4] = empty_activation(&w, &e.maps);
        start(&w);
        check_ends(&w, &e, buffers, &d);
        for (int i = 0; i < 5; i++)
            free(buffers[i]);
        free(e.block);
        w.ops->close(w.dev);
    }
}

/* ---- hand-made cases ---- */

static void test_hits_and_ties(void **state)
{
    static const char *const isas[] = {NULL, "v4"};
    /* Three images, seven classes: a clear one, one of ties, one with NaN. */
    static const float logits[BATCH * 7] = {0, 1, 2, 3, 4,   5, 6, 1, 1, 1, 1,
                                            1, 1, 1, 5, NAN, 4, 3, 2, 1, 0};
    static const uint32_t begin[] = {0, 2, 3, 4};
    static const struct {
        uint32_t tags[4], hit1, hit5;
    } cases[] = {
        {{6, 0, 0, 0}, 3, 3}, /* best; first of equals; 5 is the largest number */
        {{2, 0, 4, 5}, 0, 3}, /* fifth best of each */
        {{1, 0, 5, 6}, 0, 0}, /* sixth */
        {{1, 0, 6, 1}, 0, 0}, /* NaN comes last */
    };
    struct wsl_shape shape = {7, 1, 1};

    (void)state;
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            struct wsl_loss loss = {7, begin, cases[i].tags, 1};
            struct wsl_loss_result result;
            struct world w;
            void *x;

            open_world(&w, isas[k], BATCH);
            start(&w);
            x = empty_activation(&w, &shape);
            w.ops->activation_write(w.dev, &shape, BATCH, logits, x);
            w.ops->loss(w.dev, &loss, x, NULL, &result);
            finish(&w);
            assert_int_equal(result.hit1, cases[i].hit1);
            assert_int_equal(result.hit5, cases[i].hit5);
            free(x);
            w.ops->close(w.dev);
        }
}

static void test_backends_by_name(void **state)
{
    const struct wsl_ops *ops = NULL;
    struct wsl_err err = {0};

    (void)state;
    assert_int_equal(wsl_ops_find("ref", &ops, &err), 0);
    assert_ptr_equal(ops, &wsl_ops_ref);
    assert_int_equal(wsl_ops_find("cpu", &ops, &err), 0);
    assert_ptr_equal(ops, &wsl_ops_cpu);
    assert_int_equal(wsl_ops_find(NULL, &ops, &err), 0);
    assert_int_equal(wsl_ops_find("tpu", &ops, &err), WSL_ENOENT);
    assert_non_null(strstr(err.text, "\"tpu\"; use cuda, cpu or ref"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_convolutions),
        cmocka_unit_test(test_bn_relu),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_join),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_sgd_and_scale),
        cmocka_unit_test(test_ref_against_differences),
        cmocka_unit_test(test_ends_against_differences),
        cmocka_unit_test(test_hits_and_ties),
        cmocka_unit_test(test_backends_by_name),
    };

    return cmocka_run_group_tests_name("ops", tests, NULL, NULL);
}
