/* SPDX-License-Identifier: Apache-2.0
 *
 * The geometry of augmentation: random resized crop and centre crop.
 */
#include "base/rng.h"
#include "kernels/image/image.h"

#include <math.h>

/* Aspect ratios (width over height) that a crop may have. */
static const double aspect_min = 3.0 / 4.0, aspect_max = 4.0 / 3.0;

static struct wsl_rect largest_legal(int width, int height)
{
    double w = width, h = height;

    if (w / h < aspect_min)
        h = round(w / aspect_min);
    else if (w / h > aspect_max)
        w = round(h * aspect_max);
    return (struct wsl_rect){floor((width - w) / 2), floor((height - h) / 2), w, h};
}

struct wsl_rect wsl_augment_crop(int width, int height, double min_area, uint64_t key,
                                 uint64_t position, bool *ret_flip)
{
    struct wsl_rng rng;

    wsl_rng_start(&rng, key, position);
    *ret_flip = wsl_rng_u32(&rng) & 1;
    for (int attempt = 0; attempt < 10; attempt++) {
        double area = (double)width * height * (min_area + (1 - min_area) * wsl_rng_unit(&rng));
        double aspect =
            exp(log(aspect_min) + (log(aspect_max) - log(aspect_min)) * wsl_rng_unit(&rng));
        double w = round(sqrt(area * aspect)), h = round(sqrt(area / aspect));

        if (w < 1 || h < 1 || w > width || h > height)
            continue;
        return (struct wsl_rect){(double)wsl_rng_below(&rng, (uint64_t)(width - w) + 1),
                                 (double)wsl_rng_below(&rng, (uint64_t)(height - h) + 1), w, h};
    }
    return largest_legal(width, height);
}

struct wsl_rect wsl_augment_centre(int width, int height)
{
    /* 224 of 256: what single-crop evaluation has kept since Krizhevsky et al. 2012. */
    double side = (width < height ? width : height) * 224.0 / 256.0;

    return (struct wsl_rect){(width - side) / 2, (height - side) / 2, side, side};
}
