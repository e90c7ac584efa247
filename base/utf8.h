/* SPDX-License-Identifier: Apache-2.0
 *
 * UTF-8 as RFC 3629 has it: shortest forms, no surrogates, up to U+10FFFF. Pure; any thread.
 */
#ifndef WSL_BASE_UTF8_H
#define WSL_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character at p, of which `left` (at least 1) can be read: 1 to 4, or 0 when there is
 * none. A NUL byte is a character of 1. In a NUL-terminated text `left` may be 4: nothing behind
 * the NUL is read. */
size_t wsl_utf8_length(const void *p, size_t left);

/* The same, with the code point; *ret_code is untouched when there is none. */
size_t wsl_utf8_decode(const void *p, size_t left, uint32_t *ret_code);

bool wsl_utf8_is_valid(const void *text, size_t size);

/* Valid, and without control characters (C0, DEL, C1). */
bool wsl_utf8_is_clean(const char *text, size_t size);

#endif
