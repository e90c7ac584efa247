/* SPDX-License-Identifier: Apache-2.0
 *
 * Compiled once for each instruction set, with WSL_COLOUR_LOOPS, the table's name, set by the
 * build. Plain C: the compiler makes the vectors. */
#include "kernels/image/colours.h"

static inline uint8_t to_byte(int32_t sum)
{
    int32_t v = (sum + (1 << (WSL_COLOUR_BITS - 1))) >> WSL_COLOUR_BITS;

    v = v < 0 ? 0 : v;
    return (uint8_t)(v > 255 ? 255 : v);
}

static void mix(const struct wsl_colour_mix *mix, uint8_t *rgb, size_t pixels)
{
    const struct wsl_colour_mix m = *mix;

    for (size_t i = 0; i < pixels; i++) {
        int32_t r = rgb[3 * i], g = rgb[3 * i + 1], b = rgb[3 * i + 2];

        rgb[3 * i] = to_byte(m.by[0][0] * r + m.by[0][1] * g + m.by[0][2] * b + m.add[0]);
        rgb[3 * i + 1] = to_byte(m.by[1][0] * r + m.by[1][1] * g + m.by[1][2] * b + m.add[1]);
        rgb[3 * i + 2] = to_byte(m.by[2][0] * r + m.by[2][1] * g + m.by[2][2] * b + m.add[2]);
    }
}

static void sum(const uint8_t *rgb, size_t pixels, uint64_t ret_sums[3])
{
    enum { AT_ONCE = 1 << 16 }; /* sums of so many bytes fit 32 bits */

    ret_sums[0] = ret_sums[1] = ret_sums[2] = 0;
    for (size_t at = 0; at < pixels; at += AT_ONCE) {
        size_t n = pixels - at < AT_ONCE ? pixels - at : AT_ONCE;
        const uint8_t *p = rgb + 3 * at;
        uint32_t r = 0, g = 0, b = 0;

        for (size_t i = 0; i < n; i++) {
            r += p[3 * i];
            g += p[3 * i + 1];
            b += p[3 * i + 2];
        }
        ret_sums[0] += r;
        ret_sums[1] += g;
        ret_sums[2] += b;
    }
}

const struct wsl_colour_loops WSL_COLOUR_LOOPS = {mix, sum};
