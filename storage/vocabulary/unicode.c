/* SPDX-License-Identifier: Apache-2.0
 *
 * utf8proc's answers, where they are ours too, and what hashtags need beyond them.
 */
#include "storage/vocabulary/unicode.h"

#include <utf8proc.h>

enum { VIRAMA = 9 /* canonical combining class */, BLACK_FLAG = 0x1f3f4 };

static bool is_ignorable(int32_t code)
{
    return utf8proc_get_property(code)->ignorable;
}

bool wsl_unicode_is_letter(int32_t code)
{
    utf8proc_category_t category = utf8proc_category(code);

    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool wsl_unicode_is_mark(int32_t code)
{
    utf8proc_category_t category = utf8proc_category(code);

    return category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
}

bool wsl_unicode_is_digit(int32_t code)
{
    return utf8proc_category(code) == UTF8PROC_CATEGORY_ND;
}

bool wsl_unicode_is_emoji(int32_t code)
{
    const utf8proc_property_t *p = utf8proc_get_property(code);

    if (p->boundclass == UTF8PROC_BOUNDCLASS_REGIONAL_INDICATOR)
        return true;
    return p->boundclass == UTF8PROC_BOUNDCLASS_EXTENDED_PICTOGRAPHIC && code >= 0x2190 &&
           (p->category == UTF8PROC_CATEGORY_SO || p->category == UTF8PROC_CATEGORY_CN);
}

bool wsl_unicode_is_emoji_modifier(int32_t code)
{
    return code >= 0x1f3fb && code <= 0x1f3ff;
}

bool wsl_unicode_is_flag_tag(int32_t code)
{
    return code >= 0xe0020 && code <= 0xe007f;
}

size_t wsl_unicode_encode(int32_t code, char ret[4])
{
    return (size_t)utf8proc_encode_char(code, (utf8proc_uint8_t *)ret);
}

/* ---- folding ---- */

/* One pass of utf8proc, which reads UTF-8. Returns the new count, or 0 when it does not fit. */
static size_t decompose(int32_t codes[WSL_UNICODE_CODES_MAX], size_t count, int options)
{
    utf8proc_uint8_t text[4 * WSL_UNICODE_CODES_MAX];
    utf8proc_ssize_t size = 0, n;

    for (size_t i = 0; i < count; i++)
        size += utf8proc_encode_char(codes[i], text + size);
    n = utf8proc_decompose(text, size, codes, WSL_UNICODE_CODES_MAX,
                           (utf8proc_option_t)(options | UTF8PROC_STABLE));
    return n < 0 || n > WSL_UNICODE_CODES_MAX ? 0 : (size_t)n;
}

/* Whether marks may have to be put in order before they are folded: an iota subscript becomes a
 * letter then. */
static bool has_marks(const int32_t *codes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (utf8proc_get_property(codes[i])->combining_class != 0 ||
            (codes[i] >= 0x1f80 && codes[i] <= 0x1fff)) /* Greek letters with such a subscript */
            return true;
    return false;
}

/* NFKC(casefold(NFD(x))). */
static size_t normalize(int32_t codes[WSL_UNICODE_CODES_MAX], size_t count)
{
    if (has_marks(codes, count))
        count = decompose(codes, count, UTF8PROC_DECOMPOSE);
    count = decompose(codes, count, UTF8PROC_COMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD);
    return (size_t)utf8proc_normalize_utf32(codes, (utf8proc_ssize_t)count,
                                            UTF8PROC_COMPOSE | UTF8PROC_STABLE);
}

/* The last code point that a joiner would join: marks of Arabic and the like stand between. */
static int32_t before(const int32_t *codes, size_t count)
{
    while (count > 0) {
        int32_t class = utf8proc_get_property(codes[count - 1])->combining_class;

        if (class == 0 || class == VIRAMA)
            return codes[count - 1];
        count--;
    }
    return 0;
}

static bool is_arabic_letter(int32_t code)
{
    return utf8proc_get_property(code)->bidi_class == UTF8PROC_BIDI_CLASS_AL &&
           wsl_unicode_is_letter(code);
}

/* Whether an ignorable code point says something between what was kept and what follows (0: the
 * end). After UAX #31, 2.3 (layout and format control characters). */
static bool is_kept(int32_t code, const int32_t *kept, size_t count, int32_t next)
{
    int32_t last = before(kept, count);
    bool after_virama = utf8proc_get_property(last)->combining_class == VIRAMA;

    if (wsl_unicode_is_flag_tag(code))
        return last == BLACK_FLAG || wsl_unicode_is_flag_tag(last);
    if (code == WSL_UNICODE_ZWJ)
        return after_virama ||
               ((wsl_unicode_is_emoji(last) || wsl_unicode_is_emoji_modifier(last)) &&
                wsl_unicode_is_emoji(next));
    if (code == WSL_UNICODE_ZWNJ)
        return (after_virama && wsl_unicode_is_letter(next)) ||
               (is_arabic_letter(last) && is_arabic_letter(next));
    return false;
}

static size_t drop_ignorable(int32_t *codes, size_t count)
{
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        size_t next = i + 1;

        if (is_ignorable(codes[i])) {
            while (next < count && is_ignorable(codes[next]))
                next++;
            if (!is_kept(codes[i], codes, n, next < count ? codes[next] : 0))
                continue;
        }
        codes[n++] = codes[i];
    }
    return n;
}

size_t wsl_unicode_fold(int32_t codes[WSL_UNICODE_CODES_MAX], size_t count)
{
    size_t before_drop;

    /* What an ignorable code point kept apart may now compose, so again. */
    do {
        before_drop = count = normalize(codes, count);
        count = drop_ignorable(codes, count);
    } while (count < before_drop);
    return count;
}
