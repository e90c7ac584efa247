/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "storage/sampling/order.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

enum { RECORDS = 1009, SEED = 3 };

static struct wsl_order_setup setup_of(uint64_t seed, uint64_t records)
{
    return (struct wsl_order_setup){
        .fingerprint = "0123456789abcdef0123456789abcdef", .seed = seed, .records = records};
}

static struct wsl_order open_setup(const struct wsl_order_setup *setup)
{
    struct wsl_order order;
    struct wsl_err err;

    if (wsl_order_open(&order, setup, &err) < 0)
        fail_msg("%s", err.text);
    return order;
}

/* repeats: of each record, or NULL. */
static struct wsl_order open_order(uint64_t seed, uint64_t records, const float *repeats)
{
    struct wsl_order_setup setup = setup_of(seed, records);
    struct wsl_order_run *runs = repeats ? calloc(records, sizeof *runs) : NULL;
    struct wsl_order order;

    for (uint64_t i = 0; runs && i < records; i++)
        runs[i] = (struct wsl_order_run){1, repeats[i]};
    setup.runs = runs;
    setup.run_count = runs ? records : 0;
    order = open_setup(&setup);
    free(runs);
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
    struct wsl_order_setup other_setup = setup_of(SEED, RECORDS);
    struct wsl_order other;

    (void)state;
    for (uint64_t epoch = 1; epoch < 6; epoch++)
        assert_true(same_places(&a, 0, &a, epoch * RECORDS) < 9);
    assert_true(same_places(&a, 0, &next, 0) < 9);
    /* The seed and the epoch are not added up. */
    assert_true(same_places(&a, RECORDS, &next, 0) < 9);
    other_setup.fingerprint = "another";
    other = open_setup(&other_setup);
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
    const struct wsl_order_setup setup = setup_of(1, 0);
    struct wsl_order order;
    struct wsl_err err;

    (void)state;
    assert_int_equal(wsl_order_open(&order, &setup, &err), WSL_EINVAL);
    assert_non_null(strstr(err.text, "no images"));
    wsl_order_close(&order);
}

/* ---- resampling by runs ---- */

/* Tags by Zipf's law over `records`, as runs: what a table by rarest tag gives. */
static size_t zipf_runs(struct wsl_order_run *runs, size_t tags, uint64_t records)
{
    double sum = 0;
    uint64_t given = 0;

    for (size_t i = 0; i < tags; i++)
        sum += 1 / (double)(i + 1);
    for (size_t i = 0; i < tags; i++) {
        runs[i].records = (uint64_t)((double)records / (double)(i + 1) / sum);
        given += runs[i].records;
    }
    runs[0].records += records - given;
    for (size_t i = 0; i < tags; i++)
        runs[i].repeat = wsl_order_repeat(WSL_SAMPLING_SQUARE_ROOT, (double)runs[0].records / 4, 20,
                                          runs[i].records);
    return tags;
}

/* A table only renames records: which ones the places of the runs stand for. */
static void a_table_names_the_records_of_the_runs(void **state)
{
    struct wsl_order_run runs[] = {{700, 1}, {0, 5}, {300, 2.5f}, {9, 20}};
    struct wsl_order_setup setup = setup_of(SEED, RECORDS);
    struct wsl_order plain, named;
    uint32_t table[RECORDS];

    (void)state;
    for (uint32_t i = 0; i < RECORDS; i++)
        table[i] = (uint32_t)wsl_permute(5, RECORDS, i);
    setup.runs = runs;
    setup.run_count = 4;
    plain = open_setup(&setup);
    setup.table = table;
    named = open_setup(&setup);
    assert_int_equal(plain.length, 700 + 750 + 180);
    for (uint64_t i = 0; i < 3 * plain.length; i++)
        assert_int_equal(wsl_order_record(&named, i), table[wsl_order_record(&plain, i)]);
    wsl_order_close(&plain);
    wsl_order_close(&named);
}

/* The paper's size: 3.5e9 pictures, 17,000 tags. Opening takes room for the tags, not for the
 * pictures, and a batch of it needs no other. */
static void three_and_a_half_billion_pictures_fit(void **state)
{
    enum { TAGS = 17000, BATCH = 8064 };
    static struct wsl_order_run runs[TAGS];
    struct wsl_order_setup setup = setup_of(SEED, (uint64_t)3500000000u);
    struct wsl_order order;
    struct rusage before, after;
    uint64_t start[TAGS + 1] = {0}, rare = 0;
    double share = 0;

    (void)state;
    setup.runs = runs;
    setup.run_count = zipf_runs(runs, TAGS, setup.records);
    for (size_t t = 0; t < TAGS; t++)
        start[t + 1] = start[t] + runs[t].records;
    getrusage(RUSAGE_SELF, &before);
    order = open_setup(&setup);
    for (size_t t = TAGS / 2; t < TAGS; t++)
        share += (double)runs[t].records * runs[t].repeat / (double)order.length;
    for (uint64_t epoch = 0; epoch < 40; epoch++)
        for (uint64_t i = 0; i < BATCH; i++) {
            uint64_t record = wsl_order_record(&order, epoch * 123456789 * BATCH + i);

            assert_true(record < setup.records);
            rare += record >= start[TAGS / 2];
        }
    getrusage(RUSAGE_SELF, &after);
    assert_in_range(after.ru_maxrss - before.ru_maxrss, 0, 4096); /* KiB */
    /* Binomial: five deviations. */
    if (fabs((double)rare - 40 * BATCH * share) > 5 * sqrt(40 * BATCH * share * (1 - share)))
        fail_msg("%llu draws of the rarer half of the tags, %g expected", (unsigned long long)rare,
                 40 * BATCH * share);
    wsl_order_close(&order);
}

