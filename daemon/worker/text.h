/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes of unknown origin as a line that may go into a protobuf string and onto a terminal. Pure.
 */
#ifndef WSL_DAEMON_WORKER_TEXT_H
#define WSL_DAEMON_WORKER_TEXT_H

#include <stddef.h>

/* Copies at most `count` bytes as valid UTF-8 without control characters ('?' in their place),
 * ending at a zero byte, cut at a character's border to fit `size` with the closing zero. */
void wsl_text_line(char *ret, size_t size, const void *bytes, size_t count);

/* The last line of a text that has more than blanks; empty when there is none. */
void wsl_text_last_line(char *ret, size_t size, const void *bytes, size_t count);

#endif
