/* SPDX-License-Identifier: Apache-2.0
 *
 * Tags in one form whatever their spelling, and hashtags in captions.
 */
#include "base/rng.h"
#include "base/utf8.h"
#include "storage/vocabulary/hashtag.h"
#include "storage/vocabulary/tag_text.h"
#include "storage/vocabulary/unicode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <utf8proc.h>

/* ---- folding ---- */

static void must_fold(const char *text, const char *folded)
{
    char tag[WSL_TAG_SIZE] = "";
    size_t size = wsl_text_fold_tag(text, strlen(text), tag);

    if (size != strlen(folded) || (size > 0 && strcmp(tag, folded) != 0))
        fail_msg("%s becomes %.*s, not %s", text, (int)size, tag, folded);
}

static void spellings_of_a_word_become_one_tag(void **state)
{
    static const char *const same[][6] = {
        {"cr\u00e8me br\u00fbl\u00e9e", "CRE\u0300ME BRU\u0302LE\u0301E",
         "Cr\u00e8me_Br\u00fbl\u00e9e"},
        {"\u0441\u043e\u0431\u0430\u043a\u0430", "\u0421\u041e\u0411\u0410\u041a\u0410"},
        {"\u0439\u043e\u0433\u0430", "\u0418\u0306\u041e\u0413\u0410", "\u0419\u043e\u0433\u0430"},
        {"\u03ba\u03b1\u03b9\u03c1\u03cc\u03c3", "\u039a\u0391\u0399\u03a1\u038c\u03a3",
         "\u03ba\u03b1\u03b9\u03c1\u03cc\u03c2", "\u03ba\u03b1\u03b9\u03c1\u03bf\u0301\u03c2"},
        {"h\u00e0 n\u1ed9i", "H\u00c0 N\u1ed8I", "Ha\u0300 No\u0323\u0302i",
         "HA\u0300 N\u00d4\u0323I"},
        {"fussball", "Fu\u00dfball", "FUSSBALL", "FU\u1e9eBALL"},
        {"i\u0307zmir", "\u0130zmir", "I\u0307ZMIR"},
        {"\u2600", "\u2600\ufe0f", "\u2600\ufe0e"},
        {"dog", "dog\ufe0f", "\uff24\uff2f\uff27", "#\u200bdo\u00adg", "\uff03Dog", "\U0001d4d3og"},
        {"fish", "\ufb01sh", "FI\u017fH"},
        {"\u30ab\u30bf\u30ab\u30ca", "\uff76\uff80\uff76\uff85"},
        {"\u30ac", "\uff76\uff9e", "\u30ab\u3099"},
        {"\ud55c\uad6d", "\u1112\u1161\u11ab\u1100\u116e\u11a8"},
        {"\u1f80", "\u03b1\u0313\u0345", "\u03b1\u0345\u0313", "\u1f88"},
        {"dz", "\u01f1", "\u01f2", "\u01f3"},
        {"a b", "a\u00a0b", "\u3000a\u2003b_", "a\uff3fb", "a\u2028b"},
        {"\u0121", "g\u0307", "\u0120"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++) {
        char tag[WSL_TAG_SIZE];
        size_t size = wsl_text_fold_tag(same[i][0], strlen(same[i][0]), tag);

        assert_true(size > 0);
        for (size_t k = 1; k < 6 && same[i][k]; k++)
            must_fold(same[i][k], tag);
    }
}

static void different_words_stay_apart(void **state)
{
    (void)state;
    must_fold("s\u0131k", "s\u0131k"); /* Turkish: not "sik" */
    must_fold("r\u00e9sum\u00e9", "r\u00e9sum\u00e9");
    must_fold("\u0451\u043b\u043a\u0430", "\u0451\u043b\u043a\u0430");
    must_fold("3\u00d74", "3\u00d74");
    must_fold("o\u2019clock", "o\u2019clock");
}

static void joiners_stay_where_they_say_something(void **state)
{
    (void)state;
    /* Persian "books"; a family; a technician of dark skin; a heart on fire; Sri; chillu n. */
    must_fold("\u06a9\u062a\u0627\u0628\u200c\u0647\u0627",
              "\u06a9\u062a\u0627\u0628\u200c\u0647\u0627");
    must_fold("\U0001f468\u200d\U0001f469\u200d\U0001f467",
              "\U0001f468\u200d\U0001f469\u200d\U0001f467");
    must_fold("\U0001f469\U0001f3ff\u200d\U0001f4bb", "\U0001f469\U0001f3ff\u200d\U0001f4bb");
    must_fold("\u2764\ufe0f\u200d\U0001f525", "\u2764\u200d\U0001f525");
    must_fold("\u0dc1\u0dca\u200d\u0dbb\u0dd3", "\u0dc1\u0dca\u200d\u0dbb\u0dd3");
    must_fold("\u0d05\u0d35\u0d28\u0d4d\u200d", "\u0d05\u0d35\u0d28\u0d4d\u200d");
    must_fold("\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
              "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f");
    /* Elsewhere nobody sees them. */
    must_fold("d\u200dog", "dog");
    must_fold("do\u200cg\u200d", "dog");
    must_fold("\u200d\U0001f436\u200d", "\U0001f436");
    must_fold("\u06a9\u062a\u0627\u0628\u200c", "\u06a9\u062a\u0627\u0628");
    must_fold("\u06a9\u200c\u200c\u062a", "\u06a9\u200c\u062a");
    must_fold("e\u200d\u0301", "\u00e9");
    must_fold("dog\U000e0067\U000e007f", "dog");
}

static void what_does_not_fit_is_nothing(void **state)
{
    char text[8 * WSL_TAG_SIZE], tag[WSL_TAG_SIZE];

    (void)state;
    must_fold("", "");
    must_fold("\u200b\ufe0f", "");
    must_fold("_ \uff03 \u3000", "");
    for (size_t i = 0; i < sizeof text; i += 2)
        memcpy(text + i, "\u0416", 2);
    assert_int_equal(wsl_text_fold_tag(text, 126, tag), 126);
    assert_int_equal(wsl_text_fold_tag(text, 128, tag), 0);
    assert_int_equal(wsl_text_fold_tag(text, sizeof text, tag), 0);
    for (size_t i = 0; i < sizeof text; i += 4)
        memcpy(text + i, "\ufdfax", 4); /* one character becomes eighteen */
    assert_int_equal(wsl_text_fold_tag(text, sizeof text, tag), 0);
    assert_int_equal(wsl_text_fold_tag(text, 12, tag), 3 * 34);
}

/* ---- properties ---- */

static size_t encode_all(const int32_t *codes, size_t count, char *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < count; i++)
        n += wsl_unicode_encode(codes[i], ret + n);
    ret[n] = '\0';
    return n;
}

