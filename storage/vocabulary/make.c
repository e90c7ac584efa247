/* SPDX-License-Identifier: Apache-2.0
 *
 * Each tag of the data set is a spelling. It stands for one word, or for several when it was cut;
 * the words go into a builder, which merges those of one noun, counts and ranks.
 */
#include "storage/dataset/record.h"
#include "storage/vocabulary/builder.h"
#include "storage/vocabulary/classes.h"
#include "storage/vocabulary/segment.h"
#include "storage/vocabulary/vocabulary.h"
#include "storage/vocabulary/wordnet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TAGS_MAX = 64 };

/* The words of one tag: numbers in the vocabulary. */
struct words {
    uint32_t numbers[WSL_VOCABULARY_MEANINGS_MAX];
    int count;
};

struct build {
    struct wsl_dataset *dataset;
    const struct wsl_vocabulary_setup *setup;
    struct wsl_vocabulary_stats *stats;
    struct wsl_wordnet *wn;
    struct wsl_segmenter *segmenter;
    struct wsl_classes classes;
    struct wsl_vocabulary_builder *builder;
    struct words *words; /* of each tag */
};

static int add_word(struct build *m, struct words *w, const char *text, struct wsl_err *err)
{
    if (w->count == WSL_VOCABULARY_MEANINGS_MAX)
        return 0;
    return wsl_vocabulary_builder_add(m->builder, text, &w->numbers[w->count++], err);
}

static int place_as_class(struct build *m, struct words *w, const char *tag, struct wsl_err *err)
{
    struct wsl_class *class = wsl_classes_find(&m->classes, m->wn, tag);

    if (!class)
        return 0;
    class->found = true;
    return add_word(m, w, class->name, err);
}

/* What a tag of the data set stands for. */
static int place_tag(struct build *m, size_t id, struct wsl_err *err)
{
    struct words *w = &m->words[id];
    struct wsl_segmentation cut;
    struct wsl_noun noun;
    char tag[WSL_TAG_SIZE];
    const char *name = wsl_dataset_tag(m->dataset, id)->name;
    bool known;
    int r = 0;

    if (strlen(name) >= WSL_TAG_SIZE || wsl_text_fold_tag(name, strlen(name), tag) == 0)
        return 0;
    known = m->wn && wsl_wordnet_find(m->wn, tag, &noun);
    if (known || !m->segmenter || !wsl_segment(m->segmenter, tag, &cut))
        return m->setup->classes ? place_as_class(m, w, tag, err) : add_word(m, w, tag, err);
    m->stats->segmented++;
    for (int i = 0; r == 0 && i < cut.count; i++) {
        if (!cut.words[i].noun)
            continue;
        r = m->setup->classes ? place_as_class(m, w, cut.words[i].text, err)
                              : add_word(m, w, cut.words[i].text, err);
    }
    return r;
}

/* ---- counting ---- */

static void count_record(struct build *m, enum wsl_split split, const uint32_t *tags, int count)
{
    uint32_t concepts[TAGS_MAX * WSL_VOCABULARY_MEANINGS_MAX], n = 0;

    for (int i = 0; i < count; i++)
        for (int k = 0; k < m->words[tags[i]].count; k++) {
            uint32_t word = m->words[tags[i]].numbers[k];
            uint32_t concept = wsl_vocabulary_builder_concept(m->builder, word);

            wsl_vocabulary_builder_use(m->builder, word);
            if (concept != WSL_NO_CONCEPT)
                concepts[n++] = concept;
        }
    n = wsl_record_sort_tags(concepts, n);
    for (uint32_t i = 0; i < n; i++)
        wsl_vocabulary_builder_count(m->builder, concepts[i], split);
}

static int count_records(struct build *m, struct wsl_err *err)
{
    for (int s = 0; s < 2; s++)
        for (uint64_t i = 0; i < wsl_dataset_count(m->dataset, (enum wsl_split)s); i++) {
            uint32_t tags[TAGS_MAX];
            int count;
            int r = wsl_dataset_read_tags(m->dataset, (enum wsl_split)s, i, tags, &count, err);

            if (r < 0)
                return r;
            count_record(m, (enum wsl_split)s, tags, count);
        }
    return 0;
}

/* ---- the result ---- */

static const char *get_synset(const struct build *m, const struct wsl_tag *tag, char text[16])
{
    struct wsl_class *class;

    if (!m->setup->classes)
        return tag->synset;
    class = wsl_classes_find(&m->classes, NULL, tag->name);
    text[0] = '\0';
    if (class && class->synset)
        snprintf(text, 16, "n%08u", class->synset);
    return text;
}

