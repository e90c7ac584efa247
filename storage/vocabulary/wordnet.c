/* SPDX-License-Identifier: Apache-2.0
 *
 * Words stay where they lie in the files' text; the tables hold numbers of entries. A word that is
 * not ASCII is brought into the form that tags have, as it is looked up in that form.
 */
#include "storage/vocabulary/wordnet.h"

#include "base/file.h"
#include "base/text_input.h"
#include "base/utf8.h"
#include "storage/vocabulary/tag_text.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

enum { FILE_LIMIT = 64 << 20, ENTRY_LIMIT = 4 << 20 };

/* A word of a file and what it stands for: of index.noun a lemma and the synset of its first sense,
 * of noun.exc a plural and the text of its singular. */
struct entry {
    const char *word;
    uint8_t size;
    uint8_t base_size;
    uint16_t senses; /* of a lemma: how many synsets `base` lists */
    uint32_t synset;
    const char *base; /* of a plural: its singular; of a lemma: its synsets, "%08u %08u ..." */
};

struct list {
    struct entry *entries;
    uint32_t count, capacity;
};

/* Open addressing, at most half full: slot = entry number + 1, or 0. */
struct table {
    uint32_t *slots;
    uint32_t mask;
};

/* A folded word that is longer than the spelling in the file. */
struct owned {
    struct owned *next;
    char text[];
};

struct wsl_wordnet {
    struct wsl_buf index_text, exception_text;
    struct owned *owned;
    struct list lemmas, exceptions;
    struct table by_lemma;  /* as written */
    struct table by_squash; /* without separators; lemmas that have some */
    struct table by_exception;
};

/* ---- tables ---- */

static bool is_separator(char c)
{
    return c == '_' || c == '-' || c == ' ' || c == '\'' || c == '.' || c == '/';
}

static size_t squash(const char *word, size_t size, char out[UINT8_MAX + 1])
{
    size_t n = 0;

    for (size_t i = 0; i < size && n < UINT8_MAX; i++)
        if (!is_separator(word[i]))
            out[n++] = word[i];
    return n;
}

static int table_open(struct table *table, uint32_t count)
{
    uint32_t slots = 16;

    while (slots < 2 * count)
        slots *= 2;
    table->slots = calloc(slots, sizeof *table->slots);
    table->mask = slots - 1;
    return table->slots ? 0 : WSL_ENOMEM;
}

static bool same(const struct entry *entry, const char *word, size_t size, bool squashed)
{
    char mine[UINT8_MAX + 1];

    if (!squashed)
        return entry->size == size && memcmp(entry->word, word, size) == 0;
    return squash(entry->word, entry->size, mine) == size && memcmp(mine, word, size) == 0;
}

/* The slot that holds the word, or the free one where it belongs. */
static uint32_t *table_slot(const struct table *table, const struct list *list, const char *word,
                            size_t size, bool squashed)
{
    uint32_t at = (uint32_t)XXH3_64bits(word, size) & table->mask;

    while (table->slots[at] && !same(&list->entries[table->slots[at] - 1], word, size, squashed))
        at = (at + 1) & table->mask;
    return &table->slots[at];
}

static const struct entry *find(const struct table *table, const struct list *list,
                                const char *word, size_t size, bool squashed)
{
    uint32_t slot = *table_slot(table, list, word, size, squashed);

    return slot ? &list->entries[slot - 1] : NULL;
}

/* The first of equal words stays. */
static void table_fill(struct table *table, const struct list *list, bool squashed)
{
    char word[UINT8_MAX + 1];

    for (uint32_t i = 0; i < list->count; i++) {
        const struct entry *e = &list->entries[i];
        size_t n = squashed ? squash(e->word, e->size, word) : e->size;
        uint32_t *slot;

        if (squashed && (n == e->size || n == 0))
            continue; /* nothing to leave out: by_lemma has it */
        slot = table_slot(table, list, squashed ? word : e->word, n, squashed);
        if (*slot == 0)
            *slot = i + 1;
    }
}

