/* SPDX-License-Identifier: Apache-2.0
 *
 * Every backward operation of ref against central differences of its forward operations. */
#include "tests/unit/ops_world.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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
    struct wsl_add_relu residual = {&c->main_path.bn,
                                    c->kind == PROJECTION ? &c->shortcut.bn : NULL, c->main_path.y,
                                    c->kind == PROJECTION ? c->shortcut.y : c->z};
    size_t n = wsl_shape_count(&c->out_shape) * (size_t)c->w.count;
    double sum = 0;

    ops_forward(&c->w, &c->main_path);
    if (c->kind == PROJECTION)
        ops_forward(&c->w, &c->shortcut);
    if (c->kind == RELU)
        ops->bn_relu(c->w.dev, &c->main_path.bn, c->main_path.y, c->y);
    else if (c->kind == POOL)
        ops->bn_relu_pool(c->w.dev, &c->main_path.bn, c->main_path.y, c->y, c->index);
    else
        ops->add_relu(c->w.dev, &residual, c->y);
    for (size_t i = 0; i < n; i++)
        sum += c->y[i] * c->r[i];
    return sum;
}

static void chain_backward(struct chain *c)
{
    const struct wsl_ops *ops = c->w.ops;
    struct wsl_add_relu residual = {&c->main_path.bn,
                                    c->kind == PROJECTION ? &c->shortcut.bn : NULL, c->main_path.y,
                                    c->kind == PROJECTION ? c->shortcut.y : c->z};

    if (c->kind == RELU)
        ops->bn_relu_backward(c->w.dev, &c->main_path.bn, c->r, c->main_path.y, c->dx);
    else if (c->kind == POOL)
        ops->bn_relu_pool_backward(c->w.dev, &c->main_path.bn, c->r, c->index, c->main_path.y,
                                   c->dx);
    else
        ops->add_relu_backward(c->w.dev, &residual, c->r, c->y, c->dx, c->dz);
    ops->conv_backward_data(c->main_path.conv, c->dx, c->main_path.weights, c->dinput, false);
    ops->conv_backward_weights(c->main_path.conv, c->main_path.x, c->dx, c->main_path.dweights);
    if (c->kind == PROJECTION)
        ops->conv_backward_weights(c->shortcut.conv, c->shortcut.x, c->dz, c->shortcut.dweights);
    ops_finish(&c->w);
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
    struct wsl_conv_shape shape = ops_random_conv(d);
    size_t bytes;

    /* Enough values for a BN, few enough for a quick check. */
    shape.in.height = 5 + (int)ops_roll(d, 3);
    shape.in.width = 5 + (int)ops_roll(d, 3);
    shape.out.height = (shape.in.height + 2 * shape.pad - shape.kernel) / shape.stride + 1;
    shape.out.width = (shape.in.width + 2 * shape.pad - shape.kernel) / shape.stride + 1;
    *c = (struct chain){.kind = kind};
    ops_open_world(&c->w, NULL, BATCH);
    ops_init_unit(&c->main_path, &c->w, d, shape);
    ops_init_unit(&c->shortcut, &c->w, d, shape);
    c->out_shape = shape.out;
    if (c->kind == POOL) {
        c->out_shape.height = (shape.out.height + 1) / 2;
        c->out_shape.width = (shape.out.width + 1) / 2;
    }
    bytes = c->w.ops->activation_bytes(c->w.dev, &shape.out);
    c->y = ops_poisoned(bytes);
    c->dx = ops_poisoned(bytes);
    c->dz = ops_poisoned(bytes);
    c->z = ops_activation(&c->w, &shape.out, d);
    c->r = ops_activation(&c->w, &c->out_shape, d);
    c->dinput = ops_empty_activation(&c->w, &shape.in);
    c->index = ops_poisoned(c->w.ops->pool_index_bytes(c->w.dev, &c->out_shape));
    ops_start(&c->w);
}

static void free_chain(struct chain *c)
{
    void *const taken[] = {c->y, c->dx, c->dz, c->z, c->r, c->dinput, c->index};

    ops_free_unit(&c->main_path);
    ops_free_unit(&c->shortcut);
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
        size_t at_w = ops_roll(d, (uint32_t)weights), at_c = ops_roll(d, (uint32_t)channels);
        size_t at_in = ops_roll(d, (uint32_t)in), at_out = ops_roll(d, (uint32_t)out);
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
    ops_finish(w);
    return result.loss;
}

static void check_ends(struct world *w, struct ends *e, void *const buffers[5], struct dice *d)
{
    double *maps = buffers[0], *dmaps = buffers[4], eps = 1e-5;
    size_t n = wsl_shape_count(&e->maps) * BATCH;

    ends_loss(w, e, buffers, true);
    for (int i = 0; i < 10; i++) {
        size_t at = ops_roll(d, (uint32_t)n);
        double kept = maps[at], above, below;

        maps[at] = kept + eps;
        above = ends_loss(w, e, buffers, false);
        maps[at] = kept - eps;
        below = ends_loss(w, e, buffers, false);
        maps[at] = kept;
        assert_true(fabs((above - below) / (2 * eps) * 0.125 - dmaps[at]) < 1e-7);
    }
    for (int i = 0; i < 10; i++) {
        size_t at = ops_roll(d, (uint32_t)(e->head.features * e->head.classes));
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

        ops_open_world(&w, NULL, BATCH);
        ops_init_ends(&e, &d);
        buffers[0] = ops_activation(&w, &e.maps, &d);
        buffers[1] = ops_empty_activation(&w, &e.features);
        buffers[2] = ops_empty_activation(&w, &e.logits);
        buffers[3] = ops_empty_activation(&w, &e.features);
        buffers[4] = ops_empty_activation(&w, &e.maps);
        ops_start(&w);
        check_ends(&w, &e, buffers, &d);
        for (int i = 0; i < 5; i++)
            free(buffers[i]);
        free(e.block);
        w.ops->close(w.dev);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ref_against_differences),
        cmocka_unit_test(test_ends_against_differences),
    };

    return cmocka_run_group_tests_name("ops_gradients", tests, NULL, NULL);
}
