/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of a resampled order: a split's records by their rarest tag. A view has it on disk
 * (storage/dataset/tag_table.h), so that opening costs nothing per record; of a data set it is made
 * here, by reading the tags of each record once: 8 bytes a record while it is made, then 4.
 */
#ifndef WSL_STORAGE_SAMPLING_SAMPLING_H
#define WSL_STORAGE_SAMPLING_SAMPLING_H

#include "storage/dataset/dataset.h"
#include "storage/sampling/order.h"

struct wsl_sampling_rule {
    enum wsl_sampling kind;
    double threshold;  /* in images; 0: the largest tag's count / 4 */
    double max_repeat; /* 0: 20 */
    uint64_t window;   /* as of an order; 0: none */
};

/* What an order takes. NULL runs under natural sampling. */
struct wsl_sampling_table {
    struct wsl_order_run *runs; /* owned */
    size_t run_count;
    const uint32_t *table; /* in the data set, or owned */
    uint32_t *owned;
};

/* Blocks. An unreadable record counts as wanted once: the loader meets, replaces and reports it.
 * WSL_ENOMEM; WSL_ELIMIT above 2^32 records; WSL_EIO. The data set must stay open as long as the
 * table. Any thread. */
int wsl_sampling_open(struct wsl_sampling_table *ret, struct wsl_dataset *dataset,
                      enum wsl_split split, const struct wsl_sampling_rule *rule,
                      struct wsl_err *err);
void wsl_sampling_close(struct wsl_sampling_table *table); /* zeroed is fine */

/* The rule with its defaults filled in for a data set. */
void wsl_sampling_fill(struct wsl_sampling_rule *rule, const struct wsl_dataset *dataset);

/* Of tags (ids), the one on the fewest training images: its index, or -1 without tags. Ties: the
 * last. */
int wsl_sampling_rarest(const struct wsl_dataset *dataset, const uint32_t *tags, int count);

#endif
