/* SPDX-License-Identifier: Apache-2.0
 *
 * A model summary: the layers and tensors of a net, and the memory that it would take, without
 * taking it. And the way back: the config whose tensors somebody has. Any thread; nothing blocks.
 */
#ifndef WSL_KERNELS_MODEL_SUMMARY_H
#define WSL_KERNELS_MODEL_SUMMARY_H

#include "kernels/model/net.h"

struct wsl_net_summary;

/* The config must pass wsl_net_config_check; else WSL_EINVAL names the field. */
int wsl_net_summary_open(struct wsl_net_summary **ret, const struct wsl_net_config *config,
                         struct wsl_err *err);
void wsl_net_summary_close(struct wsl_net_summary *summary); /* NULL is fine */

/* A convolution and its BN, or the head; in the order of the forward pass, a block's projection
 * after its three. */
struct wsl_net_layer_info {
    const char *name;            /* "layer1.0.conv2", "fc"; lives as long as the summary */
    int kernel, stride, groups;  /* fc: 1, 1, 1 */
    int channels, height, width; /* of the output */
    uint64_t parameters;         /* with gamma and beta, with biases */
    uint64_t macs;               /* multiply-adds of one image, forward */
    uint64_t activation_bytes;   /* the convolution's output of one image in f32 */
};
size_t wsl_net_summary_layer_count(const struct wsl_net_summary *summary);
const struct wsl_net_layer_info *wsl_net_summary_layer(const struct wsl_net_summary *summary,
                                                       size_t i);

/* The tensors of a net of this config, in its order: wsl_net_tensor_count() and wsl_net_tensor()
 * of it. Offsets are those of a backend that pads nothing. */
size_t wsl_net_summary_tensor_count(const struct wsl_net_summary *summary);
const struct wsl_tensor_info *wsl_net_summary_tensor(const struct wsl_net_summary *summary,
                                                     size_t i);

/* Bytes that wsl_net_open with this setup takes, as the net's own plan and the backend's have them.
 * Not in it: images and targets on their way, what the backend's libraries take for themselves
 * (cuda: its context), and what others keep of a net (a checkpoint's copy). */
struct wsl_net_memory {
    const char *backend;            /* the one that was asked; static */
    uint64_t parameters, gradients; /* gradients and momentum are 0 for inference */
    uint64_t momentum;
    uint64_t accumulated_gradients; /* of a batch in micro-batches, else 0 */
    uint64_t statistics;            /* running mean and variance */
    uint64_t batch_statistics;      /* what each BN keeps from forward to backward */
    uint64_t activations;           /* the arena: buffers that live at different times share it */
    uint64_t workspace;             /* of the backend: what all layers share in turn */
    uint64_t total;
    uint64_t workspace_more; /* at most so much comes to the workspace, and is not in the total:
                                only the start of training finds out */
};
/* Arithmetic: takes none of that memory, and needs no device of the backend. Errors as
 * wsl_net_open; WSL_EUNSUPPORTED: this build lacks the backend. */
int wsl_net_memory(const struct wsl_net_setup *setup, struct wsl_net_memory *ret,
                   struct wsl_err *err);

/* ---- from tensors to a config ---- */

/* A tensor as somebody has it. */
struct wsl_tensor_shape {
    const char *name;
    int dims; /* shape has the first four */
    int64_t shape[4];
};

/* Stages, depths, groups, width and classes of the net that these tensors are of, from the names
 * "layerN.M." and the shapes of the 3x3 convolutions and of the head; classes 0: there is no head.
 * Sets all of *ret but image_size. Tensors that decide nothing are not looked at. WSL_EINVAL says
 * what is missing or cannot be. */
int wsl_net_config_from_tensors(const struct wsl_tensor_shape *tensors, size_t count,
                                struct wsl_net_config *ret, struct wsl_err *err);

/* Tensors that a comparison leaves out. A head that is there all the same is not looked at;
 * statistics must not be there (files of momentum). */
enum { WSL_WITHOUT_HEAD = 1, WSL_WITHOUT_STATISTICS = 2 };

/* Who is told of each fault: fn NULL: nobody. `line` is valid during the call. */
struct wsl_fault_report {
    void (*fn)(void *context, const char *line);
    void *context;
};

/* What a check found so far. */
struct wsl_faults {
    struct wsl_fault_report report;
    struct wsl_err *err; /* takes the first fault, as WSL_EINVAL */
    int count;
};

/* One more: a line for the report. */
void wsl_faults_add(struct wsl_faults *faults, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Is each tensor of the summary there in its shape, and nothing else but num_batches_tracked, which
 * PyTorch counts and nobody needs? Reports each fault; WSL_EINVAL with the first of them. */
int wsl_net_summary_compare(const struct wsl_net_summary *summary, unsigned without,
                            const struct wsl_tensor_shape *tensors, size_t count,
                            struct wsl_fault_report report, struct wsl_err *err);

#endif
