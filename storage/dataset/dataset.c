/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens the files of a data set, or of a view and what it refers to, and finds a record by its
 * index. What may raise SIGBUS runs under the guard.
 */
#include "storage/dataset/dataset.h"

#include "base/crc32c.h"
#include "storage/dataset/dataset_info.h"
#include "storage/dataset/external_file.h"
#include "storage/dataset/record.h"
#include "storage/dataset/shard.h"
#include "storage/dataset/sigbus_guard.h"
#include "storage/dataset/tag_table.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { DEPTH_MAX = 8 };

struct split {
    struct wsl_shard **shards;
    uint64_t *first; /* index of each shard's first record; shard_count + 1 of them */
    size_t shard_count;
};

struct wsl_dataset {
    struct wsl_dataset_info info;
    struct split splits[2];
    struct wsl_dataset *base;        /* of a view, with the tables in place of the splits */
    struct wsl_tag_table *tables[2]; /* NULL: that split is empty */
    struct wsl_external_files *external_files; /* in place; NULL: in the shards */
    uintptr_t page_size;
};

static const char *split_name(enum wsl_split split)
{
    return split == WSL_SPLIT_TRAIN ? "train" : "heldout";
}

static int open_split(struct split *split, const struct wsl_split_info *info, const char *directory,
                      struct wsl_err *err)
{
    split->shards = calloc(info->shard_count + 1, sizeof *split->shards);
    split->first = calloc(info->shard_count + 1, sizeof *split->first);
    if (!split->shards || !split->first)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the shards of %s", directory);
    for (size_t i = 0; i < info->shard_count; i++) {
        int r = wsl_shard_open(&split->shards[i], directory, &info->shards[i], err);

        if (r < 0)
            return r;
        split->shard_count = i + 1;
        split->first[i + 1] = split->first[i] + info->shards[i].images;
    }
    return 0;
}

static int open_any(struct wsl_dataset **ret, const char *directory, int depth,
                    struct wsl_err *err);

static int open_table(struct wsl_dataset *ds, enum wsl_split which, const char *directory,
                      struct wsl_err *err)
{
    const struct wsl_split_info *info = &ds->info.splits[which];
    int r;

    if (info->shard_count == 0)
        return 0;
    r = wsl_tag_table_open(&ds->tables[which], directory, &info->shards[0], err);
    if (r == 0 && (wsl_tag_table_base(ds->tables[which]) != wsl_dataset_count(ds->base, which) ||
                   wsl_tag_table_limit(ds->tables[which]) != ds->info.tag_count))
        r = wsl_fail(err, WSL_ECORRUPT, "%s in %s belongs to another data set",
                     info->shards[0].file, directory);
    return r;
}

static int open_view(struct wsl_dataset *ds, const char *directory, int depth, struct wsl_err *err)
{
    int r;

    if (depth >= DEPTH_MAX)
        return wsl_fail(err, WSL_ELIMIT, "%s is a view of a view ... more than %d deep", directory,
                        DEPTH_MAX);
    r = open_any(&ds->base, ds->info.base, depth + 1, err);
    if (r < 0) {
        wsl_err_prefix(err, "%s is a view", directory);
        return r;
    }
    if (strcmp(ds->base->info.fingerprint, ds->info.base_fingerprint) != 0)
        return wsl_fail(err, WSL_ECORRUPT,
                        "%s is a view of %s as it was with fingerprint %s, now it has %s: make the "
                        "view anew",
                        directory, ds->info.base, ds->info.base_fingerprint,
                        ds->base->info.fingerprint);
    for (int s = 0; r == 0 && s < 2; s++)
        r = open_table(ds, (enum wsl_split)s, directory, err);
    return r;
}

static int open_any(struct wsl_dataset **ret, const char *directory, int depth, struct wsl_err *err)
{
    struct wsl_dataset *ds = calloc(1, sizeof *ds);
    int r;

    if (!ds)
        return wsl_fail(err, WSL_ENOMEM, "no memory for data set %s", directory);
    ds->page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    r = wsl_dataset_info_load(&ds->info, directory, err);
    if (r == 0 && ds->info.base)
        r = open_view(ds, directory, depth, err);
    if (r == 0 && ds->info.external_file_count > 0)
        r = wsl_external_files_open(&ds->external_files, ds->info.external_files,
                                    ds->info.external_file_count, err);
    for (int s = 0; r == 0 && s < 2 && !ds->info.base; s++)
        r = open_split(&ds->splits[s], &ds->info.splits[s], directory, err);
    if (r < 0) {
        wsl_dataset_close(ds);
        return r;
    }
    *ret = ds;
    return 0;
}

int wsl_dataset_open(struct wsl_dataset **ret, const char *directory, struct wsl_err *err)
{
    return open_any(ret, directory, 0, err);
}

