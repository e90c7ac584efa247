/* SPDX-License-Identifier: Apache-2.0
 *
 * Compiled once for each instruction set, with WSL_CPU_ISA set by the build.
 * Plain C: the compiler vectorises the innermost loops over channels. */
#include "kernels/cpu/loops.h"

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define CHANNELS_AT_ONCE 64 /* of the pool: its working values stay in L1 */
#define NO_TAP           255

/* Hands NaN on. */
static inline float relu(float x)
{
    return x <= 0 ? 0 : x;
}

/* Rows of an activation, some of their channels. */
struct area {
    size_t rows, channels, pitch;
};

/* Parameters, because the compiler does not trust `restrict` anywhere else. */
static void add_to_sums(const float *restrict x, const struct area *area,
                        const float *restrict base, float *restrict sum, float *restrict squares)
{
    size_t rows = area->rows, channels = area->channels, pitch = area->pitch, r = 0;

    /* Four rows at once: the sums are loaded and stored a quarter as often. */
    for (; r + 4 <= rows; r += 4) {
        const float *a = x + r * pitch, *b = a + pitch, *c = b + pitch, *d = c + pitch;

        for (size_t i = 0; i < channels; i++) {
            float p = a[i] - base[i], q = b[i] - base[i], s = c[i] - base[i], t = d[i] - base[i];

            sum[i] += (p + q) + (s + t);
            squares[i] += (p * p + q * q) + (s * s + t * t);
        }
    }
    for (; r < rows; r++)
        for (size_t i = 0; i < channels; i++) {
            float p = x[r * pitch + i] - base[i];

            sum[i] += p;
            squares[i] += p * p;
        }
}

static void bn_sums(const float *x, size_t rows, size_t channels, size_t pitch,
                    float *const ret_sum_squares_base[3])
{
    float *sum = ret_sum_squares_base[0], *squares = ret_sum_squares_base[1];
    float *base = ret_sum_squares_base[2];

    memset(sum, 0, channels * sizeof(float));
    memset(squares, 0, channels * sizeof(float));
    memcpy(base, x, channels * sizeof(float));
    add_to_sums(x, &(struct area){rows, channels, pitch}, base, sum, squares);
}

/* ---- outputs past the cache ----
 * What is too large to stay in the cache until somebody reads it is stored without reading the old
 * lines first. Rows go through a buffer, so that the loops stay plain. */

#define LANES           WSL_CPU_LANES
#define STREAMED        512 /* floats at once */
#define STREAM_4(p, q)  _mm_stream_ps(p, _mm_load_ps(q))
#define STREAM_8(p, q)  _mm256_stream_ps(p, _mm256_load_ps(q))
#define STREAM_16(p, q) _mm512_stream_ps(p, _mm512_load_ps(q))
#define STREAM_OF(n)    WSL_CPU_PASTE(STREAM, n)
#define ALIGNMENT       (LANES * sizeof(float))

struct streamed {
    _Alignas(64) float values[STREAMED];
};

static inline void stream(const struct streamed *from, size_t floats, float *to)
{
    for (size_t i = 0; i < floats; i += LANES)
        STREAM_OF(WSL_CPU_LANES)(to + i, from->values + i);
}

static inline bool streams(bool wanted, const float *to, size_t channels)
{
    return wanted && channels % LANES == 0 && (uintptr_t)to % ALIGNMENT == 0;
}

static inline size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

static void bn_relu(const float *restrict x, size_t rows, size_t channels,
                    const struct wsl_cpu_affine *a, bool past_cache, float *restrict y)
{
    const float *restrict scale = a->scale, *restrict offset = a->offset;
    struct streamed out;

    if (!streams(past_cache, y, channels)) {
        for (size_t r = 0; r < rows; r++, x += channels, y += channels)
            for (size_t i = 0; i < channels; i++)
                y[i] = relu(x[i] * scale[i] + offset[i]);
        return;
    }
    for (size_t r = 0; r < rows; r++, x += channels, y += channels)
        for (size_t c = 0; c < channels; c += STREAMED) {
            size_t n = min_size(channels - c, STREAMED);

            for (size_t i = 0; i < n; i++)
                out.values[i] = relu(x[c + i] * scale[c + i] + offset[c + i]);
            stream(&out, n, y + c);
        }
    _mm_sfence();
}

