/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend's index arithmetic and formulas (kernels/cuda/layout.h), compiled for the host:
 * every block and thread of a kernel in turn, on floats, against ref. Needs no CUDA. What this
 * cannot see: loads and stores of lanes, shared memory, launches. */
#include "kernels/cuda/layout.h"
#include "tests/unit/ops_world.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CHANNELS_MAX 96
#define VALUES_MAX   (BATCH * 12 * 12 * CHANNELS_MAX)

/* ---- coverage ---- */

static void check_rows(const struct wsl_cuda_rows *r)
{
    size_t n = r->rows * (size_t)r->channels;
    uint8_t *seen = calloc(n + 1, 1);

    assert_non_null(seen);
    for (int part = 0; part < r->parts; part++)
        for (int slab = 0; slab < r->slabs; slab++)
            for (int thread = 0; thread < WSL_CUDA_THREADS; thread++) {
                size_t row, end;
                int c;

                if (!wsl_cuda_rows_of(r, (struct wsl_cuda_thread){part, slab, thread}, &row, &end,
                                      &c))
                    continue;
                for (; row < end; row += (size_t)r->ty)
                    for (int i = 0; i < r->vec; i++) {
                        assert_true(row < r->rows && c + i < r->channels);
                        seen[row * (size_t)r->channels + (size_t)(c + i)]++;
                    }
            }
    for (size_t i = 0; i < n; i++)
        assert_int_equal(seen[i], 1);
    free(seen);
}

static void test_every_value_once(void **state)
{
    static const int channels[] = {1, 2, 6, 7, 8, 12, 24, 64, 72, 96, 192, 256, 264, 2048};
    static const size_t rows[] = {1, 2, 31, 32, 33, 100, 257, 1000};

    (void)state;
    for (size_t i = 0; i < sizeof channels / sizeof channels[0]; i++)
        for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
            struct wsl_cuda_rows sum = wsl_cuda_sum_rows(rows[k], channels[i]);
            struct wsl_cuda_rows map = wsl_cuda_map_rows(rows[k], channels[i]);

            check_rows(&sum);
            check_rows(&map);
            assert_in_range(sum.parts * sum.slabs, 1, WSL_CUDA_SUM_BLOCKS + 16 * sum.slabs);
            assert_true(wsl_cuda_sum_at(&sum, 3, sum.parts - 1, 2, sum.channels - 1) <
                        3 * (size_t)sum.parts * (size_t)sum.channels);
        }
    /* The largest of our nets. */
    assert_in_range(wsl_cuda_sum_rows((size_t)128 * 112 * 112, 64).parts, 256, 528);
    assert_in_range(wsl_cuda_sum_rows((size_t)128 * 7 * 7, 12288).parts, 11, 16);
}

static void test_fewer_images_have_no_more_parts(void **state)
{
    (void)state;
    for (int channels = 1; channels <= 512; channels = channels < 8 ? channels + 1 : channels * 2)
        for (size_t rows = 1; rows < 20000; rows = rows * 5 / 4 + 1)
            assert_true(wsl_cuda_sum_rows(rows, channels).parts <=
                        wsl_cuda_sum_rows(rows * 5 / 4 + 1, channels).parts);
}

/* ---- numbers and layouts ---- */

