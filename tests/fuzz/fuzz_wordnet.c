/* SPDX-License-Identifier: Apache-2.0
 *
 * WordNet's files. An input is index.noun, a zero, noun.exc. */
#include "storage/vocabulary/wordnet.h"
#include "tests/fuzz/fuzz.h"

#include "base/err.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static const char *const tags[] = {"dog", "dogs", "feet", "brownbear", "a", "", "ice cream"};
    const uint8_t *zero = memchr(bytes, 0, size);
    size_t first = zero ? (size_t)(zero - bytes) : size;
    struct wsl_wordnet *wn;
    struct wsl_err err = {0};
    int r;

    fuzz_write(fuzz_folder(), "index.noun", bytes, first);
    fuzz_write(fuzz_folder(), "noun.exc", zero ? zero + 1 : bytes, zero ? size - first - 1 : 0);
    r = wsl_wordnet_open(&wn, fuzz_folder(), &err);
    fuzz_check_line(r, &err);
    for (size_t i = 0; r == 0 && i < sizeof tags / sizeof *tags; i++) {
        struct wsl_noun noun;

        if (wsl_wordnet_find(wn, tags[i], &noun) && (noun.lemma_size < 1 || !noun.lemma))
            abort();
    }
    if (r == 0)
        wsl_wordnet_close(wn);
    return 0;
}

/* Lines of a file from a place in it on. */
static bool add_lines(struct wsl_buf *buf, const char *path, long from, size_t size)
{
    FILE *f = fopen(path, "r");
    char line[65536];

    if (!f)
        return false;
    fseek(f, from, SEEK_SET);
    if (from > 0 && !fgets(line, sizeof line, f)) {
        fclose(f);
        return false;
    }
    for (size_t before = buf->size; buf->size < before + size && fgets(line, sizeof line, f);)
        if (wsl_buf_add(buf, line, strlen(line)) < 0)
            abort();
    fclose(f);
    return true;
}

bool fuzz_real_input(int number, struct wsl_buf *ret)
{
    const long places[] = {0, 200000, 1500000};

    if (number >= 3 || !add_lines(ret, "/usr/share/wordnet/index.noun", places[number], 6000) ||
        wsl_buf_add(ret, "", 1) < 0 ||
        !add_lines(ret, "/usr/share/wordnet/noun.exc", number * 5000L, 1500))
        return false;
    return true;
}
