/* SPDX-License-Identifier: Apache-2.0
 *
 * Views, vocabularies and noise, on made-up data sets and a made-up WordNet.
 */
#include "base/file.h"
#include "storage/dataset/dataset_writer.h"
#include "storage/derive/view.h"
#include "storage/sampling/sampling.h"
#include "storage/vocabulary/segment.h"
#include "storage/vocabulary/vocabulary.h"
#include "tests/unit/checked_set.h"
#include "tests/unit/tag_sets.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* In the manner of WordNet's files. */
static const char index_noun[] = "  1 This text stands where the licence stands.  \n"
                                 "bird n 1 2 @ ~ 1 1 01503061  \n"
                                 "canis_familiaris n 1 3 @ ~ #m 1 0 02084071  \n"
                                 "cat n 1 2 @ ~ 1 1 02121620  \n"
                                 "crane n 2 2 @ ~ 2 1 03126707 02012849  \n"
                                 "dog n 2 5 @ ~ #m #p %p 2 1 02084071 10114209  \n"
                                 "golden_retriever n 1 1 @ 1 0 02099601  \n"
                                 "puppy n 1 1 @ 1 1 01322604  \n"
                                 "retriever n 1 1 @ 1 0 02099029  \n";
static const char noun_exc[] = "geese goose\n";
static const char counts[] = "bird%1:05:00:: 1 20\ncat%1:05:00:: 1 18\ndog%1:05:00:: 1 42\n"
                             "golden%5:00:00:bright:00 1 8\npuppy%1:05:00:: 1 1\n"
                             "run%2:38:00:: 1 106\n";

enum { DOG, DOGS, CAT, BIRD, GOOD, JOINED, CANIS, CRANE, TAGS };

static const char *const names[TAGS] = {
    [DOG] = "dog",
    [DOGS] = "dogs",
    [CAT] = "cat",
    [BIRD] = "bird",
    [GOOD] = "xqz",
    [JOINED] = "goldenretrieverpuppy",
    [CANIS] = "canis familiaris",
    [CRANE] = "crane",
};

enum { TRAIN = 600, HELDOUT = 60 };

/* Fewer and fewer images from DOG on; all have one of the first three or GOOD alone. */
static size_t tags_of(uint64_t record, uint32_t tags[64])
{
    uint64_t i = record % 1000000;
    size_t n = 0;

    if (i % 2 == 0)
        tags[n++] = DOG;
    if (i % 6 == 0)
        tags[n++] = DOGS;
    if (i % 2 == 1 && i % 5 != 0)
        tags[n++] = CAT;
    if (i % 10 == 3)
        tags[n++] = BIRD;
    if (i % 2 == 1 && i % 5 == 0)
        tags[n++] = GOOD;
    if (i % 40 == 7)
        tags[n++] = JOINED;
    if (i % 100 == 9)
        tags[n++] = CANIS;
    if (i % 200 == 11)
        tags[n++] = CRANE;
    return n;
}

struct fixture {
    char folder[64], data[80], wordnet[80], view[80];
    struct wsl_dataset *ds;
};

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[160];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(wsl_file_write_atomic(path, text, strlen(text), NULL), 0);
}

