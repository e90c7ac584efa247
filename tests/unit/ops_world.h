/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of backend operations share: reproducible dice, a backend with memory of the
 * test's own (poisoned with NaN until written), shapes, and units to run.
 */
#ifndef WSL_TESTS_OPS_WORLD_H
#define WSL_TESTS_OPS_WORLD_H

#include "kernels/ops.h"

#define BATCH 3

/* A linear congruential generator: the same values for the same seed everywhere. */
struct dice {
    uint64_t state;
};

/* An open device of ref or cpu that works on `count` images. */
struct world {
    const struct wsl_ops *ops;
    struct wsl_device *dev;
    char name[16];
    int count;
};

/* A convolution with its BN. */
struct unit {
    struct wsl_conv_shape shape;
    struct wsl_conv *conv;
    struct wsl_bn bn;
    float *weights, *dweights;
    void *x, *y; /* input and output of the convolution */
};

/* What follows the last block, and targets. */
struct ends {
    struct wsl_shape picture, maps, features, logits;
    struct wsl_head head;
    struct wsl_loss loss;
    uint32_t begin[BATCH + 1], tags[4 * BATCH];
    float *block;
};

/* Uniform below a bound; a value of about (-1, 1). */
uint32_t ops_roll(struct dice *d, uint32_t below);
float ops_roll_value(struct dice *d);
/* isa NULL: ref; "v2", "v3", "v4": cpu with that instruction set at most. */
void ops_open_world(struct world *w, const char *isa, int count);
void ops_open_world_threads(struct world *w, const char *isa, int count, int threads);
/* Fails the test when an operation since the last call failed. */
void ops_finish(struct world *w);
/* Memory to free(): all NaN, or random values. */
void *ops_poisoned(size_t bytes);
void *ops_empty_activation(struct world *w, const struct wsl_shape *shape);
void *ops_activation(struct world *w, const struct wsl_shape *shape, struct dice *d);
float *ops_floats(size_t n, struct dice *d);
struct wsl_conv_shape ops_conv_shape(int in, int out, int kernel, int stride, int groups);
struct wsl_conv_shape ops_random_conv(struct dice *d);
/* 3x3 with 4 or 8 channels in a group, of 1 to 9 or of 32 groups; up to 40 pixels wide. */
struct wsl_conv_shape ops_random_grouped(struct dice *d);
void ops_init_unit(struct unit *u, struct world *w, struct dice *d, struct wsl_conv_shape shape);
void ops_free_unit(struct unit *u);
/* After the last conv_open; then operations may run. */
void ops_start(struct world *w);
/* With batch statistics. */
void ops_forward(struct world *w, struct unit *u);
void ops_init_ends(struct ends *e, struct dice *d);

#endif
