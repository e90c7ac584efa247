/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the collective: what bf16.cu gives to nccl.c. Enqueues on a stream and returns what
 * cudaGetLastError says. All memory is the GPU's. nccl.h includes the CUDA runtime.
 */
#ifndef WSL_KERNELS_COLLECTIVE_NCCL_BF16_H
#define WSL_KERNELS_COLLECTIVE_NCCL_BF16_H

#include <nccl.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

cudaError_t wsl_nccl_launch_round(cudaStream_t stream, const float *from, size_t count,
                                  uint16_t *to);
cudaError_t wsl_nccl_launch_widen(cudaStream_t stream, const uint16_t *from, size_t count,
                                  float *to);

#ifdef __cplusplus
}
#endif

#endif
