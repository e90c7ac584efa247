/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/utf8.h"
#include "storage/vocabulary/builder.h"
#include "storage/vocabulary/tag_text.h"
#include "storage/vocabulary/wordnet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* In the manner of WordNet's files; dog, domestic_dog and canis_familiaris share a synset. */
static const char index_noun[] = "  1 This text stands where the licence stands.  \n"
                                 "bear n 2 3 @ ~ #m 2 1 02131653 10209222  \n"
                                 "brown_bear n 1 2 @ ~ 1 0 02132136  \n"
                                 "bus n 1 1 @ 1 1 02924116  \n"
                                 "canis_familiaris n 1 3 @ ~ #m 1 0 02084071  \n"
                                 "child n 1 2 @ ~ 1 1 09917593  \n"
                                 "church n 1 1 @ 1 1 08082602  \n"
                                 "dog n 7 5 @ ~ #m #p %p 7 1 02084071 10114209 10023039  \n"
                                 "domestic_dog n 1 3 @ ~ #m 1 0 02084071  \n"
                                 "football n 2 3 @ ~ #p 2 2 00468480 03378765  \n"
                                 "glass n 1 2 @ ~ 1 1 14881303  \n"
                                 "glasses n 1 2 @ ~ 1 0 04272054  \n"
                                 "pony n 1 2 @ ~ 1 1 02382437  \n"
                                 "t-shirt n 1 1 @ 1 0 03595614  \n"
                                 "ursus_arctos n 1 2 @ ~ 1 0 02132136  \n";
static const char noun_exc[] = "children child\nponies pony\n";

struct fixture {
    char folder[64];
    struct wsl_wordnet *wn;
};

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(wsl_file_write_atomic(path, text, strlen(text), NULL), 0);
}

static int make(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    strcpy(f->folder, "/tmp/wsl-test-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    write_file(f->folder, "index.noun", index_noun);
    write_file(f->folder, "noun.exc", noun_exc);
    assert_int_equal(wsl_wordnet_open(&f->wn, f->folder, NULL), 0);
    *state = f;
    return 0;
}

static int clear(void **state)
{
    struct fixture *f = *state;

    wsl_wordnet_close(f->wn);
    wsl_file_remove_tree(f->folder, NULL);
    free(f);
    return 0;
}

static void text_is_checked(void **state)
{
    static const struct {
        const char *text;
        bool clean;
    } cases[] = {{"", true},
                 {"plain", true},
                 {"K\xc3\xa4se \xe2\x82\xac \xf0\x9f\x90\xb6", true},
                 {"tab\there", false},
                 {"\x7f", false},
                 {"\xc2\x85", false},             /* a control character of Latin-1 */
                 {"\xc3", false},                 /* cut */
                 {"\xa4", false},                 /* no start */
                 {"\xc0\xaf", false},             /* longer than needed */
                 {"\xe0\x80\xaf", false},         /* the same */
                 {"\xed\xa0\x80", false},         /* surrogate */
                 {"\xf4\x90\x80\x80", false},     /* above U+10FFFF */
                 {"\xf8\x88\x80\x80\x80", false}, /* five bytes */
                 {"caf\xe9", false}};             /* Latin-1 */

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(wsl_utf8_is_clean(cases[i].text, strlen(cases[i].text)), cases[i].clean);
}

static void tags_are_folded(void **state)
{
    static const struct {
        const char *text, *folded;
    } cases[] = {{"Dog", "dog"},
                 {"  Brown__Bear ", "brown bear"},
                 {"#Sunset", "sunset"},
                 {"T-Shirt", "t-shirt"},
                 {"\xc3\x84PFEL", "\xc3\xa4pfel"},
                 {"3\xc3\x97"
                  "4",
                  "3\xc3\x97"
                  "4"},
                 {"_ #  _", ""},
                 {"", ""},
                 {"a _ b", "a b"}};
    char longest[WSL_TAG_SIZE + 1], tag[WSL_TAG_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(wsl_text_fold_tag(cases[i].text, strlen(cases[i].text), tag),
                         strlen(cases[i].folded));
        assert_string_equal(tag, cases[i].folded);
    }
    memset(longest, 'x', sizeof longest);
    assert_int_equal(wsl_text_fold_tag(longest, WSL_TAG_SIZE - 1, tag), WSL_TAG_SIZE - 1);
    assert_int_equal(wsl_text_fold_tag(longest, WSL_TAG_SIZE, tag), 0);
}

static void nouns_are_found(void **state)
{
    static const struct {
        const char *tag;
        uint32_t synset; /* 0: no noun */
    } cases[] = {
        {"dog", 2084071},
        {"dogs", 2084071},
        {"canis familiaris", 2084071},
        {"brown bear", 2132136},
        {"brown-bear", 2132136},
        {"brownbear", 2132136},
        {"brownbears", 2132136},
        {"brown bears", 2132136},
        {"foot ball", 468480},
        {"t-shirt", 3595614},
        {"t shirts", 3595614},
        {"tshirt", 3595614},
        {"children", 9917593},
        {"ponies", 2382437},
        {"churches", 8082602},
        {"buses", 2924116},
        {"glasses", 4272054},
        {"glass", 14881303},
        {"glas", 0},
        {"s", 0},
        {"", 0},
        {"-", 0},
        {"xyzzy", 0},
        {"dogss", 0},
    };
    struct fixture *f = *state;
    struct wsl_noun noun;

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool found = wsl_wordnet_find(f->wn, cases[i].tag, &noun);

        if (found != (cases[i].synset != 0) || (found && noun.synset != cases[i].synset))
            fail_msg("%s: found %d, synset %u", cases[i].tag, found, found ? noun.synset : 0);
    }
    assert_true(wsl_wordnet_find(f->wn, "brownbears", &noun));
    assert_int_equal(noun.lemma_size, 10);
    assert_memory_equal(noun.lemma, "brown_bear", 10);
}

