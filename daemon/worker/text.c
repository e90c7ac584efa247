/* SPDX-License-Identifier: Apache-2.0
 *
 * Cleaning and cutting lines of unknown origin.
 */
#include "daemon/worker/text.h"

#include "base/utf8.h"

#include <stdint.h>
#include <string.h>

void wsl_text_line(char *ret, size_t size, const void *bytes, size_t count)
{
    const uint8_t *p = bytes;
    size_t used = 0, at = 0;

    while (at < count && p[at] != 0) {
        size_t n = wsl_utf8_length(p + at, count - at);

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
