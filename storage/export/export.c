/* SPDX-License-Identifier: Apache-2.0
 *
 * Records as files of a directory, or as members of a tar (POSIX.1-1988 ustar, pax(1)).
 */
#include "storage/export/export.h"

#include "base/file.h"
#include "storage/dataset/staging_dir.h"

#include <assert.h>
#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 512 };

#define TAR "tar" /* the name of one in the staging directory */

struct job {
    const struct wsl_export_setup *setup;
    struct wsl_export_result *result;
    bool labels;
    struct wsl_staging_dir staging;
    FILE *tar;      /* of that form */
    FILE *manifest; /* of a directory of tags, for the current split */
    uint8_t *jpeg;  /* the current image */
    size_t capacity;
    uint64_t done, total;
};

static const char *const split_names[2] = {"train", "heldout"};

static int copy_jpeg(struct job *x, const struct wsl_record *record, struct wsl_err *err)
{
    if (record->jpeg_size > x->capacity) {
        uint8_t *more = realloc(x->jpeg, record->jpeg_size);

        if (!more)
            return wsl_fail(err, WSL_ENOMEM, "no memory for an image");
        x->jpeg = more;
        x->capacity = record->jpeg_size;
    }
    return wsl_record_copy(record, x->jpeg, err);
}

static const char *tag_name(const struct job *x, const struct wsl_record *record, int i)
{
    return wsl_dataset_tag(x->setup->dataset, record->tags[i])->name;
}

/* ---- tar ---- */

static int put(struct job *x, const void *bytes, size_t size, struct wsl_err *err)
{
    if (size > 0 && fwrite(bytes, 1, size, x->tar) != size)
        return wsl_fail_errno(err, "cannot write %s", x->staging.directory);
    return 0;
}

static int put_member(struct job *x, const char *name, const void *bytes, size_t size,
                      struct wsl_err *err)
{
    static const char zeros[BLOCK];
    char head[BLOCK] = {0};
    unsigned sum = 0;
    int r;

    snprintf(head, 100, "%s", name);
    memcpy(head + 100, "0000644", 8);
    memcpy(head + 108, "0000000", 8);
    memcpy(head + 116, "0000000", 8);
    snprintf(head + 124, 12, "%011llo", (unsigned long long)size);
    memcpy(head + 136, "00000000000", 12); /* no time: the same data set, the same bytes */
    memset(head + 148, ' ', 8);
    head[156] = '0';
    memcpy(head + 257, "ustar\00000", 8);
    for (int i = 0; i < BLOCK; i++)
        sum += (unsigned char)head[i];
    snprintf(head + 148, 8, "%06o", sum);
    r = put(x, head, BLOCK, err);
    if (r == 0)
        r = put(x, bytes, size, err);
    return r == 0 ? put(x, zeros, (BLOCK - size % BLOCK) % BLOCK, err) : r;
}

static char *describe(const struct job *x, const struct wsl_record *record)
{
    json_t *names = json_array(), *ids = json_array(), *object;
    char *text;

    for (int i = 0; i < record->tag_count; i++) {
        json_array_append_new(names, json_string(tag_name(x, record, i)));
        json_array_append_new(ids, json_integer((json_int_t)record->tags[i]));
    }
    object = json_pack("{so so ss si si}", "tags", names, "ids", ids, "source", record->source,
                       "width", record->width, "height", record->height);
    if (object && x->labels && record->tag_count > 0)
        json_object_set_new(object, "label", json_string(tag_name(x, record, 0)));
    text = object ? json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER) : NULL;
    json_decref(object);
    return text;
}

static int put_record(struct job *x, uint64_t index, const struct wsl_record *record,
                      struct wsl_err *err)
{
    char name[40], class[16];
    char *text = describe(x, record);
    int r;

