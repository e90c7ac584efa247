/* SPDX-License-Identifier: Apache-2.0
 *
 * Command lines as tables: one row per option makes the parser and --help. getopt_long does the
 * splitting.
 */
#ifndef WSL_BASE_ARGS_H
#define WSL_BASE_ARGS_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum wsl_arg_type {
    WSL_ARG_FLAG, /* target: bool, set to true */
    WSL_ARG_TEXT, /* target: const char *, points into argv */
    WSL_ARG_UINT, /* target: uint64_t, decimal, min <= value <= max */
    WSL_ARG_REAL, /* target: double, min <= value <= max */
    WSL_ARG_LIST, /* target: struct wsl_arg_list; may be given many times */
};

struct wsl_arg_list {
    const char *items[64]; /* into argv */
    int count;
};

struct wsl_arg {
    const char *name; /* "listen" for --listen */
    char letter;      /* 'l' for -l; 0: none */
    enum wsl_arg_type type;
    void *target;      /* holds the default before the call */
    double min, max;   /* of UINT and REAL; both 0: any */
    const char *value; /* what to call the value in the help: "ADDRESS"; NULL for flags */
    const char *help;  /* one phrase; the help wraps it. NULL: an old name, known but not shown */
};

struct wsl_args {
    const char *usage; /* "wsl-worker [options]" */
    const char *about; /* for --help, as wsl_args_print_text() takes it */
    const struct wsl_arg *rows;
    int row_count;
};

enum { WSL_ARGS_RUN = 0, WSL_ARGS_HELP = 1 };

/* The help is written for a terminal of so many columns. */
enum { WSL_ARGS_COLUMNS = 80 };

/* Prints the help of a command on stdout. */
void wsl_args_print_help(const struct wsl_args *args);
/* The same for programs (--help=table, below). */
void wsl_args_print_help_table(const struct wsl_args *args);

/* Prints a text on stdout: each of its lines is a paragraph that is wrapped, unless it begins with
 * a blank (an example), and ended. */
void wsl_args_print_text(const char *text);

/* Prints "  LEFT   help" on stdout, the help wrapped in a column of its own that begins after
 * `width` columns of LEFT; a longer LEFT has a line of its own. */
void wsl_args_print_row(const char *left, int width, const char *help);

/* Parses argv[1..]; options and arguments may mix; "--" ends the options. --help and -h are
 * always known; --help=table prints the same for programs (manual pages are made from it): lines of
 * tab-separated fields, "usage TEXT", "about LINE" for each line, "option LETTER NAME VALUE HELP"
 * with "-" for no letter or value. Returns WSL_ARGS_RUN with the number of arguments in
 * *ret_arguments (moved to the end of argv: they are argv[argc - *ret_arguments] on), WSL_ARGS_HELP
 * after printing the help on stdout, or WSL_EINVAL with a line that names the option. Not
 * thread-safe (getopt); the start of main only. */
int wsl_args_parse(const struct wsl_args *args, int argc, char **argv, int *ret_arguments,
                   struct wsl_err *err);

/* For programs that take options only, after wsl_args_parse(): WSL_EINVAL and "unexpected argument
 * 'x'; see --help" when `count` is not 0. Programs end with WSL_ARGS_WRONG on what a command line
 * has wrong, and with 1 on what the machine refuses. */
int wsl_args_expect_none(int argc, char **argv, int count, struct wsl_err *err);
/* "--state DIR is required; see --help" when it was not given. */
int wsl_args_require(const char *value, const char *option, struct wsl_err *err);
enum { WSL_ARGS_WRONG = 2 }; /* exit code */

#endif