static int make(void **state)
{
    static const struct tag_set set = {
        .tags = names, .tag_count = TAGS, .train = TRAIN, .heldout = HELDOUT, .tags_of = tags_of};
    struct fixture *f = calloc(1, sizeof *f);

    strcpy(f->folder, "/tmp/wsl-test-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->data, sizeof f->data, "%s/data", f->folder);
    snprintf(f->view, sizeof f->view, "%s/view", f->folder);
    snprintf(f->wordnet, sizeof f->wordnet, "%s/wordnet", f->folder);
    assert_int_equal(wsl_file_make_directories(f->wordnet, NULL), 0);
    write_file(f->wordnet, "index.noun", index_noun);
    write_file(f->wordnet, "noun.exc", noun_exc);
    write_file(f->wordnet, "cntlist.rev", counts);
    make_tag_set(f->data, &set);
    f->ds = open_set(f->data);
    *state = f;
    return 0;
}

static int clear(void **state)
{
    struct fixture *f = *state;

    wsl_dataset_close(f->ds);
    wsl_file_remove_tree(f->folder, NULL);
    free(f);
    return 0;
}

static struct wsl_view_setup view_setup(const struct fixture *f)
{
    return (struct wsl_view_setup){.dataset = f->ds, .directory = f->data, .output = f->view};
}

static int find_tag(const struct wsl_dataset *ds, const char *name)
{
    for (size_t t = 0; t < wsl_dataset_tag_count(ds); t++)
        if (strcmp(wsl_dataset_tag(ds, t)->name, name) == 0)
            return (int)t;
    return -1;
}

static bool has(const struct wsl_record *record, int tag)
{
    for (int i = 0; i < record->tag_count; i++)
        if ((int)record->tags[i] == tag)
            return true;
    return false;
}

/* ---- vocabularies ---- */

static struct wsl_vocabulary make_lexicon(const struct fixture *f,
                                          const struct wsl_vocabulary_setup *setup,
                                          struct wsl_vocabulary_stats *stats)
{
    struct wsl_vocabulary_stats any;
    struct wsl_vocabulary vocabulary;
    struct wsl_err err;

    if (wsl_vocabulary_make(&vocabulary, f->ds, setup, stats ? stats : &any, &err) < 0)
        fail_msg("%s", err.text);
    return vocabulary;
}

static const char *meaning(const struct wsl_vocabulary *l, const char *spelling, int which)
{
    uint32_t tags[WSL_VOCABULARY_MEANINGS_MAX];
    int n = wsl_vocabulary_find(l, spelling, tags);

    return which < n ? l->tags[tags[which]].name : "";
}

static void spellings_of_a_noun_become_one_tag(void **state)
{
    struct fixture *f = *state;
    struct wsl_vocabulary_setup setup = {.wordnet = f->wordnet};
    struct wsl_vocabulary_stats stats;
    struct wsl_vocabulary l = make_lexicon(f, &setup, &stats);

    assert_int_equal(l.tag_count, TAGS - 2); /* dog, dogs, canis familiaris */
    assert_string_equal(l.tags[0].name, "dog");
    assert_string_equal(l.tags[0].synset, "n02084071");
    assert_int_equal(l.tags[0].images, 300 + 6); /* no image twice */
    assert_string_equal(meaning(&l, "dogs", 0), "dog");
    assert_string_equal(meaning(&l, "canis familiaris", 0), "dog");
    assert_string_equal(meaning(&l, "goldenretrieverpuppy", 0), "goldenretrieverpuppy");
    assert_string_equal(meaning(&l, "xqz", 0), "xqz");
    assert_string_equal(meaning(&l, "horse", 0), "");
    assert_int_equal(stats.merged, 2);
    assert_int_equal(stats.unknown, 2);
    wsl_vocabulary_free(&l);
    setup.only_nouns = true;
    setup.top = 2;
    l = make_lexicon(f, &setup, NULL);
    assert_int_equal(l.tag_count, 2);
    assert_string_equal(l.tags[1].name, "cat");
    assert_string_equal(meaning(&l, "xqz", 0), "");
    wsl_vocabulary_free(&l);
}

static void run_together_tags_are_cut_when_asked(void **state)
{
    struct fixture *f = *state;
    struct wsl_vocabulary_setup setup = {
        .wordnet = f->wordnet, .only_nouns = true, .segment = true};
    struct wsl_vocabulary_stats stats;
    struct wsl_vocabulary l = make_lexicon(f, &setup, &stats);

    assert_int_equal(stats.segmented, 1);
    assert_string_equal(meaning(&l, "goldenretrieverpuppy", 0), "golden retriever");
    assert_string_equal(meaning(&l, "goldenretrieverpuppy", 1), "puppy");
    assert_string_equal(meaning(&l, "goldenretrieverpuppy", 2), "");
    wsl_vocabulary_free(&l);
}

static void only_tags_of_a_targets_classes_stay(void **state)
{
    struct fixture *f = *state;
    char classes[160];
    struct wsl_vocabulary_setup setup = {.wordnet = f->wordnet, .classes = classes};
    struct wsl_vocabulary_stats stats;
    struct wsl_vocabulary l;

    snprintf(classes, sizeof classes, "%s/classes", f->folder);
    /* A name, a synset that is the second sense of "crane", one that no tag means, a name that
     * WordNet does not have. */
    write_file(f->folder, "classes",
               "# comment\ndomestic dog, dog\n\nn02012849 wading bird, large wader\r\n"
               "n01322604 whelp\nxqz\n");
    l = make_lexicon(f, &setup, &stats);
    assert_int_equal(stats.classes, 4);
    assert_int_equal(stats.classes_found, 3);
    assert_int_equal(l.tag_count, 3);
    assert_string_equal(l.tags[0].name, "domestic dog");
    assert_string_equal(l.tags[0].synset, "n02084071");
    assert_int_equal(l.tags[0].images, 306);
    assert_string_equal(meaning(&l, "dogs", 0), "domestic dog");
    assert_string_equal(meaning(&l, "crane", 0), "wading bird");
    assert_string_equal(meaning(&l, "xqz", 0), "xqz");
    assert_string_equal(meaning(&l, "cat", 0), "");
    wsl_vocabulary_free(&l);
    write_file(f->folder, "classes",
               "\xef\xbb\xbf"
               "cat\r\nbird");
    l = make_lexicon(f, &setup, &stats);
    assert_int_equal(stats.classes, 2);
    assert_int_equal(stats.classes_found, 2);
    wsl_vocabulary_free(&l);
    write_file(f->folder, "classes", "horse\n");
    assert_int_equal(wsl_vocabulary_make(&l, f->ds, &setup, &stats, NULL), WSL_EINVAL);
    write_file(f->folder, "classes", "n02012849 \n");
    assert_int_equal(wsl_vocabulary_make(&l, f->ds, &setup, &stats, NULL), WSL_ECORRUPT);
}

static void a_vocabulary_survives_its_file(void **state)
{
    struct fixture *f = *state;
    struct wsl_vocabulary_setup setup = {.wordnet = f->wordnet, .segment = true};
    struct wsl_vocabulary a = make_lexicon(f, &setup, NULL), b;
    char path[160];

    snprintf(path, sizeof path, "%s/words.tsv", f->folder);
    assert_int_equal(wsl_vocabulary_save(&a, path, NULL), 0);
    assert_int_equal(wsl_vocabulary_load(&b, path, NULL), 0);
    assert_int_equal(a.tag_count, b.tag_count);
    assert_int_equal(a.spelling_count, b.spelling_count);
    for (size_t i = 0; i < a.tag_count; i++) {
        assert_string_equal(a.tags[i].name, b.tags[i].name);
        assert_string_equal(a.tags[i].synset, b.tags[i].synset);
        assert_int_equal(a.tags[i].images, b.tags[i].images);
    }
    for (size_t i = 0; i < a.spelling_count; i++) {
        assert_string_equal(a.spellings[i].text, b.spellings[i].text);
        assert_int_equal(a.spellings[i].tag, b.spellings[i].tag);
    }
    wsl_vocabulary_free(&a);
    wsl_vocabulary_free(&b);
}

static void bad_vocabularies_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "# nothing\n",
        "dog\n",
        "dog\tn02084071\n",
        "\t\t3\tdog\n",
        "dog\t\tmany\tdog\n",
        "dog\t\t3\t\tdog\n",
        "dog\x01\t\t3\tdog\n",
        "\xff\t\t3\tdog\n",
        "dog\t\t3\td\xffg\n",
        "\xff\xfe"
        "d\x01o\x01",
    };
    struct fixture *f = *state;
    struct wsl_vocabulary good;
    char path[160];

    snprintf(path, sizeof path, "%s/words.tsv", f->folder);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct wsl_vocabulary l;
        struct wsl_err err;

        write_file(f->folder, "words.tsv", bad[i]);
        if (wsl_vocabulary_load(&l, path, &err) != WSL_ECORRUPT)
            fail_msg("case %zu was taken", i);
        assert_non_null(strstr(err.text, "words.tsv"));
        assert_null(l.tags);
    }
    write_file(f->folder, "words.tsv",
               "\xef\xbb\xbf"
               "# head\r\ndog\t\t3\tdog\r\ncat\t\t2\tcat\tkitty");
    assert_int_equal(wsl_vocabulary_load(&good, path, NULL), 0);
    assert_int_equal(good.tag_count, 2);
    assert_string_equal(meaning(&good, "kitty", 0), "cat");
    wsl_vocabulary_free(&good);
}

