/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the cuda backend: where things lie and the arithmetic of one value, as plain C that nvcc
 * compiles for kernels and the unit test cuda_layout compiles for the host, to check it there.
 *
 * Activations are NHWC without gaps, bf16 or float; images of 3 channels are stored with 8, the
 * last five 0, because the stem's tensor-core engines want whole 16 byte pixels. Weights are K R S
 * C/G (cuDNN's filter layout for NHWC), floats in flat buffers; the stem's C is 8 too.
 *
 * A "row" is a pixel: its channels. Kernels over rows give each thread `vec` neighbouring channels
 * (a lane) and a sequence of rows, so that coefficients of channels stay in registers; a block is
 * `tx` lanes wide and `ty` rows high. Sums are two-stage: each block adds up one part of the rows,
 * then the parts are added in order. The cut depends on the shape alone: same shape, same bits.
 */
#ifndef WSL_KERNELS_CUDA_LAYOUT_H
#define WSL_KERNELS_CUDA_LAYOUT_H

#include "kernels/bf16.h"

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __CUDACC__
#include <cuda_bf16.h>
#define WSL_BOTH static inline __host__ __device__
#else
#define WSL_BOTH static inline
#endif

#define WSL_CUDA_IMAGE_CHANNELS  3
#define WSL_CUDA_IMAGE_STORED    8
#define WSL_CUDA_THREADS         256 /* of a block over rows */
#define WSL_CUDA_SUM_BLOCKS      528 /* of a sum at most: 4 on each of an H200's 132 processors */
#define WSL_CUDA_ROWS_PER_THREAD 8   /* of a kernel that only maps values */
#define WSL_CUDA_NO_TAP          255 /* pool index where ReLU gives 0 */

/* ---- numbers ---- */

WSL_BOTH float wsl_cuda_from_bf16(uint16_t bits)
{
    return wsl_bf16_widen(bits);
}

/* As wsl_bf16_round(), with the hardware's conversion. */
WSL_BOTH uint16_t wsl_cuda_to_bf16(float value)
{
#ifdef __CUDA_ARCH__
    return __bfloat16_as_ushort(__float2bfloat16_rn(value));
#else
    return wsl_bf16_round(value);
#endif
}

/* Hands NaN on. */
WSL_BOTH float wsl_cuda_relu(float x)
{
    return x <= 0 ? 0 : x;
}

/* ---- activations ---- */

WSL_BOTH int wsl_cuda_stored(int channels)
{
    return channels == WSL_CUDA_IMAGE_CHANNELS ? WSL_CUDA_IMAGE_STORED : channels;
}

/* The same for an activation of `pixels` = height * width: an image has more than one of them, and
 * 3 features or 3 logits are no image. */
WSL_BOTH int wsl_cuda_stored_of(int channels, size_t pixels)
{
    return pixels > 1 ? wsl_cuda_stored(channels) : channels;
}

/* Where a stored value of a batch comes from in canonical NCHW; false: padding, always 0. */
WSL_BOTH bool wsl_cuda_canonical(int channels, size_t pixels, size_t stored_index, size_t *ret)
{
    size_t stored = (size_t)wsl_cuda_stored_of(channels, pixels);
    size_t c = stored_index % stored, row = stored_index / stored;

    *ret = (row / pixels * (size_t)channels + c) * pixels + row % pixels;
    return c < (size_t)channels;
}

/* The same for a weight: in = input channels of a group, stored = as many, or with padding; taps =
 * kernel * kernel. */
WSL_BOTH bool wsl_cuda_weight_canonical(int in, int stored, int taps, size_t stored_index,
                                        size_t *ret)
{
    size_t c = stored_index % (size_t)stored, tap = stored_index / (size_t)stored % (size_t)taps;

    *ret = (stored_index / (size_t)stored / (size_t)taps * (size_t)in + c) * (size_t)taps + tap;
    return c < (size_t)in;
}

/* ---- rows ---- */

struct wsl_cuda_rows {
    size_t rows;
    int channels, vec; /* a lane is vec channels */
    int lanes, tx, ty;
    int slabs; /* blocks across the channels */
    int parts; /* blocks across the rows */
};

WSL_BOTH struct wsl_cuda_rows wsl_cuda_rows_init(size_t rows, int channels)
{
    struct wsl_cuda_rows r;

    r.rows = rows;
    r.channels = channels;
    r.vec = channels % 8 == 0 ? 8 : 1;
    r.lanes = channels / r.vec;
    r.tx = 1;
    while (r.tx < 32 && 2 * r.tx <= r.lanes)
        r.tx *= 2;
    r.ty = WSL_CUDA_THREADS / r.tx;
    r.slabs = (r.lanes + r.tx - 1) / r.tx;
    r.parts = 1;
    return r;
}

/* For kernels that sum: few enough parts that adding them up is quick. */
WSL_BOTH struct wsl_cuda_rows wsl_cuda_sum_rows(size_t rows, int channels)
{
    struct wsl_cuda_rows r = wsl_cuda_rows_init(rows, channels);
    size_t few = (rows + (size_t)r.ty - 1) / (size_t)r.ty;
    size_t max = WSL_CUDA_SUM_BLOCKS / (size_t)r.slabs;

    if (max < 16)
        max = 16;
    r.parts = (int)(few < max ? few : max);
    return r;
}

/* For kernels that only map values. */
WSL_BOTH struct wsl_cuda_rows wsl_cuda_map_rows(size_t rows, int channels)
{
    struct wsl_cuda_rows r = wsl_cuda_rows_init(rows, channels);
    size_t each = (size_t)r.ty * WSL_CUDA_ROWS_PER_THREAD;

    r.parts = (int)((rows + each - 1) / each);
    return r;
}

/* One of a kernel's threads: its block's numbers, and its own in it. */
struct wsl_cuda_thread {
    int part, slab, thread;
};

/* A thread's first row, the end of its rows, and its first channel; false: nothing to do. Its rows
 * are *ret_begin, + ty, ... */
WSL_BOTH bool wsl_cuda_rows_of(const struct wsl_cuda_rows *r, struct wsl_cuda_thread t,
                               size_t *ret_begin, size_t *ret_end, int *ret_channel)
{
    int lane = t.slab * r->tx + t.thread % r->tx;

    *ret_begin = r->rows * (size_t)t.part / (size_t)r->parts + (size_t)(t.thread / r->tx);
    *ret_end = r->rows * (size_t)(t.part + 1) / (size_t)r->parts;
    *ret_channel = lane * r->vec;
    return lane < r->lanes;
}

/* Where a part leaves its sum number `which` of a channel; `sums` of them are kept. */
WSL_BOTH size_t wsl_cuda_sum_at(const struct wsl_cuda_rows *r, int sums, int part, int which,
                                int channel)
{
    return ((size_t)part * (size_t)sums + (size_t)which) * (size_t)r->channels + (size_t)channel;
}

/* ---- batch normalisation of one channel ---- */

struct wsl_cuda_affine {
    float mean, rstd, scale, offset; /* y = x * scale + offset */
};

/* From the sums of x - base and (x - base)^2 over m values. */
WSL_BOTH void wsl_cuda_moments(double sum, double squares, double m, double base, double *ret_mean,
                               double *ret_var)
{
    double shift = sum / m, var = squares / m - shift * shift;

    *ret_mean = base + shift;
    *ret_var = var < 0 ? 0 : var;
}

WSL_BOTH float wsl_cuda_running(float running, double batch)
{
    return running + (float)(0.1 * (batch - (double)running));
}

/* One rounding, so that the backward pass finds the same y > 0 as the forward pass. */
WSL_BOTH float wsl_cuda_apply(float x, float scale, float offset)
{
    return fmaf(x, scale, offset);
}

/* dx = scale g + (x - mean) slope + level, from the sums of g and of g (x - mean). */
struct wsl_cuda_slope {
    float dgamma, dbeta, slope, level;
};

WSL_BOTH struct wsl_cuda_slope wsl_cuda_solve(double sum, double product, double m, float rstd,
                                              float scale)
{
    struct wsl_cuda_slope s;
    double dgamma = product * (double)rstd;

    s.dbeta = (float)sum;
    s.dgamma = (float)dgamma;
    s.slope = (float)(-(double)scale * (double)rstd * dgamma / m);
    s.level = (float)(-(double)scale * sum / m);
    return s;
}

WSL_BOTH float wsl_cuda_bn_gradient(float g, float x, float mean, float scale, float slope,
                                    float level)
{
    return scale * g + ((x - mean) * slope + level);
}

/* ---- the stem's pool: 3x3, stride 2, padding 1; tap = 3 * row + column of the window ---- */

struct wsl_cuda_pool {
    int channels, height, width; /* of the input */
    int out_height, out_width;
};

WSL_BOTH struct wsl_cuda_pool wsl_cuda_pool_init(int channels, int height, int width)
{
    struct wsl_cuda_pool p;

    p.channels = channels;
    p.height = height;
    p.width = width;
    p.out_height = (height + 1) / 2;
    p.out_width = (width + 1) / 2;
    return p;
}

/* The input row that tap `tap` of output row `out` sees; false: outside the image. Rows are
 * counted in 32 bits: more of them would not fit in any memory, and 64 bit divisions are slow. */
WSL_BOTH bool wsl_cuda_pool_input(const struct wsl_cuda_pool *p, uint32_t out, int tap, size_t *ret)
{
    uint32_t pixels = (uint32_t)p->out_height * (uint32_t)p->out_width;
    int at = (int)(out % pixels);
    int i = 2 * (at / p->out_width) - 1 + tap / 3, j = 2 * (at % p->out_width) - 1 + tap % 3;

    *ret = ((size_t)(out / pixels) * (size_t)p->height + (size_t)i) * (size_t)p->width + (size_t)j;
    return i >= 0 && i < p->height && j >= 0 && j < p->width;
}

/* The k-th (0 .. 3) window that sees input row `in`, and as which tap; false: there is none. */
WSL_BOTH bool wsl_cuda_pool_window(const struct wsl_cuda_pool *p, uint32_t in, int k,
                                   size_t *ret_out, int *ret_tap)
{
    uint32_t pixels = (uint32_t)p->height * (uint32_t)p->width;
    int at = (int)(in % pixels), row = at / p->width, column = at % p->width;
    int i = row / 2 + k / 2, j = column / 2 + k % 2;

    *ret_tap = (row - (2 * i - 1)) * 3 + column - (2 * j - 1);
    *ret_out = ((size_t)(in / pixels) * (size_t)p->out_height + (size_t)i) * (size_t)p->out_width +
               (size_t)j;
    return i <= (row + 1) / 2 && j <= (column + 1) / 2 && i < p->out_height && j < p->out_width;
}

/* ---- the ends ---- */

/* A pixel's byte of channel c, normalised: mean .485 .456 .406, deviation .229 .224 .225. */
WSL_BOTH float wsl_cuda_normal(uint8_t byte, int c)
{
    float mean = c == 0 ? .485f : c == 1 ? .456f : .406f;
    float deviation = c == 0 ? .229f : c == 1 ? .224f : .225f;

    return ((float)byte / 255.0f - mean) / deviation;
}

/* Does class a come before class b among the answers? Equal ones in the order of classes, NaN last.
 */
WSL_BOTH bool wsl_cuda_before(float x, uint32_t a, float y, uint32_t b)
{
    bool x_nan = x != x, y_nan = y != y;

    if (x_nan || y_nan)
        return y_nan && (!x_nan || a < b);
    return x > y || (x == y && a < b);
}

/* ---- sgd ---- */

/* A run of parameters with one rule, and where their bf16 copies go (NULL: there are none). */
struct wsl_cuda_segment {
    size_t begin, count;
    uint16_t *working;
    float decay;
};

struct wsl_cuda_rates {
    float learning_rate, momentum_factor;
};

WSL_BOTH void wsl_cuda_sgd(float *w, float *momentum, float gradient, float decay,
                           struct wsl_cuda_rates rates)
{
    float g = gradient + decay * *w, u = rates.momentum_factor * *momentum + g;

    *momentum = u;
    *w -= rates.learning_rate * (g + rates.momentum_factor * u);
}

#endif
