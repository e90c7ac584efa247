/* SPDX-License-Identifier: Apache-2.0
 *
 * The best way to cut the first i letters is found from those for fewer letters; a word's score is
 * the logarithm of its share of all text.
 */
#include "storage/vocabulary/segment.h"

#include "base/file.h"
#include "base/text_input.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

enum { FILE_LIMIT = 64 << 20, LONGEST_WORD = 32, SLOTS = 1 << 17 };

/* A word of cntlist.rev with its occurrences as a noun and as anything else. */
struct counted {
    const char *text; /* in the file */
    uint32_t size;
    uint32_t noun, other;
};

struct wsl_segmenter {
    const struct wsl_wordnet *wn;
    struct wsl_buf text;
    struct counted *words; /* SLOTS; text NULL: free */
    uint32_t used;
    double total;
};

/* Words that join others; with shares of running English text in thousandths, rounded. */
static const struct {
    const char *text;
    double share;
} function_words[] = {
    {"the", 60},
    {"of", 30},
    {"and", 27},
    {"a", 22},
    {"to", 25},
    {"in", 20},
    {"is", 10},
    {"i", 10},
    {"it", 9},
    {"for", 9},
    {"on", 7},
    {"with", 7},
    {"you", 6},
    {"my", 3},
    {"at", 5},
    {"by", 5},
    {"from", 4},
    {"this", 4},
    {"we", 3},
    {"our", 1.5},
    {"your", 1.5},
    {"me", 2},
    {"her", 2},
    {"his", 3},
    {"its", 2},
    {"all", 2},
    {"no", 2},
    {"or", 4},
    {"so", 2},
    {"an", 3},
    {"are", 4},
    {"as", 6},
    {"be", 5},
    {"not", 4},
    {"that", 9},
    {"who", 2},
    {"what", 2},
    {"how", 1},
    {"when", 2},
    {"lovers", 1},
    {"love", 2},
    /* of hashtags alone */
    {"instagram", 1},
    {"insta", 0.5},
    {"stagram", 0.1},
};
enum { FUNCTION_WORDS = sizeof function_words / sizeof function_words[0] };

static struct counted *find_slot(const struct wsl_segmenter *s, const char *text, size_t size)
{
    uint32_t at = (uint32_t)XXH3_64bits(text, size) & (SLOTS - 1);

    while (s->words[at].text &&
           !(s->words[at].size == size && memcmp(s->words[at].text, text, size) == 0))
        at = (at + 1) & (SLOTS - 1);
    return &s->words[at];
}

/* lemma%type:... sense_number count; the types are 1 noun, 2 verb, 3 adjective, 4 adverb, 5
 * adjective satellite (senseidx(5WN)). */
static bool add_line(struct wsl_segmenter *s, const char *at, const char *end)
{
    const char *percent = memchr(at, '%', (size_t)(end - at)), *blank = end;
    struct counted *word;
    unsigned long count;
    char *stop;

    while (blank > at && blank[-1] != ' ')
        blank--;
    if (!percent || percent == at || end - percent < 2 || percent[1] < '1' || percent[1] > '5' ||
        blank == at)
        return false;
    count = strtoul(blank, &stop, 10); /* the line is NUL-terminated */
    if (stop != end || count > 1000000)
        return false;
    word = find_slot(s, at, (size_t)(percent - at));
    if (!word->text) {
        if (s->used == SLOTS / 2)
            return false;
        s->used++;
        word->text = at;
        word->size = (uint32_t)(percent - at);
    }
    *(percent[1] == '1' ? &word->noun : &word->other) += (uint32_t)count;
    s->total += (double)count;
    return true;
}

static int read_counts(struct wsl_segmenter *s, const char *directory, struct wsl_err *err)
{
    char path[PATH_MAX];
    char *rest, *line;
    size_t size;
    int r;

    if (wsl_file_join(path, sizeof path, directory, "cntlist.rev") < 0)
        return wsl_fail(err, WSL_EINVAL, "path too long: %s", directory);
    if (!wsl_file_exists(path))
        return wsl_fail(
            err, WSL_ENOENT,
            "%s is missing: give a directory with WordNet's cntlist.rev (Debian package "
            "wordnet-base)",
            path);
    r = wsl_text_input_read(path, FILE_LIMIT, &s->text, err);
    if (r < 0)
        return r;
    rest = (char *)s->text.data;
    for (unsigned number = 1; (line = wsl_text_input_line(&rest, &size)); number++)
        if (!add_line(s, line, line + size))
            return wsl_fail(err, WSL_ECORRUPT, "%s:%u: not a line of WordNet's", path, number);
    return s->total > 0 ? 0 : wsl_fail(err, WSL_ECORRUPT, "%s has no counts", path);
}

