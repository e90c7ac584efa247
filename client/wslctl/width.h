/* SPDX-License-Identifier: Apache-2.0
 *
 * How many columns of a terminal a UTF-8 text takes: two for CJK and emoji, none for combining
 * marks, one for a byte that is not UTF-8. Does not depend on the locale that the program runs in
 * (nobody sets one in a container). One thread.
 */
#ifndef WSL_CLIENT_WSLCTL_WIDTH_H
#define WSL_CLIENT_WSLCTL_WIDTH_H

#include <stddef.h>

size_t wsl_ctl_text_width(const char *text);

/* Bytes of the longest beginning of `text` that takes at most `columns`; marks that combine with
 * its last character belong to it. */
size_t wsl_ctl_text_cut(const char *text, size_t columns);

#endif
