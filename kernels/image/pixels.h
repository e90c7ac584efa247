/* SPDX-License-Identifier: Apache-2.0
 *
 * The checks that every decoder and resize makes before it takes memory. Internal to kernels/image.
 * Pure; any thread.
 */
#ifndef WSL_KERNELS_IMAGE_PIXELS_H
#define WSL_KERNELS_IMAGE_PIXELS_H

#include "kernels/image/image.h"

/* WSL_ECORRUPT: a side of 0; WSL_ELIMIT: more than limits->pixels_max pixels, or a side above 2^20.
 * limits NULL: the defaults. */
int wsl_image_check_size(int64_t width, int64_t height, const struct wsl_image_limits *limits,
                         struct wsl_err *err);

/* WSL_EINVAL unless `area` is not empty and inside an image of width x height. */
int wsl_image_check_area(int width, int height, struct wsl_rect area, struct wsl_err *err);

#endif