/* Made by an older version or by hand: its spellings are not folded as tags are today. */
static void a_vocabulary_finds_each_spelling_of_a_word(void **state)
{
    struct fixture *f = *state;
    struct wsl_vocabulary l;
    char path[160];

    snprintf(path, sizeof path, "%s/words.tsv", f->folder);
    write_file(f->folder, "words.tsv",
               "city\t\t3\t\u041c\u041e\u0421\u041a\u0412\u0410\n"
               "coffee\t\t2\tcafe\u0301\n"
               "upper\t\t1\tA\nlower\t\t1\ta\n");
    assert_int_equal(wsl_vocabulary_load(&l, path, NULL), 0);
    assert_string_equal(meaning(&l, "\u043c\u043e\u0441\u043a\u0432\u0430", 0), "city");
    assert_string_equal(meaning(&l, "caf\u00e9", 0), "coffee");
    assert_string_equal(meaning(&l, "cafe\u0301", 0), "coffee");
    assert_string_equal(meaning(&l, "A", 0), "upper"); /* as they are, where they are told apart */
    assert_string_equal(meaning(&l, "a", 0), "lower");
    wsl_vocabulary_free(&l);
}

/* ---- cutting ---- */

static void words_are_cut_by_likelihood(void **state)
{
    static const struct {
        const char *tag, *words; /* nouns plain, others in brackets; "": no cut */
    } cases[] = {
        {"goldenretrieverpuppy", "golden retriever puppy"},
        {"mydogandcat", "(my) dog (and) cat"},
        {"catlovers", "cat (lovers)"},
        {"dogsofinstagram", "dog (of) (instagram)"},
        {"birds2018", "bird (2018)"},
        {"goldencat", "(golden) cat"},
        {"dog", ""},
        {"xqz", ""},
        {"dogxqz", ""},
        {"cat bird", ""},
        {"andthe", ""},
        {"2018", ""},
        {"d\xc3\xb6g", ""},
        {"dogdogdogdogdogdogdogdog", "dog dog dog dog dog dog dog dog"},
        {"dogdogdogdogdogdogdogdogdog", ""}, /* nine */
        {"dogdogdogdogdogdogdogdogdogdogdogdogdogdogdogdogdogdogdogdogdogdog", ""},
    };
    struct fixture *f = *state;
    struct wsl_segmenter *s;
    struct wsl_wordnet *wn;

    assert_int_equal(wsl_wordnet_open(&wn, f->wordnet, NULL), 0);
    assert_int_equal(wsl_segmenter_open(&s, wn, f->wordnet, NULL), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct wsl_segmentation cut;
        char text[512] = "";
        double sum = 0;

        if (wsl_segment(s, cases[i].tag, &cut)) {
            for (int k = 0; k < cut.count; k++) {
                snprintf(text + strlen(text), sizeof text - strlen(text),
                         cut.words[k].noun ? "%s%s" : "%s(%s)", k > 0 ? " " : "",
                         cut.words[k].text);
                sum += cut.words[k].score;
            }
            assert_true(fabs(sum - cut.score) < 1e-9);
        }
        assert_string_equal(text, cases[i].words);
    }
    wsl_segmenter_close(s);
    write_file(f->wordnet, "cntlist.rev", "dog%1:05:00:: 1 many\n");
    assert_int_equal(wsl_segmenter_open(&s, wn, f->wordnet, NULL), WSL_ECORRUPT);
    wsl_wordnet_close(wn);
}

