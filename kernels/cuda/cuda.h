/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the cuda backend: the device and its convolutions. One GPU (the first that
 * CUDA_VISIBLE_DEVICES leaves), one stream that computes everything in order, one that uploads
 * images.
 *
 * Flat buffers are floats. With bf16, each convolution has a working copy of its weights in bf16,
 * made by sgd in the same pass, or again when somebody else has written weights; weight gradients
 * come from cuDNN in bf16 and are widened into the gradient buffer, because cuDNN has no engine
 * that makes floats of them.
 */
#ifndef WSL_KERNELS_CUDA_CUDA_H
#define WSL_KERNELS_CUDA_CUDA_H

#include "kernels/cuda/capture.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/plan.h"
#include "kernels/cuda/plan_cache.h"
#include "kernels/cuda/segments.h"
#include "kernels/ops.h"

#define WSL_CUDA_BLOCKS          24                /* a net takes 15 at most */
#define WSL_CUDA_STAGING_BYTES   ((size_t)6 << 20) /* a buffer: whole pixels of 3 */
#define WSL_CUDA_TAGS_MIN        100000            /* tags that always fit: those of one image */
#define WSL_CUDA_TAGS_IMAGE      64                /* room for tags of a batch, for each image */
#define WSL_CUDA_MAX_ABS_PENDING 4 /* pending at a time; more only wait in between */
#define WSL_CUDA_PLANS_TRIED     8 /* by timing, for a problem */

/* A problem with the plan that was selected; convolutions of one shape share it. */
struct wsl_cuda_selected_plan {
    struct wsl_cuda_graph graph;
    struct wsl_cuda_plan plan;
    struct wsl_cuda_selected_plan *next;
};

/* A direction of a convolution. */
struct wsl_cuda_conv_direction {
    const struct wsl_cuda_selected_plan *selected; /* NULL: never called */
    struct wsl_cuda_pack pack;
};

struct wsl_conv {
    struct wsl_device *dev;
    struct wsl_conv_shape shape;
    struct wsl_cuda_conv_direction forward, data, data_add, weights;
    size_t weight_count;
    uint16_t *working;           /* bf16 weights; NULL with f32 */
    const float *weights_copied; /* what `working` is a copy of, NULL: of nothing */
    struct wsl_conv *next;
};

/* Pinned memory on the host and its pair on the GPU. */
struct wsl_cuda_staging {
    uint8_t *host, *gpu;
    cudaEvent_t uploaded, consumed;
};

struct wsl_device {
    struct wsl_device_setup setup;
    bool f32;
    int count;             /* images of this pass */
    struct wsl_err failed; /* the first failure since the last synchronize */
    struct wsl_cuda_capture capture;

    cudaStream_t compute, upload;
    cudaEvent_t fenced;
    struct wsl_cuda_target target;
    struct wsl_cuda_selected_plan *selected_plans;
    struct wsl_conv *convs;

    struct {
        void *data;
        size_t bytes;
    } blocks[WSL_CUDA_BLOCKS];
    size_t block_count;

    /* What prepare takes, and how much of it. */
    size_t workspace_bytes, weights_max, sums_floats, channels;
    char *workspace;
    uint16_t *dweights; /* bf16, of one convolution */
    float *sums, *slope_level;
    struct wsl_cuda_copy *copies; /* room for one of each convolution */

    struct wsl_cuda_staging staging[2];
    int staging_next;

    /* The next pass's images, on their way while this one computes; a whole batch of them. */
    size_t images_bytes; /* 0: there is no room for them */
    struct wsl_cuda_staging prefetch;
    const uint8_t *prefetched; /* the pixels that are in it, NULL: none */
    int prefetched_count;      /* images */

    /* The loss: targets on their way, results on their way back. */
    size_t tags_max;
    uint32_t *targets_host, *targets_gpu; /* begin[batch + 1], tags[tags_max] */
    cudaEvent_t targets_uploaded;
    struct wsl_cuda_loss_image *losses; /* on the GPU: total, then batch images */
    struct wsl_cuda_loss_image *total;  /* pinned */
    struct wsl_loss_result *waiting;    /* where the total goes at the next synchronize */

    /* Largest magnitudes, likewise. */
    uint32_t *max_abs_gpu, *max_abs_host; /* bits */
    float *max_abs_waiting[WSL_CUDA_MAX_ABS_PENDING];
    int max_abs_count;
};

/* memory.c: note a failure of `call` unless there was one before; true when there was none. */
bool wsl_cuda_ok(struct wsl_device *dev, cudaError_t rc, const char *call);
bool wsl_cuda_cudnn_ok(struct wsl_device *dev, cudnnStatus_t rc, const char *call);
/* A failed call as an error. */
int wsl_cuda_fail(struct wsl_err *err, cudaError_t rc, const char *call);
int wsl_cuda_alloc(struct wsl_device *dev, size_t bytes, const char *what, void **ret,
                   struct wsl_err *err);
size_t wsl_cuda_activation_bytes(struct wsl_device *dev, const struct wsl_shape *shape);
/* Pinned memory of the host; the caller frees it with cudaFreeHost. */
int wsl_cuda_alloc_pinned(size_t bytes, const char *what, void **ret, struct wsl_err *err);