static void test_bf16_rounds_to_nearest_even(void **state)
{
    struct dice d = {5};

    (void)state;
    assert_int_equal(wsl_cuda_to_bf16(1), 0x3f80);
    assert_int_equal(wsl_cuda_to_bf16(-2), 0xc000);
    assert_int_equal(wsl_cuda_to_bf16(INFINITY), 0x7f80);
    assert_int_equal(wsl_cuda_to_bf16(3.4028235e38f), 0x7f80);
    assert_true(isnan(wsl_cuda_from_bf16(wsl_cuda_to_bf16(NAN))));
    assert_int_equal(wsl_cuda_to_bf16(1 + 0x1p-8f), 0x3f80);     /* a tie, to even */
    assert_int_equal(wsl_cuda_to_bf16(1 + 3 * 0x1p-8f), 0x3f82); /* a tie, to even */
    for (int i = 0; i < 20000; i++) {
        float x = ldexpf(ops_roll_value(&d), (int)ops_roll(&d, 60) - 30);
        uint16_t bits = wsl_cuda_to_bf16(x);
        float near = fabsf(wsl_cuda_from_bf16(bits) - x);

        assert_true(near <= fabsf(wsl_cuda_from_bf16((uint16_t)(bits + 1)) - x));
        assert_true(near <= fabsf(wsl_cuda_from_bf16((uint16_t)(bits - 1)) - x));
    }
}

static void check_permutation(const size_t *at, const bool *real, size_t stored, size_t canonical)
{
    uint8_t *seen = calloc(canonical, 1);
    size_t count = 0;

    assert_non_null(seen);
    for (size_t i = 0; i < stored; i++) {
        if (!real[i])
            continue;
        assert_true(at[i] < canonical);
        assert_int_equal(seen[at[i]], 0);
        seen[at[i]] = 1;
        count++;
    }
    assert_int_equal(count, canonical);
    free(seen);
}

static void test_layouts_are_permutations(void **state)
{
    static const int channels[] = {1, 3, 5, 8, 64};
    static size_t at[VALUES_MAX];
    static bool real[VALUES_MAX];

    (void)state;
    for (int k = 0; k < 5; k++) {
        int c = channels[k];
        size_t pixels = 35, n = 2 * pixels * (size_t)wsl_cuda_stored_of(c, pixels), taps = 9,
               out = 6;

        for (size_t i = 0; i < n; i++)
            real[i] = wsl_cuda_canonical(c, pixels, i, &at[i]);
        check_permutation(at, real, n, 2 * pixels * (size_t)c);
        /* Logits: one pixel, never padded, also when there are 3 classes. */
        assert_int_equal(wsl_cuda_stored_of(c, 1), c);
        for (size_t i = 0; i < 2 * (size_t)c; i++)
            real[i] = wsl_cuda_canonical(c, 1, i, &at[i]);
        check_permutation(at, real, 2 * (size_t)c, 2 * (size_t)c);
        /* Padded, and 3 channels a group that are not an image. */
        for (int stored = c; stored <= c + 5; stored += 5) {
            n = out * taps * (size_t)stored;
            for (size_t i = 0; i < n; i++)
                real[i] = wsl_cuda_weight_canonical(c, stored, (int)taps, i, &at[i]);
            check_permutation(at, real, n, out * taps * (size_t)c);
        }
    }
    /* Image 1, pixel 2, channel 4 of 5; filter 1, tap 7, channel 2 of 5. */
    assert_true(wsl_cuda_canonical(5, 6, (6 + 2) * 5 + 4, &at[0]));
    assert_int_equal(at[0], (5 + 4) * 6 + 2);
    assert_true(wsl_cuda_weight_canonical(5, 5, 9, (9 + 7) * 5 + 2, &at[0]));
    assert_int_equal(at[0], (5 + 2) * 9 + 7);
}

/* ---- kernels, one thread after the other ---- */

/* What a kernel that sums computes of one value; ret has 3 numbers. */
typedef void (*value_fn)(const void *context, size_t row, int c, float *ret);

