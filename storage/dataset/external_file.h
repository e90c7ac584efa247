/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of others that hold the images of a data set which was imported in place: an LMDB of
 * Caffe's, tar files. Its shards then have records without images that say where those lie.
 * Mapped whole; nothing may write them while the data set is in use.
 */
#ifndef WSL_STORAGE_DATASET_EXTERNAL_FILE_H
#define WSL_STORAGE_DATASET_EXTERNAL_FILE_H

#include "base/err.h"
#include "storage/dataset/types.h"

/* Files of a data set: each is a map of the process. */
enum { WSL_EXTERNAL_FILES_MAX = 4096 };

/* What dataset.json says about a file. */
struct wsl_external_file {
    char *path; /* absolute; owned */
    uint64_t bytes;
    char fingerprint[33]; /* XXH3-128 over size, both ends (64 KiB) and 16 samples between them: an
                             LMDB's first pages change with each commit */
};

/* Fills *ret from the file at `path`, which need not be absolute. WSL_ENOENT, WSL_EIO,
 * WSL_EUNSUPPORTED (not a regular file). Blocks. */
int wsl_external_file_describe(struct wsl_external_file *ret, const char *path,
                               struct wsl_err *err);

struct wsl_external_files;

/* Maps the files; *entries stay the caller's and must live until close. WSL_ENOENT, or WSL_ECORRUPT
 * when one is not what its entry says: the line names it. */
int wsl_external_files_open(struct wsl_external_files **ret,
                            const struct wsl_external_file *entries, size_t count,
                            struct wsl_err *err);
void wsl_external_files_close(struct wsl_external_files *external_files); /* NULL is fine */

/* wsl_record_parse() for records that may have their image in one of the files; `external_files`
 * NULL: a data set without such. Touches `bytes`, not the image. Any thread. */
const char *wsl_external_files_parse_record(const struct wsl_external_files *external_files,
                                            const uint8_t *bytes, size_t size, size_t tag_limit,
                                            struct wsl_record *ret);

#endif
