/* SPDX-License-Identifier: Apache-2.0
 *
 * What the layouts share: words of an entry, JSON, containers, names, lines of text.
 */
#include "storage/import/source.h"

#include "base/rng.h"
#include "base/text_input.h"
#include "base/utf8.h"
#include "storage/vocabulary/hashtag.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include <jansson.h>
#include <xxhash.h>

enum { NAMES_LIMIT = 1 << 24 };

static const struct source_ops *const layouts[] = {
    [WSL_IMPORT_MANIFEST] = &wsl_source_manifest,
    [WSL_IMPORT_DIRECTORIES] = &wsl_source_directories,
    [WSL_IMPORT_JSONL] = &wsl_source_jsonl,
    [WSL_IMPORT_IMAGENET] = &wsl_source_imagenet,
    [WSL_IMPORT_CUB200] = &wsl_source_cub200,
    [WSL_IMPORT_PLACES365] = &wsl_source_places365,
    [WSL_IMPORT_TAR] = &wsl_source_tar,
    [WSL_IMPORT_LMDB] = &wsl_source_lmdb,
};
enum { LAYOUTS = sizeof layouts / sizeof layouts[0] };

bool wsl_import_has_split(enum wsl_import_kind kind)
{
    return layouts[kind]->has_split;
}

const char *wsl_import_kind_name(enum wsl_import_kind kind)
{
    return (unsigned)kind < LAYOUTS ? layouts[kind]->word : "unknown";
}

bool wsl_import_kind_find(const char *word, enum wsl_import_kind *ret)
{
    for (unsigned i = 0; i < LAYOUTS; i++)
        if (strcmp(layouts[i]->word, word) == 0) {
            *ret = (enum wsl_import_kind)i;
            return true;
        }
    return false;
}

static int no_memory(struct wsl_err *err)
{
    return wsl_fail(err, WSL_ENOMEM, "no memory for the list of images");
}

/* ---- a source ---- */

int wsl_source_open(struct source *s, const struct wsl_import_setup *setup, const char *base,
                    struct import_skips *skips, struct wsl_err *err)
{
    *s = (struct source){.ops = layouts[setup->kind], .setup = setup, .base = base, .skips = skips};
    s->container_count = 1;
    s->words.limit = (size_t)SOURCE_WORDS_MAX * 1024;
    return s->ops->open(s, err);
}

int wsl_source_next(struct source *s, struct source_entry *ret, struct wsl_err *err)
{
    int r;

    *ret = (struct source_entry){.path = s->path};
    wsl_buf_clear(&s->words);
    s->word_count = 0;
    r = s->ops->next(s, ret, err);
    ret->words = s->words.data ? (const char *)s->words.data : "";
    ret->word_count = s->word_count;
    return r;
}

void wsl_source_close(struct source *s)
{
    if (!s->ops)
        return;
    s->ops->close(s);
    for (uint32_t i = 1; i < s->container_count && s->containers; i++)
        free(s->containers[i].path);
    free(s->containers);
    wsl_buf_free(&s->words);
    s->ops = NULL;
}

int wsl_source_add_word(struct source *s, const char *word, size_t size, struct wsl_err *err)
{
    if (s->word_count == SOURCE_WORDS_MAX || size > 1023 || memchr(word, '\0', size))
        return 0;
    if (wsl_buf_add(&s->words, word, size) < 0 || wsl_buf_add(&s->words, "", 1) < 0)
        return no_memory(err);
    s->word_count++;
    return 0;
}

int wsl_source_add_list(struct source *s, const char *list, size_t size, struct wsl_err *err)
{
    const char *end = list + size;
    int r = 0;

    while (r == 0 && list < end) {
        const char *comma = memchr(list, ',', (size_t)(end - list));
        size_t length = (size_t)((comma ? comma : end) - list);

        r = wsl_source_add_word(s, list, length, err);
        list += length + 1;
    }
    return r;
}

