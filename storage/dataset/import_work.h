/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of an import: what its stages hand on. In order:
 *   list    import_list.c    manifest or tree -> items with spellings
 *   decode  import_decode.c  items -> pictures in the spool (threads)
 *   plan    import_plan.c    equal pictures joined, splits, vocabulary, record order
 *   write   import_write.c   spool -> shards, dataset.json, quarantine.tsv
 */
#ifndef WSL_STORAGE_IMPORT_WORK_H
#define WSL_STORAGE_IMPORT_WORK_H

#include "base/buf.h"
#include "storage/dataset/dataset_info.h"
#include "storage/dataset/import.h"
#include "storage/dataset/vocabulary.h"

#include <stdbool.h>

enum item_state {
    ITEM_READY,    /* to be decoded */
    ITEM_GOOD,     /* in the spool; after the plan: becomes a record */
    ITEM_EXCLUDED, /* by a rule of the caller */
    ITEM_BAD,      /* quarantined */
    ITEM_UNTAGGED,
    ITEM_DUPLICATE,
};

struct item {
    uint64_t path;      /* offset of its closed text in import.paths */
    uint64_t first_tag; /* in import.tags: spellings; after the plan of a good one: concepts */
    uint32_t tag_count;
    uint8_t state; /* enum item_state */
    uint8_t fault; /* enum wsl_import_fault, of a bad one */
    bool kept;     /* the spool has the source's own bytes */
    uint16_t width, height;
    uint32_t crc32c;
    uint32_t jpeg_size;
    uint64_t pixel_hash;
    uint64_t spool_at;
    char *reason; /* of a bad one; owned, may be NULL */
};

/* Numbers that grow: tags of all items. */
struct numbers {
    uint32_t *values;
    uint64_t count, capacity;
};

/* The order of records. */
struct place_key {
    uint64_t key; /* mix of seed and pixel hash */
    uint64_t hash;
    uint32_t item;
};

struct import {
    const struct wsl_import_setup *setup;
    struct wsl_import_result *result;
    char folder[4096]; /* where everything is written: "<output>.partial" */
    char base[4096];   /* relative paths of the source start here */
    int spool;         /* descriptor of an unlinked file */
    struct wsl_wordnet *wordnet;
    struct wsl_vocabulary *vocabulary;
    struct wsl_buf paths;
    struct numbers tags;
    struct item *items;
    uint32_t item_count, item_capacity;
    struct place_key *order; /* after the plan: the records, in their order */
    uint32_t order_count;
    struct wsl_dataset_info info;
    uint64_t told_ns; /* when progress was last called */
};

/* ---- used by the stages ---- */

static inline const char *import_path(const struct import *im, const struct item *item)
{
    return (const char *)im->paths.data + item->path;
}

/* WSL_ECANCELLED once the caller wants an end. */
int import_check(const struct import *im, struct wsl_err *err);

/* Calls the caller's progress, but at most ten times a second unless `end`. Calling thread only. */
void import_tell(struct import *im, enum wsl_import_phase phase, uint64_t done, uint64_t total,
                 uint64_t quarantined, bool end);

/* Puts an item in quarantine. `reason` may be NULL; it is copied. Returns 0: the import goes on. */
int import_set_bad(struct item *item, enum wsl_import_fault fault, const char *reason);

/* One more at the end of a run of numbers: 0 or WSL_ENOMEM. */
int import_push(struct numbers *numbers, uint32_t value);

/* Sorts and removes doubles; returns how many stay. */
uint32_t import_sort_unique(uint32_t *values, uint32_t count);

/* The split of a picture: a function of pixels, seed and share alone. */
enum wsl_split import_split(const struct wsl_import_setup *setup, uint64_t pixel_hash);

/* ---- the stages ---- */

int import_list(struct import *im, struct wsl_err *err);
int import_decode(struct import *im, struct wsl_err *err);
int import_plan(struct import *im, struct wsl_err *err);
int import_write(struct import *im, struct wsl_err *err);

#endif
