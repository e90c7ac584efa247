/* SPDX-License-Identifier: Apache-2.0
 *
 * A vocabulary: which tags there are, and which spellings mean them. Made from a data set, kept as
 * a text file that people can read and edit, applied to data sets (storage/derive).
 *
 * The file: a line per tag, most frequent first, fields by tabs:
 *     name <tab> synset or empty <tab> training images <tab> spelling <tab> spelling ...
 * A spelling may stand in several lines: it then means all of them. Lines that start with '#' and
 * empty ones are skipped.
 */
#ifndef WSL_STORAGE_VOCABULARY_VOCABULARY_H
#define WSL_STORAGE_VOCABULARY_VOCABULARY_H

#include "storage/dataset/dataset.h"

#include <stdbool.h>

enum { WSL_VOCABULARY_MEANINGS_MAX = 8 }; /* tags that one spelling means */

struct wsl_vocabulary_tag {
    char *name, *synset; /* owned; synset "" when it has none */
    uint64_t images;     /* training images in the data set it was made from */
};

struct wsl_vocabulary_spelling {
    char *text; /* owned */
    uint32_t tag;
    bool folded; /* the folded form of another spelling (tag_text.h): found, not saved */
};

struct wsl_vocabulary {
    struct wsl_vocabulary_tag *tags;
    size_t tag_count;
    struct wsl_vocabulary_spelling *spellings; /* by text, then by tag */
    size_t spelling_count;
};

/* WSL_ENOENT; WSL_ECORRUPT and WSL_ELIMIT name file and line. On failure *ret is zeroed. */
int wsl_vocabulary_load(struct wsl_vocabulary *ret, const char *path, struct wsl_err *err);
/* Replaces the file. */
int wsl_vocabulary_save(const struct wsl_vocabulary *vocabulary, const char *path,
                        struct wsl_err *err);
void wsl_vocabulary_free(struct wsl_vocabulary *vocabulary); /* zeroed is fine */

/* Copies of name and synset; the spelling means the tag. The list is sorted by
 * wsl_vocabulary_sort(). WSL_ENOMEM. */
int wsl_vocabulary_add_tag(struct wsl_vocabulary *vocabulary, const char *name, const char *synset,
                           uint64_t images);
int wsl_vocabulary_add_spelling(struct wsl_vocabulary *vocabulary, const char *text, size_t size,
                                uint32_t tag);
void wsl_vocabulary_sort(struct wsl_vocabulary *vocabulary);

/* The tags that a spelling means, ascending; returns how many. A spelling that is not there as it
 * is is looked for in its folded form, as all are folded in a data set: so vocabularies and data
 * sets of different versions fit. */
int wsl_vocabulary_find(const struct wsl_vocabulary *vocabulary, const char *spelling,
                        uint32_t ret_tags[WSL_VOCABULARY_MEANINGS_MAX]);

/* ---- making ---- */

struct wsl_vocabulary_setup {
    const char *wordnet; /* directory; spellings of one noun become one tag; NULL: as they are */
    bool only_nouns;     /* with wordnet: what is no noun is left out */
    bool segment;        /* with wordnet: what is no noun is cut into words (segment.h) */
    const char *classes; /* file of a target's classes: only tags that mean one; NULL: all */
    uint64_t min_images; /* training images of a tag */
    uint64_t top;        /* at most so many tags, the most frequent; 0: all */
};

struct wsl_vocabulary_stats {
    uint64_t spellings;              /* tags of the data set */
    uint64_t unknown, merged, rare;  /* as of wsl_vocabulary_builder_stats */
    uint64_t segmented;              /* spellings that were cut */
    uint64_t classes, classes_found; /* of the file, and those that a tag means */
};

/* Looks at every record's tags. The file of classes has one class a line: names by commas, or a
 * synset ("n02084071"), blanks, names; a class without a synset is the first of its names that
 * WordNet has, or its name alone. A tag means a class when it is one of its names, or when any
 * sense of the noun is the class's synset. WSL_EINVAL when nothing is left. */
int wsl_vocabulary_make(struct wsl_vocabulary *ret, struct wsl_dataset *dataset,
                        const struct wsl_vocabulary_setup *setup,
                        struct wsl_vocabulary_stats *ret_stats, struct wsl_err *err);

#endif
