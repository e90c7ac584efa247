/* SPDX-License-Identifier: Apache-2.0
 *
 * The launchers of kernels/cuda/launch.h as plain loops on the host, for tests of the backend's C
 * half without a GPU. The formulas are layout.h's; nothing of the .cu files is in here. */
#include "kernels/cuda/launch.h"
#include "tests/gpu/fake_gpu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static float get(const void *x, bool f32, size_t i)
{
    return f32 ? ((const float *)x)[i] : wsl_cuda_from_bf16(((const uint16_t *)x)[i]);
}

static void put(void *x, bool f32, size_t i, float value)
{
    if (f32)
        ((float *)x)[i] = value;
    else
        ((uint16_t *)x)[i] = wsl_cuda_to_bf16(value);
}

/* ---- normalisation ---- */

static void fold(const struct wsl_cuda_bn *bn, int c, double mean, double var)
{
    double rstd = 1 / sqrt(var + 1e-5), scale = (double)bn->gamma[c] * rstd;

    bn->saved.mean[c] = (float)mean;
    bn->saved.rstd[c] = (float)rstd;
    bn->saved.scale[c] = (float)scale;
    bn->saved.offset[c] = (float)((double)bn->beta[c] - mean * scale);
}

static void bn_batch(const struct wsl_cuda_norm *n, const void *x)
{
    size_t channels = (size_t)n->bn.channels;
    double m = (double)n->rows;

    for (size_t c = 0; c < channels; c++) {
        double sum = 0, squares = 0, mean, var, base = (double)get(x, n->f32, c);

        for (size_t r = 0; r < n->rows; r++) {
            double d = (double)get(x, n->f32, r * channels + c) - base;

            sum += d;
            squares += d * d;
        }
        wsl_cuda_moments(sum, squares, m, base, &mean, &var);
        fold(&n->bn, (int)c, mean, var);
        n->bn.running_mean[c] = wsl_cuda_running(n->bn.running_mean[c], mean);
        n->bn.running_var[c] =
            wsl_cuda_running(n->bn.running_var[c], m > 1 ? var * m / (m - 1) : var);
    }
}

static void bn_running(const struct wsl_cuda_norm *n)
{
    for (int c = 0; c < n->bn.channels; c++)
        fold(&n->bn, c, (double)n->bn.running_mean[c], (double)n->bn.running_var[c]);
}

static float applied(const struct wsl_cuda_bn *bn, bool f32, const void *x, size_t i)
{
    size_t c = i % (size_t)bn->channels;

    return wsl_cuda_apply(get(x, f32, i), bn->saved.scale[c], bn->saved.offset[c]);
}

static void bn_relu(const struct wsl_cuda_norm *n, const void *x, void *y)
{
    for (size_t i = 0; i < n->rows * (size_t)n->bn.channels; i++)
        put(y, n->f32, i, wsl_cuda_relu(applied(&n->bn, n->f32, x, i)));
}

/* dx from g, where x is bn's input; dx may be g. */
static void gradient(const struct wsl_cuda_norm *n, const struct wsl_cuda_bn *bn, const void *g,
                     const void *x, void *dx)
{
    size_t channels = (size_t)bn->channels;

    for (size_t c = 0; c < channels; c++) {
        double sum = 0, product = 0;
        struct wsl_cuda_slope s;

        for (size_t i = c; i < n->rows * channels; i += channels) {
            double v = (double)get(g, n->f32, i);

            sum += v;
            product += v * ((double)get(x, n->f32, i) - (double)bn->saved.mean[c]);
        }
        s = wsl_cuda_solve(sum, product, (double)n->rows, bn->saved.rstd[c], bn->saved.scale[c]);
        bn->dgamma[c] = s.dgamma;
        bn->dbeta[c] = s.dbeta;
        for (size_t i = c; i < n->rows * channels; i += channels)
            put(dx, n->f32, i,
                wsl_cuda_bn_gradient(get(g, n->f32, i), get(x, n->f32, i), bn->saved.mean[c],
                                     bn->saved.scale[c], s.slope, s.level));
    }
}

static void bn_gradient(const struct wsl_cuda_norm *n, const void *g, const void *x, void *dx)
{
    gradient(n, &n->bn, g, x, dx);
}

static void bn_relu_backward(const struct wsl_cuda_norm *n, const void *dy, const void *x, void *dx)
{
    for (size_t i = 0; i < n->rows * (size_t)n->bn.channels; i++)
        put(dx, n->f32, i, applied(&n->bn, n->f32, x, i) > 0 ? get(dy, n->f32, i) : 0);
    gradient(n, &n->bn, dx, x, dx);
}

