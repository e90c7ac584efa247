/* SPDX-License-Identifier: Apache-2.0
 *
 * One shard: an LMDB environment in a single file, written once in key order, then only read.
 *
 * Keys are 0, 1, 2, ... as 8 bytes big-endian. LMDB keeps a value in one run of bytes, so opening
 * walks the keys once and notes where each value lies; a read is then a look into that table and
 * the map: no transaction, no lock, no allocation, any thread.
 */
#ifndef WSL_STORAGE_DATASET_SHARD_H
#define WSL_STORAGE_DATASET_SHARD_H

#include "base/err.h"
#include "wsl/v1/record.pb-c.h"

#include <stddef.h>
#include <stdint.h>

/* What dataset.json says about a shard. */
struct wsl_shard_entry {
    char file[64];        /* a name in the data set's directory */
    uint64_t images;      /* records */
    uint64_t bytes;       /* of the file */
    char fingerprint[33]; /* XXH3-128 over size (8 bytes, little-endian) and bytes of each value in
                             key order */
};

struct wsl_shard;

/* Opens directory/entry->file, read only. WSL_ENOENT, or WSL_ECORRUPT when its size, count or
 * structure is not what it should be. The file must not change while it is open. */
int wsl_shard_open(struct wsl_shard **ret, const char *directory,
                   const struct wsl_shard_entry *entry, struct wsl_err *err);
void wsl_shard_close(struct wsl_shard *shard); /* NULL is fine */

const char *wsl_shard_file(const struct wsl_shard *shard);

/* Where value `index` (below the count of images) lies: inside the map as it was at open. Reading
 * it may raise SIGBUS when the file shrank since: do so in wsl_sigbus_guard_run(). Does not touch
 * it. */
const uint8_t *wsl_shard_value(const struct wsl_shard *shard, uint64_t index, size_t *ret_size);

/* ---- writing ---- */

struct wsl_shard_writer;

/* Makes directory/entry file `file`; it must not exist. Bound to the calling thread until sealed.
 */
int wsl_shard_writer_open(struct wsl_shard_writer **ret, const char *directory, const char *file,
                          uint64_t limit_bytes, struct wsl_err *err);

/* Appends a record; its packed size is at most WSL_RECORD_SIZE_MAX. WSL_ENOSPC and the like: the
 * writer can only be closed then. */
int wsl_shard_writer_add(struct wsl_shard_writer *writer, const Wsl__V1__ImageRecord *record,
                         struct wsl_err *err);

/* Whether the file has reached limit_bytes. */
int wsl_shard_writer_is_full(const struct wsl_shard_writer *writer);

/* Commits, syncs to disk and says what was written. Close it afterwards. */
int wsl_shard_writer_seal(struct wsl_shard_writer *writer, struct wsl_shard_entry *ret,
                          struct wsl_err *err);

/* NULL is fine; without seal before it the file is left unusable. */
void wsl_shard_writer_close(struct wsl_shard_writer *writer);

#endif
