/* SPDX-License-Identifier: Apache-2.0
 *
 * manifest.json to and from its struct. Whatever is read from it is checked before it is used; the
 * checksum is over the text without its own field.
 */
#include "base/file.h"
#include "storage/checkpoint/internal.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT "wsl-checkpoint-1"

enum { MANIFEST_MAX = 64 << 20, CLASSES_MAX = 1 << 20 };

void wsl_checkpoint_info_free(struct wsl_checkpoint_info *info)
{
    if (!info)
        return;
    for (int i = 0; info->class_names && i < info->classes; i++)
        free(info->class_names[i]);
    free(info->class_names);
    free(info->recipe);
    info->class_names = NULL;
    info->recipe = NULL;
}

static void hash_text(XXH128_hash_t hash, char text[33])
{
    snprintf(text, 33, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
}

/* The checksum covers every other member, whatever the layout of the text. */
static int checksum_of(json_t *root, char text[33])
{
    char *canonical;

    json_object_del(root, "checksum");
    canonical = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    if (!canonical)
        return WSL_ENOMEM;
    hash_text(XXH3_128bits(canonical, strlen(canonical)), text);
    free(canonical);
    return 0;
}

/* ---- printing ---- */

/* A JSON integer has 63 bits here; a seed has 64, so these are texts. */
static json_t *json_u64(uint64_t value)
{
    return json_sprintf("%llu", (unsigned long long)value);
}

static json_t *json_file(const struct wsl_checkpoint_file *file)
{
    char hash[33];

    hash_text(file->hash, hash);
    return json_pack("{s:I, s:s}", "bytes", (json_int_t)file->bytes, "xxh3_128", hash);
}

static json_t *json_model(const struct wsl_checkpoint_info *info)
{
    json_t *depths = json_array();

    for (int i = 0; i < info->stages; i++)
        json_array_append_new(depths, json_integer(info->depths[i]));
    return json_pack("{s:o, s:i, s:i, s:i, s:i}", "depths", depths, "groups", info->groups, "width",
                     info->width, "image_size", info->image_size, "classes", info->classes);
}

static json_t *json_names(const struct wsl_checkpoint_info *info)
{
    json_t *names = json_array();

    for (int i = 0; i < info->classes; i++)
        if (json_array_append_new(names, json_string(info->class_names[i])) < 0) {
            json_decref(names);
            return NULL;
        }
    return names;
}

static int check_info(const struct wsl_checkpoint_info *info, struct wsl_err *err)
{
    if (info->stages < 1 || info->stages > 4)
        return wsl_fail(err, WSL_EINVAL, "checkpoint: %d stages, must be 1 to 4", info->stages);
    if (info->classes < 1 || info->classes > CLASSES_MAX)
        return wsl_fail(err, WSL_EINVAL, "checkpoint: %d classes, must be 1 to %d", info->classes,
                        CLASSES_MAX);
    for (int i = 0; info->class_names && i < info->classes; i++)
        if (!info->class_names[i])
            return wsl_fail(err, WSL_EINVAL, "checkpoint: class %d has no name", i);
    return 0;
}

static json_t *manifest_json(const struct wsl_checkpoint_manifest *m, struct wsl_err *err)
{
    const struct wsl_checkpoint_info *info = &m->info;
    json_t *root = json_pack("{s:s, s:o, s:s, s:o, s:I, s:o, s:i, s:s, s:o, s:o}", "format", FORMAT,
                             "job", json_u64(info->job), "job_name", info->job_name, "step",
                             json_u64(info->step), "written_ms", (json_int_t)info->written_ms,
                             "seed", json_u64(info->seed), "batch", (int)info->batch, "fingerprint",
                             info->fingerprint, "model", json_model(info), "files",
                             json_pack("{s:o, s:o}", WSL_CHECKPOINT_MODEL, json_file(&m->model),
                                       WSL_CHECKPOINT_OPTIMIZER, json_file(&m->optimizer)));

    if (!root) {
        wsl_fail(err, WSL_EINVAL, "checkpoint: the job's name is not UTF-8, or out of memory");
        return NULL;
    }
    if (info->job_uid[0] && json_object_set_new(root, "job_uid", json_string(info->job_uid)) < 0) {
        wsl_fail(err, WSL_EINVAL, "checkpoint: the job's identity is not UTF-8");
        json_decref(root);
        return NULL;
    }
    if (info->recipe && json_object_set_new(root, "recipe", json_string(info->recipe)) < 0) {
        wsl_fail(err, WSL_EINVAL, "checkpoint: the recipe is not UTF-8");
        json_decref(root);
        return NULL;
    }
    if (info->class_names && json_object_set_new(root, "class_names", json_names(info)) < 0) {
        wsl_fail(err, WSL_EINVAL, "checkpoint: a class name is not UTF-8");
        json_decref(root);
        return NULL;
    }
    return root;
}

int wsl_checkpoint_manifest_print(const struct wsl_checkpoint_manifest *manifest,
                                  struct wsl_buf *out, struct wsl_err *err)
{
    char checksum[33];
    char *text = NULL;
    json_t *root;
    int r = check_info(&manifest->info, err);

    if (r < 0)
        return r;
    root = manifest_json(manifest, err);
    if (!root)
        return WSL_EINVAL;
    r = checksum_of(root, checksum);
    if (r == 0 && json_object_set_new(root, "checksum", json_string(checksum)) == 0)
        text = json_dumps(root, JSON_INDENT(2));
    json_decref(root);
    if (!text)
        return wsl_fail(err, WSL_ENOMEM, "checkpoint: out of memory for the manifest");
    r = wsl_buf_add_text(out, text);
    if (r == 0)
        r = wsl_buf_add_text(out, "\n");
    free(text);
    return r == 0 ? 0 : wsl_fail(err, r, "checkpoint: out of memory for the manifest");
}

/* ---- reading: the checksum has vouched for the bytes; the values are checked all the same ---- */

static bool read_u64(const json_t *root, const char *key, uint64_t *ret)
{
    const char *text = json_string_value(json_object_get(root, key));
    char *end;

    if (!text || text[0] < '0' || text[0] > '9')
        return false;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    return errno == 0 && *end == '\0';
}

static bool read_int(const json_t *root, const char *key, int min, int *ret)
{
    const json_t *value = json_object_get(root, key);
    json_int_t n = json_integer_value(value);

    if (!json_is_integer(value) || n < min || n > INT32_MAX)
        return false;
    *ret = (int)n;
    return true;
}

static bool read_text(const json_t *root, const char *key, char *ret, size_t size)
{
    const char *text = json_string_value(json_object_get(root, key));

    return text && (size_t)snprintf(ret, size, "%s", text) < size;
}

static bool read_hash(const json_t *value, XXH128_hash_t *ret)
{
    const char *text = json_string_value(value);
    unsigned long long high, low;

    if (!text || strlen(text) != 32 || strspn(text, "0123456789abcdef") != 32 ||
        sscanf(text, "%16llx%16llx", &high, &low) != 2)
        return false;
    ret->high64 = high;
    ret->low64 = low;
    return true;
}

static bool read_file(const json_t *root, const char *name, struct wsl_checkpoint_file *ret)
{
    const json_t *file = json_object_get(json_object_get(root, "files"), name);
    const json_t *bytes = json_object_get(file, "bytes");

    if (!json_is_integer(bytes) || json_integer_value(bytes) < 0)
        return false;
    ret->bytes = (uint64_t)json_integer_value(bytes);
    return read_hash(json_object_get(file, "xxh3_128"), &ret->hash);
}

static bool read_model(const json_t *model, struct wsl_checkpoint_info *info)
{
    const json_t *depths = json_object_get(model, "depths");

    if (json_array_size(depths) < 1 || json_array_size(depths) > 4)
        return false;
    info->stages = (int)json_array_size(depths);
    for (int i = 0; i < info->stages; i++) {
        json_int_t depth = json_integer_value(json_array_get(depths, (size_t)i));

        if (depth < 1 || depth > 1000)
            return false;
        info->depths[i] = (int)depth;
    }
    return read_int(model, "groups", 1, &info->groups) &&
           read_int(model, "width", 1, &info->width) &&
           read_int(model, "image_size", 1, &info->image_size) &&
           read_int(model, "classes", 1, &info->classes) && info->classes <= CLASSES_MAX;
}

static bool read_names(const json_t *names, struct wsl_checkpoint_info *info)
{
    if (!names)
        return true;
    if (json_array_size(names) != (size_t)info->classes)
        return false;
    info->class_names = calloc((size_t)info->classes, sizeof *info->class_names);
    if (!info->class_names)
        return false;
    for (int i = 0; i < info->classes; i++) {
        const char *name = json_string_value(json_array_get(names, (size_t)i));

        info->class_names[i] = name ? strdup(name) : NULL;
        if (!info->class_names[i])
            return false;
    }
    return true;
}

/* The name of the first member that is missing or wrong, or NULL. */
static const char *read_members(const json_t *root, struct wsl_checkpoint_manifest *m)
{
    struct wsl_checkpoint_info *info = &m->info;
    const json_t *written = json_object_get(root, "written_ms");
    const json_t *recipe = json_object_get(root, "recipe");
    int batch = 0;

    if (!read_u64(root, "job", &info->job))
        return "job";
    if (!read_text(root, "job_name", info->job_name, sizeof info->job_name))
        return "job_name";
    if (json_object_get(root, "job_uid") &&
        !read_text(root, "job_uid", info->job_uid, sizeof info->job_uid))
        return "job_uid";
    if (!read_u64(root, "step", &info->step))
        return "step";
    if (!read_u64(root, "seed", &info->seed))
        return "seed";
    if (!read_int(root, "batch", 0, &batch))
        return "batch";
    info->batch = (uint32_t)batch;
    if (!read_text(root, "fingerprint", info->fingerprint, sizeof info->fingerprint))
        return "fingerprint";
    if (!json_is_integer(written))
        return "written_ms";
    info->written_ms = json_integer_value(written);
    if (!read_model(json_object_get(root, "model"), info))
        return "model";
    if (!read_file(root, WSL_CHECKPOINT_MODEL, &m->model) ||
        !read_file(root, WSL_CHECKPOINT_OPTIMIZER, &m->optimizer))
        return "files";
    if (recipe) {
        const char *text = json_string_value(recipe);

        info->recipe = text ? strdup(text) : NULL;
        if (!info->recipe)
            return "recipe";
    }
    if (!read_names(json_object_get(root, "class_names"), info))
        return "class_names";
    return NULL;
}

static int read_json(const char *path, json_t *root, struct wsl_checkpoint_manifest *ret,
                     struct wsl_err *err)
{
    const char *format = json_string_value(json_object_get(root, "format"));
    char is[33], should[33];
    const char *wrong;

    if (!format || strcmp(format, FORMAT) != 0)
        return wsl_fail(err, WSL_ECORRUPT, "%s: not a manifest of format " FORMAT, path);
    if (!read_text(root, "checksum", should, sizeof should))
        return wsl_fail(err, WSL_ECORRUPT, "%s: has no checksum", path);
    if (checksum_of(root, is) < 0)
        return wsl_fail(err, WSL_ENOMEM, "%s: out of memory", path);
    if (strcmp(is, should) != 0)
        return wsl_fail(err, WSL_ECORRUPT, "%s: damaged (its checksum does not fit)", path);
    wrong = read_members(root, ret);
    if (wrong)
        return wsl_fail(err, WSL_ECORRUPT, "%s: member '%s' is missing or wrong", path, wrong);
    return 0;
}

int wsl_checkpoint_manifest_read(const char *directory, struct wsl_checkpoint_manifest *ret,
                                 struct wsl_err *err)
{
    struct wsl_checkpoint_manifest m = {0};
    struct wsl_buf text = {0};
    json_error_t why;
    json_t *root;
    char path[4096];
    int r;

    if (wsl_file_join(path, sizeof path, directory, WSL_CHECKPOINT_MANIFEST) < 0)
        return wsl_fail(err, WSL_EINVAL, "path too long: %s", directory);
    r = wsl_file_read(path, MANIFEST_MAX, &text, err);
    if (r < 0)
        return r;
    root = json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, &why);
    if (!root)
        r = wsl_fail(err, WSL_ECORRUPT, "%s:%d: %.150s", path, why.line, why.text);
    else
        r = read_json(path, root, &m, err);
    json_decref(root);
    wsl_buf_free(&text);
    if (r < 0) {
        wsl_checkpoint_info_free(&m.info);
        return r;
    }
    *ret = m;
    return 0;
}

int wsl_checkpoint_read_info(const char *directory, struct wsl_checkpoint_info *ret,
                             struct wsl_err *err)
{
    struct wsl_checkpoint_manifest manifest;
    int r = wsl_checkpoint_manifest_read(directory, &manifest, err);

    if (r == 0)
        *ret = manifest.info;
    return r;
}
