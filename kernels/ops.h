/* SPDX-License-Identifier: Apache-2.0
 *
 * The backend interface: what a network is computed with. Three backends: `ref` (plain C in double
 * precision, the oracle), `cpu` (oneDNN and loops of our own), `cuda` (where built).
 *
 * Vocabulary
 *   activation   A feature map of a whole batch. Only the backend knows its layout and number type
 *                (ref: NCHW double, cpu: NHWC float, cuda: NHWC bf16). A pointer into memory of the
 *                backend.
 *   flat buffer  Floats in memory of the backend: parameters, gradients, momentum, statistics.
 *                Buffers that mirror each other hold the same tensor at the same offset.
 *                Convolution weights in them have the backend's layout; everything else is plain.
 *   canonical    On the host: activations NCHW float, weights (out, in / groups, kh, kw) float.
 *
 * Rules for every entry
 *   - One thread at a time uses a device.
 *   - Operations only enqueue. What they compute is complete after `synchronize`, which also
 *     returns the first failure since the last one. Until then no pointer handed in may be freed or
 *     changed.
 *   - Nothing is allocated after `prepare`.
 *   - Outputs are written without being read, unless an entry says that it adds. Outputs may not
 *     overlap inputs, unless an entry says "may be".
 *   - The same calls give the same bits.
 *   - An operation works on the first `count` images of `begin_pass`; the other images of its
 *     activations are unspecified afterwards.
 *   - Entries are required, unless the backend's probe always fails.
 */
#ifndef WSL_KERNELS_OPS_H
#define WSL_KERNELS_OPS_H

#include "base/err.h"
#include "kernels/cuda_settings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wsl_device; /* an open backend: memory, threads, plans; each backend defines its own */
struct wsl_conv;   /* a planned convolution of a device */

/* One image of an activation. */
struct wsl_shape {
    int channels, height, width;
};

/* A square convolution without bias. out = (in + 2 pad - kernel) / stride + 1, rounded down. */
struct wsl_conv_shape {
    struct wsl_shape in, out;
    int kernel, stride, pad, groups;
    bool input_gradient; /* backward_data will be called: not for the first layer */
};

/* Batch normalisation of a channel c over the m = count * height * width values of a call:
 *   mean = sum(x) / m, var = sum((x - mean)^2) / m, y = gamma (x - mean) / sqrt(var + 1e-5) + beta
 *   running += 0.1 (batch - running), with the unbiased variance (var * m / (m - 1) where m > 1).
 * All pointers are in memory of the backend; gamma to running_var have `channels` floats. */
struct wsl_bn {
    struct wsl_shape shape;
    const float *gamma, *beta;
    float *dgamma, *dbeta;
    float *running_mean, *running_var;
    void *saved; /* bn_saved_bytes: what the forward pass leaves for apply and backward */
};

/* The residual addition at the end of a bottleneck block: y = relu(bn(x) + z), where z is
 * `shortcut` itself, or shortcut_bn(shortcut). */
struct wsl_add_relu {
    const struct wsl_bn *bn;
    const struct wsl_bn *shortcut_bn; /* NULL: identity */
    const void *x, *shortcut;         /* activations of bn's shape */
};

/* Fully connected: logits[i][o] = sum_f weight[o][f] x[i][f] + bias[o]. Inputs and logits are
 * activations of {features, 1, 1} and {classes, 1, 1}. */
struct wsl_head {
    int features, classes;
    const float *weight, *bias;
    float *dweight, *dbias;
};

/* Softmax cross-entropy against k targets of 1/k for each image, on the host: image i has
 * tags[begin[i] .. begin[i + 1] - 1], at least one, each below `classes`. loss(i) = -sum over its
 * tags of log softmax(logits)[tag] / k. */
struct wsl_loss {
    int classes;
    const uint32_t *begin, *tags;
    float scale; /* of the gradient */
};

struct wsl_loss_result {
    double loss;         /* sum over the images */
    uint32_t hit1, hit5; /* images with a tag among their 1 or 5 largest logits (equal ones: the
                            lower class first; NaN counts as smallest) */
};

/* A range of the parameters. */
struct wsl_range {
    size_t begin, count;
    bool decay;
};

/* For every range: g' = g + (decay ? weight_decay * w : 0), u = m u + g', w -= lr (g' + m u).
 * (Nesterov momentum as in Sutskever et al. 2013, in the form PyTorch uses.) */
struct wsl_sgd {
    float *parameters, *momentum;
    const float *gradients;
    const struct wsl_range *ranges; /* on the host; the same array in every call */
    size_t range_count;
    float learning_rate, momentum_factor, weight_decay;
};

/* Number type of activations and convolutions. Flat buffers are floats in any case. */
enum wsl_precision {
    WSL_PRECISION_BEST, /* what the backend trains best with: cuda bf16, cpu float, ref double */
    WSL_PRECISION_F32,  /* at least floats, not rounded on the way: to compare backends */
};

