/* SPDX-License-Identifier: Apache-2.0
 *
 * Checks a whole data set and says of every record whether it is bad; for `wslctl data verify`.
 */
#ifndef WSL_STORAGE_DATASET_VERIFY_H
#define WSL_STORAGE_DATASET_VERIFY_H

#include "base/err.h"

#include <stdint.h>

#define WSL_VERIFY_SHARD UINT64_MAX /* not one record: the shard */

/* Texts live until the call returns. */
struct wsl_verify_fault {
    const char *file;   /* "shard-00003.lmdb" */
    uint64_t record;    /* index in the shard, or WSL_VERIFY_SHARD */
    const char *source; /* of the image, as far as known; may be "" */
    const char *reason;
};

/* Called on the calling thread; each may be NULL. */
struct wsl_verify_setup {
    void (*on_fault)(void *context, const struct wsl_verify_fault *fault);
    void (*progress)(void *context, uint64_t done, uint64_t total); /* records */
    void *context;
};

struct wsl_verify_result {
    uint64_t records, bytes; /* of the data set that has the images; read */
    uint64_t bad;            /* faults reported */
};

/* Reads every byte of every record: the tree that leads to it, its structure, the CRC of its
 * image, and the fingerprint of its shard, which also covers tags, sizes and names. Goes on after
 * a fault; a shard whose tree is damaged is one fault. Of a view: its tables of tags, and the data
 * set it refers to, whose records are then counted. Returns 0 when everything was looked at,
 * whatever was found; WSL_ENOENT, WSL_ECORRUPT, WSL_EUNSUPPORTED for dataset.json and for
 * files with images in place, WSL_ENOMEM. Blocks. */
int wsl_dataset_verify_all(const char *directory, const struct wsl_verify_setup *setup,
                           struct wsl_verify_result *ret, struct wsl_err *err);

#endif