/* copies.c */
int wsl_cuda_staging_init(struct wsl_device *dev, struct wsl_err *err);
void wsl_cuda_staging_fini(struct wsl_device *dev);
void wsl_cuda_activation_read(struct wsl_device *dev, const struct wsl_shape *shape, int count,
                              const void *x, float *ret_canonical);
void wsl_cuda_activation_write(struct wsl_device *dev, const struct wsl_shape *shape, int count,
                               const float *canonical, void *x);
void wsl_cuda_floats_read(struct wsl_device *dev, const float *buffer, size_t count,
                          float *ret_host);
void wsl_cuda_floats_write(struct wsl_device *dev, const float *host, size_t count, float *buffer);
void wsl_cuda_weights_read(const struct wsl_conv *conv, const float *weights, float *ret_canonical);
void wsl_cuda_weights_write(const struct wsl_conv *conv, const float *canonical, float *weights);
int wsl_cuda_prefetch_init(struct wsl_device *dev, struct wsl_err *err);
void wsl_cuda_prefetch_input(struct wsl_device *dev, const struct wsl_shape *shape,
                             const uint8_t *pixels, int count);
void wsl_cuda_input(struct wsl_device *dev, const struct wsl_shape *shape, const uint8_t *pixels,
                    void *x);

/* select_plan.c: fills in the plans of all convolutions, from the cache, by timing, or as cuDNN
 * guesses. */
int wsl_cuda_select_plans(struct wsl_device *dev, struct wsl_err *err);

/* conv.c */
int wsl_cuda_conv_open(struct wsl_device *dev, const struct wsl_conv_shape *shape,
                       struct wsl_conv **ret, struct wsl_err *err);
void wsl_cuda_conv_free(struct wsl_conv *conv); /* its plans belong to the device */
void wsl_cuda_conv_forward(struct wsl_conv *conv, const void *x, const float *weights, void *y,
                           const struct wsl_bn *bn);
void wsl_cuda_conv_backward_data(struct wsl_conv *conv, const void *dy, const float *weights,
                                 void *dx, bool add);
void wsl_cuda_conv_backward_weights(struct wsl_conv *conv, const void *x, const void *dy,
                                    float *dweights);
/* Makes the bf16 copy of weights now if it is old. */
void wsl_cuda_conv_refresh(struct wsl_conv *conv, const float *weights);
/* Somebody has written weights: every working copy must be made again. */
void wsl_cuda_weights_changed(struct wsl_device *dev);
/* The same for those that lie in a part of a flat buffer. A boundary, as whatever writes one is. */
void wsl_cuda_invalidate_copies(struct wsl_device *dev, const float *buffer, size_t count);

/* norm.c */
size_t wsl_cuda_bn_sums_floats(const struct wsl_shape *shape, int batch);
void wsl_cuda_bn_batch(struct wsl_device *dev, const struct wsl_bn *bn, const void *x);
void wsl_cuda_bn_running(struct wsl_device *dev, const struct wsl_bn *bn);
void wsl_cuda_bn_relu(struct wsl_device *dev, const struct wsl_bn *bn, const void *x, void *y);
void wsl_cuda_bn_relu_backward(struct wsl_device *dev, const struct wsl_bn *bn, const void *dy,
                               const void *x, void *dx);
void wsl_cuda_bn_relu_pool(struct wsl_device *dev, const struct wsl_bn *bn, const void *x, void *y,
                           void *index);
void wsl_cuda_bn_relu_pool_backward(struct wsl_device *dev, const struct wsl_bn *bn, const void *dy,
                                    const void *index, const void *x, void *dx);
void wsl_cuda_add_relu(struct wsl_device *dev, const struct wsl_add_relu *residual, void *y);
void wsl_cuda_add_relu_backward(struct wsl_device *dev, const struct wsl_add_relu *residual,
                                const void *dy, const void *y, void *dx, void *dshortcut);

/* input_loss.c */
int wsl_cuda_input_loss_init(struct wsl_device *dev, struct wsl_err *err);
void wsl_cuda_input_loss_fini(struct wsl_device *dev);
void wsl_cuda_average_pool(struct wsl_device *dev, const struct wsl_shape *shape, const void *x,
                           void *y);
void wsl_cuda_average_pool_backward(struct wsl_device *dev, const struct wsl_shape *shape,
                                    const void *dy, void *dx);
void wsl_cuda_head(struct wsl_device *dev, const struct wsl_head *head, const void *x,
                   void *logits);
void wsl_cuda_head_backward(struct wsl_device *dev, const struct wsl_head *head, const void *x,
                            const void *dlogits, void *dx);
void wsl_cuda_loss(struct wsl_device *dev, const struct wsl_loss *loss, const void *logits,
                   void *dlogits, struct wsl_loss_result *ret);
/* After the stream is done: hands out the results that wait for it. */
void wsl_cuda_deliver_results(struct wsl_device *dev);

/* optimizer.c */
void wsl_cuda_sgd_update(struct wsl_device *dev, const struct wsl_sgd *sgd);
void wsl_cuda_scale(struct wsl_device *dev, float *buffer, size_t count, float factor);
void wsl_cuda_accumulate(struct wsl_device *dev, float *buffer, float *more, size_t count);
void wsl_cuda_max_abs(struct wsl_device *dev, const float *buffer, size_t count, float *ret);

#endif