static void sum_up(const struct wsl_cuda_rows *r, int sums, value_fn fn, const void *context,
                   float *partial)
{
    static float mine[WSL_CUDA_THREADS][8][3];
    int width = r->tx * r->vec;

    for (int part = 0; part < r->parts; part++)
        for (int slab = 0; slab < r->slabs; slab++) {
            memset(mine, 0, sizeof mine);
            for (int thread = 0; thread < WSL_CUDA_THREADS; thread++) {
                size_t row, end;
                int c;

                if (!wsl_cuda_rows_of(r, (struct wsl_cuda_thread){part, slab, thread}, &row, &end,
                                      &c))
                    continue;
                for (; row < end; row += (size_t)r->ty)
                    for (int i = 0; i < r->vec; i++) {
                        float v[3] = {0};

                        fn(context, row, c + i, v);
                        for (int s = 0; s < sums; s++)
                            mine[thread][i][s] += v[s];
                    }
            }
            for (int column = 0; column < width && slab * width + column < r->channels; column++)
                for (int s = 0; s < sums; s++) {
                    float sum = 0;

                    for (int y = 0; y < r->ty; y++)
                        sum += mine[y * r->tx + column / r->vec][column % r->vec][s];
                    partial[wsl_cuda_sum_at(r, sums, part, s, slab * width + column)] = sum;
                }
        }
}

static double total(const struct wsl_cuda_rows *r, int sums, int which, int c, const float *partial)
{
    double sum = 0;

    for (int part = 0; part < r->parts; part++)
        sum += (double)partial[wsl_cuda_sum_at(r, sums, part, which, c)];
    return sum;
}

/* A BN of the emulated backend. All activations are NHWC floats. */
struct norm {
    struct wsl_cuda_rows rows;
    int channels;
    const float *x;
    const struct wsl_bn *bn; /* ref's */
    struct wsl_cuda_affine a[CHANNELS_MAX];
    float running_mean[CHANNELS_MAX], running_var[CHANNELS_MAX];
    struct wsl_cuda_slope slope[CHANNELS_MAX];
    const float *dy, *y; /* of the pass backward */
    const struct norm *shortcut;
    const uint8_t *index;
    struct wsl_cuda_pool pool;
};

static float partial[3 * 600 * CHANNELS_MAX];

static float value(const struct norm *n, const float *x, size_t row, int c)
{
    return x[row * (size_t)n->channels + (size_t)c];
}

static void moments_value(const void *context, size_t row, int c, float *ret)
{
    const struct norm *n = context;
    float d = value(n, n->x, row, c) - n->x[c];

    ret[0] = d;
    ret[1] = d * d;
}

static void norm_batch(struct norm *n, const struct wsl_bn *bn, const float *x, size_t rows,
                       const float *running_mean, const float *running_var)
{
    double m = (double)rows;

    n->channels = bn->shape.channels;
    n->rows = wsl_cuda_sum_rows(rows, n->channels);
    n->x = x;
    n->bn = bn;
    sum_up(&n->rows, 2, moments_value, n, partial);
    for (int c = 0; c < n->channels; c++) {
        double mean, var;

        wsl_cuda_moments(total(&n->rows, 2, 0, c, partial), total(&n->rows, 2, 1, c, partial), m,
                         (double)x[c], &mean, &var);
        n->a[c].mean = (float)mean;
        n->a[c].rstd = (float)(1 / sqrt(var + 1e-5));
        n->a[c].scale = (float)((double)bn->gamma[c] / sqrt(var + 1e-5));
        n->a[c].offset = (float)((double)bn->beta[c] - mean * (double)n->a[c].scale);
        n->running_mean[c] = wsl_cuda_running(running_mean[c], mean);
        n->running_var[c] = wsl_cuda_running(running_var[c], m > 1 ? var * m / (m - 1) : var);
    }
}

static float applied(const struct norm *n, size_t row, int c)
{
    return wsl_cuda_apply(value(n, n->x, row, c), n->a[c].scale, n->a[c].offset);
}

static void relu_value(const void *context, size_t row, int c, float *ret)
{
    const struct norm *n = context;
    float g = applied(n, row, c) > 0 ? value(n, n->dy, row, c) : 0;

    ret[0] = g;
    ret[1] = g * (value(n, n->x, row, c) - n->a[c].mean);
}

