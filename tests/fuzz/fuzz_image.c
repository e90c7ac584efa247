/* SPDX-License-Identifier: Apache-2.0
 *
 * JPEG and PNG files, headers and bodies, as the import decodes them whole and the loader in parts;
 * what our own JPEG decoder makes of a file must be libjpeg's to the bit. */
#include "kernels/image/jpeg/decode.h"
#include "kernels/image/jpeg/fast.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/image_files.h"

#include <stdlib.h>
#include <string.h>

static void compare(const uint8_t *bytes, size_t size, int width, int height)
{
    struct wsl_image_crop result = {{0, 0, width, height}, width, height, false};
    struct wsl_image_scratch scratch = {0};
    struct wsl_image ours = {0}, whole = {0};
    struct wsl_err err;

    if (wsl_jpeg_fast(&scratch, bytes, size, &result, &ours, &err) == 1 &&
        (wsl_jpeg_decode(bytes, size, NULL, &whole, &err) != 0 || whole.width != ours.width ||
         whole.height != ours.height ||
         memcmp(whole.pixels, ours.pixels, (size_t)width * (size_t)height * 3) != 0))
        abort();
    wsl_image_free(&whole);
    wsl_image_scratch_free(&scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const struct wsl_image_limits limits = {.pixels_max = 1 << 22, .side_max = 64};
    struct wsl_image image = {0};
    struct wsl_err err = {0};
    int width, height;
    uint8_t out[24 * 24 * 3];
    int r = wsl_image_decode(bytes, size, &limits, &image, &err);

    fuzz_check_line(r, &err);
    if (r == 0 && (image.width > 64 || image.height > 64 || image.width < 1 || image.height < 1))
        abort();
    wsl_image_free(&image);
    r = wsl_image_size(bytes, size, &width, &height, &err);
    fuzz_check_line(r, &err);
    if (r < 0 || (int64_t)width * height > 1 << 20)
        return 0;
    r = wsl_image_decode_crop(
        NULL, bytes, size,
        &(struct wsl_image_crop){
            (struct wsl_rect){width * 0.3, height * 0.2, width * 0.6, height * 0.7}, 24, 24, true},
        out, &err);
    fuzz_check_line(r, &err);
    if (wsl_jpeg_is(bytes, size))
        compare(bytes, size, width, height);
    return 0;
}

bool fuzz_real_input(int number, struct wsl_buf *ret)
{
    static const struct image_jpeg kinds[] = {
        {.quality = 90, .h = 2, .v = 2},
        {.quality = 95, .h = 2, .v = 2, .restart_rows = 1, .optimised = true},
        {.quality = 80, .h = 1, .v = 1, .restart_rows = 1},
        {.quality = 80, .h = 2, .v = 1, .restart_mcus = 2},
        {.quality = 85, .h = 2, .v = 2, .progressive = true},
        {.quality = 85, .grey = true},
    };
    enum { KINDS = sizeof kinds / sizeof *kinds };
    struct wsl_image image = {0};

    if (number < IMAGE_KINDS) {
        *ret = image_read_data(image_kinds[number]);
        return true;
    }
    number -= IMAGE_KINDS;
    if (number >= 2 * KINDS || !image_photograph(number, 60 + 7 * number, &image))
        return false;
    *ret = image_encode_as(&image, &kinds[number % KINDS]);
    wsl_image_free(&image);
    return true;
}
