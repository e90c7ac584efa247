/* SPDX-License-Identifier: Apache-2.0
 *
 * What a collective on GPUs needs of the cuda backend.
 */
#ifndef WSL_KERNELS_CUDA_FOLLOW_H
#define WSL_KERNELS_CUDA_FOLLOW_H

#include "kernels/ops.h"

/* Whatever is put on `stream` (a cudaStream_t) from now on runs after everything that the device
 * had enqueued when `publish` was called last. Does not block. The other direction is the caller's:
 * an update may only be enqueued once the collective's wait has returned. */
int wsl_cuda_follow(struct wsl_device *dev, void *stream, struct wsl_err *err);

#endif
