/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the cpu backend: the inner loops of our own, over NHWC floats. One source file compiled
 * once for each instruction set (x86-64-v2, v3 = AVX2 + FMA, v4 = AVX-512), one table each; the
 * device picks one when it opens. All loops run over channels innermost, so the compiler makes
 * vectors of them without reordering any sum.
 *
 * "rows" are pixels: `rows` times `channels` floats. Per-channel arrays have `channels` floats.
 * Sums are added up from zero, in row order, into ret arrays of the caller.
 */
#ifndef WSL_KERNELS_CPU_LOOPS_H
#define WSL_KERNELS_CPU_LOOPS_H

#include "kernels/cpu/grouped.h"
#include "kernels/ops.h"

/* In a file that is compiled for an instruction set: the name with _v2, _v3 or _v4 behind. */
#define WSL_CPU_PASTE(name, isa)   name##_##isa
#define WSL_CPU_NAME_OF(name, isa) WSL_CPU_PASTE(name, isa)
#define WSL_CPU_NAME(name)         WSL_CPU_NAME_OF(name, WSL_CPU_ISA)

/* What apply and backward need of a BN, by channel: y = x * scale + offset. */
struct wsl_cpu_affine {
    const float *mean, *scale, *offset;
};

/* dx = scale * g + (x - mean) * slope + level. */
struct wsl_cpu_bn_gradient {
    const float *mean, *scale, *slope, *level;
};

/* One image of the stem's pool; index is the tap 0..8 that won, 255 where ReLU gives 0. */
struct wsl_cpu_pool {
    struct wsl_shape in, out;
    struct wsl_cpu_affine affine;
    size_t channels;
};

struct wsl_cpu_rows {
    size_t rows, channels;
    bool past_cache; /* here and below: who reads the output will not find it in the cache anyway */
};

struct wsl_cpu_loops {
    const struct wsl_grouped_sweeps *sweeps;
    const struct wsl_grouped_gradients *gradients;

    /* sum of (x - base), sum of (x - base)^2, with base the first row, a copy of which is returned
     * too; rows are `pitch` floats apart */
    void (*bn_sums)(const float *x, size_t rows, size_t channels, size_t pitch,
                    float *const ret_sum_squares_base[3]);
    void (*bn_relu)(const float *x, size_t rows, size_t channels, const struct wsl_cpu_affine *a,
                    bool past_cache, float *y);
    /* g = dy where y > 0; sum of g, sum of g (x - mean) */
    void (*bn_relu_sums)(const float *dy, const float *x, size_t rows, size_t channels,
                         const struct wsl_cpu_affine *a, float *const ret_sums[2]);
    /* dx from g = dy where y > 0; dx may be dy */
    void (*bn_relu_gradient)(const float *dy, const float *x, size_t rows, size_t channels,
                             const struct wsl_cpu_bn_gradient *k, const float *offset_and_dx[2]);
    /* dx from g; dx may be g */
    void (*bn_gradient)(const struct wsl_cpu_rows *rows, const struct wsl_cpu_bn_gradient *k,
                        const float *g, const float *x, float *dx);
    /* y = relu(a(x) + b(z)); b NULL: y = relu(a(x) + z) */
    void (*add_relu)(const struct wsl_cpu_rows *rows, const struct wsl_cpu_affine *a,
                     const struct wsl_cpu_affine *b, const float *const x_and_z[2], float *y);
    /* g = dy where y > 0, g may be dy; sum of g, of g (x - mean) and, with z, of g (z - mean) */
    void (*add_relu_sums)(const float *const dy_y_x_z[4], size_t rows, size_t channels,
                          const float *const means[2], float *g, float *const ret_sums[3]);

    void (*pool)(const struct wsl_cpu_pool *pool, const float *x, float *y, uint8_t *index);
    /* g of the pool's input; sum of g, sum of g (x - mean) */
    void (*pool_sums)(const struct wsl_cpu_pool *pool, const float *dy, const uint8_t *index,
                      const float *x, float *g, float *const ret_sums[2]);

    /* y[c] = factor * sum over rows */
    void (*row_sum)(const float *x, size_t rows, size_t channels, float factor, float *y);
    /* y[row][c] = factor * x[c] */
    void (*row_fill)(const float *x, size_t rows, size_t channels, float factor, float *y);
    void (*add)(const float *x, size_t count, float *y); /* y += x */
    void (*sgd)(const struct wsl_sgd *sgd, size_t begin, size_t end, bool decay);
    void (*scale)(float *x, size_t count, float factor);
    /* Bits of the largest magnitude: as numbers without sign they are in the order of magnitudes,
     * with NaN above infinity. */
    uint32_t (*max_abs)(const float *x, size_t count);
};

extern const struct wsl_cpu_loops wsl_cpu_loops_v2, wsl_cpu_loops_v3, wsl_cpu_loops_v4;

/* The best table this machine can run that is not above `cap` ("v2", "v3", "v4"; NULL: no cap). */
const struct wsl_cpu_loops *wsl_cpu_loops_choose(const char *cap);

#endif
