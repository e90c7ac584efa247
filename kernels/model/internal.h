/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside kernels/model: what is behind `struct wsl_net`.
 */
#ifndef WSL_KERNELS_MODEL_INTERNAL_H
#define WSL_KERNELS_MODEL_INTERNAL_H

#include "kernels/model/graph.h"

struct wsl_net_tensor {
    struct wsl_tensor_info info;
    char name[72];
    const struct wsl_conv *conv; /* of a convolution's weight, else NULL */
};

/* Called after each operation of a step, once it is complete. layer: NULL at the two ends. */
typedef void (*wsl_net_profile_fn)(void *context, const struct wsl_op *op,
                                   const struct wsl_layer *layer);

struct wsl_net {
    const struct wsl_ops *ops;
    struct wsl_device *dev;
    struct wsl_net_setup setup;
    struct wsl_graph graph;
    struct wsl_program program;
    struct wsl_head head;

    struct wsl_net_tensor *tensors;
    size_t tensor_count;
    size_t head_weight, head_bias; /* tensors */
    struct wsl_range *ranges;      /* of the parameters, for sgd */
    size_t range_count;
    float *staging; /* on the host: room for the largest tensor */

    /* Flat buffers, in memory of the backend. gradients and momentum are NULL for inference. */
    float *parameters, *gradients, *momentum, *statistics;
    float *accumulated; /* gradients of the micro-batches before the last, then 0; NULL: one only */
    size_t parameter_count, statistic_count; /* floats, with the gaps between tensors */
    char *saved;                             /* every BN's `saved` */
    char *arena;                             /* the program's buffers */

    wsl_net_profile_fn profile; /* NULL, but in profiles: the net waits after each operation */
    void *profile_context;
    wsl_prefetch_fn prefetch; /* NULL: nobody prefetches */
    void *prefetch_context;
};

/* tensors.c: the table of tensors with their offsets, and the ranges for sgd. Where the layers'
 * convolutions are not open (a summary), offsets are those of weights without padding. */
int wsl_net_tensors_init(struct wsl_net *net, struct wsl_err *err);

#endif
