/* SPDX-License-Identifier: Apache-2.0
 *
 * Every operation of cpu, with each of its instruction sets, against ref. Shapes are drawn from
 * fixed seeds; a failure names its seed. */
#include "tests/unit/ops_world.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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

            ops_open_world(&w, isas[i], 1 + (int)ops_roll(&d, BATCH));
            scenario(&w, &d, i == 0 ? &expected : &got);
            if (i > 0)
                compare(&expected, &got, &w, seed, tolerance);
            free_results(&got);
            w.ops->close(w.dev);
        }
        free_results(&expected);
    }
}

static void keep_unit_gradients(struct results *r, struct world *w, struct unit *u)
{
    size_t n = wsl_conv_shape_weights(&u->shape);
    float *canonical = ops_poisoned(n * sizeof(float));

    w->ops->conv_weights_read(u->conv, u->dweights, canonical);
    keep_floats(r, "dw", canonical, n);
    keep_floats(r, "dgamma", u->bn.dgamma, (size_t)u->shape.out.channels);
    keep_floats(r, "dbeta", u->bn.dbeta, (size_t)u->shape.out.channels);
    free(canonical);
}

/* ---- cpu against ref ---- */

static void all_directions(struct world *w, struct dice *d, struct wsl_conv_shape shape,
                           struct results *ret)
{
    size_t n = wsl_conv_shape_weights(&shape), channels = (size_t)shape.out.channels;
    struct unit u;
    void *dy, *dx;
    float *canonical = ops_poisoned(n * sizeof(float));

    ops_init_unit(&u, w, d, shape);
    dy = ops_activation(w, &shape.out, d);
    ops_start(w);
    w->ops->conv_forward(u.conv, u.x, u.weights, u.y, NULL);
    keep(ret, w, "y without bn", &shape.out, u.y);
    memset(u.y, 0xff, w->ops->activation_bytes(w->dev, &shape.out));
    ops_forward(w, &u);
    keep(ret, w, "y", &shape.out, u.y);
    keep_floats(ret, "running_mean", u.bn.running_mean, channels);
    keep_floats(ret, "running_var", u.bn.running_var, channels);
    dx = ops_empty_activation(w, &shape.in);
    w->ops->conv_backward_data(u.conv, dy, u.weights, dx, false);
    keep(ret, w, "dx", &shape.in, dx);
    if (shape.kernel == 1) {
        w->ops->conv_backward_data(u.conv, dy, u.weights, dx, true);
        keep(ret, w, "dx added", &shape.in, dx);
    }
    w->ops->conv_backward_weights(u.conv, u.x, dy, u.dweights);
    w->ops->conv_weights_read(u.conv, u.dweights, canonical);
    keep_floats(ret, "dw", canonical, n);
    ops_finish(w);
    ops_free_unit(&u);
    free(canonical);
    free(dy);
    free(dx);
}

static void conv_scenario(struct world *w, struct dice *d, struct results *ret)
{
    all_directions(w, d, ops_random_conv(d), ret);
}

static void test_convolutions(void **state)
{
    (void)state;
    run_everywhere(conv_scenario, 60, 1e-5);
}

static void grouped_scenario(struct world *w, struct dice *d, struct results *ret)
{
    all_directions(w, d, ops_random_grouped(d), ret);
}

static void test_grouped_convolutions(void **state)
{
    (void)state;
    run_everywhere(grouped_scenario, 40, 1e-5);
}

static void assert_same_bits(const struct results *a, const struct results *b, uint64_t seed)
{
    assert_int_equal(a->count, b->count);
    for (int i = 0; i < a->count; i++)
        if (memcmp(a->items[i].values, b->items[i].values,
                   a->items[i].count * sizeof *a->items[i].values))
            fail_msg("seed %llu: %s depends on the threads", (unsigned long long)seed,
                     a->items[i].name);
}

