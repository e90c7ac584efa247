/* SPDX-License-Identifier: Apache-2.0 */
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

/* Sets box, part and result size for a picture that has to be shrunk. Boxes are whole pixels, so
 * that each weighs the same, and leave at least twice the result: the filter at the end makes up
 * for their coarse edges. */
static void plan_shrinking(struct wsl_row_sink *raster, int width, int height, int eighths,
                           int side_max)
{
    int longer = width > height ? width : height;
    int rows_longer = raster->width > raster->height ? raster->width : raster->height;

    raster->box = rows_longer / 2 / side_max;
    raster->box = raster->box < 1 ? 1 : raster->box;
    raster->part.width = width * (eighths / 8.0) / raster->box;
    raster->part.height = height * (eighths / 8.0) / raster->box;
    raster->result_width = scaled(width, longer, side_max);
    raster->result_height = scaled(height, longer, side_max);
}

int wsl_row_sink_open(struct wsl_row_sink *raster, int width, int height, int eighths,
                      const struct wsl_image_limits *limits, struct wsl_err *err)
{
    int longer = width > height ? width : height;
    int side_max = limits && limits->side_max > 0 ? limits->side_max : longer;
    int r = wsl_image_check_size(width, height, limits, err);

    *raster = (struct wsl_row_sink){.box = 1};
    if (r < 0)
        return r;
    raster->width = divide_up((int64_t)width * eighths, 8);
    raster->height = divide_up((int64_t)height * eighths, 8);
    if (longer > side_max)
        plan_shrinking(raster, width, height, eighths, side_max);
    raster->image.width = divide_up(raster->width, raster->box);
    raster->image.height = divide_up(raster->height, raster->box);
    raster->image.pixels = malloc((size_t)raster->image.width * (size_t)raster->image.height * 3);
    if (raster->box > 1)
        raster->sums = calloc((size_t)raster->image.width * 3, sizeof *raster->sums);
    if (!raster->image.pixels || (raster->box > 1 && !raster->sums)) {
        wsl_row_sink_close(raster);
        return wsl_fail(err, WSL_ENOMEM, "no memory for a picture of %d x %d", width, height);
    }
    return 0;
}

/* Columns of the box that begins at column `x`: the last may be narrower. */
static int columns_at(const struct wsl_row_sink *raster, int x)
{
    return raster->width - x < raster->box ? raster->width - x : raster->box;
}

static void add_to_sums(struct wsl_row_sink *raster, const uint8_t *row)
{
    uint64_t *sum = raster->sums;

    for (int x = 0; x < raster->width; x += raster->box, sum += 3) {
        for (int n = columns_at(raster, x); n > 0; n--, row += 3) {
            sum[0] += row[0];
            sum[1] += row[1];
            sum[2] += row[2];
        }
    }
    raster->rows_in_sum++;
}

static void finish_sums(struct wsl_row_sink *raster)
{
    size_t line = (size_t)(raster->next / raster->box);
    uint8_t *out = raster->image.pixels + line * (size_t)raster->image.width * 3;
    const uint64_t *sum = raster->sums;

    for (int x = 0; x < raster->width; x += raster->box, sum += 3) {
        uint64_t n = (uint64_t)columns_at(raster, x) * (uint64_t)raster->rows_in_sum;

        for (int c = 0; c < 3; c++)
            *out++ = (uint8_t)((sum[c] + n / 2) / n);
    }
    memset(raster->sums, 0, (size_t)raster->image.width * 3 * sizeof *raster->sums);
    raster->rows_in_sum = 0;
}

void wsl_row_sink_row(struct wsl_row_sink *raster, const uint8_t *row)
{
    size_t bytes = (size_t)raster->image.width * 3;

    if (raster->next >= raster->height)
        return;
    if (raster->box == 1) {
        memcpy(raster->image.pixels + (size_t)raster->next * bytes, row, bytes);
    } else {
        add_to_sums(raster, row);
        if (raster->rows_in_sum == raster->box || raster->next + 1 == raster->height)
            finish_sums(raster);
    }
    raster->next++;
}

int wsl_row_sink_take(struct wsl_row_sink *raster, struct wsl_image *ret, struct wsl_err *err)
{
    struct wsl_image small = {.width = raster->result_width, .height = raster->result_height};
    int r;

    if (raster->result_width == 0) {
        *ret = raster->image;
        raster->image = (struct wsl_image){0};
        return 0;
    }
    small.pixels = malloc((size_t)small.width * (size_t)small.height * 3);
    if (!small.pixels)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a picture of %d x %d", small.width,
                        small.height);
    r = wsl_image_resize(&raster->image, raster->part, small.width, small.height, false,
                         small.pixels, err);
    if (r < 0)
        wsl_image_free(&small);
    else
        *ret = small;
    return r;
}

void wsl_row_sink_close(struct wsl_row_sink *raster)
{
    wsl_image_free(&raster->image);
    free(raster->sums);
    raster->sums = NULL;
}
