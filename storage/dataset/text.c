/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/dataset/text.h"

#include <stdint.h>

/* Bytes of the character at p, or 0 when it is not UTF-8. */
static size_t character(const uint8_t *p, size_t left)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t code;
    size_t n;

    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (n > left)
        return 0;
    code = p[0] & (0xff >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3f);
    }
    return code < smallest[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : n;
}

bool wsl_text_is_clean(const char *text, size_t size)
{
    const uint8_t *p = (const uint8_t *)text;

    for (size_t i = 0, n; i < size; i += n) {
        n = character(p + i, size - i);
        if (n == 0 || p[i] < 0x20 || p[i] == 0x7f)
            return false;
        if (n == 2 && p[i] == 0xc2 && p[i + 1] < 0xa0)
            return false; /* control characters of Latin-1 */
    }
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '_';
}

size_t wsl_text_fold_tag(const char *text, size_t size, char ret_tag[WSL_TAG_SIZE])
{
    size_t n = 0;

    while (size > 0 && (is_blank(*text) || *text == '#')) {
        text++;
        size--;
    }
    while (size > 0 && is_blank(text[size - 1]))
        size--;
    for (size_t i = 0; i < size; i++) {
        char c = is_blank(text[i]) ? ' ' : text[i];

        if (c == ' ' && n > 0 && ret_tag[n - 1] == ' ')
            continue;
        if (n + 1 == WSL_TAG_SIZE)
            return 0;
        if (c >= 'A' && c <= 'Z')
            c = (char)(c + 32);
        /* U+00C0 to U+00DE but for the multiplication sign */
        if (i > 0 && (uint8_t)text[i - 1] == 0xc3 && (uint8_t)c >= 0x80 && (uint8_t)c <= 0x9e &&
            (uint8_t)c != 0x97)
            c = (char)((uint8_t)c + 0x20);
        ret_tag[n++] = c;
    }
    ret_tag[n] = '\0';
    return n;
}
