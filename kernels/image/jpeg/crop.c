/* SPDX-License-Identifier: Apache-2.0
 *
 * The only callers of both decoders.
 */
#include "kernels/image/jpeg/crop.h"

#include "kernels/image/jpeg/decode.h"
#include "kernels/image/jpeg/fast.h"

#include <math.h>

enum { FAST_PIXELS_MAX = 1 << 22 };

int wsl_jpeg_decode_crop(struct wsl_image_scratch *scratch, const uint8_t *bytes, size_t size,
                         struct wsl_image_crop *crop, struct wsl_image *ret, struct wsl_err *err)
{
    double factor = fmin(crop->area.width / crop->width, crop->area.height / crop->height);
    int r = 0;

    if (wsl_jpeg_choose_eighths(factor) == 8)
        r = wsl_jpeg_fast(scratch, bytes, size, crop, ret, err);
    return r != 0 ? r : wsl_jpeg_decode_scaled(bytes, size, crop, ret, err);
}

int wsl_jpeg_decode_in_scratch(struct wsl_image_scratch *scratch, const uint8_t *bytes, size_t size,
                               struct wsl_image *ret, struct wsl_err *err)
{
    struct wsl_image_crop all = {0};

    if (!wsl_jpeg_is(bytes, size) ||
        wsl_jpeg_size(bytes, size, &all.width, &all.height, NULL) < 0 ||
        (int64_t)all.width * all.height > FAST_PIXELS_MAX)
        return 0;
    all.area = (struct wsl_rect){0, 0, all.width, all.height};
    return wsl_jpeg_fast(scratch, bytes, size, &all, ret, err);
}
