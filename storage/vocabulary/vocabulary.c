/* SPDX-License-Identifier: Apache-2.0
 *
 * The file is parsed and printed line by line; in memory spellings are sorted for lookup, each with
 * its folded form beside it.
 */
#include "storage/vocabulary/vocabulary.h"

#include "base/file.h"
#include "base/number.h"
#include "base/text_input.h"
#include "base/utf8.h"
#include "storage/vocabulary/grow.h"
#include "storage/vocabulary/tag_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 512 << 20, TAG_LIMIT = 1 << 20, SPELLING_LIMIT = 1 << 24, FIELDS_BEFORE = 3 };

int wsl_vocabulary_add_tag(struct wsl_vocabulary *l, const char *name, const char *synset,
                           uint64_t images)
{
    struct wsl_vocabulary_tag *more = wsl_grow(l->tags, l->tag_count, sizeof *more);
    struct wsl_vocabulary_tag *tag;

    if (!more)
        return WSL_ENOMEM;
    l->tags = more;
    tag = &more[l->tag_count++];
    *tag = (struct wsl_vocabulary_tag){strdup(name), strdup(synset), images};
    return tag->name && tag->synset ? 0 : WSL_ENOMEM;
}

static int add_spelling(struct wsl_vocabulary *l, const char *text, size_t size, uint32_t tag,
                        bool folded)
{
    struct wsl_vocabulary_spelling *more = wsl_grow(l->spellings, l->spelling_count, sizeof *more);
    char *copy = strndup(text, size);

    if (more)
        l->spellings = more;
    if (!more || !copy) {
        free(copy);
        return WSL_ENOMEM;
    }
    more[l->spelling_count++] = (struct wsl_vocabulary_spelling){copy, tag, folded};
    return 0;
}

int wsl_vocabulary_add_spelling(struct wsl_vocabulary *l, const char *text, size_t size,
                                uint32_t tag)
{
    char folded[WSL_TAG_SIZE];
    size_t n = wsl_utf8_is_clean(text, size) ? wsl_text_fold_tag(text, size, folded) : 0;
    int r = add_spelling(l, text, size, tag, false);

    if (r == 0 && n > 0 && (n != size || memcmp(text, folded, n) != 0))
        r = add_spelling(l, folded, n, tag, true);
    return r;
}

static int by_text(const void *a, const void *b)
{
    const struct wsl_vocabulary_spelling *x = a, *y = b;
    int r = strcmp(x->text, y->text);

    return r != 0 ? r : (x->tag > y->tag) - (x->tag < y->tag);
}

void wsl_vocabulary_sort(struct wsl_vocabulary *l)
{
    if (l->spelling_count > 0)
        qsort(l->spellings, l->spelling_count, sizeof *l->spellings, by_text);
}

/* The tags of the spellings that are `spelling`: of those in the file, or of all with their folded
 * forms. */
static int find(const struct wsl_vocabulary *l, const char *spelling, bool folded,
                uint32_t ret_tags[WSL_VOCABULARY_MEANINGS_MAX])
{
    size_t low = 0, high = l->spelling_count;
    int n = 0;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(l->spellings[middle].text, spelling) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < l->spelling_count && strcmp(l->spellings[low].text, spelling) == 0; low++)
        if (n < WSL_VOCABULARY_MEANINGS_MAX && (folded || !l->spellings[low].folded) &&
            (n == 0 || ret_tags[n - 1] != l->spellings[low].tag))
            ret_tags[n++] = l->spellings[low].tag;
    return n;
}

int wsl_vocabulary_find(const struct wsl_vocabulary *l, const char *spelling,
                        uint32_t ret_tags[WSL_VOCABULARY_MEANINGS_MAX])
{
    char folded[WSL_TAG_SIZE];
    size_t size = strlen(spelling);
    int n = find(l, spelling, false, ret_tags);

    if (n > 0 || !wsl_utf8_is_clean(spelling, size) ||
        wsl_text_fold_tag(spelling, size, folded) == 0)
        return n;
    return find(l, folded, true, ret_tags);
}

void wsl_vocabulary_free(struct wsl_vocabulary *l)
{
    for (size_t i = 0; i < l->tag_count; i++) {
        free(l->tags[i].name);
        free(l->tags[i].synset);
    }
    for (size_t i = 0; i < l->spelling_count; i++)
        free(l->spellings[i].text);
    free(l->tags);
    free(l->spellings);
    memset(l, 0, sizeof *l);
}

/* ---- the file ---- */

