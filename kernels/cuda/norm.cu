/* SPDX-License-Identifier: Apache-2.0
 *
 * Batch normalisation and what is fused with it. Every kernel reads each activation once; a pass
 * forward is sums, finish, apply, a pass backward is sums, finish, apply. */
#include "kernels/cuda/lanes.cuh"

#define EPSILON          1e-5
#define FINISH_CHANNELS  8
#define FINISH_PART_ROWS 32 /* threads that share the parts of a channel */

/* ---- adding up the parts ---- */

/* Of one channel, by the FINISH_PART_ROWS threads of a column: each every 32nd part, then theirs in
 * order. The result is valid in the first row. */
static __device__ double total_of(const float *partial, const struct wsl_cuda_rows &r, int sums,
                                  int which, int channel)
{
    __shared__ double all[FINISH_PART_ROWS][FINISH_CHANNELS];
    double sum = 0;

    if (channel < r.channels)
        for (int part = (int)threadIdx.y; part < r.parts; part += FINISH_PART_ROWS)
            sum += (double)partial[wsl_cuda_sum_at(&r, sums, part, which, channel)];
    __syncthreads();
    all[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0)
        for (int y = 1; y < FINISH_PART_ROWS; y++)
            sum += all[y][threadIdx.x];
    return sum;
}

static __device__ void fold(const struct wsl_cuda_bn &bn, int c, double mean, double var)
{
    double rstd = 1 / sqrt(var + EPSILON), scale = (double)bn.gamma[c] * rstd;

    bn.saved.mean[c] = (float)mean;
    bn.saved.rstd[c] = (float)rstd;
    bn.saved.scale[c] = (float)scale;
    bn.saved.offset[c] = (float)((double)bn.beta[c] - mean * scale);
}

/* first_row: what the sums were taken around. */
template <typename T>
static __global__ void finish_batch(struct wsl_cuda_rows r, struct wsl_cuda_bn bn,
                                    const float *partial, const T *first_row)
{
    int c = (int)blockIdx.x * FINISH_CHANNELS + (int)threadIdx.x;
    double sum = total_of(partial, r, 2, 0, c), squares = total_of(partial, r, 2, 1, c);
    double m = (double)r.rows, mean, var;

    if (threadIdx.y != 0 || c >= r.channels)
        return;
    wsl_cuda_moments(sum, squares, m, (double)widen(first_row[c]), &mean, &var);
    fold(bn, c, mean, var);
    bn.running_mean[c] = wsl_cuda_running(bn.running_mean[c], mean);
    bn.running_var[c] = wsl_cuda_running(bn.running_var[c], m > 1 ? var * m / (m - 1) : var);
}

static __global__ void fold_running(struct wsl_cuda_bn bn)
{
    int c = (int)(blockIdx.x * blockDim.x + threadIdx.x);

    if (c < bn.channels)
        fold(bn, c, (double)bn.running_mean[c], (double)bn.running_var[c]);
}

/* dgamma, dbeta and the coefficients of dx, from sum 0 and sum `product`. */
static __global__ void finish_gradient(struct wsl_cuda_rows r, struct wsl_cuda_bn bn, int sums,
                                       int product, const float *partial, float *slope_level)
{
    int c = (int)blockIdx.x * FINISH_CHANNELS + (int)threadIdx.x;
    double sum = total_of(partial, r, sums, 0, c);
    double products = total_of(partial, r, sums, product, c);
    struct wsl_cuda_slope s;

    if (threadIdx.y != 0 || c >= r.channels)
        return;
    s = wsl_cuda_solve(sum, products, (double)r.rows, bn.saved.rstd[c], bn.saved.scale[c]);
    bn.dgamma[c] = s.dgamma;
    bn.dbeta[c] = s.dbeta;
    slope_level[c] = s.slope;
    slope_level[r.channels + c] = s.level;
}

