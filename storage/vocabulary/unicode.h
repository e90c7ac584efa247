/* SPDX-License-Identifier: Apache-2.0
 *
 * What Unicode says of characters, and its normal forms: the one place that asks utf8proc. Pure;
 * any thread. Code points are of valid UTF-8.
 */
#ifndef WSL_STORAGE_VOCABULARY_UNICODE_H
#define WSL_STORAGE_VOCABULARY_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WSL_UNICODE_CODES_MAX = 512, /* code points of a text that is folded */
    WSL_UNICODE_ZWNJ = 0x200c,
    WSL_UNICODE_ZWJ = 0x200d,
};

bool wsl_unicode_is_letter(int32_t code); /* category L */
bool wsl_unicode_is_mark(int32_t code);   /* category M */
bool wsl_unicode_is_digit(int32_t code);  /* category Nd */
/* Shown as an image of its own: Extended_Pictographic but for signs that stand in text (c, r, tm),
 * and the letters that flags are made of. */
bool wsl_unicode_is_emoji(int32_t code);
bool wsl_unicode_is_emoji_modifier(int32_t code); /* a skin tone */
/* The tag characters behind a black flag: England, Scotland, Wales. */
bool wsl_unicode_is_flag_tag(int32_t code);

/* The form in which two spellings of one word are equal: NFKC with full case folding, without
 * default ignorable code points (variation selectors, soft hyphens, zero-width spaces). Joiners
 * stay where they make another word or image: ZWJ and ZWNJ behind a virama, ZWNJ between Arabic
 * letters, ZWJ between emoji; so do the tag characters of a flag. Works in place on `count` code
 * points in an array of WSL_UNICODE_CODES_MAX; returns how many are left, 0 also when they do not
 * fit. */
size_t wsl_unicode_fold(int32_t codes[WSL_UNICODE_CODES_MAX], size_t count);

/* Writes 1 to 4 bytes; returns how many. */
size_t wsl_unicode_encode(int32_t code, char ret[4]);

#endif
