/* SPDX-License-Identifier: Apache-2.0
 *
 * A sealed data set: a directory with dataset.json and LMDB shards (single files, shard-00000.lmdb
 * ...), read only. Key of a record: its index in the shard, 8 bytes big-endian. Value: a packed
 * wsl.v1.ImageRecord.
 *
 * Records have one index over the whole split: 0 .. count-1 through the shards in order. The split
 * "train" and the split "heldout" have shards of their own.
 *
 * dataset.json: {"format": 1, "name", "kind": "tags" | "labels", "created", "fingerprint" (32 hex
 * digits, XXH3-128 over all shard fingerprints and the vocabulary), "tags": [{"name", "synset",
 * "train", "heldout"}, ...] (index = tag id; counts of images), "splits": {"train": {"images": n,
 * "shards": [{"file", "images", "bytes", "fingerprint"}, ...]}, "heldout": {...}}, "source": {...}}
 *
 * A view is a small directory that stands for a data set with other tags, or with fewer records;
 * its images stay where they are. Its dataset.json has "format": 2, "base": {"folder",
 * "fingerprint"} and for each split one file (tag_table.h) under "shards". It is read like any data
 * set; what it refers to must be there, unchanged. A view may be of a view, up to 8 deep.
 *
 * A data set that was imported in place has "format": 3 and "pictures": [{"file" (absolute),
 * "bytes", "fingerprint"}, ...]. The records of its shards say where in those files their images
 * lie (record.proto). The files must be there, unchanged, and nothing may write them meanwhile.
 */
#ifndef WSL_STORAGE_DATASET_DATASET_H
#define WSL_STORAGE_DATASET_DATASET_H

#include "base/err.h"
#include "storage/dataset/types.h"

#include <stddef.h>
#include <stdint.h>

struct wsl_dataset;

/* Opens dataset.json and every shard (WSL_ENOENT names a missing shard, WSL_ECORRUPT a truncated
 * one or one whose size or record count is not what dataset.json says, or a view whose data set is
 * another by now, or a file with images that changed). Does not read the records. */
int wsl_dataset_open(struct wsl_dataset **ret, const char *directory, struct wsl_err *err);
void wsl_dataset_close(struct wsl_dataset *ds); /* NULL is fine */

const char *wsl_dataset_name(const struct wsl_dataset *ds);
const char *wsl_dataset_kind(const struct wsl_dataset *ds);    /* "tags" or "labels" */
const char *wsl_dataset_created(const struct wsl_dataset *ds); /* UTC time as text */
const char *wsl_dataset_fingerprint(const struct wsl_dataset *ds);
/* Of a view: the directory it refers to; else NULL. */
const char *wsl_dataset_base(const struct wsl_dataset *ds);
/* Of a data set that was imported in place, or a view of it: the first file with its images;
 * else NULL. */
const char *wsl_dataset_external_file(const struct wsl_dataset *ds);
/* Of the files of a split; a view's are counted with those it refers to. Files with images in
 * place belong to no split and are not counted. */
size_t wsl_dataset_shard_count(const struct wsl_dataset *ds, enum wsl_split split);
uint64_t wsl_dataset_bytes(const struct wsl_dataset *ds, enum wsl_split split);
uint64_t wsl_dataset_count(const struct wsl_dataset *ds, enum wsl_split split);
size_t wsl_dataset_tag_count(const struct wsl_dataset *ds);
const struct wsl_tag *wsl_dataset_tag(const struct wsl_dataset *ds, size_t id);

/* Any thread; does not allocate. WSL_ECORRUPT names shard and index. A shard that shrank under the
 * map while it is read ends the read with WSL_EIO, not the process. */
int wsl_dataset_read(struct wsl_dataset *ds, enum wsl_split split, uint64_t index,
                     struct wsl_record *ret, struct wsl_err *err);

/* Asks the kernel to bring a record into the page cache and does not wait for it. Of records that
 * will be read soon, ask for many before reading the first: a disk serves many requests at once
 * several times faster than one after another. Any thread; advice only, so it has no errors. */
void wsl_dataset_prefetch(struct wsl_dataset *ds, enum wsl_split split, uint64_t index);

/* CRC of the JPEG bytes against the stored one: WSL_ECORRUPT; WSL_EIO as above. */
int wsl_record_check(const struct wsl_record *record, struct wsl_err *err);

/* The same, and copies the jpeg_size bytes to `out`. A decoder that works on the copy cannot meet a
 * shard that shrank: prefer this to `jpeg` where images are decoded. */
int wsl_record_copy(const struct wsl_record *record, uint8_t *out, struct wsl_err *err);

/* The tags of record `index` without touching the image, for sampling tables: count in
 * *ret_count. */
int wsl_dataset_read_tags(struct wsl_dataset *ds, enum wsl_split split, uint64_t index,
                          uint32_t ret_tags[64], int *ret_count, struct wsl_err *err);

/* The records of a split by their rarest tag, then by index: the first ret_counts[0] have tag 0 as
 * their rarest, and so on. NULL when the data set does not keep them: only views do. In the file's
 * map, until close. Read it in wsl_sigbus_guard_run(); a damaged file may have values that are not
 * below the split's count. */
const uint32_t *wsl_dataset_by_rarest(const struct wsl_dataset *ds, enum wsl_split split,
                                      const uint64_t **ret_counts);

#endif
