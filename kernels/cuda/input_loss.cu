/* SPDX-License-Identifier: Apache-2.0
 *
 * Images in, loss out. */
#include "kernels/cuda/lanes.cuh"

#define LOSS_THREADS 256
#define BEST         5

/* ---- images ---- */

/* One pixel a thread: three bytes in, eight values out. */
template <typename T>
static __global__ void __launch_bounds__(WSL_CUDA_THREADS)
    normalise(const uint8_t *__restrict__ pixels, size_t count, T *__restrict__ x)
{
    size_t i = (size_t)blockIdx.x * WSL_CUDA_THREADS + threadIdx.x;
    float v[WSL_CUDA_IMAGE_STORED] = {};

    if (i >= count)
        return;
#pragma unroll
    for (int c = 0; c < WSL_CUDA_IMAGE_CHANNELS; c++)
        v[c] = wsl_cuda_normal(pixels[i * WSL_CUDA_IMAGE_CHANNELS + c], c);
    store<T, WSL_CUDA_IMAGE_STORED>(v, x + i * WSL_CUDA_IMAGE_STORED);
}

extern "C" cudaError_t wsl_cuda_launch_input(cudaStream_t stream, bool f32, const uint8_t *pixels,
                                             size_t count, void *x)
{
    unsigned blocks = (unsigned)((count + WSL_CUDA_THREADS - 1) / WSL_CUDA_THREADS);

    if (count > 0 && f32)
        normalise<<<blocks, WSL_CUDA_THREADS, 0, stream>>>(pixels, count, (float *)x);
    else if (count > 0)
        normalise<<<blocks, WSL_CUDA_THREADS, 0, stream>>>(pixels, count, (bf16 *)x);
    return cudaGetLastError();
}

/* ---- loss ---- */

struct sum_of {
    static __device__ double of(double a, double b)
    {
        return a + b;
    }
};

struct largest_of {
    static __device__ double of(double a, double b)
    {
        return a > b ? a : b;
    }
};

/* Over the threads of a block, as a tree of fixed shape; every thread gets it. */
template <typename OPERATION>
static __device__ double whole(double mine)
{
    __shared__ double all[LOSS_THREADS];

    __syncthreads();
    all[threadIdx.x] = mine;
    __syncthreads();
    for (unsigned half = LOSS_THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half)
            all[threadIdx.x] = OPERATION::of(all[threadIdx.x], all[threadIdx.x + half]);
        __syncthreads();
    }
    return all[0];
}

/* The tag of [begin, end) that comes before the others. */
template <typename T>
static __device__ uint32_t best_tag(const T *logits, const uint32_t *tags, uint32_t begin,
                                    uint32_t end)
{
    uint32_t best = tags[begin];

    for (uint32_t i = begin + 1; i < end; i++)
        if (wsl_cuda_before(widen(logits[tags[i]]), tags[i], widen(logits[best]), best))
            best = tags[i];
    return best;
}

/* One image a block. dlogits may be logits: gradients are written only after all has been read. */
template <typename T>
static __global__ void __launch_bounds__(LOSS_THREADS) image_loss(struct wsl_cuda_loss l)
{
    size_t image = blockIdx.x, at = image * (size_t)l.classes;
    const T *logits = (const T *)l.logits + at;
    T *dlogits = l.dlogits ? (T *)l.dlogits + at : NULL;
    uint32_t begin = l.begin[image], end = l.begin[image + 1];
    uint32_t best = best_tag(logits, l.tags, begin, end);
    float best_value = widen(logits[best]), k = (float)(end - begin);
    double largest = -INFINITY, sum = 0, rank = 0, loss = 0;

    for (uint32_t o = threadIdx.x; o < (uint32_t)l.classes; o += LOSS_THREADS) {
        float v = widen(logits[o]);

        largest = (double)v > largest ? (double)v : largest;
        rank += wsl_cuda_before(v, o, best_value, best) ? 1 : 0;
    }
    largest = whole<largest_of>(largest);
    rank = whole<sum_of>(rank);
    for (int o = (int)threadIdx.x; o < l.classes; o += LOSS_THREADS)
        sum += (double)expf((float)((double)widen(logits[o]) - largest));
    sum = whole<sum_of>(sum);
    for (uint32_t i = begin + threadIdx.x; i < end; i += LOSS_THREADS)
        loss += log(sum) + largest - (double)widen(logits[l.tags[i]]);
    loss = whole<sum_of>(loss);
    if (threadIdx.x == 0) {
        l.images[image].loss = loss / (double)k;
        l.images[image].hit1 = rank < 1;
        l.images[image].hit5 = rank < BEST;
    }
    if (!dlogits)
        return;
    for (int o = (int)threadIdx.x; o < l.classes; o += LOSS_THREADS) {
        float p = expf((float)((double)widen(logits[o]) - largest)) / (float)sum;
        uint32_t times = 0;

        for (uint32_t i = begin; i < end; i++)
            times += l.tags[i] == (uint32_t)o;
        narrow(l.scale * (p - (float)times / k), dlogits + o);
    }
}

static __global__ void total_loss(struct wsl_cuda_loss l)
{
    struct wsl_cuda_loss_image total = {0, 0, 0};

    for (int i = 0; i < l.count; i++) {
        total.loss += l.images[i].loss;
        total.hit1 += l.images[i].hit1;
        total.hit5 += l.images[i].hit5;
    }
    *l.total = total;
}

extern "C" cudaError_t wsl_cuda_launch_loss(const struct wsl_cuda_loss *l)
{
    if (l->f32)
        image_loss<float><<<(unsigned)l->count, LOSS_THREADS, 0, l->stream>>>(*l);
    else
        image_loss<bf16><<<(unsigned)l->count, LOSS_THREADS, 0, l->stream>>>(*l);
    return cudaGetLastError();
}

extern "C" cudaError_t wsl_cuda_launch_loss_total(const struct wsl_cuda_loss *l)
{
    total_loss<<<1, 1, 0, l->stream>>>(*l);
    return cudaGetLastError();
}
