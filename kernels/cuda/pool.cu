/* SPDX-License-Identifier: Apache-2.0
 *
 * The stem's pool, fused with its BN and ReLU, and the average over a feature map. */
#include "kernels/cuda/lanes.cuh"

/* ---- max pool ---- */

/* Rows of r are output pixels. */
template <typename T, int V>
static __global__ void __launch_bounds__(WSL_CUDA_THREADS)
    pool_rows(struct wsl_cuda_rows r, struct wsl_cuda_pool pool, struct wsl_cuda_saved saved,
              const T *__restrict__ x, T *__restrict__ y, uint8_t *__restrict__ index)
{
    float scale[V], offset[V];
    size_t row, end;
    int c;

    if (!wsl_cuda_rows_of(&r, this_thread(), &row, &end, &c))
        return;
    load_channels<V>(saved.scale, c, scale);
    load_channels<V>(saved.offset, c, offset);
    for (; row < end; row += (size_t)r.ty) {
        size_t at = row * (size_t)r.channels + (size_t)c, in;
        float best[V] = {};
        lane<uint8_t, V> tap;

#pragma unroll
        for (int i = 0; i < V; i++)
            tap.values[i] = WSL_CUDA_NO_TAP;
#pragma unroll
        for (int t = 0; t < 9; t++) {
            float v[V];

            if (!wsl_cuda_pool_input(&pool, (uint32_t)row, t, &in))
                continue;
            load<T, V>(x + in * (size_t)r.channels + c, v);
#pragma unroll
            for (int i = 0; i < V; i++) {
                v[i] = wsl_cuda_apply(v[i], scale[i], offset[i]);
                if (!(v[i] <= best[i])) {
                    best[i] = v[i];
                    tap.values[i] = (uint8_t)t;
                }
            }
        }
        store<T, V>(best, y + at);
        *reinterpret_cast<lane<uint8_t, V> *>(index + at) = tap;
    }
}

/* g of the pool's input, and its two sums. Rows of r are input pixels. (Three blocks a processor:
 * the compiler would rather spill than use more than 64 registers.) */
template <typename T, int V>
static __global__ void __launch_bounds__(WSL_CUDA_THREADS, 3)
    pool_sums(struct wsl_cuda_rows r, struct wsl_cuda_pool pool, struct wsl_cuda_saved saved,
              const T *__restrict__ dy, const uint8_t *__restrict__ index, const T *__restrict__ x,
              T *__restrict__ g, float *__restrict__ partial)
{
    float mean[V], sum[V] = {}, product[V] = {};
    size_t row, end;
    int c;
    bool active = wsl_cuda_rows_of(&r, this_thread(), &row, &end, &c);

    if (active) {
        load_channels<V>(saved.mean, c, mean);
        for (; row < end; row += (size_t)r.ty) {
            size_t at = row * (size_t)r.channels + (size_t)c, out;
            float v[V], d[V] = {};
            int tap;

            load<T, V>(x + at, v);
#pragma unroll
            for (int k = 0; k < 4; k++) {
                float passed[V];
                lane<uint8_t, V> won;

                if (!wsl_cuda_pool_window(&pool, (uint32_t)row, k, &out, &tap))
                    continue;
                load<T, V>(dy + out * (size_t)r.channels + c, passed);
                won = *reinterpret_cast<const lane<uint8_t, V> *>(index + out * (size_t)r.channels +
                                                                  c);
#pragma unroll
                for (int i = 0; i < V; i++)
                    d[i] += (int)won.values[i] == tap ? passed[i] : 0;
            }
#pragma unroll
            for (int i = 0; i < V; i++) {
                sum[i] += d[i];
                product[i] += d[i] * (v[i] - mean[i]);
            }
            store<T, V>(d, g + at);
        }
    }
    leave_sum<V>(r, 2, 0, active, sum, partial);
    leave_sum<V>(r, 2, 1, active, product, partial);
}

extern "C" cudaError_t wsl_cuda_launch_pool(const struct wsl_cuda_norm *n,
                                            const struct wsl_cuda_pool *pool, const void *x,
                                            void *y, uint8_t *index)
{
    size_t count = n->rows / ((size_t)pool->height * (size_t)pool->width);
    struct wsl_cuda_rows r = wsl_cuda_map_rows(
        count * (size_t)pool->out_height * (size_t)pool->out_width, pool->channels);

#define LAUNCH(T, V)                                                                               \
    pool_rows<T, V><<<grid_of(r), WSL_CUDA_THREADS, 0, n->stream>>>(r, *pool, n->bn.saved,         \
                                                                    (const T *)x, (T *)y, index)
    WSL_CUDA_DISPATCH(n->f32, r.vec, LAUNCH);
#undef LAUNCH
    return cudaGetLastError();
}