/* ---- files ---- */

struct word {
    const char *text;
    size_t size;
};

/* The next word of a line, or an empty one. */
static struct word next_word(const char **at, const char *end)
{
    struct word w;

    while (*at < end && **at == ' ')
        ++*at;
    w.text = *at;
    while (*at < end && **at != ' ')
        ++*at;
    w.size = (size_t)(*at - w.text);
    return w;
}

static bool parse_number(struct word w, uint32_t limit, uint32_t *ret)
{
    uint32_t value = 0;

    if (w.size == 0 || w.size > 9)
        return false;
    for (size_t i = 0; i < w.size; i++) {
        if (w.text[i] < '0' || w.text[i] > '9')
            return false;
        value = value * 10 + (uint32_t)(w.text[i] - '0');
    }
    *ret = value;
    return value <= limit;
}

/* lemma n synset_count pointer_count [pointer...] sense_count tagged_count synset... */
static bool parse_lemma(const char *at, const char *end, struct entry *ret)
{
    struct word lemma = next_word(&at, end), kind = next_word(&at, end), offset;
    uint32_t synsets, pointers, senses, tagged;

    if (lemma.size == 0 || lemma.size > UINT8_MAX || kind.size != 1 || *kind.text != 'n')
        return false;
    if (!parse_number(next_word(&at, end), 1000, &synsets) || synsets == 0 ||
        !parse_number(next_word(&at, end), 100, &pointers))
        return false;
    for (uint32_t i = 0; i < pointers; i++)
        next_word(&at, end);
    if (!parse_number(next_word(&at, end), 1000, &senses) ||
        !parse_number(next_word(&at, end), 1000, &tagged))
        return false;
    offset = next_word(&at, end);
    ret->word = lemma.text;
    ret->size = (uint8_t)lemma.size;
    ret->base = offset.text;
    for (ret->senses = 1; ret->senses < synsets && next_word(&at, end).size == 8;)
        ret->senses++;
    return offset.size == 8 && parse_number(offset, 99999999, &ret->synset);
}

/* plural singular [singular...]: the first counts */
static bool parse_exception(const char *at, const char *end, struct entry *ret)
{
    struct word plural = next_word(&at, end), singular = next_word(&at, end);

    if (plural.size == 0 || plural.size > UINT8_MAX || singular.size == 0 ||
        singular.size > UINT8_MAX)
        return false;
    ret->word = plural.text;
    ret->size = (uint8_t)plural.size;
    ret->base = singular.text;
    ret->base_size = (uint8_t)singular.size;
    return true;
}

static int list_add(struct list *list, const struct entry *entry)
{
    if (list->count == list->capacity) {
        uint32_t capacity = list->capacity ? 2 * list->capacity : 4096;
        struct entry *more;

        if (capacity > ENTRY_LIMIT)
            return WSL_ELIMIT;
        more = realloc(list->entries, capacity * sizeof *more);
        if (!more)
            return WSL_ENOMEM;
        list->entries = more;
        list->capacity = capacity;
    }
    list->entries[list->count++] = *entry;
    return 0;
}

/* Brings a word that is not ASCII into the form that tags have (tag_text.h), with underscores for
 * blanks: into its place in the file's text, or beside it when it is longer. */
static int fold_word(struct wsl_wordnet *wn, const char **word, uint8_t *size)
{
    char tag[WSL_TAG_SIZE];
    size_t n, i = 0;
    struct owned *owned;

    while (i < *size && !((*word)[i] & 0x80))
        i++;
    if (i == *size)
        return 0;
    if (!wsl_utf8_is_clean(*word, *size))
        return WSL_ECORRUPT;
    n = wsl_text_fold_tag(*word, *size, tag);
    if (n == 0)
        return 0; /* longer than any tag */
    for (char *p = tag; *p; p++)
        *p = *p == ' ' ? '_' : *p;
    if (n <= *size) {
        memcpy((char *)*word, tag, n);
    } else {
        owned = malloc(sizeof *owned + n);
        if (!owned)
            return WSL_ENOMEM;
        memcpy(owned->text, tag, n);
        owned->next = wn->owned;
        wn->owned = owned;
        *word = owned->text;
    }
    *size = (uint8_t)n;
    return 0;
}

