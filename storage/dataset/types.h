/* SPDX-License-Identifier: Apache-2.0
 *
 * What a data set consists of, for all that reads or writes one: splits, tags, records.
 */
#ifndef WSL_STORAGE_DATASET_TYPES_H
#define WSL_STORAGE_DATASET_TYPES_H

#include <stddef.h>
#include <stdint.h>

enum wsl_split { WSL_SPLIT_TRAIN, WSL_SPLIT_HELDOUT };

struct wsl_tag {
    const char *name;        /* owned by the data set */
    const char *synset;      /* "n02084071", or "" */
    uint64_t train, heldout; /* images that carry it */
};

/* One record. The pointers go into the memory map of the shard, or of external_file, and live until
 * close. */
struct wsl_record {
    const uint8_t *jpeg;
    size_t jpeg_size;
    int width, height;
    uint32_t crc32c; /* as stored; wsl_record_check() compares */
    uint64_t pixel_hash;
    uint32_t tags[64]; /* ids, ascending */
    int tag_count;     /* at most 64 are kept at import */
    char source[256];
    const char *shard; /* file name, the data set's; where it lies in it */
    uint64_t in_shard;
    const char *external_file; /* the file with the image when that is not the shard, else NULL */
};

#endif