int wsl_segmenter_open(struct wsl_segmenter **ret, const struct wsl_wordnet *wn,
                       const char *directory, struct wsl_err *err)
{
    struct wsl_segmenter *s = calloc(1, sizeof *s);
    int r;

    if (s)
        s->words = calloc(SLOTS, sizeof *s->words);
    if (!s || !s->words) {
        wsl_segmenter_close(s);
        return wsl_fail(err, WSL_ENOMEM, "no memory for word counts");
    }
    s->wn = wn;
    r = read_counts(s, directory, err);
    if (r < 0) {
        wsl_segmenter_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

void wsl_segmenter_close(struct wsl_segmenter *s)
{
    if (!s)
        return;
    wsl_buf_free(&s->text);
    free(s->words);
    free(s);
}

/* ---- words ---- */

static bool all_digits(const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (text[i] < '0' || text[i] > '9')
            return false;
    return true;
}

static double function_share(const char *word)
{
    for (int i = 0; i < FUNCTION_WORDS; i++)
        if (strcmp(function_words[i].text, word) == 0)
            return function_words[i].share / 1000;
    return 0;
}

/* Short nouns without a count are symbols of elements, letters and the like. */
static double noun_count(const struct wsl_segmenter *s, size_t size, const struct wsl_noun *noun)
{
    const struct counted *c = find_slot(s, noun->lemma, (size_t)noun->lemma_size);
    double count = c->text ? c->noun : 0;

    if (size < 3 || (size == 3 && count < 1))
        return 0;
    return count > 0 ? count : 0.1;
}

/* Whether these letters are a word, and which. */
static bool judge(const struct wsl_segmenter *s, const char *letters, size_t size,
                  struct wsl_segment *ret)
{
    char word[LONGEST_WORD + 1];
    const struct counted *c;
    struct wsl_noun noun;
    double best = 0, share;

    memcpy(word, letters, size);
    word[size] = '\0';
    memcpy(ret->text, word, size + 1);
    ret->noun = false;
    if (all_digits(word, size)) {
        ret->score = log(1e-4);
        return true;
    }
    c = find_slot(s, word, size);
    if (size >= 3 && c->text && c->other > 0)
        best = c->other / s->total;
    share = function_share(word);
    best = share > best ? share : best;
    if (wsl_wordnet_find(s->wn, word, &noun)) {
        share = noun_count(s, size, &noun) / s->total;
        if (share > best) {
            best = share;
            ret->noun = true;
            snprintf(ret->text, sizeof ret->text, "%.*s", noun.lemma_size, noun.lemma);
            for (char *p = ret->text; *p; p++)
                *p = *p == '_' ? ' ' : *p;
        }
    }
    ret->score = best > 0 ? log(best) : 0;
    return best > 0;
}

/* ---- the cut ---- */

struct cut {
    double score;
    int from;  /* where the last word begins; -1: no way to get here */
    int words; /* up to here */
};

/* cuts[i]: the best way to cut the first i letters. */
static void find_cuts(const struct wsl_segmenter *s, const char *tag, int size, struct cut *cuts)
{
    cuts[0] = (struct cut){0, 0, 0};
    for (int end = 1; end <= size; end++) {
        cuts[end] = (struct cut){0, -1, 0};
        for (int from = end > LONGEST_WORD ? end - LONGEST_WORD : 0; from < end; from++) {
            struct wsl_segment word;
            double score;

            if (cuts[from].from < 0 || cuts[from].words == WSL_SEGMENT_WORDS_MAX ||
                (from == 0 && end == size) || !judge(s, tag + from, (size_t)(end - from), &word))
                continue;
            score = cuts[from].score + word.score;
            if (cuts[end].from < 0 || score > cuts[end].score)
                cuts[end] = (struct cut){score, from, cuts[from].words + 1};
        }
    }
}

bool wsl_segment(const struct wsl_segmenter *s, const char *tag, struct wsl_segmentation *ret)
{
    struct cut cuts[WSL_SEGMENT_LETTERS_MAX + 1];
    size_t size = strlen(tag);
    bool noun = false;

    if (size < 4 || size > WSL_SEGMENT_LETTERS_MAX)
        return false;
    for (size_t i = 0; i < size; i++)
        if (!(tag[i] >= 'a' && tag[i] <= 'z') && !(tag[i] >= '0' && tag[i] <= '9'))
            return false;
    find_cuts(s, tag, (int)size, cuts);
    if (cuts[size].from < 0 || cuts[size].words < 2)
        return false;
    ret->count = cuts[size].words;
    ret->score = cuts[size].score;
    for (int end = (int)size, i = ret->count - 1; i >= 0; end = cuts[end].from, i--) {
        judge(s, tag + cuts[end].from, (size_t)(end - cuts[end].from), &ret->words[i]);
        noun = noun || ret->words[i].noun;
    }
    return noun;
}
