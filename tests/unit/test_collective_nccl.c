/* SPDX-License-Identifier: Apache-2.0
 *
 * The contract of the collective over nccl.c, with a fake NCCL (fake_nccl.h): once with host
 * memory, once with memory that counts as the GPU's.
 */
#define COLLECTIVE_CASES_ONLY
#include "tests/unit/test_collective.c"

#include "tests/unit/fake_nccl.h"

static void from_here_on_all_memory_is_the_gpus(void **state)
{
    (void)state;
    fake_nccl_take_all_for_device(true);
}

static int clean_up(void **state)
{
    (void)state;
    fake_nccl_reset();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASES("nccl"),
        cmocka_unit_test(from_here_on_all_memory_is_the_gpus),
        CASES("nccl"),
    };

    return cmocka_run_group_tests(tests, NULL, clean_up);
}
