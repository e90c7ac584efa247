/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "storage/loader/order.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { RECORDS = 1009, SEED = 3 };

static struct wsl_order open_order(uint64_t seed, uint64_t records, const float *repeats)
{
    struct wsl_order order;
    struct wsl_err err;

    if (wsl_order_open(&order, "0123456789abcdef0123456789abcdef", seed, records, repeats, &err) <
        0)
        fail_msg("%s", err.text);
    return order;
}

static void count_epoch(const struct wsl_order *order, uint64_t epoch, uint32_t *ret_times)
{
    memset(ret_times, 0, order->records * sizeof *ret_times);
    for (uint64_t i = 0; i < order->length; i++) {
        uint64_t record = wsl_order_record(order, epoch * order->length + i);

        assert_true(record < order->records);
        ret_times[record]++;
    }
}

static void natural_epochs_have_each_record_once(void **state)
{
    static const uint64_t sizes[] = {1, 2, 3, 64, 65, RECORDS, 4096};

    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        struct wsl_order order = open_order(SEED, sizes[s], NULL);
        uint32_t *times = malloc(sizes[s] * sizeof *times);

        assert_int_equal(order.length, sizes[s]);
        for (uint64_t epoch = 0; epoch < 5; epoch++) {
            count_epoch(&order, epoch, times);
            for (uint64_t i = 0; i < sizes[s]; i++)
                assert_int_equal(times[i], 1);
        }
        free(times);
    }
}

/* Positions at which two orders have the same record. */
static int same_places(const struct wsl_order *a, uint64_t from_a, const struct wsl_order *b,
                       uint64_t from_b)
{
    int same = 0;

    for (uint64_t i = 0; i < RECORDS; i++)
        same += wsl_order_record(a, from_a + i) == wsl_order_record(b, from_b + i);
    return same;
}

/* Unrelated permutations agree in 1 place on average, in 9 with probability 1e-6. */
static void epochs_seeds_and_data_sets_differ(void **state)
{
    struct wsl_order a = open_order(SEED, RECORDS, NULL),
                     next = open_order(SEED + 1, RECORDS, NULL);
    struct wsl_order other;

    (void)state;
    for (uint64_t epoch = 1; epoch < 6; epoch++)
        assert_true(same_places(&a, 0, &a, epoch * RECORDS) < 9);
    assert_true(same_places(&a, 0, &next, 0) < 9);
    /* The seed and the epoch are not added up. */
    assert_true(same_places(&a, RECORDS, &next, 0) < 9);
    assert_int_equal(wsl_order_open(&other, "another", SEED, RECORDS, NULL, NULL), 0);
    assert_true(same_places(&a, 0, &other, 0) < 9);
    assert_int_not_equal(wsl_order_augment_key(&a), wsl_order_augment_key(&next));
    assert_int_equal(same_places(&a, 0, &a, 0), RECORDS);
}

/* Neighbours in the order are not neighbours in the shards: distances as of independent draws. */
static void neighbours_are_spread(void **state)
{
    enum { MANY = 20000 };
    struct wsl_order order = open_order(SEED, MANY, NULL);
    double mean = 0;
    int near = 0;

    (void)state;
    for (uint64_t i = 0; i + 1 < MANY; i++) {
        double d =
            fabs((double)wsl_order_record(&order, i) - (double)wsl_order_record(&order, i + 1));

        mean += d / (MANY - 1);
        near += d <= 10;
    }
    assert_true(fabs(mean / (MANY / 3.0) - 1) < 0.02);
    assert_in_range(near, 10, 36); /* 20 expected */
}

static void a_position_is_found_without_those_before(void **state)
{
    float repeats[RECORDS];
    uint64_t *sequence;
    struct wsl_order order;

    (void)state;
    for (int i = 0; i < RECORDS; i++)
        repeats[i] = 1 + (float)(i % 7) / 3;
    order = open_order(SEED, RECORDS, repeats);
    sequence = malloc(3 * order.length * sizeof *sequence);
    for (uint64_t i = 0; i < 3 * order.length; i++)
        sequence[i] = wsl_order_record(&order, i);
    wsl_order_close(&order);
    order = open_order(SEED, RECORDS, repeats);
    for (uint64_t k = 0; k < 3 * order.length; k++) {
        uint64_t i = wsl_permute(17, 3 * order.length, k); /* any order of asking */

        assert_int_equal(wsl_order_record(&order, i), sequence[i]);
    }
    free(sequence);
    wsl_order_close(&order);
}

static void far_positions_work(void **state)
{
    struct wsl_order order = open_order(SEED, (uint64_t)3500000000u, NULL);
    uint64_t far = order.length * 1000000 + 12345;

    (void)state;
    assert_true(wsl_order_record(&order, far) < order.records);
    assert_int_not_equal(wsl_order_record(&order, far), wsl_order_record(&order, 12345));
}

/* The sampling of ten tags with 2, 4, ... 1024 images, each image with one tag. */
static uint64_t make_tagged(enum wsl_sampling sampling, double threshold, float *repeats,
                            uint64_t *tag_of)
{
    uint64_t n = 0;

    for (int tag = 1; tag <= 10; tag++)
        for (uint64_t i = 0; i < (uint64_t)1 << tag; i++, n++) {
            repeats[n] = wsl_order_repeat(sampling, threshold, 20, (uint64_t)1 << tag);
            tag_of[n] = (uint64_t)tag;
        }
    return n;
}

