/* SPDX-License-Identifier: Apache-2.0
 *
 * The steps of making a data set in its staging directory, in the order in which a caller takes
 * them: open, records or tables, dataset.json, publish.
 */
#include "storage/dataset/dataset_writer.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int set_name(struct wsl_dataset_writer *w, const char *name, struct wsl_err *err)
{
    if (!name || !*name)
        name = wsl_staging_dir_name(&w->staging);
    if (!wsl_utf8_is_clean(name, strlen(name)) || strlen(name) > 255)
        return wsl_fail(err, WSL_EINVAL,
                        "name: must be UTF-8 without control characters, of at most 255 bytes");
    w->info.name = strdup(name);
    return w->info.name ? 0 : wsl_fail(err, WSL_ENOMEM, "no memory for a name");
}

int wsl_dataset_writer_open(struct wsl_dataset_writer *w, const char *output, const char *name,
                            const char *kind, struct wsl_err *err)
{
    int r;

    memset(w, 0, sizeof *w);
    w->shard_bytes = (uint64_t)1 << 30;
    w->info.kind = kind;
    r = wsl_staging_dir_set(&w->staging, output, err);
    if (r == 0)
        r = wsl_staging_dir_check(&w->staging, err);
    if (r == 0)
        r = set_name(w, name, err);
    if (r == 0)
        r = wsl_staging_dir_open(&w->staging, "process", err);
    if (r == 0) /* what a killed writer left */
        r = wsl_staging_dir_clear(&w->staging, NULL, err);
    if (r < 0)
        wsl_dataset_writer_close(w);
    return r;
}

/* ---- contents ---- */

static int keep_entry(struct wsl_dataset_writer *w, enum wsl_split split,
                      const struct wsl_shard_entry *entry, struct wsl_err *err)
{
    struct wsl_split_info *info = &w->info.splits[split];
    struct wsl_shard_entry *more =
        realloc(info->shards, (info->shard_count + 1) * sizeof *info->shards);

    if (!more)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the list of shards");
    info->shards = more;
    more[info->shard_count++] = *entry;
    info->images += entry->images;
    return 0;
}

static int seal(struct wsl_dataset_writer *w, struct wsl_err *err)
{
    struct wsl_shard_entry entry;
    int r;

    if (!w->shard_writer)
        return 0;
    r = wsl_shard_writer_seal(w->shard_writer, &entry, err);
    wsl_shard_writer_close(w->shard_writer);
    w->shard_writer = NULL;
    return r < 0 ? r : keep_entry(w, (enum wsl_split)w->split, &entry, err);
}

static int open_writer(struct wsl_dataset_writer *w, enum wsl_split split, struct wsl_err *err)
{
    char file[64];
    int r = 0;

    if (w->shard_writer && (w->split != (int)split || wsl_shard_writer_is_full(w->shard_writer)))
        r = seal(w, err);
    if (r < 0 || w->shard_writer)
        return r;
    snprintf(file, sizeof file, "shard-%05zu.lmdb", w->shards++);
    w->split = (int)split;
    return wsl_shard_writer_open(&w->shard_writer, w->staging.directory, file, w->shard_bytes, err);
}

int wsl_dataset_writer_add(struct wsl_dataset_writer *w, enum wsl_split split,
                           const struct wsl_record *from, const uint32_t *tags, int count,
                           struct wsl_err *err)
{
    Wsl__V1__ImageRecord record = WSL__V1__IMAGE_RECORD__INIT;
    uint8_t *copy = malloc(from->jpeg_size);
    int r = copy ? wsl_record_copy(from, copy, err)
                 : wsl_fail(err, WSL_ENOMEM, "no memory for an image");

    if (r == 0)
        r = open_writer(w, split, err);
    record.crc32c = from->crc32c;
    record.width = (uint32_t)from->width;
    record.height = (uint32_t)from->height;
    record.n_tags = (size_t)count;
    record.tags = (uint32_t *)tags; /* packing only reads */
    record.source = (char *)from->source;
    record.pixel_hash = from->pixel_hash;
    record.jpeg.data = copy;
    record.jpeg.len = from->jpeg_size;
    if (r == 0)
        r = wsl_shard_writer_add(w->shard_writer, &record, err);
    free(copy);
    return r;
}

int wsl_dataset_writer_add_table(struct wsl_dataset_writer *w, enum wsl_split split,
                                 const struct wsl_tag_table_builder *table, uint64_t base,
                                 struct wsl_err *err)
{
    uint64_t *images = calloc(w->info.tag_count + 1, sizeof *images);
    const struct wsl_tag_table_target target = {
        .directory = w->staging.directory,
        .file = split == WSL_SPLIT_TRAIN ? "train.tags" : "heldout.tags",
        .base = base,
        .images = images,
        .limit = w->info.tag_count,
    };
    struct wsl_shard_entry entry;
    int r;

    if (!images)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the tags");
    for (size_t t = 0; t < w->info.tag_count; t++)
        images[t] = w->info.tags[t].train;
    r = wsl_tag_table_write(table, &target, &entry, err);
    free(images);
    return r < 0 ? r : keep_entry(w, split, &entry, err);
}

/* ---- the end ---- */

int wsl_dataset_writer_finish(struct wsl_dataset_writer *w, json_t *source, struct wsl_err *err)
{
    char now[WSL_CLOCK_TEXT_SIZE];
    int r = seal(w, err);

    if (r < 0)
        return r;
    wsl_clock_text(wsl_clock_wall_ms(), now);
    w->info.created = strdup(now);
    if (!w->info.created || !source)
        return wsl_fail(err, WSL_ENOMEM, "no memory for " WSL_DATASET_FILE);
    r = wsl_dataset_info_save(&w->info, w->staging.directory, source, err);
    return r < 0 ? r : wsl_staging_dir_publish(&w->staging, NULL, err);
}

void wsl_dataset_writer_close(struct wsl_dataset_writer *w)
{
    wsl_shard_writer_close(w->shard_writer);
    wsl_staging_dir_discard(&w->staging);
    wsl_dataset_info_free(&w->info);
    memset(w, 0, sizeof *w);
    w->staging.lock = -1;
}