static void test_grouped_convolutions_on_threads(void **state)
{
    static const char *const isas[] = {"v2", "v3", "v4"};

    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct results got[4] = {0};

        for (int threads = 1; threads <= 3; threads++) {
            struct dice d = {seed * 7919};
            struct world w;

            ops_open_world_threads(&w, isas[seed % 3], 1 + (int)ops_roll(&d, BATCH), threads);
            grouped_scenario(&w, &d, &got[threads]);
            assert_same_bits(&got[1], &got[threads], seed);
            w.ops->close(w.dev);
        }
        for (int threads = 1; threads <= 3; threads++)
            free_results(&got[threads]);
    }
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
    static const int channels[] = {1, 3, 8, 17, 64, 70};

    return channels[ops_roll(d, 6)];
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
    ops_forward(w, &u);
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
    ops_finish(w);
    ops_free_unit(&u);
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
    void *y, *dy, *dx, *index = ops_poisoned(w->ops->pool_index_bytes(w->dev, &pooled));

    ops_init_unit(&u, w, d, shape);
    y = ops_empty_activation(w, &pooled);
    dy = ops_activation(w, &pooled, d);
    dx = ops_empty_activation(w, &shape.out);
    ops_start(w);
    ops_forward(w, &u);
    w->ops->bn_relu_pool(w->dev, &u.bn, u.y, y, index);
    keep(ret, w, "pooled", &pooled, y);
    w->ops->bn_relu_pool_backward(w->dev, &u.bn, dy, index, u.y, dx);
    keep(ret, w, "dx", &shape.out, dx);
    w->ops->conv_backward_weights(u.conv, u.x, dx, u.dweights);
    keep_unit_gradients(ret, w, &u);
    ops_finish(w);
    ops_free_unit(&u);
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
    bool projection = ops_roll(d, 2), in_place = ops_roll(d, 2);
    struct unit main_path, shortcut;
    void *z, *y, *dy, *dx, *dz;
    struct wsl_join join;

    ops_init_unit(&main_path, w, d, shape);
    ops_init_unit(&shortcut, w, d, shape);
    z = ops_activation(w, &shape.out, d);
    y = ops_empty_activation(w, &shape.out);
    dy = ops_activation(w, &shape.out, d);
    dx = ops_empty_activation(w, &shape.out);
    dz = ops_empty_activation(w, &shape.out);
    ops_start(w);
    ops_forward(w, &main_path);
    ops_forward(w, &shortcut);
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
    ops_finish(w);
    ops_free_unit(&main_path);
    ops_free_unit(&shortcut);
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

static void ends_scenario(struct world *w, struct dice *d, struct results *ret)
{
    struct ends e;
    uint8_t pixels[BATCH * 9 * 9 * 3];
    struct wsl_loss_result result;
    size_t weights;
    void *picture, *maps, *features, *logits, *dlogits, *dfeatures, *dmaps;

    ops_init_ends(&e, d);
    weights = (size_t)e.head.features * (size_t)e.head.classes;
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)ops_roll(d, 256);
    picture = ops_empty_activation(w, &e.picture);
    maps = ops_activation(w, &e.maps, d);
    features = ops_empty_activation(w, &e.features);
    logits = ops_empty_activation(w, &e.logits);
    dlogits = ops_empty_activation(w, &e.logits);
    dfeatures = ops_empty_activation(w, &e.features);
    dmaps = ops_empty_activation(w, &e.maps);
    memset(e.head.dweight, 0xff, weights * sizeof(float));
    ops_start(w);
    w->ops->input(w->dev, &e.picture, pixels, picture);
    keep(ret, w, "picture", &e.picture, picture);
    w->ops->average_pool(w->dev, &e.maps, maps, features);
    keep(ret, w, "features", &e.features, features);
    w->ops->head(w->dev, &e.head, features, logits);
    keep(ret, w, "logits", &e.logits, logits);
    w->ops->loss(w->dev, &e.loss, logits, dlogits, &result);
    ops_finish(w);
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
    ops_finish(w);
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
    size_t n = 1 + ops_roll(d, 200000), cut = ops_roll(d, (uint32_t)n);
    float *parameters = ops_floats(n, d), *momentum = ops_floats(n, d),
          *gradients = ops_floats(n, d);
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
    ops_finish(w);
    for (size_t i = 0; i < n; i++) {
        assert_true(fabs((double)momentum[i] - expected[i]) < 1e-6);
        assert_true(fabs((double)parameters[i] - expected[n + i]) < 1e-6);
    }
    w->ops->scale(w->dev, gradients, n, -0.5f);
    ops_finish(w);
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

            ops_open_world(&w, isas[k], BATCH);
            ops_start(&w);
            x = ops_empty_activation(&w, &shape);
            w.ops->activation_write(w.dev, &shape, BATCH, logits, x);
            w.ops->loss(w.dev, &loss, x, NULL, &result);
            ops_finish(&w);
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
        cmocka_unit_test(test_grouped_convolutions),
        cmocka_unit_test(test_grouped_convolutions_on_threads),
        cmocka_unit_test(test_bn_relu),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_join),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_sgd_and_scale),
        cmocka_unit_test(test_hits_and_ties),
        cmocka_unit_test(test_backends_by_name),
    };

    return cmocka_run_group_tests_name("ops", tests, NULL, NULL);
}
