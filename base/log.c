/* SPDX-License-Identifier: Apache-2.0
 *
 * One write(2) per line: lines of several threads and processes never mix.
 */
#include "base/log.h"

#include "base/clock.h"
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static struct {
    char program[32];
    enum wsl_log_level lowest;
} state = {"wsl", WSL_LOG_INFO};

void wsl_log_open(const char *program, enum wsl_log_level lowest)
{
    snprintf(state.program, sizeof state.program, "%s", program);
    state.lowest = lowest;
}

int wsl_log_level_parse(const char *name, enum wsl_log_level *ret_level, struct wsl_err *err)
{
    for (int i = 0; i <= WSL_LOG_ERROR; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *ret_level = (enum wsl_log_level)i;
            return 0;
        }
    }
    return wsl_fail(err, WSL_EINVAL, "--log-level: must be debug, info, warn or error, is '%s'",
                    name);
}

void wsl_log(enum wsl_log_level level, const char *format, ...)
{
    char line[2048];
    char when[WSL_CLOCK_TEXT_SIZE];
    va_list args;
    int head, body;
    size_t length;

    if (level < state.lowest)
        return;
    wsl_clock_text(wsl_clock_wall_ms(), when);
    head = snprintf(line, sizeof line, "%s %-5s %s ", when, level_names[level], state.program);
    va_start(args, format);
    body = vsnprintf(line + head, sizeof line - 1 - (size_t)head, format, args);
    va_end(args);
    if (body < 0)
        return;
    length = (size_t)head + (size_t)body;
    if (length > sizeof line - 2)
        length = sizeof line - 2;
    wsl_one_line(line);
    line[length++] = '\n';
    /* Nowhere to report a failed write of a log line to. */
    if (write(STDERR_FILENO, line, length) < 0)
        return;
}