/* fold(fold(x)) = fold(x), and canonically equivalent texts fold alike. */
static void must_hold(const int32_t *codes, size_t count)
{
    static const utf8proc_option_t forms[] = {UTF8PROC_COMPOSE, UTF8PROC_DECOMPOSE};
    char text[256], once[WSL_TAG_SIZE], twice[WSL_TAG_SIZE];
    size_t size = encode_all(codes, count, text), n = wsl_text_fold_tag(text, size, once);

    if (n == 0)
        return;
    if (!wsl_utf8_is_clean(once, n) || wsl_text_fold_tag(once, n, twice) != n ||
        memcmp(once, twice, n) != 0)
        fail_msg("U+%04X (first of %zu): %s changes again into %s", codes[0], count, once, twice);
    for (size_t i = 0; i < 2; i++) {
        utf8proc_uint8_t *other = NULL;
        utf8proc_ssize_t length =
            utf8proc_map((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size, &other,
                         forms[i] | UTF8PROC_STABLE);

        assert_true(length > 0);
        if (wsl_text_fold_tag((char *)other, (size_t)length, twice) != n ||
            memcmp(once, twice, n) != 0)
            fail_msg("U+%04X (first of %zu): %s and its equivalent %s differ", codes[0], count,
                     once, twice);
        free(other);
    }
}

static bool is_clean_code(int32_t code)
{
    return code >= 0x20 && !(code >= 0x7f && code < 0xa0) && !(code >= 0xd800 && code < 0xe000);
}

static bool is_unassigned_plane(int32_t code)
{
    return (code >= 0x32000 && code < 0xe0000) || code >= 0xe1000;
}

static void folding_all_of_unicode_twice_is_folding_once(void **state)
{
    (void)state;
    for (int32_t code = 0x20; code <= 0x10ffff; code++) {
        const int32_t alone[] = {code}, within[] = {'A', code, 0x301, 'b'},
                      joined[] = {0x628, code, WSL_UNICODE_ZWNJ, code, 0x628};

        if (!is_clean_code(code) || (is_unassigned_plane(code) && code % 257 != 0))
            continue;
        must_hold(alone, 1);
        must_hold(within, 4);
        must_hold(joined, 5);
    }
}

/* Characters that touch each other: marks, joiners, letters that compose, blanks. */
static int32_t draw_code(struct wsl_rng *rng)
{
    static const int32_t nasty[] = {
        ' ',     '_',     '#',     'A',     'i',     's',     0xa0,    0xad,   0xdf,
        0x130,   0x131,   0x17f,   0x300,   0x301,   0x307,   0x323,   0x338,  0x345,
        0x34f,   0x390,   0x3a3,   0x3c2,   0x628,   0x64b,   0x915,   0x94d,  0xd4d,
        0xdca,   0x1100,  0x1161,  0x11a8,  0x1160,  0x1e9e,  0x1f88,  0x1fb3, 0x200b,
        0x200c,  0x200d,  0x2028,  0x20e3,  0x2764,  0x3000,  0x3099,  0xac00, 0xfc5e,
        0xfdfa,  0xfe0f,  0xfe70,  0xfeff,  0xff03,  0xff3f,  0xff76,  0xff9e, 0xffa0,
        0x1d15e, 0x1f1e9, 0x1f3f4, 0x1f3fb, 0x1f468, 0xe0067, 0xe007f, 0xe0100};
    int32_t code;

    if (wsl_rng_u32(rng) % 4)
        return nasty[wsl_rng_u32(rng) % (sizeof nasty / sizeof nasty[0])];
    do
        code = (int32_t)(wsl_rng_u32(rng) % (wsl_rng_u32(rng) % 2 ? 0x3000 : 0x20000));
    while (!is_clean_code(code));
    return code;
}

static void folding_random_texts_twice_is_folding_once(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50000; seed++) {
        struct wsl_rng rng;
        int32_t codes[12];
        size_t count;

        wsl_rng_start(&rng, 11, seed);
        count = 1 + wsl_rng_u32(&rng) % 12;
        for (size_t i = 0; i < count; i++)
            codes[i] = draw_code(&rng);
        must_hold(codes, count);
    }
}

