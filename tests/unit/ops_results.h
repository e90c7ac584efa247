/* SPDX-License-Identifier: Apache-2.0
 *
 * Results of a scenario (ops_scenarios.h): named arrays on the host that two worlds are compared
 * by.
 */
#ifndef WSL_TESTS_UNIT_OPS_RESULTS_H
#define WSL_TESTS_UNIT_OPS_RESULTS_H

#include "tests/unit/ops_world.h"

#define RESULTS 16

struct results {
    struct {
        const char *name;
        float *values;
        size_t count;
    } items[RESULTS];
    int count;
};

struct ops_worst {
    double difference; /* the largest that was seen, against the largest value of its array */
    const char *where; /* the output it was in */
    double limit;
};

void ops_keep_floats(struct results *r, const char *name, const float *values, size_t n);
void ops_keep_block(struct results *r, struct world *w, const char *name, const float *block,
                    size_t n);
/* An activation. Whatever uses x later starts from equal values on both sides (ops_agree). */
void ops_keep(struct results *r, struct world *w, const char *name, const struct wsl_shape *shape,
              void *x);
void ops_free_results(struct results *r);

/* Fails the test when more than a `share` of an array is off by more than worst->limit. */
void ops_compare(const struct results *expected, const struct results *got, const char *world,
                 uint64_t seed, struct ops_worst *worst, double share);

#endif