static void add_relu(const struct wsl_cuda_norm *n, const struct wsl_cuda_bn *shortcut_bn,
                     const void *x, const void *z, void *y)
{
    for (size_t i = 0; i < n->rows * (size_t)n->bn.channels; i++) {
        float shortcut = shortcut_bn ? applied(shortcut_bn, n->f32, z, i) : get(z, n->f32, i);

        put(y, n->f32, i, wsl_cuda_relu(applied(&n->bn, n->f32, x, i) + shortcut));
    }
}

static void add_relu_backward(const struct wsl_cuda_norm *n, const struct wsl_cuda_bn *shortcut_bn,
                              const struct wsl_cuda_add_relu_gradient *j)
{
    for (size_t i = 0; i < n->rows * (size_t)n->bn.channels; i++)
        put(j->dz, n->f32, i, get(j->y, n->f32, i) > 0 ? get(j->dy, n->f32, i) : 0);
    gradient(n, &n->bn, j->dz, j->x, j->dx);
    if (shortcut_bn)
        gradient(n, shortcut_bn, j->dz, j->z, j->dz);
}

/* ---- pools ---- */

static void pool(const struct wsl_cuda_norm *n, const struct wsl_cuda_pool *pool, const void *x,
                 void *y, uint8_t *index)
{
    size_t channels = (size_t)pool->channels;
    size_t rows = n->rows / ((size_t)pool->height * (size_t)pool->width) *
                  (size_t)pool->out_height * (size_t)pool->out_width;

    for (size_t i = 0; i < rows * channels; i++) {
        float best = 0;
        size_t in;

        index[i] = WSL_CUDA_NO_TAP;
        for (int t = 0; t < 9; t++) {
            float v;

            if (!wsl_cuda_pool_input(pool, (uint32_t)(i / channels), t, &in))
                continue;
            v = applied(&n->bn, n->f32, x, in * channels + i % channels);
            if (!(v <= best)) {
                best = v;
                index[i] = (uint8_t)t;
            }
        }
        put(y, n->f32, i, best);
    }
}

/* The sums are left to `gradient`, which adds them up itself. */
static void pool_sums(const struct wsl_cuda_norm *n, const struct wsl_cuda_pool *pool,
                      const void *dy, const uint8_t *index, const void *x, void *g)
{
    size_t channels = (size_t)pool->channels;

    (void)x;
    for (size_t i = 0; i < n->rows * channels; i++) {
        float sum = 0;
        size_t out;
        int tap;

        for (int k = 0; k < 4; k++)
            if (wsl_cuda_pool_window(pool, (uint32_t)(i / channels), k, &out, &tap) &&
                index[out * channels + i % channels] == tap)
                sum += get(dy, n->f32, out * channels + i % channels);
        put(g, n->f32, i, sum);
    }
}

static void average(cudaStream_t stream, bool f32, int count, size_t pixels, int channels,
                    const void *x, void *y)
{
    (void)stream;
    for (size_t i = 0; i < (size_t)count * (size_t)channels; i++) {
        float sum = 0;

        for (size_t p = 0; p < pixels; p++)
            sum +=
                get(x, f32,
                    (i / (size_t)channels * pixels + p) * (size_t)channels + i % (size_t)channels);
        put(y, f32, i, sum / (float)pixels);
    }
}

static void spread(cudaStream_t stream, bool f32, int count, size_t pixels, int channels,
                   const void *dy, void *dx)
{
    size_t image = pixels * (size_t)channels;

    (void)stream;
    for (size_t i = 0; i < (size_t)count * image; i++)
        put(dx, f32, i,
            get(dy, f32, i / image * (size_t)channels + i % (size_t)channels) / (float)pixels);
}

/* ---- the ends ---- */

cudaError_t wsl_cuda_launch_input(cudaStream_t stream, bool f32, const uint8_t *pixels,
                                  size_t count, void *x)
{
    if (fake_gpu_fails("the kernel input"))
        return cudaErrorLaunchFailure;
    fake_gpu_run_alone("input");
    (void)stream;
    for (size_t i = 0; i < count; i++)
        for (int c = 0; c < WSL_CUDA_IMAGE_STORED; c++)
            put(x, f32, i * WSL_CUDA_IMAGE_STORED + (size_t)c,
                c < 3 ? wsl_cuda_normal(pixels[i * 3 + (size_t)c], c) : 0);
    return cudaSuccess;
}

