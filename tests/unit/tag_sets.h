/* SPDX-License-Identifier: Apache-2.0
 *
 * Small data sets for tests of what works on tags: records with given tags and pictures of no
 * meaning (bytes that carry their checksum).
 */
#ifndef WSL_TESTS_UNIT_TAG_SETS_H
#define WSL_TESTS_UNIT_TAG_SETS_H

#include "storage/dataset/dataset.h"

struct tag_set {
    const char *const *tags; /* names */
    size_t tag_count;
    uint64_t train, heldout;
    /* Ascending ids of a record, at least one. */
    size_t (*tags_of)(uint64_t record, uint32_t tags[64]);
    uint64_t first, first_heldout; /* numbers of the splits' first records; 0: 0 and 1,000,000 */
    const char *const *synsets;    /* of the tags; NULL: none */
    const char *kind;              /* NULL: "tags" */
};

/* Writes folder/dataset.json and three shards. Source of a record: "picture-N"; its pixel hash is
 * N. Fails the test when it cannot. */
void make_tag_set(const char *folder, const struct tag_set *set);

/* Opens, or fails the test. */
struct wsl_dataset *open_set(const char *folder);

#endif
