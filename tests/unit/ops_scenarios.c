/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/ops_scenarios.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void keep_weight_gradient(struct results *r, struct world *w, struct unit *u)
{
    size_t n = wsl_conv_shape_weights(&u->shape);
    float *canonical = ops_poisoned(n * sizeof(float));

    w->ops->conv_weights_read(u->conv, u->dweights, canonical);
    ops_keep_floats(r, "dw", canonical, n);
    free(canonical);
}

static void keep_unit_gradients(struct results *r, struct world *w, struct unit *u)
{
    keep_weight_gradient(r, w, u);
    ops_keep_block(r, w, "dgamma", u->bn.dgamma, (size_t)u->shape.out.channels);
    ops_keep_block(r, w, "dbeta", u->bn.dbeta, (size_t)u->shape.out.channels);
}

/* ---- the scenarios ---- */

static void all_directions(struct world *w, struct dice *d, struct wsl_conv_shape shape,
                           struct results *ret)
{
    size_t channels = (size_t)shape.out.channels;
    struct unit u;
    void *dy, *dx;

    ops_init_unit(&u, w, d, shape);
    dy = ops_activation(w, &shape.out, d);
    ops_start(w);
    w->ops->conv_forward(u.conv, u.x, u.weights, u.y, NULL);
    ops_keep(ret, w, "y without bn", &shape.out, u.y);
    ops_poison(w, u.y, w->ops->activation_bytes(w->dev, &shape.out));
    ops_forward(w, &u);
    ops_keep(ret, w, "y", &shape.out, u.y);
    ops_keep_block(ret, w, "running_mean", u.bn.running_mean, channels);
    ops_keep_block(ret, w, "running_var", u.bn.running_var, channels);
    dx = ops_empty_activation(w, &shape.in);
    w->ops->conv_backward_data(u.conv, dy, u.weights, dx, false);
    ops_keep(ret, w, "dx", &shape.in, dx);
    if (shape.kernel == 1) {
        w->ops->conv_backward_data(u.conv, dy, u.weights, dx, true);
        ops_keep(ret, w, "dx added", &shape.in, dx);
    }
    w->ops->conv_backward_weights(u.conv, u.x, dy, u.dweights);
    keep_weight_gradient(ret, w, &u);
    ops_finish(w);
    ops_free_unit(&u);
    ops_give(w, dy);
    ops_give(w, dx);
}

static void conv_scenario(struct world *w, struct dice *d, struct results *ret)
{
    all_directions(w, d, ops_random_conv(d), ret);
}

static void grouped_scenario(struct world *w, struct dice *d, struct results *ret)
{
    all_directions(w, d, ops_random_grouped(d), ret);
}

/* A shape whose BN sees enough values that its derivative is not all rounding. */
static struct wsl_conv_shape small_conv(struct dice *d, int channels)
{
    struct wsl_conv_shape s = ops_conv_shape(5, channels, 1, 1, 1);

    s.in.height = s.out.height = 4 + (int)ops_roll(d, 8);
    s.in.width = s.out.width = 4 + (int)ops_roll(d, 8);
    return s;
}

static int some_channels(struct dice *d)
{
    static const int channels[] = {1, 5, 8, 17, 64, 70};

    return channels[ops_roll(d, 6)];
}

/* Drawn running variances are of both signs. */
static void make_positive(struct world *w, float *variances, int channels)
{
    float *values = ops_block_read(w, variances, (size_t)channels);

    for (int c = 0; c < channels; c++)
        values[c] = 0.5f + fabsf(values[c]);
    w->ops->floats_write(w->dev, values, (size_t)channels, variances);
    free(values);
}

static void bn_relu_scenario(struct world *w, struct dice *d, struct results *ret)
{
    struct wsl_conv_shape shape = small_conv(d, some_channels(d));
    struct unit u;
    void *y, *dy, *dx;

    ops_init_unit(&u, w, d, shape);
    y = ops_empty_activation(w, &shape.out);
    dx = ops_empty_activation(w, &shape.out);
    dy = ops_activation(w, &shape.out, d);
    ops_start(w);
    ops_forward_agreed(w, &u);
    w->ops->bn_relu(w->dev, &u.bn, u.y, y);
    ops_keep(ret, w, "relu", &shape.out, y);
    w->ops->bn_relu_backward(w->dev, &u.bn, dy, u.y, dx);
    ops_keep(ret, w, "dx", &shape.out, dx);
    w->ops->bn_relu_backward(w->dev, &u.bn, dy, u.y, dy);
    ops_keep(ret, w, "dx in place", &shape.out, dy);
    w->ops->conv_backward_weights(u.conv, u.x, dy, u.dweights);
    keep_unit_gradients(ret, w, &u);
    make_positive(w, u.bn.running_var, shape.out.channels);
    w->ops->bn_running(w->dev, &u.bn);
    w->ops->bn_relu(w->dev, &u.bn, u.y, y);
    ops_keep(ret, w, "with running statistics", &shape.out, y);
    ops_finish(w);
    ops_free_unit(&u);
    ops_give(w, y);
    ops_give(w, dy);
    ops_give(w, dx);
}

