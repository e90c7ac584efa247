/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the cuda backend: the entries of ops.h that can be part of a CUDA graph (capture.h), and
 * what capture.c needs to run them.
 */
#ifndef WSL_KERNELS_CUDA_RECORD_H
#define WSL_KERNELS_CUDA_RECORD_H

#include "kernels/cuda/capture.h"

/* Enqueues what a call says, now. */
void wsl_cuda_record_run(struct wsl_device *dev, const struct wsl_cuda_call *call);

/* Before a graph that has this call is launched: makes the bf16 copy of its weights if it is
 * old. */
void wsl_cuda_record_prepare(const struct wsl_cuda_call *call);

/* The contracts are those of ops.h. */
void wsl_cuda_record_conv_forward(struct wsl_conv *conv, const void *x, const float *weights,
                                  void *y, const struct wsl_bn *bn);
void wsl_cuda_record_conv_backward_data(struct wsl_conv *conv, const void *dy, const float *weights,
                                        void *dx, bool add);
void wsl_cuda_record_conv_backward_weights(struct wsl_conv *conv, const void *x, const void *dy,
                                           float *dweights);
void wsl_cuda_record_bn_running(struct wsl_device *dev, const struct wsl_bn *bn);
void wsl_cuda_record_bn_relu(struct wsl_device *dev, const struct wsl_bn *bn, const void *x,
                             void *y);
void wsl_cuda_record_bn_relu_backward(struct wsl_device *dev, const struct wsl_bn *bn,
                                      const void *dy, const void *x, void *dx);
void wsl_cuda_record_bn_relu_pool(struct wsl_device *dev, const struct wsl_bn *bn, const void *x,
                                  void *y, void *index);
void wsl_cuda_record_bn_relu_pool_backward(struct wsl_device *dev, const struct wsl_bn *bn,
                                           const void *dy, const void *index, const void *x,
                                           void *dx);
void wsl_cuda_record_add_relu(struct wsl_device *dev, const struct wsl_add_relu *residual, void *y);
void wsl_cuda_record_add_relu_backward(struct wsl_device *dev, const struct wsl_add_relu *residual,
                                       const void *dy, const void *y, void *dx, void *dshortcut);
void wsl_cuda_record_average_pool(struct wsl_device *dev, const struct wsl_shape *shape,
                                  const void *x, void *y);
void wsl_cuda_record_average_pool_backward(struct wsl_device *dev, const struct wsl_shape *shape,
                                           const void *dy, void *dx);
void wsl_cuda_record_head(struct wsl_device *dev, const struct wsl_head *head, const void *x,
                          void *logits);
void wsl_cuda_record_head_backward(struct wsl_device *dev, const struct wsl_head *head,
                                   const void *x, const void *dlogits, void *dx);

#endif
