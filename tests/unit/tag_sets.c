/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/tag_sets.h"

#include "base/crc32c.h"
#include "base/file.h"
#include "storage/dataset/dataset_info.h"
#include "storage/dataset/shard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void add_record(struct wsl_shard_writer *w, const struct tag_set *set, uint64_t record,
                       uint64_t *counts)
{
    Wsl__V1__ImageRecord r = WSL__V1__IMAGE_RECORD__INIT;
    uint32_t tags[64];
    char source[40], jpeg[64];
    struct wsl_err err;

    snprintf(source, sizeof source, "picture-%llu", (unsigned long long)record);
    r.jpeg.len =
        (size_t)snprintf(jpeg, sizeof jpeg, "no JPEG, of picture %llu", (unsigned long long)record);
    r.jpeg.data = (uint8_t *)jpeg;
    r.crc32c = wsl_crc32c(0, jpeg, r.jpeg.len);
    r.width = 40;
    r.height = 30;
    r.n_tags = set->tags_of(record, tags);
    r.tags = tags;
    r.source = source;
    r.pixel_hash = record;
    if (wsl_shard_writer_add(w, &r, &err) < 0)
        fail_msg("%s", err.text);
    for (size_t i = 0; i < r.n_tags; i++)
        counts[tags[i]]++;
}

static void add_shard(const char *folder, const struct tag_set *set, struct wsl_split_info *split,
                      const char *file, uint64_t first, uint64_t count, uint64_t *counts)
{
    struct wsl_shard_writer *w;
    struct wsl_err err;

    if (count == 0)
        return;
    if (wsl_shard_writer_open(&w, folder, file, 1 << 20, &err) < 0)
        fail_msg("%s", err.text);
    for (uint64_t i = first; i < first + count; i++)
        add_record(w, set, i, counts);
    split->shards = realloc(split->shards, (split->shard_count + 1) * sizeof *split->shards);
    if (wsl_shard_writer_seal(w, &split->shards[split->shard_count++], &err) < 0)
        fail_msg("%s", err.text);
    wsl_shard_writer_close(w);
    split->images += count;
}

void make_tag_set(const char *folder, const struct tag_set *set)
{
    struct wsl_dataset_info info = {.kind = set->kind ? set->kind : "tags"};
    json_t *source = json_pack("{ss}", "path", "made for a test");
    uint64_t *train = calloc(set->tag_count, sizeof *train);
    uint64_t *heldout = calloc(set->tag_count, sizeof *heldout);
    uint64_t half = set->train / 2;

    assert_int_equal(wsl_file_make_directories(folder, NULL), 0);
    info.name = strdup("trial");
    info.created = strdup("2018-05-02T10:11:12.345Z");
    add_shard(folder, set, &info.splits[0], "shard-00000.lmdb", set->first, half, train);
    add_shard(folder, set, &info.splits[0], "shard-00001.lmdb", set->first + half,
              set->train - half, train);
    add_shard(folder, set, &info.splits[1], "shard-00002.lmdb",
              set->first_heldout ? set->first_heldout : 1000000, set->heldout, heldout);
    info.tags = calloc(set->tag_count, sizeof *info.tags);
    info.tag_count = set->tag_count;
    for (size_t t = 0; t < set->tag_count; t++)
        info.tags[t] =
            (struct wsl_tag){strdup(set->tags[t]), strdup(set->synsets ? set->synsets[t] : ""),
                             train[t], heldout[t]};
    assert_int_equal(wsl_dataset_info_save(&info, folder, source, NULL), 0);
    wsl_dataset_info_free(&info);
    json_decref(source);
    free(train);
    free(heldout);
}

struct wsl_dataset *open_set(const char *folder)
{
    struct wsl_dataset *ds;
    struct wsl_err err;

    if (wsl_dataset_open(&ds, folder, &err) < 0)
        fail_msg("%s", err.text);
    return ds;
}