static void check_multiplicities(enum wsl_sampling sampling, double exponent)
{
    enum { EPOCHS = 400, N = 2046 };
    const double threshold = 300;
    float repeats[N];
    uint64_t tag_of[N];
    uint32_t times[N];
    double total[N] = {0}, sum = 0;
    struct wsl_order order;

    assert_int_equal(make_tagged(sampling, threshold, repeats, tag_of), N);
    order = open_order(SEED, N, repeats);
    for (int i = 0; i < N; i++) {
        double r = pow(threshold / pow(2, (double)tag_of[i]), exponent);

        r = r < 1 ? 1 : r > 20 ? 20 : r;
        assert_true(fabs(repeats[i] - r) < 1e-5 * r);
        sum += r;
    }
    assert_int_equal(order.length, (uint64_t)ceil(sum - 1e-3));
    for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
        count_epoch(&order, epoch, times);
        for (int i = 0; i < N; i++) {
            double r = repeats[i] * (double)order.length / sum;

            /* Never further than rounding from what is wanted. */
            assert_true(times[i] >= floor(r - 1e-4) && times[i] <= ceil(r + 1e-4));
            assert_true(times[i] >= 1);
            total[i] += times[i];
        }
    }
    /* The mean of EPOCHS roundings: deviation at most 0.5 / sqrt(EPOCHS) = 0.025. */
    for (int i = 0; i < N; i++) {
        double r = repeats[i] * (double)order.length / sum;

        if (fabs(total[i] / EPOCHS - r) > 0.13)
            fail_msg("record %d: %g times on average, %g wanted", i, total[i] / EPOCHS, r);
    }
    wsl_order_close(&order);
}

static void square_root_sampling_gives_the_expected_copies(void **state)
{
    (void)state;
    check_multiplicities(WSL_SAMPLING_SQUARE_ROOT, 0.5);
}

static void uniform_sampling_gives_the_expected_copies(void **state)
{
    (void)state;
    check_multiplicities(WSL_SAMPLING_UNIFORM, 1);
}

static void repeats_follow_the_rule(void **state)
{
    (void)state;
    assert_true(wsl_order_repeat(WSL_SAMPLING_SQUARE_ROOT, 400, 20, 100) == 2);
    assert_true(wsl_order_repeat(WSL_SAMPLING_SQUARE_ROOT, 400, 20, 1600) == 1);
    assert_true(wsl_order_repeat(WSL_SAMPLING_SQUARE_ROOT, 40000, 20, 1) == 20);
    assert_true(wsl_order_repeat(WSL_SAMPLING_UNIFORM, 400, 20, 100) == 4);
    assert_true(wsl_order_repeat(WSL_SAMPLING_NATURAL, 400, 20, 100) == 1);
    assert_true(wsl_order_repeat(WSL_SAMPLING_UNIFORM, 7, 20, 0) == 7);
}

/* Copies of one record are not next to each other: as far apart as chance has them. */
static void copies_are_spread_over_the_epoch(void **state)
{
    enum { N = 500 };
    float repeats[N];
    struct wsl_order order;
    int neighbours = 0;

    (void)state;
    for (int i = 0; i < N; i++)
        repeats[i] = 4;
    order = open_order(SEED, N, repeats);
    assert_int_equal(order.length, 4 * N);
    for (uint64_t i = 0; i + 1 < order.length; i++)
        neighbours += wsl_order_record(&order, i) == wsl_order_record(&order, i + 1);
    assert_in_range(neighbours, 0, 12); /* 3 expected */
    wsl_order_close(&order);
}

static void substitutes_vary_and_repeat_exactly(void **state)
{
    struct wsl_order order = open_order(SEED, RECORDS, NULL);
    int same = 0;

    (void)state;
    for (uint64_t position = 0; position < 1000; position++) {
        uint64_t first = wsl_order_substitute(&order, position, 1);

        assert_true(first < RECORDS);
        assert_int_equal(first, wsl_order_substitute(&order, position, 1));
        same += first == wsl_order_substitute(&order, position, 2);
        same += first == wsl_order_substitute(&order, position + 1, 1);
    }
    assert_true(same < 12); /* 2 expected */
}

static void an_empty_split_is_refused(void **state)
{
    struct wsl_order order;
    struct wsl_err err;

    (void)state;
    assert_int_equal(wsl_order_open(&order, "x", 1, 0, NULL, &err), WSL_EINVAL);
    assert_non_null(strstr(err.text, "no pictures"));
    wsl_order_close(&order);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(natural_epochs_have_each_record_once),
        cmocka_unit_test(epochs_seeds_and_data_sets_differ),
        cmocka_unit_test(neighbours_are_spread),
        cmocka_unit_test(a_position_is_found_without_those_before),
        cmocka_unit_test(far_positions_work),
        cmocka_unit_test(square_root_sampling_gives_the_expected_copies),
        cmocka_unit_test(uniform_sampling_gives_the_expected_copies),
        cmocka_unit_test(repeats_follow_the_rule),
        cmocka_unit_test(copies_are_spread_over_the_epoch),
        cmocka_unit_test(substitutes_vary_and_repeat_exactly),
        cmocka_unit_test(an_empty_split_is_refused),
    };

    return cmocka_run_group_tests_name("order", tests, NULL, NULL);
}
