/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/dataset/text.h"

#include "base/utf8.h"

#include <stdint.h>

bool wsl_text_is_clean(const char *text, size_t size)
{
    const uint8_t *p = (const uint8_t *)text;

    for (size_t i = 0, n; i < size; i += n) {
        n = wsl_utf8_length(p + i, size - i);
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