static void all_senses_are_listed(void **state)
{
    const struct fixture *f = *state;
    uint32_t senses[4];

    assert_int_equal(wsl_wordnet_senses(f->wn, "dogs", senses, 4), 3);
    assert_int_equal(senses[0], 2084071);
    assert_int_equal(senses[1], 10114209);
    assert_int_equal(senses[2], 10023039);
    assert_int_equal(wsl_wordnet_senses(f->wn, "dog", senses, 2), 2);
    assert_int_equal(wsl_wordnet_senses(f->wn, "brownbear", senses, 4), 1);
    assert_int_equal(wsl_wordnet_senses(f->wn, "qwerty", senses, 4), 0);
}

static void words_of_other_languages_are_found(void **state)
{
    struct fixture *f = *state;
    struct wsl_wordnet *wn = NULL;
    struct wsl_noun noun;

    /* A decomposed lemma; one that gets longer (from 2 bytes to 3); an exception of both. */
    write_file(f->folder, "index.noun",
               "CAFE\u0301_au_lait n 1 1 @ 1 1 07920052  \n\u0130 n 1 1 @ 1 1 06833436  \n");
    write_file(f->folder, "noun.exc", "\u0130LER \u0130\n");
    assert_int_equal(wsl_wordnet_open(&wn, f->folder, NULL), 0);
    assert_true(wsl_wordnet_find(wn, "caf\u00e9 au lait", &noun));
    assert_int_equal(noun.synset, 7920052);
    assert_true(wsl_wordnet_find(wn, "i\u0307", &noun));
    assert_true(wsl_wordnet_find(wn, "i\u0307ler", &noun));
    assert_int_equal(noun.synset, 6833436);
    wsl_wordnet_close(wn);
}

