/* SPDX-License-Identifier: Apache-2.0
 *
 * Hashtags in a caption, by the rules of twitter-text and with Instagram's emoji:
 *  - It begins with # (U+0023) or its full-width form (U+FF03), not behind a letter, a mark, a
 *    digit, '_', '&' (an HTML entity: &#39;) or another character that a hashtag may have.
 *  - It goes on with letters, marks, decimal digits, '_', joiners and the few signs that words of
 *    some languages have within (middle dot, maqaf, geresh, tsheg, wave dash, ...), and emoji.
 *  - It has a letter, a mark or an emoji: #1 and #_ are none.
 *  - It is none when another # or "://" follows at once (#a#b has none), nor within a URL: with a
 *    scheme (https://...), or a domain with a path or a query (example.org/#top). Without a list of
 *    all top-level domains, two labels with a dot between are a domain when the last is of two or
 *    more ASCII letters.
 *
 * Pure; any thread; time linear in the text.
 */
#ifndef WSL_STORAGE_VOCABULARY_HASHTAG_H
#define WSL_STORAGE_VOCABULARY_HASHTAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Start with {.text = ..., .size = ...}; the text is valid UTF-8 and the caller's. */
struct wsl_hashtags {
    const char *text;
    size_t size;
    size_t at;      /* read so far */
    size_t url_end; /* of the last URL that began before `at` */
    int32_t before; /* the character before `at`; 0: none */
};

/* The next hashtag: where it stands in the text, without its #. False after the last one. */
bool wsl_hashtags_next(struct wsl_hashtags *h, const char **ret, size_t *ret_size);

#endif
