/* SPDX-License-Identifier: Apache-2.0
 *
 * Parsing a command line against a table of options: getopt_long for the grammar, the table for
 * types, ranges and the nearest name of a misspelt option.
 */
#include "base/args.h"

#include "base/number.h"

#include "base/suggest.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS_MAX = 40, LONG_ONLY = 256 };

static bool has_range(const struct wsl_arg *row)
{
    return row->min < row->max;
}

static int set_uint(const struct wsl_arg *row, const char *text, struct wsl_err *err)
{
    uint64_t value;

    if (wsl_number_parse_u64(text, &value) < 0)
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

    if (wsl_number_parse_real(text, &value) < 0)
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

static int unknown_option(const struct wsl_args *args, const char *given, struct wsl_err *err)
{
    const char *best = NULL;
    size_t distance = SIZE_MAX;
    char name[64];

    snprintf(name, sizeof name, "%.*s", (int)strcspn(given + 2, "="), given + 2);
    for (int i = 0; i < args->row_count; i++)
        wsl_suggest_try(name, args->rows[i].name, &best, &distance);
    if (best)
        return wsl_fail(err, WSL_EINVAL, "unknown option --%s (did you mean '--%s'?); see --help",
                        name, best);
    return wsl_fail(err, WSL_EINVAL, "unknown option --%s; see --help", name);
}

/* A short name that begins several options' names. */
static bool is_ambiguous(const struct wsl_args *args, const char *given, char *names, size_t size)
{
    size_t n = strcspn(given + 2, "="), used = 0;
    int count = 0;

    for (int i = 0; i < args->row_count && used < size; i++)
        if (strncmp(args->rows[i].name, given + 2, n) == 0)
            used += (size_t)snprintf(names + used, size - used, "%s--%s", count++ ? ", " : "",
                                     args->rows[i].name);
    return count > 1;
}

static int bad_option(const struct wsl_args *args, int option, char **argv, struct wsl_err *err)
{
    const char *given = argv[optind - 1];
    char names[120];

    if (option == ':')
        return wsl_fail(err, WSL_EINVAL, "%s needs a value; see --help", given);
    if (optopt && optopt < LONG_ONLY && optopt != 'h') /* within "-abc", of which `given` is not */
        return wsl_fail(err, WSL_EINVAL, "unknown option -%c; see --help", optopt);
    if (optopt) /* a flag that was given a value */
        return wsl_fail(err, WSL_EINVAL, "%.*s takes no value; see --help",
                        (int)strcspn(given, "="), given);
    if (is_ambiguous(args, given, names, sizeof names))
        return wsl_fail(err, WSL_EINVAL, "%s may be any of %s", given, names);
    return unknown_option(args, given, err);
}

int wsl_args_parse(const struct wsl_args *args, int argc, char **argv, int *ret_arguments,
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
                wsl_args_print_help_table(args);
            else
                wsl_args_print_help(args);
            return WSL_ARGS_HELP;
        }
        if (option == '?' || option == ':')
            return bad_option(args, option, argv, err);
        r = set_value(row_of(args, option), optarg, err);
        if (r < 0)
            return r;
    }
    *ret_arguments = argc - optind;
    return WSL_ARGS_RUN;
}

int wsl_args_expect_none(int argc, char **argv, int count, struct wsl_err *err)
{
    if (count == 0)
        return 0;
    return wsl_fail(err, WSL_EINVAL, "unexpected argument '%s'; see --help", argv[argc - count]);
}

int wsl_args_require(const char *value, const char *option, struct wsl_err *err)
{
    return value ? 0 : wsl_fail(err, WSL_EINVAL, "%s is required; see --help", option);
}