    if (!text)
        return wsl_fail(err, WSL_ENOMEM, "no memory, or a source that is not UTF-8, at record %llu",
                        (unsigned long long)index);
    snprintf(name, sizeof name, "%08llu.jpg", (unsigned long long)index);
    r = put_member(x, name, x->jpeg, record->jpeg_size, err);
    memcpy(strchr(name, '.'), ".json", 6);
    if (r == 0)
        r = put_member(x, name, text, strlen(text), err);
    free(text);
    if (r == 0 && x->labels && record->tag_count > 0) {
        snprintf(class, sizeof class, "%u", record->tags[0]);
        memcpy(strchr(name, '.'), ".cls", 5);
        r = put_member(x, name, class, strlen(class), err);
    }
    return r;
}

/* ---- directory ---- */

static int write_file(const char *path, const void *bytes, size_t size, struct wsl_err *err)
{
    FILE *file = fopen(path, "wbe");
    bool ok;

    if (!file)
        return wsl_fail_errno(err, "cannot make %s", path);
    ok = fwrite(bytes, 1, size, file) == size;
    if (fclose(file) != 0 || !ok)
        return wsl_fail_errno(err, "cannot write %s", path);
    return 0;
}

static int add_line(struct job *x, const char *file, const struct wsl_record *record,
                    struct wsl_err *err)
{
    fprintf(x->manifest, "%s\t", file);
    for (int i = 0; i < record->tag_count; i++) {
        if (i > 0)
            fputc(',', x->manifest);
        for (const char *p = tag_name(x, record, i); *p; p++)
            fputc(*p == ',' ? ' ' : *p, x->manifest);
    }
    fputc('\n', x->manifest);
    return ferror(x->manifest)
               ? wsl_fail_errno(err, "cannot write a manifest in %s", x->staging.directory)
               : 0;
}

static int save_record(struct job *x, enum wsl_split split, uint64_t index,
                       const struct wsl_record *record, struct wsl_err *err)
{
    char path[PATH_MAX], label[256] = "";
    int n, r = 0;

    if (x->labels && record->tag_count > 0) {
        snprintf(label, sizeof label, "%s/", tag_name(x, record, 0));
        for (char *p = label; p[1]; p++)
            *p = *p == '/' || (p == label && *p == '.') ? '_' : *p;
        n = snprintf(path, sizeof path, "%s/%s/%s", x->staging.directory, split_names[split],
                     label);
        r = n < (int)sizeof path ? wsl_file_make_directories(path, err) : WSL_ELIMIT;
    }
    n = snprintf(path, sizeof path, "%s/%s/%s%08llu.jpg", x->staging.directory, split_names[split],
                 label, (unsigned long long)index);
    if (n >= (int)sizeof path)
        return wsl_fail(err, WSL_ELIMIT, "path too long: %.100s", x->staging.directory);
    if (r == 0)
        r = write_file(path, x->jpeg, record->jpeg_size, err);
    if (r == 0 && x->manifest)
        r = add_line(x, path + strlen(x->staging.directory) + 1, record, err);
    return r;
}

static int begin_split(struct job *x, enum wsl_split split, struct wsl_err *err)
{
    char path[PATH_MAX];
    int n, r;

    if (x->tar)
        return 0;
    n = snprintf(path, sizeof path, "%s/%s", x->staging.directory, split_names[split]);
    if (n + 4 >= (int)sizeof path)
        return wsl_fail(err, WSL_ELIMIT, "path too long: %.100s", x->staging.directory);
    r = wsl_file_make_directories(path, err);
    if (r < 0 || x->labels)
        return r;
    strcat(path, ".tsv");
    x->manifest = fopen(path, "we");
    return x->manifest ? 0 : wsl_fail_errno(err, "cannot make %s", path);
}

static int end_split(struct job *x, int r, struct wsl_err *err)
{
    FILE *manifest = x->manifest;

    x->manifest = NULL;
    if (manifest && fclose(manifest) != 0 && r == 0)
        r = wsl_fail_errno(err, "cannot write a manifest in %s", x->staging.directory);
    return r;
}

/* ---- the whole ---- */

