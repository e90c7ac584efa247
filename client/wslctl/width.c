/* SPDX-License-Identifier: Apache-2.0
 *
 * Columns that a text takes on a terminal, by the C library's wcwidth() in a UTF-8 locale.
 */
#include "client/wslctl/width.h"

#include "base/utf8.h"

#include <locale.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <wchar.h>

static bool is_ascii(const char *text)
{
    while (*text && (unsigned char)*text < 0x80)
        text++;
    return *text == '\0';
}

/* Width of the first character, and its bytes; in a UTF-8 locale. */
static size_t first_width(const char *text, size_t *ret_bytes)
{
    uint32_t code;
    size_t n = wsl_utf8_decode(text, 4, &code);
    int width = n > 0 ? wcwidth((wchar_t)code) : 1;

    *ret_bytes = n > 0 ? n : 1;
    return width < 0 ? 1 : (size_t)width;
}

/* Goes as far as `columns` allow; the width of that in *ret_width. */
static size_t walk(const char *text, size_t columns, size_t *ret_width)
{
    size_t at = 0, width = 0, bytes, next;

    while (text[at]) {
        next = first_width(text + at, &bytes);
        if (width + next > columns)
            break;
        width += next;
        at += bytes;
    }
    *ret_width = width;
    return at;
}

static size_t measure(const char *text, size_t columns, size_t *ret_width)
{
    size_t length = strlen(text);
    locale_t utf8, before;

    if (is_ascii(text)) {
        *ret_width = length < columns ? length : columns;
        return *ret_width;
    }
    utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    if (!utf8) /* a system without it: a column a character */
        return walk(text, columns, ret_width);
    before = uselocale(utf8);
    length = walk(text, columns, ret_width);
    uselocale(before);
    freelocale(utf8);
    return length;
}

size_t wsl_ctl_text_width(const char *text)
{
    size_t width;

    measure(text, SIZE_MAX, &width);
    return width;
}

size_t wsl_ctl_text_cut(const char *text, size_t columns)
{
    size_t width;

    return measure(text, columns, &width);
}
