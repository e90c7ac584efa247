/* SPDX-License-Identifier: Apache-2.0
 *
 * The two passes of a resize, once for each instruction set. All give the same bits: sums are of
 * whole numbers. Internal to kernels/image.
 *
 * A result is the sum over its taps of weight * source, weights in WSL_RESIZE_BITS bits that add up
 * to exactly one; taps come in pairs because that is what the processor multiplies and adds at
 * once. Every result has the same number of pairs, the last ones with weight 0 where it needs
 * fewer.
 */
#ifndef WSL_KERNELS_IMAGE_RESIZE_PASSES_H
#define WSL_KERNELS_IMAGE_RESIZE_PASSES_H

#include "kernels/image/image.h"

/* A weight of one still fits an int16_t. */
enum { WSL_RESIZE_BITS = 14, WSL_RESIZE_ROUND = 1 << (WSL_RESIZE_BITS - 1) };

/* Source rows that a call of `columns` takes. */
enum { WSL_RESIZE_ROWS = 4 };

/* Result i is the sum over k < 2 * pair_count of weights[i * 2 * pair_count + k] * source[first[i]
 * + k]. */
struct wsl_resize_taps {
    int *first;
    int16_t *weights;
    int pair_count;
    int size; /* results, rounded up to a multiple of 4: the additional ones are 0 */
};

/* Bytes behind a row that `columns` may read: their weights are 0. */
static inline size_t wsl_resize_slack(const struct wsl_resize_taps *taps)
{
    return (size_t)taps->pair_count * 6 + 16;
}

struct wsl_resize_passes {
    const char *name;
    /* RGB rows to lines of taps->size pixels. Rows may repeat, lines must not; 4 bytes behind a
     * line are written too. */
    void (*columns)(const uint8_t *const rows[WSL_RESIZE_ROWS], const struct wsl_resize_taps *taps,
                    uint8_t *const ret_lines[WSL_RESIZE_ROWS]);
    /* out[i] = sum over k < 2 * pair_count of weights[k] * lines[k][i], i < bytes. Lines are read
     * up to the next multiple of 64 bytes. */
    void (*rows)(const uint8_t *const *lines, const int16_t *weights, int pair_count, size_t bytes,
                 uint8_t *out);
};

extern const struct wsl_resize_passes wsl_resize_v1, wsl_resize_v3, wsl_resize_v4;

/* The best that this machine can run and that is not above `cap` ("v1", "v3", "v4"; NULL: no cap).
 */
const struct wsl_resize_passes *wsl_resize_choose(const char *cap);

/* The whole pixels that an antialiased resize of [from, from + length) to `size` reads: one
 * filter's width more on each side, and one pixel for what upsampled colours take from their
 * neighbours. */
void wsl_resize_reach(double from, double length, int size, int limit, int *ret_first,
                      int *ret_count);

/* wsl_image_resize() with passes of the caller's choice. */
int wsl_resize_with(const struct wsl_resize_passes *passes, const struct wsl_image *from,
                    const struct wsl_image_crop *crop, uint8_t *out, struct wsl_err *err);

#endif
