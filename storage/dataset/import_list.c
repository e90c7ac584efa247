/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/dataset/import_work.h"
#include "storage/dataset/text.h"

#include <errno.h>
#include <fnmatch.h>
#include <fts.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LINE_LIMIT = 64 << 10 };

/* ---- items ---- */

static int no_memory(struct wsl_err *err)
{
    return wsl_fail(err, WSL_ENOMEM, "no memory for the list of pictures");
}

static int add_item(struct import *im, const char *path, size_t size, struct item **ret,
                    struct wsl_err *err)
{
    struct item *item;

    if (im->item_count == im->item_capacity) {
        uint32_t capacity = im->item_capacity ? 2 * im->item_capacity : 1024;
        struct item *items;

        if (im->item_count >= (uint32_t)1 << 31)
            return wsl_fail(err, WSL_ELIMIT, "%s has more than 2^31 pictures: split it",
                            im->setup->source);
        items = realloc(im->items, capacity * sizeof *items);
        if (!items)
            return no_memory(err);
        im->items = items;
        im->item_capacity = capacity;
    }
    item = &im->items[im->item_count];
    *item = (struct item){.path = im->paths.size, .first_tag = im->tags.count};
    if (wsl_buf_add(&im->paths, path, size) < 0 || wsl_buf_add(&im->paths, "", 1) < 0)
        return no_memory(err);
    im->item_count++;
    *ret = item;
    return 0;
}

static bool path_is_excluded(const struct wsl_import_setup *setup, const char *path)
{
    for (size_t i = 0; i < setup->exclude_path_count; i++)
        if (fnmatch(setup->exclude_paths[i], path, 0) == 0)
            return true;
    return false;
}

/* As spelled in the source, but for case. */
static bool tag_fits(const struct wsl_import_setup *setup, const char *const *rules, size_t count,
                     const char *tag)
{
    char folded[WSL_TAG_SIZE];

    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(rules[i], tag) == 0)
            return true;
        if (setup->kind == WSL_IMPORT_MANIFEST && wsl_text_is_clean(rules[i], strlen(rules[i])) &&
            wsl_text_fold_tag(rules[i], strlen(rules[i]), folded) > 0 && strcmp(folded, tag) == 0)
            return true;
    }
    return false;
}

/* Counts the item's spellings and takes it out when none has a meaning. */
static void use_tags(struct import *im, struct item *item)
{
    uint32_t *tags = im->tags.values + item->first_tag;
    bool known = false;

    item->tag_count = import_sort_unique(tags, item->tag_count);
    im->tags.count = item->first_tag + item->tag_count;
    for (uint32_t i = 0; i < item->tag_count; i++) {
        wsl_vocabulary_use(im->vocabulary, tags[i]);
        known |= wsl_vocabulary_concept(im->vocabulary, tags[i]) != WSL_NO_CONCEPT;
    }
    if (!known)
        item->state = ITEM_UNTAGGED;
}

/* ---- manifest ---- */

struct manifest {
    FILE *file;
    char *line; /* LINE_LIMIT + 1 bytes */
    uint64_t number;
};

/* The next line without its end; *ret_size is LINE_LIMIT + 1 for one that is too long (its rest is
 * skipped). Returns false at the end of the file. */
static bool next_line(struct manifest *m, size_t *ret_size)
{
    size_t n = 0;
    int c;

    while ((c = getc_unlocked(m->file)) != EOF && c != '\n') {
        if (n < LINE_LIMIT)
            m->line[n] = (char)c;
        if (n <= LINE_LIMIT)
            n++;
    }
    if (c == EOF && n == 0)
        return false;
    m->number++;
    if (n > 0 && n <= LINE_LIMIT && m->line[n - 1] == '\r')
        n--;
    if (n <= LINE_LIMIT)
        m->line[n] = '\0';
    *ret_size = n;
    return true;
}

static int add_bad_line(struct import *im, const struct manifest *m, const char *reason,
                        struct wsl_err *err)
{
    char name[32];
    struct item *item;
    int n = snprintf(name, sizeof name, "line %llu", (unsigned long long)m->number);
    int r = add_item(im, name, (size_t)n, &item, err);

    if (r == 0)
        import_set_bad(item, WSL_IMPORT_FAULT_LINE, reason);
    return r;
}

static int add_tag(struct import *im, struct item *item, const char *tag, struct wsl_err *err)
{
    const struct wsl_import_setup *setup = im->setup;
    uint32_t number;
    int r;

    if (tag_fits(setup, setup->ignore_tags, setup->ignore_tag_count, tag))
        return 0;
    r = wsl_vocabulary_add(im->vocabulary, tag, &number, err);
    if (r < 0)
        return r;
    if (import_push(&im->tags, number) < 0)
        return no_memory(err);
    item->tag_count++;
    return 0;
}

static int add_tags(struct import *im, struct item *item, const char *list, struct wsl_err *err)
{
    const struct wsl_import_setup *setup = im->setup;
    bool any = false;
    int r = 0;

    while (r == 0 && *list) {
        size_t size = strcspn(list, ",");
        char tag[WSL_TAG_SIZE];

        if (wsl_text_fold_tag(list, size, tag) > 0) {
            any = true;
            if (tag_fits(setup, setup->exclude_tags, setup->exclude_tag_count, tag)) {
                item->state = ITEM_EXCLUDED;
                return 0;
            }
            r = add_tag(im, item, tag, err);
        }
        list += size;
        list += *list == ',';
    }
    if (r == 0 && !any)
        import_set_bad(item, WSL_IMPORT_FAULT_NO_TAGS, NULL);
    return r;
}

