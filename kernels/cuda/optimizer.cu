/* SPDX-License-Identifier: Apache-2.0
 *
 * Operations on flat buffers. */
#include "kernels/cuda/lanes.cuh"

/* All segments in one launch: each block takes its share of every segment in turn, beginning with
 * another block each time, so that the ends of segments do not all fall to the first blocks. The
 * table lies in the constant bank with the other arguments. */
static __global__ void __launch_bounds__(WSL_CUDA_THREADS)
    sgd(const __grid_constant__ struct wsl_cuda_segments segments, float *__restrict__ parameters,
        float *__restrict__ momentum, const float *__restrict__ gradients,
        struct wsl_cuda_rates rates)
{
    size_t threads = (size_t)gridDim.x * WSL_CUDA_THREADS;

    for (int s = 0; s < segments.count; s++) {
        const struct wsl_cuda_segment *segment = &segments.items[s];
        unsigned turn = (unsigned)(segment->begin / WSL_CUDA_THREADS % gridDim.x);
        unsigned block = (blockIdx.x + gridDim.x - turn) % gridDim.x;
        size_t first = (size_t)block * WSL_CUDA_THREADS + threadIdx.x;

        for (size_t i = first; i < segment->count; i += threads) {
            size_t at = segment->begin + i;
            float w = parameters[at], m = momentum[at];

            wsl_cuda_sgd(&w, &m, gradients[at], segment->decay, rates);
            momentum[at] = m;
            parameters[at] = w;
            if (segment->working)
                segment->working[i] = wsl_cuda_to_bf16(w);
        }
    }
}

static __global__ void scale(float *x, size_t count, float factor)
{
    size_t step = (size_t)gridDim.x * WSL_CUDA_THREADS;

    for (size_t i = (size_t)blockIdx.x * WSL_CUDA_THREADS + threadIdx.x; i < count; i += step)
        x[i] *= factor;
}

static __global__ void accumulate(float *__restrict__ x, float *__restrict__ more, size_t count)
{
    size_t step = (size_t)gridDim.x * WSL_CUDA_THREADS;

    for (size_t i = (size_t)blockIdx.x * WSL_CUDA_THREADS + threadIdx.x; i < count; i += step) {
        x[i] += more[i];
        more[i] = 0;
    }
}

/* One atomic operation for each warp: a maximum is the same in any order. */
static __global__ void max_abs(const float *__restrict__ x, size_t count,
                               uint32_t *__restrict__ ret_bits)
{
    size_t step = (size_t)gridDim.x * WSL_CUDA_THREADS;
    uint32_t bits = 0;

    for (size_t i = (size_t)blockIdx.x * WSL_CUDA_THREADS + threadIdx.x; i < count; i += step)
        bits = max(bits, __float_as_uint(x[i]) & 0x7fffffffu);
    bits = __reduce_max_sync(0xffffffffu, bits);
    if (threadIdx.x % 32 == 0)
        atomicMax(ret_bits, bits);
}

extern "C" cudaError_t wsl_cuda_launch_sgd(cudaStream_t stream,
                                           const struct wsl_cuda_segments *segments,
                                           float *parameters, float *momentum,
                                           const float *gradients, struct wsl_cuda_rates rates)
{
    sgd<<<WSL_CUDA_FLAT_BLOCKS, WSL_CUDA_THREADS, 0, stream>>>(*segments, parameters, momentum,
                                                               gradients, rates);
    return cudaGetLastError();
}

extern "C" cudaError_t wsl_cuda_launch_scale(cudaStream_t stream, float *block, size_t count,
                                             float factor)
{
    if (count > 0)
        scale<<<blocks_for(count), WSL_CUDA_THREADS, 0, stream>>>(block, count, factor);
    return cudaGetLastError();
}

extern "C" cudaError_t wsl_cuda_launch_accumulate(cudaStream_t stream, float *block, float *more,
                                                  size_t count)
{
    if (count > 0)
        accumulate<<<blocks_for(count), WSL_CUDA_THREADS, 0, stream>>>(block, more, count);
    return cudaGetLastError();
}

extern "C" cudaError_t wsl_cuda_launch_max_abs(cudaStream_t stream, const float *block,
                                               size_t count, uint32_t *ret_bits)
{
    cudaError_t rc = cudaMemsetAsync(ret_bits, 0, sizeof *ret_bits, stream);

    if (rc != cudaSuccess)
        return rc;
    if (count > 0)
        max_abs<<<blocks_for(count), WSL_CUDA_THREADS, 0, stream>>>(block, count, ret_bits);
    return cudaGetLastError();
}
