/* SPDX-License-Identifier: Apache-2.0
 *
 * Gradients into bf16, as they are sent, and back. Few blocks: the other processors compute
 * meanwhile. */
#include "kernels/collective/nccl/bf16.h"

#include "kernels/bf16.h"

#define THREADS 256
#define BLOCKS  64

static unsigned blocks_for(size_t count)
{
    size_t blocks = (count + THREADS - 1) / THREADS;

    return (unsigned)(blocks < BLOCKS ? blocks : BLOCKS);
}

static __global__ void __launch_bounds__(THREADS)
    round_floats(const float *__restrict__ from, size_t count, uint16_t *__restrict__ to)
{
    size_t step = (size_t)gridDim.x * THREADS;

    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += step)
        to[i] = wsl_bf16_round(from[i]);
}

static __global__ void __launch_bounds__(THREADS)
    widen_floats(const uint16_t *__restrict__ from, size_t count, float *__restrict__ to)
{
    size_t step = (size_t)gridDim.x * THREADS;

    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += step)
        to[i] = wsl_bf16_widen(from[i]);
}

extern "C" cudaError_t wsl_nccl_launch_round(cudaStream_t stream, const float *from, size_t count,
                                             uint16_t *to)
{
    round_floats<<<blocks_for(count), THREADS, 0, stream>>>(from, count, to);
    return cudaGetLastError();
}

extern "C" cudaError_t wsl_nccl_launch_widen(cudaStream_t stream, const uint16_t *from,
                                             size_t count, float *to)
{
    widen_floats<<<blocks_for(count), THREADS, 0, stream>>>(from, count, to);
    return cudaGetLastError();
}
