/* SPDX-License-Identifier: Apache-2.0
 *
 * Data sets made of others: a view, or a copy of records. The output directory appears whole or not
 * at all: everything is written into "<output>.partial", synced, then renamed; a lock on that
 * directory keeps a second writer out, and what a killed one left is removed by the next.
 *
 * One thread; all block.
 */
#ifndef WSL_STORAGE_DATASET_DATASET_WRITER_H
#define WSL_STORAGE_DATASET_DATASET_WRITER_H

#include "storage/dataset/dataset.h"
#include "storage/dataset/dataset_info.h"
#include "storage/dataset/staging_dir.h"
#include "storage/dataset/tag_table.h"

struct wsl_dataset_writer {
    struct wsl_dataset_info info; /* of the new data set: the caller fills in tags and base */
    struct wsl_staging_dir staging;
    struct wsl_shard_writer *shard_writer;
    uint64_t shard_bytes; /* 1 GiB */
    size_t shards;
    int split; /* of the open shard writer */
};

/* Makes and locks "<output>.partial". WSL_EEXIST when the output exists or another process makes
 * it; WSL_EINVAL for a name that cannot be. `name` NULL: the last part of `output`; `kind` is
 * "tags" or "labels", static. */
int wsl_dataset_writer_open(struct wsl_dataset_writer *writer, const char *output, const char *name,
                            const char *kind, struct wsl_err *err);

/* Copies a record: image, size, source and hash of `record`, and these ids, ascending. All of one
 * split before those of the other. Checks the image's CRC first. */
int wsl_dataset_writer_add(struct wsl_dataset_writer *writer, enum wsl_split split,
                           const struct wsl_record *record, const uint32_t *tags, int count,
                           struct wsl_err *err);

/* Writes the table of a split, for a view of `base`; info.tags must have their train counts. */
int wsl_dataset_writer_add_table(struct wsl_dataset_writer *writer, enum wsl_split split,
                                 const struct wsl_tag_table_builder *table, uint64_t base,
                                 struct wsl_err *err);

/* Writes dataset.json, in which `source` says how it was made (it stays the caller's), and
 * publishes. info.fingerprint is set then. */
int wsl_dataset_writer_finish(struct wsl_dataset_writer *writer, json_t *source,
                              struct wsl_err *err);

/* Frees all; what was not finished is removed. Zeroed is fine. */
void wsl_dataset_writer_close(struct wsl_dataset_writer *writer);

#endif
