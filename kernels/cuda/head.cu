/* SPDX-License-Identifier: Apache-2.0
 *
 * The head's three matrix products, for any number of classes. One block computes a 64 x 64 tile of
 * C; k runs in one fixed order, never split, so bits are the same. */
#include "kernels/cuda/lanes.cuh"

#include <mma.h>

#define TILE    64
#define DEPTH   32  /* of k at once */
#define THREADS 128 /* 4 warps of 32 x 32 each */
#define PAD     8   /* keeps rows of a tile off the same memory banks, and 16 byte aligned */

static __device__ float element(const struct wsl_cuda_matrix &m, size_t row, size_t column)
{
    size_t at = row * m.row + column * m.column;

    return m.type == WSL_CUDA_FLOAT ? ((const float *)m.data)[at]
                                    : widen(((const bf16 *)m.data)[at]);
}

/* A tile of `height` x `width` at (row, column) of a matrix of rows x columns; 0 outside. Threads
 * run along the direction in which the matrix is contiguous. */
template <typename S, int HEIGHT, int WIDTH>
static __device__ void fetch(const struct wsl_cuda_matrix &m, int row, int column, int rows,
                             int columns, S (*tile)[WIDTH + PAD])
{
    for (int i = (int)threadIdx.x; i < HEIGHT * WIDTH; i += THREADS) {
        int y = m.column == 1 ? i / WIDTH : i % HEIGHT, x = m.column == 1 ? i % WIDTH : i / HEIGHT;
        float v = row + y < rows && column + x < columns
                      ? element(m, (size_t)(row + y), (size_t)(column + x))
                      : 0;

        narrow(v, &tile[y][x]);
    }
}

static __device__ void give(const struct wsl_cuda_product &p, int row, int column,
                            const float (*tile)[TILE + PAD])
{
    for (int i = (int)threadIdx.x; i < TILE * TILE; i += THREADS) {
        int m = row + i / TILE, n = column + i % TILE;
        float v = tile[i / TILE][i % TILE];

        if (m >= p.m || n >= p.n)
            continue;
        if (p.bias)
            v += p.bias[n];
        if (p.c_type == WSL_CUDA_FLOAT)
            ((float *)p.c)[(size_t)m * (size_t)p.n + n] = v;
        else
            narrow(v, (bf16 *)p.c + (size_t)m * (size_t)p.n + n);
    }
}

/* bf16 on tensor cores. Needs 32 byte alignment of every fragment's address. */
static __global__ void __launch_bounds__(THREADS) product_bf16(struct wsl_cuda_product p)
{
    using namespace nvcuda;
    __shared__ alignas(128) bf16 a[TILE][DEPTH + PAD], b[DEPTH][TILE + PAD];
    __shared__ alignas(128) float c[TILE][TILE + PAD];
    int row = (int)blockIdx.y * TILE, column = (int)blockIdx.x * TILE;
    int warp = (int)threadIdx.x / 32, y = warp / 2 * 32, x = warp % 2 * 32;
    wmma::fragment<wmma::accumulator, 16, 16, 16, float> sums[2][2];

    for (int i = 0; i < 4; i++)
        wmma::fill_fragment(sums[i / 2][i % 2], 0.0f);
    for (int k = 0; k < p.k; k += DEPTH) {
        __syncthreads();
        fetch<bf16, TILE, DEPTH>(p.a, row, k, p.m, p.k, a);
        fetch<bf16, DEPTH, TILE>(p.b, k, column, p.k, p.n, b);
        __syncthreads();
#pragma unroll
        for (int d = 0; d < DEPTH; d += 16) {
            wmma::fragment<wmma::matrix_a, 16, 16, 16, __nv_bfloat16, wmma::row_major> left[2];
            wmma::fragment<wmma::matrix_b, 16, 16, 16, __nv_bfloat16, wmma::row_major> right[2];

#pragma unroll
            for (int i = 0; i < 2; i++) {
                wmma::load_matrix_sync(left[i], (const __nv_bfloat16 *)&a[y + 16 * i][d],
                                       DEPTH + PAD);
                wmma::load_matrix_sync(right[i], (const __nv_bfloat16 *)&b[d][x + 16 * i],
                                       TILE + PAD);
            }
#pragma unroll
            for (int i = 0; i < 4; i++)
                wmma::mma_sync(sums[i / 2][i % 2], left[i / 2], right[i % 2], sums[i / 2][i % 2]);
        }
    }
    for (int i = 0; i < 4; i++)
        wmma::store_matrix_sync(&c[y + i / 2 * 16][x + i % 2 * 16], sums[i / 2][i % 2], TILE + PAD,
                                wmma::mem_row_major);
    __syncthreads();
    give(p, row, column, c);
}

/* The same with floats: each thread owns half a row of the tile. */
static __global__ void __launch_bounds__(THREADS) product_float(struct wsl_cuda_product p)
{
    __shared__ float a[TILE][DEPTH + PAD], b[DEPTH][TILE + PAD], c[TILE][TILE + PAD];
    int row = (int)blockIdx.y * TILE, column = (int)blockIdx.x * TILE;
    int y = (int)threadIdx.x / 2, x = (int)threadIdx.x % 2 * (TILE / 2);
    float sums[TILE / 2] = {};

    for (int k = 0; k < p.k; k += DEPTH) {
        __syncthreads();
        fetch<float, TILE, DEPTH>(p.a, row, k, p.m, p.k, a);
        fetch<float, DEPTH, TILE>(p.b, k, column, p.k, p.n, b);
        __syncthreads();
        for (int d = 0; d < DEPTH; d++) {
            float left = a[y][d];

#pragma unroll
            for (int i = 0; i < TILE / 2; i++)
                sums[i] += left * b[d][x + i];
        }
    }
#pragma unroll
    for (int i = 0; i < TILE / 2; i++)
        c[y][x + i] = sums[i];
    __syncthreads();
    give(p, row, column, c);
}

template <typename T>
static __global__ void column_sums(int rows, int columns, const T *__restrict__ x,
                                   float *__restrict__ y)
{
    int c = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    float sum = 0;

    if (c >= columns)
        return;
    for (int r = 0; r < rows; r++)
        sum += widen(x[(size_t)r * (size_t)columns + c]);
    y[c] = sum;
}

extern "C" cudaError_t wsl_cuda_launch_product(const struct wsl_cuda_product *p)
{
    dim3 grid((unsigned)((p->n + TILE - 1) / TILE), (unsigned)((p->m + TILE - 1) / TILE));

    if (p->f32)
        product_float<<<grid, THREADS, 0, p->stream>>>(*p);
    else
        product_bf16<<<grid, THREADS, 0, p->stream>>>(*p);
    return cudaGetLastError();
}

extern "C" cudaError_t wsl_cuda_launch_column_sums(cudaStream_t stream, bool f32, int rows,
                                                   int columns, const void *x, float *y)
{
    unsigned blocks = (unsigned)((columns + 127) / 128);

    if (f32)
        column_sums<<<blocks, 128, 0, stream>>>(rows, columns, (const float *)x, y);
    else
        column_sums<<<blocks, 128, 0, stream>>>(rows, columns, (const bf16 *)x, y);
    return cudaGetLastError();
}
