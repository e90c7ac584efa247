/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables for terminals: columns as wide as their widest cell, two blanks between, no lines. Width
 * counts UTF-8 characters. One thread.
 */
#ifndef WSL_CLIENT_TABLE_H
#define WSL_CLIENT_TABLE_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>

enum { WSL_CTL_COLUMNS_MAX = 16 };

struct wsl_ctl_column {
    const char *title;
    bool right; /* numbers */
};

struct wsl_ctl_table {
    const struct wsl_ctl_column *columns;
    int column_count;
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

/* Appends titles and rows, each line ended; blanks at the end of a line are left out. WSL_ENOMEM.
 * Rows must be whole. */
int wsl_ctl_table_print(const struct wsl_ctl_table *table, struct wsl_buf *out);
void wsl_ctl_table_free(struct wsl_ctl_table *table);

/* Escape sequence that a state's word is shown in, "" for none: green, red, yellow. */
const char *wsl_ctl_color_of(const char *word);

#endif
