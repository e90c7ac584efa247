/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the cuda backend: CUDA graphs of a step's launches (WSL_CUDA_GRAPH=1). The entries of
 * ops.h between two marks are a strip. A mark is whatever must stay outside of a graph: pictures,
 * loss, update, copies, `publish`, `wait`. The first time a strip comes its calls go to the GPU as
 * they come; the second time it is captured; from then on its calls are only compared with those
 * of the strips that are known, and at the mark one graph is launched. Calls that belong to no
 * known strip go to the GPU one by one, those held back first: whatever changes in a step (a
 * pointer, a shape, an order, a number) makes another strip. A pass of fewer images than the batch
 * has no strips.
 *
 * A graph reads nothing that a strip's calls do not name: bf16 copies of weights that are old are
 * made before it is launched. A capture that fails says so once in the log and leaves this device
 * without graphs: everything goes on as without them.
 */
#ifndef WSL_KERNELS_CUDA_TAPE_H
#define WSL_KERNELS_CUDA_TAPE_H

#include "kernels/ops.h"

#include <cuda_runtime_api.h>

#define WSL_CUDA_STRIPS 512 /* a strip more takes the place of the oldest */

enum wsl_cuda_verb {
    WSL_CUDA_CONV_FORWARD,
    WSL_CUDA_CONV_DATA,
    WSL_CUDA_CONV_WEIGHTS,
    WSL_CUDA_BN_RUNNING,
    WSL_CUDA_BN_RELU,
    WSL_CUDA_BN_RELU_BACKWARD,
    WSL_CUDA_BN_RELU_POOL,
    WSL_CUDA_BN_RELU_POOL_BACKWARD,
    WSL_CUDA_JOIN,
    WSL_CUDA_JOIN_BACKWARD,
    WSL_CUDA_AVERAGE_POOL,
    WSL_CUDA_AVERAGE_POOL_BACKWARD,
    WSL_CUDA_HEAD,
    WSL_CUDA_HEAD_BACKWARD,
};

/* An entry of ops.h with its arguments by value; what a verb does not have is zero, padding too, so
 * that calls are equal when their bytes are. */
struct wsl_cuda_call {
    enum wsl_cuda_verb verb;
    bool add, has_bn, has_shortcut_bn;
    struct wsl_conv *conv;
    const void *in[4];
    void *out[2];
    struct wsl_shape shape;
    struct wsl_bn bn, shortcut_bn;
    struct wsl_head head;
};

struct wsl_cuda_strip {
    struct wsl_cuda_call *calls;
    int count;
    cudaGraphExec_t graph; /* NULL: not captured yet */
};

struct wsl_cuda_tape {
    bool on;                    /* wanted, and nothing has failed */
    bool passing;               /* the calls since the mark are with the GPU already */
    struct wsl_cuda_call *held; /* since the mark */
    int held_count, held_room;
    int match; /* number of a strip that begins with them, while not passing */
    struct wsl_cuda_strip strips[WSL_CUDA_STRIPS];
    int strip_count, oldest;
};

/* Reads WSL_CUDA_GRAPH: 1 is on, everything else off. */
void wsl_cuda_tape_init(struct wsl_cuda_tape *tape);
/* After everything enqueued is done. Zeroed memory is fine. */
void wsl_cuda_tape_fini(struct wsl_cuda_tape *tape);

/* The end of a strip: what is held back goes to the GPU now. */
void wsl_cuda_tape_mark(struct wsl_device *dev);

/* The entries of ops.h that strips are made of. */
void wsl_cuda_tape_conv_forward(struct wsl_conv *conv, const void *x, const float *weights, void *y,
                                const struct wsl_bn *bn);
void wsl_cuda_tape_conv_backward_data(struct wsl_conv *conv, const void *dy, const float *weights,
                                      void *dx, bool add);
void wsl_cuda_tape_conv_backward_weights(struct wsl_conv *conv, const void *x, const void *dy,
                                         float *dweights);
void wsl_cuda_tape_bn_running(struct wsl_device *dev, const struct wsl_bn *bn);
void wsl_cuda_tape_bn_relu(struct wsl_device *dev, const struct wsl_bn *bn, const void *x, void *y);
void wsl_cuda_tape_bn_relu_backward(struct wsl_device *dev, const struct wsl_bn *bn, const void *dy,
                                    const void *x, void *dx);
void wsl_cuda_tape_bn_relu_pool(struct wsl_device *dev, const struct wsl_bn *bn, const void *x,
                                void *y, void *index);
void wsl_cuda_tape_bn_relu_pool_backward(struct wsl_device *dev, const struct wsl_bn *bn,
                                         const void *dy, const void *index, const void *x,
                                         void *dx);
void wsl_cuda_tape_join(struct wsl_device *dev, const struct wsl_join *join, void *y);
void wsl_cuda_tape_join_backward(struct wsl_device *dev, const struct wsl_join *join,
                                 const void *dy, const void *y, void *dx, void *dshortcut);
void wsl_cuda_tape_average_pool(struct wsl_device *dev, const struct wsl_shape *shape,
                                const void *x, void *y);
void wsl_cuda_tape_average_pool_backward(struct wsl_device *dev, const struct wsl_shape *shape,
                                         const void *dy, void *dx);
void wsl_cuda_tape_head(struct wsl_device *dev, const struct wsl_head *head, const void *x,
                        void *logits);
void wsl_cuda_tape_head_backward(struct wsl_device *dev, const struct wsl_head *head, const void *x,
                                 const void *dlogits, void *dx);

#endif
