/* SPDX-License-Identifier: Apache-2.0
 *
 * dataset.json: what names the shards, tags and counts of a data set. */
#include "storage/dataset/dataset_info.h"
#include "tests/fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct wsl_dataset_info info;
    struct wsl_err err = {0};
    int r;

    fuzz_write(fuzz_folder(), WSL_DATASET_FILE, bytes, size);
    r = wsl_dataset_info_load(&info, fuzz_folder(), &err);
    fuzz_check_line(r, &err);
    for (int s = 0; r == 0 && s < 2; s++)
        for (size_t i = 0; i < info.splits[s].shard_count; i++)
            if (strchr(info.splits[s].shards[i].file, '/'))
                abort();
    if (r == 0)
        wsl_dataset_info_free(&info);
    return 0;
}

static char *text_of(const char *format, int number)
{
    char *text;

    if (asprintf(&text, format, number) < 0)
        abort();
    return text;
}

bool fuzz_real_input(int number, struct wsl_buf *ret)
{
    struct wsl_dataset_info info = {.kind = number % 2 ? "tags" : "labels"};
    json_t *source = json_pack("{ss}", "path", "/data/pictures.tsv");
    char path[512];
    FILE *f;
    int c;

    if (number >= 4) {
        json_decref(source);
        return false;
    }
    info.name = strdup("pictures");
    info.created = strdup("2018-05-02T10:11:12.345Z");
    info.tag_count = (size_t)(2 + number * 3);
    info.tags = calloc(info.tag_count, sizeof *info.tags);
    for (size_t i = 0; i < info.tag_count; i++)
        info.tags[i] = (struct wsl_tag){
            .name = text_of("tag%d", (int)i), .synset = text_of("n%08d", (int)i), .train = i + 1};
    for (int s = 0; s < 2; s++) {
        struct wsl_split_info *split = &info.splits[s];

        split->shard_count = (size_t)(1 + number);
        split->shards = calloc(split->shard_count, sizeof *split->shards);
        for (size_t i = 0; i < split->shard_count; i++) {
            struct wsl_shard_entry *e = &split->shards[i];

            snprintf(e->file, sizeof e->file, "shard-%05d.lmdb", (int)i + 10 * s);
            snprintf(e->fingerprint, sizeof e->fingerprint, "%032d", (int)i + 1);
            e->images = 1000 + i;
            e->bytes = 1 << 20;
            split->images += e->images;
        }
    }
    if (number % 2) {
        info.external_file_count = (size_t)number;
        info.external_files = calloc(info.external_file_count, sizeof *info.external_files);
    }
    for (size_t i = 0; i < info.external_file_count; i++) {
        info.external_files[i].path = text_of("/data/%d.mdb", (int)i);
        info.external_files[i].bytes = 1 << 20;
        memset(info.external_files[i].fingerprint, 'a', 32);
    }
    if (wsl_dataset_info_save(&info, fuzz_folder(), source, NULL) < 0)
        abort();
    wsl_dataset_info_free(&info);
    json_decref(source);
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), WSL_DATASET_FILE);
    f = fopen(path, "r");
    while ((c = fgetc(f)) != EOF)
        if (wsl_buf_add(ret, &(char){(char)c}, 1) < 0)
            abort();
    fclose(f);
    return true;
}