static void bn_relu_sums(const float *restrict dy, const float *restrict x, size_t rows,
                         size_t channels, const struct wsl_cpu_affine *a, float *const ret_sums[2])
{
    const float *restrict mean = a->mean, *restrict scale = a->scale, *restrict offset = a->offset;
    float *restrict sum = ret_sums[0], *restrict product = ret_sums[1];
    size_t r = 0;

    memset(sum, 0, channels * sizeof(float));
    memset(product, 0, channels * sizeof(float));
    for (; r + 2 <= rows; r += 2, x += 2 * channels, dy += 2 * channels)
        for (size_t i = 0; i < channels; i++) {
            /* Loaded whatever the comparison says: else this does not become vectors. */
            float u = x[i], v = x[i + channels], d = dy[i], e = dy[i + channels];
            float g = u * scale[i] + offset[i] > 0 ? d : 0;
            float h = v * scale[i] + offset[i] > 0 ? e : 0;

            sum[i] += g + h;
            product[i] += g * (u - mean[i]) + h * (v - mean[i]);
        }
    for (; r < rows; r++)
        for (size_t i = 0; i < channels; i++) {
            float d = dy[i], g = x[i] * scale[i] + offset[i] > 0 ? d : 0;

            sum[i] += g;
            product[i] += g * (x[i] - mean[i]);
        }
}

static void bn_relu_gradient(const float *dy, const float *restrict x, size_t rows, size_t channels,
                             const struct wsl_cpu_bn_gradient *k, const float *offset_and_dx[2])
{
    const float *restrict mean = k->mean, *restrict scale = k->scale, *restrict slope = k->slope;
    const float *restrict level = k->level, *restrict offset = offset_and_dx[0];
    float *dx = (float *)offset_and_dx[1];

    for (size_t r = 0; r < rows; r++, x += channels, dy += channels, dx += channels) {
        /* dx and dy are the same row or distinct rows, never shifted. */
#pragma GCC ivdep
        for (size_t i = 0; i < channels; i++) {
            float d = dy[i], g = x[i] * scale[i] + offset[i] > 0 ? d : 0;

            dx[i] = scale[i] * g + (x[i] - mean[i]) * slope[i] + level[i];
        }
    }
}

static void bn_gradient(const struct wsl_cpu_rows *of, const struct wsl_cpu_bn_gradient *k,
                        const float *g, const float *restrict x, float *dx)
{
    size_t rows = of->rows, channels = of->channels;
    const float *restrict mean = k->mean, *restrict scale = k->scale, *restrict slope = k->slope;
    const float *restrict level = k->level;
    struct streamed out;

    if (dx == g || !streams(of->past_cache, dx, channels)) {
        for (size_t r = 0; r < rows; r++, x += channels, g += channels, dx += channels) {
#pragma GCC ivdep
            for (size_t i = 0; i < channels; i++)
                dx[i] = scale[i] * g[i] + (x[i] - mean[i]) * slope[i] + level[i];
        }
        return;
    }
    for (size_t r = 0; r < rows; r++, x += channels, g += channels, dx += channels)
        for (size_t c = 0; c < channels; c += STREAMED) {
            size_t n = min_size(channels - c, STREAMED);

            for (size_t i = 0; i < n; i++)
                out.values[i] = scale[c + i] * g[c + i] + (x[c + i] - mean[c + i]) * slope[c + i] +
                                level[c + i];
            stream(&out, n, dx + c);
        }
    _mm_sfence();
}

/* From channel c on; nothing of nothing. */
static inline struct wsl_cpu_affine from_channel(const struct wsl_cpu_affine *a, size_t c)
{
    if (!a)
        return (struct wsl_cpu_affine){0};
    return (struct wsl_cpu_affine){a->mean + c, a->scale + c, a->offset + c};
}

/* n values of a row; b->scale NULL: z is added as it is. */
static inline void add_relu_values(const float *restrict x, const float *restrict z, size_t n,
                                   const struct wsl_cpu_affine *a, const struct wsl_cpu_affine *b,
                                   float *restrict y)
{
    const float *restrict scale = a->scale, *restrict offset = a->offset;

    if (b->scale) {
        const float *restrict scale_z = b->scale, *restrict offset_z = b->offset;

        for (size_t i = 0; i < n; i++)
            y[i] = relu(x[i] * scale[i] + offset[i] + (z[i] * scale_z[i] + offset_z[i]));
    } else {
        for (size_t i = 0; i < n; i++)
            y[i] = relu(x[i] * scale[i] + offset[i] + z[i]);
    }
}

