/* SPDX-License-Identifier: Apache-2.0
 *
 * Edit distance with transpositions, for "did you mean".
 */
#include "base/suggest.h"

#include <ctype.h>
#include <string.h>

enum { WORD_MAX = 63 };

static int folded(char c)
{
    return c == '-' ? '_' : tolower((unsigned char)c);
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t wsl_suggest_distance(const char *a, const char *b)
{
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];
    size_t n = strlen(a), m = strlen(b);

    if (n > WORD_MAX || m > WORD_MAX)
        return n > m ? n : m;
    for (size_t j = 0; j <= m; j++)
        last[j] = before[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *old = before;

        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t change = last[j - 1] + (folded(a[i - 1]) != folded(b[j - 1]));

            now[j] = least(change, least(last[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && folded(a[i - 1]) == folded(b[j - 2]) &&
                folded(a[i - 2]) == folded(b[j - 1]))
                now[j] = least(now[j], before[j - 2] + 1);
        }
        before = last;
        last = now;
        now = old;
    }
    return last[m];
}

void wsl_suggest_try(const char *word, const char *candidate, const char **best, size_t *distance)
{
    size_t letters = strlen(candidate), typed = strlen(word);
    size_t d = wsl_suggest_distance(word, candidate);
    size_t allowed = letters / 3 > 1 ? letters / 3 : 1;

    if (d > allowed && typed >= 3 && strncasecmp(word, candidate, typed) == 0)
        d = allowed;
    if (d <= allowed && d < *distance && d < letters) {
        *best = candidate;
        *distance = d;
    }
}
