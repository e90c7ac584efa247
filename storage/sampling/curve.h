/* SPDX-License-Identifier: Apache-2.0
 *
 * What resampling does to a data set's training split: the length of an epoch and how often each
 * tag is drawn, as the rule wants it, and as an epoch of the order (storage/sampling/order.h) has
 * it. Reads every record's tags; no images. Blocks; any thread.
 */
#ifndef WSL_STORAGE_SAMPLING_CURVE_H
#define WSL_STORAGE_SAMPLING_CURVE_H

#include "storage/sampling/sampling.h"

struct wsl_curve {
    uint64_t length;    /* draws of an epoch */
    uint64_t repeated;  /* records that are drawn more than once */
    double max_repeats; /* repeats of the most repeated record */
    double *draws;      /* owned: of each tag, on average per epoch; a record counts for each of its
                          tags */
    double effective;   /* exp of the entropy of `draws`: so many equally frequent tags would be as
                          even */
};

/* `rule` is filled in with its defaults. */
int wsl_curve_open(struct wsl_curve *ret, struct wsl_dataset *dataset,
                   struct wsl_sampling_rule *rule, struct wsl_err *err);
void wsl_curve_close(struct wsl_curve *curve); /* zeroed is fine */

/* The threshold at which an epoch has about `length` draws: the others of the rule stay. WSL_EINVAL
 * when none has: fewer than the records, or more than max_repeat times as many. */
int wsl_curve_threshold(struct wsl_dataset *dataset, struct wsl_sampling_rule *rule,
                        uint64_t length, struct wsl_err *err);

struct wsl_audit {
    uint64_t length;
    uint64_t *drawn;      /* owned: of each tag in that epoch */
    uint64_t missing;     /* records that were not drawn: never any */
    uint64_t unexpected;  /* records drawn neither floor(r) nor ceil(r) times: never any */
    double chi_square;    /* over tags, against wsl_curve.draws */
    uint64_t substitutes; /* unreadable tags: their records count for none */
};

struct wsl_audit_setup {
    struct wsl_dataset *dataset;
    const struct wsl_sampling_rule *rule; /* of a job, and its seed */
    uint64_t seed;
    uint64_t epoch;
    const struct wsl_curve *expected;
};

/* Draws all positions of an epoch, as a job with this rule and seed does. 4 bytes a record. Blocks.
 * WSL_ENOMEM; WSL_ECORRUPT for a damaged view. Close the audit also after a failure. */
int wsl_audit_run(struct wsl_audit *ret, const struct wsl_audit_setup *setup, struct wsl_err *err);
void wsl_audit_close(struct wsl_audit *audit); /* zeroed is fine */

#endif
