/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads and writes dataset.json. Whatever another program may have put there is checked field by
 * field: sizes and names from it decide what is opened and how much memory is taken.
 */
#include "storage/dataset/dataset_info.h"

#include "base/file.h"
#include "base/text_input.h"
#include "proto/json_print.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

/* A view is unknown to readers of the first format, images in place to those of the second. */
enum {
    FORMAT = 1,
    FORMAT_VIEW = 2,
    FORMAT_EXTERNAL = 3,
    FILE_LIMIT = 256 << 20,
    LIST_LIMIT = 1 << 20,
    TEXT_LIMIT = 4096
};

static const char *const split_names[2] = {"train", "heldout"};

/* ---- fingerprint ---- */

static void add_text(XXH3_state_t *hash, const char *text)
{
    XXH3_128bits_update(hash, text, strlen(text) + 1);
}

static int set_fingerprint(const struct wsl_dataset_info *info, char ret_text[33],
                           struct wsl_err *err)
{
    XXH3_state_t *hash = XXH3_createState();
    XXH128_hash_t digest;

    if (!hash)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a fingerprint");
    XXH3_128bits_reset(hash);
    if (info->base) {
        add_text(hash, "view");
        add_text(hash, info->base_fingerprint);
    }
    if (info->external_file_count > 0)
        add_text(hash, "in place");
    for (size_t i = 0; i < info->external_file_count; i++)
        add_text(hash, info->external_files[i].fingerprint);
    for (int s = 0; s < 2; s++) {
        add_text(hash, split_names[s]);
        for (size_t i = 0; i < info->splits[s].shard_count; i++)
            add_text(hash, info->splits[s].shards[i].fingerprint);
    }
    add_text(hash, "tags");
    for (size_t i = 0; i < info->tag_count; i++) {
        add_text(hash, info->tags[i].name);
        add_text(hash, info->tags[i].synset);
    }
    digest = XXH3_128bits_digest(hash);
    XXH3_freeState(hash);
    snprintf(ret_text, 33, "%016llx%016llx", (unsigned long long)digest.high64,
             (unsigned long long)digest.low64);
    return 0;
}

/* ---- reading ---- */

struct reader {
    const char *path;
    struct wsl_err *err;
};

static int wrong(const struct reader *r, const char *field, const char *what)
{
    return wsl_fail(r->err, WSL_ECORRUPT, "%s: %s %s; the file is damaged or was edited", r->path,
                    field, what);
}

static const char *get_text(const json_t *object, const char *field)
{
    const char *text = json_string_value(json_object_get(object, field));

    return text && strlen(text) <= TEXT_LIMIT ? text : NULL;
}

static bool get_count(const json_t *object, const char *field, uint64_t *ret)
{
    const json_t *value = json_object_get(object, field);

    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return false;
    *ret = (uint64_t)json_integer_value(value);
    return true;
}

static bool is_fingerprint(const char *text)
{
    return text && strlen(text) == 32 && strspn(text, "0123456789abcdef") == 32;
}

static int read_tags(const struct reader *r, struct wsl_dataset_info *info, const json_t *list)
{
    size_t count = json_array_size(list);

    if (!json_is_array(list) || count > LIST_LIMIT)
        return wrong(r, "tags", "is not a list of at most 1,048,576 tags");
    info->tags = calloc(count ? count : 1, sizeof *info->tags);
    if (!info->tags)
        return wsl_fail(r->err, WSL_ENOMEM, "no memory for the tags of %s", r->path);
    for (size_t i = 0; i < count; i++) {
        const json_t *object = json_array_get(list, i);
        const char *name = get_text(object, "name"), *synset = get_text(object, "synset");
        struct wsl_tag *tag = &info->tags[i];
        char field[64];

        snprintf(field, sizeof field, "tags[%zu]", i);
        if (!name || !synset || !get_count(object, "train", &tag->train) ||
            !get_count(object, "heldout", &tag->heldout))
            return wrong(r, field, "lacks a name, a synset or a count");
        info->tag_count = i + 1;
        tag->name = strdup(name);
        tag->synset = strdup(synset);
        if (!tag->name || !tag->synset)
            return wsl_fail(r->err, WSL_ENOMEM, "no memory for the tags of %s", r->path);
    }
    return 0;
}