/* ---- views ---- */

static void map(const struct fixture *f, const struct wsl_vocabulary_setup *setup,
                struct wsl_view_result *ret)
{
    struct wsl_vocabulary l = make_lexicon(f, setup, NULL);
    struct wsl_view_setup view = view_setup(f);
    struct wsl_err err;

    if (wsl_view_map(&view, &l, ret, &err) < 0)
        fail_msg("%s", err.text);
    wsl_vocabulary_free(&l);
}

static void a_view_has_the_pictures_with_other_tags(void **state)
{
    struct fixture *f = *state;
    struct wsl_vocabulary_setup setup = {
        .wordnet = f->wordnet, .only_nouns = true, .segment = true};
    struct wsl_view_result result;
    struct wsl_dataset *view;
    uint64_t at = 0, dogs = 0;

    map(f, &setup, &result);
    view = open_set(f->view);
    assert_string_equal(wsl_dataset_name(view), "view");
    assert_string_equal(wsl_dataset_fingerprint(view), result.fingerprint);
    assert_string_not_equal(wsl_dataset_fingerprint(view), wsl_dataset_fingerprint(f->ds));
    assert_int_equal(wsl_dataset_count(view, WSL_SPLIT_TRAIN), result.train);
    assert_int_equal(result.unmapped, 1);
    for (uint64_t i = 0; i < TRAIN; i++) {
        struct wsl_record whole, viewed;
        uint32_t tags[64];
        int count;

        assert_int_equal(wsl_dataset_read(f->ds, WSL_SPLIT_TRAIN, i, &whole, NULL), 0);
        if (whole.tag_count == 1 && whole.tags[0] == GOOD)
            continue; /* the only tag is no noun */
        assert_int_equal(wsl_dataset_read(view, WSL_SPLIT_TRAIN, at, &viewed, NULL), 0);
        assert_string_equal(viewed.source, whole.source);
        assert_int_equal(wsl_record_check(&viewed, NULL), 0);
        assert_int_equal(has(&viewed, find_tag(view, "dog")),
                         has(&whole, DOG) || has(&whole, DOGS) || has(&whole, CANIS));
        assert_int_equal(has(&viewed, find_tag(view, "puppy")), has(&whole, JOINED));
        assert_int_equal(has(&viewed, find_tag(view, "golden retriever")), has(&whole, JOINED));
        assert_int_equal(wsl_dataset_read_tags(view, WSL_SPLIT_TRAIN, at, tags, &count, NULL), 0);
        assert_int_equal(count, viewed.tag_count);
        assert_memory_equal(tags, viewed.tags, (size_t)count * sizeof *tags);
        dogs += has(&viewed, find_tag(view, "dog"));
        at++;
    }
    assert_int_equal(at, result.train);
    assert_int_equal(wsl_dataset_tag(view, 0)->train, dogs);
    assert_int_equal(result.train + result.heldout + result.dropped, TRAIN + HELDOUT);
    assert_int_equal(check_set(f->view).bad, 0);
    wsl_dataset_close(view);
}

