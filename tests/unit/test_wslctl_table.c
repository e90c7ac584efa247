/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables on terminals of any width, and the width of text.
 */
#include "base/err.h"
#include "base/rng.h"
#include "client/wslctl/table.h"
#include "client/wslctl/width.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CAT   "\xe7\x8c\xab"     /* a CJK letter */
#define SMILE "\xf0\x9f\x98\x80" /* U+1F600 */
#define ACUTE "\xcc\x81"         /* combining */
#define DOTS  "\xe2\x80\xa6"     /* the ellipsis */

static void width_is_that_of_the_terminal(void **state)
{
    static const struct {
        const char *text;
        size_t width;
    } cases[] = {
        {"", 0},         {"abc", 3},       {"gr\xc3\xbcn", 4},
        {CAT CAT, 4},    {SMILE "x", 3},   {"e" ACUTE "e", 2},
        {"\xff\xfe", 2}, {"a\xe7\x8c", 3}, {DOTS, 1},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (wsl_ctl_text_width(cases[i].text) != cases[i].width)
            fail_msg("case %zu: %zu columns, not %zu", i, wsl_ctl_text_width(cases[i].text),
                     cases[i].width);
    /* Marks stay with their letter, and no character is torn. */
    assert_int_equal(wsl_ctl_text_cut("e" ACUTE "e", 1), 3);
    assert_int_equal(wsl_ctl_text_cut("a" CAT "b", 2), 1);
    assert_int_equal(wsl_ctl_text_cut("a" CAT "b", 3), 4);
    assert_int_equal(wsl_ctl_text_cut("abc", 0), 0);
    assert_int_equal(wsl_ctl_text_cut("abc", 9), 3);
}

static const struct wsl_ctl_column columns[] = {
    {"ID", true}, {"NAME", false}, {"LOSS", true}, {"AGE", true}, {"REASON", false}};
static const struct wsl_ctl_fit fit[] = {{0, 0}, {6, 0}, {0, 1}, {0, 2}, {8, 3}};

static void add_row(struct wsl_ctl_table *table, const char *id, const char *name, const char *loss,
                    const char *reason)
{
    wsl_ctl_cell(table, "%s", id);
    wsl_ctl_cell(table, "%s", name);
    wsl_ctl_cell(table, "%s", loss);
    wsl_ctl_cell(table, "%s", "3m12s");
    wsl_ctl_cell(table, "%s", reason);
}

static void assert_table(struct wsl_ctl_table *table, int width, const char *expected)
{
    struct wsl_buf out = {0};

    table->width = width;
    assert_int_equal(wsl_ctl_table_print(table, &out), 0);
    assert_string_equal((char *)out.data, expected);
    wsl_buf_free(&out);
}

static void columns_shrink_then_go(void **state)
{
    struct wsl_ctl_table table = {.columns = columns, .fit = fit, .column_count = 5};

    (void)state;
    add_row(&table, "7", "a-long-name", "2.5000", "waits for four more slots");
    add_row(&table, "12", CAT CAT CAT CAT, "-", "ok");
    assert_table(&table, 0,
                 "ID  NAME           LOSS    AGE  REASON\n"
                 " 7  a-long-name  2.5000  3m12s  waits for four more slots\n"
                 "12  " CAT CAT CAT CAT "          -  3m12s  ok\n");
    assert_table(&table, 58,
                 "ID  NAME           LOSS    AGE  REASON\n"
                 " 7  a-long-name  2.5000  3m12s  waits for four more slots\n"
                 "12  " CAT CAT CAT CAT "          -  3m12s  ok\n");
    assert_table(&table, 44,
                 "ID  NAME           LOSS    AGE  REASON\n"
                 " 7  a-long-name  2.5000  3m12s  waits for f" DOTS "\n"
                 "12  " CAT CAT CAT CAT "          -  3m12s  ok\n");
    assert_table(&table, 37,
                 "ID  NAME        LOSS    AGE  REASON\n"
                 " 7  a-long-" DOTS "  2.5000  3m12s  waits f" DOTS "\n"
                 "12  " CAT CAT CAT CAT "       -  3m12s  ok\n");
    /* The loss is the first to go, then the age. */
    assert_table(&table, 30,
                 "ID  NAME         AGE  REASON\n"
                 " 7  a-long-n" DOTS "  3m12s  waits f" DOTS "\n"
                 "12  " CAT CAT CAT CAT "   3m12s  ok\n");
    assert_table(&table, 20,
                 "ID  NAME    REASON\n"
                 " 7  a-lon" DOTS "  waits f" DOTS "\n"
                 "12  " CAT CAT DOTS "   ok\n");
    wsl_ctl_table_free(&table);
}

/* A column of which no row has a value is of the least use, whatever its turn. */
static void empty_columns_go_first(void **state)
{
    struct wsl_ctl_table table = {.columns = columns, .fit = fit, .column_count = 5};

    (void)state;
    add_row(&table, "7", "name", "1.0000", "");
    assert_table(&table, 24,
                 "ID  NAME    LOSS    AGE\n"
                 " 7  name  1.0000  3m12s\n");
    wsl_ctl_table_free(&table);
}

/* Random tables, wide letters among them: no line passes the width, there is one per row, and what
 * fits is not touched. */
static void no_line_passes_the_width(void **state)
{
    static const char *const letters[] = {"a", "-", CAT, SMILE, "e" ACUTE, " ", "\xff"};
    const uint64_t seed = 5;

    (void)state;
    for (uint64_t n = 0; n < 300; n++) {
        struct wsl_ctl_table table = {.columns = columns,
                                      .fit = n % 3 ? fit : NULL,
                                      .column_count = 5,
                                      .indent = (int)(n % 2) * 2,
                                      .width = (int)(12 + wsl_mix64(seed, n) % 100)};
        struct wsl_buf out = {0};
        int lines = 0;

        for (uint64_t cell = 0; cell < 15; cell++) {
            char text[200] = "";

            for (uint64_t i = 0; i < wsl_mix64(n, cell) % 30; i++)
                strcat(text, letters[wsl_mix64(n * 100 + cell, i) % 7]);
            wsl_ctl_cell(&table, "%s", text);
        }
        assert_int_equal(wsl_ctl_table_print(&table, &out), 0);
        for (char *line = strtok((char *)out.data, "\n"); line; line = strtok(NULL, "\n")) {
            if (wsl_ctl_text_width(line) > (size_t)table.width)
                fail_msg("seed %d, table %d: %zu columns of %d: %s", (int)seed, (int)n,
                         wsl_ctl_text_width(line), table.width, line);
            lines++;
        }
        assert_int_equal(lines, 4);
        wsl_buf_free(&out);
        wsl_ctl_table_free(&table);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(width_is_that_of_the_terminal),
        cmocka_unit_test(columns_shrink_then_go),
        cmocka_unit_test(empty_columns_go_first),
        cmocka_unit_test(no_line_passes_the_width),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
