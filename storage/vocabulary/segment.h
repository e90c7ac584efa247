/* SPDX-License-Identifier: Apache-2.0
 *
 * Run-together hashtags into words: "goldenretrieverpuppy" -> golden retriever + puppy. The most
 * likely way to cut the letters into words (dynamic programming over a unigram model), where words
 * are the nouns of WordNet, the verbs, adjectives and adverbs that WordNet has counts for, numbers,
 * and a few dozen function words. Counts are those of WordNet's cntlist.rev (tagged text, 5e5
 * words or so); a noun without one has a tenth of an occurrence.
 *
 * A guess: names and slang are cut as well ("instagood"), so it is only used where asked for.
 */
#ifndef WSL_STORAGE_VOCABULARY_SEGMENT_H
#define WSL_STORAGE_VOCABULARY_SEGMENT_H

#include "base/err.h"
#include "storage/vocabulary/tag_text.h"
#include "storage/vocabulary/wordnet.h"

#include <stdbool.h>

enum {
    WSL_SEGMENT_LETTERS_MAX = 64, /* longest tag that is cut, in bytes */
    WSL_SEGMENT_WORDS_MAX = 8,    /* words of it */
};

struct wsl_segmenter;

/* Reads cntlist.rev of WordNet's directory; `wn` stays open for the segmenter's life. WSL_ENOENT,
 * WSL_ECORRUPT. Blocks; takes about 2 MB. */
int wsl_segmenter_open(struct wsl_segmenter **ret, const struct wsl_wordnet *wn,
                       const char *directory, struct wsl_err *err);
void wsl_segmenter_close(struct wsl_segmenter *segmenter); /* NULL is fine */

struct wsl_segment {
    char text[WSL_TAG_SIZE]; /* as written; of a noun its dictionary form, blanks for '_' */
    bool noun;               /* else a word that only joins or describes */
    double score;            /* natural logarithm of the word's share of all text */
};

struct wsl_segmentation {
    struct wsl_segment words[WSL_SEGMENT_WORDS_MAX];
    int count;
    double score; /* sum over the words */
};

/* Cuts a tag in its normal form (tag_text.h) of the letters a-z and digits. False when that is not
 * possible: other characters, too long, too many words, no noun of three letters or more, or
 * letters left that are no word. One word alone is no segmentation. Any thread. */
bool wsl_segment(const struct wsl_segmenter *segmenter, const char *tag,
                 struct wsl_segmentation *ret);

#endif
