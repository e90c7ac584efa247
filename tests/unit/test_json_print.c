/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON as it is written, and the numbers in it.
 */
#include "base/err.h"
#include "base/number.h"
#include "base/rng.h"
#include "proto/json_print.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void reals_are_short(void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        {0, "0"},
        {-0.0, "-0"},
        {0.4, "0.4"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1.0 / 3, "0.3333333333333333"},
        {1e-5, "1e-05"},
        {100, "100"},
        {5e-324, "5e-324"},
        {DBL_MAX, "1.7976931348623157e+308"},
        {NAN, "nan"},
        {INFINITY, "inf"},
        {-INFINITY, "-inf"},
    };
    char text[WSL_REAL_TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wsl_real_text(cases[i].value, text);
        assert_string_equal(text, cases[i].text);
    }
}

/* Doubles and floats of random bits, subnormals among them, read back to those bits; and no
 * decimal with a digit less does. */
static void reals_read_back(void **state)
{
    const uint64_t seed = 11;
    char text[WSL_REAL_TEXT], shorter[WSL_REAL_TEXT];

    (void)state;
    for (uint64_t i = 0; i < 20000; i++) {
        uint64_t bits = wsl_mix64(seed, i), again;
        uint32_t half = (uint32_t)bits;
        double value, back;
        float small, small_back;
        int digits = 0;

        bits = i % 8 == 0 ? bits & 0x800FFFFFFFFFFFFFu : bits;
        memcpy(&value, &bits, sizeof value);
        memcpy(&small, &half, sizeof small);
        if (isfinite(value)) {
            wsl_real_text(value, text);
            back = strtod(text, NULL);
            memcpy(&again, &back, sizeof again);
            assert_int_equal(again, bits);
            for (const char *p = text; *p && *p != 'e'; p++)
                digits += *p >= '0' && *p <= '9' && (digits > 0 || *p > '0');
            if (digits > 1 && strchr(text, 'e')) {
                snprintf(shorter, sizeof shorter, "%.*e", digits - 2, value);
                assert_true(strtod(shorter, NULL) != value);
            }
        }
        if (isfinite(small)) {
            small_back = (float)wsl_real_of_float(small);
            assert_memory_equal(&small_back, &small, sizeof small);
        }
    }
    assert_true(wsl_real_of_float(0.1f) == 0.1);
    assert_true(isnan(wsl_real_of_float(NAN)));
}

static void assert_printed(json_t *document, int indent, const char *expected)
{
    struct wsl_buf out = {0};

    assert_int_equal(wsl_json_print(document, indent, &out), 0);
    assert_string_equal((char *)out.data, expected);
    json_decref(document);
    wsl_buf_free(&out);
}

static void documents_are_printed(void **state)
{
    (void)state;
    assert_printed(json_pack("{s:f, s:f, s:I, s:s, s:[b, n], s:{}, s:[]}", "rate", 0.4, "whole",
                             2.0, "n", (json_int_t)INT64_MIN, "a\"b", "gr\xc3\xbcn\n", "list", 1,
                             "map", "none"),
                   0,
                   "{\"rate\":0.4,\"whole\":2.0,\"n\":-9223372036854775808,"
                   "\"a\\\"b\":\"gr\xc3\xbcn\\n\",\"list\":[true,null],\"map\":{},\"none\":[]}");
    assert_printed(json_pack("{s:[i, {s:f}]}", "a", 1, "b", 1e300), 2,
                   "{\n  \"a\": [\n    1,\n    {\n      \"b\": 1e+300\n    }\n  ]\n}");
    assert_printed(json_integer(7), 1, "7");
}

/* What JSON has no number for is null, and the document whole. */
static void what_is_no_number_is_null(void **state)
{
    (void)state;
    assert_printed(json_pack("{s:o, s:o, s:o}", "loss", wsl_json_real(NAN), "worst",
                             wsl_json_real(-INFINITY), "best", wsl_json_real(0.25)),
                   0, "{\"loss\":null,\"worst\":null,\"best\":0.25}");
}

/* jansson, which reads what was written before, reads it to the same bits as its own spelling. */
static void jansson_reads_the_same(void **state)
{
    struct wsl_buf out = {0};
    json_t *again;
    char *theirs;

    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        double value = (double)wsl_mix64(7, i) / 3e17;
        json_t *document = json_pack("[f]", value);

        theirs = json_dumps(document, 0);
        wsl_buf_clear(&out);
        assert_int_equal(wsl_json_print(document, 0, &out), 0);
        again = json_loads((char *)out.data, 0, NULL);
        assert_true(json_real_value(json_array_get(again, 0)) == value);
        assert_true(json_equal(again, document));
        assert_true(out.size <= strlen(theirs));
        json_decref(again);
        json_decref(document);
        free(theirs);
    }
    wsl_buf_free(&out);
}

static void failures_are_said(void **state)
{
    struct wsl_buf out = {.limit = 10};
    json_t *document = json_pack("{s:s}", "key", "a longer text");

    (void)state;
    assert_int_equal(wsl_json_print(NULL, 0, &out), WSL_ENOMEM);
    assert_true(wsl_json_print(document, 0, &out) < 0);
    json_decref(document);
    wsl_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reals_are_short),        cmocka_unit_test(reals_read_back),
        cmocka_unit_test(documents_are_printed),  cmocka_unit_test(what_is_no_number_is_null),
        cmocka_unit_test(jansson_reads_the_same), cmocka_unit_test(failures_are_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
