/* SPDX-License-Identifier: Apache-2.0
 *
 * A ResNeXt that trains: forward, backward, optimiser step, on one backend.
 *
 * Architecture (Xie et al. 2017; stride on the 3x3 convolution as in torchvision): stem conv 7x7/2
 * + BN + ReLU + max pool 3x3/2, up to four stages of bottleneck blocks 1x1 -> 3x3 grouped -> 1x1
 * with out channels 256, 512, 1024, 2048 and inner width groups * width * 2^stage, global average
 * pool, fully connected head. The stem is the same at every image size.
 *
 * Parameters live in one flat buffer of floats, gradients and momentum in buffers of the same
 * offsets, BN running statistics in a buffer of their own. Tensors are named and shaped as
 * torchvision's (out, in/groups, kh, kw); wsl_net_get and _set convert from a backend's own layout.
 *
 * One step thread uses a net. After the first step a step allocates nothing.
 */
#ifndef WSL_KERNELS_MODEL_NET_H
#define WSL_KERNELS_MODEL_NET_H

#include "base/err.h"
#include "kernels/cuda_settings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wsl_net_config {
    int stages;     /* 1 to 4 */
    int depths[4];  /* blocks per stage */
    int groups;     /* 32 */
    int width;      /* channels per group in stage 0: 4, 8, ... */
    int image_size; /* multiple of 32 */
    int classes;    /* 1 to 100000 */
};

/* "resnext50_32x4d", "resnext101_32x8d", ...: fills all but image_size and classes. WSL_ENOENT
 * otherwise. */
int wsl_net_config_by_name(const char *name, struct wsl_net_config *ret);

/* The names that it knows, one after another; NULL beyond the last. And the way back: the name of
 * these depths, groups and width, NULL when they have none. Static texts. */
const char *wsl_net_config_known(size_t i);
const char *wsl_net_config_name(const struct wsl_net_config *config);

/* For a line of text: "blocks 1,1; groups 4; width 4"; and the name, or this where there is none.
 */
void wsl_net_config_details(const struct wsl_net_config *config, char *text, size_t size);
void wsl_net_config_title(const struct wsl_net_config *config, char *text, size_t size);

/* Checks the limits above; names the field. */
int wsl_net_config_check(const struct wsl_net_config *config, struct wsl_err *err);

/* Parameters (BN gamma and beta included, running statistics not) and multiply-adds of one forward
 * image. Pure. */
uint64_t wsl_net_parameter_count(const struct wsl_net_config *config);
uint64_t wsl_net_macs(const struct wsl_net_config *config);

struct wsl_net;

struct wsl_net_setup {
    struct wsl_net_config config;
    const char *backend; /* "cpu", "ref"; "cuda" where built; NULL: the best there is */
    int batch;           /* images of one call, at most */
    int micro_batch; /* images computed at a time: a call of more is computed in micro-batches of
                            so many (the last may have fewer), with gradients, losses and hits
                            accumulated. Activations take the memory of a micro-batch, gradients that
                            of two buffers. BN statistics are over a micro-batch, and each one moves
                            the running ones. 0, or batch: all at once */
    int threads;     /* compute threads of the cpu backend */
    bool inference_only; /* no gradients, no momentum */
    bool recompute;      /* BN and ReLU inside of a block are computed again for the backward pass,
                            not kept: less memory, the same bits */
    bool f32;            /* no number is rounded to less than a float (cuda: to bf16), to compare */
    struct wsl_cuda_settings cuda;
};

/* Takes all memory it will ever need; WSL_ENOMEM says how much was wanted for what. Weights are not
 * initialised. */
int wsl_net_open(struct wsl_net **ret, const struct wsl_net_setup *setup, struct wsl_err *err);
void wsl_net_close(struct wsl_net *net); /* NULL is fine */
const char *wsl_net_backend(const struct wsl_net *net);
const struct wsl_net_config *wsl_net_get_config(const struct wsl_net *net);

/* He initialisation for convolutions (fan-out, as torchvision), gamma 1 but 0 in the last BN of
 * each block, head N(0, 0.01), biases 0, running mean 0 and variance 1 (Goyal et al. 2017). Same
 * seed, same bits, on every backend. */
void wsl_net_init(struct wsl_net *net, uint64_t seed);
/* Only the head (fc.weight, fc.bias): for transfer. */
void wsl_net_init_head(struct wsl_net *net, uint64_t seed);

/* ---- named tensors ---- */

enum wsl_tensor_kind {
    WSL_TENSOR_WEIGHT,
    WSL_TENSOR_STATISTIC
}; /* trained, or BN running mean/var */

struct wsl_tensor_info {
    const char *name; /* "layer1.0.conv2.weight"; lives as long as the net */
    enum wsl_tensor_kind kind;
    int dims;
    int64_t shape[4];
    size_t count;  /* elements */
    size_t offset; /* first element in its buffer (parameters or statistics) */
    bool decay;    /* weight decay applies (not on BN) */
    bool head;     /* belongs to the head */
};

