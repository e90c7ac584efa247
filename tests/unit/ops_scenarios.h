/* SPDX-License-Identifier: Apache-2.0
 *
 * What a backend's operations must do, as scenarios that run on any backend and are compared with
 * ref: random shapes and inputs from fixed seeds, outputs poisoned with NaN before they are
 * written. A failure names its seed.
 */
#ifndef WSL_TESTS_UNIT_OPS_SCENARIOS_H
#define WSL_TESTS_UNIT_OPS_SCENARIOS_H

#include "tests/unit/ops_results.h"

struct ops_scenario {
    const char *name;
    void (*run)(struct world *w, struct dice *d, struct results *ret);
    int seeds;
    /* Largest difference against the largest value, by what activations are stored in. GPUs may
     * have ten times that in f32: their sums are long chains of single floats. */
    double f32, bf16;
    double bf16_share; /* of the values may be off by more in bf16 */
};

enum { OPS_GROUPED = 1, OPS_SCENARIOS = 9 };
extern const struct ops_scenario ops_scenarios[OPS_SCENARIOS];

/* ops_open_world or ops_open_backend; `how` is their second argument. */
typedef void (*ops_open_fn)(struct world *w, const char *how, int count);

/* Fails the test at the first difference over the limit. */
struct ops_worst ops_compare_with_ref(const struct ops_scenario *s, ops_open_fn open,
                                      const char *how);

/* Which classes count as best: ties, NaN. */
void ops_check_hits(ops_open_fn open, const char *how);

#endif
