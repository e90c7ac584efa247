/* SPDX-License-Identifier: Apache-2.0
 *
 * The records of any LMDB file's main database in key order, read page by page with every number
 * checked: files of others are not trusted, and LMDB itself trusts what it maps. Values are given
 * by their place in the file. Nothing may write the file meanwhile. Internal to the import.
 */
#ifndef WSL_STORAGE_IMPORT_LMDB_FILE_H
#define WSL_STORAGE_IMPORT_LMDB_FILE_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum { LMDB_KEY = 511 };

struct lmdb_file;

struct lmdb_place {
    uint8_t key[LMDB_KEY];
    size_t key_size;
    uint64_t offset, size; /* of the value in the file */
};

/* `path` is the file, or the directory with data.mdb. WSL_ENOENT, WSL_ECORRUPT. */
int wsl_lmdb_file_open(struct lmdb_file **ret, const char *path, struct wsl_err *err);
void wsl_lmdb_file_close(struct lmdb_file *file); /* NULL is fine */

/* The next record: 1, 0 at the end, or WSL_ECORRUPT, WSL_EIO, after which there is nothing more. */
int wsl_lmdb_file_next(struct lmdb_file *file, struct lmdb_place *ret, struct wsl_err *err);

const char *wsl_lmdb_file_path(const struct lmdb_file *file); /* of the file itself */
int wsl_lmdb_file_descriptor(const struct lmdb_file *file);
uint64_t wsl_lmdb_file_count(const struct lmdb_file *file); /* of records, as the file says */

#endif
