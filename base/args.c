/* SPDX-License-Identifier: Apache-2.0 */
#include "base/args.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 40, LONG_ONLY = 256 };

static const char help_text[] = "print this and exit";

int wsl_parse_u64(const char *text, uint64_t *ret_value)
{
    char *end;
    unsigned long long value;

    if (!isdigit((unsigned char)text[0]))
        return WSL_EINVAL;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || *end)
        return WSL_EINVAL;
    *ret_value = value;
    return 0;
}

int wsl_parse_real(const char *text, double *ret_value)
{
    char *end;
    double value;

    if (!text[0] || isspace((unsigned char)text[0]))
        return WSL_EINVAL;
    value = strtod(text, &end);
    if (*end || !isfinite(value))
        return WSL_EINVAL;
    *ret_value = value;
    return 0;
}

static bool has_range(const struct wsl_arg *row)
{
    return row->min < row->max;
}

static int set_uint(const struct wsl_arg *row, const char *text, struct wsl_err *err)
{
    uint64_t value;

    if (wsl_parse_u64(text, &value) < 0)
        return wsl_fail(err, WSL_EINVAL, "--%s: '%s' is not a whole number", row->name, text);
    if (has_range(row) && ((double)value < row->min || (double)value > row->max))
        return wsl_fail(err, WSL_EINVAL, "--%s: %s is outside %.0f to %.0f", row->name, text,
                        row->min, row->max);
    *(uint64_t *)row->target = value;
    return 0;
}

static int set_real(const struct wsl_arg *row, const char *text, struct wsl_err *err)
{
    double value;

    if (wsl_parse_real(text, &value) < 0)
        return wsl_fail(err, WSL_EINVAL, "--%s: '%s' is not a number", row->name, text);
    if (has_range(row) && (value < row->min || value > row->max))
        return wsl_fail(err, WSL_EINVAL, "--%s: %s is outside %g to %g", row->name, text, row->min,
                        row->max);
    *(double *)row->target = value;
    return 0;
}

static int add_item(const struct wsl_arg *row, const char *text, struct wsl_err *err)
{
    struct wsl_arg_list *list = row->target;
    int most = (int)(sizeof list->items / sizeof list->items[0]);

    if (list->count == most)
        return wsl_fail(err, WSL_ELIMIT, "--%s: given more than %d times", row->name, most);
    list->items[list->count++] = text;
    return 0;
}

static int set_value(const struct wsl_arg *row, const char *text, struct wsl_err *err)
{
    switch (row->type) {
    case WSL_ARG_FLAG:
        *(bool *)row->target = true;
        return 0;
    case WSL_ARG_TEXT:
        *(const char **)row->target = text;
        return 0;
    case WSL_ARG_UINT:
        return set_uint(row, text, err);
    case WSL_ARG_REAL:
        return set_real(row, text, err);
    case WSL_ARG_LIST:
        return add_item(row, text, err);
    }
    return WSL_EINTERNAL;
}

static void print_row(char letter, const char *name, const char *value, const char *help)
{
    char left[80];

    snprintf(left, sizeof left, "%c%c%s --%s%s%s", letter ? '-' : ' ', letter ? letter : ' ',
             letter ? "," : " ", name, value ? " " : "", value ? value : "");
    printf("  %-30s %s\n", left, help);
}

static void print_help(const struct wsl_args *args)
{
    printf("Usage: %s\n\n%s\n\nOptions:\n", args->usage, args->about);
    for (int i = 0; i < args->row_count; i++)
        print_row(args->rows[i].letter, args->rows[i].name, args->rows[i].value,
                  args->rows[i].help);
    print_row('h', "help", NULL, help_text);
}

static void print_option_row(char letter, const char *name, const char *value, const char *help)
{
    printf("option\t%c\t%s\t%s\t%s\n", letter ? letter : '-', name, value ? value : "-", help);
}

/* For programs: see the header. */
static void print_help_table(const struct wsl_args *args)
{
    const char *line = args->about;

    printf("usage\t%s\n", args->usage);
    while (*line) {
        size_t n = strcspn(line, "\n");

        printf("about\t%.*s\n", (int)n, line);
        line += n + (line[n] == '\n');
    }
    for (int i = 0; i < args->row_count; i++)
        print_option_row(args->rows[i].letter, args->rows[i].name, args->rows[i].value,
                         args->rows[i].help);
    print_option_row('h', "help", NULL, help_text);
}

static const struct wsl_arg *row_of(const struct wsl_args *args, int option)
{
    if (option >= LONG_ONLY)
        return &args->rows[option - LONG_ONLY];
    for (int i = 0; i < args->row_count; i++)
        if (args->rows[i].letter == option)
            return &args->rows[i];
    return NULL;
}

/* Two rows of one name: getopt would take the first and say nothing. */
static bool names_differ(const struct wsl_args *args)
{
    for (int i = 0; i < args->row_count; i++) {
        const struct wsl_arg *a = &args->rows[i];

        if (strcmp(a->name, "help") == 0 || a->letter == 'h')
            return false;
        for (int j = 0; j < i; j++) {
            const struct wsl_arg *b = &args->rows[j];

            if (strcmp(a->name, b->name) == 0 || (a->letter && a->letter == b->letter))
                return false;
        }
    }
    return true;
}

static void build_tables(const struct wsl_args *args, struct option *longs, char *shorts)
{
    *shorts++ = ':';
    for (int i = 0; i < args->row_count; i++) {
        const struct wsl_arg *row = &args->rows[i];
        int has_value = row->type != WSL_ARG_FLAG;

        longs[i] = (struct option){row->name, has_value, NULL, LONG_ONLY + i};
        if (row->letter)
            *shorts++ = row->letter;
        if (row->letter && has_value)
            *shorts++ = ':';
    }
    longs[args->row_count] = (struct option){"help", optional_argument, NULL, 'h'};
    longs[args->row_count + 1] = (struct option){0};
    strcpy(shorts, "h");
}

static int bad_option(int option, char **argv, struct wsl_err *err)
{
    const char *given = argv[optind - 1];

    if (option == ':')
        return wsl_fail(err, WSL_EINVAL, "%s needs a value; see --help", given);
    if (optopt && optopt < LONG_ONLY && strncmp(given, "--", 2) != 0)
        return wsl_fail(err, WSL_EINVAL, "unknown option -%c; see --help", optopt);
    return wsl_fail(err, WSL_EINVAL, "unknown option %s; see --help", given);
}

int wsl_args_parse(const struct wsl_args *args, int argc, char **argv, int *ret_words,
                   struct wsl_err *err)
{
    struct option longs[ROWS_MAX + 2];
    char shorts[2 * ROWS_MAX + 4];
    int option, r;

    assert(args->row_count <= ROWS_MAX && names_differ(args));
    build_tables(args, longs, shorts);
    optind = 0; /* GNU: start anew */
    opterr = 0;
    while ((option = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (option == 'h') {
            if (optarg && strcmp(optarg, "table") != 0)
                return wsl_fail(err, WSL_EINVAL, "--help has no value '%s'", optarg);
            if (optarg)
                print_help_table(args);
            else
                print_help(args);
            return WSL_ARGS_HELP;
        }
        if (option == '?' || option == ':')
            return bad_option(option, argv, err);
        r = set_value(row_of(args, option), optarg, err);
        if (r < 0)
            return r;
    }
    *ret_words = argc - optind;
    return WSL_ARGS_RUN;
}
