/* SPDX-License-Identifier: Apache-2.0
 *
 * What a file says besides its pixels, and JPEGs handled without decoding them. Pure; any thread.
 * Used by kernels/image and by imports.
 */
#ifndef WSL_KERNELS_IMAGE_META_H
#define WSL_KERNELS_IMAGE_META_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wsl_jpeg_header {
    int width, height;
    int components; /* 1: grey, 3: RGB or YCbCr, 4: CMYK or YCCK */
    bool progressive;
    bool has_exif;
    int orientation;      /* Exif's, 1 to 8; 1: as it is stored, and when there is none */
    int adobe_transform;  /* of the Adobe marker, -1: there is none */
    size_t profile_bytes; /* of its colour profile; 0: none */
    uint64_t hash;        /* XXH3-64 over everything but comments and application data */
};

/* Walks the markers of a whole JPEG without decoding a pixel: some GB/s. WSL_ECORRUPT says at which
 * byte it is cut or damaged; damage within coded pixels is not seen. WSL_EUNSUPPORTED: no JPEG, or
 * neither baseline nor extended nor progressive with 8 bits. */
int wsl_jpeg_header(const uint8_t *bytes, size_t size, struct wsl_jpeg_header *ret,
                    struct wsl_err *err);

/* Appends the ICC profile of a JPEG, put together from its segments. Nothing is appended when there
 * is none, or not all of it. WSL_ENOMEM, WSL_ELIMIT. */
int wsl_jpeg_profile(const uint8_t *bytes, size_t size, struct wsl_buf *out, struct wsl_err *err);

/* Whether a colour profile is as good as sRGB for a JPEG with that many components (or one that
 * viewers ignore): applying it would change nothing. */
bool wsl_profile_is_srgb(const uint8_t *bytes, size_t size, int components);

/* The orientation that Exif data (from their TIFF header on) ask for; 1 when there is none. */
int wsl_exif_orientation(const uint8_t *bytes, size_t size);

/* Appends the same JPEG re-encoded without loss: baseline, Huffman tables of its own, a restart
 * marker after each row of blocks, no application data but what its colours need. Every coefficient
 * stays. WSL_ECORRUPT, WSL_EUNSUPPORTED (what baseline cannot hold), WSL_ELIMIT, WSL_ENOMEM. */
int wsl_jpeg_transcode(const uint8_t *bytes, size_t size, struct wsl_buf *out, struct wsl_err *err);

#endif
