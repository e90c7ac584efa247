/* SPDX-License-Identifier: Apache-2.0
 *
 * The nouns of WordNet (Debian: wordnet-base in /usr/share/wordnet), for one question: which synset
 * does a tag mean? Reads index.noun and noun.exc; their format is the manual page wndb(5WN).
 */
#ifndef WSL_STORAGE_VOCABULARY_WORDNET_H
#define WSL_STORAGE_VOCABULARY_WORDNET_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

struct wsl_wordnet;

/* Blocks (5 MB are read). WSL_ENOENT; WSL_ECORRUPT names file and line. Takes about 20 MB. */
int wsl_wordnet_open(struct wsl_wordnet **ret, const char *directory, struct wsl_err *err);
void wsl_wordnet_close(struct wsl_wordnet *wn); /* NULL is fine */

struct wsl_noun {
    uint32_t synset;   /* "n%08u" names it */
    const char *lemma; /* the dictionary form that fitted, '_' as it stands there; owned by wn, not
                          closed by a zero */
    int lemma_size;
};

/* The first (most frequent) sense of a tag in its normal form (tag_text.h). Tried in order: the
 * words as they are with '_' or '-' between them, then the dictionary form of a plural (noun.exc,
 * then the suffix rules of morphy(7WN)), then both without separators, so that "brownbear" finds
 * brown_bear and "foot ball" finds football. False when it is no noun. Any thread. */
bool wsl_wordnet_find(const struct wsl_wordnet *wn, const char *tag, struct wsl_noun *ret);

/* All senses of the noun that wsl_wordnet_find() finds, the most frequent first, at most `limit`;
 * returns how many. */
int wsl_wordnet_senses(const struct wsl_wordnet *wn, const char *tag, uint32_t *ret_synsets,
                       int limit);

#endif