static int add_line(struct import *im, struct manifest *m, size_t size, struct wsl_err *err)
{
    struct item *item;
    char *tab;
    int r;

    if (size > LINE_LIMIT)
        return add_bad_line(im, m, "longer than 65536 bytes", err);
    if (size == 0 || m->line[0] == '#')
        return 0;
    tab = memchr(m->line, '\t', size);
    if (!tab)
        return add_bad_line(im, m, "no tab between path and tags", err);
    if (tab == m->line || tab - m->line >= PATH_MAX)
        return add_bad_line(im, m, "no path, or one that is too long", err);
    if (!wsl_text_is_clean(m->line, (size_t)(tab - m->line)) ||
        !wsl_text_is_clean(tab + 1, size - (size_t)(tab + 1 - m->line)))
        return add_bad_line(im, m, "not UTF-8, or with control characters", err);
    *tab = '\0';
    r = add_item(im, m->line, (size_t)(tab - m->line), &item, err);
    if (r < 0)
        return r;
    if (path_is_excluded(im->setup, m->line))
        item->state = ITEM_EXCLUDED;
    else
        r = add_tags(im, item, tab + 1, err);
    if (r < 0 || item->state != ITEM_READY) {
        im->tags.count = item->first_tag;
        item->tag_count = 0;
        return r;
    }
    use_tags(im, item);
    return 0;
}

static int list_manifest(struct import *im, struct wsl_err *err)
{
    struct manifest m = {.file = fopen(im->setup->source, "re"), .line = malloc(LINE_LIMIT + 1)};
    size_t size;
    int r = 0;

    if (!m.file)
        r = wsl_fail_errno(err, "cannot open manifest %s", im->setup->source);
    else if (!m.line)
        r = no_memory(err);
    while (r == 0 && next_line(&m, &size)) {
        r = add_line(im, &m, size, err);
        if (r == 0)
            r = import_check(im, err);
        import_tell(im, WSL_IMPORT_LIST, im->item_count, 0, 0, false);
    }
    if (r == 0 && ferror(m.file))
        r = wsl_fail_errno(err, "cannot read manifest %s", im->setup->source);
    if (m.file)
        fclose(m.file);
    free(m.line);
    return r;
}

/* ---- folder tree ---- */

static bool is_picture_name(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot && name[0] != '.' &&
           (strcasecmp(dot, ".png") == 0 || strcasecmp(dot, ".jpg") == 0 ||
            strcasecmp(dot, ".jpeg") == 0);
}

static int add_file(struct import *im, const char *path, struct wsl_err *err)
{
    const char *slash = strchr(path, '/');
    char label[NAME_MAX + 1]; /* a name in a folder fits */
    struct item *item;
    size_t length;
    uint32_t number;
    int r;

    if (!slash || !is_picture_name(strrchr(path, '/') + 1)) {
        im->result->other++;
        return 0;
    }
    r = add_item(im, path, strlen(path), &item, err);
    if (r < 0)
        return r;
    length = (size_t)(slash - path) < sizeof label ? (size_t)(slash - path) : sizeof label - 1;
    memcpy(label, path, length);
    label[length] = '\0';
    if (!wsl_text_is_clean(path, strlen(path))) {
        import_set_bad(item, WSL_IMPORT_FAULT_LINE,
                       "its name is not UTF-8, or has control characters");
        return 0;
    }
    if (path_is_excluded(im->setup, path) ||
        tag_fits(im->setup, im->setup->exclude_tags, im->setup->exclude_tag_count, label)) {
        item->state = ITEM_EXCLUDED;
        return 0;
    }
    r = wsl_vocabulary_add(im->vocabulary, label, &number, err);
    if (r < 0)
        return r;
    if (import_push(&im->tags, number) < 0)
        return no_memory(err);
    item->tag_count = 1;
    use_tags(im, item);
    return 0;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int add_entry(struct import *im, const FTSENT *entry, size_t skip, struct wsl_err *err)
{
    switch (entry->fts_info) {
    case FTS_F:
        return add_file(im, entry->fts_path + skip, err);
    case FTS_D:
    case FTS_DP:
        return 0;
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
        errno = entry->fts_errno;
        return wsl_fail_errno(err, "cannot read %s", entry->fts_path);
    default:
        im->result->other++;
        return 0;
    }
}

static int list_folders(struct import *im, struct wsl_err *err)
{
    char *const roots[] = {im->base, NULL};
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    size_t skip = strlen(im->base) + 1;
    FTSENT *entry;
    int r = 0;

    if (!tree)
        return wsl_fail_errno(err, "cannot read folder %s", im->base);
    while (r == 0 && (entry = fts_read(tree))) {
        if (entry->fts_level > 0)
            r = add_entry(im, entry, skip, err);
        else if (entry->fts_info != FTS_D && entry->fts_info != FTS_DP)
            r = wsl_fail(err, WSL_EINVAL, "%s is not a folder that can be read", im->base);
        if (r == 0)
            r = import_check(im, err);
        import_tell(im, WSL_IMPORT_LIST, im->item_count, 0, 0, false);
    }
    fts_close(tree);
    return r;
}

int import_list(struct import *im, struct wsl_err *err)
{
    int r = im->setup->kind == WSL_IMPORT_MANIFEST ? list_manifest(im, err) : list_folders(im, err);

    if (r == 0)
        import_tell(im, WSL_IMPORT_LIST, im->item_count, im->item_count, 0, true);
    return r;
}