extern "C" cudaError_t wsl_cuda_launch_pool_sums(const struct wsl_cuda_norm *n,
                                                 const struct wsl_cuda_pool *pool, const void *dy,
                                                 const uint8_t *index, const void *x, void *g)
{
    struct wsl_cuda_rows r = wsl_cuda_sum_rows(n->rows, pool->channels);

#define LAUNCH(T, V)                                                                               \
    pool_sums<T, V><<<grid_of(r), WSL_CUDA_THREADS, 0, n->stream>>>(                               \
        r, *pool, n->bn.saved, (const T *)dy, index, (const T *)x, (T *)g, n->sums)
    WSL_CUDA_DISPATCH(n->f32, r.vec, LAUNCH);
#undef LAUNCH
    return cudaGetLastError();
}

/* ---- average pool ---- */

/* A block is one image and a slab of lanes; r.rows are the pixels of an image. */
template <typename T, int V>
static __global__ void __launch_bounds__(WSL_CUDA_THREADS)
    average_image(struct wsl_cuda_rows r, const T *__restrict__ x, T *__restrict__ y)
{
    __shared__ float all[WSL_CUDA_THREADS * V];
    size_t row, end, image = blockIdx.x;
    float sum[V] = {};
    int c, width = r.tx * V;
    bool active = wsl_cuda_rows_of(&r, {0, (int)blockIdx.y, (int)threadIdx.x}, &row, &end, &c);

    for (; active && row < end; row += (size_t)r.ty) {
        float v[V];

        load<T, V>(x + (image * r.rows + row) * (size_t)r.channels + c, v);
#pragma unroll
        for (int i = 0; i < V; i++)
            sum[i] += v[i];
    }
#pragma unroll
    for (int i = 0; i < V; i++)
        all[(int)threadIdx.x * V + i] = sum[i];
    __syncthreads();
    for (int column = (int)threadIdx.x; column < width; column += WSL_CUDA_THREADS) {
        int channel = (int)blockIdx.y * width + column;
        float total = 0;

        for (int i = 0; i < r.ty; i++)
            total += all[i * width + column];
        if (channel < r.channels)
            narrow(total / (float)r.rows, y + image * (size_t)r.channels + channel);
    }
}

template <typename T, int V>
static __global__ void __launch_bounds__(WSL_CUDA_THREADS)
    spread_rows(struct wsl_cuda_rows r, uint32_t pixels, const T *__restrict__ dy,
                T *__restrict__ dx)
{
    size_t row, end;
    int c;

    if (!wsl_cuda_rows_of(&r, this_thread(), &row, &end, &c))
        return;
    for (; row < end; row += (size_t)r.ty) {
        float v[V];

        load<T, V>(dy + (size_t)((uint32_t)row / pixels) * (size_t)r.channels + c, v);
#pragma unroll
        for (int i = 0; i < V; i++)
            v[i] /= (float)pixels;
        store<T, V>(v, dx + row * (size_t)r.channels + c);
    }
}

extern "C" cudaError_t wsl_cuda_launch_average(const struct wsl_cuda_average *a, const void *x,
                                               void *y)
{
    struct wsl_cuda_rows r = wsl_cuda_rows_init(a->pixels, a->channels);
    dim3 grid((unsigned)a->count, (unsigned)r.slabs);

#define LAUNCH(T, V)                                                                               \
    average_image<T, V><<<grid, WSL_CUDA_THREADS, 0, a->stream>>>(r, (const T *)x, (T *)y)
    WSL_CUDA_DISPATCH(a->f32, r.vec, LAUNCH);
#undef LAUNCH
    return cudaGetLastError();
}

extern "C" cudaError_t wsl_cuda_launch_spread(const struct wsl_cuda_average *a, const void *dy,
                                              void *dx)
{
    struct wsl_cuda_rows r = wsl_cuda_map_rows((size_t)a->count * a->pixels, a->channels);

#define LAUNCH(T, V)                                                                               \
    spread_rows<T, V><<<grid_of(r), WSL_CUDA_THREADS, 0, a->stream>>>(r, (uint32_t)a->pixels,      \
                                                                      (const T *)dy, (T *)dx)
    WSL_CUDA_DISPATCH(a->f32, r.vec, LAUNCH);
#undef LAUNCH
    return cudaGetLastError();
}
