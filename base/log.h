/* SPDX-License-Identifier: Apache-2.0
 *
 * Logging: one line per event on standard error,
 *   2018-05-02T10:11:12.345Z info  coordinator event=job_accepted job=7 name=tags
 * `message` is "event=<word> key=value ..."; values with spaces are put in double quotes by the
 * caller. Any thread may log; a line is one write(2), so lines of several threads never mix.
 * Control characters are replaced by '?'. Lines over 2 KiB are cut.
 */
#ifndef WSL_BASE_LOG_H
#define WSL_BASE_LOG_H

#include "base/err.h"

enum wsl_log_level { WSL_LOG_DEBUG, WSL_LOG_INFO, WSL_LOG_WARN, WSL_LOG_ERROR };

/* Once, at the start of main(): the program's name in each line, and the lowest level that is
 * written. */
void wsl_log_open(const char *program, enum wsl_log_level lowest);

/* "debug", "info", "warn" or "error", of the option --log-level; WSL_EINVAL names both. */
int wsl_log_level_parse(const char *name, enum wsl_log_level *ret_level, struct wsl_err *err);

void wsl_log(enum wsl_log_level level, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#define wsl_debug(...) wsl_log(WSL_LOG_DEBUG, __VA_ARGS__)
#define wsl_info(...)  wsl_log(WSL_LOG_INFO, __VA_ARGS__)
#define wsl_warn(...)  wsl_log(WSL_LOG_WARN, __VA_ARGS__)
#define wsl_error(...) wsl_log(WSL_LOG_ERROR, __VA_ARGS__)

#endif
