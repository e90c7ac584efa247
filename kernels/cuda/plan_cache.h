/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the cuda backend: plans that were chosen by timing, kept in a file for the next start, so
 * that it computes the same bits and starts sooner. One file for each model of GPU and version of
 * cuDNN. A line is "<CRC-32C of the rest>\t<problem>\t<cuDNN's JSON of the plan>". Whatever is
 * damaged, too long or of another version is left out: it will be timed again.
 */
#ifndef WSL_KERNELS_CUDA_PLAN_CACHE_H
#define WSL_KERNELS_CUDA_PLAN_CACHE_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define WSL_CUDA_CACHE_PLANS 4096
#define WSL_CUDA_CACHE_BYTES ((size_t)64 << 20)
#define WSL_CUDA_CACHE_PATH  1024

struct wsl_cuda_cache {
    char path[WSL_CUDA_CACHE_PATH]; /* "": nothing is read or written */
    char title[160];                /* the first line: what the plans are for */
    struct {
        char *problem, *json;
    } * plans;
    size_t count;
    bool changed; /* since it was read */
};

/* "DIRECTORY/cuda-<gpu>-cudnn<version>.plans"; directory NULL: $XDG_CACHE_HOME/wsl or ~/.cache/wsl.
 * "" for "none", where none of these is known, or when the path is too long. */
void wsl_cuda_cache_path(const char *directory, const char *gpu, size_t cudnn_version,
                         char ret_path[WSL_CUDA_CACHE_PATH]);

/* Reads what can be read; a missing or damaged file is an empty cache. WSL_ENOMEM is all that can
 * fail. fini is safe on zeroed memory. */
int wsl_cuda_cache_init(struct wsl_cuda_cache *cache, const char *path, const char *gpu,
                        size_t cudnn_version, struct wsl_err *err);
void wsl_cuda_cache_fini(struct wsl_cuda_cache *cache);

/* NULL: not there. Valid until the next put. */
const char *wsl_cuda_cache_find(const struct wsl_cuda_cache *cache, const char *problem);
/* Replaces what was there. Neither text may have a tab or a newline. A full cache stays as it is.
 */
int wsl_cuda_cache_put(struct wsl_cuda_cache *cache, const char *problem, const char *json,
                       struct wsl_err *err);
/* Replaces the file, when something changed; a crash leaves the old one or the new one. */
int wsl_cuda_cache_save(struct wsl_cuda_cache *cache, struct wsl_err *err);

#endif
