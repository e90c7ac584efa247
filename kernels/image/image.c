/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/image/image.h"

#include "kernels/image/jpeg_file.h"
#include "kernels/image/png_file.h"
#include "kernels/image/raster.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

static int unknown_format(const uint8_t *bytes, size_t size, struct wsl_err *err)
{
    if (size < 8)
        return wsl_fail(err, WSL_ECORRUPT, "only %zu bytes", size);
    return wsl_fail(err, WSL_EUNSUPPORTED, "neither JPEG nor PNG (it begins %02x %02x %02x %02x)",
                    bytes[0], bytes[1], bytes[2], bytes[3]);
}

int wsl_image_decode(const void *bytes, size_t size, const struct wsl_image_limits *limits,
                     struct wsl_image *ret, struct wsl_err *err)
{
    if (wsl_jpeg_is(bytes, size))
        return wsl_jpeg_decode(bytes, size, limits, ret, err);
    if (wsl_png_is(bytes, size))
        return wsl_png_decode(bytes, size, limits, ret, err);
    return unknown_format(bytes, size, err);
}

int wsl_image_size(const void *bytes, size_t size, int *ret_width, int *ret_height,
                   struct wsl_err *err)
{
    if (wsl_jpeg_is(bytes, size))
        return wsl_jpeg_size(bytes, size, ret_width, ret_height, err);
    if (wsl_png_is(bytes, size))
        return wsl_png_size(bytes, size, ret_width, ret_height, err);
    return unknown_format(bytes, size, err);
}

uint64_t wsl_image_pixel_hash(const struct wsl_image *image)
{
    uint64_t seed = (uint64_t)(uint32_t)image->width << 32 | (uint32_t)image->height;

    return XXH3_64bits_withSeed(image->pixels, (size_t)image->width * (size_t)image->height * 3,
                                seed);
}

/* The whole pixels that an antialiased resize of [start, start + length) to `size` reads: one
 * filter's width more on each side. */
static void needed(double start, double length, int size, int limit, int *ret_first, int *ret_count)
{
    double support = fmax(1, length / size) + 1;
    int first = (int)fmax(0, floor(start - support));
    int end = (int)fmin(limit, ceil(start + length + support));

    *ret_first = first;
    *ret_count = end - first;
}

static int decode_part_of_jpeg(const void *bytes, size_t size, struct wsl_rect part, int width,
                               int height, bool flip, uint8_t *out, struct wsl_err *err)
{
    struct wsl_jpeg_window window;
    struct wsl_image image = {0};
    int whole_width, whole_height, x, r;

    r = wsl_jpeg_size(bytes, size, &whole_width, &whole_height, err);
    if (r == 0)
        r = wsl_raster_check(whole_width, whole_height, NULL, err);
    if (r < 0)
        return r;
    needed(part.x, part.width, width, whole_width, &window.x, &window.width);
    needed(part.y, part.height, height, whole_height, &window.y, &window.height);
    if (window.width < 1 || window.height < 1)
        return wsl_fail(err, WSL_EINVAL, "the part lies outside the picture of %d x %d",
                        whole_width, whole_height);
    r = wsl_jpeg_decode_window(bytes, size, window, &image, &x, err);
    if (r < 0)
        return r;
    part.x -= x;
    part.y -= window.y;
    r = wsl_image_resize(&image, part, width, height, flip, out, err);
    wsl_image_free(&image);
    return r;
}

int wsl_image_decode_part(const void *bytes, size_t size, struct wsl_rect part, int width,
                          int height, bool flip, uint8_t *out, struct wsl_err *err)
{
    struct wsl_image image = {0};
    int r;

    if (wsl_jpeg_is(bytes, size))
        return decode_part_of_jpeg(bytes, size, part, width, height, flip, out, err);
    r = wsl_image_decode(bytes, size, NULL, &image, err);
    if (r == 0)
        r = wsl_image_resize(&image, part, width, height, flip, out, err);
    wsl_image_free(&image);
    return r;
}