static void damaged_wordnet_is_named(void **state)
{
    static const char *const lines[] = {"dog\n",
                                        "dog v 1 1 @ 1 1 02084071\n",
                                        "dog n 1 1 @ 1 1 2084071\n",
                                        "dog n 0 0 0 0 02084071\n",
                                        "dog n 1 99999999999 @ 1 1 02084071\n",
                                        "dog n 1 1 @ 1 1\n",
                                        "dog n 1 1 @ 1 1 020840x1\n",
                                        "dog n 1 1 @ 1 1 0208407",
                                        "\xff\xfd\n",
                                        "\n"};
    struct fixture *f = *state;
    struct wsl_wordnet *wn = NULL;
    struct wsl_err err;
    char path[128];

    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        write_file(f->folder, "index.noun", lines[i]);
        assert_int_equal(wsl_wordnet_open(&wn, f->folder, &err), WSL_ECORRUPT);
        assert_non_null(strstr(err.text, "index.noun:1: "));
    }
    write_file(f->folder, "index.noun", "\xfe\xff");
    assert_int_equal(wsl_wordnet_open(&wn, f->folder, &err), WSL_ECORRUPT);
    assert_non_null(strstr(err.text, "index.noun is UTF-16; save it as UTF-8"));
    write_file(f->folder, "index.noun",
               "\xef\xbb\xbf"
               "dog n 1 1 @ 1 1 02084071\r\n\r\ncat n 1 1 @ 1 1 02121620");
    assert_int_equal(wsl_wordnet_open(&wn, f->folder, &err), WSL_ECORRUPT);
    assert_non_null(strstr(err.text, "index.noun:2: "));
    write_file(f->folder, "index.noun",
               "\xef\xbb\xbf"
               "dog n 1 1 @ 1 1 02084071\r\ncat n 1 1 @ 1 1 02121620");
    assert_int_equal(wsl_wordnet_open(&wn, f->folder, &err), 0);
    wsl_wordnet_close(wn);
    wn = NULL;
    write_file(f->folder, "index.noun", "");
    assert_int_equal(wsl_wordnet_open(&wn, f->folder, &err), WSL_ECORRUPT);
    write_file(f->folder, "index.noun", index_noun);
    write_file(f->folder, "noun.exc", "children child\nlonely\n");
    assert_int_equal(wsl_wordnet_open(&wn, f->folder, &err), WSL_ECORRUPT);
    assert_non_null(strstr(err.text, "noun.exc:2: "));
    snprintf(path, sizeof path, "%s/noun.exc", f->folder);
    assert_int_equal(remove(path), 0);
    assert_int_equal(wsl_wordnet_open(&wn, f->folder, &err), WSL_ENOENT);
    assert_non_null(strstr(err.text, "noun.exc"));
    assert_null(wn);
}

static uint32_t spell(struct wsl_vocabulary_builder *v, const char *text)
{
    uint32_t number = 0;

    assert_int_equal(wsl_vocabulary_builder_add(v, text, &number, NULL), 0);
    wsl_vocabulary_builder_use(v, number);
    return wsl_vocabulary_builder_concept(v, number);
}

static void count(struct wsl_vocabulary_builder *v, uint32_t concept, int train, int heldout)
{
    for (int i = 0; i < train; i++)
        wsl_vocabulary_builder_count(v, concept, WSL_SPLIT_TRAIN);
    for (int i = 0; i < heldout; i++)
        wsl_vocabulary_builder_count(v, concept, WSL_SPLIT_HELDOUT);
}

static void free_tags(struct wsl_tag *tags, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free((char *)tags[i].name);
        free((char *)tags[i].synset);
    }
    free(tags);
}

static void synonyms_become_one_tag(void **state)
{
    struct fixture *f = *state;
    struct wsl_vocabulary_builder_stats stats;
    struct wsl_vocabulary_builder *v;
    struct wsl_tag *tags;
    uint32_t bear, dog, pony;
    size_t n;

    assert_int_equal(wsl_vocabulary_builder_open(&v, f->wn, true, NULL), 0);
    bear = spell(v, "ursus arctos");
    assert_int_equal(spell(v, "brownbear"), bear);
    assert_int_equal(spell(v, "brown bears"), bear);
    dog = spell(v, "dog");
    assert_int_not_equal(dog, bear);
    assert_int_equal(spell(v, "xyzzy"), WSL_NO_CONCEPT);
    pony = spell(v, "pony");
    count(v, bear, 3, 9);
    count(v, dog, 5, 1);
    count(v, pony, 1, 9);
    assert_int_equal(wsl_vocabulary_builder_select(v, 2, 0, NULL), 0);
    assert_int_equal(wsl_vocabulary_builder_id(v, dog), 0);
    assert_int_equal(wsl_vocabulary_builder_id(v, bear), 1);
    assert_int_equal(wsl_vocabulary_builder_id(v, pony),
                     WSL_NO_CONCEPT); /* the held-out ones do not count */
    assert_int_equal(wsl_vocabulary_builder_tags(v, &tags, &n, NULL), 0);
    assert_int_equal(n, 2);
    /* Two spellings of brown_bear against one of ursus_arctos. */
    assert_string_equal(tags[1].name, "brown bear");
    assert_string_equal(tags[1].synset, "n02132136");
    assert_int_equal(tags[1].train, 3);
    assert_int_equal(tags[1].heldout, 9);
    wsl_vocabulary_builder_stats(v, &stats);
    assert_int_equal(stats.spellings, 6);
    assert_int_equal(stats.unknown, 1);
    assert_int_equal(stats.merged, 2);
    assert_int_equal(stats.rare, 1);
    assert_int_equal(stats.tags, 2);
    free_tags(tags, n);
    wsl_vocabulary_builder_close(v);
}

