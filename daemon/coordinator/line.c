/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/coordinator/machine_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *wsl_need(void *memory)
{
    if (!memory) {
        fputs("wsl-coordinator: out of memory\n", stderr);
        abort();
    }
    return memory;
}

char *wsl_line_copy(const char *text)
{
    return wsl_need(strdup(text ? text : ""));
}

void wsl_line_replace(char **to, const char *text)
{
    char *copy = wsl_line_copy(text);

    free(*to);
    *to = copy;
}

/* Bytes of the UTF-8 sequence that begins here; 0: none does. */
static size_t sequence(const unsigned char *p)
{
    size_t n = p[0] < 0x80                   ? 1
               : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
               : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
               : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                             : 0;

    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

void wsl_line_fit(char *to, size_t size, const char *from)
{
    size_t used = 0;

    while (*from) {
        size_t n = sequence((const unsigned char *)from);
        bool odd = n == 0 || (n == 1 && ((unsigned char)*from < 0x20 || *from == 0x7f));

        n = n ? n : 1;
        if (used + n + 1 > size)
            break;
        if (odd)
            to[used] = n == 1 && (unsigned char)*from < 0x80 ? ' ' : '?';
        else
            memcpy(to + used, from, n);
        used += n;
        from += n;
    }
    while (used > 0 && to[used - 1] == ' ')
        used--;
    to[used] = '\0';
}