struct wsl_device_setup {
    int batch;   /* images of a pass, at most */
    int threads; /* cpu: compute threads */
    bool inference_only;
    enum wsl_precision precision;
    struct wsl_cuda_settings cuda;
    /* For arithmetic, also where the hardware is missing: no device is touched, and only the
     * entries about sizes, conv_open, conv_weight_count, workspace_bytes and close may be
     * called. */
    bool sizes_only;
};

struct wsl_ops {
    const char *name;
    /* Size of a gradient bucket, which is all-reduced at once: large enough that starting an
     * all-reduce costs nothing against it, small enough that most buckets leave while the backward
     * pass is still running. */
    size_t bucket_bytes;

    /* ---- device ---- */

    /* Could `open` work here? WSL_EUNSUPPORTED: not built; WSL_EUNAVAILABLE: no hardware. */
    int (*probe)(struct wsl_err *err);
    int (*open)(struct wsl_device **ret, const struct wsl_device_setup *setup, struct wsl_err *err);
    void (*close)(struct wsl_device *dev); /* frees everything of the device; NULL is fine */
    /* Zeroed, aligned to 64 bytes at least, freed by close. WSL_ENOMEM names `what` and the
     * size. */
    int (*alloc)(struct wsl_device *dev, size_t bytes, const char *what, void **ret,
                 struct wsl_err *err);
    /* After the last conv_open and before the first pass: takes the workspace that all share. */
    int (*prepare)(struct wsl_device *dev, struct wsl_err *err);
    /* What prepare will take besides the flat buffers, once all convolutions are open;
     * *ret_more: at most so many bytes more, which only prepare can know. */
    size_t (*workspace_bytes)(struct wsl_device *dev, size_t *ret_more);
    /* Starts a pass of 1 <= count <= batch images. Weights may have changed since the last pass. */
    void (*begin_pass)(struct wsl_device *dev, int count);
    /* Something else than the entries of this table writes weights before the next `begin_pass` (a
     * broadcast): copies that the backend keeps of them become invalid. */
    void (*weights_changed)(struct wsl_device *dev);
    /* Orders everything enqueued so far before whatever a collective does with gradients that are
     * handed to it from now on. Does not block where the backend can order without it. On GPUs: the
     * device's default (legacy) stream waits for the compute stream, and "nccl" waits for the
     * default stream. */
    void (*fence)(struct wsl_device *dev);
    int (*synchronize)(struct wsl_device *dev, struct wsl_err *err); /* blocks until all is done */

    /* ---- sizes and copies; the copies block ---- */

    size_t (*activation_bytes)(struct wsl_device *dev, const struct wsl_shape *shape);
    size_t (*pool_index_bytes)(struct wsl_device *dev, const struct wsl_shape *pooled);
    size_t (*bn_saved_bytes)(struct wsl_device *dev, const struct wsl_shape *shape);
    void (*activation_read)(struct wsl_device *dev, const struct wsl_shape *shape, int count,
                            const void *x, float *ret_canonical);
    void (*activation_write)(struct wsl_device *dev, const struct wsl_shape *shape, int count,
                             const float *canonical, void *x);
    void (*floats_read)(struct wsl_device *dev, const float *buffer, size_t count, float *ret_host);
    void (*floats_write)(struct wsl_device *dev, const float *host, size_t count, float *buffer);

    /* ---- convolution ---- */

    int (*conv_open)(struct wsl_device *dev, const struct wsl_conv_shape *shape,
                     struct wsl_conv **ret, struct wsl_err *err); /* freed by close */
    /* Floats of the weights in a flat buffer: out * in / groups * kernel^2, or more with padding
     * (which stays zero through conv_weights_write, backward_weights and sgd). */
    size_t (*conv_weight_count)(const struct wsl_conv *conv);
    void (*conv_weights_read)(const struct wsl_conv *conv, const float *weights,
                              float *ret_canonical);
    void (*conv_weights_write)(const struct wsl_conv *conv, const float *canonical, float *weights);
    /* y = conv(x). With bn: also the batch statistics of y into bn->saved and the running ones. */
    void (*conv_forward)(struct wsl_conv *conv, const void *x, const float *weights, void *y,
                         const struct wsl_bn *bn);
    /* dx = gradient of x, or with `add` dx += it. */
    void (*conv_backward_data)(struct wsl_conv *conv, const void *dy, const float *weights,
                               void *dx, bool add);
    void (*conv_backward_weights)(struct wsl_conv *conv, const void *x, const void *dy,
                                  float *dweights);

    /* ---- normalisation; x is the convolution's output ---- */

