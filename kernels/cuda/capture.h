/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the cuda backend: CUDA graphs of a step's launches (setting `graphs`).
 *
 * The entries of ops.h between two boundaries are a segment. A boundary is whatever must stay
 * outside of a graph: images, loss, update, copies, `fence`,
 * `synchronize`. The first time a segment
 * comes, its calls go to the GPU as they come; the second time it is captured; from then on its
 * calls are only compared with those of the segments that are known, and at the boundary one graph
 * is launched. Calls that belong to no known segment go to the GPU one by one, those that are
 * pending first: whatever changes in a step (a pointer, a shape, an order, a number) makes another
 * segment. A pass of fewer images than the batch has no segments.
 *
 * A graph reads nothing that a segment's calls do not name: bf16 copies of weights that are old are
 * made before it is launched. A capture that fails says so once in the log and leaves this device
 * without graphs; everything else works as before.
 */
#ifndef WSL_KERNELS_CUDA_CAPTURE_H
#define WSL_KERNELS_CUDA_CAPTURE_H

#include "kernels/ops.h"

#include <cuda_runtime_api.h>

#define WSL_CUDA_CAPTURE_SEGMENTS 512 /* a segment more takes the place of the oldest */

enum wsl_cuda_op {
    WSL_CUDA_CONV_FORWARD,
    WSL_CUDA_CONV_DATA,
    WSL_CUDA_CONV_WEIGHTS,
    WSL_CUDA_BN_RUNNING,
    WSL_CUDA_BN_RELU,
    WSL_CUDA_BN_RELU_BACKWARD,
    WSL_CUDA_BN_RELU_POOL,
    WSL_CUDA_BN_RELU_POOL_BACKWARD,
    WSL_CUDA_ADD_RELU,
    WSL_CUDA_ADD_RELU_BACKWARD,
    WSL_CUDA_AVERAGE_POOL,
    WSL_CUDA_AVERAGE_POOL_BACKWARD,
    WSL_CUDA_HEAD,
    WSL_CUDA_HEAD_BACKWARD,
};

/* An entry of ops.h with its arguments by value; what an op does not have is zero, padding too, so
 * that calls are equal when their bytes are. */
struct wsl_cuda_call {
    enum wsl_cuda_op op;
    bool add, has_bn, has_shortcut_bn;
    struct wsl_conv *conv;
    const void *in[4];
    void *out[2];
    struct wsl_shape shape;
    struct wsl_bn bn, shortcut_bn;
    struct wsl_head head;
};

struct wsl_cuda_capture_segment {
    struct wsl_cuda_call *calls;
    int count;
    cudaGraphExec_t graph; /* NULL: not captured yet */
};

/* Enqueues a call. */
typedef void (*wsl_cuda_run_fn)(struct wsl_device *dev, const struct wsl_cuda_call *call);
/* Makes what a graph takes for granted, before it is launched. */
typedef void (*wsl_cuda_prepare_fn)(const struct wsl_cuda_call *call);

struct wsl_cuda_capture {
    bool on; /* wanted, and nothing has failed */
    wsl_cuda_run_fn run;
    wsl_cuda_prepare_fn prepare;
    bool submitted;                /* the calls since the boundary are with the GPU already */
    struct wsl_cuda_call *pending; /* since the boundary */
    int pending_count, pending_capacity;
    int match; /* number of a segment that begins with them, while not submitted */
    struct wsl_cuda_capture_segment segments[WSL_CUDA_CAPTURE_SEGMENTS];
    int segment_count, oldest;
};

/* `on`: graphs are wanted; otherwise every call is run as it comes. */
void wsl_cuda_capture_init(struct wsl_cuda_capture *capture, bool on, wsl_cuda_run_fn run,
                           wsl_cuda_prepare_fn prepare);
/* After everything enqueued is done. Zeroed memory is fine. */
void wsl_cuda_capture_fini(struct wsl_cuda_capture *capture);

/* The end of a segment: what is pending goes to the GPU now. */
void wsl_cuda_capture_boundary(struct wsl_device *dev);

/* Runs a call, or keeps it until the boundary. `call` was zeroed before its fields were set, and is
 * copied as bytes. */
void wsl_cuda_capture_call(struct wsl_device *dev, const struct wsl_cuda_call *call);

#endif