static void add_relu(const struct wsl_cpu_rows *of, const struct wsl_cpu_affine *a,
                     const struct wsl_cpu_affine *b, const float *const x_and_z[2],
                     float *restrict y)
{
    struct wsl_cpu_affine all_a = from_channel(a, 0), all_b = from_channel(b, 0);
    size_t rows = of->rows, channels = of->channels;
    const float *restrict x = x_and_z[0], *restrict z = x_and_z[1];
    struct streamed out;

    if (!streams(of->past_cache, y, channels)) {
        for (size_t r = 0; r < rows; r++, x += channels, z += channels, y += channels)
            add_relu_values(x, z, channels, &all_a, &all_b, y);
        return;
    }
    for (size_t r = 0; r < rows; r++, x += channels, z += channels, y += channels)
        for (size_t c = 0; c < channels; c += STREAMED) {
            size_t n = min_size(channels - c, STREAMED);
            struct wsl_cpu_affine some_a = from_channel(a, c), some_b = from_channel(b, c);

            add_relu_values(x + c, z + c, n, &some_a, &some_b, out.values);
            stream(&out, n, y + c);
        }
    _mm_sfence();
}

static void add_relu_sums(const float *const dy_y_x_z[4], size_t rows, size_t channels,
                          const float *const means[2], float *g, float *const ret_sums[3])
{
    const float *dy = dy_y_x_z[0], *restrict y = dy_y_x_z[1], *restrict x = dy_y_x_z[2];
    const float *restrict z = dy_y_x_z[3], *restrict mean = means[0], *restrict mean_z = means[1];
    float *restrict sum = ret_sums[0], *restrict product = ret_sums[1];
    float *restrict product_z = ret_sums[2];

    for (int s = 0; s < (z ? 3 : 2); s++)
        memset(ret_sums[s], 0, channels * sizeof(float));
    for (size_t r = 0; r < rows; r++, dy += channels, g += channels, y += channels, x += channels) {
#pragma GCC ivdep
        for (size_t i = 0; i < channels; i++) {
            float d = dy[i], v = y[i] > 0 ? d : 0;

            g[i] = v;
            sum[i] += v;
            product[i] += v * (x[i] - mean[i]);
        }
        if (!z)
            continue;
#pragma GCC ivdep
        for (size_t i = 0; i < channels; i++)
            product_z[i] += g[i] * (z[i] - mean_z[i]);
        z += channels;
    }
}

/* ---- the stem's pool ---- */

/* The window at (i, j), channels [c, c + n), n <= CHANNELS_AT_ONCE. */
struct window {
    int i, j;
    size_t c, n;
};

/* Largest of a window. */
static inline void pool_window(const struct wsl_cpu_pool *pool, const float *x,
                               const struct window *w, float *restrict y, uint8_t *restrict index)
{
    const int i = w->i, j = w->j;
    const size_t c = w->c, n = w->n;
    const float *restrict scale = pool->affine.scale + c, *restrict offset =
                                                              pool->affine.offset + c;
    float best[CHANNELS_AT_ONCE];
    int32_t tap[CHANNELS_AT_ONCE];

    for (size_t k = 0; k < n; k++) {
        best[k] = 0;
        tap[k] = NO_TAP;
    }
    for (int t = 0; t < 9; t++) {
        int row = 2 * i - 1 + t / 3, column = 2 * j - 1 + t % 3;
        const float *restrict in;

        if (row < 0 || row >= pool->in.height || column < 0 || column >= pool->in.width)
            continue;
        in = x + ((size_t)row * (size_t)pool->in.width + (size_t)column) * pool->channels + c;
        for (size_t k = 0; k < n; k++) {
            float v = in[k] * scale[k] + offset[k];
            bool more = !(v <= best[k]);

            best[k] = more ? v : best[k];
            tap[k] = more ? t : tap[k];
        }
    }
    for (size_t k = 0; k < n; k++) {
        y[k] = best[k];
        index[k] = (uint8_t)tap[k];
    }
}

static void pool(const struct wsl_cpu_pool *p, const float *x, float *y, uint8_t *index)
{
    for (int i = 0; i < p->out.height; i++)
        for (int j = 0; j < p->out.width; j++) {
            size_t at = ((size_t)i * (size_t)p->out.width + (size_t)j) * p->channels;

            for (size_t c = 0; c < p->channels; c += CHANNELS_AT_ONCE) {
                size_t n = p->channels - c < CHANNELS_AT_ONCE ? p->channels - c : CHANNELS_AT_ONCE;

                pool_window(p, x, &(struct window){i, j, c, n}, y + at + c, index + at + c);
            }
        }
}

