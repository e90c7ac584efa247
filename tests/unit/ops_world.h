/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of backend operations share: reproducible dice, a backend with memory of the
 * test's own (poisoned with NaN until written), shapes, and units to run.
 */
#ifndef WSL_TESTS_UNIT_OPS_WORLD_H
#define WSL_TESTS_UNIT_OPS_WORLD_H

#include "kernels/ops.h"

#define BATCH 3

/* A linear congruential generator: the same values for the same seed everywhere. */
struct dice {
    uint64_t state;
};

/* Values that a backend stored in its own precision, in the order they came up. The same scenario
 * on ref takes them over, so that each operation is compared on equal inputs, and rounding decides
 * no ReLU differently. */
struct ops_log {
    float *values;
    size_t count, capacity, next;
};

/* Of devices that ops_open_backend opens from now on. */
extern struct wsl_cuda_settings ops_cuda_settings;

/* An open device that works on `count` images. */
struct world {
    const struct wsl_ops *ops;
    struct wsl_device *dev;
    char name[16];
    int count;
    bool on_host; /* blocks and activations can be touched here */
    char *pool;   /* else: a block of the device that ops_take cuts pieces from */
    size_t pool_used;
    struct ops_log *record, *replay; /* at most one; NULL: none */
};

/* A convolution with its BN. */
struct unit {
    struct wsl_conv_shape shape;
    struct wsl_conv *conv;
    struct wsl_bn bn;
    float *weights, *dweights;
    void *x, *y;           /* input and output of the convolution */
    bool borrowed;         /* memory of the device: nothing to free */
    struct wsl_conv *same; /* in a world that replays: copies y; else NULL */
    float *same_weights;
    void *same_y;
};

/* What follows the last block, and targets. */
struct ends {
    struct wsl_shape image, maps, features, logits;
    struct wsl_head head;
    struct wsl_loss loss;
    uint32_t begin[BATCH + 1], tags[4 * BATCH];
    float *block;
};

/* Uniform below a bound; a value of about (-1, 1). */
uint32_t ops_roll(struct dice *d, uint32_t below);
float ops_roll_value(struct dice *d);
/* The nearest number that bf16 has: weights are of these, so that no backend rounds them. */
float ops_round_bf16(float x);
/* isa NULL: ref; "v2", "v3", "v4": cpu with that instruction set at most. */
void ops_open_world(struct world *w, const char *isa, int count);
void ops_open_world_threads(struct world *w, const char *isa, int count, int threads);
/* Any backend by name, in its best precision; "cuda f32" in floats. */
void ops_open_backend(struct world *w, const char *backend, int count);
/* Fails the test when an operation since the last call failed. */
void ops_finish(struct world *w);
/* Memory of this process to free(): all NaN. */
void *ops_poisoned(size_t bytes);
/* Memory of the backend, all NaN, and back again. */
void *ops_take(struct world *w, size_t bytes);
void ops_give(struct world *w, void *taken);
/* All NaN again. */
void ops_poison(struct world *w, void *taken, size_t bytes);
/* Random floats of the backend; and what is in a block, to free(). */
float *ops_block(struct world *w, size_t n, struct dice *d);
float *ops_block_read(struct world *w, const float *block, size_t n);
/* Records what is in x, or replaces it by what was recorded. */
void ops_agree(struct world *w, const struct wsl_shape *shape, void *x);
void *ops_empty_activation(struct world *w, const struct wsl_shape *shape);
void *ops_activation(struct world *w, const struct wsl_shape *shape, struct dice *d);
float *ops_floats(size_t n, struct dice *d); /* of this process, to free() */
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
/* The same, with y recorded or taken over, and the statistics of that y. */
void ops_forward_agreed(struct world *w, struct unit *u);
/* On the host; ops_lend_ends moves the block to a backend that needs it there. */
void ops_init_ends(struct ends *e, struct dice *d);
void ops_lend_ends(struct world *w, struct ends *e);

#endif