    /* bn->saved from the running statistics, for evaluation. */
    void (*bn_running)(struct wsl_device *dev, const struct wsl_bn *bn);
    /* The same y again for the same x, until the backward entry is called for this BN. */
    void (*bn_relu)(struct wsl_device *dev, const struct wsl_bn *bn, const void *x, void *y);
    /* From the gradient of y: dgamma, dbeta and dx, which may be dy. Here and in add_relu_backward,
     * a backend may defer dx (and dshortcut, with shortcut_bn): it is meant for the next backward
     * calls of the convolution whose output x is, first its data's, then its weights'. Until then
     * nobody writes this call's inputs, or reads dx in another way than by activation_read;
     * afterwards dx is unspecified. */
    void (*bn_relu_backward)(struct wsl_device *dev, const struct wsl_bn *bn, const void *dy,
                             const void *x, void *dx);
    /* y = max over 3x3 windows, stride 2, padding 1, of relu(bn(x)); `index` remembers which. */
    void (*bn_relu_pool)(struct wsl_device *dev, const struct wsl_bn *bn, const void *x, void *y,
                         void *index);
    void (*bn_relu_pool_backward)(struct wsl_device *dev, const struct wsl_bn *bn, const void *dy,
                                  const void *index, const void *x, void *dx);
    void (*add_relu)(struct wsl_device *dev, const struct wsl_add_relu *residual, void *y);
    /* dx and dshortcut are the gradients of residual->x and residual->shortcut. dshortcut may be
     * dy. */
    void (*add_relu_backward)(struct wsl_device *dev, const struct wsl_add_relu *residual,
                              const void *dy, const void *y, void *dx, void *dshortcut);

    /* ---- input, pool, head, loss ---- */

    /* `pixels` here and the targets of `loss` are read before these return.
     * x = (pixel / 255 - mean) / deviation for each of R, G, B: mean .485 .456 .406, deviation .229
     * .224 .225. pixels: on the host, u8, image by image, rows of RGB triples. shape->channels
     * is 3. */
    void (*input)(struct wsl_device *dev, const struct wsl_shape *shape, const uint8_t *pixels,
                  void *x);
    /* Optional; NULL: it would save nothing. After everything of a pass is enqueued, before
     * `synchronize`: uploads the first `count` images of the next pass while this one computes.
     * They may not change until that pass's `input`, which may also come with other images: then
     * this was for nothing. Blocks only while it copies. */
    void (*prefetch_input)(struct wsl_device *dev, const struct wsl_shape *shape,
                           const uint8_t *pixels, int count);
    /* Mean over height and width; y is an activation of {channels, 1, 1}. */
    void (*average_pool)(struct wsl_device *dev, const struct wsl_shape *shape, const void *x,
                         void *y);
    void (*average_pool_backward)(struct wsl_device *dev, const struct wsl_shape *shape,
                                  const void *dy, void *dx);
    void (*head)(struct wsl_device *dev, const struct wsl_head *head, const void *x, void *logits);
    /* dweight, dbias and dx. */
    void (*head_backward)(struct wsl_device *dev, const struct wsl_head *head, const void *x,
                          const void *dlogits, void *dx);
    /* *ret is valid after synchronize. dlogits: scale times the gradient of the summed loss; may be
     * logits; NULL: not wanted. */
    void (*loss)(struct wsl_device *dev, const struct wsl_loss *loss, const void *logits,
                 void *dlogits, struct wsl_loss_result *ret);

    /* ---- flat buffers ---- */

    void (*sgd)(struct wsl_device *dev, const struct wsl_sgd *sgd);
    void (*scale)(struct wsl_device *dev, float *buffer, size_t count, float factor);
    /* buffer += more, and more = 0: how gradients of several micro-batches become one. */
    void (*accumulate)(struct wsl_device *dev, float *buffer, float *more, size_t count);
    /* The largest magnitude; *ret is valid after synchronize. NaN counts as more than infinity,
     * so all is finite if *ret is. Denormals count as what they are. */
    void (*max_abs)(struct wsl_device *dev, const float *buffer, size_t count, float *ret);
};

/* The backends; a backend that is not built is a _none.c file with the same symbol. */
extern const struct wsl_ops wsl_ops_ref, wsl_ops_cpu, wsl_ops_cuda;

/* By name; NULL: the fastest that works here. WSL_ENOENT lists the names; else what probe says. */
int wsl_ops_find(const char *name, const struct wsl_ops **ret, struct wsl_err *err);
/* The same for devices that are opened with sizes_only: the hardware may be missing.
 * WSL_EUNSUPPORTED: the backend is not built. */
int wsl_ops_find_for_sizes(const char *name, const struct wsl_ops **ret, struct wsl_err *err);

/* Weights of a convolution in canonical layout. */
static inline size_t wsl_conv_shape_weights(const struct wsl_conv_shape *s)
{
    return (size_t)s->out.channels * (size_t)(s->in.channels / s->groups) * (size_t)s->kernel *
           (size_t)s->kernel;
}

static inline size_t wsl_shape_count(const struct wsl_shape *s)
{
    return (size_t)s->channels * (size_t)s->height * (size_t)s->width;
}

#endif
