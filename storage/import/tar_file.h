/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads a tar file from front to back: v7, ustar (POSIX.1-1988), pax (POSIX.1-2001), GNU's and
 * star's; plain or compressed (unpack.h), also from standard input. Sparse members (old GNU's, and
 * pax 0.0, 0.1 and 1.0, as GNU tar and bsdtar write them) come with their holes filled. What a
 * header says is checked before memory is taken for it; pax records and names of any length cost no
 * more memory than a name. What is wrong with one member is that member's alone.
 *
 * As with tar's --ignore-zeros, an archive continues behind its end when another one follows ("cat
 * a.tar b.tar"). Bytes that are no header are passed over, to the next header, and reported.
 *
 * A file is used by one thread at a time. Internal to the import.
 */
#ifndef WSL_STORAGE_IMPORT_TAR_FILE_H
#define WSL_STORAGE_IMPORT_TAR_FILE_H

#include "base/buf.h"
#include "base/err.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct tar_file;

enum tar_kind {
    TAR_FILE,
    TAR_DIRECTORY,
    TAR_LINK,    /* hard or symbolic */
    TAR_SPECIAL, /* a device, a pipe, a kind of GNU's or Sun's own */
    TAR_GAP,     /* no member: `size` bytes at `offset` that are no header where one was expected */
    TAR_TRAILER, /* the same behind the end of an archive */
};

struct tar_member {
    char name[PATH_MAX]; /* NUL-terminated; any other bytes; of a sparse file the real one */
    enum tar_kind kind;
    uint64_t offset;   /* of its bytes in the (unpacked) file */
    uint64_t size;     /* of a sparse one with its holes; 0 of what has no bytes */
    bool name_is_cut;  /* `fault` says why */
    bool scattered;    /* its bytes do not lie in one run of `size` at `offset`: it is sparse */
    const char *fault; /* a file that cannot be read, or why there is a gap; static; NULL: none */
};

/* Opens a path, or standard input for "-". WSL_EUNSUPPORTED: another kind of file, which is named.
 */
int wsl_tar_file_open(struct tar_file **ret, const char *path, struct wsl_err *err);
void wsl_tar_file_close(struct tar_file *tar); /* NULL is fine; standard input stays open */

/* The next member; what was not read of the one before is skipped. Returns 1, 0 at the end, or
 * WSL_ECORRUPT (the file is no tar, or ends early), WSL_EIO, WSL_ENOMEM: nothing more can be read
 * then; wsl_tar_file_offset() says where. */
int wsl_tar_file_next(struct tar_file *tar, struct tar_member *ret, struct wsl_err *err);

/* Adds the bytes of the current member, a TAR_FILE without a fault, to *out. Takes memory for all
 * of them: look at `size` first. Once per member. WSL_ELIMIT, WSL_ENOMEM: of the buffer, and the
 * file can be read on; any other error is as wsl_tar_file_next()'s. */
int wsl_tar_file_read(struct tar_file *tar, struct wsl_buf *out, struct wsl_err *err);

/* Bytes taken so far from the (unpacked) file. */
uint64_t wsl_tar_file_offset(const struct tar_file *tar);

/* A plain file: its members may be read by offset from the path. */
bool wsl_tar_file_is_seekable(const struct tar_file *tar);

int wsl_tar_file_descriptor(const struct tar_file *tar);

#endif