void wsl_dataset_close(struct wsl_dataset *ds)
{
    if (!ds)
        return;
    for (int s = 0; s < 2; s++) {
        for (size_t i = 0; i < ds->splits[s].shard_count; i++)
            wsl_shard_close(ds->splits[s].shards[i]);
        free(ds->splits[s].shards);
        free(ds->splits[s].first);
        wsl_tag_table_close(ds->tables[s]);
    }
    wsl_dataset_close(ds->base);
    wsl_external_files_close(ds->external_files);
    wsl_dataset_info_free(&ds->info);
    free(ds);
}

const char *wsl_dataset_name(const struct wsl_dataset *ds)
{
    return ds->info.name;
}

const char *wsl_dataset_kind(const struct wsl_dataset *ds)
{
    return ds->info.kind;
}

const char *wsl_dataset_created(const struct wsl_dataset *ds)
{
    return ds->info.created;
}

const char *wsl_dataset_fingerprint(const struct wsl_dataset *ds)
{
    return ds->info.fingerprint;
}

size_t wsl_dataset_shard_count(const struct wsl_dataset *ds, enum wsl_split split)
{
    return ds->base ? wsl_dataset_shard_count(ds->base, split) : ds->splits[split].shard_count;
}

const char *wsl_dataset_base(const struct wsl_dataset *ds)
{
    return ds->info.base;
}

const char *wsl_dataset_external_file(const struct wsl_dataset *ds)
{
    if (ds->base)
        return wsl_dataset_external_file(ds->base);
    return ds->info.external_file_count > 0 ? ds->info.external_files[0].path : NULL;
}

const uint32_t *wsl_dataset_by_rarest(const struct wsl_dataset *ds, enum wsl_split split,
                                      const uint64_t **ret_counts)
{
    return ds->tables[split] ? wsl_tag_table_by_rarest(ds->tables[split], ret_counts) : NULL;
}

uint64_t wsl_dataset_bytes(const struct wsl_dataset *ds, enum wsl_split split)
{
    const struct wsl_split_info *info = &ds->info.splits[split];
    uint64_t sum = 0;

    for (size_t i = 0; i < info->shard_count; i++)
        sum += info->shards[i].bytes;
    return ds->base ? sum + wsl_dataset_bytes(ds->base, split) : sum;
}

uint64_t wsl_dataset_count(const struct wsl_dataset *ds, enum wsl_split split)
{
    return ds->info.splits[split].images;
}

size_t wsl_dataset_tag_count(const struct wsl_dataset *ds)
{
    return ds->info.tag_count;
}

const struct wsl_tag *wsl_dataset_tag(const struct wsl_dataset *ds, size_t id)
{
    assert(id < ds->info.tag_count);
    return &ds->info.tags[id];
}

/* ---- reading ---- */

/* Where a record lies, and what the guarded work makes of it. */
struct place {
    const char *file;
    uint64_t in_shard;
    const uint8_t *bytes;
    size_t size;
    size_t tag_limit;
    const struct wsl_external_files *external_files;
    struct wsl_record *record; /* of a whole read */
    uint32_t *tags;            /* of a read of the tags */
    int *tag_count;
    const char *fault;
};

/* index is below the count of images. */
static void find_place(const struct wsl_dataset *ds, enum wsl_split which, uint64_t index,
                       struct place *ret)
{
    const struct split *split = &ds->splits[which];
    size_t low = 0, high = split->shard_count;

    memset(ret, 0, sizeof *ret);
    while (high - low > 1) { /* first[low] <= index < first[high] */
        size_t middle = low + (high - low) / 2;

        if (split->first[middle] <= index)
            low = middle;
        else
            high = middle;
    }
    ret->file = wsl_shard_file(split->shards[low]);
    ret->in_shard = index - split->first[low];
    ret->bytes = wsl_shard_value(split->shards[low], ret->in_shard, &ret->size);
    ret->tag_limit = ds->info.tag_count;
    ret->external_files = ds->external_files;
}

/* One request for the whole record instead of a fault for each of its pages: 5 times faster from a
 * cold disk. */
static void prefetch_bytes(const struct wsl_dataset *ds, const uint8_t *bytes, size_t size)
{
    uintptr_t start = (uintptr_t)bytes & ~(ds->page_size - 1);

    madvise((void *)start, (uintptr_t)bytes + size - start, MADV_WILLNEED);
}

static void parse(void *context)
{
    struct place *place = context;

    place->fault = wsl_external_files_parse_record(place->external_files, place->bytes, place->size,
                                                   place->tag_limit, place->record);
}

static void parse_tags(void *context)
{
    struct place *place = context;

    place->fault = wsl_record_parse_tags(place->bytes, place->size, place->tag_limit, place->tags,
                                         place->tag_count);
}

static int guarded(void (*work)(void *), struct place *place, struct wsl_err *err)
{
    if (!wsl_sigbus_guard_run(work, place))
        return wsl_fail(err, WSL_EIO,
                        "shard %s shrank, or the disk cannot read it, at record %llu: restore the "
                        "file",
                        place->file, (unsigned long long)place->in_shard);
    if (place->fault)
        return wsl_fail(err, WSL_ECORRUPT, "shard %s, record %llu: %s", place->file,
                        (unsigned long long)place->in_shard, place->fault);
    return 0;
}

