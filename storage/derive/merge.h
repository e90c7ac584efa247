/* SPDX-License-Identifier: Apache-2.0
 *
 * One data set with the records of several, or one divided anew. Blocks on the caller's thread and
 * reads every record; the output appears whole or not at all. Texts stay the caller's.
 */
#ifndef WSL_STORAGE_DERIVE_MERGE_H
#define WSL_STORAGE_DERIVE_MERGE_H

#include "storage/dataset/dataset.h"

#include <stdatomic.h>

struct wsl_merge_setup {
    struct wsl_dataset *const *datasets; /* 1 to 64, open */
    size_t count;
    const char *output, *name; /* as of wsl_dataset_writer_open() */
    uint64_t seed;             /* of the records' order, and of the division */
    double heldout;            /* share to divide anew, by pixels; below 0: as they were */
    uint64_t shard_bytes;      /* 0: 1 GiB */
    void (*progress)(void *context, uint64_t done, uint64_t total); /* per record; may be NULL */
    void *context;
    const atomic_bool *cancel; /* looked at between records; NULL: never */
};

struct wsl_merge_result {
    uint64_t train, heldout; /* records written */
    uint64_t duplicates;     /* records with the same pixels as another: tags merged */
    /* Of the duplicates: training images that another set holds out, so the merged one does too. */
    uint64_t moved_to_heldout;
    uint64_t label_conflicts; /* of the duplicates, labels only: another label; the first stays */
    uint64_t cut;             /* records with more than 64 tags: the rarest stay */
    uint64_t tags;
    char fingerprint[33];
};

/* One data set with the records of all. Tags are the same when their synsets are, or, where one has
 * none, their names. The records' order is a hash of (seed, pixels), as an import's, so every shard
 * is an unbiased sample; 40 bytes a record. It is of labels when all are. WSL_EINVAL, WSL_EEXIST,
 * WSL_ECORRUPT (a damaged image), WSL_ENOSPC, WSL_ECANCELLED. */
int wsl_merge(const struct wsl_merge_setup *setup, struct wsl_merge_result *ret,
              struct wsl_err *err);

#endif