/* Its own table must be the one that a resampling would make. */
static void a_view_keeps_its_records_by_rarest_tag(void **state)
{
    struct fixture *f = *state;
    struct wsl_vocabulary_setup setup = {.wordnet = f->wordnet};
    struct wsl_sampling_rule rule = {.kind = WSL_SAMPLING_SQUARE_ROOT};
    struct wsl_sampling_table table;
    struct wsl_view_result result;
    struct wsl_dataset *view;
    const uint64_t *rare;
    uint64_t place = 0;

    map(f, &setup, &result);
    view = open_set(f->view);
    assert_null(wsl_dataset_by_rarest(f->ds, WSL_SPLIT_TRAIN, &rare));
    assert_non_null(wsl_dataset_by_rarest(view, WSL_SPLIT_TRAIN, &rare));
    assert_int_equal(wsl_sampling_open(&table, view, WSL_SPLIT_TRAIN, &rule, NULL), 0);
    assert_null(table.owned);
    for (size_t t = 0; t < wsl_dataset_tag_count(view); t++)
        for (uint64_t k = 0; k < rare[t]; k++, place++) {
            uint32_t tags[64];
            int count, rarest;

            assert_int_equal(wsl_dataset_read_tags(view, WSL_SPLIT_TRAIN, table.table[place], tags,
                                                   &count, NULL),
                             0);
            rarest = wsl_sampling_rarest(view, tags, count);
            assert_int_equal(tags[rarest], t);
        }
    assert_int_equal(place, wsl_dataset_count(view, WSL_SPLIT_TRAIN));
    wsl_sampling_close(&table);
    wsl_dataset_close(view);
}