static dim3 finish_grid(int channels)
{
    return dim3((unsigned)((channels + FINISH_CHANNELS - 1) / FINISH_CHANNELS));
}

static const dim3 finish_block(FINISH_CHANNELS, FINISH_PART_ROWS);

/* ---- forward ---- */

template <typename T, int V>
static __global__ void __launch_bounds__(WSL_CUDA_THREADS)
    batch_sums(struct wsl_cuda_rows r, const T *__restrict__ x, float *__restrict__ partial)
{
    size_t row, end;
    int c;
    bool active = wsl_cuda_rows_of(&r, this_thread(), &row, &end, &c);
    float base[V] = {}, sum[V] = {}, squares[V] = {};

    if (active) {
        load<T, V>(x + c, base);
#pragma unroll 4
        for (; row < end; row += (size_t)r.ty) {
            float v[V];

            load<T, V>(x + row * (size_t)r.channels + c, v);
#pragma unroll
            for (int i = 0; i < V; i++) {
                float d = v[i] - base[i];

                sum[i] += d;
                squares[i] += d * d;
            }
        }
    }
    leave_sum<V>(r, 2, 0, active, sum, partial);
    leave_sum<V>(r, 2, 1, active, squares, partial);
}

/* y = relu(x scale + offset) */
template <typename T, int V>
static __global__ void __launch_bounds__(WSL_CUDA_THREADS)
    relu_rows(struct wsl_cuda_rows r, struct wsl_cuda_saved saved, const T *__restrict__ x,
              T *__restrict__ y)
{
    float scale[V], offset[V];
    size_t row, end;
    int c;

    if (!wsl_cuda_rows_of(&r, this_thread(), &row, &end, &c))
        return;
    load_channels<V>(saved.scale, c, scale);
    load_channels<V>(saved.offset, c, offset);
#pragma unroll 4
    for (; row < end; row += (size_t)r.ty) {
        size_t at = row * (size_t)r.channels + (size_t)c;
        float v[V];

        load<T, V>(x + at, v);
#pragma unroll
        for (int i = 0; i < V; i++)
            v[i] = wsl_cuda_relu(wsl_cuda_apply(v[i], scale[i], offset[i]));
        store<T, V>(v, y + at);
    }
}

/* y = relu(x scale + offset + z), or with z's own scale and offset (PROJECTION) */
template <typename T, int V, bool PROJECTION>
static __global__ void __launch_bounds__(WSL_CUDA_THREADS)
    add_relu_rows(struct wsl_cuda_rows r, struct wsl_cuda_saved a, struct wsl_cuda_saved b,
                  const T *__restrict__ x, const T *__restrict__ z, T *__restrict__ y)
{
    float scale[V], offset[V], scale_z[V], offset_z[V];
    size_t row, end;
    int c;

    if (!wsl_cuda_rows_of(&r, this_thread(), &row, &end, &c))
        return;
    load_channels<V>(a.scale, c, scale);
    load_channels<V>(a.offset, c, offset);
    if (PROJECTION) {
        load_channels<V>(b.scale, c, scale_z);
        load_channels<V>(b.offset, c, offset_z);
    }
#pragma unroll 2
    for (; row < end; row += (size_t)r.ty) {
        size_t at = row * (size_t)r.channels + (size_t)c;
        float v[V], w[V];

        load<T, V>(x + at, v);
        load<T, V>(z + at, w);
#pragma unroll
        for (int i = 0; i < V; i++) {
            float shortcut = PROJECTION ? wsl_cuda_apply(w[i], scale_z[i], offset_z[i]) : w[i];

            v[i] = wsl_cuda_relu(wsl_cuda_apply(v[i], scale[i], offset[i]) + shortcut);
        }
        store<T, V>(v, y + at);
    }
}

/* ---- backward ---- */

/* g = dy where y > 0: sums of g and g (x - mean). y is not read but computed again. (Three blocks a
 * processor: for sm_80 the compiler would rather spill than use more than 64 registers.) */
