/* SPDX-License-Identifier: Apache-2.0
 *
 * Job specifications: the one table of their fields (YAML name, type, default, limits, help), read
 * by the job-file parser, by the coordinator's check and by `wslctl explain`. A specification is
 * the generated Wsl__V1__JobSpec.
 */
#ifndef WSL_PROTO_JOBSPEC_JOBSPEC_H
#define WSL_PROTO_JOBSPEC_JOBSPEC_H

#include "base/err.h"
#include "wsl/v1/job.pb-c.h"

#include <stdbool.h>
#include <stddef.h>

/* Checks every field and the rules between fields; the text begins with the field's YAML name:
 * "optimizer.learning_rate: must be more than 0, is nan". Pure; any thread. */
int wsl_jobspec_check(const Wsl__V1__JobSpec *spec, struct wsl_err *err);

/* Fills in what was left out (zeros and absent messages), so that the rest of the system reads
 * plain values. The spec must have come from wsl_jobspec_load, _copy or an unpack with the default
 * allocator. After it every sub-message but `init` is present. Idempotent. */
int wsl_jobspec_fill(Wsl__V1__JobSpec *spec, struct wsl_err *err);

/* Values of a channel that batch norm's statistics are over, where they are fewest: the last
 * stage's pixels (*ret_side squared) of the images that a trainer computes at a time. 1: refused by
 * the check. */
uint64_t wsl_jobspec_norm_values(const Wsl__V1__JobSpec *spec, uint32_t *ret_side);

/* A deep copy (pack and unpack). NULL when out of memory. */
Wsl__V1__JobSpec *wsl_jobspec_copy(const Wsl__V1__JobSpec *spec);

/* Appends the specification as YAML that parses back to it. */
struct wsl_buf;
int wsl_jobspec_print(const Wsl__V1__JobSpec *spec, struct wsl_buf *out);

/* Appends the fields in which two filled specifications differ: "batch: 32 -> 64, seed: 1 -> 2";
 * nothing when they are equal. */
int wsl_jobspec_differences(const Wsl__V1__JobSpec *was, const Wsl__V1__JobSpec *is,
                            struct wsl_buf *out);

/* The table for people, in the order of a job file. */
struct wsl_jobspec_field {
    const char *path;     /* "optimizer.learning_rate"; static, like all texts here */
    const char *type;     /* "text", "word", "integer", "number", "boolean", "list" */
    const char *standard; /* the default; "" when there is none */
    const char *help;
    bool required, transfer_only;
    char allowed[240]; /* "a whole number from 1 to 4096" */
};
size_t wsl_jobspec_field_count(void);
void wsl_jobspec_field(size_t i, struct wsl_jobspec_field *ret); /* i < count */

/* The field that people call by another name in other systems: "optimizer.learning_rate" for "lr".
 * Case and '-' against '_' are not counted. NULL: none is known. */
const char *wsl_jobspec_synonym(const char *word);

/* Appends a line per field: name, type, default, limits, help. */
int wsl_jobspec_explain(struct wsl_buf *out);

#endif
