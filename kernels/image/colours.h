/* SPDX-License-Identifier: Apache-2.0
 *
 * The inner loops of wsl_augment_colours(), once for each instruction set: whole numbers, so all
 * give the same bits. Internal to kernels/image.
 */
#ifndef WSL_KERNELS_IMAGE_COLOURS_H
#define WSL_KERNELS_IMAGE_COLOURS_H

#include "kernels/cpu_level.h"

#include <stddef.h>
#include <stdint.h>

enum { WSL_COLOUR_BITS = 16 };

/* Channel c of a pixel becomes the sum over k of by[c][k] * channel k, plus add[c], rounded and
 * limited to a byte. In 1 / 2^WSL_COLOUR_BITS; every sum fits an int32_t. */
struct wsl_colour_mix {
    int32_t by[3][3], add[3];
};

struct wsl_colour_loops {
    void (*mix)(const struct wsl_colour_mix *mix, uint8_t *rgb, size_t pixels);
    void (*sum)(const uint8_t *rgb, size_t pixels, uint64_t ret_sums[3]);
};

extern const struct wsl_colour_loops wsl_colour_loops_v1, wsl_colour_loops_v3, wsl_colour_loops_v4;

/* wsl_augment_colours() with loops of the caller's choice. */
struct wsl_colour_jitter;
void wsl_augment_colours_with(enum wsl_cpu_level level, const struct wsl_colour_jitter *jitter,
                              uint64_t key, uint64_t position, uint8_t *rgb, size_t pixels);

#endif
