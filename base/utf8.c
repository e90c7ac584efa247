/* SPDX-License-Identifier: Apache-2.0
 *
 * Decoding by the table of well-formed byte sequences in RFC 3629, section 4.
 */
#include "base/utf8.h"

size_t wsl_utf8_decode(const void *text, size_t left, uint32_t *ret_code)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const uint8_t *p = text;
    uint32_t code;
    size_t n;

    if (p[0] < 0x80) {
        *ret_code = p[0];
        return 1;
    }
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (n > left)
        return 0;
    code = p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3f);
    }
    if (code < smallest[n] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
        return 0;
    *ret_code = code;
    return n;
}

size_t wsl_utf8_length(const void *p, size_t left)
{
    uint32_t code;

    return wsl_utf8_decode(p, left, &code);
}

bool wsl_utf8_is_valid(const void *text, size_t size)
{
    const uint8_t *p = text;

    for (size_t i = 0, n; i < size; i += n) {
        n = wsl_utf8_length(p + i, size - i);
        if (n == 0)
            return false;
    }
    return true;
}

bool wsl_utf8_is_clean(const char *text, size_t size)
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