static int export_split(struct job *x, enum wsl_split split, struct wsl_err *err)
{
    const struct wsl_export_setup *s = x->setup;
    int r = begin_split(x, split, err);

    for (uint64_t i = 0; r == 0 && i < wsl_dataset_count(s->dataset, split); i++) {
        struct wsl_record record;

        if (s->cancel && atomic_load(s->cancel))
            r = wsl_fail(err, WSL_ECANCELLED, "the export to %s was cancelled", s->output);
        if (r == 0)
            r = wsl_dataset_read(s->dataset, split, i, &record, err);
        if (r == 0)
            r = copy_jpeg(x, &record, err);
        if (r == 0)
            r = x->tar ? put_record(x, i, &record, err) : save_record(x, split, i, &record, err);
        x->result->images += r == 0;
        x->result->bytes += r == 0 ? record.jpeg_size : 0;
        if (r == 0 && s->progress)
            s->progress(s->context, ++x->done, x->total);
    }
    return end_split(x, r, err);
}

static int open_output(struct job *x, struct wsl_err *err)
{
    char path[PATH_MAX];
    int r = wsl_staging_dir_set(&x->staging, x->setup->output, err);

    if (r < 0)
        return r;
    r = wsl_staging_dir_check(&x->staging, err);
    if (r < 0) {
        if (x->setup->form == WSL_EXPORT_TAR)
            wsl_staging_dir_remove_published(&x->staging, TAR);
        return r;
    }
    r = wsl_staging_dir_open(&x->staging, "export", err);
    if (r == 0) /* what a killed export left */
        r = wsl_staging_dir_clear(&x->staging, NULL, err);
    if (r < 0 || x->setup->form != WSL_EXPORT_TAR)
        return r;
    r = wsl_file_join(path, sizeof path, x->staging.directory, TAR);
    assert(r == 0); /* staging left room */
    x->tar = fopen(path, "wbe");
    return x->tar ? 0 : wsl_fail_errno(err, "cannot make %s", path);
}

/* Two blocks of zeros end a tar. */
static int close_tar(struct job *x, int r, struct wsl_err *err)
{
    static const char zeros[2 * BLOCK];
    FILE *tar = x->tar;

    if (!tar)
        return r;
    if (r == 0)
        r = put(x, zeros, sizeof zeros, err);
    if (r == 0 && (fflush(tar) != 0 || fsync(fileno(tar)) < 0))
        r = wsl_fail_errno(err, "cannot write %s", x->staging.directory);
    fclose(tar); /* what it had to write is written */
    return r;
}

/* A directory's files, which may be many, are synced together. */
static int publish(struct job *x, struct wsl_err *err)
{
    int r;

    if (x->setup->form == WSL_EXPORT_TAR)
        return wsl_staging_dir_publish(&x->staging, TAR, err);
    r = wsl_staging_dir_sync(&x->staging, err);
    return r < 0 ? r : wsl_staging_dir_publish(&x->staging, NULL, err);
}

static int run(struct job *x, struct wsl_err *err)
{
    int r = open_output(x, err);

    for (int s = 0; r == 0 && s < 2; s++)
        if (x->setup->splits & 1 << s)
            r = export_split(x, (enum wsl_split)s, err);
    r = close_tar(x, r, err);
    if (r == 0)
        r = publish(x, err);
    wsl_staging_dir_discard(&x->staging);
    free(x->jpeg);
    return r;
}

int wsl_export(const struct wsl_export_setup *setup, struct wsl_export_result *ret,
               struct wsl_err *err)
{
    struct job x = {.setup = setup,
                    .result = ret,
                    .labels = strcmp(wsl_dataset_kind(setup->dataset), "labels") == 0};

    memset(ret, 0, sizeof *ret);
    if (setup->form == WSL_EXPORT_TAR && setup->splits != 1 << WSL_SPLIT_TRAIN &&
        setup->splits != 1 << WSL_SPLIT_HELDOUT)
        return wsl_fail(err, WSL_EINVAL, "a tar holds one split");
    for (int s = 0; s < 2; s++)
        if (setup->splits & 1 << s)
            x.total += wsl_dataset_count(setup->dataset, (enum wsl_split)s);
    return run(&x, err);
}
