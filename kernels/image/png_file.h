/* SPDX-License-Identifier: Apache-2.0
 *
 * libpng, with errors as values; transparency is laid on white. Internal to kernels/image;
 * contracts are those of image.h.
 */
#ifndef WSL_KERNELS_IMAGE_PNG_FILE_H
#define WSL_KERNELS_IMAGE_PNG_FILE_H

#include "kernels/image/image.h"

bool wsl_png_is(const uint8_t *bytes, size_t size);
int wsl_png_size(const uint8_t *bytes, size_t size, int *ret_width, int *ret_height,
                 struct wsl_err *err);

/* Row by row, so that memory is the result and one row; an interlaced file needs the whole image
 * at four bytes a pixel and is refused (WSL_ELIMIT) above WSL_PNG_INTERLACED_MAX pixels. */
#define WSL_PNG_INTERLACED_MAX ((uint64_t)1 << 26)
int wsl_png_decode(const uint8_t *bytes, size_t size, const struct wsl_image_limits *limits,
                   struct wsl_image *ret, struct wsl_err *err);

#endif
