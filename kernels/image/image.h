/* SPDX-License-Identifier: Apache-2.0
 *
 * Images in memory: decode JPEG and PNG, resize, crop, flip, encode JPEG. Blocking, CPU only, no
 * state: any thread. Bad files are values (WSL_ECORRUPT, WSL_EUNSUPPORTED, WSL_ELIMIT) with a line
 * that says what is wrong.
 */
#ifndef WSL_KERNELS_IMAGE_IMAGE_H
#define WSL_KERNELS_IMAGE_IMAGE_H

#include "base/buf.h"
#include "base/err.h"
#include "kernels/image/scratch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 8-bit RGB, rows from the top, no padding: pixels[(y * width + x) * 3 + channel]. */
struct wsl_image {
    uint8_t *pixels; /* owned; wsl_image_free() */
    int width, height;
};

void wsl_image_free(struct wsl_image *image); /* zeroed or NULL is fine */

/* Bounds a decoder works in. An image of more than pixels_max pixels, or of more than 2^20 on a
 * side, is refused (WSL_ELIMIT) before memory is taken for it. Larger than side_max on a side, it
 * is shrunk while it is read, row by row, so that memory stays at a few rows and at most sixteen
 * times the result, whatever the file's size. Interlaced PNGs and progressive JPEGs cannot be read
 * so: they take four and six bytes a pixel and are refused above 2^26 pixels. */
struct wsl_image_limits {
    uint64_t pixels_max;     /* 0: 1 << 29 */
    int side_max;            /* result's longer side; 0: do not shrink */
    bool apply_exif_and_icc; /* as viewers show it: turned as Exif says, colours by its ICC profile
                                or gamma made sRGB. Otherwise pixels as they are stored */
};

/* JPEG or PNG by its first bytes. Grey, palette, 16-bit and CMYK become RGB; transparency is laid
 * on white; of an animated PNG it is the image that others show. A fault says at which byte the
 * decoder was. */
int wsl_image_decode(const void *bytes, size_t size, const struct wsl_image_limits *limits,
                     struct wsl_image *ret, struct wsl_err *err);

/* Size in pixels from the header alone. */
int wsl_image_size(const void *bytes, size_t size, int *ret_width, int *ret_height,
                   struct wsl_err *err);

/* An area of an image, in pixels; may have fractions. Lies inside the image. */
struct wsl_rect {
    double x, y, width, height;
};

/* What is wanted of an image: `area` of it, in pixels of the whole, resized to width x height and
 * mirrored left-right when `flip`. */
struct wsl_image_crop {
    struct wsl_rect area;
    int width, height;
    bool flip;
};

/* Antialiased triangle-filter resize (as PIL's BILINEAR with box, within 1 level on average);
 * writes crop->width * crop->height * 3 bytes, RGB interleaved. WSL_EINVAL: an empty crop, or
 * one that is not inside; WSL_ENOMEM. */
int wsl_image_resize(const struct wsl_image *from, const struct wsl_image_crop *crop, uint8_t *out,
                     struct wsl_err *err);

/* decode + resize in one call. Of a JPEG only the rows and columns that the crop needs are decoded,
 * at a smaller scale where the result is less than half the area's size (it differs by half a level
 * on average on photographs, by 2 at worst on line drawings); damage elsewhere in the file is not
 * seen. The pixels are those of wsl_image_decode() at full scale, whichever decoder is used.
 * `scratch` NULL: no memory is kept. */
int wsl_image_decode_crop(struct wsl_image_scratch *scratch, const void *bytes, size_t size,
                          const struct wsl_image_crop *crop, uint8_t *out, struct wsl_err *err);

struct wsl_image_info {
    int width, height;
    uint64_t pixel_hash; /* wsl_image_pixel_hash() */
};

/* What is known of the image that wsl_image_decode() without limits gives, or its fault; JPEGs of
 * the common kinds in half the time. *ret is untouched on failure. */
int wsl_image_check(struct wsl_image_scratch *scratch, const void *bytes, size_t size,
                    struct wsl_image_info *ret, struct wsl_err *err);

/* Appends a baseline JPEG of the given quality (1 to 100), 4:2:0, optimised Huffman tables. */
int wsl_image_encode_jpeg(const struct wsl_image *image, int quality, struct wsl_buf *out,
                          struct wsl_err *err);

/* Turns and mirrors an image as an Exif orientation (1 to 8) asks for. WSL_ENOMEM leaves it as it
 * was. */
int wsl_image_apply_orientation(struct wsl_image *image, int orientation, struct wsl_err *err);

/* XXH3-64 over width, height and pixels. */
uint64_t wsl_image_pixel_hash(const struct wsl_image *image);

/* ---- augmentation geometry: pure functions of draws in [0, 1) ---- */

/* Random resized crop (area min_area to 1, aspect 3/4 to 4/3, ten tries, then the largest centred
 * crop of a legal aspect), as in Szegedy et al. 2015 and torchvision's RandomResizedCrop. `key` and
 * `position` seed the draws; *ret_flip is a fair coin. */
struct wsl_rect wsl_augment_crop(int width, int height, double min_area, uint64_t key,
                                 uint64_t position, bool *ret_flip);

/* Colour augmentation: brightness, contrast and saturation are multiplied by factors drawn from
 * [1 - x, 1 + x], x in [0, 1], in an order that is drawn too; then colours move along the principal
 * components of ImageNet's (Krizhevsky et al. 2012), by normal draws of deviation `lighting`. 0:
 * off. Differs from torchvision's ColorJitter in that a pixel is rounded and limited once, at the
 * end. */
struct wsl_colour_jitter {
    double brightness, contrast, saturation, lighting;
};

/* In place, on pixels of 3 bytes; the draws follow from key and position, the result from them and
 * the pixels, on every machine. */
void wsl_augment_colours(const struct wsl_colour_jitter *jitter, uint64_t key, uint64_t position,
                         uint8_t *rgb, size_t pixels);

/* Evaluation: shorter side resized to `image_size` * 256 / 224, centre crop: the part of the
 * image that is. */
struct wsl_rect wsl_augment_centre(int width, int height);

#endif