template <typename T, int V>
static __global__ void __launch_bounds__(WSL_CUDA_THREADS, 3)
    relu_sums(struct wsl_cuda_rows r, struct wsl_cuda_saved saved, const T *__restrict__ dy,
              const T *__restrict__ x, float *__restrict__ partial)
{
    float mean[V], scale[V], offset[V], sum[V] = {}, product[V] = {};
    size_t row, end;
    int c;
    bool active = wsl_cuda_rows_of(&r, this_thread(), &row, &end, &c);

    if (active) {
        load_channels<V>(saved.mean, c, mean);
        load_channels<V>(saved.scale, c, scale);
        load_channels<V>(saved.offset, c, offset);
#pragma unroll 2
        for (; row < end; row += (size_t)r.ty) {
            size_t at = row * (size_t)r.channels + (size_t)c;
            float g[V], v[V];

            load<T, V>(dy + at, g);
            load<T, V>(x + at, v);
#pragma unroll
            for (int i = 0; i < V; i++) {
                float d = wsl_cuda_apply(v[i], scale[i], offset[i]) > 0 ? g[i] : 0;

                sum[i] += d;
                product[i] += d * (v[i] - mean[i]);
            }
        }
    }
    leave_sum<V>(r, 2, 0, active, sum, partial);
    leave_sum<V>(r, 2, 1, active, product, partial);
}

/* dx from g, or (RELU) from dy, of which g is the part where y > 0. dx may be g or dy. */
template <typename T, int V, bool RELU>
static __global__ void __launch_bounds__(WSL_CUDA_THREADS)
    gradient_rows(struct wsl_cuda_rows r, struct wsl_cuda_saved saved, const float *slope_level,
                  const T *g, const T *__restrict__ x, T *dx)
{
    float mean[V], scale[V], offset[V], slope[V], level[V];
    size_t row, end;
    int c;

    if (!wsl_cuda_rows_of(&r, this_thread(), &row, &end, &c))
        return;
    load_channels<V>(saved.mean, c, mean);
    load_channels<V>(saved.scale, c, scale);
    load_channels<V>(slope_level, c, slope);
    load_channels<V>(slope_level + r.channels, c, level);
    if (RELU)
        load_channels<V>(saved.offset, c, offset);
#pragma unroll 2
    for (; row < end; row += (size_t)r.ty) {
        size_t at = row * (size_t)r.channels + (size_t)c;
        float d[V], v[V];

        load<T, V>(g + at, d);
        load<T, V>(x + at, v);
#pragma unroll
        for (int i = 0; i < V; i++) {
            if (RELU && !(wsl_cuda_apply(v[i], scale[i], offset[i]) > 0))
                d[i] = 0;
            d[i] = wsl_cuda_bn_gradient(d[i], v[i], mean[i], scale[i], slope[i], level[i]);
        }
        store<T, V>(d, dx + at);
    }
}

/* g = dy where y > 0, may be dy; sums of g, of g (x - mean) and (PROJECTION) of g (z - mean_z) */
template <typename T, int V, bool PROJECTION>
static __global__ void __launch_bounds__(WSL_CUDA_THREADS)
    add_relu_sums(struct wsl_cuda_rows r, const float *mean_x, const float *mean_z, const T *dy,
                  const T *__restrict__ y, const T *__restrict__ x, const T *__restrict__ z, T *g,
                  float *__restrict__ partial)
{
    float mean[V], other[V] = {}, sum[V] = {}, product[V] = {}, product_z[V] = {};
    size_t row, end;
    int c;
    bool active = wsl_cuda_rows_of(&r, this_thread(), &row, &end, &c);

    if (active) {
        load_channels<V>(mean_x, c, mean);
        if (PROJECTION)
            load_channels<V>(mean_z, c, other);
        for (; row < end; row += (size_t)r.ty) {
            size_t at = row * (size_t)r.channels + (size_t)c;
            float d[V], out[V], v[V], w[V] = {};

            load<T, V>(dy + at, d);
            load<T, V>(y + at, out);
            load<T, V>(x + at, v);
            if (PROJECTION)
                load<T, V>(z + at, w);
#pragma unroll
            for (int i = 0; i < V; i++) {
                d[i] = out[i] > 0 ? d[i] : 0;
                sum[i] += d[i];
                product[i] += d[i] * (v[i] - mean[i]);
                product_z[i] += d[i] * (w[i] - other[i]);
            }
            store<T, V>(d, g + at);
        }
    }
    leave_sum<V>(r, 3, 0, active, sum, partial);
    leave_sum<V>(r, 3, 1, active, product, partial);
    if (PROJECTION)
        leave_sum<V>(r, 3, 2, active, product_z, partial);
}

