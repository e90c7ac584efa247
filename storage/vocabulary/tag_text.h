/* SPDX-License-Identifier: Apache-2.0
 *
 * The normal form of tags. Pure; any thread.
 */
#ifndef WSL_STORAGE_VOCABULARY_TAG_TEXT_H
#define WSL_STORAGE_VOCABULARY_TAG_TEXT_H

#include <stdbool.h>
#include <stddef.h>

enum { WSL_TAG_SIZE = 128 }; /* bytes of a tag, its closing zero included */

/* The normal form of a tag as people type it, the same for all spellings of one word: NFKC with
 * Unicode's case folding ("ss" for the German sharp s, the Turkish dotted capital I as i and a
 * dot), without characters that cannot be seen but for the joiners that make another word or emoji
 * (unicode.h), without '#' before it, blanks and underscores as single blanks, none at the ends.
 * Folding again changes nothing. `text` is clean
 * (base/utf8.h). Returns the length; 0 when nothing is left or it
 * does not fit. */
size_t wsl_text_fold_tag(const char *text, size_t size, char ret_tag[WSL_TAG_SIZE]);

#endif