size_t wsl_net_tensor_count(const struct wsl_net *net);
const struct wsl_tensor_info *wsl_net_tensor(const struct wsl_net *net, size_t i);
enum wsl_tensor_slot { WSL_TENSOR_VALUE, WSL_TENSOR_MOMENTUM, WSL_TENSOR_GRADIENT };
/* Copies one tensor out of or into the net, canonical layout, `count` floats. Statistics have only
 * VALUE. */
void wsl_net_get(struct wsl_net *net, size_t i, enum wsl_tensor_slot slot, float *ret_values);
void wsl_net_set(struct wsl_net *net, size_t i, enum wsl_tensor_slot slot, const float *values);

/* ---- a step ---- */

/* Targets of a batch: image i has tags[begin[i] .. begin[i+1]-1], each a target of 1/k. k = 0 is
 * not allowed. */
struct wsl_targets {
    const uint32_t *begin;
    const uint32_t *tags;
};

/* What a step or an evaluation computes with; the caller's, not changed until it returns. */
struct wsl_net_batch {
    const uint8_t *pixels; /* u8 NHWC RGB */
    struct wsl_targets targets;
    int count; /* images: 1 to the setup's batch */
};

struct wsl_step_result {
    double loss;         /* sum over the images of the softmax cross-entropy (not the mean) */
    uint32_t hit1, hit5; /* images whose best (one of the five best) answers is one of their tags */
};

/* Gradients become final in buckets, last layer first: ranges of the gradients of about
 * bucket_bytes (ops.h), the same in every step and on every rank. Called from within
 * wsl_net_step on the step thread, in the order of buckets; the range is not written any more in
 * this step, and may be all-reduced in place from then on. */
typedef void (*wsl_bucket_fn)(void *context, int bucket, float *gradients, size_t count);

struct wsl_step_options {
    float loss_scale; /* 1 / global batch: then the all-reduced gradients are those of the mean
                                loss */
    wsl_bucket_fn on_bucket; /* NULL: not called; with micro-batches called in the last one */
    void *context;
};

/* Forward and backward: gradients of the sum of losses times loss_scale replace the old ones.
 * Running BN statistics of this rank are updated (momentum 0.1). Blocks. WSL_EINVAL for an image
 * without a tag or a tag that is not below `classes`; other codes are failures of the backend. */
int wsl_net_step(struct wsl_net *net, const struct wsl_net_batch *batch,
                 const struct wsl_step_options *options, struct wsl_step_result *ret,
                 struct wsl_err *err);
int wsl_net_bucket_count(const struct wsl_net *net);

/* From now on `fn` is called within each step, when everything is enqueued and the step's own
 * pixels and targets are not read any more, before the step waits. It may get the next step's
 * pixels and hand them to wsl_net_prefetch, and do nothing else with the net. NULL: nothing is
 * called. */
typedef void (*wsl_prefetch_fn)(void *context);
void wsl_net_set_prefetch(struct wsl_net *net, wsl_prefetch_fn fn, void *context);
/* Pixels that the next step will probably be called with, `count` images: a GPU uploads them while
 * it computes. They must not change until then. Other pixels may come instead. */
void wsl_net_prefetch(struct wsl_net *net, const uint8_t *pixels, int count);

/* The running statistics, for averaging over ranks: all-reduce them, then
 * wsl_net_scale_statistics(1 / world). */
float *wsl_net_statistics(struct wsl_net *net, size_t *ret_count);
void wsl_net_scale_statistics(struct wsl_net *net, float factor);

/* Parameters and momentum in the backend's layout, for broadcasts between equal nets. Whoever
 * writes parameters asks for them each time, between the last use of the net and the next. */
float *wsl_net_parameters(struct wsl_net *net, size_t *ret_count);
float *wsl_net_momentum(struct wsl_net *net, size_t *ret_count);

/* SGD with Nesterov momentum on the gradients: g' = g + weight_decay * w (where decay
 * applies), u = m u + g', w -= lr (g' + m u). */
void wsl_net_update(struct wsl_net *net, float learning_rate, float momentum, float weight_decay);

/* Checks the gradients, the running statistics that the step left, and the weights (ReLU can
 * hide a bad one) for NaN and infinity. To be called between a step and its update; after the
 * all-reduce every rank gets the same answer. One pass over them that blocks; only where
 * something is wrong, tensors are read one by one. WSL_EINVAL names the weight that is the
 * cause, or else the gradient (the first that came to be) or the statistic: "the gradient of
 * layer3.4.conv2.weight is not finite (NaN, first at element 17 of 36864)". Other codes are
 * failures of the backend. Not for inference. */
int wsl_net_check_step(struct wsl_net *net, struct wsl_err *err);
/* The same for weights, running statistics and momentum: before they are saved and after they were
 * read. */
int wsl_net_check_values(struct wsl_net *net, struct wsl_err *err);

/* Evaluation with running statistics; no gradients. ret_logits (count x classes) may be NULL.
 * Blocks; errors as wsl_net_step. */
int wsl_net_evaluate(struct wsl_net *net, const struct wsl_net_batch *batch, float *ret_logits,
                     struct wsl_step_result *ret, struct wsl_err *err);

#endif
