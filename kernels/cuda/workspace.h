/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the cuda backend: which problems a convolution poses, and how much workspace its plans may
 * take.
 */
#ifndef WSL_KERNELS_CUDA_WORKSPACE_H
#define WSL_KERNELS_CUDA_WORKSPACE_H

#include "kernels/cuda/plan.h"

/* Bytes: WSL_CUDA_WORKSPACE_MIB from the environment, else 1 GiB. All convolutions share one. */
size_t wsl_cuda_workspace_max(void);

/* One direction of a convolution, with channels as they are stored. */
struct wsl_cuda_problem wsl_cuda_problem_of(const struct wsl_conv_shape *shape, int batch,
                                            enum wsl_cuda_direction direction, bool f32, bool add);

#endif
