/* SPDX-License-Identifier: Apache-2.0
 *
 * WebDataset: tar files whose members belong together by their names up to the first dot.
 */
#include "storage/dataset/import_source.h"
#include "storage/dataset/tar_file.h"
#include "storage/dataset/text.h"

#include "base/args.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include <jansson.h>

/* What belongs to one name. */
struct group {
    char key[PATH_MAX];     /* "" : nothing yet */
    char picture[PATH_MAX]; /* name of its member; "" : none yet */
    uint64_t offset, size;
    bool too_large;
    struct wsl_buf bytes; /* of the picture, when the file cannot be read again */
    struct wsl_buf label, json, tags, text;
    bool has_label, has_json, has_tags, has_text;
    bool long_side; /* one of these is too long */
};

struct tars {
    char **files; /* in the order of their names; "-" : standard input */
    size_t file_count, file;
    struct tar_file *tar; /* of `file`, or NULL */
    uint32_t container;
    struct tar_member member;
    bool have_member;      /* `member` was read but does not belong to the group */
    struct wsl_err failed; /* why the file cannot be read further; code 0: it can */
    bool decided;
    struct group group;
    struct source_names names;
};

static int no_memory(struct wsl_err *err)
{
    return wsl_fail(err, WSL_ENOMEM, "no memory for the members of a tar file");
}

/* ---- the files ---- */

static bool is_tar_name(const char *name)
{
    static const char *const endings[] = {".tar", ".tar.gz", ".tgz"};
    size_t n = strlen(name);

    for (size_t i = 0; i < 3; i++) {
        size_t m = strlen(endings[i]);

        if (name[0] != '.' && n > m && strcasecmp(name + n - m, endings[i]) == 0)
            return true;
    }
    return false;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_file(struct tars *t, const char *path, struct wsl_err *err)
{
    char **more = realloc(t->files, (t->file_count + 1) * sizeof *more);

    if (!more)
        return no_memory(err);
    t->files = more;
    more[t->file_count] = strdup(path);
    return more[t->file_count++] ? 0 : no_memory(err);
}

static int list_files(struct tars *t, const char *folder, struct wsl_err *err)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    char path[PATH_MAX];
    int r = 0;

    if (!dir)
        return wsl_fail_errno(err, "cannot read folder %s", folder);
    while (r == 0 && (errno = 0, entry = readdir(dir)))
        if (is_tar_name(entry->d_name)) {
            r = wsl_file_join(path, sizeof path, folder, entry->d_name);
            r = r < 0 ? wsl_fail(err, r, "path too long: %s/%s", folder, entry->d_name)
                      : add_file(t, path, err);
        }
    if (r == 0 && errno)
        r = wsl_fail_errno(err, "cannot read folder %s", folder);
    closedir(dir);
    if (r == 0 && t->file_count == 0)
        r = wsl_fail(err, WSL_EINVAL, "%s has no *.tar, *.tar.gz or *.tgz", folder);
    if (t->file_count > 0)
        qsort(t->files, t->file_count, sizeof *t->files, by_text);
    return r;
}

static int open_tars(struct source *s, struct wsl_err *err)
{
    struct tars *t = s->state = calloc(1, sizeof *t);
    const char *source = s->setup->source;
    struct stat st;
    int r;

    if (!t)
        return no_memory(err);
    r = source_names_load(&t->names, s->setup, err);
    if (r < 0)
        return r;
    if (strcmp(source, "-") != 0 && stat(source, &st) == 0 && S_ISDIR(st.st_mode))
        return list_files(t, source, err);
    return add_file(t, source, err);
}

static void free_group(struct group *g)
{
    wsl_buf_free(&g->bytes);
    wsl_buf_free(&g->label);
    wsl_buf_free(&g->json);
    wsl_buf_free(&g->tags);
    wsl_buf_free(&g->text);
}

static void close_tars(struct source *s)
{
    struct tars *t = s->state;

    if (!t)
        return;
    tar_file_close(t->tar);
    for (size_t i = 0; i < t->file_count; i++)
        free(t->files[i]);
    free(t->files);
    free_group(&t->group);
    source_names_free(&t->names);
    free(t);
}

/* ---- a group ---- */

/* Where the name ends and its kind begins: the first dot of the last part. */
static const char *kind_of(const char *name)
{
    const char *slash = strrchr(name, '/');
    const char *dot = strchr(slash ? slash + 1 : name, '.');

    return dot && dot > (slash ? slash + 1 : name) ? dot : NULL;
}

static bool is_picture_kind(const char *kind)
{
    return strcasecmp(kind, ".jpg") == 0 || strcasecmp(kind, ".jpeg") == 0 ||
           strcasecmp(kind, ".png") == 0;
}