int wsl_source_add_hashtags(struct source *s, const char *caption, size_t size,
                            const char **ret_fault, struct wsl_err *err)
{
    struct wsl_hashtags h = {.text = caption, .size = size};
    const char *tag;
    int r = 0;

    if (!wsl_utf8_is_valid(caption, size)) {
        *ret_fault = "its caption is not UTF-8";
        return 0;
    }
    while (r == 0 && wsl_hashtags_next(&h, &tag, &size))
        r = wsl_source_add_word(s, tag, size, err);
    return r;
}

uint64_t wsl_source_stamp(const char *path, int fd)
{
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return 0;
    return wsl_mix64(wsl_mix64((uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec),
                     (uint64_t)st.st_mtim.tv_nsec ^ XXH3_64bits(path, strlen(path)));
}

int wsl_source_add_container(struct source *s, const char *path, int fd, uint32_t *ret,
                             struct wsl_err *err)
{
    struct source_container *more = realloc(s->containers, (s->container_count + 1) * sizeof *more);
    struct source_container *c;

    if (!more)
        return no_memory(err);
    s->containers = more;
    c = &more[s->container_count];
    c->stamp = wsl_source_stamp(path, fd);
    c->path = strdup(path);
    if (!c->path)
        return no_memory(err);
    s->container_count++;
    *ret = s->container_count - 1;
    return 0;
}

int wsl_source_quarantine(struct source *s, struct source_entry *entry,
                          enum wsl_quarantine_reason reason, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(s->detail, sizeof s->detail, format, args);
    va_end(args);
    entry->bad = true;
    entry->reason = reason;
    entry->detail = s->detail;
    return 1;
}

void wsl_source_skip(struct source *s, enum wsl_import_skip kind, const char *name, uint64_t offset)
{
    if (s->skips)
        wsl_import_skips_add(s->skips, kind, name, offset);
}

static bool is_one_of(const char *ending, const char *const *endings, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strcasecmp(endings[i], ending) == 0)
            return true;
    return false;
}

bool wsl_source_is_image_name(const char *name)
{
    static const char *const read[] = {"jpg", "jpeg", "png", "jpe", "jfif"};
    const char *dot = strrchr(name, '.');

    return dot && name[0] != '.' && is_one_of(dot + 1, read, sizeof read / sizeof read[0]);
}

enum wsl_import_skip wsl_source_skip_kind(const char *name)
{
    static const char *const unread[] = {"webp", "gif", "tif", "tiff", "bmp", "heic", "heif",
                                         "avif", "jxl", "jp2", "ppm",  "pgm", "pnm",  "svg",
                                         "ico",  "dng", "cr2", "nef",  "exr", "hdr",  "tga"};
    const char *dot = strrchr(name, '.');

    if (wsl_source_is_hidden(name))
        return WSL_IMPORT_SKIP_HIDDEN;
    return dot && is_one_of(dot + 1, unread, sizeof unread / sizeof unread[0])
               ? WSL_IMPORT_SKIP_FORMAT
               : WSL_IMPORT_SKIP_NOT_IMAGE;
}

static bool part_is_hidden(const char *part, size_t n)
{
    static const char *const system[] = {"@eaDir",      "__MACOSX",     "lost+found",
                                         "PaxHeader",   "$RECYCLE.BIN", "System Volume Information",
                                         "#recycle",    "@Recycle",     "Thumbs.db",
                                         "desktop.ini", "Icon\r"};

    if (part[0] == '.')
        return n > 2 || (n == 2 && part[1] != '.');
    for (size_t i = 0; i < sizeof system / sizeof system[0]; i++)
        if (strlen(system[i]) == n && memcmp(system[i], part, n) == 0)
            return true;
    return n >= 11 && memcmp(part, "PaxHeaders.", 11) == 0;
}

