/* SPDX-License-Identifier: Apache-2.0
 *
 * Compressed bytes, a piece at a time: gzip, bzip2, xz, zstd and lz4, told by what they begin with.
 * Checksums of the format are checked. A decompressor is used by one thread at a time. Internal to
 * the import.
 */
#ifndef WSL_STORAGE_IMPORT_UNPACK_H
#define WSL_STORAGE_IMPORT_UNPACK_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum { UNPACK_MAGIC = 10 }; /* bytes that wsl_unpack_find() has to see */

struct unpack_codec; /* a format */

/* The format that begins with these bytes (fewer than UNPACK_MAGIC: that is all there is). Returns
 * 1 with *ret, 0 when it is none that is known, or WSL_EUNSUPPORTED naming what it is. */
int wsl_unpack_find(const uint8_t *bytes, size_t size, const struct unpack_codec **ret,
                    struct wsl_err *err);

const char *wsl_unpack_name(const struct unpack_codec *codec); /* "gzip" */

struct unpack {
    const struct unpack_codec *codec; /* NULL: closed */
    void *state;                      /* of the library */
};

int wsl_unpack_open(struct unpack *u, const struct unpack_codec *codec, struct wsl_err *err);
void wsl_unpack_close(struct unpack *u); /* zeroed is fine */

struct unpack_piece {
    const uint8_t *in;
    size_t in_size, used; /* `used` of `in_size` bytes were taken */
    uint8_t *out;
    size_t out_size, made;
};

/* Goes on: 1, or 0 at the end of a frame (a gzip member, an xz stream), after which the next call
 * begins another. WSL_ECORRUPT names what is wrong, WSL_ENOMEM also a window of over 1 GiB. A call
 * that neither uses nor makes bytes needs more input. */
int wsl_unpack_step(struct unpack *u, struct unpack_piece *piece, struct wsl_err *err);

#endif