static bool belongs(const struct group *g, const struct tar_member *m, const char *kind)
{
    size_t n = (size_t)(kind - m->name);

    if (!g->key[0])
        return true;
    return strlen(g->key) == n && memcmp(g->key, m->name, n) == 0 &&
           !(g->picture[0] && is_picture_kind(kind));
}

static void begin_group(struct group *g, const struct tar_member *m, size_t key_size)
{
    memcpy(g->key, m->name, key_size);
    g->key[key_size] = '\0';
}

static void end_group(struct group *g)
{
    g->key[0] = g->picture[0] = '\0';
    g->too_large = g->has_label = g->has_json = g->has_tags = g->has_text = g->long_side = false;
}

static int take_picture(struct tars *t, struct wsl_err *err)
{
    struct group *g = &t->group;

    strcpy(g->picture, t->member.name);
    g->offset = t->member.offset;
    g->size = t->member.size;
    g->too_large = g->size > SOURCE_PICTURE;
    if (g->too_large || tar_file_is_seekable(t->tar))
        return 0;
    return tar_file_read(t->tar, &g->bytes, err);
}

static int take_side(struct tars *t, struct wsl_buf *to, bool *has, struct wsl_err *err)
{
    if (t->member.size > SOURCE_LINE) {
        t->group.long_side = true;
        return 0;
    }
    *has = true;
    return tar_file_read(t->tar, to, err);
}

static int take_member(struct tars *t, const char *kind, struct wsl_err *err)
{
    struct group *g = &t->group;

    if (!g->key[0])
        begin_group(g, &t->member, (size_t)(kind - t->member.name));
    if (is_picture_kind(kind))
        return take_picture(t, err);
    if (strcasecmp(kind, ".cls") == 0)
        return take_side(t, &g->label, &g->has_label, err);
    if (strcasecmp(kind, ".json") == 0)
        return take_side(t, &g->json, &g->has_json, err);
    if (strcasecmp(kind, ".tags") == 0)
        return take_side(t, &g->tags, &g->has_tags, err);
    if (strcasecmp(kind, ".txt") == 0)
        return take_side(t, &g->text, &g->has_text, err);
    return 0;
}

/* ---- its words ---- */

/* Without blanks and line ends around it. */
static const char *trimmed(const struct wsl_buf *b, size_t *ret_size)
{
    const char *text = b->data ? (const char *)b->data : "";
    size_t n = b->size;

    while (n > 0 && strchr(" \t\r\n", text[n - 1]) && text[n - 1])
        n--;
    while (n > 0 && strchr(" \t\r\n", *text) && *text) {
        text++;
        n--;
    }
    *ret_size = n;
    return text;
}

static int add_label(struct source *s, const struct tars *t, struct wsl_err *err)
{
    size_t n;
    const char *text = trimmed(&t->group.label, &n);
    char number[24] = "", buffer[24];
    uint64_t value;

    if (n > 0 && n < sizeof number) {
        memcpy(number, text, n);
        number[n] = '\0';
    }
    if (wsl_parse_u64(number, &value) == 0) {
        text = source_names_get(&t->names, value, buffer);
        n = strlen(text);
    }
    return n > 0 ? source_add_word(s, text, n, err) : 0;
}

/* "A #Dog and a #cat": dog and cat. */
static int add_hashtags(struct source *s, const struct wsl_buf *b, struct wsl_err *err)
{
    const char *at = b->data ? (const char *)b->data : "", *end = at + b->size;
    int r = 0;

    while (r == 0 && (at = memchr(at, '#', (size_t)(end - at)))) {
        size_t n = strcspn(++at, " \t\r\n#,;:.!?\"'()");

        r = n > 0 ? source_add_word(s, at, n, err) : 0;
        at += n;
    }
    return r;
}

/* Adds the words of the group. Returns 1, 0 with what is wrong, or an error. */
static int add_words(struct source *s, struct tars *t, struct source_entry *ret,
                     const char **ret_fault, struct wsl_err *err)
{
    struct group *g = &t->group;
    json_t *object = NULL;
    int r = 1;

    *ret_fault = NULL;
    if (g->has_json)
        object = json_loadb((const char *)g->json.data, g->json.size, 0, NULL);
    if (g->has_json && !json_is_object(object)) {
        json_decref(object);
        *ret_fault = "its .json is no JSON object";
        return 0;
    }
    if (!t->decided && (g->has_label || g->has_tags || g->has_text)) {
        s->labels = g->has_label;
        t->decided = true;
    }
    if (s->labels && g->has_label)
        r = add_label(s, t, err);
    else if (!s->labels && g->has_tags)
        r = source_add_list(s, (const char *)g->tags.data, g->tags.size, err);
    else if (object)
        r = source_add_json(s, object, &t->decided, ret, ret_fault, err);
    else if (!s->labels && g->has_text)
        r = add_hashtags(s, &g->text, err);
    else {
        *ret_fault =
            s->labels ? "no .cls and no .json next to it" : "no .tags, .json or .txt next to it";
        r = 0;
    }
    json_decref(object);
    return r < 0 ? r : !*ret_fault;
}

