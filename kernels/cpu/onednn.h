/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the cpu backend: the only door to oneDNN. Matrix products, and convolutions planned for a
 * whole batch on NHWC images with canonical weights (oneDNN's own weight layouts live in scratch
 * memory for the length of a call). Foreign status codes become errors here.
 */
#ifndef WSL_KERNELS_CPU_ONEDNN_H
#define WSL_KERNELS_CPU_ONEDNN_H

#include "kernels/ops.h"

struct wsl_onednn;      /* engine and stream */
struct wsl_onednn_conv; /* forward and, unless for inference, both backward plans */

int wsl_onednn_open(struct wsl_onednn **ret, struct wsl_err *err);
void wsl_onednn_close(struct wsl_onednn *onednn);

/* Threads of the calling thread's next calls. */
void wsl_onednn_set_threads(int threads);

/* C (m x n) = A B, plus C when `add`; row-major. transpose_a: A is stored k x m; transpose_b: B is
 * stored n x k. The pitches are floats from row to row as stored; 0: no gaps. Called from a thread
 * of a parallel region it computes on that thread alone. Returns 0 or WSL_EINTERNAL. */
struct wsl_matmul {
    bool transpose_a, transpose_b, add;
    size_t m, n, k;
    size_t a_pitch, b_pitch, c_pitch;
};
int wsl_onednn_matmul(const struct wsl_matmul *shape, const float *a, const float *b, float *c);

int wsl_onednn_conv_open(struct wsl_onednn *onednn, const struct wsl_conv_shape *shape, int batch,
                         bool inference_only, struct wsl_onednn_conv **ret, struct wsl_err *err);
void wsl_onednn_conv_close(struct wsl_onednn_conv *conv);
/* What every call below needs as `scratch`, aligned to 64. */
size_t wsl_onednn_conv_scratch(const struct wsl_onednn_conv *conv);

/* These compute the whole batch. Return 0 or WSL_EINTERNAL. */
int wsl_onednn_conv_forward(struct wsl_onednn_conv *conv, const float *x, const float *weights,
                            float *y, char *scratch);
int wsl_onednn_conv_data(struct wsl_onednn_conv *conv, const float *dy, const float *weights,
                         float *dx, char *scratch);
int wsl_onednn_conv_weights(struct wsl_onednn_conv *conv, const float *x, const float *dy,
                            float *dweights, char *scratch);

#endif
