/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of others that hold the pictures of a data set which was imported in place: an LMDB of
 * Caffe's, tar files. Its shards then have records without pictures that say where those lie.
 * Mapped whole; nothing may write them while the data set is in use.
 */
#ifndef WSL_STORAGE_DATASET_EXTERNAL_FILE_H
#define WSL_STORAGE_DATASET_EXTERNAL_FILE_H

#include "base/err.h"
#include "storage/dataset/dataset.h"

/* Most files of a data set: each is a map of the process. */
enum { WSL_PICTURES_FILES = 4096 };

/* What dataset.json says about a file. */
struct wsl_pictures_entry {
    char *path; /* absolute; owned */
    uint64_t bytes;
    char fingerprint[33]; /* XXH3-128 over size, both ends (64 KiB) and 16 samples between them: an
                             LMDB's first pages change with each commit */
};

/* Fills *ret from the file at `path`, which need not be absolute. WSL_ENOENT, WSL_EIO,
 * WSL_EUNSUPPORTED (not a regular file). Blocks. */
int wsl_pictures_look(struct wsl_pictures_entry *ret, const char *path, struct wsl_err *err);

struct wsl_pictures;

/* Maps the files; *entries stay the caller's and must live until close. WSL_ENOENT, or WSL_ECORRUPT
 * when one is not what its entry says: the line names it. */
int wsl_pictures_open(struct wsl_pictures **ret, const struct wsl_pictures_entry *entries,
                      size_t count, struct wsl_err *err);
void wsl_pictures_close(struct wsl_pictures *pictures); /* NULL is fine */

/* wsl_record_parse() for records that may have their picture in one of the files; `pictures` NULL:
 * a data set without such. Touches `bytes`, not the picture. Any thread. */
const char *wsl_pictures_parse(const struct wsl_pictures *pictures, const uint8_t *bytes,
                               size_t size, size_t tag_limit, struct wsl_record *ret);

#endif