static int parse_line(struct wsl_vocabulary *l, char *line)
{
    char *fields[FIELDS_BEFORE];
    uint64_t images;

    for (int i = 0; i < FIELDS_BEFORE; i++) {
        fields[i] = strsep(&line, "\t");
        if (!fields[i] || (i == 0 && !*fields[i]))
            return WSL_ECORRUPT;
    }
    if (wsl_number_parse_u64(fields[2], &images) < 0)
        return WSL_ECORRUPT;
    if (l->tag_count == TAG_LIMIT)
        return WSL_ELIMIT;
    if (wsl_vocabulary_add_tag(l, fields[0], fields[1], images) < 0)
        return WSL_ENOMEM;
    for (char *text; (text = strsep(&line, "\t"));) {
        if (!*text)
            return WSL_ECORRUPT;
        if (l->spelling_count == SPELLING_LIMIT)
            return WSL_ELIMIT;
        if (wsl_vocabulary_add_spelling(l, text, strlen(text), (uint32_t)l->tag_count - 1) < 0)
            return WSL_ENOMEM;
    }
    return 0;
}

static int parse_file(struct wsl_vocabulary *l, const char *path, struct wsl_buf *text,
                      struct wsl_err *err)
{
    char *rest = (char *)text->data, *line;
    size_t size;

    for (unsigned number = 1; (line = wsl_text_input_line(&rest, &size)); number++) {
        int r;

        if (*line == '#' || *line == '\0')
            continue;
        for (char *p = line; *p; p++) /* tabs are fields; the rest must be clean */
            if (*p != '\t' && ((unsigned char)*p < 0x20 || *p == 0x7f))
                return wsl_fail(err, WSL_ECORRUPT, "%s:%u: a control character", path, number);
        if (!wsl_utf8_is_valid(line, size))
            return wsl_fail(err, WSL_ECORRUPT, "%s:%u: not UTF-8", path, number);
        r = parse_line(l, line);
        if (r == WSL_ECORRUPT)
            return wsl_fail(err, r,
                            "%s:%u: wants name, synset, images and spellings, with tabs between",
                            path, number);
        if (r < 0)
            return wsl_fail(err, r, "%s:%u: %s", path, number, wsl_err_name(r));
    }
    return 0;
}

int wsl_vocabulary_load(struct wsl_vocabulary *ret, const char *path, struct wsl_err *err)
{
    struct wsl_buf text = {0};
    int r = wsl_text_input_read(path, FILE_LIMIT, &text, err);

    memset(ret, 0, sizeof *ret);
    if (r == 0)
        r = parse_file(ret, path, &text, err);
    wsl_buf_free(&text);
    if (r == 0 && ret->tag_count == 0)
        r = wsl_fail(err, WSL_ECORRUPT, "%s has no tags", path);
    if (r < 0)
        wsl_vocabulary_free(ret);
    else
        wsl_vocabulary_sort(ret);
    return r;
}

static int by_tag(const void *a, const void *b)
{
    const struct wsl_vocabulary_spelling *x = *(struct wsl_vocabulary_spelling *const *)a,
                                         *y = *(struct wsl_vocabulary_spelling *const *)b;

    return x->tag != y->tag ? (x->tag > y->tag) - (x->tag < y->tag) : strcmp(x->text, y->text);
}

static int print(const struct wsl_vocabulary *l, struct wsl_vocabulary_spelling **sorted,
                 struct wsl_buf *out)
{
    int r = wsl_buf_add_text(out, "# name, synset, training images, spellings; by tabs\n");
    size_t at = 0;

    for (size_t t = 0; t < l->tag_count && r == 0; t++) {
        r = wsl_buf_add_format(out, "%s\t%s\t%llu", l->tags[t].name, l->tags[t].synset,
                               (unsigned long long)l->tags[t].images);
        for (; at < l->spelling_count && sorted[at]->tag == t && r == 0; at++)
            if (!sorted[at]->folded)
                r = wsl_buf_add_format(out, "\t%s", sorted[at]->text);
        if (r == 0)
            r = wsl_buf_add_text(out, "\n");
    }
    return r;
}

int wsl_vocabulary_save(const struct wsl_vocabulary *l, const char *path, struct wsl_err *err)
{
    struct wsl_vocabulary_spelling **sorted = calloc(l->spelling_count + 1, sizeof(void *));
    struct wsl_buf out = {.limit = FILE_LIMIT};
    int r;

    if (!sorted)
        return wsl_fail(err, WSL_ENOMEM, "no memory for %s", path);
    for (size_t i = 0; i < l->spelling_count; i++)
        sorted[i] = &l->spellings[i];
    qsort(sorted, l->spelling_count, sizeof(void *), by_tag);
    r = print(l, sorted, &out);
    free(sorted);
    if (r < 0)
        wsl_fail(err, r, "cannot make %s: %s", path, wsl_err_name(r));
    else
        r = wsl_file_write_atomic(path, out.data, out.size, err);
    wsl_buf_free(&out);
    return r;
}
