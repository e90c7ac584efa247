/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/image/image.h"

#include "kernels/image/jpeg_fast.h"
#include "kernels/image/jpeg_file.h"
#include "kernels/image/png_file.h"
#include "kernels/image/raster.h"
#include "kernels/image/resize_passes.h"
#include "kernels/image/room.h"

#include <stdlib.h>

#include <xxhash.h>

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

uint64_t wsl_image_pixel_hash(const struct wsl_image *image)
{
    uint64_t seed = (uint64_t)(uint32_t)image->width << 32 | (uint32_t)image->height;

    return XXH3_64bits_withSeed(image->pixels, (size_t)image->width * (size_t)image->height * 3,
                                seed);
}

int wsl_image_check_part(int width, int height, struct wsl_rect part, struct wsl_err *err)
{
    const double slack = 1e-6;

    /* Written so that NaN fails. */
    if (part.width > 0 && part.height > 0 && part.x >= -slack && part.y >= -slack &&
        part.x + part.width <= width + slack && part.y + part.height <= height + slack)
        return 0;
    return wsl_fail(err, WSL_EINVAL, "the part %gx%g+%g+%g is not inside the picture of %d x %d",
                    part.width, part.height, part.x, part.y, width, height);
}

enum { ROOM_KEEP = 16 << 20, FAST_PIXELS = 1 << 22 };

void *wsl_image_room_take(struct wsl_image_room *room, int block, size_t size)
{
    struct wsl_image_block *b = &room->blocks[block];

    if (size > b->size) {
        free(b->memory);
        b->memory = malloc(size);
        b->size = b->memory ? size : 0;
    }
    return b->memory;
}

static void trim(struct wsl_image_room *room, size_t keep)
{
    for (size_t i = 0; i < sizeof room->blocks / sizeof *room->blocks; i++)
        if (room->blocks[i].size > keep) {
            free(room->blocks[i].memory);
            room->blocks[i] = (struct wsl_image_block){0};
        }
}

void wsl_image_room_free(struct wsl_image_room *room)
{
    trim(room, 0);
}

int wsl_image_decode_result(struct wsl_image_room *room, const void *bytes, size_t size,
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
    trim(room, ROOM_KEEP);
    return r;
}

/* A whole picture in the room's memory when it is an ordinary JPEG and not large: 1, 0 or an error.
 */
static int decode_fast(struct wsl_image_room *room, const void *bytes, size_t size,
                       struct wsl_image *ret, struct wsl_err *err)
{
    struct wsl_image_result all = {0};

    if (!wsl_jpeg_is(bytes, size) ||
        wsl_jpeg_size(bytes, size, &all.width, &all.height, NULL) < 0 ||
        (int64_t)all.width * all.height > FAST_PIXELS)
        return 0;
    all.part = (struct wsl_rect){0, 0, all.width, all.height};
    return wsl_jpeg_fast(room, bytes, size, &all, ret, err);
}

int wsl_image_check(struct wsl_image_room *room, const void *bytes, size_t size, int *ret_width,
                    int *ret_height, uint64_t *ret_hash, struct wsl_err *err)
{
    struct wsl_image image = {0};
    int fast = decode_fast(room, bytes, size, &image, err);
    int r = fast == 0 ? wsl_image_decode(bytes, size, NULL, &image, err) : fast;

    if (r >= 0) {
        *ret_width = image.width;
        *ret_height = image.height;
        *ret_hash = wsl_image_pixel_hash(&image);
    }
    if (fast == 0)
        wsl_image_free(&image);
    trim(room, ROOM_KEEP);
    return r < 0 ? r : 0;
}

int wsl_image_decode_part(const void *bytes, size_t size, struct wsl_rect part, int width,
                          int height, bool flip, uint8_t *out, struct wsl_err *err)
{
    const struct wsl_image_result result = {part, width, height, flip};
    struct wsl_image_room room = {0};
    int r = wsl_image_decode_result(&room, bytes, size, &result, out, err);

    wsl_image_room_free(&room);
    return r;
}