static void pool_scenario(struct world *w, struct dice *d, struct results *ret)
{
    struct wsl_conv_shape shape = small_conv(d, some_channels(d));
    struct wsl_shape pooled = {shape.out.channels, (shape.out.height + 1) / 2,
                               (shape.out.width + 1) / 2};
    struct unit u;
    void *y, *dy, *dx, *index = ops_take(w, w->ops->pool_index_bytes(w->dev, &pooled));

    ops_init_unit(&u, w, d, shape);
    y = ops_empty_activation(w, &pooled);
    dy = ops_activation(w, &pooled, d);
    dx = ops_empty_activation(w, &shape.out);
    ops_start(w);
    ops_forward_agreed(w, &u);
    w->ops->bn_relu_pool(w->dev, &u.bn, u.y, y, index);
    ops_keep(ret, w, "pooled", &pooled, y);
    w->ops->bn_relu_pool_backward(w->dev, &u.bn, dy, index, u.y, dx);
    ops_keep(ret, w, "dx", &shape.out, dx);
    w->ops->conv_backward_weights(u.conv, u.x, dx, u.dweights);
    keep_unit_gradients(ret, w, &u);
    ops_finish(w);
    ops_free_unit(&u);
    ops_give(w, y);
    ops_give(w, dy);
    ops_give(w, dx);
    ops_give(w, index);
}

static void add_relu_scenario(struct world *w, struct dice *d, struct results *ret)
{
    struct wsl_conv_shape shape = small_conv(d, some_channels(d));
    bool projection = ops_roll(d, 2), in_place = ops_roll(d, 2);
    struct unit main_path, shortcut;
    void *z, *y, *dy, *dx, *dz;
    struct wsl_add_relu residual;

    ops_init_unit(&main_path, w, d, shape);
    ops_init_unit(&shortcut, w, d, shape);
    z = ops_activation(w, &shape.out, d);
    y = ops_empty_activation(w, &shape.out);
    dy = ops_activation(w, &shape.out, d);
    dx = ops_empty_activation(w, &shape.out);
    dz = ops_empty_activation(w, &shape.out);
    ops_start(w);
    ops_forward_agreed(w, &main_path);
    ops_forward_agreed(w, &shortcut);
    residual = (struct wsl_add_relu){&main_path.bn, projection ? &shortcut.bn : NULL, main_path.y,
                                     projection ? shortcut.y : z};
    w->ops->add_relu(w->dev, &residual, y);
    ops_keep(ret, w, "y", &shape.out, y);
    w->ops->add_relu_backward(w->dev, &residual, dy, y, dx, in_place ? dy : dz);
    ops_keep(ret, w, "dx", &shape.out, dx);
    ops_keep(ret, w, "dshortcut", &shape.out, in_place ? dy : dz);
    w->ops->conv_backward_weights(main_path.conv, main_path.x, dx, main_path.dweights);
    keep_unit_gradients(ret, w, &main_path);
    if (projection)
        ops_keep_block(ret, w, "shortcut dgamma", shortcut.bn.dgamma, (size_t)shape.out.channels);
    ops_finish(w);
    ops_free_unit(&main_path);
    ops_free_unit(&shortcut);
    ops_give(w, z);
    ops_give(w, y);
    ops_give(w, dy);
    ops_give(w, dx);
    ops_give(w, dz);
}

