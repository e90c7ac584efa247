/* SPDX-License-Identifier: Apache-2.0
 *
 * What decoders, resize and augmentation share: an image's memory and the limits of its sides.
 */
#include "kernels/image/pixels.h"

#include <stdlib.h>

#include <xxhash.h>

enum { SIDE_MAX = 1 << 20 };

void wsl_image_free(struct wsl_image *image)
{
    if (!image)
        return;
    free(image->pixels);
    *image = (struct wsl_image){0};
}

int wsl_image_check_size(int64_t width, int64_t height, const struct wsl_image_limits *limits,
                         struct wsl_err *err)
{
    uint64_t max = limits && limits->pixels_max ? limits->pixels_max : (uint64_t)1 << 29;

    if (width <= 0 || height <= 0)
        return wsl_fail(err, WSL_ECORRUPT, "the header says %lld x %lld pixels", (long long)width,
                        (long long)height);
    if (width > SIDE_MAX || height > SIDE_MAX || (uint64_t)width * (uint64_t)height > max)
        return wsl_fail(err, WSL_ELIMIT, "%lld x %lld pixels, more than the %llu allowed",
                        (long long)width, (long long)height, (unsigned long long)max);
    return 0;
}

uint64_t wsl_image_pixel_hash(const struct wsl_image *image)
{
    uint64_t seed = (uint64_t)(uint32_t)image->width << 32 | (uint32_t)image->height;

    return XXH3_64bits_withSeed(image->pixels, (size_t)image->width * (size_t)image->height * 3,
                                seed);
}

int wsl_image_check_area(int width, int height, struct wsl_rect area, struct wsl_err *err)
{
    const double slack = 1e-6;

    /* Written so that NaN fails. */
    if (area.width > 0 && area.height > 0 && area.x >= -slack && area.y >= -slack &&
        area.x + area.width <= width + slack && area.y + area.height <= height + slack)
        return 0;
    return wsl_fail(err, WSL_EINVAL, "the area %gx%g+%g+%g is not inside the image of %d x %d",
                    area.width, area.height, area.x, area.y, width, height);
}
