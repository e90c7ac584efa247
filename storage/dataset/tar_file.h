/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads a tar file from front to back: ustar (POSIX.1-1988), pax (POSIX.1-2001) and GNU's long
 * names and large sizes, plain or gzip. What a header says is checked before memory is taken for
 * it. A file is used by one thread at a time. Internal to the import.
 */
#ifndef WSL_STORAGE_TAR_FILE_H
#define WSL_STORAGE_TAR_FILE_H

#include "base/buf.h"
#include "base/err.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct tar_file;

struct tar_member {
    char name[PATH_MAX]; /* closed; any other bytes */
    uint64_t offset;     /* of its bytes in the (unpacked) file */
    uint64_t size;
    bool regular; /* a file; not a folder, link, device */
};

/* Opens a path, or standard input for "-". */
int tar_file_open(struct tar_file **ret, const char *path, struct wsl_err *err);
void tar_file_close(struct tar_file *tar); /* NULL is fine; standard input stays open */

/* The next member; what was not read of the one before is skipped. Returns 1, 0 at the end, or
 * WSL_ECORRUPT, WSL_EIO: nothing more can be read then; tar_file_offset() says where. */
int tar_file_next(struct tar_file *tar, struct tar_member *ret, struct wsl_err *err);

/* Replaces *out by the bytes of the member at hand. */
int tar_file_read(struct tar_file *tar, struct wsl_buf *out, struct wsl_err *err);

/* Bytes taken so far from the (unpacked) file. */
uint64_t tar_file_offset(const struct tar_file *tar);

/* A plain file: its members may be read by offset from the path. */
bool tar_file_is_seekable(const struct tar_file *tar);

int tar_file_descriptor(const struct tar_file *tar);

#endif
