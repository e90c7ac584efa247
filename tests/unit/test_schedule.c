/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/trainer/schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static void near(double got, double want)
{
    if (fabs(got - want) > 1e-12 * (1 + fabs(want)))
        fail_msg("%.17g, not %.17g", got, want);
}

/* Goyal et al.: from 0.1 by a constant amount per step, the peak at the first step after it. */
static void warm_up_is_linear(void **state)
{
    struct wsl_schedule s = {.kind = WSL_SCHEDULE_CONSTANT,
                             .total_steps = 1000,
                             .warmup_steps = 100,
                             .warmup_from = 0.1,
                             .peak = 3.1};

    (void)state;
    near(wsl_schedule_rate(&s, 0), 0.1);
    near(wsl_schedule_rate(&s, 1), 0.13);
    near(wsl_schedule_rate(&s, 50), 1.6);
    near(wsl_schedule_rate(&s, 99), 3.07);
    near(wsl_schedule_rate(&s, 100), 3.1);
    near(wsl_schedule_rate(&s, 999), 3.1);
    for (uint64_t i = 1; i < 100; i++)
        near(wsl_schedule_rate(&s, i) - wsl_schedule_rate(&s, i - 1), 0.03);
}

/* The paper's: ten halvings cut the run after the warm-up into eleven equal parts. */
static void halving_has_equal_parts(void **state)
{
    struct wsl_schedule s = {.kind = WSL_SCHEDULE_STEP_HALVING,
                             .reductions = 10,
                             .total_steps = 1110,
                             .warmup_steps = 10,
                             .warmup_from = 0.1,
                             .peak = 3.15};

    (void)state;
    for (uint64_t i = 10; i < 1110; i++)
        near(wsl_schedule_rate(&s, i), 3.15 / (double)(1 << ((i - 10) / 100)));
    near(wsl_schedule_rate(&s, 1109), 3.15 / 1024);
    near(wsl_schedule_rate(&s, 5000), 3.15 / 1024); /* past the end: the last rate stays */
}

static void tenth_has_equal_parts(void **state)
{
    struct wsl_schedule s = {
        .kind = WSL_SCHEDULE_STEP_TENTH, .reductions = 3, .total_steps = 8, .peak = 1};
    const double want[] = {1, 1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001};

    (void)state;
    for (uint64_t i = 0; i < 8; i++)
        near(wsl_schedule_rate(&s, i), want[i]);
}

static void cosine_falls_to_zero(void **state)
{
    struct wsl_schedule s = {
        .kind = WSL_SCHEDULE_COSINE, .total_steps = 120, .warmup_steps = 20, .peak = 2};
    double before = 3;

    (void)state;
    near(wsl_schedule_rate(&s, 20), 2);
    near(wsl_schedule_rate(&s, 70), 1);
    near(wsl_schedule_rate(&s, 45), 1 + sqrt(0.5));
    near(wsl_schedule_rate(&s, 120), 0);
    for (uint64_t i = 20; i < 120; i++) {
        double rate = wsl_schedule_rate(&s, i);

        assert_true(rate > 0 && rate < before);
        before = rate;
    }
}

static void odd_lengths_stay_in_bounds(void **state)
{
    (void)state;
    for (int kind = WSL_SCHEDULE_STEP_HALVING; kind <= WSL_SCHEDULE_CONSTANT; kind++) {
        for (uint64_t total = 1; total < 30; total++) {
            for (uint64_t warmup = 0; warmup < 35; warmup++) {
                struct wsl_schedule s = {.kind = (enum wsl_schedule_kind)kind,
                                         .reductions = 10,
                                         .total_steps = total,
                                         .warmup_steps = warmup,
                                         .warmup_from = 0.01,
                                         .peak = 0.5};

                for (uint64_t i = 0; i < total; i++) {
                    double rate = wsl_schedule_rate(&s, i);

                    assert_true(isfinite(rate) && rate >= 0 && rate <= 0.5);
                }
            }
        }
    }
}

static void long_runs_do_not_overflow(void **state)
{
    struct wsl_schedule s = {.kind = WSL_SCHEDULE_STEP_HALVING,
                             .reductions = 1000,
                             .total_steps = 1000000000000,
                             .peak = 1};

    (void)state;
    near(wsl_schedule_rate(&s, 500000000000), pow(0.5, 500));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(warm_up_is_linear),          cmocka_unit_test(halving_has_equal_parts),
        cmocka_unit_test(tenth_has_equal_parts),      cmocka_unit_test(cosine_falls_to_zero),
        cmocka_unit_test(odd_lengths_stay_in_bounds), cmocka_unit_test(long_runs_do_not_overflow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
