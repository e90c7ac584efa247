/* SPDX-License-Identifier: Apache-2.0
 *
 * Text that people hand us: lists, manifests, job files, JSON. All of it is UTF-8. A byte order
 * mark before it is skipped, another encoding is named, lines may end in "\n" or "\r\n", and the
 * last one needs no end. Whatever reads such a file opens it through here.
 */
#ifndef WSL_BASE_TEXT_INPUT_H
#define WSL_BASE_TEXT_INPUT_H

#include "base/buf.h"
#include "base/err.h"

enum { WSL_TEXT_INPUT_START = 4 }; /* bytes of a text that tell its encoding */

/* Looks at the first bytes of a text (WSL_TEXT_INPUT_START, or all of a shorter one). Returns NULL
 * and in *ret_skip the bytes of its byte order mark (3 or 0), or the name of the encoding that is
 * not UTF-8: "UTF-16" or "UTF-32" (static). Pure. */
const char *wsl_text_input_encoding(const void *bytes, size_t size, size_t *ret_skip);

/* The error for it: "PATH is UTF-16; save it as UTF-8". Returns WSL_ECORRUPT. */
int wsl_text_input_wrong_encoding(const char *path, const char *encoding, struct wsl_err *err);

/* Reads a whole text into *ret (zeroed) without its byte order mark. Blocks. On an error *ret is
 * empty and holds no memory. Errors of
 * wsl_file_read(); WSL_ECORRUPT when it is in another encoding or has a NUL byte. Whether it is
 * valid UTF-8 is for the caller to check, who knows the line. */
int wsl_text_input_read(const char *path, size_t limit, struct wsl_buf *ret, struct wsl_err *err);

/* Cuts the next line off *rest: NUL-terminated in place, without its end. Returns NULL after the
 * last one. Start with *rest at the text of a wsl_buf, or NULL when it is empty. */
char *wsl_text_input_line(char **rest, size_t *ret_size);

#endif
