/* SPDX-License-Identifier: Apache-2.0
 *
 * Tags in one form whatever their spelling.
 */
#include "base/rng.h"
#include "storage/dataset/text.h"
#include "storage/dataset/unicode.h"

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
        n += unicode_encode(codes[i], ret + n);
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
    if (!wsl_text_is_clean(once, n) || wsl_text_fold_tag(once, n, twice) != n ||
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
                      joined[] = {0x628, code, UNICODE_ZWNJ, code, 0x628};

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spellings_of_a_word_become_one_tag),
        cmocka_unit_test(different_words_stay_apart),
        cmocka_unit_test(joiners_stay_where_they_say_something),
        cmocka_unit_test(what_does_not_fit_is_nothing),
        cmocka_unit_test(folding_all_of_unicode_twice_is_folding_once),
        cmocka_unit_test(folding_random_texts_twice_is_folding_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
