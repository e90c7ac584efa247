/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON documents as text, for people and scripts: jansson's own dump writes 0.4 as
 * 0.40000000000000002. Pure; any thread.
 */
#ifndef WSL_PROTO_JSON_PRINT_H
#define WSL_PROTO_JSON_PRINT_H

#include "base/buf.h"

#include <jansson.h>

/* A number, or null for what JSON has no number for (NaN, infinity); json_real() gives NULL there,
 * which spoils the whole document. */
json_t *wsl_json_real(double value);

/* Appends the document: members in the order they were set, reals as the shortest decimal that
 * reads back to the same bits (always with a point or an exponent, so that they stay reals).
 * `indent`: blanks per level, a member a line; 0: all on one line. No newline at the end. Does not
 * take the reference. WSL_ENOMEM, WSL_ELIMIT; NULL document: WSL_ENOMEM. */
int wsl_json_print(const json_t *document, int indent, struct wsl_buf *out);

#endif
