/* SPDX-License-Identifier: Apache-2.0
 *
 * Column widths: what a table does when the terminal is narrower than its rows.
 */
#include "client/wslctl/table.h"

#include "base/err.h"
#include "client/wslctl/width.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- fitting ---- */

#define ELLIPSIS "\u2026"

struct layout {
    size_t widths[WSL_CTL_COLUMNS_MAX];
    bool shown[WSL_CTL_COLUMNS_MAX];
};

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

static void measure(const struct wsl_ctl_table *table, struct layout *l)
{
    size_t columns = (size_t)table->column_count;

    for (size_t c = 0; c < columns; c++) {
        l->shown[c] = true;
        l->widths[c] = wsl_ctl_text_width(table->columns[c].title);
        for (size_t i = c; i < table->count; i += columns)
            l->widths[c] = larger(l->widths[c], wsl_ctl_text_width(table->cells[i]));
    }
}

/* The width that a column is shrunk to at most: its title stays whole. */
static size_t least_of(const struct wsl_ctl_table *table, const struct layout *l, int c)
{
    const struct wsl_ctl_column *column = &table->columns[c];
    size_t least = table->fit ? table->fit[c].least : column->right ? 0 : WSL_CTL_LEAST_WIDTH;

    least = larger(least, wsl_ctl_text_width(column->title));
    return (table->fit ? table->fit[c].least == 0 : column->right) || least > l->widths[c]
               ? l->widths[c]
               : least;
}

static size_t total(const struct wsl_ctl_table *table, const struct layout *l, bool at_least)
{
    size_t sum = (size_t)table->indent, shown = 0;

    for (int c = 0; c < table->column_count; c++)
        if (l->shown[c]) {
            sum += at_least ? least_of(table, l, c) : l->widths[c];
            sum += shown++ ? 2 : 0;
        }
    return sum;
}

static bool has_values(const struct wsl_ctl_table *table, int c)
{
    size_t columns = (size_t)table->column_count;

    for (size_t i = (size_t)c; i < table->count; i += columns)
        if (strcmp(table->cells[i], "-") != 0)
            return true;
    return false;
}

/* The column to leave out next; -1: none may be. */
static int next_to_drop(const struct wsl_ctl_table *table, const struct layout *l)
{
    int best = -1;

    for (int c = 0; table->fit && c < table->column_count; c++) {
        if (!l->shown[c] || table->fit[c].drop == 0)
            continue;
        if (!has_values(table, c))
            return c;
        if (best < 0 || table->fit[c].drop < table->fit[best].drop)
            best = c;
    }
    return best;
}

/* Takes a column of the terminal from the widest that can give one. */
static bool shrink_one(const struct wsl_ctl_table *table, struct layout *l)
{
    int widest = -1;

    for (int c = 0; c < table->column_count; c++)
        if (l->shown[c] && l->widths[c] > least_of(table, l, c) &&
            (widest < 0 || l->widths[c] >= l->widths[widest]))
            widest = c;
    if (widest >= 0)
        l->widths[widest]--;
    return widest >= 0;
}

static void fit(const struct wsl_ctl_table *table, struct layout *l)
{
    size_t width = (size_t)table->width;
    int c;

    if (table->width <= 0)
        return;
    while (total(table, l, true) > width && (c = next_to_drop(table, l)) >= 0)
        l->shown[c] = false;
    while (total(table, l, false) > width && shrink_one(table, l))
        ;
    /* What is left over is cut off at the end of the line; a column has no more than a line. */
    for (c = 0; c < table->column_count && width > (size_t)table->indent; c++)
        if (l->widths[c] > width - (size_t)table->indent)
            l->widths[c] = width - (size_t)table->indent;
}

/* ---- printing ---- */

struct line {
    const struct wsl_ctl_table *table;
    const struct layout *layout;
    const char *color; /* of the whole line; NULL: by word */
};

/* As much of a cell as is shown in so many columns. */
struct clip {
    size_t bytes, width; /* the ellipsis counted in the width */
    bool cut;
};

static struct clip clip(const char *text, size_t columns)
{
    struct clip c = {strlen(text), wsl_ctl_text_width(text), false};

    if (c.width <= columns)
        return c;
    c.cut = true;
    c.bytes = wsl_ctl_text_cut(text, columns - 1);
    while (c.bytes > 0 && text[c.bytes - 1] == ' ')
        c.bytes--;
    for (c.width = 1; wsl_ctl_text_cut(text, c.width - 1) < c.bytes; c.width++)
        ;
    return c;
}

static int print_line(const struct line *line, const char *const *cells, struct wsl_buf *out)
{
    const struct wsl_ctl_table *table = line->table;
    const struct layout *l = line->layout;
    size_t left = table->width > 0 ? (size_t)table->width : SIZE_MAX;
    size_t pad = (size_t)table->indent; /* owed before the next cell */
    int r = 0;

    for (int c = 0; c < table->column_count && r == 0; c++) {
        bool right = table->columns[c].right;
        const char *color = !table->color ? ""
                            : line->color ? line->color
                                          : wsl_ctl_color_of(cells[c]);
        struct clip shown;

        if (!l->shown[c])
            continue;
        shown = clip(cells[c], l->widths[c]);
        pad += right ? l->widths[c] - shown.width : 0;
        if (pad >= left) /* the terminal is too narrow for any fitting */
            break;
        left -= pad;
        shown = clip(cells[c], l->widths[c] < left ? l->widths[c] : left);
        r = wsl_buf_add_format(out, "%*s%s%.*s%s%s", (int)pad, "", color, (int)shown.bytes,
                               cells[c], shown.cut ? ELLIPSIS : "", color[0] ? "\033[0m" : "");
        left -= shown.width;
        pad = 2 + (right ? 0 : l->widths[c] - shown.width);
    }
    return r < 0 ? r : wsl_buf_add_text(out, "\n");
}

int wsl_ctl_table_print(const struct wsl_ctl_table *table, struct wsl_buf *out)
{
    size_t columns = (size_t)table->column_count;
    const char *titles[WSL_CTL_COLUMNS_MAX];
    struct layout layout;
    struct line line = {table, &layout, "\033[1m"};
    int r;

    if (table->failed)
        return WSL_ENOMEM;
    assert(columns >= 1 && columns <= WSL_CTL_COLUMNS_MAX && table->count % columns == 0);
    for (size_t c = 0; c < columns; c++)
        titles[c] = table->columns[c].title;
    measure(table, &layout);
    fit(table, &layout);
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
