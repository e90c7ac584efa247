/* SPDX-License-Identifier: Apache-2.0
 *
 * Spellings and synsets lie in one pair of open-addressing tables that grow together. Names and ids
 * are only decided at the end, when all uses are counted.
 */
#include "storage/vocabulary/builder.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

enum { SPELLING_LIMIT = 1 << 24 };

struct spelling {
    char *text;       /* owned */
    uint64_t hash;    /* of text */
    const char *name; /* the dictionary form; in WordNet's text or == text */
    int name_size;
    uint32_t concept;
    uint64_t uses;
};

struct concept {
    uint32_t synset; /* 0 without WordNet */
    const char *name;
    int name_size;
    uint64_t counts[2]; /* by enum wsl_split */
    uint64_t uses;
    uint32_t id;
};

struct wsl_vocabulary_builder {
    const struct wsl_wordnet *wn;
    bool only_nouns;
    struct spelling *spellings;
    uint32_t spelling_count, spelling_capacity;
    struct concept *concepts;
    uint32_t concept_count, concept_capacity;
    uint32_t *by_text;   /* slot = spelling + 1, or 0; at most half full */
    uint32_t *by_synset; /* slot = concept + 1, or 0 */
    uint32_t slots;      /* of each */
    uint32_t *ranked;    /* concept of each id, after select */
    uint32_t tag_count;
};

/* ---- growing ---- */

static uint32_t *text_slot(const struct wsl_vocabulary_builder *v, const char *text, uint64_t hash)
{
    uint32_t at = (uint32_t)hash & (v->slots - 1);

    for (; v->by_text[at]; at = (at + 1) & (v->slots - 1)) {
        const struct spelling *s = &v->spellings[v->by_text[at] - 1];

        if (s->hash == hash && strcmp(s->text, text) == 0)
            break;
    }
    return &v->by_text[at];
}

static uint32_t *synset_slot(const struct wsl_vocabulary_builder *v, uint32_t synset)
{
    uint32_t at = (uint32_t)XXH3_64bits(&synset, sizeof synset) & (v->slots - 1);

    while (v->by_synset[at] && v->concepts[v->by_synset[at] - 1].synset != synset)
        at = (at + 1) & (v->slots - 1);
    return &v->by_synset[at];
}

static int grow_slots(struct wsl_vocabulary_builder *v)
{
    uint32_t slots = v->slots ? 2 * v->slots : 1024;
    uint32_t *by_text = calloc(slots, sizeof *by_text), *by_synset = calloc(slots, sizeof *by_text);

    if (!by_text || !by_synset) {
        free(by_text);
        free(by_synset);
        return WSL_ENOMEM;
    }
    free(v->by_text);
    free(v->by_synset);
    v->by_text = by_text;
    v->by_synset = by_synset;
    v->slots = slots;
    for (uint32_t i = 0; i < v->spelling_count; i++)
        *text_slot(v, v->spellings[i].text, v->spellings[i].hash) = i + 1;
    for (uint32_t i = 0; i < v->concept_count; i++) {
        if (v->concepts[i].synset)
            *synset_slot(v, v->concepts[i].synset) = i + 1;
    }
    return 0;
}

static int reserve(struct wsl_vocabulary_builder *v)
{
    if (2 * (v->spelling_count + 1) > v->slots && grow_slots(v) < 0)
        return WSL_ENOMEM;
    if (v->spelling_count == v->spelling_capacity) {
        uint32_t more = v->spelling_capacity ? 2 * v->spelling_capacity : 512;
        struct spelling *spellings = realloc(v->spellings, more * sizeof *spellings);
        struct concept *concepts;

        if (!spellings)
            return WSL_ENOMEM;
        v->spellings = spellings;
        v->spelling_capacity = more;
        /* Never more concepts than spellings. */
        concepts = realloc(v->concepts, more * sizeof *concepts);
        if (!concepts)
            return WSL_ENOMEM;
        v->concepts = concepts;
        v->concept_capacity = more;
    }
    return v->concept_capacity < v->spelling_capacity ? WSL_ENOMEM : 0;
}

int wsl_vocabulary_builder_open(struct wsl_vocabulary_builder **ret, const struct wsl_wordnet *wn,
                                bool only_nouns, struct wsl_err *err)
{
    struct wsl_vocabulary_builder *v = calloc(1, sizeof *v);

    if (!v || reserve(v) < 0) {
        wsl_vocabulary_builder_close(v);
        return wsl_fail(err, WSL_ENOMEM, "no memory for a vocabulary");
    }
    v->wn = wn;
    v->only_nouns = only_nouns;
    *ret = v;
    return 0;
}

