/* SPDX-License-Identifier: Apache-2.0
 *
 * What all views share. Internal to storage/derive; contracts are those of
 * view.h.
 */
#ifndef WSL_STORAGE_DERIVE_INTERNAL_H
#define WSL_STORAGE_DERIVE_INTERNAL_H

#include "storage/dataset/dataset_writer.h"
#include "storage/derive/view.h"

/* A record of the data set that a view refers to. */
struct view_record {
    enum wsl_split split;
    uint64_t index;
    uint32_t tags[64];
    int count;
    bool counting; /* the first of the two times */
};

struct view_plan {
    const struct wsl_view_setup *setup;
    struct wsl_view_result *result;
    /* The vocabulary before ranking; names and synsets are copied. */
    const struct wsl_tag *tags;
    size_t tag_count;
    /* All tags, in this order; else by frequency, without those never trained on. */
    bool keep_order;
    const char *kind;
    /* The record's tags in the view, ascending, at most 64; 0: it is left out. Called twice for
     * each record, and must say the same both times. */
    int (*rewrite)(void *context, const struct view_record *record, uint32_t ret_tags[64]);
    void *context;
};

/* `source` says how the view was made; taken, also on failure. */
int wsl_view_make(const struct view_plan *plan, json_t *source, struct wsl_err *err);

#endif