/* Every place of the runs as often as its repeat says, over millions of positions. */
static void millions_of_positions_are_exact(void **state)
{
    enum { MANY = 1500000, TAGS = 300 };
    struct wsl_order_run runs[TAGS];
    struct wsl_order_setup setup = setup_of(7, MANY);
    uint32_t *times = malloc(MANY * sizeof *times);
    struct wsl_order order;
    double stretch;

    (void)state;
    setup.runs = runs;
    setup.run_count = zipf_runs(runs, TAGS, MANY);
    order = open_setup(&setup);
    stretch = (double)order.length * (double)(1 << WSL_ORDER_BITS) / (double)order.total;
    count_epoch(&order, 2, times);
    for (uint64_t t = 0, i = 0; t < TAGS; t++) {
        double r = (double)llrint(runs[t].repeat * (1 << WSL_ORDER_BITS)) / (1 << WSL_ORDER_BITS) *
                   stretch;
        double sum = 0;

        for (uint64_t end = i + runs[t].records; i < end; i++) {
            assert_in_range(times[i], (uint64_t)floor(r - 1e-9), (uint64_t)ceil(r + 1e-9));
            sum += times[i];
        }
        /* Systematic sampling: a run as a whole is off by less than one copy at either end. */
        assert_true(fabs(sum - (double)runs[t].records * r) < 2);
    }
    free(times);
    wsl_order_close(&order);
}

static void runs_that_do_not_fit_are_refused(void **state)
{
    struct wsl_order_run runs[] = {{3, 1}, {4, 2}};
    struct wsl_order_setup setup = setup_of(SEED, 8);
    struct wsl_order order;

    (void)state;
    setup.runs = runs;
    setup.run_count = 2;
    assert_int_equal(wsl_order_open(&order, &setup, NULL), WSL_EINVAL);
    setup.records = 6;
    assert_int_equal(wsl_order_open(&order, &setup, NULL), WSL_EINVAL);
    setup.records = 7;
    runs[1].repeat = 0.5f;
    assert_int_equal(wsl_order_open(&order, &setup, NULL), WSL_EINVAL);
    runs[1].repeat = 2;
    runs[1].records = UINT64_MAX; /* of a damaged table */
    assert_int_equal(wsl_order_open(&order, &setup, NULL), WSL_EINVAL);
    setup.window = WSL_ORDER_WINDOW_PIECES - 1;
    assert_int_equal(wsl_order_open(&order, &setup, NULL), WSL_EINVAL);
}

/* ---- windows ---- */

static void windows_have_each_record_once(void **state)
{
    static const uint64_t sizes[] = {9, 100, RECORDS, 65536, 65537};
    static const uint64_t windows[] = {8, 9, 64, 1000, 65536};

    (void)state;
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t w = 0; w < sizeof windows / sizeof *windows; w++) {
            struct wsl_order_setup setup = setup_of(SEED, sizes[s]);
            uint32_t *times = malloc(sizes[s] * sizeof *times);
            struct wsl_order order;

            setup.window = windows[w];
            order = open_setup(&setup);
            for (uint64_t epoch = 0; epoch < 3; epoch++) {
                count_epoch(&order, epoch, times);
                for (uint64_t i = 0; i < sizes[s]; i++)
                    assert_int_equal(times[i], 1);
            }
            free(times);
        }
}

/* A window reads from few places of the data set, and from others in each epoch. */
static void a_window_is_eight_pieces_of_neighbours(void **state)
{
    enum { MANY = 1 << 20, WINDOW = 1 << 13, PIECE = WINDOW / WSL_ORDER_WINDOW_PIECES };
    struct wsl_order_setup setup = setup_of(SEED, MANY);
    struct wsl_order order;
    uint8_t touched[2][MANY / PIECE] = {{0}};
    int places[2] = {0}, both = 0;

    (void)state;
    setup.window = WINDOW;
    order = open_setup(&setup);
    for (uint64_t epoch = 0; epoch < 2; epoch++) {
        for (uint64_t i = 0; i < WINDOW; i++)
            touched[epoch][wsl_order_record(&order, epoch * MANY + 3 * WINDOW + i) / PIECE] = 1;
        for (int i = 0; i < MANY / PIECE; i++)
            places[epoch] += touched[epoch][i];
        /* Each piece lies across at most two of the grid's. */
        assert_in_range(places[epoch], WSL_ORDER_WINDOW_PIECES, 2 * WSL_ORDER_WINDOW_PIECES);
    }
    for (int i = 0; i < MANY / PIECE; i++)
        both += touched[0][i] && touched[1][i];
    assert_in_range(both, 0, 4);
}