void wsl_vocabulary_builder_close(struct wsl_vocabulary_builder *v)
{
    if (!v)
        return;
    for (uint32_t i = 0; i < v->spelling_count; i++)
        free(v->spellings[i].text);
    free(v->spellings);
    free(v->concepts);
    free(v->by_text);
    free(v->by_synset);
    free(v->ranked);
    free(v);
}

static uint32_t add_concept(struct wsl_vocabulary_builder *v, uint32_t synset)
{
    v->concepts[v->concept_count] = (struct concept){.synset = synset, .id = WSL_NO_CONCEPT};
    return v->concept_count++;
}

/* Fills in the name and the concept of a new spelling. */
static void place(struct wsl_vocabulary_builder *v, struct spelling *s)
{
    struct wsl_noun noun;
    uint32_t *slot;

    s->name = s->text;
    s->name_size = (int)strlen(s->text);
    if (!v->wn || !wsl_wordnet_find(v->wn, s->text, &noun)) {
        s->concept = v->wn && v->only_nouns ? WSL_NO_CONCEPT : add_concept(v, 0);
        return;
    }
    slot = synset_slot(v, noun.synset);
    if (*slot == 0)
        *slot = add_concept(v, noun.synset) + 1;
    s->concept = *slot - 1;
    s->name = noun.lemma;
    s->name_size = noun.lemma_size;
}

int wsl_vocabulary_builder_add(struct wsl_vocabulary_builder *v, const char *text,
                               uint32_t *ret_number, struct wsl_err *err)
{
    uint64_t hash = XXH3_64bits(text, strlen(text));
    struct spelling *s;
    uint32_t *slot;

    slot = text_slot(v, text, hash);
    if (*slot) {
        *ret_number = *slot - 1;
        return 0;
    }
    if (v->spelling_count == SPELLING_LIMIT)
        return wsl_fail(err, WSL_ELIMIT, "the source has more than %d different tags",
                        SPELLING_LIMIT);
    if (reserve(v) < 0)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the tags of the source");
    s = &v->spellings[v->spelling_count];
    *s = (struct spelling){.text = strdup(text), .hash = hash};
    if (!s->text)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the tags of the source");
    place(v, s);
    *text_slot(v, text, hash) = ++v->spelling_count;
    *ret_number = v->spelling_count - 1;
    return 0;
}

uint32_t wsl_vocabulary_builder_concept(const struct wsl_vocabulary_builder *v, uint32_t spelling)
{
    return v->spellings[spelling].concept;
}

void wsl_vocabulary_builder_use(struct wsl_vocabulary_builder *v, uint32_t spelling)
{
    struct spelling *s = &v->spellings[spelling];

    s->uses++;
    if (s->concept != WSL_NO_CONCEPT)
        v->concepts[s->concept].uses++;
}

void wsl_vocabulary_builder_count(struct wsl_vocabulary_builder *v, uint32_t concept,
                                  enum wsl_split split)
{
    v->concepts[concept].counts[split]++;
}

/* ---- choosing ---- */

static int compare_names(const char *a, int a_size, const char *b, int b_size)
{
    int r = memcmp(a, b, (size_t)(a_size < b_size ? a_size : b_size));

    return r != 0 ? r : (a_size > b_size) - (a_size < b_size);
}

/* Several spellings may share a dictionary form ("dog", "dogs"): forms compete, not spellings. */
static int by_form(const void *a, const void *b)
{
    const struct spelling *x = *(const struct spelling *const *)a;
    const struct spelling *y = *(const struct spelling *const *)b;

    if (x->concept != y->concept)
        return x->concept < y->concept ? -1 : 1;
    return compare_names(x->name, x->name_size, y->name, y->name_size);
}

static void name_concepts(struct wsl_vocabulary_builder *v, const struct spelling **sorted)
{
    for (uint32_t i = 0; i < v->spelling_count;) {
        const struct spelling *first = sorted[i];
        struct concept *concept;
        uint64_t uses = 0, best = 0;

        if (first->concept == WSL_NO_CONCEPT)
            break; /* they sort last */
        concept = &v->concepts[first->concept];
        for (const struct spelling *form = first; i < v->spelling_count; i++) {
            if (sorted[i]->concept != first->concept)
                break;
            if (by_form(&form, &sorted[i]) != 0) {
                form = sorted[i];
                uses = 0;
            }
            uses += sorted[i]->uses;
            if (uses > best || !concept->name) {
                best = uses;
                concept->name = form->name;
                concept->name_size = form->name_size;
            }
        }
    }
}