static bool read_shard(struct wsl_shard_entry *entry, const json_t *object)
{
    const char *file = get_text(object, "file"), *fingerprint = get_text(object, "fingerprint");

    if (!file || !*file || *file == '.' || strchr(file, '/') || strlen(file) >= sizeof entry->file)
        return false;
    if (!is_fingerprint(fingerprint) || !get_count(object, "images", &entry->images) ||
        !get_count(object, "bytes", &entry->bytes))
        return false;
    snprintf(entry->file, sizeof entry->file, "%s", file);
    snprintf(entry->fingerprint, sizeof entry->fingerprint, "%s", fingerprint);
    return true;
}

static int read_split(const struct reader *r, struct wsl_split_info *split, const json_t *splits,
                      const char *name)
{
    const json_t *object = json_object_get(splits, name);
    const json_t *list = json_object_get(object, "shards");
    size_t count = json_array_size(list);
    uint64_t images, sum = 0;
    char field[64];

    snprintf(field, sizeof field, "splits.%s", name);
    if (!json_is_array(list) || count > LIST_LIMIT || !get_count(object, "images", &images))
        return wrong(r, field, "lacks a count of images or a list of shards");
    split->shards = calloc(count ? count : 1, sizeof *split->shards);
    if (!split->shards)
        return wsl_fail(r->err, WSL_ENOMEM, "no memory for the shards of %s", r->path);
    split->shard_count = count;
    for (size_t i = 0; i < count; i++) {
        snprintf(field, sizeof field, "splits.%s.shards[%zu]", name, i);
        if (!read_shard(&split->shards[i], json_array_get(list, i)))
            return wrong(r, field, "lacks a file name, a count, a size or a fingerprint");
        if (split->shards[i].images > UINT64_MAX / LIST_LIMIT)
            return wrong(r, field, "has an impossible count");
        sum += split->shards[i].images;
    }
    if (sum != images)
        return wrong(r, field, "and its neighbours do not add up to the images of the split");
    split->images = images;
    return 0;
}

static int read_base(const struct reader *r, struct wsl_dataset_info *info, const json_t *root)
{
    const json_t *object = json_object_get(root, "base");
    const char *directory = get_text(object, "folder"),
               *fingerprint = get_text(object, "fingerprint");

    if (!directory || !*directory || !is_fingerprint(fingerprint))
        return wrong(r, "base", "lacks a directory or a fingerprint");
    for (int s = 0; s < 2; s++)
        if (info->splits[s].shard_count > 1)
            return wrong(r, "splits", "has more than one table for a split of a view");
    memcpy(info->base_fingerprint, fingerprint, sizeof info->base_fingerprint);
    info->base = strdup(directory);
    return info->base ? 0 : wsl_fail(r->err, WSL_ENOMEM, "no memory for %s", r->path);
}

static int read_external_files(const struct reader *r, struct wsl_dataset_info *info,
                               const json_t *list)
{
    size_t count = json_array_size(list);
    char field[64];

    if (count == 0 || count > WSL_EXTERNAL_FILES_MAX)
        return wrong(r, "pictures", "is not a list of 1 to 4,096 files");
    info->external_files = calloc(count, sizeof *info->external_files);
    if (!info->external_files)
        return wsl_fail(r->err, WSL_ENOMEM, "no memory for %s", r->path);
    for (size_t i = 0; i < count; i++) {
        const json_t *object = json_array_get(list, i);
        const char *file = get_text(object, "file"), *fingerprint = get_text(object, "fingerprint");
        struct wsl_external_file *entry = &info->external_files[i];

        snprintf(field, sizeof field, "pictures[%zu]", i);
        if (!file || *file != '/' || !is_fingerprint(fingerprint) ||
            !get_count(object, "bytes", &entry->bytes))
            return wrong(r, field, "lacks an absolute path, a size or a fingerprint");
        memcpy(entry->fingerprint, fingerprint, sizeof entry->fingerprint);
        entry->path = strdup(file);
        if (!entry->path)
            return wsl_fail(r->err, WSL_ENOMEM, "no memory for %s", r->path);
        info->external_file_count = i + 1;
    }
    return 0;
}

