/* SPDX-License-Identifier: Apache-2.0
 *
 * The way a JPEG is decoded: our own decoder (fast.h) where a file is an ordinary one and wanted at
 * full scale, libjpeg (decode.h) for the rest. The pixels are the same. Internal to kernels/image.
 */
#ifndef WSL_KERNELS_IMAGE_JPEG_CROP_H
#define WSL_KERNELS_IMAGE_JPEG_CROP_H

#include "kernels/image/image.h"

/* The pixels that a resize to `crop` reads (wsl_jpeg_decode_scaled). 1: they are the scratch's;
 * 0: they are the caller's to free. */
int wsl_jpeg_decode_crop(struct wsl_image_scratch *scratch, const uint8_t *bytes, size_t size,
                         struct wsl_image_crop *crop, struct wsl_image *ret, struct wsl_err *err);

/* All pixels, in the scratch's memory: 1; or 0 when that is not possible (not an ordinary file, or
 * a large one); WSL_ENOMEM. */
int wsl_jpeg_decode_in_scratch(struct wsl_image_scratch *scratch, const uint8_t *bytes, size_t size,
                               struct wsl_image *ret, struct wsl_err *err);

#endif