static void other_words_are_kept_unless_only_nouns_are_wanted(void **state)
{
    struct fixture *f = *state;
    struct wsl_vocabulary_builder_stats stats;
    struct wsl_vocabulary_builder *v;
    struct wsl_tag *tags;
    uint32_t word;
    size_t n;

    assert_int_equal(wsl_vocabulary_builder_open(&v, f->wn, false, NULL), 0);
    word = spell(v, "xyzzy");
    assert_int_not_equal(word, WSL_NO_CONCEPT);
    assert_int_equal(spell(v, "xyzzy"), word);
    count(v, word, 4, 0);
    count(v, spell(v, "dog"), 3, 0);
    assert_int_equal(wsl_vocabulary_builder_select(v, 2, 0, NULL), 0);
    assert_int_equal(wsl_vocabulary_builder_tags(v, &tags, &n, NULL), 0);
    assert_int_equal(n, 2);
    assert_string_equal(tags[0].name, "xyzzy");
    assert_string_equal(tags[0].synset, "");
    assert_string_equal(tags[1].name, "dog");
    wsl_vocabulary_builder_stats(v, &stats);
    assert_int_equal(stats.unknown, 1);
    assert_int_equal(stats.merged, 0);
    free_tags(tags, n);
    wsl_vocabulary_builder_close(v);
}

static void order_and_limit_without_wordnet(void **state)
{
    struct wsl_vocabulary_builder *v;
    struct wsl_tag *tags;
    char name[16];
    size_t n;

    (void)state;
    assert_int_equal(wsl_vocabulary_builder_open(&v, NULL, false, NULL), 0);
    for (int i = 0; i < 5000; i++) { /* grows its tables several times */
        snprintf(name, sizeof name, "tag %04d", i);
        count(v, spell(v, name), i % 100, 0);
    }
    snprintf(name, sizeof name, "tag %04d", 4999);
    assert_int_equal(spell(v, name), 4999); /* found again, not added */
    assert_int_equal(wsl_vocabulary_builder_select(v, 1, 60, NULL), 0);
    assert_int_equal(wsl_vocabulary_builder_tags(v, &tags, &n, NULL), 0);
    assert_int_equal(n, 60);
    assert_string_equal(tags[0].name, "tag 0099"); /* ties by name */
    assert_string_equal(tags[1].name, "tag 0199");
    assert_string_equal(tags[50].name, "tag 0098");
    assert_string_equal(tags[50].synset, "");
    assert_int_equal(tags[59].train, 98);
    free_tags(tags, n);
    wsl_vocabulary_builder_close(v);
}

static void the_real_wordnet(void **state)
{
    static const char folder[] = "/usr/share/wordnet";
    struct wsl_noun dog, hound, bear;
    struct wsl_wordnet *wn;

    (void)state;
    if (!wsl_file_exists("/usr/share/wordnet/index.noun")) {
        print_message("# wordnet-base is not installed: the real files were not read\n");
        return;
    }
    assert_int_equal(wsl_wordnet_open(&wn, folder, NULL), 0);
    assert_true(wsl_wordnet_find(wn, "dogs", &dog));
    assert_true(wsl_wordnet_find(wn, "domesticdog", &hound));
    assert_int_equal(dog.synset, 2084071);
    assert_int_equal(hound.synset, dog.synset);
    /* The paper's example: #brownbear and #ursusarctos are one. */
    assert_true(wsl_wordnet_find(wn, "brownbear", &bear));
    assert_true(wsl_wordnet_find(wn, "ursusarctos", &dog));
    assert_int_equal(bear.synset, dog.synset);
    assert_false(wsl_wordnet_find(wn, "lemon theme icon", &dog));
    wsl_wordnet_close(wn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_checked),
        cmocka_unit_test(tags_are_folded),
        cmocka_unit_test_setup_teardown(nouns_are_found, make, clear),
        cmocka_unit_test_setup_teardown(all_senses_are_listed, make, clear),
        cmocka_unit_test_setup_teardown(words_of_other_languages_are_found, make, clear),
        cmocka_unit_test_setup_teardown(damaged_wordnet_is_named, make, clear),
        cmocka_unit_test_setup_teardown(synonyms_become_one_tag, make, clear),
        cmocka_unit_test_setup_teardown(other_words_are_kept_unless_only_nouns_are_wanted, make,
                                        clear),
        cmocka_unit_test(order_and_limit_without_wordnet),
        cmocka_unit_test(the_real_wordnet),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
