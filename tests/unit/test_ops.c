/* SPDX-License-Identifier: Apache-2.0
 *
 * Every operation of cpu, with each of its instruction sets, against ref (ops_scenarios.c).
 */
#include "tests/unit/ops_scenarios.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const char *const isas[] = {"v2", "v3", "v4"};

static void test_scenario(void **state)
{
    for (int i = 0; i < 3; i++)
        ops_compare_with_ref(*state, ops_open_world, isas[i]);
}

static void assert_same_bits(const struct results *a, const struct results *b, uint64_t seed)
{
    assert_int_equal(a->count, b->count);
    for (int i = 0; i < a->count; i++)
        if (memcmp(a->items[i].values, b->items[i].values,
                   a->items[i].count * sizeof *a->items[i].values))
            fail_msg("seed %llu: %s depends on the threads", (unsigned long long)seed,
                     a->items[i].name);
}

static void test_grouped_convolutions_on_threads(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct results got[4] = {0};

        for (int threads = 1; threads <= 3; threads++) {
            struct dice d = {seed * 7919};
            struct world w;

            ops_open_world_threads(&w, isas[seed % 3], 1 + (int)ops_roll(&d, BATCH), threads);
            ops_scenarios[OPS_GROUPED].run(&w, &d, &got[threads]);
            assert_same_bits(&got[1], &got[threads], seed);
            w.ops->close(w.dev);
        }
        for (int threads = 1; threads <= 3; threads++)
            ops_free_results(&got[threads]);
    }
}

static void test_hits_and_ties(void **state)
{
    (void)state;
    ops_check_hits(ops_open_world, NULL);
    ops_check_hits(ops_open_world, "v4");
}

static void test_backends_by_name(void **state)
{
    const struct wsl_ops *ops = NULL;
    struct wsl_err err = {0};

    (void)state;
    assert_int_equal(wsl_ops_find("ref", &ops, &err), 0);
    assert_ptr_equal(ops, &wsl_ops_ref);
    assert_int_equal(wsl_ops_find("cpu", &ops, &err), 0);
    assert_ptr_equal(ops, &wsl_ops_cpu);
    assert_int_equal(wsl_ops_find(NULL, &ops, &err), 0);
    assert_int_equal(wsl_ops_find("tpu", &ops, &err), WSL_ENOENT);
    assert_non_null(strstr(err.text, "\"tpu\"; use cuda, cpu or ref"));
}

int main(void)
{
    struct CMUnitTest tests[OPS_SCENARIOS + 3] = {
        cmocka_unit_test(test_hits_and_ties),
        cmocka_unit_test(test_backends_by_name),
        cmocka_unit_test(test_grouped_convolutions_on_threads),
    };

    for (int i = 0; i < OPS_SCENARIOS; i++)
        tests[3 + i] = (struct CMUnitTest){ops_scenarios[i].name, test_scenario, NULL, NULL,
                                           (void *)&ops_scenarios[i]};
    return cmocka_run_group_tests_name("ops", tests, NULL, NULL);
}
