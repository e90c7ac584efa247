/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the cuda backend: cuts the ranges of an update where weights with working copies begin and
 * end, so that one kernel can update and copy. Pure.
 */
#ifndef WSL_KERNELS_CUDA_SEGMENTS_H
#define WSL_KERNELS_CUDA_SEGMENTS_H

#include "kernels/cuda/layout.h"
#include "kernels/ops.h"

/* Weights [begin, begin + count) of the parameters have a bf16 copy. */
struct wsl_cuda_copy {
    size_t begin, count;
    uint16_t *working;
};

/* Where a cut has got to; zeroed to begin with. */
struct wsl_cuda_cut {
    size_t range, done; /* values of that range that have been cut */
};

/* The next segments, at most `max`; 0: that was all. Copies may come in any order, and may not
 * overlap. */
int wsl_cuda_cut_next(struct wsl_cuda_cut *cut, const struct wsl_sgd *sgd,
                      const struct wsl_cuda_copy *copies, size_t copy_count,
                      struct wsl_cuda_segment *ret, int max);

#endif