static int add_tags(struct build *m, struct wsl_vocabulary *l, struct wsl_err *err)
{
    struct wsl_tag *tags;
    size_t count;
    int r = wsl_vocabulary_builder_tags(m->builder, &tags, &count, err);

    if (r < 0)
        return r;
    for (size_t i = 0; i < count; i++) {
        char text[16];

        if (r == 0)
            r = wsl_vocabulary_add_tag(l, tags[i].name, get_synset(m, &tags[i], text),
                                       tags[i].train);
        free((char *)tags[i].name);
        free((char *)tags[i].synset);
    }
    free(tags);
    return r;
}

static int add_spellings(struct build *m, struct wsl_vocabulary *l)
{
    for (size_t t = 0; t < wsl_dataset_tag_count(m->dataset); t++)
        for (int k = 0; k < m->words[t].count; k++) {
            uint32_t concept = wsl_vocabulary_builder_concept(m->builder, m->words[t].numbers[k]);
            uint32_t id = wsl_vocabulary_builder_id(m->builder, concept);
            const char *name = wsl_dataset_tag(m->dataset, t)->name;

            if (id != WSL_NO_CONCEPT && wsl_vocabulary_add_spelling(l, name, strlen(name), id) < 0)
                return WSL_ENOMEM;
        }
    wsl_vocabulary_sort(l);
    return 0;
}

static void fill_stats(struct build *m)
{
    struct wsl_vocabulary_builder_stats v;

    wsl_vocabulary_builder_stats(m->builder, &v);
    m->stats->spellings = wsl_dataset_tag_count(m->dataset);
    m->stats->unknown = v.unknown;
    m->stats->merged = v.merged;
    m->stats->rare = v.rare;
    m->stats->classes = m->classes.count;
    for (size_t i = 0; i < m->classes.count; i++)
        m->stats->classes_found += m->classes.list[i].found;
}

static int run(struct build *m, struct wsl_vocabulary *ret, struct wsl_err *err)
{
    const struct wsl_vocabulary_setup *s = m->setup;
    int r = s->wordnet ? wsl_wordnet_open(&m->wn, s->wordnet, err) : 0;

    if (r == 0 && s->segment)
        r = wsl_segmenter_open(&m->segmenter, m->wn, s->wordnet, err);
    if (r == 0 && s->classes)
        r = wsl_classes_load(&m->classes, s->classes, m->wn, err);
    /* The words of classes are their names, which stand apart even where a noun joins them. */
    if (r == 0)
        r = wsl_vocabulary_builder_open(&m->builder, s->classes ? NULL : m->wn, s->only_nouns, err);
    for (size_t t = 0; r == 0 && t < wsl_dataset_tag_count(m->dataset); t++)
        r = place_tag(m, t, err);
    if (r == 0)
        r = count_records(m, err);
    if (r == 0)
        r = wsl_vocabulary_builder_select(m->builder, s->min_images, s->top, err);
    if (r < 0)
        return r;
    fill_stats(m);
    r = add_tags(m, ret, err);
    if (r == 0)
        r = add_spellings(m, ret);
    if (r < 0)
        return wsl_fail(err, r, "no memory for the vocabulary");
    if (ret->tag_count == 0)
        return wsl_fail(err, WSL_EINVAL, "none of the %zu tags is left in the vocabulary",
                        wsl_dataset_tag_count(m->dataset));
    return 0;
}

int wsl_vocabulary_make(struct wsl_vocabulary *ret, struct wsl_dataset *dataset,
                        const struct wsl_vocabulary_setup *setup,
                        struct wsl_vocabulary_stats *ret_stats, struct wsl_err *err)
{
    struct build m = {.dataset = dataset, .setup = setup, .stats = ret_stats};
    int r;

    memset(ret, 0, sizeof *ret);
    memset(ret_stats, 0, sizeof *ret_stats);
    if (!setup->wordnet && (setup->only_nouns || setup->segment))
        return wsl_fail(err, WSL_EINVAL, "only nouns, and cutting tags, need WordNet");
    m.words = calloc(wsl_dataset_tag_count(dataset) + 1, sizeof *m.words);
    r = m.words ? run(&m, ret, err) : wsl_fail(err, WSL_ENOMEM, "no memory for the vocabulary");
    free(m.words);
    wsl_vocabulary_builder_close(m.builder);
    wsl_classes_free(&m.classes);
    wsl_segmenter_close(m.segmenter);
    wsl_wordnet_close(m.wn);
    if (r < 0)
        wsl_vocabulary_free(ret);
    return r;
}