static int give_group(struct source *s, struct tars *t, struct source_entry *ret,
                      struct wsl_err *err)
{
    struct group *g = &t->group;
    const char *fault;
    int r;

    strcpy(s->path, g->picture[0] ? g->picture : g->key);
    ret->container = t->container;
    ret->offset = g->offset;
    ret->size = g->size;
    if (!g->picture[0]) {
        source_skip(s, WSL_IMPORT_SKIP_NO_IMAGE, g->key, g->offset);
        r = 0;
    } else if (g->too_large) {
        r = source_bad(s, ret, WSL_IMPORT_FAULT_TOO_LARGE, "over %d MiB", SOURCE_PICTURE >> 20);
    } else if (g->size == 0) {
        r = source_bad(s, ret, WSL_IMPORT_FAULT_DAMAGED, "the file is empty");
    } else if (g->long_side) {
        r = source_bad(s, ret, WSL_IMPORT_FAULT_LINE, "a text beside it is longer than %d bytes",
                       SOURCE_LINE);
    } else {
        if (!tar_file_is_seekable(t->tar))
            ret->bytes = g->bytes.data;
        r = add_words(s, t, ret, &fault, err);
        if (r == 0)
            r = source_bad(s, ret, WSL_IMPORT_FAULT_NO_TAGS, "%s", fault);
    }
    end_group(g);
    return r;
}

/* ---- one after the other ---- */

static int open_next(struct source *s, struct tars *t, struct wsl_err *err)
{
    const char *path = t->files[t->file];
    int r = tar_file_open(&t->tar, path, err);

    if (r < 0)
        return r;
    return source_add_container(s, path, strcmp(path, "-") ? tar_file_descriptor(t->tar) : -1,
                                &t->container, err);
}

/* The file cannot be read further: said once, then the next one's turn. */
static int give_fault(struct source *s, struct tars *t, struct source_entry *ret)
{
    snprintf(s->path, sizeof s->path, "%s", t->files[t->file]);
    ret->offset = tar_file_offset(t->tar);
    return source_bad(s, ret, WSL_IMPORT_FAULT_CONTAINER, "%.180s", t->failed.text);
}

static void end_file(struct tars *t)
{
    tar_file_close(t->tar);
    t->tar = NULL;
    t->failed = (struct wsl_err){0};
    t->file++;
}

/* Goes on in the file at hand: 1 with an entry, 0 when it has no more. */
static int next_of_file(struct source *s, struct tars *t, struct source_entry *ret,
                        struct wsl_err *err)
{
    int r = 1;

    while (t->failed.code == 0) {
        const char *kind;

        if (!t->have_member)
            r = tar_file_next(t->tar, &t->member, &t->failed);
        if (r < 1)
            break;
        t->have_member = true;
        kind = t->member.regular ? kind_of(t->member.name) : NULL;
        if (kind && !belongs(&t->group, &t->member, kind)) {
            r = give_group(s, t, ret, err);
            if (r != 0)
                return r;
        }
        t->have_member = false;
        r = kind ? take_member(t, kind, &t->failed) : 0;
        if (r < 0)
            t->group.picture[0] = t->group.key[0] = '\0'; /* its bytes are not whole */
        r = 1;
    }
    if (t->failed.code == WSL_ENOMEM)
        return wsl_fail(err, WSL_ENOMEM, "%s", t->failed.text);
    return t->group.key[0] ? give_group(s, t, ret, err) : 0;
}

static int next_tars(struct source *s, struct source_entry *ret, struct wsl_err *err)
{
    struct tars *t = s->state;

    while (t->file < t->file_count) {
        int r = t->tar ? 0 : open_next(s, t, err);

        if (r == 0)
            r = next_of_file(s, t, ret, err);
        if (r != 0)
            return r;
        if (t->failed.code) {
            give_fault(s, t, ret);
            end_file(t);
            return 1;
        }
        end_file(t);
    }
    return 0;
}

const struct source_ops source_tar = {
    .word = "webdataset", .open = open_tars, .next = next_tars, .close = close_tars};
