/* SPDX-License-Identifier: Apache-2.0
 *
 * Settings of the backend "cuda", which other backends ignore. Plain data: zeroed is the defaults.
 */
#ifndef WSL_KERNELS_CUDA_SETTINGS_H
#define WSL_KERNELS_CUDA_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WSL_CUDA_WORKSPACE_MIB = 1024, WSL_CUDA_WORKSPACE_MIB_MAX = 1 << 20 };

struct wsl_cuda_settings {
    bool graphs;            /* launch the kernels of a step as CUDA graphs */
    bool no_tuning;         /* cuDNN's first plan of each convolution, not the fastest of some */
    const char *plans;      /* directory of the file that keeps timed plans; NULL: ~/.cache/wsl, or
                               $XDG_CACHE_HOME/wsl; "none": no file. Lives as long as the device */
    uint64_t workspace_mib; /* GPU memory that all convolutions share to compute in, at most; 0:
                               WSL_CUDA_WORKSPACE_MIB */
};

static inline size_t wsl_cuda_workspace_max(const struct wsl_cuda_settings *s)
{
    return (size_t)(s->workspace_mib ? s->workspace_mib : (uint64_t)WSL_CUDA_WORKSPACE_MIB) << 20;
}

/* The rows of a table of base/args.h that set them. */
/* clang-format off */
#define WSL_CUDA_SETTINGS_ROWS(s)                                                                  \
    {"cuda-graphs", 0, WSL_ARG_FLAG, &(s).graphs, 0, 0, NULL,                                      \
     "launch the kernels of a step as CUDA graphs"},                                               \
    {"cuda-no-tuning", 0, WSL_ARG_FLAG, &(s).no_tuning, 0, 0, NULL,                                \
     "take cuDNN's first plan of each convolution, not the fastest of several"},                   \
    {"cuda-plans", 0, WSL_ARG_TEXT, &(s).plans, 0, 0, "DIR|none",                                  \
     "where timed plans are kept (~/.cache/wsl)"},                                                 \
    {"cuda-workspace-mib", 0, WSL_ARG_UINT, &(s).workspace_mib, 1, WSL_CUDA_WORKSPACE_MIB_MAX,     \
     "MIB", "GPU memory that convolutions may take to compute in (1024)"}
/* clang-format on */

#endif
