/* SPDX-License-Identifier: Apache-2.0
 *
 * The inside of an import: what its stages hand on. In order:
 *   list    list.c    a source's entries -> items with spellings; of a stream also decoded
 *   decode  decode.c  items -> what is known of their images; new JPEGs into the spool
 *   plan    plan.c    equal images merged, splits, vocabulary, record order
 *   write   write.c   source and spool -> shards, dataset.json, quarantine.tsv
 * "<output>.partial" holds the journal (journal.c), the spool and the directory "set", which
 * becomes the output.
 */
#ifndef WSL_STORAGE_IMPORT_INTERNAL_H
#define WSL_STORAGE_IMPORT_INTERNAL_H

#include "base/buf.h"
#include "storage/dataset/dataset_info.h"
#include "storage/dataset/staging_dir.h"
#include "storage/import/import.h"
#include "storage/import/source.h"
#include "storage/vocabulary/builder.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum item_state {
    ITEM_READY,       /* to be decoded */
    ITEM_GOOD,        /* known; after the plan: becomes a record */
    ITEM_EXCLUDED,    /* by a rule of the caller */
    ITEM_QUARANTINED, /* `reason` and `detail` say why */
    ITEM_UNTAGGED,
    ITEM_DUPLICATE,
};

struct item {
    uint64_t path;      /* offset of its NUL-terminated text in import.paths */
    uint64_t first_tag; /* in import.tags: spellings; after the plan of a good one: concepts */
    uint64_t offset;    /* in its container */
    uint64_t key;       /* of the journal: where it lies */
    uint64_t pixel_hash;
    uint64_t spool_at;
    char *detail; /* of a bad one; owned, may be NULL */
    uint32_t tag_count;
    uint32_t container; /* 0: a file of its own */
    uint32_t size;      /* in its container */
    uint32_t crc32c, jpeg_size;
    uint16_t width, height; /* before the decoding: of an image without a format of its own */
    uint8_t state;          /* enum item_state */
    uint8_t reason;         /* enum wsl_quarantine_reason, of a bad one */
    uint8_t form;           /* enum source_form */
    uint8_t split;          /* enum source_split */
    bool kept;              /* the JPEG is the source's own, or the same losslessly transcoded */
    bool transcoded;
    bool spooled; /* the JPEG is in the spool; otherwise in the source */
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

/* Items lie in blocks, so that they stay where they are while the list grows. */
enum { ITEM_BLOCK = 1 << 16, ITEM_BLOCKS = 1 << 15 };

struct import {
    const struct wsl_import_setup *setup;
    struct wsl_import_result *result;
    struct wsl_staging_dir staging;
    char set[4096];  /* its directory "set", which becomes the output */
    char base[4096]; /* relative paths of the source start here */
    struct source source;
    struct import_skips skips;
    bool labels; /* an image has one, instead of tags */
    int spool;   /* descriptor */
    struct journal *journal;
    struct wsl_wordnet *wordnet;
    struct wsl_vocabulary_builder *vocabulary;
    struct wsl_buf paths;
    struct numbers tags;
    struct item **blocks;
    uint32_t item_count;
    struct place_key *order; /* after the plan: the records, in their order */
    uint32_t order_count;
    struct wsl_dataset_info info;
    uint64_t reported_ns; /* when progress was last called */
    atomic_uint_fast64_t spool_end;
};

/* ---- used by the stages ---- */

static inline struct item *wsl_import_item(const struct import *im, uint32_t i)
{
    return &im->blocks[i / ITEM_BLOCK][i % ITEM_BLOCK];
}

static inline const char *wsl_import_path(const struct import *im, const struct item *item)
{
    return (const char *)im->paths.data + item->path;
}

/* WSL_ECANCELLED once the caller wants an end. */
int wsl_import_check(const struct import *im, struct wsl_err *err);

/* Calls the caller's progress, but at most ten times a second unless `end`. Calling thread only. */
void wsl_import_report_progress(struct import *im, const struct wsl_import_progress *progress,
                                bool end);

/* Puts an item in quarantine. `detail` may be NULL; it is copied. Returns 0: the import continues.
 */
int wsl_import_quarantine(struct item *item, enum wsl_quarantine_reason reason, const char *detail);

/* One more at the end of a run of numbers: 0 or WSL_ENOMEM. */
int wsl_numbers_push(struct numbers *numbers, uint32_t value);

/* The split of an image: what its source says, or a function of pixels, seed and share alone. */
enum wsl_split wsl_import_split(const struct import *im, const struct item *item);

/* The threads of a stage: as many as the caller asked for. */
int wsl_import_thread_count(const struct import *im);

/* What a thread that reads the source holds open. Zeroed: nothing. */
struct import_reader {
    uint32_t container; /* 0: none */
    int fd;
};
void wsl_import_reader_close(struct import_reader *reader);

/* Replaces *out by the bytes of the item in the source and says in *ret_stamp what its file is like
 * (size, time); with `if_changed` it stops before reading when that is *ret_stamp already, and
 * returns 2. Returns 1, or 0 after putting the item in quarantine. Any thread, unless the source is
 * a stream. */
int wsl_import_read_source(struct import_reader *reader, const struct import *im, struct item *item,
                           bool if_changed, uint64_t *ret_stamp, struct wsl_buf *out);

/* ---- threads that work for the calling one (thread_pool.c) ---- */

struct thread_pool {
    struct import *im;
    pthread_mutex_t lock; /* live, r, err, and whatever the stage puts under it */
    pthread_cond_t changed;
    pthread_t *threads;
    int started, live;
    int r; /* of the first thread that could not go on */
    struct wsl_err err;
    atomic_bool stop;
};

/* Starts up to `count` threads with work(context); at least one, or WSL_ENOMEM. */
int wsl_thread_pool_open(struct thread_pool *pool, struct import *im, int count,
                         void *(*work)(void *), void *context, struct wsl_err *err);

/* The last thing a thread does: r < 0 ends the pool. */
void wsl_thread_pool_leave(struct thread_pool *pool, int r, const struct wsl_err *err);

/* With the lock held by the calling thread: waits for a change, 50 ms at most. Returns 0, what
 * ended the pool, or WSL_ECANCELLED (which stops it). */
int wsl_thread_pool_wait(struct thread_pool *pool, struct wsl_err *err);

/* Waits for all threads, calling report(context) now and then, and releases the pool. */
int wsl_thread_pool_close(struct thread_pool *pool, void (*report)(void *context), void *context,
                          struct wsl_err *err);

/* ---- the pool that decodes (decode.c) ---- */

struct decode_pool;

int wsl_decode_pool_open(struct decode_pool **ret, struct import *im, struct wsl_err *err);

/* Hands over the items first .. first + count, or one with its bytes (copied). Waits for room.
 * Returns 0, or what ended the pool. */
int wsl_decode_pool_put(struct decode_pool *decode_pool, uint32_t first, uint32_t count,
                        const uint8_t *bytes, size_t size, struct wsl_err *err);

/* Waits for all and frees the pool (NULL is fine); r < 0 stops it instead. Returns r or its own. */
int wsl_decode_pool_close(struct decode_pool *decode_pool, int r, struct wsl_err *err);

/* Takes over what the journal knows about an item of a stream. */
bool wsl_import_resume_item(struct import *im, struct item *item, uint64_t stamp);

/* ---- the journal (journal.c) ---- */

/* What is written down about an image. */
struct image_note {
    uint64_t key, stamp, pixel_hash, spool_at;
    uint32_t jpeg_size, crc32c;
    uint16_t width, height;
    uint8_t state, reason, kept, transcoded, spooled, pad[3];
    uint64_t detail; /* offset in the journal's memory, 0: none */
};

/* Opens the journal in im->staging.directory, or begins one. WSL_EEXIST: it is of other settings.
 * Sets im->spool_end. */
int wsl_import_journal_open(struct import *im, struct wsl_err *err);
void wsl_import_journal_close(struct journal *journal); /* NULL is fine */
bool wsl_import_journal_has_work(const struct journal *journal);

/* What is known about a place in the source, or NULL. Any thread. */
const struct image_note *wsl_import_journal_find(const struct journal *journal, uint64_t key);
const char *wsl_import_journal_detail(const struct journal *journal, const struct image_note *note);

/* Any thread. Once it returns, the death of the process does not undo it. */
int wsl_import_journal_add_image(struct import *im, const struct item *item, uint64_t stamp,
                                 struct wsl_err *err);
int wsl_import_journal_add_shard(struct import *im, uint64_t plan,
                                 const struct wsl_shard_entry *entry, struct wsl_err *err);

/* The entry of a finished shard, or NULL. `plan` is a hash over what goes into it. */
const struct wsl_shard_entry *wsl_import_journal_find_shard(const struct journal *journal,
                                                            const char *file, uint64_t plan);

/* ---- the stages ---- */

int wsl_import_list(struct import *im, struct wsl_err *err);
int wsl_import_decode(struct import *im, struct wsl_err *err);
int wsl_import_plan(struct import *im, struct wsl_err *err);
int wsl_import_write(struct import *im, struct wsl_err *err);

#endif
