/* SPDX-License-Identifier: Apache-2.0
 *
 * Two passes, columns then rows, each a weighted sum with a triangle filter that widens with the
 * scale (antialiasing). Weights are fixed point and the result between the passes is 8 bits, as in
 * PIL's resampling, so that both agree within rounding. Lines between the passes live in a ring
 * that holds no more of them than a result needs, so that they stay in the cache.
 */
#include "kernels/image/pixels.h"
#include "kernels/image/resize_passes.h"

#include "kernels/cpu_level.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void taps_free(struct wsl_resize_taps *t)
{
    free(t->first);
    free(t->weights);
}

static double triangle(int k, double centre, double scale)
{
    double t = 1 - fabs((k + 0.5 - centre) / scale);

    return t > 0 ? t : 0;
}

/* Weights are differences of rounded running sums: they add up to exactly one however many and
 * small they are. */
static void set_weights(int16_t *weights, int count, double centre, double scale)
{
    double sum = 0, so_far = 0;
    int before = 0;

    for (int k = 0; k < count; k++)
        sum += triangle(k, centre, scale);
    sum = (1 << WSL_RESIZE_BITS) / sum;
    for (int k = 0; k < count; k++) {
        int now;

        so_far += triangle(k, centre, scale);
        now = k + 1 == count ? 1 << WSL_RESIZE_BITS : (int)lrint(so_far * sum);
        weights[k] = (int16_t)(now - before);
        before = now;
    }
}

/* The elements that a result with its centre there is made from: all that lie under the triangle,
 * and at least one. */
static int span_of(double centre, double scale, int limit, int *ret_first)
{
    int first = (int)floor(centre - scale + 0.5);
    int end = (int)floor(centre + scale + 0.5);

    first = first < 0 ? 0 : first;
    end = end > limit ? limit : end;
    if (first > limit - 1)
        first = limit - 1;
    if (end <= first)
        end = first + 1;
    *ret_first = first;
    return end - first;
}

/* `size` results from the source interval [start, start + length) of a line of `limit` elements; in
 * reverse when `flip`. */
static int taps_make(struct wsl_resize_taps *t, int size, double start, double length, int limit,
                     bool flip)
{
    double step = length / size;
    double scale = step < 1 ? 1 : step;
    size_t taps_max;

    t->size = (size + 3) / 4 * 4;
    t->pair_count = 1;
    t->first = calloc((size_t)t->size, sizeof *t->first);
    if (!t->first)
        return WSL_ENOMEM;
    for (int i = 0; i < size; i++) {
        int count = span_of(start + (i + 0.5) * step, scale, limit, &t->first[i]);

        if ((count + 1) / 2 > t->pair_count)
            t->pair_count = (count + 1) / 2;
    }
    taps_max = 2 * (size_t)t->pair_count;
    t->weights = calloc((size_t)t->size * taps_max, sizeof *t->weights);
    if (!t->weights)
        return WSL_ENOMEM;
    for (int i = 0; i < size; i++) {
        int to = flip ? size - 1 - i : i;
        double centre = start + (i + 0.5) * step;
        int count = span_of(centre, scale, limit, &t->first[to]);

        set_weights(t->weights + (size_t)to * taps_max, count, centre - t->first[to], scale);
    }
    return 0;
}

/* One resize under way. */
struct work {
    const struct wsl_resize_passes *passes;
    const struct wsl_image *from;
    struct wsl_resize_taps columns, rows;
    size_t row_bytes; /* of `from` */
    uint8_t *memory;
    uint8_t *ring; /* line of source row y at (y % ring_lines) * stride */
    size_t stride;
    int ring_lines;
    uint8_t *tails;        /* copies of rows at the image's end, with room to read on */
    const uint8_t **lines; /* of the result being made */
    int next;              /* source row whose line is made next */
};

