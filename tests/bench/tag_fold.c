/* SPDX-License-Identifier: Apache-2.0
 *
 * What a tag costs an import: CPU time of bringing it into its form, for tags of several scripts,
 * and the ratio to ASCII; and of finding the hashtags of a caption. Usage: tag_fold [TAGS]
 */
#include "storage/vocabulary/hashtag.h"
#include "storage/vocabulary/tag_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TAGS = 5 };

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Nanoseconds a tag; *sink keeps the work from being left out. */
static double fold(const char *const tags[TAGS], long count, size_t *sink)
{
    size_t sizes[TAGS];
    char tag[WSL_TAG_SIZE];
    double begin;

    for (int i = 0; i < TAGS; i++)
        sizes[i] = strlen(tags[i]);
    begin = cpu_seconds();
    for (long i = 0; i < count; i++)
        *sink += wsl_text_fold_tag(tags[i % TAGS], sizes[i % TAGS], tag);
    return (cpu_seconds() - begin) * 1e9 / (double)count;
}

/* Nanoseconds a hashtag. */
static double find(long count, size_t *sink)
{
    static const char caption[] =
        "Morning on the #lake with #GoldenRetriever and https://a.org/#x "
        "#caf\u00e9 #\u0437\u0430\u043a\u0430\u0442 #\u732b #sun\u2600\ufe0f";
    double begin = cpu_seconds();

    for (long i = 0; i < count;) {
        struct wsl_hashtags h = {.text = caption, .size = sizeof caption - 1};
        const char *tag;
        size_t size;

        while (wsl_hashtags_next(&h, &tag, &size)) {
            *sink += size;
            i++;
        }
    }
    return (cpu_seconds() - begin) * 1e9 / (double)count;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *script, *tags[TAGS];
    } rows[] = {
        {"ASCII", {"Dog", "GoldenRetriever", "#sunset", "throwbackthursday", "New_York"}},
        {"Latin", {"caf\u00e9", "Stra\u00dfe", "#K\u00f6ln", "ma\u00f1ana", "na\u00efve"}},
        {"Cyrillic",
         {"\u0421\u043e\u0431\u0430\u043a\u0430", "#\u0437\u0430\u043a\u0430\u0442",
          "\u041c\u043e\u0441\u043a\u0432\u0430", "\u043f\u0440\u0438\u0440\u043e\u0434\u0430",
          "\u0451\u043b\u043a\u0430"}},
        {"CJK, emoji",
         {"\u732b", "\u6771\u4eac\u30bf\u30ef\u30fc", "#\u30e9\u30fc\u30e1\u30f3", "\ud55c\uad6d",
          "\U0001f436"}},
        {"decomposed",
         {"cafe\u0301", "u\u0308ber", "No\u0323\u0302i", "man\u0303ana", "\u30ab\u3099"}},
    };
    long count = argc > 1 ? atol(argv[1]) : 10000000;
    double ascii = 0;
    size_t sink = 0;

    if (count < 1) {
        fprintf(stderr, "tag_fold: TAGS is a number from 1 on\n");
        return 2;
    }
    printf("%-24s %10s %10s\n", "", "ns a tag", "to ASCII");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double ns = fold(rows[i].tags, count, &sink);

        ascii = i == 0 ? ns : ascii;
        printf("%-24s %10.1f %10.1f\n", rows[i].script, ns, ns / ascii);
    }
    printf("%-24s %10.1f\n", "found in a caption", find(count, &sink));
    return sink == 0;
}
