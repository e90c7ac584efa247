/* SPDX-License-Identifier: Apache-2.0
 *
 * libjpeg, with errors as values. Internal to kernels/image; contracts are those of image.h.
 */
#ifndef WSL_KERNELS_IMAGE_JPEG_FILE_H
#define WSL_KERNELS_IMAGE_JPEG_FILE_H

#include "kernels/image/image.h"

bool wsl_jpeg_is(const uint8_t *bytes, size_t size);
int wsl_jpeg_size(const uint8_t *bytes, size_t size, int *ret_width, int *ret_height,
                  struct wsl_err *err);
int wsl_jpeg_decode(const uint8_t *bytes, size_t size, const struct wsl_image_limits *limits,
                    struct wsl_image *ret, struct wsl_err *err);

/* The window of the picture that holds columns x .. x+width-1 and rows y .. y+height-1 (inside the
 * picture, width and height given), decoded with as little of the rest as libjpeg allows. The
 * columns may begin a little before x: *ret_x says where. */
struct wsl_jpeg_window {
    int x, y, width, height;
};
int wsl_jpeg_decode_window(const uint8_t *bytes, size_t size, struct wsl_jpeg_window window,
                           struct wsl_image *ret, int *ret_x, struct wsl_err *err);

#endif
