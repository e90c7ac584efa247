/* SPDX-License-Identifier: Apache-2.0
 *
 * What the worker's command line says about CUDA, which it passes on to every trainer that it
 * starts. Zeroed: nothing is said, and trainers use their defaults.
 */
#ifndef WSL_DAEMON_WORKER_CUDA_OPTIONS_H
#define WSL_DAEMON_WORKER_CUDA_OPTIONS_H

#include "base/err.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct wsl_cuda_options {
    bool graphs, no_tuning;
    const char *plans; /* a directory, "none", or NULL */
    uint64_t workspace_mib;
};

/* clang-format off */
/* Rows for base/args.h. */
#define WSL_CUDA_OPTIONS_ROWS(o)                                                                   \
    {"cuda-graphs", 0, WSL_ARG_FLAG, &(o)->graphs, 0, 0, NULL,                                     \
     "GPU trainers launch the kernels of a step as CUDA graphs"},                                  \
    {"cuda-no-tuning", 0, WSL_ARG_FLAG, &(o)->no_tuning, 0, 0, NULL,                               \
     "GPU trainers take cuDNN's first plan of each convolution, not the fastest of several: they " \
     "start sooner and step slower"},                                                              \
    {"cuda-plans", 0, WSL_ARG_TEXT, &(o)->plans, 0, 0, "DIR|none",                                 \
     "where GPU trainers keep the plans that they have timed (default ~/.cache/wsl)"},             \
    {"cuda-workspace-mib", 0, WSL_ARG_UINT, &(o)->workspace_mib, 1, 1 << 20, "MIB",                \
     "GPU memory that a trainer's convolutions may take to compute in (default 1024)"}
/* clang-format on */

/* The same as arguments of wsl-trainer, NULL after the last. `texts` holds what they point into;
 * both live as long as trainers are started. */
struct wsl_trainer_arguments {
    const char *items[7];
    char plans[PATH_MAX], workspace_mib[24];
};

/* Makes the directory of plans, so that its path means the same to every trainer. Blocks on the
 * disk; fails as the disk does. */
int wsl_cuda_options_arguments(const struct wsl_cuda_options *options,
                               struct wsl_trainer_arguments *ret, struct wsl_err *err);

#endif
