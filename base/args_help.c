/* SPDX-License-Identifier: Apache-2.0
 *
 * --help: options and texts in lines that a terminal does not have to break.
 */
#include "base/args.h"

#include <stdio.h>
#include <string.h>

enum { OPTION_WIDTH = 26 };

static const char help_text[] = "print this and exit";

/* Prints one paragraph from column `at` on, its further lines from column `indent` on. A word
 * longer than a line has one to itself. */
static void print_wrapped(const char *text, size_t length, int indent, int at)
{
    const char *end = text + length;
    bool first = true; /* on its line */

    while (text < end) {
        int n = 0;

        while (text + n < end && text[n] != ' ')
            n++;
        if (!first && at + 1 + n > WSL_ARGS_COLUMNS) {
            printf("\n%*s", indent, "");
            at = indent;
            first = true;
        }
        at += printf("%s%.*s", first ? "" : " ", n, text);
        first = false;
        text += n;
        while (text < end && *text == ' ')
            text++;
    }
    putchar('\n');
}

void wsl_args_print_text(const char *text)
{
    while (*text) {
        size_t n = strcspn(text, "\n");

        if (*text == ' ')
            printf("%.*s\n", (int)n, text);
        else
            print_wrapped(text, n, 0, 0);
        text += n + (text[n] == '\n');
    }
}

void wsl_args_print_row(const char *left, int width, const char *help)
{
    int indent = 2 + width + 2;

    printf("  %-*s  ", width, left);
    if ((int)strlen(left) > width)
        printf("\n%*s", indent, "");
    print_wrapped(help, strlen(help), indent, indent);
}

static void print_option(char letter, const char *name, const char *value, const char *help)
{
    char left[80];

    snprintf(left, sizeof left, "%c%c%s --%s%s%s", letter ? '-' : ' ', letter ? letter : ' ',
             letter ? "," : " ", name, value ? " " : "", value ? value : "");
    wsl_args_print_row(left, OPTION_WIDTH, help);
}

void wsl_args_print_help(const struct wsl_args *args)
{
    printf("Usage: %s\n\n", args->usage);
    wsl_args_print_text(args->about);
    printf("\nOptions:\n");
    for (int i = 0; i < args->row_count; i++)
        if (args->rows[i].help)
            print_option(args->rows[i].letter, args->rows[i].name, args->rows[i].value,
                         args->rows[i].help);
    print_option('h', "help", NULL, help_text);
}

static void print_option_row(char letter, const char *name, const char *value, const char *help)
{
    printf("option\t%c\t%s\t%s\t%s\n", letter ? letter : '-', name, value ? value : "-", help);
}

/* For programs: see the header. */
void wsl_args_print_help_table(const struct wsl_args *args)
{
    const char *line = args->about;

    printf("usage\t%s\n", args->usage);
    while (*line) {
        size_t n = strcspn(line, "\n");

        printf("about\t%.*s\n", (int)n, line);
        line += n + (line[n] == '\n');
    }
    for (int i = 0; i < args->row_count; i++)
        if (args->rows[i].help)
            print_option_row(args->rows[i].letter, args->rows[i].name, args->rows[i].value,
                             args->rows[i].help);
    print_option_row('h', "help", NULL, help_text);
}
