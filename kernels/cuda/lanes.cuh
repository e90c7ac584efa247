/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the cuda backend, for .cu files only: lanes of V neighbouring values, loaded 16 bytes at a
 * time and computed with as floats; and the sums of a block.
 */
#ifndef WSL_KERNELS_CUDA_LANES_CUH
#define WSL_KERNELS_CUDA_LANES_CUH

#include "kernels/cuda/launch.h"

/* A bf16, told apart from other 16 bit numbers. */
struct bf16 {
    uint16_t bits;
};

static __device__ inline float widen(bf16 x)
{
    return wsl_cuda_from_bf16(x.bits);
}

static __device__ inline float widen(float x)
{
    return x;
}

static __device__ inline void narrow(float x, bf16 *ret)
{
    ret->bits = wsl_cuda_to_bf16(x);
}

static __device__ inline void narrow(float x, float *ret)
{
    *ret = x;
}

template <typename T, int V>
struct alignas(sizeof(T) * V < 16 ? sizeof(T) * V : 16) lane {
    T values[V];
};

template <typename T, int V>
static __device__ inline void load(const T *from, float (&ret)[V])
{
    lane<T, V> raw = *reinterpret_cast<const lane<T, V> *>(from);

#pragma unroll
    for (int i = 0; i < V; i++)
        ret[i] = widen(raw.values[i]);
}

template <typename T, int V>
static __device__ inline void store(const float (&values)[V], T *to)
{
    lane<T, V> raw;

#pragma unroll
    for (int i = 0; i < V; i++)
        narrow(values[i], &raw.values[i]);
    *reinterpret_cast<lane<T, V> *>(to) = raw;
}

/* V coefficients of channels c, c + 1, ... Blocks are aligned to 64 bytes, so lanes are to 32. */
template <int V>
static __device__ inline void load_channels(const float *from, int c, float (&ret)[V])
{
#pragma unroll
    for (int i = 0; i < V; i++)
        ret[i] = from[c + i];
}

/* Adds up one number per channel over the block's rows, in the order of threads, and leaves them as
 * sum `which` of the block's part. All threads of the block call it, `active` or not. */
template <int V>
static __device__ void leave_sum(const struct wsl_cuda_rows &r, int sums, int which, bool active,
                                 const float (&mine)[V], float *partial)
{
    __shared__ float all[WSL_CUDA_THREADS * V];
    int width = r.tx * V;

    __syncthreads(); /* the sum before this one has been read */
#pragma unroll
    for (int i = 0; i < V; i++)
        all[(int)threadIdx.x * V + i] = active ? mine[i] : 0;
    __syncthreads();
    for (int column = (int)threadIdx.x; column < width; column += WSL_CUDA_THREADS) {
        int channel = (int)blockIdx.y * width + column;
        float sum = 0;

        for (int y = 0; y < r.ty; y++)
            sum += all[y * width + column];
        if (channel < r.channels)
            partial[wsl_cuda_sum_at(&r, sums, (int)blockIdx.x, which, channel)] = sum;
    }
}

static __device__ inline struct wsl_cuda_thread this_thread(void)
{
    return {(int)blockIdx.x, (int)blockIdx.y, (int)threadIdx.x};
}

/* Of a kernel over a flat buffer: 8 blocks of 256 threads on each of an H200's 132 processors. */
#define WSL_CUDA_FLAT_BLOCKS 1056

static inline unsigned blocks_for(size_t count)
{
    size_t blocks = (count + WSL_CUDA_THREADS - 1) / WSL_CUDA_THREADS;

    return (unsigned)(blocks < WSL_CUDA_FLAT_BLOCKS ? blocks : WSL_CUDA_FLAT_BLOCKS);
}

static inline dim3 grid_of(const struct wsl_cuda_rows &r)
{
    return dim3((unsigned)r.parts, (unsigned)r.slabs);
}

/* Calls launch<T, V>() for the number type and the width of lanes. */
#define WSL_CUDA_DISPATCH(f32, vec, launch)                                                        \
    do {                                                                                           \
        if ((f32) && (vec) == 8) {                                                                 \
            launch(float, 8);                                                                      \
        } else if (f32) {                                                                          \
            launch(float, 1);                                                                      \
        } else if ((vec) == 8) {                                                                   \
            launch(bf16, 8);                                                                       \
        } else {                                                                                   \
            launch(bf16, 1);                                                                       \
        }                                                                                          \
    } while (0)

#endif