/* ---- launchers ---- */

extern "C" cudaError_t wsl_cuda_launch_bn_batch(const struct wsl_cuda_norm *n, const void *x)
{
    struct wsl_cuda_rows r = wsl_cuda_sum_rows(n->rows, n->bn.channels);

#define LAUNCH(T, V)                                                                               \
    batch_sums<T, V><<<grid_of(r), WSL_CUDA_THREADS, 0, n->stream>>>(r, (const T *)x, n->sums);    \
    finish_batch<T><<<finish_grid(n->bn.channels), finish_block, 0, n->stream>>>(                  \
        r, n->bn, n->sums, (const T *)x)
    WSL_CUDA_DISPATCH(n->f32, r.vec, LAUNCH);
#undef LAUNCH
    return cudaGetLastError();
}

extern "C" cudaError_t wsl_cuda_launch_bn_running(const struct wsl_cuda_norm *n)
{
    fold_running<<<(unsigned)((n->bn.channels + 127) / 128), 128, 0, n->stream>>>(n->bn);
    return cudaGetLastError();
}

extern "C" cudaError_t wsl_cuda_launch_bn_relu(const struct wsl_cuda_norm *n, const void *x,
                                               void *y)
{
    struct wsl_cuda_rows r = wsl_cuda_map_rows(n->rows, n->bn.channels);

#define LAUNCH(T, V)                                                                               \
    relu_rows<T, V>                                                                                \
        <<<grid_of(r), WSL_CUDA_THREADS, 0, n->stream>>>(r, n->bn.saved, (const T *)x, (T *)y)
    WSL_CUDA_DISPATCH(n->f32, r.vec, LAUNCH);
#undef LAUNCH
    return cudaGetLastError();
}

struct gradient_data {
    const void *g, *x;
    void *dx;
};

/* What follows the sums: finish, then dx. */
template <typename T, int V, bool RELU>
static void gradient(const struct wsl_cuda_norm *n, const struct wsl_cuda_bn *bn, int sums,
                     int product, struct gradient_data d)
{
    struct wsl_cuda_rows summed = wsl_cuda_sum_rows(n->rows, bn->channels);
    struct wsl_cuda_rows r = wsl_cuda_map_rows(n->rows, bn->channels);

    finish_gradient<<<finish_grid(bn->channels), finish_block, 0, n->stream>>>(
        summed, *bn, sums, product, n->sums, n->slope_level);
    gradient_rows<T, V, RELU><<<grid_of(r), WSL_CUDA_THREADS, 0, n->stream>>>(
        r, bn->saved, n->slope_level, (const T *)d.g, (const T *)d.x, (T *)d.dx);
}

