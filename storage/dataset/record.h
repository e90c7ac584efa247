/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of one record: a packed wsl.v1.ImageRecord (proto/wsl/v1/record.proto). Written with
 * the generated code, read by hand: the reader takes any bytes, does not allocate and does not copy
 * the image.
 */
#ifndef WSL_STORAGE_DATASET_RECORD_H
#define WSL_STORAGE_DATASET_RECORD_H

#include "storage/dataset/types.h"

enum {
    WSL_RECORD_TAGS_MAX = 64,               /* tags of a record */
    WSL_RECORD_SIZE_MAX = (1 << 24) - 1,    /* bytes of a packed record: shard.c keeps 24 bits */
    WSL_RECORD_JPEG_MAX = (1 << 24) - 4096, /* bytes of its image */
};

/* Sorts ids, as a record has them, and removes duplicates; returns how many stay. */
uint32_t wsl_record_sort_tags(uint32_t *tags, uint32_t count);

/* Where an image lies that is not in its record. */
struct wsl_record_place {
    uint64_t file, offset, size; /* size 0: it is in the record */
};

/* Fills *ret, whose jpeg points into `bytes`. Unknown fields are skipped. Returns NULL, or what is
 * wrong in words (a static string): not protobuf, no image, sizes of 0 or over 65,535, tags not
 * ascending, more than 64, or not below `tag_limit`. */
const char *wsl_record_parse(const uint8_t *bytes, size_t size, size_t tag_limit,
                             struct wsl_record *ret);

/* The same for a record that may have the place of its image instead: jpeg is NULL then. Whether
 * there is such a place is the caller's to check. */
const char *wsl_record_parse_place(const uint8_t *bytes, size_t size, size_t tag_limit,
                                   struct wsl_record *ret, struct wsl_record_place *ret_place);

/* The tags alone; touches no byte of the image. */
const char *wsl_record_parse_tags(const uint8_t *bytes, size_t size, size_t tag_limit,
                                  uint32_t ret_tags[WSL_RECORD_TAGS_MAX], int *ret_count);

#endif
