/* SPDX-License-Identifier: Apache-2.0
 *
 * Pieces of an HTML page: texts of other people and images within it. Internal to storage/export.
 * Each returns 0, WSL_ENOMEM or WSL_ELIMIT, as wsl_buf_add() does. Pure; any thread.
 */
#ifndef WSL_STORAGE_EXPORT_HTML_H
#define WSL_STORAGE_EXPORT_HTML_H

#include "base/buf.h"

/* Appends any text so that it is shown as it is, in an element or between the quotes of an
 * attribute: nothing in it is markup. What is not UTF-8, and control characters, become U+FFFD. */
int wsl_html_add_text(struct wsl_buf *out, const char *text);

/* Appends bytes in base 64 (RFC 4648, with padding), as a data: URL has them. */
int wsl_html_add_base64(struct wsl_buf *out, const uint8_t *bytes, size_t size);

#endif
