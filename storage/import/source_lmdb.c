/* SPDX-License-Identifier: Apache-2.0
 *
 * LMDBs that Caffe and Caffe2 train from.
 */
#include "storage/import/caffe_record.h"
#include "storage/import/lmdb_file.h"
#include "storage/import/source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct records {
    struct lmdb_file *file;
    uint32_t container;
    bool ended;
    struct source_names names;
};

enum { LOOK_AHEAD = 4096 };

/* Several numbers in any of the first records: they are tags. A file that cannot be read says so
 * when it is its turn. */
static void set_kind(struct source *s, const char *path)
{
    struct lmdb_file *file;
    struct lmdb_place place;
    struct caffe_record record;

    s->labels = true;
    if (wsl_lmdb_file_open(&file, path, NULL) < 0)
        return;
    for (int i = 0; i < LOOK_AHEAD && s->labels && wsl_lmdb_file_next(file, &place, NULL) == 1; i++)
        if (!wsl_caffe_record_parse(wsl_lmdb_file_descriptor(file), place.offset, place.size,
                                    &record))
            s->labels = record.label_count < 2;
    wsl_lmdb_file_close(file);
}

static int open_records(struct source *s, struct wsl_err *err)
{
    struct records *l = s->state = calloc(1, sizeof *l);
    int r;

    if (!l)
        return wsl_fail(err, WSL_ENOMEM, "no memory for %s", s->setup->source);
    r = wsl_source_names_load(&l->names, s->setup, err);
    if (r == 0)
        r = wsl_lmdb_file_open(&l->file, s->setup->source, err);
    if (r == 0)
        set_kind(s, s->setup->source);
    if (r == 0)
        r = wsl_source_add_container(s, wsl_lmdb_file_path(l->file),
                                     wsl_lmdb_file_descriptor(l->file), &l->container, err);
    return r;
}

static void close_records(struct source *s)
{
    struct records *l = s->state;

    if (!l)
        return;
    wsl_lmdb_file_close(l->file);
    wsl_source_names_free(&l->names);
    free(l);
}

/* A key as text; other bytes than a name's in base 16. */
static void name_record(struct source *s, const struct lmdb_place *place)
{
    bool plain = true;

    for (size_t i = 0; i < place->key_size; i++)
        plain &= place->key[i] > 0x20 && place->key[i] < 0x7f;
    if (plain)
        snprintf(s->path, sizeof s->path, "%.*s", (int)place->key_size, (const char *)place->key);
    else
        for (size_t i = 0; i < place->key_size; i++)
            snprintf(s->path + 2 * i, 3, "%02x", place->key[i]);
}

static int add_labels(struct source *s, struct records *l, const struct caffe_record *record,
                      struct wsl_err *err)
{
    char buffer[24];
    int r = 0;

    for (int i = 0; r == 0 && i < record->label_count; i++) {
        const char *name = buffer;

        if (record->labels[i] < 0)
            snprintf(buffer, sizeof buffer, "%lld", (long long)record->labels[i]);
        else
            name = wsl_source_names_get(&l->names, (uint64_t)record->labels[i], buffer);
        r = wsl_source_add_word(s, name, strlen(name), err);
    }
    return r;
}

static int give(struct source *s, struct records *l, const struct lmdb_place *place,
                struct source_entry *ret, struct wsl_err *err)
{
    struct caffe_record record;
    const char *fault = wsl_caffe_record_parse(wsl_lmdb_file_descriptor(l->file), place->offset,
                                               place->size, &record);
    int r;

    name_record(s, place);
    ret->container = l->container;
    ret->offset = place->offset;
    if (fault)
        return wsl_source_quarantine(s, ret, WSL_QUARANTINE_DAMAGED, "%s", fault);
    ret->offset = record.offset;
    ret->size = record.size;
    ret->form = record.form;
    ret->width = record.width;
    ret->height = record.height;
    if (record.size > SOURCE_IMAGE_MAX)
        return wsl_source_quarantine(s, ret, WSL_QUARANTINE_TOO_LARGE, "over %d MiB",
                                     SOURCE_IMAGE_MAX >> 20);
    if (record.label_count == 0 || (s->labels && record.label_count > 1))
        return wsl_source_quarantine(s, ret, WSL_QUARANTINE_NO_TAGS, "%d labels",
                                     record.label_count);
    r = add_labels(s, l, &record, err);
    return r < 0 ? r : 1;
}

static int next_record(struct source *s, struct source_entry *ret, struct wsl_err *err)
{
    struct records *l = s->state;
    struct lmdb_place place;
    struct wsl_err mine;
    int r;

    if (l->ended)
        return 0;
    r = wsl_lmdb_file_next(l->file, &place, &mine);
    if (r == 1)
        return give(s, l, &place, ret, err);
    l->ended = true;
    if (r == 0)
        return 0;
    if (r == WSL_ENOMEM)
        return wsl_fail(err, r, "%s", mine.text);
    snprintf(s->path, sizeof s->path, "%s", wsl_lmdb_file_path(l->file));
    return wsl_source_quarantine(s, ret, WSL_QUARANTINE_CONTAINER, "%.180s", mine.text);
}

const struct source_ops wsl_source_lmdb = {
    .word = "lmdb", .open = open_records, .next = next_record, .close = close_records};
