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

static int decode_crop(struct wsl_image_scratch *scratch, const void *bytes, size_t size,
                       const struct wsl_image_crop *crop, uint8_t *out, struct wsl_err *err)
{
    struct wsl_image_crop rest = *crop;
    bool is_scratch = false;
    struct wsl_image image = {0};
    int r;

    if (crop->width < 1 || crop->height < 1)
        return wsl_fail(err, WSL_EINVAL, "a result of %d x %d pixels", crop->width, crop->height);
    if (wsl_jpeg_is(bytes, size)) {
        r = wsl_jpeg_decode_crop(scratch, bytes, size, &rest, &image, err);
        is_scratch = r == 1;
    } else {
        r = wsl_image_decode(bytes, size, NULL, &image, err);
    }
    if (r >= 0)
        r = wsl_resize_with(wsl_resize_choose(NULL), &image, &rest, out, err);
    if (!is_scratch)
        wsl_image_free(&image);
    wsl_image_scratch_trim(scratch);
    return r;
}

int wsl_image_decode_crop(struct wsl_image_scratch *scratch, const void *bytes, size_t size,
                          const struct wsl_image_crop *crop, uint8_t *out, struct wsl_err *err)
{
    struct wsl_image_scratch own = {0};
    int r = decode_crop(scratch ? scratch : &own, bytes, size, crop, out, err);

    wsl_image_scratch_free(&own);
    return r;
}

int wsl_image_check(struct wsl_image_scratch *scratch, const void *bytes, size_t size,
                    struct wsl_image_info *ret, struct wsl_err *err)
{
    struct wsl_image image = {0};
    int fast = wsl_jpeg_decode_in_scratch(scratch, bytes, size, &image, err);
    int r = fast == 0 ? wsl_image_decode(bytes, size, NULL, &image, err) : fast;

    if (r >= 0)
        *ret = (struct wsl_image_info){image.width, image.height, wsl_image_pixel_hash(&image)};
    if (fast == 0)
        wsl_image_free(&image);
    wsl_image_scratch_trim(scratch);
    return r < 0 ? r : 0;
}