static int open_work(struct work *w, struct wsl_rect part, int width, int height, bool flip)
{
    const struct wsl_image *from = w->from;
    size_t ring_bytes, tail_bytes;
    int r = taps_make(&w->columns, width, part.x, part.width, from->width, flip);

    if (r == 0)
        r = taps_make(&w->rows, height, part.y, part.height, from->height, false);
    if (r < 0)
        return r;
    w->row_bytes = (size_t)from->width * 3;
    w->stride = ((size_t)w->columns.size * 3 + 4 + 63) / 64 * 64;
    w->ring_lines = 2 * w->rows.pair_count + WSL_RESIZE_ROWS;
    ring_bytes = (size_t)w->ring_lines * w->stride;
    tail_bytes = WSL_RESIZE_ROWS * (w->row_bytes + wsl_resize_slack(&w->columns));
    w->memory = calloc(1, ring_bytes + tail_bytes);
    w->lines = malloc((size_t)w->rows.pair_count * 2 * sizeof *w->lines);
    if (!w->memory || !w->lines)
        return WSL_ENOMEM;
    w->ring = w->memory;
    w->tails = w->memory + ring_bytes;
    w->next = w->rows.first[0];
    return 0;
}

static void close_work(struct work *w)
{
    taps_free(&w->columns);
    taps_free(&w->rows);
    free(w->memory);
    free(w->lines);
}

/* Row y, or the last one where there are no more (its weights are 0 then), where the passes may
 * read beyond its end. */
static const uint8_t *readable_row(const struct work *w, int y, int slot)
{
    size_t slack = wsl_resize_slack(&w->columns), bytes = (size_t)w->from->height * w->row_bytes;
    size_t at = (size_t)(y < w->from->height ? y : w->from->height - 1) * w->row_bytes;
    uint8_t *copy = w->tails + (size_t)slot * (w->row_bytes + slack);

    if (at + w->row_bytes + slack <= bytes)
        return w->from->pixels + at;
    memcpy(copy, w->from->pixels + at, w->row_bytes);
    return copy;
}

static void make_lines(struct work *w)
{
    const uint8_t *rows[WSL_RESIZE_ROWS];
    uint8_t *lines[WSL_RESIZE_ROWS];

    for (int i = 0; i < WSL_RESIZE_ROWS; i++) {
        rows[i] = readable_row(w, w->next + i, i);
        lines[i] = w->ring + (size_t)((w->next + i) % w->ring_lines) * w->stride;
    }
    w->passes->columns(rows, &w->columns, lines);
    w->next += WSL_RESIZE_ROWS;
}

static void make_rows(struct work *w, int height, size_t bytes, uint8_t *out)
{
    int count = 2 * w->rows.pair_count;

    for (int y = 0; y < height; y++, out += bytes) {
        const int16_t *weights = w->rows.weights + (size_t)y * (size_t)count;
        int first = w->rows.first[y];

        while (w->next < first + count)
            make_lines(w);
        for (int k = 0; k < count; k++)
            w->lines[k] = w->ring + (size_t)((first + k) % w->ring_lines) * w->stride;
        w->passes->rows(w->lines, weights, w->rows.pair_count, bytes, out);
    }
}

const struct wsl_resize_passes *wsl_resize_choose(const char *cap)
{
    static const struct wsl_resize_passes *const all[WSL_CPU_LEVELS] = {
        &wsl_resize_v1, &wsl_resize_v1, &wsl_resize_v3, &wsl_resize_v4};

    return all[wsl_cpu_level(cap)];
}

void wsl_resize_reach(double from, double length, int size, int limit, int *ret_first,
                      int *ret_count)
{
    double support = fmax(1, length / size) + 1;
    int first = (int)fmax(0, floor(from - support));
    int end = (int)fmin(limit, ceil(from + length + support));

    *ret_first = first;
    *ret_count = end - first;
}

int wsl_resize_with(const struct wsl_resize_passes *passes, const struct wsl_image *from,
                    const struct wsl_image_crop *crop, uint8_t *out, struct wsl_err *err)
{
    struct work w = {.passes = passes, .from = from};
    int width = crop->width, height = crop->height, r;

    if (width < 1 || height < 1)
        return wsl_fail(err, WSL_EINVAL, "a result of %d x %d pixels", width, height);
    r = wsl_image_check_area(from->width, from->height, crop->area, err);
    if (r < 0)
        return r;
    r = open_work(&w, crop->area, width, height, crop->flip);
    if (r == 0)
        make_rows(&w, height, (size_t)width * 3, out);
    else
        wsl_fail(err, r, "no memory to resize an image to %d x %d", width, height);
    close_work(&w);
    return r;
}

int wsl_image_resize(const struct wsl_image *from, const struct wsl_image_crop *crop, uint8_t *out,
                     struct wsl_err *err)
{
    return wsl_resize_with(wsl_resize_choose(NULL), from, crop, out, err);
}
