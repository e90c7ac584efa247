/* SPDX-License-Identifier: Apache-2.0
 *
 * The classes of a target task, and which of them a tag means. Internal to storage/vocabulary; the
 * file and the rule are in vocabulary.h.
 */
#ifndef WSL_STORAGE_VOCABULARY_CLASSES_H
#define WSL_STORAGE_VOCABULARY_CLASSES_H

#include "storage/vocabulary/tag_text.h"
#include "storage/vocabulary/wordnet.h"

#include <stddef.h>

struct wsl_class {
    char name[WSL_TAG_SIZE]; /* the first of its names, in normal form */
    uint32_t synset;         /* 0: none */
    bool found;              /* a tag means it: set by the user of the list */
};

/* Names and synsets of all classes, sorted, to find them by. */
struct wsl_class_name {
    char *text; /* owned */
    uint32_t class;
};

struct wsl_class_synset {
    uint32_t synset, class;
};

struct wsl_classes {
    struct wsl_class *list;
    size_t count;
    struct wsl_class_name *names;
    size_t name_count;
    struct wsl_class_synset *synsets;
    size_t synset_count;
};

/* `wn` may be NULL. WSL_ENOENT; WSL_ECORRUPT names file and line. On failure *ret is zeroed. */
int wsl_classes_load(struct wsl_classes *ret, const char *path, const struct wsl_wordnet *wn,
                     struct wsl_err *err);
void wsl_classes_free(struct wsl_classes *classes); /* zeroed is fine */

/* The class that a tag in normal form means, or NULL. Of several the first of the file. */
struct wsl_class *wsl_classes_find(const struct wsl_classes *classes, const struct wsl_wordnet *wn,
                                   const char *tag);

#endif