static void a_view_of_a_view_is_one(void **state)
{
    struct fixture *f = *state;
    struct wsl_vocabulary_setup setup = {.wordnet = f->wordnet, .only_nouns = true};
    struct wsl_view_setup second = {.directory = f->view};
    struct wsl_view_result result, again;
    struct wsl_record a, b;
    struct wsl_dataset *view, *noisy;
    char path[160];

    map(f, &setup, &result);
    view = open_set(f->view);
    snprintf(path, sizeof path, "%s/noisy", f->folder);
    second.dataset = view;
    second.output = path;
    assert_int_equal(wsl_view_noise(&second, 0, 1, &again, NULL), 0);
    noisy = open_set(path);
    assert_int_equal(again.replaced, 0);
    for (uint64_t i = 0; i < result.train; i++) {
        assert_int_equal(wsl_dataset_read(view, WSL_SPLIT_TRAIN, i, &a, NULL), 0);
        assert_int_equal(wsl_dataset_read(noisy, WSL_SPLIT_TRAIN, i, &b, NULL), 0);
        assert_string_equal(a.source, b.source);
        assert_int_equal(a.tag_count, b.tag_count);
    }
    wsl_dataset_close(view);
    wsl_dataset_close(noisy);
}

static void must_not_open(const char *folder, int code, const char *word)
{
    struct wsl_dataset *ds;
    struct wsl_err err;

    assert_int_equal(wsl_dataset_open(&ds, folder, &err), code);
    if (!strstr(err.text, word))
        fail_msg("no \"%s\" in: %s", word, err.text);
}

static void a_view_without_its_data_set_says_so(void **state)
{
    struct fixture *f = *state;
    struct wsl_vocabulary_setup setup = {.wordnet = f->wordnet};
    static const struct tag_set other = {.tags = names,
                                         .tag_count = TAGS,
                                         .train = TRAIN,
                                         .heldout = HELDOUT - 1,
                                         .tags_of = tags_of};
    struct wsl_view_result result;
    struct wsl_view_setup view = view_setup(f);
    char moved[160], table[160];

    map(f, &setup, &result);
    assert_int_equal(wsl_view_noise(&view, 0.5, 1, &result, NULL), WSL_EEXIST);
    snprintf(moved, sizeof moved, "%s/moved", f->folder);
    assert_int_equal(rename(f->data, moved), 0);
    must_not_open(f->view, WSL_ENOENT, "is a view");
    make_tag_set(f->data, &other);
    must_not_open(f->view, WSL_ECORRUPT, "make the view anew");
    assert_int_equal(wsl_file_remove_tree(f->data, NULL), 0);
    assert_int_equal(rename(moved, f->data), 0);
    snprintf(table, sizeof table, "%s/train.tags", f->view);
    assert_int_equal(truncate(table, 100), 0);
    must_not_open(f->view, WSL_ECORRUPT, "train.tags");
    assert_int_equal(unlink(table), 0);
    must_not_open(f->view, WSL_ENOENT, "train.tags");
}

