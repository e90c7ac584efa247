/* SPDX-License-Identifier: Apache-2.0
 *
 * dataset.json in memory: what the import writes and the reader opens. dataset.h has its fields.
 */
#ifndef WSL_STORAGE_DATASET_DATASET_INFO_H
#define WSL_STORAGE_DATASET_DATASET_INFO_H

#include "base/err.h"
#include "storage/dataset/external_file.h"
#include "storage/dataset/shard.h"
#include "storage/dataset/types.h"

#include <jansson.h>

#define WSL_DATASET_FILE "dataset.json"

struct wsl_split_info {
    uint64_t images; /* sum over its shards, which are one table (tag_table.h) in a view */
    struct wsl_shard_entry *shards;
    size_t shard_count;
};

struct wsl_dataset_info {
    char *name, *created;
    const char *kind; /* "tags" or "labels": static */
    char fingerprint[33];
    char *base;                /* of a view: directory of the data set it refers to; else NULL */
    char base_fingerprint[33]; /* of that */
    struct wsl_external_file *external_files; /* of an import in place */
    size_t external_file_count;
    struct wsl_tag *tags; /* names and synsets owned */
    size_t tag_count;
    struct wsl_split_info splits[2]; /* by enum wsl_split */
};

/* Everything but the records is checked: types, ranges, file names without '/', sums, and that the
 * fingerprint is that of the contents. WSL_ENOENT (no data set there), WSL_ECORRUPT,
 * WSL_EUNSUPPORTED (a later format). On failure *ret is zeroed. */
int wsl_dataset_info_load(struct wsl_dataset_info *ret, const char *directory, struct wsl_err *err);

/* Sets the fingerprint and writes directory/dataset.json. `source` is stored as the field of that
 * name; it stays the caller's. */
int wsl_dataset_info_save(struct wsl_dataset_info *info, const char *directory, json_t *source,
                          struct wsl_err *err);

void wsl_dataset_info_free(struct wsl_dataset_info *info); /* zeroed or half-filled is fine */

#endif