/* ---- hashtags ---- */

/* The hashtags of a caption, each with a '|' behind it. */
static void must_find(const char *caption, const char *expected)
{
    struct wsl_hashtags h = {.text = caption, .size = strlen(caption)};
    char found[1024] = "";
    const char *tag;
    size_t size, n = 0;

    while (wsl_hashtags_next(&h, &tag, &size))
        n += (size_t)snprintf(found + n, sizeof found - n, "%.*s|", (int)size, tag);
    if (strcmp(found, expected) != 0)
        fail_msg("%s has %s, not %s", caption, found, expected);
}

static void hashtags_are_words(void **state)
{
    (void)state;
    must_find("", "");
    must_find("no tag, only # and a lone ##", "");
    must_find("#boat", "boat|");
    must_find("A #boat, a #lake. (#sun) [#moon] \u201c#star\u201d \u2019#sky\u2019",
              "boat|lake|sun|moon|star|sky|");
    must_find("##boat #-boat # boat", "boat|");
    must_find("#boat-house #boat's #boat/#lake #boat+1 <b>#sky</b> {#sea}",
              "boat|boat|boat|lake|boat|sky|sea|");
    must_find("#boat\n#lake\t#sun\r\n\u3000#sky", "boat|lake|sun|sky|");
    must_find("#boat\u2026 #lake\u2014#sun #sky\u200bx", "boat|lake|sun|sky|");
    must_find("#7 #7th #_ #_a_ #2_4 #b2b", "7th|_a_|b2b|");
    must_find("#a&b #boat*", "a|boat|");
    must_find(".#boat ,#lake :#sun ;#sky !#sea ?#ice \"#bay", "boat|lake|sun|sky|sea|ice|bay|");
}

static void other_number_signs_are_none(void **state)
{
    (void)state;
    must_find("it&#39;s &#x27; &#8217; &#nope; &amp;#boat", "boat|");
    must_find("C#sharp a#b 4#c _#d \u00e9#e \u732b#f \u0663#g \u30fb#h", "");
    must_find("#boat#lake #sun\uff03sky #http://x.org #https://x.org", "");
    must_find("#\ufe0f\u20e3 #\u20e3", "");
}

static void hashtags_within_urls_are_none(void **state)
{
    (void)state;
    must_find("http://a.org/#top https://a.org/b/c#d?e=/#f #boat", "boat|");
    must_find("a.org/#top a.co.uk/x?y=#z www.a.museum/#b (a.org/#c)", "");
    must_find("http://a.org?q=#b http://localhost:8080/#c HTTPS://A.ORG/#D ftp://a.org/#e", "");
    must_find("http://a.org/(b)#c http://a.org/b_(c_(d))/#e", "");
    must_find("(http://a.org/b)#c", "c|");
    must_find("http://a.org/,#b http://a.org/x. #c", "c|");
    must_find("http://a.org #b http://a.org/c\n#d\u3002http://a.org/\u3002#e", "b|d|e|");
    must_find("see this/#boat and.that #lake 3.5/#sun", "boat|lake|sun|");
}

