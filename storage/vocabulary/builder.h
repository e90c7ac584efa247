/* SPDX-License-Identifier: Apache-2.0
 *
 * From tags as people typed them to the vocabulary of a data set:
 *   spelling (normal form of a tag) -> concept (a synset; or the spelling itself) -> tag id.
 * Spellings of one synset become one concept; a spelling that is no WordNet noun is a concept of
 * its own, or has none when only nouns are wanted. Concepts that are frequent enough get ids: 0 for
 * the most frequent, ties by name.
 *
 * One thread. Memory is about 100 bytes per spelling; at most 2^24 of them.
 */
#ifndef WSL_STORAGE_VOCABULARY_BUILDER_H
#define WSL_STORAGE_VOCABULARY_BUILDER_H

#include "base/err.h"
#include "storage/dataset/dataset.h"
#include "storage/vocabulary/wordnet.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WSL_NO_CONCEPT UINT32_MAX

struct wsl_vocabulary_builder;

/* `wn` may be NULL: every spelling is its own concept; otherwise it stays open for the vocabulary's
 * life. */
int wsl_vocabulary_builder_open(struct wsl_vocabulary_builder **ret, const struct wsl_wordnet *wn,
                                bool only_nouns, struct wsl_err *err);
void wsl_vocabulary_builder_close(struct wsl_vocabulary_builder *v); /* NULL is fine */

/* The number of a spelling (0, 1, ... in the order of first sight). WSL_ELIMIT, WSL_ENOMEM. */
int wsl_vocabulary_builder_add(struct wsl_vocabulary_builder *v, const char *spelling,
                               uint32_t *ret_number, struct wsl_err *err);

/* Its concept, or WSL_NO_CONCEPT. */
uint32_t wsl_vocabulary_builder_concept(const struct wsl_vocabulary_builder *v, uint32_t spelling);

/* Counts an image with this spelling; the most used dictionary form of a synset becomes its name.
 */
void wsl_vocabulary_builder_use(struct wsl_vocabulary_builder *v, uint32_t spelling);

/* Counts a record that carries the concept. */
void wsl_vocabulary_builder_count(struct wsl_vocabulary_builder *v, uint32_t concept,
                                  enum wsl_split split);

/* Gives ids to the concepts with at least min_images (and 1) training records, at most max_tags of
 * them (0: all). Once, after all counting. */
int wsl_vocabulary_builder_select(struct wsl_vocabulary_builder *v, uint64_t min_images,
                                  uint64_t max_tags, struct wsl_err *err);

/* After select: the id of a concept, or WSL_NO_CONCEPT. */
uint32_t wsl_vocabulary_builder_id(const struct wsl_vocabulary_builder *v, uint32_t concept);

/* After select: names and synsets allocated for the caller's struct wsl_dataset_info. */
int wsl_vocabulary_builder_tags(const struct wsl_vocabulary_builder *v, struct wsl_tag **ret,
                                size_t *ret_count, struct wsl_err *err);

/* Of the spellings that were used at least once. */
struct wsl_vocabulary_builder_stats {
    uint64_t spellings;
    uint64_t unknown; /* no WordNet noun: concepts of their own, or none */
    uint64_t merged;  /* spellings with a concept, less the concepts */
    uint64_t rare;    /* concepts without an id; after select */
    uint64_t tags;    /* concepts with an id */
};
void wsl_vocabulary_builder_stats(const struct wsl_vocabulary_builder *v,
                                  struct wsl_vocabulary_builder_stats *ret);

#endif
