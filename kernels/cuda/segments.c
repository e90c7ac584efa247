/* SPDX-License-Identifier: Apache-2.0
 *
 * One range after the other, cut at the copies that begin or end within it.
 */
#include "kernels/cuda/segments.h"

/* The copy that holds value `at`, or NULL; *ret_end is where that answer stops being true. */
static const struct wsl_cuda_copy *copy_at(const struct wsl_cuda_copy *copies, size_t count,
                                           size_t at, size_t *ret_end)
{
    size_t end = SIZE_MAX;

    for (size_t i = 0; i < count; i++) {
        if (copies[i].begin <= at && at - copies[i].begin < copies[i].count) {
            *ret_end = copies[i].begin + copies[i].count;
            return &copies[i];
        }
        if (copies[i].begin > at && copies[i].begin < end)
            end = copies[i].begin;
    }
    *ret_end = end;
    return NULL;
}

int wsl_cuda_cut_next(struct wsl_cuda_cut *cut, const struct wsl_sgd *sgd,
                      const struct wsl_cuda_copy *copies, size_t copy_count,
                      struct wsl_cuda_segment *ret, int max)
{
    int n = 0;

    while (n < max && cut->range < sgd->range_count) {
        const struct wsl_range *range = &sgd->ranges[cut->range];
        size_t at = range->begin + cut->done, end = range->begin + range->count, stop;
        const struct wsl_cuda_copy *copy;

        if (at == end) {
            cut->range++;
            cut->done = 0;
            continue;
        }
        copy = copy_at(copies, copy_count, at, &stop);
        stop = stop < end ? stop : end;
        ret[n++] = (struct wsl_cuda_segment){
            .begin = at,
            .count = stop - at,
            .working = copy ? copy->working + (at - copy->begin) : NULL,
            .decay = range->decay ? sgd->weight_decay : 0,
        };
        cut->done = stop - range->begin;
    }
    return n;
}
