/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads a whole data set as `wslctl data verify` does.
 */
#ifndef WSL_TESTS_UNIT_CHECKED_SET_H
#define WSL_TESTS_UNIT_CHECKED_SET_H

#include "storage/dataset/verify.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct checked_set {
    uint64_t bad;
    char first[400]; /* fault: "shard-00000.lmdb, record 7: reason" */
};

static inline void checked_set_fault(void *context, const struct wsl_verify_fault *fault)
{
    struct checked_set *set = context;

    if (set->bad++ > 0)
        return;
    if (fault->record == WSL_VERIFY_SHARD)
        snprintf(set->first, sizeof set->first, "%s: %.300s", fault->file, fault->reason);
    else
        snprintf(set->first, sizeof set->first, "%s, record %llu: %.300s", fault->file,
                 (unsigned long long)fault->record, fault->reason);
}

static inline struct checked_set check_set(const char *folder)
{
    struct checked_set set = {0};
    const struct wsl_verify_setup setup = {.on_fault = checked_set_fault, .context = &set};
    struct wsl_verify_result result;
    struct wsl_err err;

    if (wsl_dataset_verify_all(folder, &setup, &result, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(result.bad, set.bad);
    return set;
}

#endif