/* Under an open view: reads fail, the process goes on. */
static void a_table_that_shrinks_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct wsl_vocabulary_setup setup = {.wordnet = f->wordnet};
    struct wsl_sampling_rule rule = {.kind = WSL_SAMPLING_UNIFORM};
    struct wsl_sampling_table sampling;
    struct wsl_view_result result;
    struct wsl_dataset *view;
    struct wsl_record record;
    char table[160];

    map(f, &setup, &result);
    view = open_set(f->view);
    snprintf(table, sizeof table, "%s/train.tags", f->view);
    assert_int_equal(truncate(table, 0), 0);
    assert_int_equal(wsl_dataset_read(view, WSL_SPLIT_TRAIN, 3, &record, NULL), WSL_EIO);
    assert_int_equal(check_set(f->view).bad, 1);
    assert_int_equal(wsl_sampling_open(&sampling, view, WSL_SPLIT_TRAIN, &rule, NULL), WSL_EIO);
    assert_int_equal(wsl_dataset_read(view, WSL_SPLIT_HELDOUT, 3, &record, NULL), 0);
    wsl_dataset_close(view);
}

/* Without the syncs of a durable write. */
static void overwrite(const char *path, const struct wsl_buf *bytes)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    assert_int_equal(fwrite(bytes->data, 1, bytes->size, file), bytes->size);
    assert_int_equal(fclose(file), 0);
}

/* Any byte of a table may be wrong: reads fail or give possible tags, verify finds it. */
static void a_damaged_table_is_found(void **state)
{
    struct fixture *f = *state;
    struct wsl_vocabulary_setup setup = {.wordnet = f->wordnet};
    struct wsl_view_result result;
    struct wsl_buf good = {0};
    struct wsl_dataset *view;
    char table[160];

    map(f, &setup, &result);
    snprintf(table, sizeof table, "%s/train.tags", f->view);
    assert_int_equal(wsl_file_read(table, 1 << 20, &good, NULL), 0);
    for (size_t at = 0; at < good.size; at += 37) {
        uint8_t before = good.data[at];
        struct wsl_err err;

        good.data[at] ^= 0xa5;
        overwrite(table, &good);
        good.data[at] = before;
        if (wsl_dataset_open(&view, f->view, &err) < 0)
            continue;
        for (uint64_t i = 0; i < result.train; i++) {
            struct wsl_record record;

            if (wsl_dataset_read(view, WSL_SPLIT_TRAIN, i, &record, NULL) < 0)
                continue;
            assert_in_range(record.tag_count, 1, 64);
            for (int k = 0; k < record.tag_count; k++)
                assert_true(record.tags[k] < wsl_dataset_tag_count(view));
        }
        if (check_set(f->view).bad == 0)
            fail_msg("byte %zu was changed, and verify did not see it", at);
        wsl_dataset_close(view);
    }
    wsl_buf_free(&good);
}

/* ---- noise ---- */

