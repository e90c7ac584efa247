/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/image/raster.h"

#include <stdlib.h>
#include <string.h>

enum { SIDE_LIMIT = 1 << 20 };

void wsl_image_free(struct wsl_image *image)
{
    if (!image)
        return;
    free(image->pixels);
    *image = (struct wsl_image){0};
}

int wsl_raster_check(int64_t width, int64_t height, const struct wsl_image_limits *limits,
                     struct wsl_err *err)
{
    uint64_t most = limits && limits->pixels_max ? limits->pixels_max : (uint64_t)1 << 29;

    if (width <= 0 || height <= 0)
        return wsl_fail(err, WSL_ECORRUPT, "the header says %lld x %lld pixels", (long long)width,
                        (long long)height);
    if (width > SIDE_LIMIT || height > SIDE_LIMIT || (uint64_t)width * (uint64_t)height > most)
        return wsl_fail(err, WSL_ELIMIT, "%lld x %lld pixels, more than the %llu allowed",
                        (long long)width, (long long)height, (unsigned long long)most);
    return 0;
}

static int scaled(int size, int longer, int side_max)
{
    int s = (int)(((int64_t)size * side_max + longer / 2) / longer);

    return s < 1 ? 1 : s;
}

/* Source column or row i goes into box i * small / large: every box gets at least one because small
 * <= large. */
static int box_of(int i, int small, int large)
{
    return (int)((int64_t)i * small / large);
}

int wsl_raster_open(struct wsl_raster *raster, int width, int height,
                    const struct wsl_image_limits *limits, struct wsl_err *err)
{
    int longer = width > height ? width : height;
    int side_max = limits && limits->side_max > 0 ? limits->side_max : longer;
    int r = wsl_raster_check(width, height, limits, err);

    *raster = (struct wsl_raster){.width = width, .height = height};
    if (r < 0)
        return r;
    raster->image.width = longer > side_max ? scaled(width, longer, side_max) : width;
    raster->image.height = longer > side_max ? scaled(height, longer, side_max) : height;
    raster->image.pixels = malloc((size_t)raster->image.width * (size_t)raster->image.height * 3);
    if (longer > side_max) {
        raster->sums = calloc((size_t)raster->image.width * 3, sizeof *raster->sums);
        raster->counts = calloc((size_t)raster->image.width, sizeof *raster->counts);
    }
    if (!raster->image.pixels || (longer > side_max && (!raster->sums || !raster->counts))) {
        wsl_raster_close(raster);
        return wsl_fail(err, WSL_ENOMEM, "no memory for a picture of %d x %d", width, height);
    }
    for (int x = 0; raster->counts && x < width; x++)
        raster->counts[box_of(x, raster->image.width, width)]++;
    return 0;
}

static void finish_sums(struct wsl_raster *raster)
{
    uint8_t *out = raster->image.pixels + (size_t)raster->row * (size_t)raster->image.width * 3;

    for (int x = 0; x < raster->image.width; x++) {
        uint64_t n = (uint64_t)raster->counts[x] * raster->rows_in_sum;

        for (int c = 0; c < 3; c++)
            out[x * 3 + c] = (uint8_t)((raster->sums[x * 3 + c] + n / 2) / n);
    }
    memset(raster->sums, 0, (size_t)raster->image.width * 3 * sizeof *raster->sums);
    raster->rows_in_sum = 0;
}

static void add_to_sums(struct wsl_raster *raster, const uint8_t *row)
{
    uint64_t *sum = raster->sums;
    int x = 0;

    for (int box = 0; box < raster->image.width; box++, sum += 3) {
        for (uint32_t i = 0; i < raster->counts[box]; i++, x++) {
            sum[0] += row[x * 3];
            sum[1] += row[x * 3 + 1];
            sum[2] += row[x * 3 + 2];
        }
    }
    raster->rows_in_sum++;
}

void wsl_raster_row(struct wsl_raster *raster, const uint8_t *row)
{
    size_t bytes = (size_t)raster->image.width * 3;

    if (raster->next >= raster->height)
        return;
    if (!raster->sums) {
        memcpy(raster->image.pixels + (size_t)raster->next * bytes, row, bytes);
    } else {
        raster->row = box_of(raster->next, raster->image.height, raster->height);
        add_to_sums(raster, row);
        if (raster->next + 1 == raster->height ||
            box_of(raster->next + 1, raster->image.height, raster->height) != raster->row)
            finish_sums(raster);
    }
    raster->next++;
}

void wsl_raster_take(struct wsl_raster *raster, struct wsl_image *ret)
{
    *ret = raster->image;
    raster->image = (struct wsl_image){0};
}

void wsl_raster_close(struct wsl_raster *raster)
{
    wsl_image_free(&raster->image);
    free(raster->sums);
    free(raster->counts);
    raster->sums = NULL;
    raster->counts = NULL;
}
