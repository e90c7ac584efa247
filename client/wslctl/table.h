/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables for terminals: columns as wide as their widest cell, two blanks between, no lines; fitted
 * to the terminal's width where there is one. Width is counted as terminals do (width.h). One
 * thread.
 *
 * Not libsmartcols, which was tried: outside a UTF-8 locale (containers, cron) it prints other
 * letters as \x.., it drops no column but shrinks all to a few letters, and breaks what still does
 * not fit over several lines.
 */
#ifndef WSL_CLIENT_WSLCTL_TABLE_H
#define WSL_CLIENT_WSLCTL_TABLE_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WSL_CTL_COLUMNS_MAX = 16, WSL_CTL_LEAST_WIDTH = 8 };

struct wsl_ctl_column {
    const char *title;
    bool right; /* numbers */
};

/* What a column gives up where the terminal is too narrow. Cells are shrunk, the widest first, and
 * end with an ellipsis; where that is not enough, columns are left out: those without a value in
 * any row, then in the order of `drop`. */
struct wsl_ctl_fit {
    uint8_t least; /* the width it is shrunk to at most; 0: it is never shrunk */
    uint8_t drop;  /* 1: the first to be left out; 0: never */
};

struct wsl_ctl_table {
    const struct wsl_ctl_column *columns;
    const struct wsl_ctl_fit *fit; /* of each column; NULL: texts shrink to WSL_CTL_LEAST_WIDTH */
    int column_count;
    int width;  /* of the terminal; 0: no limit */
    bool color; /* states in colour, titles bold */
    int indent; /* blanks before each line */
    /* The rest is the table's own. */
    char **cells;
    size_t count, capacity;
    bool failed; /* out of memory: print says so */
};

/* The next cell, row by row; control characters become '?', an empty text "-". */
void wsl_ctl_cell(struct wsl_ctl_table *table, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Appends titles and rows, each one line, none wider than `width`; blanks at the end of a line are
 * left out. WSL_ENOMEM. Rows must be whole. */
int wsl_ctl_table_print(const struct wsl_ctl_table *table, struct wsl_buf *out);
void wsl_ctl_table_free(struct wsl_ctl_table *table);

/* Escape sequence that a state's word is shown in, "" for none: green, red, yellow. */
const char *wsl_ctl_color_of(const char *word);

#endif
