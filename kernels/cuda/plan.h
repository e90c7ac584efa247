/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the cuda backend: cuDNN's backend API for one convolution in one direction. A graph is the
 * problem as cuDNN sees it; a plan is an engine with its settings, ready to run. Plans can be made
 * for the current GPU, or for one that is only described (then they cannot run, but everything else
 * can be asked of them): the same code either way, so a test without a GPU sees the engines that
 * the backend would choose from.
 *
 * Only engines without cuDNN's note NONDETERMINISTIC are used. For bf16, engines without tensor
 * cores are the last resort; for f32, engines with tensor cores (TF32 rounds what it
 * reads) are not used.
 */
#ifndef WSL_KERNELS_CUDA_PLAN_H
#define WSL_KERNELS_CUDA_PLAN_H

#include "base/buf.h"
#include "kernels/ops.h"

#include <cudnn.h>

struct wsl_cuda_target {
    cudnnHandle_t handle;                /* the current GPU; or NULL, and */
    cudnnBackendDescriptor_t properties; /* the described one */
};

/* `json` as cuDNN writes CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION. */
int wsl_cuda_target_describe(struct wsl_cuda_target *target, const char *json, struct wsl_err *err);
void wsl_cuda_target_fini(struct wsl_cuda_target *target); /* leaves the handle alone */

enum wsl_cuda_direction { WSL_CUDA_FORWARD, WSL_CUDA_DATA, WSL_CUDA_WEIGHTS };

struct wsl_cuda_problem {
    enum wsl_cuda_direction direction;
    bool f32, add; /* add: the result is added to the output */
    int batch;
    struct wsl_conv_shape shape; /* channels as stored */
};

bool wsl_cuda_problem_equal(const struct wsl_cuda_problem *a, const struct wsl_cuda_problem *b);
/* "weights bf16 n128 c1024x14x14 k1024x14x14 r3 s1 p1 g32": also the key in a plan cache. */
#define WSL_CUDA_PROBLEM_TEXT 128
void wsl_cuda_problem_text(const struct wsl_cuda_problem *problem,
                           char ret_text[WSL_CUDA_PROBLEM_TEXT]);

/* One direction of a convolution, with channels as they are stored. */
struct wsl_cuda_problem wsl_cuda_problem_of(const struct wsl_conv_shape *shape, int batch,
                                            enum wsl_cuda_direction direction, bool f32, bool add);

struct wsl_cuda_graph {
    const struct wsl_cuda_target *target;
    struct wsl_cuda_problem problem;
    cudnnBackendDescriptor_t x, w, y, convolution, operation, graph;
};

/* fini is safe after a failed init, and on zeroed memory. The target must live longer. */
int wsl_cuda_graph_init(struct wsl_cuda_graph *graph, const struct wsl_cuda_target *target,
                        const struct wsl_cuda_problem *problem, struct wsl_err *err);
void wsl_cuda_graph_fini(struct wsl_cuda_graph *graph);

struct wsl_cuda_plan {
    cudnnBackendDescriptor_t plan;
    size_t workspace; /* bytes */
    int64_t engine;   /* cuDNN's number of it, -1: read from text */
    bool tensor_core;
};

/* The pointers of a run as cuDNN wants them, kept for the next run with the same ones. */
struct wsl_cuda_pack {
    cudnnBackendDescriptor_t pack;
    const void *pointers[4]; /* x, w, y, workspace */
};

/* Plans under a cap of workspace, the most promising first: up to `max` of them, at least one.
 * WSL_EUNSUPPORTED when there is none. */
int wsl_cuda_graph_plans(const struct wsl_cuda_graph *graph, size_t workspace_max,
                         struct wsl_cuda_plan *ret_plans, int max, int *ret_count,
                         struct wsl_err *err);
void wsl_cuda_plan_fini(struct wsl_cuda_plan *plan); /* fine on zeroed memory */

/* A plan as one line of JSON, and back. Reading fails when the text is of another cuDNN. */
int wsl_cuda_plan_write(const struct wsl_cuda_plan *plan, struct wsl_buf *out, struct wsl_err *err);
int wsl_cuda_plan_read(const struct wsl_cuda_target *target, const char *json,
                       struct wsl_cuda_plan *ret, struct wsl_err *err);

/* Enqueues on the handle's stream. */
cudnnStatus_t wsl_cuda_plan_run(const struct wsl_cuda_target *target,
                                const struct wsl_cuda_plan *plan, struct wsl_cuda_pack *pack,
                                const void *const pointers[4]);
void wsl_cuda_pack_fini(struct wsl_cuda_pack *pack); /* fine on zeroed memory */

/* A failed call as an error: the call, cuDNN's word for the status, and its last message. */
int wsl_cuda_fail_cudnn(struct wsl_err *err, cudnnStatus_t status, const char *call);

#endif
