/* SPDX-License-Identifier: Apache-2.0
 *
 * The entries that take a file of either format: which decoder reads it, and what is resized then.
 */
#include "kernels/image/image.h"

#include "kernels/image/jpeg/crop.h"
#include "kernels/image/jpeg/decode.h"
#include "kernels/image/png_file.h"
#include "kernels/image/resize_passes.h"

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

int wsl_image_decode_result(struct wsl_image_scratch *room, const void *bytes, size_t size,
                            const struct wsl_image_result *result, uint8_t *out,
                            struct wsl_err *err)
{
    struct wsl_image_result rest = *result;
    bool is_kept = false;
    struct wsl_image image = {0};
    int r;

    if (result->width < 1 || result->height < 1)
        return wsl_fail(err, WSL_EINVAL, "a result of %d x %d pixels", result->width,
                        result->height);
    if (wsl_jpeg_is(bytes, size)) {
        r = wsl_jpeg_decode_part(room, bytes, size, &rest, &image, err);
        is_kept = r == 1;
    } else {
        r = wsl_image_decode(bytes, size, NULL, &image, err);
    }
    if (r >= 0)
        r = wsl_resize_with(wsl_resize_choose(NULL), &image, &rest, out, err);
    if (!is_kept)
        wsl_image_free(&image);
    wsl_image_scratch_trim(room);
    return r;
}

int wsl_image_check(struct wsl_image_scratch *room, const void *bytes, size_t size, int *ret_width,
                    int *ret_height, uint64_t *ret_hash, struct wsl_err *err)
{
    struct wsl_image image = {0};
    int fast = wsl_jpeg_decode_in_scratch(room, bytes, size, &image, err);
    int r = fast == 0 ? wsl_image_decode(bytes, size, NULL, &image, err) : fast;

    if (r >= 0) {
        *ret_width = image.width;
        *ret_height = image.height;
        *ret_hash = wsl_image_pixel_hash(&image);
    }
    if (fast == 0)
        wsl_image_free(&image);
    wsl_image_scratch_trim(room);
    return r < 0 ? r : 0;
}

int wsl_image_decode_part(const void *bytes, size_t size, struct wsl_rect part, int width,
                          int height, bool flip, uint8_t *out, struct wsl_err *err)
{
    const struct wsl_image_result result = {part, width, height, flip};
    struct wsl_image_scratch room = {0};
    int r = wsl_image_decode_result(&room, bytes, size, &result, out, err);

    wsl_image_scratch_free(&room);
    return r;
}