static int read_info(const struct reader *r, struct wsl_dataset_info *info, const json_t *root)
{
    const json_t *splits = json_object_get(root, "splits");
    const char *name = get_text(root, "name"), *created = get_text(root, "created");
    const char *kind = get_text(root, "kind"), *fingerprint = get_text(root, "fingerprint");
    uint64_t format;
    char actual[33];
    int code;

    if (!get_count(root, "format", &format))
        return wrong(r, "format", "is missing");
    if (format < FORMAT || format > FORMAT_EXTERNAL)
        return wsl_fail(r->err, WSL_EUNSUPPORTED,
                        "%s has format %llu, this program reads formats %d to %d: use a newer wsl",
                        r->path, (unsigned long long)format, FORMAT, FORMAT_EXTERNAL);
    if (!name || !created)
        return wrong(r, name ? "created" : "name", "is missing");
    if (!kind || (strcmp(kind, "tags") != 0 && strcmp(kind, "labels") != 0))
        return wrong(r, "kind", "is neither \"tags\" nor \"labels\"");
    if (!is_fingerprint(fingerprint))
        return wrong(r, "fingerprint", "is not 32 hex digits");
    info->name = strdup(name);
    info->created = strdup(created);
    info->kind = strcmp(kind, "tags") == 0 ? "tags" : "labels";
    if (!info->name || !info->created)
        return wsl_fail(r->err, WSL_ENOMEM, "no memory for %s", r->path);
    memcpy(info->fingerprint, fingerprint, sizeof info->fingerprint);
    code = read_tags(r, info, json_object_get(root, "tags"));
    for (int s = 0; code == 0 && s < 2; s++)
        code = read_split(r, &info->splits[s], splits, split_names[s]);
    if (code == 0 && format == FORMAT_VIEW)
        code = read_base(r, info, root);
    if (code == 0 && format == FORMAT_EXTERNAL)
        code = read_external_files(r, info, json_object_get(root, "pictures"));
    if (code == 0)
        code = set_fingerprint(info, actual, r->err);
    if (code == 0 && strcmp(actual, fingerprint) != 0)
        return wsl_fail(
            r->err, WSL_ECORRUPT,
            "%s: fingerprint is %s, its shards and tags give %s: the file is damaged or "
            "was edited",
            r->path, fingerprint, actual);
    return code;
}

int wsl_dataset_info_load(struct wsl_dataset_info *ret, const char *directory, struct wsl_err *err)
{
    struct wsl_buf text = {0};
    char path[PATH_MAX];
    struct reader reader = {path, err};
    json_error_t fault;
    json_t *root;
    int r;

    memset(ret, 0, sizeof *ret);
    if (wsl_file_join(path, sizeof path, directory, WSL_DATASET_FILE) < 0)
        return wsl_fail(err, WSL_EINVAL, "path too long: %s", directory);
    if (!wsl_file_exists(path))
        return wsl_fail(err, WSL_ENOENT, "%s is not a data set: it has no " WSL_DATASET_FILE,
                        directory);
    r = wsl_text_input_read(path, FILE_LIMIT, &text, err);
    if (r < 0)
        return r;
    root = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, &fault);
    wsl_buf_free(&text);
    if (!root)
        return wsl_fail(err, WSL_ECORRUPT, "%s:%d: not JSON: %s", path, fault.line, fault.text);
    r = read_info(&reader, ret, root);
    json_decref(root);
    if (r < 0)
        wsl_dataset_info_free(ret);
    return r;
}

