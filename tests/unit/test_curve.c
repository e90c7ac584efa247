/* SPDX-License-Identifier: Apache-2.0
 *
 * The curve of a resampled data set and the audit of its epochs, on a made-up data set.
 */
#include "base/file.h"
#include "storage/sampling/curve.h"
#include "tests/unit/tag_sets.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { DOG, CAT, BIRD, CRANE, TAGS };
enum { TRAIN = 600, HELDOUT = 60 };

static const char *const names[TAGS] = {"dog", "cat", "bird", "crane"};

/* Half of the images have DOG, half CAT, a tenth BIRD, and 3 CRANE. */
static size_t tags_of(uint64_t record, uint32_t tags[64])
{
    uint64_t i = record % 1000000;
    size_t n = 0;

    tags[n++] = i % 2 == 0 ? DOG : CAT;
    if (i % 10 == 3)
        tags[n++] = BIRD;
    if (i % 200 == 11)
        tags[n++] = CRANE;
    return n;
}

static char directory[] = "/tmp/wsl-test-XXXXXX";

static int make(void **state)
{
    static const struct tag_set set = {
        .tags = names, .tag_count = TAGS, .train = TRAIN, .heldout = HELDOUT, .tags_of = tags_of};
    char data[64];

    if (!mkdtemp(directory))
        return -1;
    snprintf(data, sizeof data, "%s/data", directory);
    make_tag_set(data, &set);
    *state = open_set(data);
    return 0;
}

static int clear(void **state)
{
    wsl_dataset_close(*state);
    return wsl_file_remove_tree(directory, NULL);
}

static int run_audit(struct wsl_audit *ret, struct wsl_dataset *ds, struct wsl_sampling_rule *rule,
                     uint64_t epoch, struct wsl_curve *curve)
{
    const struct wsl_audit_setup setup = {
        .dataset = ds, .rule = rule, .seed = 5, .epoch = epoch, .expected = curve};

    return wsl_audit_run(ret, &setup, NULL);
}

static void the_curve_says_what_epochs_have(void **state)
{
    static const enum wsl_sampling kinds[] = {WSL_SAMPLING_NATURAL, WSL_SAMPLING_SQUARE_ROOT,
                                              WSL_SAMPLING_UNIFORM};
    struct wsl_dataset *ds = *state;
    double effective[3];

    for (int k = 0; k < 3; k++) {
        struct wsl_sampling_rule rule = {.kind = kinds[k], .threshold = 100};
        struct wsl_curve curve;
        double mean[TAGS] = {0};

        assert_int_equal(wsl_curve_open(&curve, ds, &rule, NULL), 0);
        for (uint64_t epoch = 0; epoch < 20; epoch++) {
            struct wsl_audit audit;

            assert_int_equal(run_audit(&audit, ds, &rule, epoch, &curve), 0);
            assert_int_equal(audit.length, curve.length);
            assert_int_equal(audit.missing + audit.unexpected + audit.substitutes, 0);
            assert_true(audit.chi_square < 3 * TAGS);
            for (int t = 0; t < TAGS; t++)
                mean[t] += (double)audit.drawn[t] / 20;
            wsl_audit_close(&audit);
        }
        for (int t = 0; t < TAGS; t++)
            assert_true(fabs(mean[t] - curve.draws[t]) <= 2);
        effective[k] = curve.effective;
        if (k == 0)
            assert_true(curve.length == TRAIN && curve.repeated == 0 && curve.max_repeats == 1);
        if (k == 2)
            assert_true(curve.max_repeats == 20); /* crane: 3 images, 100 / 3 over the cap */
        wsl_curve_close(&curve);
    }
    assert_true(effective[1] > effective[0]);
    assert_true(effective[2] > effective[0]);
}

static void a_threshold_is_found_for_a_length(void **state)
{
    struct wsl_dataset *ds = *state;
    struct wsl_sampling_rule rule = {.kind = WSL_SAMPLING_SQUARE_ROOT};
    struct wsl_curve curve;

    assert_int_equal(wsl_curve_threshold(ds, &rule, 900, NULL), 0);
    assert_int_equal(wsl_curve_open(&curve, ds, &rule, NULL), 0);
    assert_in_range(curve.length, 899, 901);
    wsl_curve_close(&curve);
    assert_int_equal(wsl_curve_threshold(ds, &rule, TRAIN - 1, NULL), WSL_EINVAL);
    assert_int_equal(wsl_curve_threshold(ds, &rule, 20 * TRAIN + 1, NULL), WSL_EINVAL);
}

/* A window or none, a table on disk or made: the same multiplicities. */
static void windows_have_the_same_repeats(void **state)
{
    struct wsl_dataset *ds = *state;
    struct wsl_sampling_rule rule = {
        .kind = WSL_SAMPLING_SQUARE_ROOT, .threshold = 100, .window = 64};
    struct wsl_curve curve;
    struct wsl_audit audit;

    assert_int_equal(wsl_curve_open(&curve, ds, &rule, NULL), 0);
    for (uint64_t epoch = 0; epoch < 5; epoch++) {
        assert_int_equal(run_audit(&audit, ds, &rule, epoch, &curve), 0);
        assert_int_equal(audit.missing + audit.unexpected, 0);
        assert_int_equal(audit.length, curve.length);
        wsl_audit_close(&audit);
    }
    wsl_curve_close(&curve);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_curve_says_what_epochs_have),
        cmocka_unit_test(a_threshold_is_found_for_a_length),
        cmocka_unit_test(windows_have_the_same_repeats),
    };

    return cmocka_run_group_tests_name("curve", tests, make, clear);
}
