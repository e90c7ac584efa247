/* SPDX-License-Identifier: Apache-2.0
 *
 * Floats to bf16 and back: working copies of weights, weight gradients. */
#include "kernels/cuda/lanes.cuh"

static __global__ void to_bf16(const float *__restrict__ from, size_t count,
                               uint16_t *__restrict__ to)
{
    size_t step = (size_t)gridDim.x * WSL_CUDA_THREADS;

    for (size_t i = (size_t)blockIdx.x * WSL_CUDA_THREADS + threadIdx.x; i < count; i += step)
        to[i] = wsl_cuda_to_bf16(from[i]);
}

static __global__ void to_float(const uint16_t *__restrict__ from, size_t count,
                                float *__restrict__ to)
{
    size_t step = (size_t)gridDim.x * WSL_CUDA_THREADS;

    for (size_t i = (size_t)blockIdx.x * WSL_CUDA_THREADS + threadIdx.x; i < count; i += step)
        to[i] = wsl_cuda_from_bf16(from[i]);
}

extern "C" cudaError_t wsl_cuda_launch_narrow(cudaStream_t stream, const float *from, size_t count,
                                              uint16_t *to)
{
    if (count > 0)
        to_bf16<<<blocks_for(count), WSL_CUDA_THREADS, 0, stream>>>(from, count, to);
    return cudaGetLastError();
}

extern "C" cudaError_t wsl_cuda_launch_widen(cudaStream_t stream, const uint16_t *from,
                                             size_t count, float *to)
{
    if (count > 0)
        to_float<<<blocks_for(count), WSL_CUDA_THREADS, 0, stream>>>(from, count, to);
    return cudaGetLastError();
}