static void ends_scenario(struct world *w, struct dice *d, struct results *ret)
{
    struct ends e;
    uint8_t pixels[BATCH * 9 * 9 * 3];
    struct wsl_loss_result result;
    size_t weights;
    void *image, *maps, *features, *logits, *dlogits, *dfeatures, *dmaps;

    ops_init_ends(&e, d);
    ops_lend_ends(w, &e);
    weights = (size_t)e.head.features * (size_t)e.head.classes;
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)ops_roll(d, 256);
    image = ops_empty_activation(w, &e.image);
    maps = ops_activation(w, &e.maps, d);
    features = ops_empty_activation(w, &e.features);
    logits = ops_empty_activation(w, &e.logits);
    dlogits = ops_empty_activation(w, &e.logits);
    dfeatures = ops_empty_activation(w, &e.features);
    dmaps = ops_empty_activation(w, &e.maps);
    ops_poison(w, e.head.dweight, weights * sizeof(float));
    ops_start(w);
    w->ops->input(w->dev, &e.image, pixels, image);
    ops_keep(ret, w, "image", &e.image, image);
    w->ops->average_pool(w->dev, &e.maps, maps, features);
    ops_keep(ret, w, "features", &e.features, features);
    w->ops->head(w->dev, &e.head, features, logits);
    ops_keep(ret, w, "logits", &e.logits, logits);
    w->ops->loss(w->dev, &e.loss, logits, dlogits, &result);
    ops_finish(w);
    ops_keep(ret, w, "dlogits", &e.logits, dlogits);
    ops_keep_floats(ret, "loss and hits",
                    (float[]){(float)result.loss, (float)result.hit1, (float)result.hit5}, 3);
    w->ops->loss(w->dev, &e.loss, logits, logits, &result);
    ops_keep(ret, w, "dlogits in place", &e.logits, logits);
    w->ops->head_backward(w->dev, &e.head, features, dlogits, dfeatures);
    ops_keep_block(ret, w, "head dweight", e.head.dweight, weights);
    ops_keep_block(ret, w, "head dbias", e.head.dbias, (size_t)e.head.classes);
    ops_keep(ret, w, "dfeatures", &e.features, dfeatures);
    w->ops->average_pool_backward(w->dev, &e.maps, dfeatures, dmaps);
    ops_keep(ret, w, "dmaps", &e.maps, dmaps);
    ops_finish(w);
    void *const taken[] = {image, maps, features, logits, dlogits, dfeatures, dmaps, e.block};
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        ops_give(w, taken[i]);
}

static void check_sgd(struct world *w, const struct wsl_sgd *sgd, const double *expected, size_t n)
{
    float *momentum = ops_block_read(w, sgd->momentum, n);
    float *parameters = ops_block_read(w, sgd->parameters, n);

    for (size_t i = 0; i < n; i++) {
        assert_true(fabs((double)momentum[i] - expected[i]) < 1e-6);
        assert_true(fabs((double)parameters[i] - expected[n + i]) < 1e-6);
    }
    free(momentum);
    free(parameters);
}

static void sgd_scenario(struct world *w, struct dice *d, struct results *ret)
{
    size_t n = 1 + ops_roll(d, 200000), cut = ops_roll(d, (uint32_t)n);
    float *parameters = ops_block(w, n, d), *momentum = ops_block(w, n, d),
          *gradients = ops_block(w, n, d);
    float *p = ops_block_read(w, parameters, n), *m = ops_block_read(w, momentum, n),
          *g = ops_block_read(w, gradients, n);
    double *expected = malloc(2 * n * sizeof *expected);
    struct wsl_range ranges[] = {{0, cut, true}, {cut, n - cut, false}};
    struct wsl_sgd sgd = {parameters, momentum, gradients, ranges, 2, 0.25f, 0.9f, 0.01f};

    assert_non_null(expected);
    for (size_t i = 0; i < n; i++) {
        double decayed = (double)g[i] + (i < cut ? (double)0.01f : 0) * (double)p[i];
        double u = (double)0.9f * (double)m[i] + decayed;

        expected[i] = u;
        expected[n + i] = (double)p[i] - 0.25 * (decayed + (double)0.9f * u);
    }
    w->ops->sgd(w->dev, &sgd);
    ops_finish(w);
    check_sgd(w, &sgd, expected, n);
    w->ops->scale(w->dev, gradients, n, -0.5f);
    ops_finish(w);
    ops_keep_block(ret, w, "scaled", gradients, n);
    ops_give(w, parameters);
    ops_give(w, momentum);
    ops_give(w, gradients);
    free(p);
    free(m);
    free(g);
    free(expected);
}

/* All but the last value of two blocks. */
static void accumulate_scenario(struct world *w, struct dice *d, struct results *ret)
{
    size_t n = 1 + ops_roll(d, 200000);
    float *block = ops_block(w, n, d), *more = ops_block(w, n, d), *sum, *left;
    float *a = ops_block_read(w, block, n), *b = ops_block_read(w, more, n);

    w->ops->accumulate(w->dev, block, more, n - 1);
    ops_finish(w);
    sum = ops_block_read(w, block, n);
    left = ops_block_read(w, more, n);
    for (size_t i = 0; i < n; i++) {
        assert_true(sum[i] == (i < n - 1 ? a[i] + b[i] : a[i]));
        assert_true(left[i] == (i < n - 1 ? 0 : b[i]));
    }
    ops_keep_block(ret, w, "sum", block, n);
    ops_give(w, block);
    ops_give(w, more);
    free(a);
    free(b);
    free(sum);
    free(left);
}

/* The largest magnitude of a block, and with values in it that sort wrongly when compared as
 * floats. More questions than a backend may keep in flight come before one wait. */