/* g of one input pixel: what its (at most four) windows pass on to it. */
static void pool_pixel(const struct wsl_cpu_pool *p, const float *dy, const uint8_t *index, int row,
                       int column, float *restrict g)
{
    memset(g, 0, p->channels * sizeof(float));
    for (int i = row / 2; i <= (row + 1) / 2 && i < p->out.height; i++)
        for (int j = column / 2; j <= (column + 1) / 2 && j < p->out.width; j++) {
            size_t at = ((size_t)i * (size_t)p->out.width + (size_t)j) * p->channels;
            const float *restrict d = dy + at;
            const uint8_t *restrict won = index + at;
            int tap = (row - (2 * i - 1)) * 3 + column - (2 * j - 1);

            for (size_t k = 0; k < p->channels; k++) {
                float v = d[k];

                g[k] += won[k] == tap ? v : 0;
            }
        }
}

static void pool_sums(const struct wsl_cpu_pool *p, const float *dy, const uint8_t *index,
                      const float *x, float *g, float *const ret_sums[2])
{
    float *restrict sum = ret_sums[0], *restrict product = ret_sums[1];
    const float *restrict mean = p->affine.mean;
    size_t at = 0;

    memset(sum, 0, p->channels * sizeof(float));
    memset(product, 0, p->channels * sizeof(float));
    for (int row = 0; row < p->in.height; row++)
        for (int column = 0; column < p->in.width; column++, at += p->channels) {
            const float *restrict in = x + at;
            float *restrict out = g + at;

            pool_pixel(p, dy, index, row, column, out);
            for (size_t k = 0; k < p->channels; k++) {
                sum[k] += out[k];
                product[k] += out[k] * (in[k] - mean[k]);
            }
        }
}

/* ---- simple ones ---- */

static void row_sum(const float *restrict x, size_t rows, size_t channels, float factor,
                    float *restrict y)
{
    memset(y, 0, channels * sizeof(float));
    for (size_t r = 0; r < rows; r++, x += channels)
        for (size_t i = 0; i < channels; i++)
            y[i] += x[i];
    for (size_t i = 0; i < channels; i++)
        y[i] *= factor;
}

static void row_fill(const float *restrict x, size_t rows, size_t channels, float factor,
                     float *restrict y)
{
    for (size_t r = 0; r < rows; r++, y += channels)
        for (size_t i = 0; i < channels; i++)
            y[i] = factor * x[i];
}

static void add(const float *restrict x, size_t count, float *restrict y)
{
    for (size_t i = 0; i < count; i++)
        y[i] += x[i];
}

static void sgd(const struct wsl_sgd *s, size_t begin, size_t end, bool decay)
{
    const float *restrict gradients = s->gradients;
    float *restrict parameters = s->parameters, *restrict momentum = s->momentum;
    float rate = s->learning_rate, m = s->momentum_factor, d = decay ? s->weight_decay : 0;

    for (size_t i = begin; i < end; i++) {
        float g = gradients[i] + d * parameters[i];
        float u = m * momentum[i] + g;

        momentum[i] = u;
        parameters[i] -= rate * (g + m * u);
    }
}

static void scale(float *x, size_t count, float factor)
{
    for (size_t i = 0; i < count; i++)
        x[i] *= factor;
}

static uint32_t max_abs(const float *x, size_t count)
{
    uint32_t bits_max = 0;

    for (size_t i = 0; i < count; i++) {
        uint32_t bits;

        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffff;
        bits_max = bits > bits_max ? bits : bits_max;
    }
    return bits_max;
}

const struct wsl_cpu_loops WSL_CPU_NAME(wsl_cpu_loops) = {
    .sweeps = &WSL_CPU_NAME(wsl_grouped_sweeps),
    .gradients = &WSL_CPU_NAME(wsl_grouped_gradients),
    .bn_sums = bn_sums,
    .bn_relu = bn_relu,
    .bn_relu_sums = bn_relu_sums,
    .bn_relu_gradient = bn_relu_gradient,
    .bn_gradient = bn_gradient,
    .add_relu = add_relu,
    .add_relu_sums = add_relu_sums,
    .pool = pool,
    .pool_sums = pool_sums,
    .row_sum = row_sum,
    .row_fill = row_fill,
    .add = add,
    .sgd = sgd,
    .scale = scale,
    .max_abs = max_abs,
};
