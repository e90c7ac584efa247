/* SPDX-License-Identifier: Apache-2.0
 *
 * The tags of a split in one file: which records of another data set there are, the tags of each,
 * and the records by rarest tag. What a view (storage/derive) has in place of shards.
 *
 * All numbers little-endian. A head of 64 bytes: "wsltags1", then five u64: records, base (records
 * of the data set below), tags (all records' together), limit (of ids), id size in bytes (2 or 4),
 * then the XXH3-128 of all that follows the head, as u64 low, u64 high. Then, each padded to 8
 * bytes:
 *     u64 rare[limit]          records whose rarest tag this is
 *     u64 begin[blocks + 1]    first tag of each block of 64 records; blocks = ceil(records / 64)
 *     u32 record[records]      index in the data set below, ascending
 *     u32 by_rarest[records]   records of this table by rarest tag, then by index
 *     u8  count[records]       tags of each, 1 to 64
 *     u16 or u32 id[tags]      ascending within a record
 */
#ifndef WSL_STORAGE_DATASET_TAG_TABLE_H
#define WSL_STORAGE_DATASET_TAG_TABLE_H

#include "base/err.h"
#include "storage/dataset/shard.h"

#include <stddef.h>
#include <stdint.h>

struct wsl_tag_table;

/* Maps directory/entry->file. WSL_ENOENT, or WSL_ECORRUPT when its size or its head is not what the
 * entry says. The bytes behind the head are only checked where they are used, and by verify. */
int wsl_tag_table_open(struct wsl_tag_table **ret, const char *directory,
                       const struct wsl_shard_entry *entry, struct wsl_err *err);
void wsl_tag_table_close(struct wsl_tag_table *table); /* NULL is fine */

uint64_t wsl_tag_table_base(const struct wsl_tag_table *table);
uint64_t wsl_tag_table_limit(const struct wsl_tag_table *table);

/* Record `index` (below the count): its index below, and its tags; either may be NULL. Any thread;
 * does not allocate. WSL_ECORRUPT; WSL_EIO when the file shrank. */
int wsl_tag_table_read(const struct wsl_tag_table *table, uint64_t index, uint64_t *ret_record,
                       uint32_t ret_tags[64], int *ret_count, struct wsl_err *err);

/* In the map, for the table's life; the values are as they are on disk. */
const uint32_t *wsl_tag_table_by_rarest(const struct wsl_tag_table *table,
                                        const uint64_t **ret_counts);

/* Compares the hash, and checks every number. WSL_ECORRUPT. */
int wsl_tag_table_verify(const struct wsl_tag_table *table, struct wsl_err *err);

/* ---- writing ---- */

/* Grows in memory: 5 bytes a record and 4 a tag, up to twice that. Zeroed to start with. */
struct wsl_tag_table_builder {
    uint32_t *record;
    uint8_t *count;
    uint64_t records, record_capacity;
    uint32_t *ids;
    uint64_t tags, tag_capacity;
};

/* The next record; `record` greater than those before, 1 to 64 ids ascending. WSL_ENOMEM,
 * WSL_ELIMIT (2^32 records). */
int wsl_tag_table_add(struct wsl_tag_table_builder *builder, uint64_t record, const uint32_t *tags,
                      int count, struct wsl_err *err);

/* The file that a table becomes. */
struct wsl_tag_table_target {
    const char *directory, *file;
    uint64_t base; /* records of the data set below */
    const uint64_t
        *images; /* training images of each of `limit` tags, which say what is rare (ties:
                               the greater id) */
    uint64_t limit;
};

/* Writes and syncs the file. WSL_ENOMEM, WSL_ENOSPC and the like. */
int wsl_tag_table_write(const struct wsl_tag_table_builder *builder,
                        const struct wsl_tag_table_target *target, struct wsl_shard_entry *ret,
                        struct wsl_err *err);
void wsl_tag_table_builder_free(struct wsl_tag_table_builder *builder);

#endif