static void max_abs_scenario(struct world *w, struct dice *d, struct results *ret)
{
    static const float odd[] = {0, -0.0f, 1e-42f, -1e-45f, 3.4e38f, -INFINITY, NAN, -NAN};
    enum { ODD = sizeof odd / sizeof odd[0] };
    size_t n = 1 + ops_roll(d, 200000);
    float *blocks[ODD], largest[ODD + 2], *values = ops_floats(n, d);

    for (int i = 0; i < ODD; i++) {
        for (size_t k = 0; k < n; k++)
            values[k] = i < 4 ? 0 : values[k];
        values[ops_roll(d, (uint32_t)n)] = odd[i];
        blocks[i] = ops_block(w, n, d);
        w->ops->floats_write(w->dev, values, n, blocks[i]);
        w->ops->max_abs(w->dev, blocks[i], n, &largest[i]);
        free(values);
        values = ops_floats(n, d);
    }
    w->ops->max_abs(w->dev, blocks[ODD - 1], 0, &largest[ODD]);
    w->ops->max_abs(w->dev, blocks[3], n, &largest[ODD + 1]);
    ops_finish(w);
    for (int i = 0; i < 6; i++)
        assert_true(largest[i] == fabsf(odd[i]));
    assert_true(isnan(largest[6]) && isnan(largest[7]));
    assert_true(largest[ODD] == 0 && largest[ODD + 1] == largest[3]);
    ops_keep_floats(ret, "largest", largest, 5);
    for (int i = 0; i < ODD; i++)
        ops_give(w, blocks[i]);
    free(values);
}

const struct ops_scenario ops_scenarios[OPS_SCENARIOS] = {
    {"convolutions", conv_scenario, 60, 1e-5, 1e-2, 0},
    [OPS_GROUPED] = {"grouped convolutions", grouped_scenario, 40, 1e-5, 1e-2, 0},
    {"bn and relu", bn_relu_scenario, 24, 1e-4, 1e-2, 0},
    /* Equal maxima are common in bf16, and any of them may be chosen. */
    {"bn, relu and pool", pool_scenario, 24, 1e-4, 1e-2, 0.02},
    {"residual addition", add_relu_scenario, 32, 1e-4, 1e-2, 0},
    {"input, pool, head, loss", ends_scenario, 40, 1e-5, 1e-2, 0},
    {"sgd and scale", sgd_scenario, 4, 0, 0, 0},
    {"add up", accumulate_scenario, 4, 0, 0, 0},
    {"largest magnitude", max_abs_scenario, 4, 0, 0, 0},
};

/* ---- running them ---- */

static void run(const struct ops_scenario *s, struct world *w, struct dice *d, struct results *ret)
{
    s->run(w, d, ret);
    w->ops->close(w->dev);
}

/* Bytes of an element of an activation: 8 is double, 4 f32, 2 bf16. */
static bool is_bf16(struct world *w)
{
    const struct wsl_shape shape = {64, 16, 16};

    return w->ops->activation_bytes(w->dev, &shape) < 3 * wsl_shape_count(&shape) * BATCH;
}

struct ops_worst ops_compare_with_ref(const struct ops_scenario *s, ops_open_fn open,
                                      const char *how)
{
    struct ops_worst worst = {0, "nothing", 0};

    for (uint64_t seed = 1; seed <= (uint64_t)s->seeds; seed++) {
        struct ops_log log = {0};
        struct results expected = {0}, got = {0};
        struct dice d = {seed * 7919}, same = d;
        int count = 1 + (int)ops_roll(&d, BATCH);
        struct world w, ref;
        bool bf16;

        ops_roll(&same, BATCH);
        open(&w, how, count);
        bf16 = is_bf16(&w);
        worst.limit = bf16 ? s->bf16 : w.on_host ? s->f32 : 10 * s->f32;
        w.record = &log;
        run(s, &w, &d, &got);
        ops_open_world(&ref, NULL, count);
        ref.replay = &log;
        run(s, &ref, &same, &expected);
        assert_true(log.next == log.count);
        ops_compare(&expected, &got, w.name, seed, &worst, bf16 ? s->bf16_share : 0);
        ops_free_results(&expected);
        ops_free_results(&got);
        free(log.values);
    }
    return worst;
}

/* ---- a hand-made case ---- */

void ops_check_hits(ops_open_fn open, const char *how)
{
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

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wsl_loss loss = {7, begin, cases[i].tags, 1};
        struct wsl_loss_result result;
        struct world w;
        void *x;

        open(&w, how, BATCH);
        ops_start(&w);
        x = ops_empty_activation(&w, &shape);
        w.ops->activation_write(w.dev, &shape, BATCH, logits, x);
        w.ops->loss(w.dev, &loss, x, NULL, &result);
        ops_finish(&w);
        assert_int_equal(result.hit1, cases[i].hit1);
        assert_int_equal(result.hit5, cases[i].hit5);
        ops_give(&w, x);
        w.ops->close(w.dev);
    }
}
