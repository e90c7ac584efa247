/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the cuda backend: what the .cu files give to the C files. Every launcher enqueues on a
 * stream and returns what cudaGetLastError says. `f32` says whether activations are floats or bf16.
 */
#ifndef WSL_KERNELS_CUDA_LAUNCH_H
#define WSL_KERNELS_CUDA_LAUNCH_H

#include "kernels/cuda/layout.h"

#include <cuda_runtime_api.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Arrays of `channels` floats, one after another: what bn->saved holds. */
struct wsl_cuda_saved {
    float *mean, *rstd, *scale, *offset;
};

/* One batch normalisation, in memory of the GPU. */
struct wsl_cuda_bn {
    int channels;
    struct wsl_cuda_saved saved;
    const float *gamma, *beta;
    float *dgamma, *dbeta, *running_mean, *running_var;
};

/* norm.cu; `sums`: room for 3 sums of every part, slope_level: 2 * channels floats. */
struct wsl_cuda_norm {
    cudaStream_t stream;
    bool f32;
    size_t rows;
    struct wsl_cuda_bn bn;
    float *sums, *slope_level;
};

cudaError_t wsl_cuda_launch_bn_batch(const struct wsl_cuda_norm *n, const void *x);
cudaError_t wsl_cuda_launch_bn_running(const struct wsl_cuda_norm *n);
cudaError_t wsl_cuda_launch_bn_relu(const struct wsl_cuda_norm *n, const void *x, void *y);
cudaError_t wsl_cuda_launch_bn_relu_backward(const struct wsl_cuda_norm *n, const void *dy,
                                             const void *x, void *dx);
/* shortcut_bn NULL: z is added as it is. */
cudaError_t wsl_cuda_launch_add_relu(const struct wsl_cuda_norm *n,
                                     const struct wsl_cuda_bn *shortcut_bn, const void *x,
                                     const void *z, void *y);
struct wsl_cuda_add_relu_gradient {
    const void *dy, *y, *x, *z;
    void *dx, *dz;
};
cudaError_t wsl_cuda_launch_add_relu_backward(const struct wsl_cuda_norm *n,
                                              const struct wsl_cuda_bn *shortcut_bn,
                                              const struct wsl_cuda_add_relu_gradient *j);

/* pool.cu */
cudaError_t wsl_cuda_launch_pool(const struct wsl_cuda_norm *n, const struct wsl_cuda_pool *pool,
                                 const void *x, void *y, uint8_t *index);
cudaError_t wsl_cuda_launch_pool_sums(const struct wsl_cuda_norm *n,
                                      const struct wsl_cuda_pool *pool, const void *dy,
                                      const uint8_t *index, const void *x, void *g);
/* dgamma, dbeta and dx = g's gradient, once `sums` holds 2 sums of every part (norm.cu). */
cudaError_t wsl_cuda_launch_bn_gradient(const struct wsl_cuda_norm *n, const void *g, const void *x,
                                        void *dx);
struct wsl_cuda_average {
    cudaStream_t stream;
    bool f32;
    int count; /* images */
    size_t pixels;
    int channels;
};
cudaError_t wsl_cuda_launch_average(const struct wsl_cuda_average *a, const void *x, void *y);
cudaError_t wsl_cuda_launch_spread(const struct wsl_cuda_average *a, const void *dy, void *dx);

/* input_loss.cu */
cudaError_t wsl_cuda_launch_input(cudaStream_t stream, bool f32, const uint8_t *pixels,
                                  size_t count, void *x);

struct wsl_cuda_loss_image {
    double loss;
    uint32_t hit1, hit5;
};
struct wsl_cuda_loss {
    cudaStream_t stream;
    bool f32;
    int count, classes;
    const uint32_t *begin, *tags; /* in memory of the GPU; begin[0] is 0 */
    float scale;
    const void *logits;
    void *dlogits; /* may be logits, or NULL */
    struct wsl_cuda_loss_image *images, *total;
};
/* Fills images[0 .. count - 1]. */
cudaError_t wsl_cuda_launch_loss(const struct wsl_cuda_loss *l);
/* *total = the sum of images[0 .. count - 1], in order. */
cudaError_t wsl_cuda_launch_loss_total(const struct wsl_cuda_loss *l);

/* head.cu: C[m][n] = sum over k of A[m][k] B[k][n] (+ bias[n]). The strides are in elements, one of
 * each pair is 1. */
enum wsl_cuda_type { WSL_CUDA_BF16, WSL_CUDA_FLOAT };
struct wsl_cuda_matrix {
    const void *data;
    enum wsl_cuda_type type;
    size_t row, column;
};
struct wsl_cuda_product {
    cudaStream_t stream;
    bool f32; /* multiply floats; else bf16 on tensor cores. Sums are floats. */
    int m, n, k;
    struct wsl_cuda_matrix a, b;
    void *c; /* rows of n */
    enum wsl_cuda_type c_type;
    const float *bias; /* or NULL */
};
cudaError_t wsl_cuda_launch_product(const struct wsl_cuda_product *p);
/* y[c] = sum over rows of x, in order. */
cudaError_t wsl_cuda_launch_column_sums(cudaStream_t stream, bool f32, int rows, int columns,
                                        const void *x, float *y);

/* optimizer.cu */
#define WSL_CUDA_SEGMENTS 512 /* of one launch at most */
struct wsl_cuda_segments {
    int count;
    struct wsl_cuda_segment items[WSL_CUDA_SEGMENTS];
};
cudaError_t wsl_cuda_launch_sgd(cudaStream_t stream, const struct wsl_cuda_segments *segments,
                                float *parameters, float *momentum, const float *gradients,
                                struct wsl_cuda_rates rates);
cudaError_t wsl_cuda_launch_scale(cudaStream_t stream, float *buffer, size_t count, float factor);
cudaError_t wsl_cuda_launch_accumulate(cudaStream_t stream, float *buffer, float *more,
                                       size_t count);
/* *ret_bits = the bits of the largest magnitude, which are in the order of magnitudes, NaN last. */
cudaError_t wsl_cuda_launch_max_abs(cudaStream_t stream, const float *buffer, size_t count,
                                    uint32_t *ret_bits);

/* convert.cu */
cudaError_t wsl_cuda_launch_narrow(cudaStream_t stream, const float *from, size_t count,
                                   uint16_t *to);
cudaError_t wsl_cuda_launch_widen(cudaStream_t stream, const uint16_t *from, size_t count,
                                  float *to);

#ifdef __cplusplus
}
#endif

#endif
