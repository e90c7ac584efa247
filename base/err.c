/* SPDX-License-Identifier: Apache-2.0
 *
 * Composing error texts: one line each, control characters replaced, cut at the size of struct
 * wsl_err.
 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void wsl_one_line(char *text)
{
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = '?';
}

/* Names of files and the like may hold anything. */
static void format_text(char *text, size_t size, const char *format, va_list args)
{
    int n = vsnprintf(text, size, format, args);

    if (n < 0)
        text[0] = '\0';
    else if ((size_t)n >= size)
        memcpy(text + size - 4, "...", 4);
    wsl_one_line(text);
}

int wsl_err_set(struct wsl_err *err, int code, const char *file, int line, const char *format, ...)
{
    va_list args;

    if (!err)
        return code;
    err->code = code;
    err->file = file;
    err->line = line;
    va_start(args, format);
    format_text(err->text, sizeof err->text, format, args);
    va_end(args);
    return code;
}

static const char *errno_text(int number)
{
    return number == EFBIG ? "File too large: it passes the limit on file sizes (ulimit -f)"
                           : strerror(number);
}

int wsl_err_set_errno(struct wsl_err *err, const char *file, int line, const char *format, ...)
{
    int saved = errno;
    char what[320];
    va_list args;

    va_start(args, format);
    format_text(what, sizeof what, format, args);
    va_end(args);
    return wsl_err_set(err, wsl_err_from_errno(saved), file, line, "%s: %s", what,
                       errno_text(saved));
}

int wsl_err_prefix(struct wsl_err *err, const char *format, ...)
{
    char prefix[300];
    char text[sizeof err->text];
    va_list args;

    if (!err)
        return WSL_EINTERNAL;
    va_start(args, format);
    format_text(prefix, sizeof prefix, format, args);
    va_end(args);
    memcpy(text, err->text, sizeof text);
    return wsl_err_set(err, err->code, err->file, err->line, "%s: %s", prefix, text);
}

const char *wsl_err_name(int code)
{
    switch (code) {
    case 0:
        return "ok";
#define X(symbol, number, name)                                                                    \
    case WSL_E##symbol:                                                                            \
        return name;
        WSL_ERR_MAP(X)
#undef X
    default:
        return "unknown error";
    }
}

int wsl_err_from_errno(int errno_value)
{
    switch (errno_value) {
    case ENOENT:
    case ENOTDIR:
        return WSL_ENOENT;
    case EEXIST:
    case EADDRINUSE:
        return WSL_EEXIST;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return WSL_ENOSPC;
    case ENOMEM:
        return WSL_ENOMEM;
    case EACCES:
    case EPERM:
    case EROFS:
        return WSL_EDENIED;
    case EINVAL:
    case ENAMETOOLONG:
        return WSL_EINVAL;
    case EAGAIN:
    case EINTR:
        return WSL_EAGAIN;
    case ETIMEDOUT:
        return WSL_ETIMEOUT;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case EHOSTUNREACH:
        return WSL_EUNAVAILABLE;
    default:
        return WSL_EIO;
    }
}