extern "C" cudaError_t wsl_cuda_launch_bn_relu_backward(const struct wsl_cuda_norm *n,
                                                        const void *dy, const void *x, void *dx)
{
    struct wsl_cuda_rows r = wsl_cuda_sum_rows(n->rows, n->bn.channels);

#define LAUNCH(T, V)                                                                               \
    relu_sums<T, V><<<grid_of(r), WSL_CUDA_THREADS, 0, n->stream>>>(r, n->bn.saved, (const T *)dy, \
                                                                    (const T *)x, n->sums);        \
    gradient<T, V, true>(n, &n->bn, 2, 1, {dy, x, dx})
    WSL_CUDA_DISPATCH(n->f32, r.vec, LAUNCH);
#undef LAUNCH
    return cudaGetLastError();
}

extern "C" cudaError_t wsl_cuda_launch_bn_gradient(const struct wsl_cuda_norm *n, const void *g,
                                                   const void *x, void *dx)
{
    int vec = wsl_cuda_sum_rows(n->rows, n->bn.channels).vec;

#define LAUNCH(T, V) gradient<T, V, false>(n, &n->bn, 2, 1, {g, x, dx})
    WSL_CUDA_DISPATCH(n->f32, vec, LAUNCH);
#undef LAUNCH
    return cudaGetLastError();
}

extern "C" cudaError_t wsl_cuda_launch_add_relu(const struct wsl_cuda_norm *n,
                                                const struct wsl_cuda_bn *shortcut_bn,
                                                const void *x, const void *z, void *y)
{
    struct wsl_cuda_rows r = wsl_cuda_map_rows(n->rows, n->bn.channels);
    struct wsl_cuda_saved b = shortcut_bn ? shortcut_bn->saved : n->bn.saved;

#define ROWS(T, V, PROJECTION)                                                                     \
    add_relu_rows<T, V, PROJECTION><<<grid_of(r), WSL_CUDA_THREADS, 0, n->stream>>>(               \
        r, n->bn.saved, b, (const T *)x, (const T *)z, (T *)y)
#define LAUNCH(T, V)                                                                               \
    if (shortcut_bn)                                                                               \
        ROWS(T, V, true);                                                                          \
    else                                                                                           \
        ROWS(T, V, false)
    WSL_CUDA_DISPATCH(n->f32, r.vec, LAUNCH);
#undef LAUNCH
#undef ROWS
    return cudaGetLastError();
}

template <typename T, int V, bool PROJECTION>
static void add_relu_backward(const struct wsl_cuda_norm *n, const struct wsl_cuda_bn *shortcut_bn,
                              const struct wsl_cuda_add_relu_gradient *j)
{
    struct wsl_cuda_rows r = wsl_cuda_sum_rows(n->rows, n->bn.channels);
    const float *mean_z = PROJECTION ? shortcut_bn->saved.mean : NULL;

    add_relu_sums<T, V, PROJECTION><<<grid_of(r), WSL_CUDA_THREADS, 0, n->stream>>>(
        r, n->bn.saved.mean, mean_z, (const T *)j->dy, (const T *)j->y, (const T *)j->x,
        (const T *)j->z, (T *)j->dz, n->sums);
    gradient<T, V, false>(n, &n->bn, 3, 1, {j->dz, j->x, j->dx});
    if (PROJECTION)
        gradient<T, V, false>(n, shortcut_bn, 3, 2, {j->dz, j->z, j->dz});
}

extern "C" cudaError_t wsl_cuda_launch_add_relu_backward(const struct wsl_cuda_norm *n,
                                                         const struct wsl_cuda_bn *shortcut_bn,
                                                         const struct wsl_cuda_add_relu_gradient *j)
{
    int vec = wsl_cuda_sum_rows(n->rows, n->bn.channels).vec;

#define LAUNCH(T, V)                                                                               \
    if (shortcut_bn)                                                                               \
        add_relu_backward<T, V, true>(n, shortcut_bn, j);                                          \
    else                                                                                           \
        add_relu_backward<T, V, false>(n, shortcut_bn, j)
    WSL_CUDA_DISPATCH(n->f32, vec, LAUNCH);
#undef LAUNCH
    return cudaGetLastError();
}