/* ---- writing ---- */

static json_t *pack_tags(const struct wsl_dataset_info *info)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < info->tag_count; i++) {
        const struct wsl_tag *tag = &info->tags[i];

        if (json_array_append_new(list, json_pack("{ss ss sI sI}", "name", tag->name, "synset",
                                                  tag->synset, "train", (json_int_t)tag->train,
                                                  "heldout", (json_int_t)tag->heldout)) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *pack_split(const struct wsl_split_info *split)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < split->shard_count; i++) {
        const struct wsl_shard_entry *e = &split->shards[i];

        if (json_array_append_new(list,
                                  json_pack("{ss sI sI ss}", "file", e->file, "images",
                                            (json_int_t)e->images, "bytes", (json_int_t)e->bytes,
                                            "fingerprint", e->fingerprint)) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list ? json_pack("{sI so}", "images", (json_int_t)split->images, "shards", list) : NULL;
}

static json_t *pack_base(const struct wsl_dataset_info *info)
{
    return json_pack("{ss ss}", "folder", info->base, "fingerprint", info->base_fingerprint);
}

static json_t *pack_external_files(const struct wsl_dataset_info *info)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < info->external_file_count; i++) {
        const struct wsl_external_file *e = &info->external_files[i];

        if (json_array_append_new(list, json_pack("{ss sI ss}", "file", e->path, "bytes",
                                                  (json_int_t)e->bytes, "fingerprint",
                                                  e->fingerprint)) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* What some formats have besides. */
static int add_rest(json_t *root, const struct wsl_dataset_info *info)
{
    int r = 0;

    if (info->base)
        r = json_object_set_new(root, "base", pack_base(info));
    if (r == 0 && info->external_file_count > 0)
        r = json_object_set_new(root, "pictures", pack_external_files(info));
    return r;
}

int wsl_dataset_info_save(struct wsl_dataset_info *info, const char *directory, json_t *source,
                          struct wsl_err *err)
{
    char path[PATH_MAX];
    struct wsl_buf text = {0};
    json_t *root;
    int r = set_fingerprint(info, info->fingerprint, err);
    int format = info->base ? FORMAT_VIEW : info->external_file_count ? FORMAT_EXTERNAL : FORMAT;

    if (r < 0)
        return r;
    if (wsl_file_join(path, sizeof path, directory, WSL_DATASET_FILE) < 0)
        return wsl_fail(err, WSL_EINVAL, "path too long: %s", directory);
    root = json_pack("{si ss ss ss ss so s{so so} sO}", "format", format, "name", info->name,
                     "kind", info->kind, "created", info->created, "fingerprint", info->fingerprint,
                     "tags", pack_tags(info), "splits", "train", pack_split(&info->splits[0]),
                     "heldout", pack_split(&info->splits[1]), "source", source);
    if (root && add_rest(root, info) < 0) {
        json_decref(root);
        root = NULL;
    }
    r = wsl_json_print(root, 1, &text);
    json_decref(root);
    if (r < 0)
        r = wsl_fail(err, r, "no memory for %s, or its texts are not UTF-8", path);
    else
        r = wsl_file_write_atomic(path, text.data, text.size, err);
    wsl_buf_free(&text);
    return r;
}

void wsl_dataset_info_free(struct wsl_dataset_info *info)
{
    for (size_t i = 0; i < info->tag_count; i++) {
        free((char *)info->tags[i].name);
        free((char *)info->tags[i].synset);
    }
    free(info->tags);
    for (size_t i = 0; i < info->external_file_count; i++)
        free(info->external_files[i].path);
    free(info->external_files);
    for (int s = 0; s < 2; s++)
        free(info->splits[s].shards);
    free(info->name);
    free(info->created);
    free(info->base);
    memset(info, 0, sizeof *info);
}
