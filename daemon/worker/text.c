/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/worker/text.h"

#include <stdint.h>
#include <string.h>

/* Bytes of the UTF-8 character at p (RFC 3629: no overlong form, no surrogate), 0 when there is
 * none. */
static size_t character(const uint8_t *p, size_t left)
{
    uint32_t code;
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;

    if (n == 1)
        return 1;
    if (n == 0 || n > left || p[0] > 0xf4)
        return 0;
    code = p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        code = code << 6 | (p[i] & 0x3f);
    }
    if ((n == 3 && code < 0x800) || (n == 4 && code < 0x10000) || code > 0x10ffff ||
        (code >= 0xd800 && code < 0xe000))
        return 0;
    return n;
}

void wsl_text_line(char *ret, size_t size, const void *bytes, size_t count)
{
    const uint8_t *p = bytes;
    size_t used = 0, at = 0;

    while (at < count && p[at] != 0) {
        size_t n = character(p + at, count - at);

        if (used + (n ? n : 1) >= size)
            break;
        if (n == 0 || p[at] < 0x20 || p[at] == 0x7f) {
            ret[used++] = '?';
            at++;
            continue;
        }
        memcpy(ret + used, p + at, n);
        used += n;
        at += n;
    }
    if (size > 0)
        ret[used] = '\0';
}

static int blank(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == 0;
}

void wsl_text_last_line(char *ret, size_t size, const void *bytes, size_t count)
{
    const uint8_t *p = bytes;
    size_t start;

    while (count > 0 && blank(p[count - 1]))
        count--;
    /* a carriage return is where a progress line was painted over */
    for (start = count; start > 0 && p[start - 1] != '\n' && p[start - 1] != '\r'; start--)
        ;
    while (start < count && blank(p[start]))
        start++;
    wsl_text_line(ret, size, p + start, count - start);
}