/* One image: its loss, its rank, and its gradient. */
static void image_loss(const struct wsl_cuda_loss *l, size_t n)
{
    size_t classes = (size_t)l->classes, at = n * classes;
    uint32_t begin = l->begin[n], end = l->begin[n + 1];
    double largest = -INFINITY, sum = 0, k = end - begin;
    int rank = l->classes;

    for (size_t o = 0; o < classes; o++)
        largest = fmax(largest, (double)get(l->logits, l->f32, at + o));
    for (size_t o = 0; o < classes; o++)
        sum += exp((double)get(l->logits, l->f32, at + o) - largest);
    l->images[n].loss = 0;
    for (uint32_t i = begin; i < end; i++) {
        float own = get(l->logits, l->f32, at + l->tags[i]);
        int before = 0;

        for (uint32_t o = 0; o < classes; o++)
            before += wsl_cuda_before(get(l->logits, l->f32, at + o), o, own, l->tags[i]);
        rank = before < rank ? before : rank;
        l->images[n].loss += (log(sum) + largest - (double)own) / k;
    }
    l->images[n].hit1 = rank < 1;
    l->images[n].hit5 = rank < 5;
    for (uint32_t o = 0; l->dlogits && o < classes; o++) {
        double p = exp((double)get(l->logits, l->f32, at + o) - largest) / sum;

        for (uint32_t i = begin; i < end; i++)
            p -= l->tags[i] == o ? 1 / k : 0;
        put(l->dlogits, l->f32, at + o, l->scale * (float)p);
    }
}

cudaError_t wsl_cuda_launch_loss(const struct wsl_cuda_loss *l)
{
    if (fake_gpu_fails("the kernel loss"))
        return cudaErrorLaunchFailure;
    fake_gpu_run_alone("loss");
    for (int n = 0; n < l->count; n++)
        image_loss(l, (size_t)n);
    return cudaSuccess;
}

cudaError_t wsl_cuda_launch_loss_total(const struct wsl_cuda_loss *l)
{
    struct wsl_cuda_loss_image total = {0};

    if (fake_gpu_fails("the kernel loss_total"))
        return cudaErrorLaunchFailure;
    fake_gpu_run_alone("loss_total");
    for (int n = 0; n < l->count; n++) {
        total.loss += l->images[n].loss;
        total.hit1 += l->images[n].hit1;
        total.hit5 += l->images[n].hit5;
    }
    *l->total = total;
    return cudaSuccess;
}

static void product(const struct wsl_cuda_product *p)
{
    for (size_t m = 0; m < (size_t)p->m; m++)
        for (size_t n = 0; n < (size_t)p->n; n++) {
            float sum = p->bias ? p->bias[n] : 0;

            for (size_t k = 0; k < (size_t)p->k; k++)
                sum += get(p->a.data, p->a.type == WSL_CUDA_FLOAT, m * p->a.row + k * p->a.column) *
                       get(p->b.data, p->b.type == WSL_CUDA_FLOAT, k * p->b.row + n * p->b.column);
            put(p->c, p->c_type == WSL_CUDA_FLOAT, m * (size_t)p->n + n, sum);
        }
}

static void column_sums(cudaStream_t stream, bool f32, int rows, int columns, const void *x,
                        float *y)
{
    (void)stream;
    for (size_t c = 0; c < (size_t)columns; c++) {
        y[c] = 0;
        for (size_t r = 0; r < (size_t)rows; r++)
            y[c] += get(x, f32, r * (size_t)columns + c);
    }
}

/* ---- blocks ---- */

cudaError_t wsl_cuda_launch_sgd(cudaStream_t stream, const struct wsl_cuda_segments *segments,
                                float *parameters, float *momentum, const float *gradients,
                                struct wsl_cuda_rates rates)
{
    if (fake_gpu_fails("the kernel sgd"))
        return cudaErrorLaunchFailure;
    fake_gpu_run_alone("sgd");
    (void)stream;
    for (int s = 0; s < segments->count; s++)
        for (size_t i = 0; i < segments->items[s].count; i++) {
            size_t at = segments->items[s].begin + i;

            wsl_cuda_sgd(&parameters[at], &momentum[at], gradients[at], segments->items[s].decay,
                         rates);
            if (segments->items[s].working)
                segments->items[s].working[i] = wsl_cuda_to_bf16(parameters[at]);
        }
    return cudaSuccess;
}

