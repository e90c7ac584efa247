/* SPDX-License-Identifier: Apache-2.0
 *
 * Monotonic time for durations, wall time for people and records.
 */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

uint64_t wsl_clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int64_t wsl_clock_wall_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void wsl_clock_text(int64_t wall_ms, char text[WSL_CLOCK_TEXT_SIZE])
{
    int64_t seconds = wall_ms / 1000;
    int64_t ms = wall_ms % 1000;
    time_t t;
    struct tm tm;

    if (ms < 0) {
        ms += 1000;
        seconds--;
    }
    t = (time_t)seconds;
    if (!gmtime_r(&t, &tm) || tm.tm_year < -1900 || tm.tm_year > 8099) {
        snprintf(text, WSL_CLOCK_TEXT_SIZE, "-");
        return;
    }
    snprintf(text, WSL_CLOCK_TEXT_SIZE, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
             (unsigned)(tm.tm_year + 1900) % 10000u, (unsigned)(tm.tm_mon + 1) % 100u,
             (unsigned)tm.tm_mday % 100u, (unsigned)tm.tm_hour % 100u, (unsigned)tm.tm_min % 100u,
             (unsigned)tm.tm_sec % 100u, (unsigned)ms % 1000u);
}
