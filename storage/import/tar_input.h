/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of a tar file from front to back, unpacked when they are compressed (unpack.h; told by
 * the bytes, not by the name). Internal to tar_file.c.
 */
#ifndef WSL_STORAGE_IMPORT_TAR_INPUT_H
#define WSL_STORAGE_IMPORT_TAR_INPUT_H

#include "storage/import/unpack.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tar_input {
    int fd;
    bool ours;     /* `fd` is closed in the end: not standard input */
    bool seekable; /* a plain file: skipping is seeking */
    bool in_frame; /* of compressed bytes: the end of the file would be too early */
    uint8_t *in;   /* as they lie in the file */
    size_t in_at, in_size;
    size_t in_next;   /* bytes to read next: few after a leap, as the next may come soon */
    uint64_t advised; /* up to here the system was told that it is needed */
    struct unpack unpack;
    uint8_t *out; /* compressed: bytes unpacked; otherwise NULL */
    size_t out_at, out_size;
    uint64_t at;           /* of the unpacked bytes: taken so far */
    struct wsl_err failed; /* while unpacking; told once the bytes before are taken */
};

/* Opens a path, or standard input for "-". An error names the path. */
int wsl_tar_input_open(struct tar_input *input, const char *path, struct wsl_err *err);
void wsl_tar_input_close(struct tar_input *input); /* also half opened; standard input stays open */

/* Takes n bytes; `to` NULL: skips them. Returns 1, 0 at the end before the first, or an error: end
 * before the last is WSL_ECORRUPT. */
int wsl_tar_input_take(struct tar_input *input, uint8_t *to, uint64_t n, struct wsl_err *err);

/* Some bytes that come next, to be consumed with wsl_tar_input_advance(): 1, 0 at the end, an
 * error. */
int wsl_tar_input_peek(struct tar_input *input, const uint8_t **ret, size_t *ret_size,
                       struct wsl_err *err);
void wsl_tar_input_advance(struct tar_input *input, size_t n);

#endif
