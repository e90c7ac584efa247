/* SPDX-License-Identifier: Apache-2.0
 *
 * Every operation of one backend against ref, on this machine's device, in its best precision and
 * in f32: the scenarios of tests/unit/ops_scenarios.h. Usage: gpu_ops [options] [BACKEND], default
 * cuda. Exit status 77 when the backend cannot run here.
 */
#include "base/args.h"
#include "tests/unit/ops_scenarios.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const char *backend;
static char in_floats[32]; /* the backend in precision f32 */

static void test_scenario(void **state)
{
    const struct ops_scenario *s = *state;
    const char *const ways[] = {backend, in_floats};

    for (int i = 0; i < 2; i++) {
        struct ops_worst worst = ops_compare_with_ref(s, ops_open_backend, ways[i]);

        printf("# %s, %s, %d seeds: at most %.4f %% off, in %s; limit %.4f %%\n", s->name, ways[i],
               s->seeds, 100 * worst.difference, worst.where, 100 * worst.limit);
    }
}

static void test_hits_and_ties(void **state)
{
    (void)state;
    ops_check_hits(ops_open_backend, backend);
    ops_check_hits(ops_open_backend, in_floats);
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[OPS_SCENARIOS + 1] = {cmocka_unit_test(test_hits_and_ties)};
    const struct wsl_arg rows[] = {WSL_CUDA_SETTINGS_ROWS(ops_cuda_settings)};
    const struct wsl_args args = {"gpu_ops [options] [BACKEND]", "Operations against ref.", rows,
                                  sizeof rows / sizeof rows[0]};
    const struct wsl_ops *ops;
    struct wsl_err err;
    int words, rc = wsl_args_parse(&args, argc, argv, &words, &err);

    if (rc == WSL_ARGS_HELP)
        return 0;
    if (rc < 0) {
        fprintf(stderr, "gpu_ops: %s\n", err.text);
        return 2;
    }
    backend = words > 0 ? argv[argc - words] : "cuda";
    snprintf(in_floats, sizeof in_floats, "%s f32", backend);
    if (wsl_ops_find(backend, &ops, &err) < 0) {
        fprintf(stderr, "gpu_ops: %s\n", err.text);
        return err.code == WSL_EUNAVAILABLE || err.code == WSL_EUNSUPPORTED ? 77 : 1;
    }
    for (int i = 0; i < OPS_SCENARIOS; i++)
        tests[1 + i] = (struct CMUnitTest){ops_scenarios[i].name, test_scenario, NULL, NULL,
                                           (void *)&ops_scenarios[i]};
    return cmocka_run_group_tests_name("gpu_ops", tests, NULL, NULL);
}
