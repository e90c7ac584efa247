/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows stored, or added up in boxes, and the resize at the end.
 */
#include "kernels/image/row_sink.h"

#include "kernels/image/pixels.h"

#include <stdlib.h>
#include <string.h>

static int scaled(int size, int longer, int side_max)
{
    int s = (int)(((int64_t)size * side_max + longer / 2) / longer);

    return s < 1 ? 1 : s;
}

static int divide_up(int64_t a, int b)
{
    return (int)((a + b - 1) / b);
}

/* Sets box, area and result size for an image that has to be shrunk. Boxes are whole pixels, so
 * that each weighs the same, and leave at least twice the result: the filter at the end makes up
 * for their coarse edges. */
static void plan_shrinking(struct wsl_row_sink *sink, int width, int height, int eighths,
                           int side_max)
{
    int longer = width > height ? width : height;
    int rows_longer = sink->width > sink->height ? sink->width : sink->height;

    sink->box = rows_longer / 2 / side_max;
    sink->box = sink->box < 1 ? 1 : sink->box;
    sink->area.width = width * (eighths / 8.0) / sink->box;
    sink->area.height = height * (eighths / 8.0) / sink->box;
    sink->result_width = scaled(width, longer, side_max);
    sink->result_height = scaled(height, longer, side_max);
}

int wsl_row_sink_open(struct wsl_row_sink *sink, int width, int height, int eighths,
                      const struct wsl_image_limits *limits, struct wsl_err *err)
{
    int longer = width > height ? width : height;
    int side_max = limits && limits->side_max > 0 ? limits->side_max : longer;
    int r = wsl_image_check_size(width, height, limits, err);

    *sink = (struct wsl_row_sink){.box = 1};
    if (r < 0)
        return r;
    sink->width = divide_up((int64_t)width * eighths, 8);
    sink->height = divide_up((int64_t)height * eighths, 8);
    if (longer > side_max)
        plan_shrinking(sink, width, height, eighths, side_max);
    sink->image.width = divide_up(sink->width, sink->box);
    sink->image.height = divide_up(sink->height, sink->box);
    sink->image.pixels = malloc((size_t)sink->image.width * (size_t)sink->image.height * 3);
    if (sink->box > 1)
        sink->sums = calloc((size_t)sink->image.width * 3, sizeof *sink->sums);
    if (!sink->image.pixels || (sink->box > 1 && !sink->sums)) {
        wsl_row_sink_close(sink);
        return wsl_fail(err, WSL_ENOMEM, "no memory for an image of %d x %d", width, height);
    }
    return 0;
}

/* Columns of the box that begins at column `x`: the last may be narrower. */
static int columns_at(const struct wsl_row_sink *sink, int x)
{
    return sink->width - x < sink->box ? sink->width - x : sink->box;
}

static void add_to_sums(struct wsl_row_sink *sink, const uint8_t *row)
{
    uint64_t *sum = sink->sums;

    for (int x = 0; x < sink->width; x += sink->box, sum += 3) {
        for (int n = columns_at(sink, x); n > 0; n--, row += 3) {
            sum[0] += row[0];
            sum[1] += row[1];
            sum[2] += row[2];
        }
    }
    sink->rows_in_sum++;
}

static void finish_sums(struct wsl_row_sink *sink)
{
    size_t line = (size_t)(sink->next / sink->box);
    uint8_t *out = sink->image.pixels + line * (size_t)sink->image.width * 3;
    const uint64_t *sum = sink->sums;

    for (int x = 0; x < sink->width; x += sink->box, sum += 3) {
        uint64_t n = (uint64_t)columns_at(sink, x) * (uint64_t)sink->rows_in_sum;

        for (int c = 0; c < 3; c++)
            *out++ = (uint8_t)((sum[c] + n / 2) / n);
    }
    memset(sink->sums, 0, (size_t)sink->image.width * 3 * sizeof *sink->sums);
    sink->rows_in_sum = 0;
}

void wsl_row_sink_row(struct wsl_row_sink *sink, const uint8_t *row)
{
    size_t bytes = (size_t)sink->image.width * 3;

    if (sink->next >= sink->height)
        return;
    if (sink->box == 1) {
        memcpy(sink->image.pixels + (size_t)sink->next * bytes, row, bytes);
    } else {
        add_to_sums(sink, row);
        if (sink->rows_in_sum == sink->box || sink->next + 1 == sink->height)
            finish_sums(sink);
    }
    sink->next++;
}

int wsl_row_sink_take(struct wsl_row_sink *sink, struct wsl_image *ret, struct wsl_err *err)
{
    struct wsl_image small = {.width = sink->result_width, .height = sink->result_height};
    int r;

    if (sink->result_width == 0) {
        *ret = sink->image;
        sink->image = (struct wsl_image){0};
        return 0;
    }
    small.pixels = malloc((size_t)small.width * (size_t)small.height * 3);
    if (!small.pixels)
        return wsl_fail(err, WSL_ENOMEM, "no memory for an image of %d x %d", small.width,
                        small.height);
    r = wsl_image_resize(&sink->image,
                         &(struct wsl_image_crop){sink->area, small.width, small.height, false},
                         small.pixels, err);
    if (r < 0)
        wsl_image_free(&small);
    else
        *ret = small;
    return r;
}

void wsl_row_sink_close(struct wsl_row_sink *sink)
{
    wsl_image_free(&sink->image);
    free(sink->sums);
    sink->sums = NULL;
}
