/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading JPEG, errors as values. Internal to kernels/image; contracts are those of image.h.
 */
#ifndef WSL_KERNELS_IMAGE_JPEG_DECODE_H
#define WSL_KERNELS_IMAGE_JPEG_DECODE_H

#include "kernels/image/image.h"

bool wsl_jpeg_is(const uint8_t *bytes, size_t size);
int wsl_jpeg_size(const uint8_t *bytes, size_t size, int *ret_width, int *ret_height,
                  struct wsl_err *err);

/* Row by row; a progressive file (or one with a scan per colour) needs its coefficients whole, six
 * bytes a pixel, and is refused (WSL_ELIMIT) above WSL_JPEG_PROGRESSIVE_MAX pixels. */
#define WSL_JPEG_PROGRESSIVE_MAX ((uint64_t)1 << 26)
int wsl_jpeg_decode(const uint8_t *bytes, size_t size, const struct wsl_image_limits *limits,
                    struct wsl_image *ret, struct wsl_err *err);

/* The smallest scale in eighths at which a shrinking by `factor` is still twice too large, so that
 * our own filter has the last word. libjpeg-turbo is fast at 1, 2, 4 and 8 eighths only. */
int wsl_jpeg_choose_eighths(double factor);

/* The pixels that a resize to `crop` reads, decoded with as little of the rest as can be, at
 * half, a quarter or an eighth of the scale where that leaves at least twice the result.
 * crop->area becomes the same part in pixels of *ret, which the caller frees. */
int wsl_jpeg_decode_scaled(const uint8_t *bytes, size_t size, struct wsl_image_crop *crop,
                           struct wsl_image *ret, struct wsl_err *err);

#endif
