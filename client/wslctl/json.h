/* SPDX-License-Identifier: Apache-2.0
 *
 * The system's messages as JSON. Keys are the names of the schema (proto/wsl/v1), so they are as
 * stable as it is: never renamed, only added to. Enums are lower-case words ("step-halving"), the
 * unspecified one and messages that are not there null, a number that is not finite null. Whole
 * numbers beyond 2^63-1 are texts of digits; other numbers are the shortest decimals that read back
 * to the same bits. Each *_ms time has a text beside it: ended_ms and
 * ended ("2018-05-02T10:11:12.345Z", null for 0).
 */
#ifndef WSL_CLIENT_WSLCTL_JSON_H
#define WSL_CLIENT_WSLCTL_JSON_H

#include "base/buf.h"
#include "proto/json_print.h"
#include "wsl/v1/job.pb-c.h"

#include <jansson.h>
#include <stdbool.h>

enum { WSL_CTL_JSON_VERSION = 1 };

/* A new reference; NULL when out of memory. NULL message: null. */
json_t *wsl_ctl_json(const ProtobufCMessage *message);

/* The same with "name" and "kind" of the specification beside the id. */
json_t *wsl_ctl_json_job(const Wsl__V1__Job *job);

/* {"version": 1, key: value} and so on for each given pair, closed by NULL; takes the values. NULL
 * when one of them is. */
json_t *wsl_ctl_json_document(const char *key, json_t *value, ...) __attribute__((sentinel));

/* Text that goes into JSON: what is not UTF-8 is replaced. */
json_t *wsl_ctl_json_text(const char *text, size_t size);

/* Appends the value (which it takes) and a newline; `compact`: on one line. WSL_ENOMEM; NULL value:
 * too. */
int wsl_ctl_json_print(json_t *value, bool compact, struct wsl_buf *out);

#endif