struct source {
    const char *directory, *file;
    bool (*parse)(const char *at, const char *end, struct entry *ret);
};

static int read_list(struct wsl_wordnet *wn, const struct source *source, struct wsl_buf *text,
                     struct list *list, struct wsl_err *err)
{
    char path[PATH_MAX];
    char *rest, *line;
    size_t size;
    int r;

    if (wsl_file_join(path, sizeof path, source->directory, source->file) < 0)
        return wsl_fail(err, WSL_EINVAL, "path too long: %s", source->directory);
    if (!wsl_file_exists(path))
        return wsl_fail(err, WSL_ENOENT,
                        "%s is missing: give a directory with WordNet's index.noun and noun.exc "
                        "(Debian package wordnet-base)",
                        path);
    r = wsl_text_input_read(path, FILE_LIMIT, text, err);
    if (r < 0)
        return r;
    rest = (char *)text->data;
    for (unsigned number = 1; (line = wsl_text_input_line(&rest, &size)); number++) {
        struct entry entry = {0};

        if (*line == ' ') /* the licence is indented */
            continue;
        if (!source->parse(line, line + size, &entry))
            return wsl_fail(err, WSL_ECORRUPT, "%s:%u: not a line of WordNet's", path, number);
        r = fold_word(wn, &entry.word, &entry.size);
        if (r == 0 && entry.base_size > 0)
            r = fold_word(wn, &entry.base, &entry.base_size);
        if (r == 0)
            r = list_add(list, &entry);
        if (r < 0)
            return wsl_fail(err, r, "%s:%u: %s", path, number, wsl_err_name(r));
    }
    if (list->count == 0)
        return wsl_fail(err, WSL_ECORRUPT, "%s has no words", path);
    return 0;
}

int wsl_wordnet_open(struct wsl_wordnet **ret, const char *directory, struct wsl_err *err)
{
    struct source lemmas = {directory, "index.noun", parse_lemma};
    struct source exceptions = {directory, "noun.exc", parse_exception};
    struct wsl_wordnet *wn = calloc(1, sizeof *wn);
    int r;

    if (!wn)
        return wsl_fail(err, WSL_ENOMEM, "no memory for WordNet");
    r = read_list(wn, &lemmas, &wn->index_text, &wn->lemmas, err);
    if (r == 0)
        r = read_list(wn, &exceptions, &wn->exception_text, &wn->exceptions, err);
    if (r == 0 && (table_open(&wn->by_lemma, wn->lemmas.count) < 0 ||
                   table_open(&wn->by_squash, wn->lemmas.count) < 0 ||
                   table_open(&wn->by_exception, wn->exceptions.count) < 0))
        r = wsl_fail(err, WSL_ENOMEM, "no memory for WordNet");
    if (r < 0) {
        wsl_wordnet_close(wn);
        return r;
    }
    table_fill(&wn->by_lemma, &wn->lemmas, false);
    table_fill(&wn->by_squash, &wn->lemmas, true);
    table_fill(&wn->by_exception, &wn->exceptions, false);
    *ret = wn;
    return 0;
}

void wsl_wordnet_close(struct wsl_wordnet *wn)
{
    if (!wn)
        return;
    for (struct owned *owned; (owned = wn->owned);) {
        wn->owned = owned->next;
        free(owned);
    }
    free(wn->by_lemma.slots);
    free(wn->by_squash.slots);
    free(wn->by_exception.slots);
    free(wn->lemmas.entries);
    free(wn->exceptions.entries);
    wsl_buf_free(&wn->index_text);
    wsl_buf_free(&wn->exception_text);
    free(wn);
}

/* ---- look-up ---- */