static int check_index(const struct wsl_dataset *ds, enum wsl_split split, uint64_t index,
                       struct wsl_err *err)
{
    if (index < ds->info.splits[split].images)
        return 0;
    return wsl_fail(err, WSL_EINVAL, "record %llu of %s: the split has %llu",
                    (unsigned long long)index, split_name(split),
                    (unsigned long long)ds->info.splits[split].images);
}

static int read_viewed(struct wsl_dataset *ds, enum wsl_split split, uint64_t index,
                       struct wsl_record *ret, struct wsl_err *err)
{
    uint32_t tags[WSL_RECORD_TAGS_MAX];
    uint64_t below;
    int count, r;

    r = wsl_tag_table_read(ds->tables[split], index, &below, tags, &count, err);
    if (r == 0)
        r = wsl_dataset_read(ds->base, split, below, ret, err);
    if (r < 0)
        return r;
    memcpy(ret->tags, tags, (size_t)count * sizeof *tags);
    ret->tag_count = count;
    return 0;
}

int wsl_dataset_read(struct wsl_dataset *ds, enum wsl_split split, uint64_t index,
                     struct wsl_record *ret, struct wsl_err *err)
{
    struct place place;
    int r = check_index(ds, split, index, err);

    if (r < 0)
        return r;
    if (ds->base)
        return read_viewed(ds, split, index, ret, err);
    find_place(ds, split, index, &place);
    place.record = ret;
    if (!ds->external_files)
        prefetch_bytes(ds, place.bytes, place.size);
    r = guarded(parse, &place, err);
    if (r == 0 && ret->external_file)
        prefetch_bytes(ds, ret->jpeg, ret->jpeg_size);
    ret->shard = place.file;
    ret->in_shard = place.in_shard;
    return r;
}

void wsl_dataset_prefetch(struct wsl_dataset *ds, enum wsl_split split, uint64_t index)
{
    struct wsl_record record;
    struct place place;
    uint64_t below;

    if (check_index(ds, split, index, NULL) < 0)
        return;
    if (ds->base) {
        if (wsl_tag_table_read(ds->tables[split], index, &below, NULL, NULL, NULL) == 0)
            wsl_dataset_prefetch(ds->base, split, below);
        return;
    }
    find_place(ds, split, index, &place);
    if (!ds->external_files) {
        prefetch_bytes(ds, place.bytes, place.size);
        return;
    }
    /* A record without its image lies in a page that opening the shard has read. */
    place.record = &record;
    if (guarded(parse, &place, NULL) == 0 && record.external_file)
        prefetch_bytes(ds, record.jpeg, record.jpeg_size);
}

int wsl_dataset_read_tags(struct wsl_dataset *ds, enum wsl_split split, uint64_t index,
                          uint32_t ret_tags[64], int *ret_count, struct wsl_err *err)
{
    struct place place;
    int r = check_index(ds, split, index, err);

    if (r < 0)
        return r;
    if (ds->base)
        return wsl_tag_table_read(ds->tables[split], index, NULL, ret_tags, ret_count, err);
    find_place(ds, split, index, &place);
    place.tags = ret_tags;
    place.tag_count = ret_count;
    return guarded(parse_tags, &place, err);
}

/* ---- checking ---- */

struct check {
    const uint8_t *bytes;
    size_t size;
    uint8_t *copy; /* or NULL */
    uint32_t crc;
};

static void check_bytes(void *context)
{
    struct check *check = context;

    if (check->copy)
        memcpy(check->copy, check->bytes, check->size);
    check->crc = wsl_crc32c(0, check->copy ? check->copy : check->bytes, check->size);
}

static int fail_unreadable(const struct wsl_record *record, struct wsl_err *err)
{
    if (record->external_file)
        return wsl_fail(err, WSL_EIO,
                        "%s shrank, or the disk cannot read it, at image %s: restore the file",
                        record->external_file, record->source);
    return wsl_fail(err, WSL_EIO,
                    "shard %s shrank, or the disk cannot read it, at record %llu: restore the file",
                    record->shard, (unsigned long long)record->in_shard);
}

int wsl_record_copy(const struct wsl_record *record, uint8_t *out, struct wsl_err *err)
{
    struct check check = {.bytes = record->jpeg, .size = record->jpeg_size, .copy = out};

    if (!wsl_sigbus_guard_run(check_bytes, &check))
        return fail_unreadable(record, err);
    if (check.crc != record->crc32c && record->external_file)
        return wsl_fail(err, WSL_ECORRUPT,
                        "%s changed since it was imported in place: image %s has CRC %08x, its "
                        "record says %08x",
                        record->external_file, record->source, check.crc, record->crc32c);
    if (check.crc != record->crc32c)
        return wsl_fail(err, WSL_ECORRUPT, "image %s has CRC %08x, its record says %08x",
                        record->source, check.crc, record->crc32c);
    return 0;
}

int wsl_record_check(const struct wsl_record *record, struct wsl_err *err)
{
    return wsl_record_copy(record, NULL, err);
}
