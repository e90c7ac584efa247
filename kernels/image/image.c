/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/image/image.h"

#include "kernels/image/jpeg_file.h"
#include "kernels/image/png_file.h"
#include "kernels/image/raster.h"

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

int wsl_image_check_part(int width, int height, struct wsl_rect part, struct wsl_err *err)
{
    const double slack = 1e-6;

    /* Written so that NaN fails. */
    if (part.width > 0 && part.height > 0 && part.x >= -slack && part.y >= -slack &&
        part.x + part.width <= width + slack && part.y + part.height <= height + slack)
        return 0;
    return wsl_fail(err, WSL_EINVAL, "the part %gx%g+%g+%g is not inside the picture of %d x %d",
                    part.width, part.height, part.x, part.y, width, height);
}

int wsl_image_decode_part(const void *bytes, size_t size, struct wsl_rect part, int width,
                          int height, bool flip, uint8_t *out, struct wsl_err *err)
{
    struct wsl_image image = {0};
    int r;

    if (width < 1 || height < 1)
        return wsl_fail(err, WSL_EINVAL, "a result of %d x %d pixels", width, height);
    if (wsl_jpeg_is(bytes, size))
        r = wsl_jpeg_decode_part(bytes, size, &part, width, height, &image, err);
    else
        r = wsl_image_decode(bytes, size, NULL, &image, err);
    if (r == 0)
        r = wsl_image_resize(&image, part, width, height, flip, out, err);
    wsl_image_free(&image);
    return r;
}