/* One way to write the tag; a try with each is a pass over exact word, exceptions and suffixes. */
typedef const struct entry *try_fn(const struct wsl_wordnet *wn, const char *word, size_t size);

static const struct entry *try_exact(const struct wsl_wordnet *wn, const char *word, size_t size)
{
    return find(&wn->by_lemma, &wn->lemmas, word, size, false);
}

static const struct entry *try_squashed(const struct wsl_wordnet *wn, const char *word, size_t size)
{
    const struct entry *e = try_exact(wn, word, size);

    return e ? e : find(&wn->by_squash, &wn->lemmas, word, size, true);
}

/* The noun rules of morphy(7WN), in its order. */
static const struct entry *try_singular(const struct wsl_wordnet *wn, const char *word, size_t size,
                                        try_fn *try)
{
    static const struct {
        const char *plural, *singular;
    } rules[] = {{"s", ""},      {"ses", "s"},   {"xes", "x"},   {"zes", "z"},
                 {"ches", "ch"}, {"shes", "sh"}, {"men", "man"}, {"ies", "y"}};
    const struct entry *e = find(&wn->by_exception, &wn->exceptions, word, size, false);

    if (e)
        e = try(wn, e->base, e->base_size);
    if (e || size < 3 || memcmp(word + size - 2, "ss", 2) == 0)
        return e;
    for (size_t i = 0; !e && i < sizeof rules / sizeof *rules; i++) {
        size_t plural = strlen(rules[i].plural), singular = strlen(rules[i].singular);
        char form[WSL_TAG_SIZE];

        if (size <= plural || memcmp(word + size - plural, rules[i].plural, plural) != 0)
            continue;
        memcpy(form, word, size - plural);
        memcpy(form + size - plural, rules[i].singular, singular);
        e = try(wn, form, size - plural + singular);
    }
    return e;
}

/* Replaces '-' and ' ' by `separator`, or only ' ' when `keep_hyphens`. */
static size_t spell(const char *tag, char separator, bool keep_hyphens, char out[WSL_TAG_SIZE])
{
    size_t n = 0;

    for (; tag[n] && n + 1 < WSL_TAG_SIZE; n++)
        out[n] = tag[n] == ' ' || (tag[n] == '-' && !keep_hyphens) ? separator : tag[n];
    return n;
}

static const struct entry *look_up(const struct wsl_wordnet *wn, const char *tag)
{
    char forms[3][WSL_TAG_SIZE], joined[UINT8_MAX + 1];
    size_t sizes[3] = {spell(tag, '_', true, forms[0]), spell(tag, '_', false, forms[1]),
                       spell(tag, '-', false, forms[2])};
    const struct entry *e = NULL;
    size_t n = squash(tag, strnlen(tag, WSL_TAG_SIZE - 1), joined);

    for (int i = 0; !e && i < 3; i++)
        e = try_exact(wn, forms[i], sizes[i]);
    for (int i = 0; !e && i < 3; i++)
        e = try_singular(wn, forms[i], sizes[i], try_exact);
    if (!e && n > 0)
        e = try_squashed(wn, joined, n);
    if (!e && n > 0)
        e = try_singular(wn, joined, n, try_squashed);
    return e;
}

bool wsl_wordnet_find(const struct wsl_wordnet *wn, const char *tag, struct wsl_noun *ret)
{
    const struct entry *e = look_up(wn, tag);

    if (!e)
        return false;
    ret->synset = e->synset;
    ret->lemma = e->word;
    ret->lemma_size = e->size;
    return true;
}

int wsl_wordnet_senses(const struct wsl_wordnet *wn, const char *tag, uint32_t *ret_synsets,
                       int limit)
{
    const struct entry *e = look_up(wn, tag);
    int n = 0;

    for (; e && n < e->senses && n < limit; n++)
        if (!parse_number((struct word){e->base + n * (8 + 1), 8}, 99999999, &ret_synsets[n]))
            break;
    return n;
}
