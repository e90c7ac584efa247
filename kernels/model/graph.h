/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside kernels/model: a net as data. `graph` lists the layers and the named tensors of a config;
 * `program` lists the operations of a training step or of an evaluation in order, with the buffers
 * they read and write; from the uses follows where in one arena each buffer lies. The executor
 * (step.c) only walks the list. Knows no backend: sizes in bytes come in from outside.
 */
#ifndef WSL_KERNELS_MODEL_GRAPH_H
#define WSL_KERNELS_MODEL_GRAPH_H

#include "kernels/model/net.h"
#include "kernels/ops.h"

/* A convolution and its BN, with the indices of its tensors. */
struct wsl_layer {
    char name[56];    /* of the convolution: "layer1.0.conv2" */
    char bn_name[56]; /* "layer1.0.bn2" */
    struct wsl_conv_shape shape;
    bool last_of_block; /* its gamma starts at 0 */
    bool after_bn_relu; /* its input is that of the layer before */
    struct wsl_conv *conv;
    struct wsl_bn bn;
    size_t weight, gamma, beta, mean, var; /* tensors */
};

/* Layers first, first + 1, first + 2 and, with a projection, first + 3. */
struct wsl_block {
    int first;
    bool projection;
};

struct wsl_graph {
    struct wsl_net_config config;
    struct wsl_layer *layers; /* [0] is the stem */
    int layer_count;
    struct wsl_block *blocks;
    int block_count;
    struct wsl_shape features; /* the last block's output */
};

/* config must have passed wsl_net_config_check. */
int wsl_graph_init(struct wsl_graph *graph, const struct wsl_net_config *config,
                   struct wsl_err *err);
void wsl_graph_fini(struct wsl_graph *graph);
struct wsl_shape wsl_pooled_shape(const struct wsl_shape *shape); /* 3x3, stride 2, padding 1 */

/* What one layer adds to wsl_net_parameter_count and wsl_net_macs. */
uint64_t wsl_layer_parameters(const struct wsl_layer *layer);
uint64_t wsl_layer_macs(const struct wsl_layer *layer);

/* ---- program ---- */

enum wsl_op_kind {
    WSL_OP_INPUT,                 /* out: image */
    WSL_OP_CONV,                  /* in: x; out: y */
    WSL_OP_BN_RELU,               /* in: x; out: y; also backward, see `recompute` */
    WSL_OP_BN_RELU_POOL,          /* in: x; out: y, index */
    WSL_OP_ADD_RELU,              /* in: x, shortcut; out: y */
    WSL_OP_AVERAGE_POOL,          /* in: x; out: y */
    WSL_OP_HEAD,                  /* in: x; out: logits */
    WSL_OP_LOSS,                  /* in: logits; out: the same, now their gradient */
    WSL_OP_HEAD_BACKWARD,         /* in: x, dlogits; out: dx */
    WSL_OP_AVERAGE_POOL_BACKWARD, /* in: dy; out: dx */
    WSL_OP_ADD_RELU_BACKWARD,     /* in: dy, y, x, shortcut; out: dx, dshortcut */
    WSL_OP_BN_RELU_BACKWARD,      /* in: dy, x; out: dx */
    WSL_OP_BN_RELU_POOL_BACKWARD, /* in: dy, index, x; out: dx */
    WSL_OP_CONV_BACKWARD_DATA,    /* in: dy, -, kept, kept; out: dx */
    WSL_OP_CONV_BACKWARD_WEIGHTS, /* in: x, dy, kept, kept; out: - */
};

struct wsl_op {
    enum wsl_op_kind kind;
    int layer;         /* -1: none */
    int shortcut;      /* ADD_RELU: layer of the projection, -1: identity */
    int in[4], out[2]; /* buffers, -1: none */
    bool add;          /* CONV_BACKWARD_DATA adds to out */
};

struct wsl_buffer {
    struct wsl_shape shape;
    bool index;      /* a pool's index, not an activation */
    int first, last; /* operations that use it */
    size_t bytes, offset;
};

struct wsl_program {
    struct wsl_op *ops;
    int op_count, forward_count; /* ops [0, forward_count) are the forward pass, without LOSS */
    struct wsl_buffer *buffers;
    int buffer_count;
    size_t arena_bytes;
    int logits; /* buffer */
};

struct wsl_program_kind {
    bool training;
    bool recompute; /* training: inputs of convolutions behind BN and ReLU are not kept for the
                       backward pass, but computed again before the weights' gradient. Nothing else
                       runs twice: no statistics move. */
};
int wsl_program_init(struct wsl_program *program, const struct wsl_graph *graph,
                     const struct wsl_program_kind *kind, struct wsl_err *err);
void wsl_program_fini(struct wsl_program *program);

/* Once every buffer's `bytes` is set: gives buffers whose uses do not overlap in time the same
 * place. First fit, in the order of first use. */
int wsl_program_plan(struct wsl_program *program, struct wsl_err *err);

#endif
