/* SPDX-License-Identifier: Apache-2.0
 *
 * Escapes character by character; what needs no escape is copied in runs.
 */
#include "storage/export/html.h"

#include "base/utf8.h"

#include <string.h>

static const char *escape_of(const char *character, size_t size)
{
    if (size == 0 || !wsl_utf8_is_clean(character, size))
        return "\xef\xbf\xbd"; /* U+FFFD */
    switch (*character) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

int wsl_html_add_text(struct wsl_buf *out, const char *text)
{
    const char *plain = text;
    int r = 0;

    while (r == 0 && *text) {
        size_t size = wsl_utf8_length(text, strnlen(text, 4));
        const char *escape = escape_of(text, size);

        if (escape) {
            r = wsl_buf_add(out, plain, (size_t)(text - plain));
            if (r == 0)
                r = wsl_buf_add_text(out, escape);
        }
        text += size > 0 ? size : 1;
        if (escape)
            plain = text;
    }
    return r == 0 ? wsl_buf_add(out, plain, (size_t)(text - plain)) : r;
}

int wsl_html_add_base64(struct wsl_buf *out, const uint8_t *bytes, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    int r = wsl_buf_reserve(out, (size + 2) / 3 * 4);

    for (size_t i = 0; r == 0 && i < size; i += 3) {
        size_t left = size - i;
        uint32_t three = (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) |
                         (left > 2 ? bytes[i + 2] : 0);
        char four[4] = {digits[three >> 18], digits[three >> 12 & 63],
                        left > 1 ? digits[three >> 6 & 63] : '=',
                        left > 2 ? digits[three & 63] : '='};

        r = wsl_buf_add(out, four, sizeof four);
    }
    return r;
}