static void noise_replaces_a_share_by_the_marginal_distribution(void **state)
{
    const double p = 0.3;
    struct fixture *f = *state;
    struct wsl_view_setup setup = view_setup(f);
    struct wsl_view_result result, again;
    struct wsl_dataset *view, *second;
    uint64_t same_seed = 0, uses = 0, kept = 0;
    char path[160];

    snprintf(path, sizeof path, "%s/again", f->folder);
    assert_int_equal(wsl_view_noise(&setup, p, 7, &result, NULL), 0);
    setup.output = path;
    assert_int_equal(wsl_view_noise(&setup, p, 7, &again, NULL), 0);
    assert_string_equal(result.fingerprint, again.fingerprint);
    view = open_set(f->view);
    second = open_set(path);
    for (uint64_t i = 0; i < TRAIN; i++) {
        struct wsl_record a, b, c;

        assert_int_equal(wsl_dataset_read(f->ds, WSL_SPLIT_TRAIN, i, &a, NULL), 0);
        assert_int_equal(wsl_dataset_read(view, WSL_SPLIT_TRAIN, i, &b, NULL), 0);
        assert_int_equal(wsl_dataset_read(second, WSL_SPLIT_TRAIN, i, &c, NULL), 0);
        assert_int_equal(a.tag_count, b.tag_count);
        same_seed += memcmp(b.tags, c.tags, (size_t)b.tag_count * sizeof *b.tags) == 0;
        for (int k = 0; k < a.tag_count; k++)
            kept += has(&b, (int)a.tags[k]);
        uses += (uint64_t)a.tag_count;
    }
    assert_int_equal(same_seed, TRAIN);
    assert_int_equal(result.kept + result.replaced, uses);
    /* Five deviations; and a draw may be the tag that was there. */
    assert_true(fabs((double)result.replaced - p * (double)uses) <
                5 * sqrt(p * (1 - p) * (double)uses));
    assert_in_range(kept, result.kept, result.kept + result.replaced / 2);
    for (uint64_t i = 0; i < HELDOUT; i++) {
        struct wsl_record a, b;

        assert_int_equal(wsl_dataset_read(f->ds, WSL_SPLIT_HELDOUT, i, &a, NULL), 0);
        assert_int_equal(wsl_dataset_read(view, WSL_SPLIT_HELDOUT, i, &b, NULL), 0);
        assert_int_equal(a.tag_count, b.tag_count);
        assert_memory_equal(a.tags, b.tags, (size_t)a.tag_count * sizeof *a.tags);
    }
    for (size_t t = 0; t < TAGS; t++) { /* the vocabulary stays; frequencies do, about */
        double before = (double)wsl_dataset_tag(f->ds, t)->train;

        assert_string_equal(wsl_dataset_tag(view, t)->name, names[t]);
        assert_true(fabs((double)wsl_dataset_tag(view, t)->train - before) < 12 + 0.25 * before);
    }
    wsl_dataset_close(view);
    wsl_dataset_close(second);
}

static void all_noise_and_none(void **state)
{
    struct fixture *f = *state;
    struct wsl_view_setup setup = view_setup(f);
    struct wsl_view_result result;
    char path[160];

    assert_int_equal(wsl_view_noise(&setup, 1, 0, &result, NULL), 0);
    assert_int_equal(result.kept, 0);
    assert_int_equal(result.train, TRAIN);
    snprintf(path, sizeof path, "%s/none", f->folder);
    setup.output = path;
    assert_int_equal(wsl_view_noise(&setup, 1.5, 0, &result, NULL), WSL_EINVAL);
    assert_false(wsl_file_exists(path));
}

static void a_cancelled_view_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct wsl_view_setup setup = view_setup(f);
    struct wsl_view_result result;
    atomic_bool cancel = true;
    char partial[160];

    setup.cancel = &cancel;
    assert_int_equal(wsl_view_noise(&setup, 0.1, 0, &result, NULL), WSL_ECANCELLED);
    snprintf(partial, sizeof partial, "%s.partial", f->view);
    assert_false(wsl_file_exists(f->view));
    assert_false(wsl_file_exists(partial));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, make, clear)
    const struct CMUnitTest tests[] = {
        CASE(spellings_of_a_noun_become_one_tag),
        CASE(run_together_tags_are_cut_when_asked),
        CASE(only_tags_of_a_targets_classes_stay),
        CASE(a_vocabulary_survives_its_file),
        CASE(bad_vocabularies_are_refused),
        CASE(a_vocabulary_finds_each_spelling_of_a_word),
        CASE(words_are_cut_by_likelihood),
        CASE(a_view_has_the_pictures_with_other_tags),
        CASE(a_view_keeps_its_records_by_rarest_tag),
        CASE(a_view_of_a_view_is_one),
        CASE(a_view_without_its_data_set_says_so),
        CASE(a_table_that_shrinks_is_an_error),
        CASE(a_damaged_table_is_found),
        CASE(noise_replaces_a_share_by_the_marginal_distribution),
        CASE(all_noise_and_none),
        CASE(a_cancelled_view_leaves_nothing),
    };

    return cmocka_run_group_tests_name("tags", tests, NULL, NULL);
}
