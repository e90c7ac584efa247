/* SPDX-License-Identifier: Apache-2.0
 *
 * Manifests: a line per image, as text with a tab or as JSON.
 */
#include "storage/import/source.h"

#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

struct manifest {
    struct source_lines lines;
    bool decided; /* JSON: labels or tags */
};

static int open_manifest(struct source *s, struct wsl_err *err)
{
    struct manifest *m = s->state = calloc(1, sizeof *m);

    return m ? wsl_source_lines_open(&m->lines, s->setup->source, err)
             : wsl_fail(err, WSL_ENOMEM, "no memory for a manifest");
}

static void close_manifest(struct source *s)
{
    struct manifest *m = s->state;

    if (m)
        wsl_source_lines_close(&m->lines);
    free(m);
}

/* The next line that says something, or a bad one. *ret_good: it can be used. */
static int take_line(struct source *s, struct source_entry *ret, size_t *ret_size, bool *ret_good,
                     struct wsl_err *err)
{
    struct manifest *m = s->state;
    int r;

    do
        r = wsl_source_lines_next(&m->lines, s->setup->source, ret_size, err);
    while (r == 1 && *ret_size <= SOURCE_LINE_MAX && (*ret_size == 0 || m->lines.line[0] == '#'));
    if (r != 1)
        return r;
    snprintf(s->path, sizeof s->path, "line %llu", (unsigned long long)m->lines.number);
    ret->offset = m->lines.offset;
    *ret_good = *ret_size <= SOURCE_LINE_MAX;
    if (!*ret_good)
        wsl_source_quarantine(s, ret, WSL_QUARANTINE_LINE, "longer than %d bytes", SOURCE_LINE_MAX);
    return 1;
}

static int next_tsv(struct source *s, struct source_entry *ret, struct wsl_err *err)
{
    struct manifest *m = s->state;
    char *line = m->lines.line, *tab;
    bool good = false;
    size_t size;
    int r = take_line(s, ret, &size, &good, err);

    if (r != 1 || !good)
        return r;
    tab = memchr(line, '\t', size);
    if (!tab)
        return wsl_source_quarantine(s, ret, WSL_QUARANTINE_LINE, "no tab between path and tags");
    if (tab == line || tab - line >= PATH_MAX)
        return wsl_source_quarantine(s, ret, WSL_QUARANTINE_LINE,
                                     "no path, or one that is too long");
    if (!wsl_utf8_is_clean(line, (size_t)(tab - line)) ||
        !wsl_utf8_is_clean(tab + 1, size - (size_t)(tab + 1 - line)))
        return wsl_source_quarantine(s, ret, WSL_QUARANTINE_LINE,
                                     "not UTF-8, or with control characters");
    *tab = '\0';
    ret->path = line;
    ret->offset = 0;
    r = wsl_source_add_list(s, tab + 1, size - (size_t)(tab + 1 - line), err);
    return r < 0 ? r : 1;
}

static int next_jsonl(struct source *s, struct source_entry *ret, struct wsl_err *err)
{
    struct manifest *m = s->state;
    const char *fault = NULL, *path;
    bool good = false;
    json_error_t error;
    json_t *object;
    size_t size;
    int r = take_line(s, ret, &size, &good, err);

    if (r != 1 || !good)
        return r;
    object = json_loadb(m->lines.line, size, JSON_REJECT_DUPLICATES, &error);
    path = json_string_value(json_object_get(object, "path"));
    if (!object)
        wsl_source_quarantine(s, ret, WSL_QUARANTINE_LINE, "no JSON object: %.120s, at byte %d",
                              error.text, error.position);
    else if (!json_is_object(object))
        wsl_source_quarantine(s, ret, WSL_QUARANTINE_LINE, "no JSON object");
    else if (!path || !*path || strlen(path) >= sizeof s->path ||
             !wsl_utf8_is_clean(path, strlen(path)))
        wsl_source_quarantine(s, ret, WSL_QUARANTINE_LINE,
                              "no \"path\", or one that cannot be used");
    else
        r = wsl_source_add_json(s, object, &m->decided, ret, &fault, err);
    if (r == 0)
        r = wsl_source_quarantine(s, ret, WSL_QUARANTINE_LINE, "%s", fault);
    else if (r == 1 && !ret->bad) {
        strcpy(s->path, path);
        ret->offset = 0;
    }
    json_decref(object);
    return r;
}

const struct source_ops wsl_source_manifest = {
    .word = "manifest", .open = open_manifest, .next = next_tsv, .close = close_manifest};
const struct source_ops wsl_source_jsonl = {
    .word = "jsonl", .open = open_manifest, .next = next_jsonl, .close = close_manifest};
