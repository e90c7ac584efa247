/* SPDX-License-Identifier: Apache-2.0
 *
 * One pass over the text with one character of memory; URLs are recognized where they begin, so
 * that what is within them is no hashtag.
 */
#include "storage/vocabulary/hashtag.h"

#include "base/utf8.h"
#include "storage/vocabulary/unicode.h"

#include <string.h>

enum {
    SCHEME_MAX = 32,  /* bytes of "https" */
    DOMAIN_MAX = 253, /* bytes of a host's name */
    FULLWIDTH_HASH = 0xff03,
    FULLWIDTH_AT = 0xff20,
    TEXT_STYLE = 0xfe0e,
    EMOJI_STYLE = 0xfe0f,
    KEYCAP = 0x20e3,
};

static int32_t code_at(const struct wsl_hashtags *h, size_t at, size_t *ret_size)
{
    uint32_t code = 0;

    *ret_size = at < h->size ? wsl_utf8_decode(h->text + at, h->size - at, &code) : 0;
    return (int32_t)code;
}

static bool is_ascii_letter(int32_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_ascii_alnum(int32_t c)
{
    return is_ascii_letter(c) || (c >= '0' && c <= '9');
}

/* A letter or a digit of ASCII, or one of `others`. */
static bool is_one_of(char c, const char *others)
{
    return is_ascii_alnum(c) || (c && strchr(others, c));
}

static bool is_hash(int32_t c)
{
    return c == '#' || c == FULLWIDTH_HASH;
}

/* twitter-text's "special characters" of hashtags. */
static bool is_special(int32_t c)
{
    static const int32_t special[] = {'_',
                                      0xb7,
                                      0x5be,
                                      0x5f3,
                                      0x5f4,
                                      0xf0b,
                                      0xf0c,
                                      WSL_UNICODE_ZWNJ,
                                      WSL_UNICODE_ZWJ,
                                      0x3003,
                                      0x301c,
                                      0x309b,
                                      0x309c,
                                      0x30a0,
                                      0x30fb,
                                      0xa67e,
                                      0xff5e};

    for (size_t i = 0; i < sizeof special / sizeof special[0]; i++)
        if (special[i] == c)
            return true;
    return false;
}

static bool is_word(int32_t c)
{
    if (c < 0x80)
        return is_ascii_alnum(c) || c == '_';
    return wsl_unicode_is_letter(c) || wsl_unicode_is_mark(c) || wsl_unicode_is_digit(c) ||
           is_special(c);
}

/* Whether a hashtag may begin behind `c`. Of marks, those that only choose how an emoji looks may
 * stand there. */
static bool is_boundary(int32_t c)
{
    return c == TEXT_STYLE || c == EMOJI_STYLE || (c != '&' && !is_word(c));
}

/* ---- URLs ---- */

static bool is_path_char(int32_t c)
{
    if (c < 0x80)
        return is_one_of((char)c, "!*';:=+,.$/%#[]-_~&|@");
    /* accented Latin, Cyrillic, dashes */
    return (c >= 0xc0 && c <= 0x24f && c != 0xd7 && c != 0xf7) || (c >= 0x300 && c <= 0x36f) ||
           (c >= 0x400 && c <= 0x52f) || (c >= 0x1e00 && c <= 0x1eff) ||
           (c >= 0x2010 && c <= 0x2015);
}

/* Behind the parenthesis that closes the one at `at`, or 0: only a pair is of a URL, and one pair
 * within. */
static size_t skip_parentheses(const struct wsl_hashtags *h, size_t at)
{
    int depth = 0;
    size_t n;

    do {
        int32_t c = code_at(h, at, &n);

        if (n == 0 || (c != '(' && c != ')' && !is_path_char(c)))
            return 0;
        depth += (c == '(') - (c == ')');
        at += n;
    } while (depth > 0 && depth < 3);
    return depth == 0 ? at : 0;
}

static size_t skip_path(const struct wsl_hashtags *h, size_t at)
{
    size_t n, end;
    int32_t c;

    while ((c = code_at(h, at, &n)), n > 0) {
        if (c == '(' && (end = skip_parentheses(h, at)) > 0)
            at = end;
        else if (is_path_char(c))
            at += n;
        else
            break;
    }
    return at;
}

static size_t skip_query(const struct wsl_hashtags *h, size_t at)
{
    while (at < h->size && is_one_of(h->text[at], "!?*'@();:&=+$/%#[]-_.,~|"))
        at++;
    return at;
}

/* The end of host, port, path and query from where the host ends. */
static size_t skip_rest(const struct wsl_hashtags *h, size_t at)
{
    if (at < h->size && h->text[at] == ':')
        while (++at < h->size && h->text[at] >= '0' && h->text[at] <= '9')
            ;
    if (at < h->size && h->text[at] == '/')
        at = skip_path(h, at);
    if (at < h->size && h->text[at] == '?')
        at = skip_query(h, at + 1);
    return at;
}

/* Behind "scheme://host", or 0. */
static size_t skip_scheme(const struct wsl_hashtags *h, size_t at)
{
    size_t end = at, n;
    int32_t c;

    while (end < h->size && end - at < SCHEME_MAX && is_one_of(h->text[end], "+.-"))
        end++;
    if (!is_ascii_letter(h->text[at]) || h->size - end < 3 || memcmp(h->text + end, "://", 3) != 0)
        return 0;
    for (end += 3; (c = code_at(h, end, &n)), n > 0; end += n)
        if (!(c < 0x80 ? is_one_of((char)c, "-_.@[]") : is_word(c)))
            break;
    return end;
}

/* Behind "example.org", or 0. */
static size_t skip_domain(const struct wsl_hashtags *h, size_t at)
{
    size_t label = at, end = at;

    for (; end < h->size && end - at < DOMAIN_MAX && is_one_of(h->text[end], "-_."); end++)
        if (h->text[end] == '.') {
            if (end == label)
                return 0;
            label = end + 1;
        }
    if (label == at || end - label < 2)
        return 0;
    for (size_t i = label; i < end; i++)
        if (!is_ascii_letter(h->text[i]))
            return 0;
    return end;
}

/* Notes the URL that begins at `at`, if one does. */
static void look_for_url(struct wsl_hashtags *h, size_t at)
{
    size_t end;

    if (at < h->url_end || !is_ascii_alnum(h->text[at]) || is_ascii_alnum(h->before) ||
        is_hash(h->before) || h->before == '@' || h->before == '$' || h->before == FULLWIDTH_AT)
        return;
    end = skip_scheme(h, at);
    if (end == 0 && !(h->before && h->before < 0x80 && strchr("-_./", (char)h->before)))
        end = skip_domain(h, at);
    if (end > 0)
        h->url_end = skip_rest(h, end);
}

/* ---- hashtags ---- */

/* Where the hashtag ends whose body begins at `at`; 0 when it is none. */
static size_t skip_body(const struct wsl_hashtags *h, size_t at)
{
    bool has_letter = false, in_emoji = false;
    size_t start = at, n;
    int32_t c = code_at(h, at, &n);

    if (c == EMOJI_STYLE || c == KEYCAP) /* the emoji of a # */
        return 0;
    for (; n > 0; at += n, c = code_at(h, at, &n)) {
        bool emoji = wsl_unicode_is_emoji(c) ||
                     (in_emoji && (wsl_unicode_is_emoji_modifier(c) || wsl_unicode_is_flag_tag(c)));

        if (!emoji && !is_word(c))
            break;
        in_emoji = emoji;
        has_letter |= emoji || wsl_unicode_is_letter(c) ||
                      (wsl_unicode_is_mark(c) && c != TEXT_STYLE && c != EMOJI_STYLE);
    }
    if (at == start || !has_letter || is_hash(c) ||
        (h->size - at >= 3 && memcmp(h->text + at, "://", 3) == 0))
        return 0;
    return at;
}

bool wsl_hashtags_next(struct wsl_hashtags *h, const char **ret, size_t *ret_size)
{
    size_t n, end;
    int32_t c;

    while ((c = code_at(h, h->at, &n)), n > 0) {
        bool begins = is_hash(c) && is_boundary(h->before);
        size_t start = h->at + n;

        look_for_url(h, h->at);
        begins &= h->at >= h->url_end;
        h->before = c;
        h->at = start;
        end = begins ? skip_body(h, start) : 0;
        if (end == 0)
            continue;
        *ret = h->text + start;
        *ret_size = end - start;
        return true;
    }
    return false;
}