static void add_relu_value(const void *context, size_t row, int c, float *ret)
{
    const struct norm *n = context;
    float g = value(n, n->y, row, c) > 0 ? value(n, n->dy, row, c) : 0;

    ret[0] = g;
    ret[1] = g * (value(n, n->x, row, c) - n->a[c].mean);
    if (n->shortcut)
        ret[2] = g * (value(n, n->shortcut->x, row, c) - n->shortcut->a[c].mean);
}

static float pool_gradient(const struct norm *n, size_t row, int c)
{
    float g = 0;
    size_t out;
    int tap;

    for (int k = 0; k < 4; k++)
        if (wsl_cuda_pool_window(&n->pool, (uint32_t)row, k, &out, &tap) &&
            n->index[out * (size_t)n->channels + (size_t)c] == tap)
            g += value(n, n->dy, out, c);
    return g;
}

static void pool_value(const void *context, size_t row, int c, float *ret)
{
    const struct norm *n = context;
    float g = pool_gradient(n, row, c);

    ret[0] = g;
    ret[1] = g * (value(n, n->x, row, c) - n->a[c].mean);
}

static void norm_solve(struct norm *n, int sums, int product, const struct wsl_cuda_rows *rows)
{
    for (int c = 0; c < n->channels; c++)
        n->slope[c] =
            wsl_cuda_solve(total(rows, sums, 0, c, partial), total(rows, sums, product, c, partial),
                           (double)rows->rows, n->a[c].rstd, n->a[c].scale);
}

static float solved(const struct norm *n, float g, size_t row, int c)
{
    return wsl_cuda_bn_gradient(g, value(n, n->x, row, c), n->a[c].mean, n->a[c].scale,
                                n->slope[c].slope, n->slope[c].level);
}

/* ---- against ref ---- */

static void near(const char *what, double got, double expected, double size)
{
    if (!(fabs(got - expected) <= 2e-4 * fmax(1, size)))
        fail_msg("%s is %g, ref says %g", what, got, expected);
}

/* Canonical to NHWC and back, as the backend's copies do it. */
static float *stored_of(struct world *w, const struct wsl_shape *s, const void *x)
{
    size_t n = wsl_shape_count(s) * (size_t)w->count, at;
    float *canonical = malloc(n * sizeof *canonical), *stored = malloc(n * sizeof *stored);

    assert_true(canonical && stored && s->channels != WSL_CUDA_IMAGE_CHANNELS);
    w->ops->activation_read(w->dev, s, w->count, x, canonical);
    for (size_t i = 0; i < n; i++) {
        wsl_cuda_canonical(s->channels, (size_t)s->height * (size_t)s->width, i, &at);
        stored[i] = canonical[at];
    }
    free(canonical);
    return stored;
}

static void compare(struct world *w, const char *what, const struct wsl_shape *s,
                    const float *stored, const void *expected)
{
    float *right = stored_of(w, s, expected);
    size_t n = wsl_shape_count(s) * (size_t)w->count;
    double size = 0;

    for (size_t i = 0; i < n; i++)
        size = fmax(size, fabs((double)right[i]));
    for (size_t i = 0; i < n; i++)
        near(what, (double)stored[i], (double)right[i], size);
    free(right);
}

struct scene {
    struct world w;
    struct dice d;
    struct unit u, z;
    struct norm n, s;
    float before[2][CHANNELS_MAX]; /* running statistics */
    size_t rows;
    const struct wsl_shape *shape;
};