cudaError_t wsl_cuda_launch_scale(cudaStream_t stream, float *block, size_t count, float factor)
{
    if (fake_gpu_fails("the kernel scale"))
        return cudaErrorLaunchFailure;
    fake_gpu_run_alone("scale");
    (void)stream;
    for (size_t i = 0; i < count; i++)
        block[i] *= factor;
    return cudaSuccess;
}

cudaError_t wsl_cuda_launch_accumulate(cudaStream_t stream, float *block, float *more, size_t count)
{
    (void)stream;
    for (size_t i = 0; i < count; i++) {
        block[i] += more[i];
        more[i] = 0;
    }
    return cudaSuccess;
}

cudaError_t wsl_cuda_launch_max_abs(cudaStream_t stream, const float *block, size_t count,
                                    uint32_t *ret_bits)
{
    (void)stream;
    *ret_bits = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t bits;

        memcpy(&bits, &block[i], sizeof bits);
        bits &= 0x7fffffff;
        *ret_bits = bits > *ret_bits ? bits : *ret_bits;
    }
    return cudaSuccess;
}

cudaError_t wsl_cuda_launch_narrow(cudaStream_t stream, const float *from, size_t count,
                                   uint16_t *to)
{
    if (fake_gpu_fails("the kernel narrow"))
        return cudaErrorLaunchFailure;
    fake_gpu_run_alone("narrow");
    (void)stream;
    for (size_t i = 0; i < count; i++)
        to[i] = wsl_cuda_to_bf16(from[i]);
    return cudaSuccess;
}

static void widen(cudaStream_t stream, const uint16_t *from, size_t count, float *to)
{
    (void)stream;
    for (size_t i = 0; i < count; i++)
        to[i] = wsl_cuda_from_bf16(from[i]);
}

/* ---- launching: a kernel's arguments as a job ---- */

struct launch {
    struct wsl_cuda_norm norm;
    struct wsl_cuda_bn bn;
    struct wsl_cuda_pool pool;
    struct wsl_cuda_product product;
    bool f32, has_bn;
    int count, channels;
    size_t size;
    const void *in[4];
    void *out[2];
};

static cudaError_t start(const char *name, void (*run)(const void *data), const struct launch *l)
{
    const void *pointers[6] = {l->in[0], l->in[1], l->in[2], l->in[3], l->out[0], l->out[1]};

    if (fake_gpu_fails(name))
        return cudaErrorLaunchFailure;
    fake_gpu_run(&(struct fake_gpu_job){name, run, l, sizeof *l, pointers, 6});
    return cudaSuccess;
}

/* The launcher of a kernel: `call` are its arguments out of `l`. */
#define KERNEL(name, call)                                                                         \
    static void name##_job(const void *data)                                                       \
    {                                                                                              \
        const struct launch *l = data;                                                             \
                                                                                                   \
        name call;                                                                                 \
    }
