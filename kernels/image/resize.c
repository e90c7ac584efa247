/* SPDX-License-Identifier: Apache-2.0
 *
 * Two passes, columns then rows, each a weighted sum with a triangle filter that widens with the
 * scale (antialiasing). Weights are fixed point and the result between the passes is 8 bits, as in
 * PIL's resampling, so that both agree within rounding.
 */
#include "kernels/image/image.h"
#include "kernels/image/raster.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* 255 times a sum of weights fits an int32_t. */
enum { WEIGHT_BITS = 22 };

/* Result element i is the sum over k < count of weights[i * most + k] * source[first[i] + k]. */
struct taps {
    int *first, *count;
    int32_t *weights;
    int most;
};

static void taps_free(struct taps *t)
{
    free(t->first);
    free(t->count);
    free(t->weights);
}

static double triangle(int k, double centre, double scale)
{
    return fmax(0, 1 - fabs((k + 0.5 - centre) / scale));
}

/* Weights are differences of rounded running sums: they add up to exactly one however many and
 * small they are. */
static void set_weights(int32_t *weights, int count, double centre, double scale)
{
    double sum = 0, so_far = 0;
    int32_t before = 0;

    for (int k = 0; k < count; k++)
        sum += triangle(k, centre, scale);
    for (int k = 0; k < count; k++) {
        int32_t now;

        so_far += triangle(k, centre, scale);
        now = k + 1 == count ? 1 << WEIGHT_BITS : (int32_t)lrint(so_far / sum * (1 << WEIGHT_BITS));
        weights[k] = now - before;
        before = now;
    }
}

/* `size` results from the source interval [start, start + length) of a line of `limit` elements. */
static int taps_make(struct taps *t, int size, double start, double length, int limit)
{
    double step = length / size;
    double scale = step < 1 ? 1 : step;

    t->most = (int)ceil(scale) * 2 + 1;
    t->first = malloc((size_t)size * sizeof *t->first);
    t->count = malloc((size_t)size * sizeof *t->count);
    t->weights = malloc((size_t)size * (size_t)t->most * sizeof *t->weights);
    if (!t->first || !t->count || !t->weights)
        return WSL_ENOMEM;
    for (int i = 0; i < size; i++) {
        double centre = start + (i + 0.5) * step;
        int first = (int)floor(centre - scale + 0.5);
        int end = (int)floor(centre + scale + 0.5);

        first = first < 0 ? 0 : first;
        end = end > limit ? limit : end;
        if (first > limit - 1)
            first = limit - 1;
        if (end <= first)
            end = first + 1;
        if (end - first > t->most)
            end = first + t->most;
        t->first[i] = first;
        t->count[i] = end - first;
        set_weights(t->weights + (size_t)i * (size_t)t->most, end - first, centre - first, scale);
    }
    return 0;
}

static uint8_t round_to_byte(int32_t sum)
{
    sum = (sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

static void columns_pass(const uint8_t *row, const struct taps *t, int width, bool flip,
                         uint8_t *out)
{
    for (int x = 0; x < width; x++) {
        const int32_t *w = t->weights + (size_t)x * (size_t)t->most;
        const uint8_t *p = row + (size_t)t->first[x] * 3;
        uint8_t *to = out + (flip ? width - 1 - x : x) * 3;
        int32_t r = 0, g = 0, b = 0;

        for (int k = 0; k < t->count[x]; k++, p += 3) {
            r += w[k] * p[0];
            g += w[k] * p[1];
            b += w[k] * p[2];
        }
        to[0] = round_to_byte(r);
        to[1] = round_to_byte(g);
        to[2] = round_to_byte(b);
    }
}

static void rows_pass(const uint8_t *lines, const struct taps *t, int y, size_t row_bytes,
                      int32_t *sums, uint8_t *out)
{
    const int32_t *w = t->weights + (size_t)y * (size_t)t->most;

    memset(sums, 0, row_bytes * sizeof *sums);
    for (int k = 0; k < t->count[y]; k++) {
        const uint8_t *line = lines + (size_t)(t->first[y] + k) * row_bytes;

        for (size_t i = 0; i < row_bytes; i++)
            sums[i] += w[k] * line[i];
    }
    for (size_t i = 0; i < row_bytes; i++)
        out[i] = round_to_byte(sums[i]);
}

int wsl_image_resize(const struct wsl_image *from, struct wsl_rect part, int width, int height,
                     bool flip, uint8_t *out, struct wsl_err *err)
{
    struct taps columns = {0}, rows = {0};
    size_t row_bytes = (size_t)width * 3;
    uint8_t *lines = NULL;
    int32_t *sums = NULL;
    int r;

    if (width < 1 || height < 1)
        return wsl_fail(err, WSL_EINVAL, "a result of %d x %d pixels", width, height);
    r = wsl_image_check_part(from->width, from->height, part, err);
    if (r < 0)
        return r;
    r = taps_make(&columns, width, part.x, part.width, from->width);
    if (r == 0)
        r = taps_make(&rows, height, part.y, part.height, from->height);
    if (r == 0) {
        lines = malloc(row_bytes * (size_t)from->height);
        sums = malloc(row_bytes * sizeof *sums);
        r = lines && sums ? 0 : WSL_ENOMEM;
    }
    if (r == 0) {
        int first = rows.first[0], end = rows.first[height - 1] + rows.count[height - 1];

        for (int y = first; y < end; y++)
            columns_pass(from->pixels + (size_t)y * (size_t)from->width * 3, &columns, width, flip,
                         lines + (size_t)y * row_bytes);
        for (int y = 0; y < height; y++)
            rows_pass(lines, &rows, y, row_bytes, sums, out + (size_t)y * row_bytes);
    } else {
        wsl_fail(err, r, "no memory to resize a picture to %d x %d", width, height);
    }
    taps_free(&columns);
    taps_free(&rows);
    free(lines);
    free(sums);
    return r;
}
