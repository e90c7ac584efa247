/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of kernels/image share: files to decode, pictures to encode, how far two pictures
 * are apart. Failures end the test.
 */
#ifndef WSL_TESTS_UNIT_IMAGE_FILES_H
#define WSL_TESTS_UNIT_IMAGE_FILES_H

#include "base/buf.h"
#include "kernels/image/image.h"

/* The file data/image/<name>. */
struct wsl_buf image_read_data(const char *name);

/* Kinds of files that are damaged on purpose; JPEGs from IMAGE_JPEGS on. */
enum { IMAGE_KINDS = 9, IMAGE_JPEGS = 4 };
extern const char *const image_kinds[IMAGE_KINDS];

struct wsl_image image_decode(const void *bytes, size_t size, int side_max);
struct wsl_image image_decode_data(const char *name);
struct wsl_buf image_encode(const struct wsl_image *image, int quality);

/* How libjpeg is to write a JPEG. */
struct image_jpeg {
    int quality;
    int h, v; /* luma samples for each of chroma, 1 or 2 */
    unsigned restart_mcus, restart_rows;
    bool optimised, progressive, grey;
};
struct wsl_buf image_encode_as(const struct wsl_image *image, const struct image_jpeg *how);

/* Photograph `number` of Debian's tuxpaint-stamps-default, at most `side` pixels on a side; false
 * where the package, or so many, are not there. */
bool image_photograph(int number, int side, struct wsl_image *ret);

size_t image_bytes_of(const struct wsl_image *image);

struct image_difference {
    double mean;
    int most;
};
struct image_difference image_compare(const uint8_t *a, const uint8_t *b, size_t size);

/* A picture with gradients, soft blobs and edges that follow from `number`. */
struct wsl_image image_draw(int width, int height, uint64_t number);

/* Sixteen bits of colour and alpha, all seven passes: nobody else here writes such files. Pixel (x,
 * y) is x, y, x + y in the upper bytes; the right half is clear. */
struct wsl_buf image_interlaced_png(int width, int height);

#endif
