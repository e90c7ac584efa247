/* SPDX-License-Identifier: Apache-2.0
 *
 * The only place that reads a clock. Pure state machines take `now` as an argument instead.
 */
#ifndef WSL_BASE_CLOCK_H
#define WSL_BASE_CLOCK_H

#include <stdint.h>

/* Monotonic nanoseconds: for durations and deadlines. */
uint64_t wsl_clock_ns(void);

/* Milliseconds since 1970 UTC: for records that people read. */
int64_t wsl_clock_wall_ms(void);

/* "2018-05-02T10:11:12.345Z"; times outside the years 0 to 9999 give "-". */
#define WSL_CLOCK_TEXT_SIZE 32
void wsl_clock_text(int64_t wall_ms, char text[WSL_CLOCK_TEXT_SIZE]);

#endif