static void hashtags_of_all_languages(void **state)
{
    (void)state;
    must_find("\uff03\u72ac \uff03dog", "\u72ac|dog|");
    must_find("#\u72ac\u3002#\u732b\u3001#\u9ce5\uff01#\u9b5a\uff09",
              "\u72ac|\u732b|\u9ce5|\u9b5a|");
    must_find("#se\u00f1or #sen\u0303or #\u0110\u00e0_N\u1eb5ng #\u0130zmir #g\u00f6\u00dfe",
              "se\u00f1or|sen\u0303or|\u0110\u00e0_N\u1eb5ng|\u0130zmir|g\u00f6\u00dfe|");
    must_find(
        "#\u0643\u062a\u0627\u0628 #\u06a9\u062a\u0627\u0628\u200c\u0647\u0627 #\u0663\u0664\u0643",
        "\u0643\u062a\u0627\u0628|\u06a9\u062a\u0627\u0628\u200c\u0647\u0627|\u0663\u0664\u0643|");
    must_find(
        "#\u0e1a\u0e49\u0e32\u0e19 #\u0918\u0930_\u0967\u0968 #\u0dc1\u0dca\u200d\u0dbb\u0dd3",
        "\u0e1a\u0e49\u0e32\u0e19|\u0918\u0930_\u0967\u0968|\u0dc1\u0dca\u200d\u0dbb\u0dd3|");
    must_find("#col\u00b7legi #\u05d1\u05be\u05d2 #\u05e2\u05f3 #\u30ab\u301c\u30ab\u30fc "
              "#\u0f56\u0f7c\u0f51\u0f0b",
              "col\u00b7legi|\u05d1\u05be\u05d2|\u05e2\u05f3|\u30ab\u301c\u30ab\u30fc|"
              "\u0f56\u0f7c\u0f51\u0f0b|");
    must_find("#\U00020000 #\U00016f05\U00016f52 #a\U000104a3",
              "\U00020000|\U00016f05\U00016f52|a\U000104a3|");
}

static void hashtags_of_emoji(void **state)
{
    (void)state;
    must_find("#\U0001f408 #\U0001f468\u200d\U0001f467! #sun\u2600\ufe0f,",
              "\U0001f408|\U0001f468\u200d\U0001f467|sun\u2600\ufe0f|");
    must_find("#\U0001f44d\U0001f3fd #\U0001f1f3\U0001f1f4 #1\ufe0f\u20e3",
              "\U0001f44d\U0001f3fd|\U0001f1f3\U0001f1f4|1\ufe0f\u20e3|");
    must_find("#\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f.",
              "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f|");
    must_find("\u270c#boat \u270c\ufe0f#lake \u270c\U0001f3ff#sun \U0001f468\u200d\U0001f467#sky",
              "boat|lake|sun|sky|");
    must_find("#brand\u2122 #wsl\u00a9 #5\ufe0f #a\u2192b", "brand|wsl|a|");
}

/* Whatever the caption: tags lie in it, in order, and time is linear. */
static void captions_may_be_anything(void **state)
{
    static const char *const pieces[] = {"#", "a", "a.bb/", "(",  ")",   "http://", "\u732b",
                                         "&", "?", " ",     "-a", "://", "."};
    enum { SIZE = 64 << 10 };
    char *caption = malloc(SIZE + 8);

    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        struct wsl_hashtags h = {.text = caption};
        struct wsl_rng rng;
        const char *tag, *last = caption;
        size_t size, first, second;

        wsl_rng_start(&rng, 12, seed);
        first = wsl_rng_u32(&rng) % 13; /* runs of two pieces, and of anything */
        second = wsl_rng_u32(&rng) % 13;
        while (h.size < (seed % 2 ? SIZE : 200)) {
            size_t i = seed % 4 < 2            ? wsl_rng_u32(&rng) % 13
                       : wsl_rng_u32(&rng) % 2 ? first
                                               : second;

            memcpy(caption + h.size, pieces[i], strlen(pieces[i]));
            h.size += strlen(pieces[i]);
        }
        while (wsl_hashtags_next(&h, &tag, &size)) {
            assert_true(size > 0 && tag > last && tag + size <= caption + h.size);
            assert_true(wsl_utf8_is_clean(tag, size));
            last = tag + size;
        }
    }
    free(caption);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spellings_of_a_word_become_one_tag),
        cmocka_unit_test(different_words_stay_apart),
        cmocka_unit_test(joiners_stay_where_they_say_something),
        cmocka_unit_test(what_does_not_fit_is_nothing),
        cmocka_unit_test(folding_all_of_unicode_twice_is_folding_once),
        cmocka_unit_test(folding_random_texts_twice_is_folding_once),
        cmocka_unit_test(hashtags_are_words),
        cmocka_unit_test(other_number_signs_are_none),
        cmocka_unit_test(hashtags_within_urls_are_none),
        cmocka_unit_test(hashtags_of_all_languages),
        cmocka_unit_test(hashtags_of_emoji),
        cmocka_unit_test(captions_may_be_anything),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