static void open_scene(struct scene *t, uint64_t seed)
{
    static const int channels[] = {1, 2, 8, 17, 64, 72};
    struct wsl_conv_shape shape = ops_conv_shape(5, channels[seed % 6], 1, 1, 1);

    t->d.state = seed * 7919;
    ops_open_world(&t->w, NULL, 1 + (int)ops_roll(&t->d, BATCH));
    shape.in.height = shape.out.height = 3 + (int)ops_roll(&t->d, 8);
    shape.in.width = shape.out.width = 3 + (int)ops_roll(&t->d, 8);
    ops_init_unit(&t->u, &t->w, &t->d, shape);
    ops_init_unit(&t->z, &t->w, &t->d, shape);
    t->shape = &t->u.shape.out;
    t->rows = (size_t)shape.out.height * (size_t)shape.out.width * (size_t)t->w.count;
    for (int c = 0; c < shape.out.channels; c++) {
        t->before[0][c] = t->u.bn.running_mean[c];
        t->before[1][c] = t->u.bn.running_var[c];
    }
    ops_start(&t->w);
    ops_forward(&t->w, &t->u);
    ops_forward(&t->w, &t->z);
    norm_batch(&t->n, &t->u.bn, stored_of(&t->w, t->shape, t->u.y), t->rows, t->before[0],
               t->before[1]);
    norm_batch(&t->s, &t->z.bn, stored_of(&t->w, t->shape, t->z.y), t->rows, t->before[0],
               t->before[1]);
}

static void close_scene(struct scene *t)
{
    free((float *)t->n.x);
    free((float *)t->s.x);
    ops_free_unit(&t->u);
    ops_free_unit(&t->z);
    t->w.ops->close(t->w.dev);
}

static void compare_parameters(const struct norm *n)
{
    for (int c = 0; c < n->channels; c++) {
        near("dgamma", (double)n->slope[c].dgamma, (double)n->bn->dgamma[c], 10);
        near("dbeta", (double)n->slope[c].dbeta, (double)n->bn->dbeta[c], 10);
    }
}

static void bn_relu_scene(struct scene *t)
{
    size_t n = wsl_shape_count(t->shape) * (size_t)t->w.count;
    void *y = ops_empty_activation(&t->w, t->shape), *dy = ops_activation(&t->w, t->shape, &t->d);
    void *dx = ops_empty_activation(&t->w, t->shape);
    float *out = malloc(n * sizeof *out), *g = stored_of(&t->w, t->shape, dy);

    assert_non_null(out);
    t->w.ops->bn_relu(t->w.dev, &t->u.bn, t->u.y, y);
    for (size_t i = 0; i < n; i++)
        out[i] = wsl_cuda_relu(
            applied(&t->n, i / (size_t)t->n.channels, (int)(i % (size_t)t->n.channels)));
    compare(&t->w, "y", t->shape, out, y);
    for (int c = 0; c < t->n.channels; c++) {
        near("running mean", (double)t->n.running_mean[c], (double)t->u.bn.running_mean[c], 1);
        near("running var", (double)t->n.running_var[c], (double)t->u.bn.running_var[c], 1);
    }
    t->w.ops->bn_relu_backward(t->w.dev, &t->u.bn, dy, t->u.y, dx);
    t->n.dy = g;
    sum_up(&t->n.rows, 2, relu_value, &t->n, partial);
    norm_solve(&t->n, 2, 1, &t->n.rows);
    for (size_t i = 0; i < n; i++) {
        size_t row = i / (size_t)t->n.channels;
        int c = (int)(i % (size_t)t->n.channels);

        out[i] = solved(&t->n, applied(&t->n, row, c) > 0 ? g[i] : 0, row, c);
    }
    compare(&t->w, "dx", t->shape, out, dx);
    compare_parameters(&t->n);
    free(y);
    free(dy);
    free(dx);
    free(out);
    free(g);
}

