/* SPDX-License-Identifier: Apache-2.0
 *
 * Data sets made of others: a view, or a copy of records. The output folder appears whole or not
 * at all: everything is written into "<output>.partial", synced, then renamed; a lock on that
 * folder keeps a second maker out, and what a killed one left is swept away by the next.
 *
 * One thread; all block.
 */
#ifndef WSL_STORAGE_DATASET_DATASET_WRITER_H
#define WSL_STORAGE_DATASET_DATASET_WRITER_H

#include "storage/dataset/dataset.h"
#include "storage/dataset/dataset_info.h"
#include "storage/dataset/tag_table.h"

#include <limits.h>

struct wsl_making {
    struct wsl_dataset_info info; /* of the new data set: the caller fills in tags and base */
    char output[PATH_MAX];        /* without blanks at the end */
    char folder[PATH_MAX];        /* where files go meanwhile */
    int lock;
    struct wsl_shard_writer *writer; /* of records */
    uint64_t shard_bytes;            /* 1 GiB */
    size_t shards;
    int split; /* of the open writer */
};

/* Makes and locks "<output>.partial". WSL_EEXIST when the output exists or another process makes
 * it; WSL_EINVAL for a name that cannot be. `name` NULL: the last part of `output`; `kind` is
 * "tags" or "labels", static. */
int wsl_making_open(struct wsl_making *making, const char *output, const char *name,
                    const char *kind, struct wsl_err *err);

/* Copies a record: picture, size, source and hash of `record`, and these ids, ascending. All of one
 * split before those of the other. Checks the picture's CRC first. */
int wsl_making_add(struct wsl_making *making, enum wsl_split split, const struct wsl_record *record,
                   const uint32_t *tags, int count, struct wsl_err *err);

/* Writes the table of a split, for a view of `base`; info.tags must have their train counts. */
int wsl_making_table(struct wsl_making *making, enum wsl_split split,
                     const struct wsl_tag_table_maker *table, uint64_t base, struct wsl_err *err);

/* Writes dataset.json, in which `source` says how it was made (it stays the caller's), and
 * publishes. info.fingerprint is set then. */
int wsl_making_finish(struct wsl_making *making, json_t *source, struct wsl_err *err);

/* Frees all; what was not finished is removed. Zeroed is fine. */
void wsl_making_close(struct wsl_making *making);

#endif