static void windows_keep_the_multiplicities(void **state)
{
    struct wsl_order_run runs[] = {{700, 1}, {300, 2.5f}, {9, 20}};
    struct wsl_order_setup setup = setup_of(SEED, RECORDS);
    uint32_t times[RECORDS];
    struct wsl_order order;

    (void)state;
    setup.runs = runs;
    setup.run_count = 3;
    setup.window = 100;
    order = open_setup(&setup);
    for (uint64_t epoch = 0; epoch < 4; epoch++) {
        count_epoch(&order, epoch, times);
        for (int i = 0; i < RECORDS; i++) {
            uint32_t least = i < 700 ? 1 : i < 1000 ? 2 : 20;

            assert_in_range(times[i], least, least + (i >= 700 && i < 1000));
        }
    }
    wsl_order_close(&order);
}

/* ---- statistics ---- */

/* Over many seeds each record is as often at each place: chi-square of the places of one record,
 * of the record at one place, and of the differences of neighbours. 63 degrees of freedom: mean
 * 63, deviation 11.2; 126 has probability 1e-5. */
static void seeds_spread_records_evenly(void **state)
{
    enum { N = 64, SEEDS = 6400 };
    const double expected = (double)SEEDS / N;
    double first[N] = {0}, where[N] = {0}, difference[N] = {0}, chi[3] = {0};

    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        struct wsl_order order = open_order(seed, N, NULL);
        uint64_t a = wsl_order_record(&order, 0), b = wsl_order_record(&order, 1);

        first[a]++;
        difference[(b - a) % N]++;
        for (uint64_t i = 0; i < N; i++)
            if (wsl_order_record(&order, i) == 17)
                where[i]++;
    }
    assert_true(difference[0] == 0);
    for (int i = 0; i < N; i++) {
        double away = difference[i] - (double)SEEDS / (N - 1);

        chi[0] += (first[i] - expected) * (first[i] - expected) / expected;
        chi[1] += (where[i] - expected) * (where[i] - expected) / expected;
        chi[2] += i > 0 ? away * away / ((double)SEEDS / (N - 1)) : 0;
    }
    for (int i = 0; i < 3; i++)
        if (chi[i] > 126)
            fail_msg("chi-square %d is %g, 63 expected", i, chi[i]);
}

/* A seed has 64 bits, and is not added to the epoch. */
static void each_bit_of_the_seed_matters(void **state)
{
    struct wsl_order zero = open_order(0, RECORDS, NULL);
    struct wsl_order one = open_order(1, RECORDS, NULL);

    (void)state;
    for (int bit = 0; bit < 64; bit++) {
        struct wsl_order order = open_order((uint64_t)1 << bit, RECORDS, NULL);

        assert_true(same_places(&zero, 0, &order, 0) < 9);
    }
    assert_true(same_places(&one, 0, &zero, RECORDS) < 9); /* (1, epoch 0), (0, epoch 1) */
}

/* The example of storage/sampling/README.md. */
static void the_worked_example(void **state)
{
    struct wsl_order_run runs[] = {{6, 1}, {2, 2.5f}};
    static const uint64_t expected[] = {7, 7, 6, 6, 3, 4, 1, 2, 7, 5, 0, /* epoch 0 */
                                        4, 0, 6, 5, 3, 2, 6, 1, 7, 6, 7};
    struct wsl_order_setup setup = setup_of(1, 8);
    struct wsl_order order;

    (void)state;
    setup.runs = runs;
    setup.run_count = 2;
    order = open_setup(&setup);
    assert_int_equal(order.length, 11);
    for (uint64_t i = 0; i < 22; i++)
        assert_int_equal(wsl_order_record(&order, i), expected[i]);
    wsl_order_close(&order);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_names_the_records_of_the_runs),
        cmocka_unit_test(three_and_a_half_billion_pictures_fit),
        cmocka_unit_test(millions_of_positions_are_exact),
        cmocka_unit_test(runs_that_do_not_fit_are_refused),
        cmocka_unit_test(windows_have_each_record_once),
        cmocka_unit_test(a_window_is_eight_pieces_of_neighbours),
        cmocka_unit_test(windows_keep_the_multiplicities),
        cmocka_unit_test(seeds_spread_records_evenly),
        cmocka_unit_test(each_bit_of_the_seed_matters),
        cmocka_unit_test(the_worked_example),
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