/* With a projection. The identity is the same without its parts. */
static void add_relu_scene(struct scene *t)
{
    size_t n = wsl_shape_count(t->shape) * (size_t)t->w.count;
    struct wsl_add_relu join = {&t->u.bn, &t->z.bn, t->u.y, t->z.y};
    void *y = ops_empty_activation(&t->w, t->shape), *dy = ops_activation(&t->w, t->shape, &t->d);
    void *dx = ops_empty_activation(&t->w, t->shape), *dz = ops_empty_activation(&t->w, t->shape);
    float *out = malloc(n * sizeof *out), *g = stored_of(&t->w, t->shape, dy),
          *other = malloc(n * sizeof *other), *right;

    assert_true(out && other);
    t->w.ops->add_relu(t->w.dev, &join, y);
    for (size_t i = 0; i < n; i++) {
        size_t row = i / (size_t)t->n.channels;
        int c = (int)(i % (size_t)t->n.channels);

        out[i] = wsl_cuda_relu(applied(&t->n, row, c) + applied(&t->s, row, c));
    }
    compare(&t->w, "y", t->shape, out, y);
    t->w.ops->add_relu_backward(t->w.dev, &join, dy, y, dx, dz);
    right = stored_of(&t->w, t->shape, y);
    t->n.y = right;
    t->n.dy = g;
    t->n.shortcut = &t->s;
    sum_up(&t->n.rows, 3, add_relu_value, &t->n, partial);
    norm_solve(&t->n, 3, 1, &t->n.rows);
    norm_solve(&t->s, 3, 2, &t->n.rows);
    for (size_t i = 0; i < n; i++) {
        size_t row = i / (size_t)t->n.channels;
        int c = (int)(i % (size_t)t->n.channels);
        float masked = right[i] > 0 ? g[i] : 0;

        out[i] = solved(&t->n, masked, row, c);
        other[i] = solved(&t->s, masked, row, c);
    }
    compare(&t->w, "dx", t->shape, out, dx);
    compare(&t->w, "dshortcut", t->shape, other, dz);
    compare_parameters(&t->n);
    compare_parameters(&t->s);
    void *const taken[] = {y, dy, dx, dz, out, g, other, right};
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        free(taken[i]);
}

/* The pool's forward kernel: values and indices of all rows. */
static void pool_forward(struct norm *n, size_t out_rows, float *y, uint8_t *index)
{
    for (size_t i = 0; i < out_rows * (size_t)n->channels; i++) {
        int c = (int)(i % (size_t)n->channels);
        size_t in;

        y[i] = 0;
        index[i] = WSL_CUDA_NO_TAP;
        for (int t = 0; t < 9; t++) {
            float v;

            if (!wsl_cuda_pool_input(&n->pool, (uint32_t)(i / (size_t)n->channels), t, &in))
                continue;
            v = applied(n, in, c);
            if (!(v <= y[i])) {
                y[i] = v;
                index[i] = (uint8_t)t;
            }
        }
    }
}

static void pool_scene(struct scene *t)
{
    struct wsl_shape pooled = {t->shape->channels, (t->shape->height + 1) / 2,
                               (t->shape->width + 1) / 2};
    size_t n = wsl_shape_count(t->shape) * (size_t)t->w.count;
    size_t out_rows = (size_t)pooled.height * (size_t)pooled.width * (size_t)t->w.count;
    void *y = ops_empty_activation(&t->w, &pooled), *dy = ops_activation(&t->w, &pooled, &t->d);
    void *dx = ops_empty_activation(&t->w, t->shape);
    void *ref_index = ops_poisoned(t->w.ops->pool_index_bytes(t->w.dev, &pooled));
    float *out = malloc(n * sizeof *out), *g = stored_of(&t->w, &pooled, dy);
    uint8_t *index = malloc(out_rows * (size_t)pooled.channels);

    assert_true(out && index);
    t->n.pool = wsl_cuda_pool_init(t->shape->channels, t->shape->height, t->shape->width);
    assert_int_equal(t->n.pool.out_height, pooled.height);
    t->w.ops->bn_relu_pool(t->w.dev, &t->u.bn, t->u.y, y, ref_index);
    pool_forward(&t->n, out_rows, out, index);
    compare(&t->w, "pooled", &pooled, out, y);
    t->w.ops->bn_relu_pool_backward(t->w.dev, &t->u.bn, dy, ref_index, t->u.y, dx);
    t->n.dy = g;
    t->n.index = index;
    sum_up(&t->n.rows, 2, pool_value, &t->n, partial);
    norm_solve(&t->n, 2, 1, &t->n.rows);
    for (size_t i = 0; i < n; i++) {
        size_t row = i / (size_t)t->n.channels;
        int c = (int)(i % (size_t)t->n.channels);

        out[i] = solved(&t->n, pool_gradient(&t->n, row, c), row, c);
    }
    compare(&t->w, "dx", t->shape, out, dx);
    compare_parameters(&t->n);
    void *const taken[] = {y, dy, dx, ref_index, out, g, index};
    for (size_t i = 0; i < sizeof taken / sizeof taken[0]; i++)
        free(taken[i]);
}

