/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the reference backend. Activations are NCHW doubles, so that central differences through
 * it are exact to about 1e-8; flat buffers are canonical floats. Written to be read, not to be
 * fast: one loop per index, formulas as in the papers, sums in double.
 */
#ifndef WSL_KERNELS_REF_REF_H
#define WSL_KERNELS_REF_REF_H

#include "kernels/host.h"
#include "kernels/ops.h"

/* A run of output positions, and the input position that meets the first of them under one filter
 * tap; both count from the start of their plane. */
struct wsl_ref_row {
    int length, out, in;
};

struct wsl_conv {
    struct wsl_device *dev;
    struct wsl_conv_shape shape;
    struct wsl_ref_row *rows; /* [tap][at most out.height] */
    int *row_counts;          /* [tap] */
    struct wsl_conv *next;
};

struct wsl_device {
    struct wsl_device_setup setup;
    struct wsl_host_memory memory;
    struct wsl_conv *convs;
    int count; /* images of this pass */
};

/* bn->saved */
struct wsl_ref_saved {
    double mean, rstd;
};

/* The entries of the table, in the files conv.c, norm.c, input_loss.c and
 * optimizer.c. */
int wsl_ref_conv_rows(struct wsl_conv *conv, struct wsl_err *err);
void wsl_ref_conv_forward(struct wsl_conv *conv, const void *x, const float *weights, void *y,
                          const struct wsl_bn *bn);
void wsl_ref_conv_backward_data(struct wsl_conv *conv, const void *dy, const float *weights,
                                void *dx, bool add);
void wsl_ref_conv_backward_weights(struct wsl_conv *conv, const void *x, const void *dy,
                                   float *dweights);

void wsl_ref_bn_batch(struct wsl_device *dev, const struct wsl_bn *bn, const void *x);
void wsl_ref_bn_running(struct wsl_device *dev, const struct wsl_bn *bn);
void wsl_ref_bn_relu(struct wsl_device *dev, const struct wsl_bn *bn, const void *x, void *y);
void wsl_ref_bn_relu_backward(struct wsl_device *dev, const struct wsl_bn *bn, const void *dy,
                              const void *x, void *dx);
void wsl_ref_bn_relu_pool(struct wsl_device *dev, const struct wsl_bn *bn, const void *x, void *y,
                          void *index);
void wsl_ref_bn_relu_pool_backward(struct wsl_device *dev, const struct wsl_bn *bn, const void *dy,
                                   const void *index, const void *x, void *dx);
void wsl_ref_add_relu(struct wsl_device *dev, const struct wsl_add_relu *residual, void *y);
void wsl_ref_add_relu_backward(struct wsl_device *dev, const struct wsl_add_relu *residual,
                               const void *dy, const void *y, void *dx, void *dshortcut);

void wsl_ref_input(struct wsl_device *dev, const struct wsl_shape *shape, const uint8_t *pixels,
                   void *x);
void wsl_ref_average_pool(struct wsl_device *dev, const struct wsl_shape *shape, const void *x,
                          void *y);
void wsl_ref_average_pool_backward(struct wsl_device *dev, const struct wsl_shape *shape,
                                   const void *dy, void *dx);
void wsl_ref_head(struct wsl_device *dev, const struct wsl_head *head, const void *x, void *logits);
void wsl_ref_head_backward(struct wsl_device *dev, const struct wsl_head *head, const void *x,
                           const void *dlogits, void *dx);
void wsl_ref_loss(struct wsl_device *dev, const struct wsl_loss *loss, const void *logits,
                  void *dlogits, struct wsl_loss_result *ret);
void wsl_ref_sgd(struct wsl_device *dev, const struct wsl_sgd *sgd);
void wsl_ref_scale(struct wsl_device *dev, float *buffer, size_t count, float factor);
void wsl_ref_accumulate(struct wsl_device *dev, float *buffer, float *more, size_t count);
void wsl_ref_max_abs(struct wsl_device *dev, const float *buffer, size_t count, float *ret);

#endif