static int by_count(const void *a, const void *b)
{
    const struct concept *x = *(const struct concept *const *)a;
    const struct concept *y = *(const struct concept *const *)b;

    if (x->counts[WSL_SPLIT_TRAIN] != y->counts[WSL_SPLIT_TRAIN])
        return x->counts[WSL_SPLIT_TRAIN] > y->counts[WSL_SPLIT_TRAIN] ? -1 : 1;
    return compare_names(x->name, x->name_size, y->name, y->name_size);
}

static void rank_concepts(struct wsl_vocabulary_builder *v, struct concept **frequent,
                          uint64_t min_images, uint64_t max_tags)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < v->concept_count; i++) {
        uint64_t train = v->concepts[i].counts[WSL_SPLIT_TRAIN];

        if (train > 0 && train >= min_images)
            frequent[n++] = &v->concepts[i];
    }
    qsort(frequent, n, sizeof(struct concept *), by_count);
    v->tag_count = max_tags > 0 && n > max_tags ? (uint32_t)max_tags : n;
    for (uint32_t i = 0; i < v->tag_count; i++) {
        frequent[i]->id = i;
        v->ranked[i] = (uint32_t)(frequent[i] - v->concepts);
    }
}

int wsl_vocabulary_builder_select(struct wsl_vocabulary_builder *v, uint64_t min_images,
                                  uint64_t max_tags, struct wsl_err *err)
{
    const struct spelling **sorted = calloc(v->spelling_count + 1, sizeof *sorted);
    struct concept **frequent = calloc(v->concept_count + 1, sizeof(struct concept *));

    assert(!v->ranked);
    v->ranked = calloc(v->concept_count + 1, sizeof *v->ranked);
    if (!sorted || !frequent || !v->ranked) {
        free(sorted);
        free(frequent);
        return wsl_fail(err, WSL_ENOMEM, "no memory for the vocabulary");
    }
    for (uint32_t i = 0; i < v->spelling_count; i++)
        sorted[i] = &v->spellings[i];
    qsort(sorted, v->spelling_count, sizeof *sorted, by_form);
    name_concepts(v, sorted);
    rank_concepts(v, frequent, min_images, max_tags);
    free(sorted);
    free(frequent);
    return 0;
}

uint32_t wsl_vocabulary_builder_id(const struct wsl_vocabulary_builder *v, uint32_t concept)
{
    return concept == WSL_NO_CONCEPT ? WSL_NO_CONCEPT : v->concepts[concept].id;
}

int wsl_vocabulary_builder_tags(const struct wsl_vocabulary_builder *v, struct wsl_tag **ret,
                                size_t *ret_count, struct wsl_err *err)
{
    struct wsl_tag *tags = calloc(v->tag_count + 1, sizeof *tags);
    bool ok = tags != NULL;

    for (uint32_t i = 0; ok && i < v->tag_count; i++) {
        const struct concept *c = &v->concepts[v->ranked[i]];
        char synset[16] = "";
        char *name = strndup(c->name, (size_t)c->name_size);

        if (c->synset)
            snprintf(synset, sizeof synset, "n%08u", c->synset);
        for (char *p = name; c->synset && p && *p; p++)
            *p = *p == '_' ? ' ' : *p;
        tags[i] = (struct wsl_tag){name, strdup(synset), c->counts[WSL_SPLIT_TRAIN],
                                   c->counts[WSL_SPLIT_HELDOUT]};
        ok = name && tags[i].synset;
    }
    if (!ok) {
        for (uint32_t i = 0; tags && i < v->tag_count; i++) {
            free((char *)tags[i].name);
            free((char *)tags[i].synset);
        }
        free(tags);
        return wsl_fail(err, WSL_ENOMEM, "no memory for the vocabulary");
    }
    *ret = tags;
    *ret_count = v->tag_count;
    return 0;
}

void wsl_vocabulary_builder_stats(const struct wsl_vocabulary_builder *v,
                                  struct wsl_vocabulary_builder_stats *ret)
{
    uint64_t concepts = 0, with_concept = 0;

    memset(ret, 0, sizeof *ret);
    for (uint32_t i = 0; i < v->spelling_count; i++) {
        if (v->spellings[i].uses == 0)
            continue;
        ret->spellings++;
        with_concept += v->spellings[i].concept != WSL_NO_CONCEPT;
        ret->unknown += v->wn && (v->spellings[i].concept == WSL_NO_CONCEPT ||
                                  v->concepts[v->spellings[i].concept].synset == 0);
    }
    for (uint32_t i = 0; i < v->concept_count; i++) {
        if (v->concepts[i].uses == 0)
            continue;
        concepts++;
        ret->rare += v->concepts[i].id == WSL_NO_CONCEPT;
    }
    ret->merged = with_concept - concepts;
    ret->tags = v->tag_count;
}