static void run_scenes(void (*scene)(struct scene *t))
{
    static struct scene t;

    for (uint64_t seed = 1; seed <= 24; seed++) {
        memset(&t, 0, sizeof t);
        open_scene(&t, seed);
        scene(&t);
        close_scene(&t);
    }
}

static void test_bn_relu(void **state)
{
    (void)state;
    run_scenes(bn_relu_scene);
}

static void test_add_relu(void **state)
{
    (void)state;
    run_scenes(add_relu_scene);
}

static void test_pool(void **state)
{
    (void)state;
    run_scenes(pool_scene);
}

/* ---- the ends ---- */

static void test_images(void **state)
{
    struct wsl_shape shape = {3, 16, 16};
    static uint8_t pixels[16 * 16 * 3];
    float canonical[16 * 16 * 3];
    struct world w;
    void *x;

    (void)state;
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)i;
    ops_open_world(&w, NULL, 1);
    x = ops_empty_activation(&w, &shape);
    ops_start(&w);
    w.ops->input(w.dev, &shape, pixels, x);
    w.ops->activation_read(w.dev, &shape, 1, x, canonical);
    for (size_t i = 0; i < sizeof pixels; i++)
        near("a pixel", (double)wsl_cuda_normal(pixels[i], (int)(i % 3)),
             (double)canonical[i % 3 * 256 + i / 3], 1);
    free(x);
    w.ops->close(w.dev);
}

/* A strict order of all classes, whatever the values: largest first, NaN last. */
static void test_order_of_answers(void **state)
{
    static const float values[] = {1, NAN, 1, -INFINITY, 5, NAN, 0, INFINITY};
    static const uint32_t order[] = {7, 4, 0, 2, 6, 3, 1, 5};

    (void)state;
    for (int i = 0; i < 8; i++)
        for (int k = 0; k < 8; k++)
            assert_int_equal(
                wsl_cuda_before(values[order[i]], order[i], values[order[k]], order[k]), i < k);
}

static void test_sgd(void **state)
{
    struct dice d = {3};
    float w[50], m[50], g[50], u[50], v[50];
    struct wsl_range range = {0, 50, true};
    struct wsl_sgd sgd = {w, m, g, &range, 1, 0.25f, 0.9f, 0.01f};
    struct wsl_cuda_rates rates = {0.25f, 0.9f};

    (void)state;
    for (int i = 0; i < 50; i++) {
        u[i] = w[i] = ops_roll_value(&d);
        v[i] = m[i] = ops_roll_value(&d);
        g[i] = ops_roll_value(&d);
    }
    wsl_ops_ref.sgd(NULL, &sgd);
    for (int i = 0; i < 50; i++) {
        wsl_cuda_sgd(&u[i], &v[i], g[i], 0.01f, rates);
        assert_true(fabsf(u[i] - w[i]) < 1e-6f && fabsf(v[i] - m[i]) < 1e-6f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_value_once),
        cmocka_unit_test(test_fewer_images_have_no_more_parts),
        cmocka_unit_test(test_bf16_rounds_to_nearest_even),
        cmocka_unit_test(test_layouts_are_permutations),
        cmocka_unit_test(test_bn_relu),
        cmocka_unit_test(test_add_relu),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_images),
        cmocka_unit_test(test_order_of_answers),
        cmocka_unit_test(test_sgd),
    };

    return cmocka_run_group_tests_name("cuda_layout", tests, NULL, NULL);
}
