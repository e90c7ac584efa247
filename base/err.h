/* SPDX-License-Identifier: Apache-2.0
 *
 * Errors are values. A function that can fail returns 0 or a negative WSL_E code; positive results
 * are outcomes that the one function documents and its caller handles. Functions at a module border
 * also take a `struct wsl_err *err` last: it is filled on failure only, lives on the caller's
 * stack, and may be NULL.
 *
 * The text is one line for a person: it names the thing (path, field, host) and what to do about
 * it. Library code fills in errors and does not log them; the function that decides what happens
 * next logs once. assert() is for our own bugs and stays on in release builds.
 */
#ifndef WSL_BASE_ERR_H
#define WSL_BASE_ERR_H

/* code, number, name */
#define WSL_ERR_MAP(X)                                                                             \
    X(INVAL, 1, "invalid argument")                                                                \
    X(NOENT, 2, "not found")                                                                       \
    X(EXIST, 3, "already exists")                                                                  \
    X(IO, 4, "input/output error")                                                                 \
    X(NOSPC, 5, "no space left")                                                                   \
    X(NOMEM, 6, "out of memory")                                                                   \
    X(CORRUPT, 7, "damaged data")                                                                  \
    X(LIMIT, 8, "limit exceeded")                                                                  \
    X(AGAIN, 9, "try again")                                                                       \
    X(CANCELLED, 10, "cancelled")                                                                  \
    X(TIMEOUT, 11, "timed out")                                                                    \
    X(PEER, 12, "peer failed")                                                                     \
    X(UNAVAILABLE, 13, "unavailable")                                                              \
    X(STATE, 14, "wrong state")                                                                    \
    X(DENIED, 15, "permission denied")                                                             \
    X(UNSUPPORTED, 16, "not supported")                                                            \
    X(INTERNAL, 17, "internal error")

enum wsl_err_code {
#define X(symbol, number, name) WSL_E##symbol = -(number),
    WSL_ERR_MAP(X)
#undef X
};

struct wsl_err {
    int code;         /* WSL_E..., 0 when nothing failed */
    int line;         /* where the error was first seen */
    const char *file; /* static string */
    char text[400];   /* one line, control characters as '?'; cut with "..." when longer */
};

/* Fills *err (unless NULL) with a formatted line and returns `code`, so that `return wsl_fail(err,
 * ...)` reads well. */
#define wsl_fail(err, code, ...) wsl_err_set((err), (code), __FILE__, __LINE__, __VA_ARGS__)

/* The same for a failed system call: appends ": <strerror>" and chooses the code from errno (read
 * first). */
#define wsl_fail_errno(err, ...) wsl_err_set_errno((err), __FILE__, __LINE__, __VA_ARGS__)

int wsl_err_set(struct wsl_err *err, int code, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
int wsl_err_set_errno(struct wsl_err *err, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Puts "<prefix>: " before the text of an error that is already set; returns err->code. NULL err:
 * returns WSL_EINTERNAL. */
int wsl_err_prefix(struct wsl_err *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The name of a code ("not found"); a static string for any input. */
const char *wsl_err_name(int code);

/* The code that fits an errno value; WSL_EIO when none fits better. */
int wsl_err_from_errno(int errno_value);

/* Replaces control characters by '?': nobody's text makes two lines or moves a terminal's cursor.
 */
void wsl_one_line(char *text);

#endif