bool wsl_source_is_hidden(const char *path)
{
    size_t n;

    for (; *path; path += n + (path[n] == '/')) {
        n = strcspn(path, "/");
        if (n > 0 && part_is_hidden(path, n))
            return true;
    }
    return false;
}

/* ---- words in JSON ---- */

static const char *add_json_tags(struct source *s, const json_t *tags, int *r, struct wsl_err *err)
{
    size_t i;
    json_t *tag;

    if (json_is_string(tags)) {
        *r = wsl_source_add_list(s, json_string_value(tags), json_string_length(tags), err);
        return NULL;
    }
    if (!json_is_array(tags))
        return "\"tags\" is neither a list nor a text";
    json_array_foreach(tags, i, tag)
    {
        if (json_is_null(tag))
            continue;
        if (!json_is_string(tag))
            return "\"tags\" has something that is no text";
        if (*r == 0)
            *r = wsl_source_add_word(s, json_string_value(tag), json_string_length(tag), err);
    }
    return NULL;
}

static const char *add_json_label(struct source *s, const json_t *label, int *r,
                                  struct wsl_err *err)
{
    char number[24];
    const char *text = json_string_value(label);

    if (json_is_integer(label)) {
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(label));
        text = number;
    }
    if (!text)
        return "\"label\" is neither a text nor a whole number";
    *r = wsl_source_add_word(s, text, strlen(text), err);
    return NULL;
}

/* NULL also when it is null: writers of tables give every column to every line. */
static const json_t *json_field(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    return json_is_null(value) ? NULL : value;
}

static const char *add_json_caption(struct source *s, const json_t *caption, int *r,
                                    struct wsl_err *err)
{
    const char *fault = NULL;

    if (!json_is_string(caption))
        return "\"caption\" is not a text";
    *r = wsl_source_add_hashtags(s, json_string_value(caption), json_string_length(caption), &fault,
                                 err);
    return fault;
}

int wsl_source_add_json(struct source *s, const json_t *object, bool *decided,
                        struct source_entry *entry, const char **ret_fault, struct wsl_err *err)
{
    const json_t *label = json_field(object, "label");
    const json_t *tags = json_field(object, "tags");
    const json_t *caption = json_field(object, "caption");
    const json_t *split = json_field(object, "split");
    int r = 0;

    *ret_fault = NULL;
    if (!*decided && (label || tags || caption)) {
        s->labels = label && !tags;
        *decided = true;
    }
    if (s->labels)
        *ret_fault = label ? add_json_label(s, label, &r, err) : "no \"label\"";
    else if (tags)
        *ret_fault = add_json_tags(s, tags, &r, err);
    else
        *ret_fault = caption ? add_json_caption(s, caption, &r, err) : "no \"tags\"";
    if (split && !*ret_fault) {
        const char *text = json_is_string(split) ? json_string_value(split) : "";

        entry->split = strcmp(text, "train") == 0     ? SOURCE_TRAIN
                       : strcmp(text, "heldout") == 0 ? SOURCE_HELDOUT
                                                      : SOURCE_BY_HASH;
        if (entry->split == SOURCE_BY_HASH)
            *ret_fault = "\"split\" is neither \"train\" nor \"heldout\"";
    }
    return r < 0 ? r : !*ret_fault;
}

/* ---- lines of text ---- */

/* Looks at the encoding and skips a byte order mark, also of what cannot be read twice (a pipe). */
static int begin_lines(struct source_lines *lines, const char *path, struct wsl_err *err)
{
    const char *encoding;

    lines->start_size = fread(lines->start, 1, sizeof lines->start, lines->file);
    if (ferror((FILE *)lines->file))
        return wsl_fail_errno(err, "cannot read %s", path);
    encoding = wsl_text_input_encoding(lines->start, lines->start_size, &lines->start_at);
    lines->end = lines->start_at;
    return encoding ? wsl_text_input_wrong_encoding(path, encoding, err) : 0;
}