#define LAUNCH(name, ...)                                                                          \
    struct launch l = {0};                                                                         \
                                                                                                   \
    __VA_ARGS__;                                                                                   \
    return start("the kernel " #name, name##_job, &l)

KERNEL(bn_batch, (&l->norm, l->in[0]))
KERNEL(bn_running, (&l->norm))
KERNEL(bn_relu, (&l->norm, l->in[0], l->out[0]))
KERNEL(bn_gradient, (&l->norm, l->in[0], l->in[1], l->out[0]))
KERNEL(bn_relu_backward, (&l->norm, l->in[0], l->in[1], l->out[0]))
KERNEL(add_relu, (&l->norm, l->has_bn ? &l->bn : NULL, l->in[0], l->in[1], l->out[0]))
KERNEL(pool, (&l->norm, &l->pool, l->in[0], l->out[0], l->out[1]))
KERNEL(pool_sums, (&l->norm, &l->pool, l->in[0], l->in[1], l->in[2], l->out[0]))
KERNEL(average, (NULL, l->f32, l->count, l->size, l->channels, l->in[0], l->out[0]))
KERNEL(spread, (NULL, l->f32, l->count, l->size, l->channels, l->in[0], l->out[0]))
KERNEL(product, (&l->product))
KERNEL(column_sums, (NULL, l->f32, l->count, l->channels, l->in[0], l->out[0]))
KERNEL(widen, (NULL, l->in[0], l->size, l->out[0]))
static void add_relu_backward_job(const void *data)
{
    const struct launch *l = data;
    struct wsl_cuda_add_relu_gradient j = {l->in[0], l->in[1],  l->in[2],
                                           l->in[3], l->out[0], l->out[1]};

    add_relu_backward(&l->norm, l->has_bn ? &l->bn : NULL, &j);
}

cudaError_t wsl_cuda_launch_bn_batch(const struct wsl_cuda_norm *n, const void *x)
{
    LAUNCH(bn_batch, l.norm = *n, l.in[0] = x);
}

cudaError_t wsl_cuda_launch_bn_running(const struct wsl_cuda_norm *n)
{
    LAUNCH(bn_running, l.norm = *n, l.in[0] = n->bn.running_mean);
}

cudaError_t wsl_cuda_launch_bn_relu(const struct wsl_cuda_norm *n, const void *x, void *y)
{
    LAUNCH(bn_relu, l.norm = *n, l.in[0] = x, l.out[0] = y);
}

cudaError_t wsl_cuda_launch_bn_gradient(const struct wsl_cuda_norm *n, const void *g, const void *x,
                                        void *dx)
{
    LAUNCH(bn_gradient, l.norm = *n, l.in[0] = g, l.in[1] = x, l.out[0] = dx);
}

cudaError_t wsl_cuda_launch_bn_relu_backward(const struct wsl_cuda_norm *n, const void *dy,
                                             const void *x, void *dx)
{
    LAUNCH(bn_relu_backward, l.norm = *n, l.in[0] = dy, l.in[1] = x, l.out[0] = dx);
}

cudaError_t wsl_cuda_launch_add_relu(const struct wsl_cuda_norm *n,
                                     const struct wsl_cuda_bn *shortcut_bn, const void *x,
                                     const void *z, void *y)
{
    LAUNCH(add_relu, l.norm = *n, l.has_bn = shortcut_bn, l.in[0] = x, l.in[1] = z, l.out[0] = y,
           l.bn = shortcut_bn ? *shortcut_bn : l.bn);
}

cudaError_t wsl_cuda_launch_add_relu_backward(const struct wsl_cuda_norm *n,
                                              const struct wsl_cuda_bn *shortcut_bn,
                                              const struct wsl_cuda_add_relu_gradient *j)
{
    LAUNCH(add_relu_backward, l.norm = *n, l.has_bn = shortcut_bn, l.in[0] = j->dy, l.in[1] = j->y,
           l.in[2] = j->x, l.in[3] = j->z, l.out[0] = j->dx, l.out[1] = j->dz,
           l.bn = shortcut_bn ? *shortcut_bn : l.bn);
}

cudaError_t wsl_cuda_launch_pool(const struct wsl_cuda_norm *n, const struct wsl_cuda_pool *pool,
                                 const void *x, void *y, uint8_t *index)
{
    LAUNCH(pool, l.norm = *n, l.pool = *pool, l.in[0] = x, l.out[0] = y, l.out[1] = index);
}

cudaError_t wsl_cuda_launch_pool_sums(const struct wsl_cuda_norm *n,
                                      const struct wsl_cuda_pool *pool, const void *dy,
                                      const uint8_t *index, const void *x, void *g)
{
    LAUNCH(pool_sums, l.norm = *n, l.pool = *pool, l.in[0] = dy, l.in[1] = index, l.in[2] = x,
           l.out[0] = g);
}

cudaError_t wsl_cuda_launch_average(const struct wsl_cuda_average *a, const void *x, void *y)
{
    LAUNCH(average, l.f32 = a->f32, l.count = a->count, l.size = a->pixels,
           l.channels = a->channels, l.in[0] = x, l.out[0] = y);
}

cudaError_t wsl_cuda_launch_spread(const struct wsl_cuda_average *a, const void *dy, void *dx)
{
    LAUNCH(spread, l.f32 = a->f32, l.count = a->count, l.size = a->pixels, l.channels = a->channels,
           l.in[0] = dy, l.out[0] = dx);
}

cudaError_t wsl_cuda_launch_product(const struct wsl_cuda_product *p)
{
    LAUNCH(product, l.product = *p, l.in[0] = p->a.data, l.in[1] = p->b.data, l.out[0] = p->c);
}

cudaError_t wsl_cuda_launch_column_sums(cudaStream_t stream, bool f32, int rows, int columns,
                                        const void *x, float *y)
{
    (void)stream;
    LAUNCH(column_sums, l.f32 = f32, l.count = rows, l.channels = columns, l.in[0] = x,
           l.out[0] = y);
}

cudaError_t wsl_cuda_launch_widen(cudaStream_t stream, const uint16_t *from, size_t count,
                                  float *to)
{
    (void)stream;
    LAUNCH(widen, l.in[0] = from, l.size = count, l.out[0] = to);
}
