/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads the file of classes into two sorted lists, by name and by synset, that a tag is looked up
 * in.
 */
#include "storage/vocabulary/classes.h"

#include "base/text_input.h"
#include "base/utf8.h"
#include "storage/vocabulary/grow.h"

#include <stdlib.h>
#include <string.h>

enum { FILE_LIMIT = 64 << 20, CLASS_LIMIT = 1 << 20, SENSES = 64 };

static int add_name(struct wsl_classes *c, const char *text, uint32_t class)
{
    struct wsl_class_name *more = wsl_grow(c->names, c->name_count, sizeof *more);
    char *copy = strdup(text);

    if (more)
        c->names = more;
    if (!more || !copy) {
        free(copy);
        return WSL_ENOMEM;
    }
    more[c->name_count++] = (struct wsl_class_name){copy, class};
    return 0;
}

static int add_synset(struct wsl_classes *c, uint32_t synset, uint32_t class)
{
    struct wsl_class_synset *more = wsl_grow(c->synsets, c->synset_count, sizeof *more);

    if (!more)
        return WSL_ENOMEM;
    c->synsets = more;
    more[c->synset_count++] = (struct wsl_class_synset){synset, class};
    return 0;
}

/* "n02084071" at the start of a line, then a blank or the end; 0: none. */
static uint32_t take_synset(char **line)
{
    const char *p = *line;
    char *end;
    unsigned long number;

    if (p[0] != 'n' || strspn(p + 1, "0123456789") != 8 || !strchr(" \t,", p[9]))
        return 0;
    number = strtoul(p + 1, &end, 10);
    *line = end;
    return (uint32_t)number;
}

static int parse_line(struct wsl_classes *c, char *line, const struct wsl_wordnet *wn)
{
    struct wsl_class *more = wsl_grow(c->list, c->count, sizeof *more), *class;
    uint32_t number = (uint32_t)c->count;
    struct wsl_noun noun;
    int r = 0;

    if (c->count == CLASS_LIMIT)
        return WSL_ELIMIT;
    if (!more)
        return WSL_ENOMEM;
    c->list = more;
    class = &more[c->count++];
    *class = (struct wsl_class){.synset = take_synset(&line)};
    while (line && r == 0) {
        const char *name = strsep(&line, ",");
        char tag[WSL_TAG_SIZE];

        name += strspn(name, " \t");
        if (wsl_text_fold_tag(name, strlen(name), tag) == 0)
            continue;
        if (!class->name[0])
            strcpy(class->name, tag);
        if (class->synset == 0 && wn && wsl_wordnet_find(wn, tag, &noun))
            class->synset = noun.synset;
        r = add_name(c, tag, number);
    }
    if (r == 0 && class->synset)
        r = add_synset(c, class->synset, number);
    return r == 0 && !class->name[0] ? WSL_ECORRUPT : r;
}

static int by_name(const void *a, const void *b)
{
    const struct wsl_class_name *x = a, *y = b;
    int r = strcmp(x->text, y->text);

    return r != 0 ? r : (x->class > y->class) - (x->class < y->class);
}

static int by_synset(const void *a, const void *b)
{
    const struct wsl_class_synset *x = a, *y = b;

    if (x->synset != y->synset)
        return x->synset < y->synset ? -1 : 1;
    return (x->class > y->class) - (x->class < y->class);
}

static int parse_file(struct wsl_classes *c, const char *path, struct wsl_buf *text,
                      const struct wsl_wordnet *wn, struct wsl_err *err)
{
    char *rest = (char *)text->data, *line;
    size_t size;

    for (unsigned number = 1; (line = wsl_text_input_line(&rest, &size)); number++) {
        int r;

        if (size == 0 || *line == '#')
            continue;
        for (size_t i = 0; i < size; i++)
            line[i] = line[i] == '\t' ? ' ' : line[i];
        r = wsl_utf8_is_clean(line, size) ? parse_line(c, line, wn) : WSL_ECORRUPT;
        if (r == WSL_ECORRUPT)
            return wsl_fail(err, r, "%s:%u: wants a class: names by commas, or a synset and names",
                            path, number);
        if (r < 0)
            return wsl_fail(err, r, "%s:%u: %s", path, number, wsl_err_name(r));
    }
    if (c->count == 0)
        return wsl_fail(err, WSL_ECORRUPT, "%s has no classes", path);
    return 0;
}

int wsl_classes_load(struct wsl_classes *ret, const char *path, const struct wsl_wordnet *wn,
                     struct wsl_err *err)
{
    struct wsl_buf text = {0};
    int r = wsl_text_input_read(path, FILE_LIMIT, &text, err);

    memset(ret, 0, sizeof *ret);
    if (r == 0)
        r = parse_file(ret, path, &text, wn, err);
    wsl_buf_free(&text);
    if (r < 0) {
        wsl_classes_free(ret);
        return r;
    }
    qsort(ret->names, ret->name_count, sizeof *ret->names, by_name);
    if (ret->synset_count > 0)
        qsort(ret->synsets, ret->synset_count, sizeof *ret->synsets, by_synset);
    return 0;
}

void wsl_classes_free(struct wsl_classes *c)
{
    for (size_t i = 0; i < c->name_count; i++)
        free(c->names[i].text);
    free(c->names);
    free(c->synsets);
    free(c->list);
    memset(c, 0, sizeof *c);
}

static struct wsl_class *find_name(const struct wsl_classes *c, const char *tag)
{
    size_t low = 0, high = c->name_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(c->names[middle].text, tag) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < c->name_count && strcmp(c->names[low].text, tag) == 0
               ? &c->list[c->names[low].class]
               : NULL;
}

static struct wsl_class *find_synset(const struct wsl_classes *c, uint32_t synset)
{
    size_t low = 0, high = c->synset_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (c->synsets[middle].synset < synset)
            low = middle + 1;
        else
            high = middle;
    }
    return low < c->synset_count && c->synsets[low].synset == synset
               ? &c->list[c->synsets[low].class]
               : NULL;
}

struct wsl_class *wsl_classes_find(const struct wsl_classes *c, const struct wsl_wordnet *wn,
                                   const char *tag)
{
    struct wsl_class *class = find_name(c, tag);
    uint32_t senses[SENSES];
    int count = !class && wn ? wsl_wordnet_senses(wn, tag, senses, SENSES) : 0;

    for (int i = 0; !class && i < count; i++)
        class = find_synset(c, senses[i]);
    return class;
}