int wsl_source_lines_open(struct source_lines *lines, const char *path, struct wsl_err *err)
{
    *lines = (struct source_lines){0};
    lines->line = malloc(SOURCE_LINE_MAX + 1);
    if (!lines->line)
        return no_memory(err);
    lines->file = fopen(path, "re");
    if (!lines->file)
        return wsl_fail_errno(err, "cannot open %s", path);
    return begin_lines(lines, path, err);
}

/* The next byte: of what begin_lines() looked at, then of the file. */
static int next_byte(struct source_lines *lines)
{
    if (lines->start_at < lines->start_size)
        return lines->start[lines->start_at++];
    return getc_unlocked(lines->file);
}

int wsl_source_lines_next(struct source_lines *lines, const char *path, size_t *ret_size,
                          struct wsl_err *err)
{
    size_t n = 0;
    int c;

    lines->offset = lines->end;
    while ((c = next_byte(lines)) != EOF && c != '\n') {
        if (n < SOURCE_LINE_MAX)
            lines->line[n] = (char)c;
        if (n <= SOURCE_LINE_MAX)
            n++;
        lines->end++;
    }
    lines->end += c == '\n';
    if (c == EOF && ferror((FILE *)lines->file))
        return wsl_fail_errno(err, "cannot read %s", path);
    if (c == EOF && n == 0)
        return 0;
    lines->number++;
    if (n > 0 && n <= SOURCE_LINE_MAX && lines->line[n - 1] == '\r')
        n--;
    if (n <= SOURCE_LINE_MAX)
        lines->line[n] = '\0';
    *ret_size = n;
    return 1;
}

void wsl_source_lines_close(struct source_lines *lines)
{
    if (lines->file)
        fclose(lines->file);
    free(lines->line);
    *lines = (struct source_lines){0};
}

/* ---- names of numbers ---- */

int wsl_source_names_add(struct source_names *names, const char *text, size_t size)
{
    if ((names->count & (names->count + 1)) == 0) { /* 0, 1, 3, 7, ...: full */
        size_t *more = realloc(names->starts, 2 * (names->count + 1) * sizeof *more);

        if (!more)
            return WSL_ENOMEM;
        names->starts = more;
    }
    names->starts[names->count] = names->texts.size;
    if (wsl_buf_add(&names->texts, text, size) < 0 || wsl_buf_add(&names->texts, "", 1) < 0)
        return WSL_ENOMEM;
    names->count++;
    return 0;
}

const char *wsl_source_names_get(const struct source_names *names, uint64_t number, char buffer[24])
{
    if (number < names->count)
        return (const char *)names->texts.data + names->starts[number];
    snprintf(buffer, 24, "%llu", (unsigned long long)number);
    return buffer;
}

int wsl_source_names_load(struct source_names *names, const struct wsl_import_setup *setup,
                          struct wsl_err *err)
{
    const char *path = setup->label_names;
    struct source_lines lines = {0};
    size_t size;
    int r;

    if (!path)
        return 0;
    r = wsl_source_lines_open(&lines, path, err);
    while (r >= 0 && (r = wsl_source_lines_next(&lines, path, &size, err)) == 1) {
        if (size == 0 || size > 255 || !wsl_utf8_is_clean(lines.line, size))
            r = wsl_fail(err, WSL_ECORRUPT,
                         "%s:%llu: a name must be UTF-8 of 1 to 255 bytes without control "
                         "characters",
                         path, (unsigned long long)lines.number);
        else if (names->count == NAMES_LIMIT)
            r = wsl_fail(err, WSL_ELIMIT, "%s has more than %d names", path, NAMES_LIMIT);
        else if (wsl_source_names_add(names, lines.line, size) < 0)
            r = no_memory(err);
    }
    wsl_source_lines_close(&lines);
    return r;
}

void wsl_source_names_free(struct source_names *names)
{
    wsl_buf_free(&names->texts);
    free(names->starts);
    *names = (struct source_names){0};
}
