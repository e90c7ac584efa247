/* SPDX-License-Identifier: Apache-2.0 */
#include "client/wslctl/table.h"

#include "base/err.h"
#include "client/wslctl/format.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t width_of(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n;
}

void wsl_ctl_cell(struct wsl_ctl_table *table, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    int n;

    if (table->count == table->capacity && !table->failed) {
        size_t capacity = table->capacity ? 2 * table->capacity : 64;
        char **cells = realloc(table->cells, capacity * sizeof *cells);

        table->failed = !cells;
        if (cells) {
            table->cells = cells;
            table->capacity = capacity;
        }
    }
    if (table->failed)
        return;
    va_start(args, format);
    n = vasprintf(&text, format, args);
    va_end(args);
    if (n >= 0 && text[0] == '\0') {
        free(text);
        text = strdup("-");
    }
    if (n < 0 || !text) {
        table->failed = true;
        return;
    }
    wsl_one_line(text);
    table->cells[table->count++] = text;
}

const char *wsl_ctl_color_of(const char *word)
{
    static const struct {
        const char *word, *color;
    } known[] = {
        {"succeeded", "\033[32m"}, {"running", "\033[32m"},   {"ready", "\033[32m"},
        {"failed", "\033[31m"},    {"lost", "\033[31m"},      {"recovering", "\033[33m"},
        {"queued", "\033[33m"},    {"cancelled", "\033[33m"}, {"starting", "\033[33m"},
    };

    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].word, word) == 0)
            return known[i].color;
    return "";
}

struct line {
    const struct wsl_ctl_table *table;
    const size_t *widths;
    const char *color; /* of the whole line; NULL: by word */
};

static int print_line(const struct line *line, const char *const *cells, struct wsl_buf *out)
{
    const struct wsl_ctl_table *table = line->table;
    int r = wsl_buf_add_format(out, "%*s", table->indent, "");
    size_t pad = 0; /* owed before the next cell */

    for (int c = 0; c < table->column_count && r == 0; c++) {
        size_t fill = line->widths[c] - width_of(cells[c]);
        const char *color = !table->color ? ""
                            : line->color ? line->color
                                          : wsl_ctl_color_of(cells[c]);

        if (table->columns[c].right)
            pad += fill;
        r = wsl_buf_add_format(out, "%*s%s%s%s", (int)pad, "", color, cells[c],
                               color[0] ? "\033[0m" : "");
        pad = 2 + (table->columns[c].right ? 0 : fill);
    }
    return r < 0 ? r : wsl_buf_add_text(out, "\n");
}

int wsl_ctl_table_print(const struct wsl_ctl_table *table, struct wsl_buf *out)
{
    size_t widths[WSL_CTL_COLUMNS_MAX], columns = (size_t)table->column_count;
    const char *titles[WSL_CTL_COLUMNS_MAX];
    struct line line = {table, widths, "\033[1m"};
    int r;

    if (table->failed)
        return WSL_ENOMEM;
    assert(columns >= 1 && columns <= WSL_CTL_COLUMNS_MAX && table->count % columns == 0);
    for (size_t c = 0; c < columns; c++) {
        titles[c] = table->columns[c].title;
        widths[c] = width_of(titles[c]);
        for (size_t i = c; i < table->count; i += columns)
            if (width_of(table->cells[i]) > widths[c])
                widths[c] = width_of(table->cells[i]);
    }
    r = print_line(&line, titles, out);
    line.color = NULL;
    for (size_t i = 0; i < table->count && r == 0; i += columns)
        r = print_line(&line, (const char *const *)table->cells + i, out);
    return r;
}

void wsl_ctl_table_free(struct wsl_ctl_table *table)
{
    for (size_t i = 0; i < table->count; i++)
        free(table->cells[i]);
    free(table->cells);
    table->cells = NULL;
    table->count = table->capacity = 0;
    table->failed = false;
}
