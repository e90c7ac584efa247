/* SPDX-License-Identifier: Apache-2.0
 *
 * The passes in plain C: what the others must equal.
 */
#include "kernels/image/resize_passes.h"

static uint8_t round_to_byte(int32_t sum)
{
    return (uint8_t)((sum + WSL_RESIZE_ROUND) >> WSL_RESIZE_BITS);
}

static void columns_of_row(const uint8_t *row, const struct wsl_resize_taps *t, uint8_t *line)
{
    int count = 2 * t->pair_count;

    for (int x = 0; x < t->size; x++, line += 3) {
        const int16_t *w = t->weights + (size_t)x * (size_t)count;
        const uint8_t *p = row + (size_t)t->first[x] * 3;
        int32_t r = 0, g = 0, b = 0;

        for (int k = 0; k < count; k++) {
            if (w[k] == 0)
                continue;
            r += w[k] * p[k * 3];
            g += w[k] * p[k * 3 + 1];
            b += w[k] * p[k * 3 + 2];
        }
        line[0] = round_to_byte(r);
        line[1] = round_to_byte(g);
        line[2] = round_to_byte(b);
    }
}

static void columns(const uint8_t *const rows[WSL_RESIZE_ROWS], const struct wsl_resize_taps *taps,
                    uint8_t *const ret_lines[WSL_RESIZE_ROWS])
{
    for (int i = 0; i < WSL_RESIZE_ROWS; i++)
        columns_of_row(rows[i], taps, ret_lines[i]);
}

static void rows_in_columns(const uint8_t *const *lines, const int16_t *weights, int pair_count,
                            size_t bytes, uint8_t *out)
{
    enum { AT_ONCE = 128 };

    for (size_t at = 0; at < bytes; at += AT_ONCE) {
        size_t n = bytes - at < AT_ONCE ? bytes - at : AT_ONCE;
        int32_t sums[AT_ONCE] = {0};

        for (int k = 0; k < 2 * pair_count; k++) {
            const uint8_t *line = lines[k] + at;
            int32_t w = weights[k];

            for (size_t i = 0; i < n; i++)
                sums[i] += w * line[i];
        }
        for (size_t i = 0; i < n; i++)
            out[at + i] = round_to_byte(sums[i]);
    }
}

const struct wsl_resize_passes wsl_resize_v1 = {"v1", columns, rows_in_columns};
