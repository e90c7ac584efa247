/* SPDX-License-Identifier: Apache-2.0
 *
 * Data sets merged, and parts of them; on made-up records.
 */
#include "base/file.h"
#include "storage/dataset/dataset_writer.h"
#include "storage/derive/merge.h"
#include "storage/derive/view.h"
#include "tests/unit/checked_set.h"
#include "tests/unit/tag_sets.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TRAIN = 100, HELDOUT = 20, OVERLAP = 30, MOVED = 10 };

static const char *const names_a[] = {"dog", "cat", "crane"};
static const char *const synsets_a[] = {"n02084071", "", "n03126707"};
static const char *const names_b[] = {"hound", "cat", "crane", "bird"};
static const char *const synsets_b[] = {"n02084071", "n02121620", "n02012849", ""};

static size_t tags_of_a(uint64_t record, uint32_t tags[64])
{
    tags[0] = record % 3 == 0 ? 0 : record % 3 == 1 ? 1 : 2;
    return 1;
}

static size_t tags_of_b(uint64_t record, uint32_t tags[64])
{
    tags[0] = (uint32_t)(record % 3);
    tags[1] = 3;
    return 2;
}

static size_t one_of_b(uint64_t record, uint32_t tags[64])
{
    tags[0] = (uint32_t)(record % 2);
    return 1;
}

struct fixture {
    char folder[64], a[80], b[80], out[80];
    struct wsl_dataset *sets[2];
};

/* B's training records are the last OVERLAP of A's and others; MOVED of its held-out ones are
 * training records of A. */
static int make(void **state)
{
    static const struct tag_set a = {.tags = names_a,
                                     .tag_count = 3,
                                     .train = TRAIN,
                                     .heldout = HELDOUT,
                                     .tags_of = tags_of_a,
                                     .synsets = synsets_a};
    static const struct tag_set b = {.tags = names_b,
                                     .tag_count = 4,
                                     .train = TRAIN,
                                     .heldout = MOVED,
                                     .tags_of = tags_of_b,
                                     .first = TRAIN - OVERLAP,
                                     .first_heldout = 1,
                                     .synsets = synsets_b};
    struct fixture *f = calloc(1, sizeof *f);

    strcpy(f->folder, "/tmp/wsl-test-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->a, sizeof f->a, "%s/a", f->folder);
    snprintf(f->b, sizeof f->b, "%s/b", f->folder);
    snprintf(f->out, sizeof f->out, "%s/out", f->folder);
    make_tag_set(f->a, &a);
    make_tag_set(f->b, &b);
    f->sets[0] = open_set(f->a);
    f->sets[1] = open_set(f->b);
    *state = f;
    return 0;
}

static int clear(void **state)
{
    struct fixture *f = *state;

    wsl_dataset_close(f->sets[0]);
    wsl_dataset_close(f->sets[1]);
    wsl_file_remove_tree(f->folder, NULL);
    free(f);
    return 0;
}

static struct wsl_merge_setup merge_setup(const struct fixture *f)
{
    return (struct wsl_merge_setup){
        .datasets = f->sets, .count = 2, .output = f->out, .heldout = -1};
}

static int find(const struct wsl_dataset *ds, const char *synset, const char *name)
{
    for (size_t t = 0; t < wsl_dataset_tag_count(ds); t++)
        if (strcmp(wsl_dataset_tag(ds, t)->synset, synset) == 0 &&
            (!name || strcmp(wsl_dataset_tag(ds, t)->name, name) == 0))
            return (int)t;
    fail_msg("no tag %s %s", synset, name ? name : "");
    return -1;
}

static bool has(const struct wsl_record *record, int tag)
{
    for (int i = 0; i < record->tag_count; i++)
        if ((int)record->tags[i] == tag)
            return true;
    return false;
}

/* A's records by number, and B's: which tags of the union a record must have. */
static void check_record(const struct wsl_dataset *ds, const struct wsl_record *r)
{
    uint64_t n = r->pixel_hash;
    bool in_a = n < TRAIN || n >= 1000000;
    bool in_b = (n >= TRAIN - OVERLAP && n < 2 * TRAIN - OVERLAP) || (n >= 1 && n <= MOVED);

    assert_int_equal(has(r, find(ds, "n02084071", "dog")), n % 3 == 0);
    assert_int_equal(has(r, find(ds, "n02121620", "cat")), n % 3 == 1);
    assert_int_equal(has(r, find(ds, "n03126707", "crane")), in_a && n % 3 == 2);
    assert_int_equal(has(r, find(ds, "n02012849", "crane")), in_b && n % 3 == 2);
    assert_int_equal(has(r, find(ds, "", "bird")), in_b);
}

static void merged_sets_have_the_records_and_tags_of_both(void **state)
{
    struct fixture *f = *state;
    struct wsl_merge_setup setup = merge_setup(f);
    struct wsl_merge_result result;
    struct wsl_dataset *ds;
    uint64_t counts[5] = {0};
    char again[96];
    struct wsl_err err;

    if (wsl_merge(&setup, &result, &err) < 0)
        fail_msg("%s", err.text);
    assert_int_equal(result.duplicates, OVERLAP + MOVED);
    assert_int_equal(result.moved_to_heldout, MOVED);
    assert_int_equal(result.label_conflicts, 0);
    assert_int_equal(result.train, 2 * TRAIN - OVERLAP - MOVED);
    assert_int_equal(result.heldout, HELDOUT + MOVED);
    assert_int_equal(result.tags, 5); /* dog and hound are one; a crane is not a crane */
    ds = open_set(f->out);
    assert_string_equal(wsl_dataset_kind(ds), "tags");
    assert_int_equal(check_set(f->out).bad, 0);
    for (int s = 0; s < 2; s++)
        for (uint64_t i = 0; i < wsl_dataset_count(ds, (enum wsl_split)s); i++) {
            struct wsl_record r;

            assert_int_equal(wsl_dataset_read(ds, (enum wsl_split)s, i, &r, NULL), 0);
            check_record(ds, &r);
            assert_int_equal(s == WSL_SPLIT_HELDOUT,
                             r.pixel_hash >= 1000000 ||
                                 (r.pixel_hash >= 1 && r.pixel_hash <= MOVED));
            for (int k = 0; s == 0 && k < r.tag_count; k++)
                counts[r.tags[k]]++;
        }
    for (size_t t = 0; t < 5; t++) {
        assert_int_equal(wsl_dataset_tag(ds, t)->train, counts[t]);
        assert_true(t == 0 || counts[t] <= counts[t - 1]);
    }
    wsl_dataset_close(ds);
    snprintf(again, sizeof again, "%s/again", f->folder);
    setup.output = again;
    assert_int_equal(wsl_merge(&setup, &result, NULL), 0);
    ds = open_set(again);
    assert_string_equal(wsl_dataset_fingerprint(ds), result.fingerprint);
    wsl_dataset_close(ds);
    assert_int_equal(wsl_merge(&setup, &result, NULL), WSL_EEXIST);
}

static void labels_in_conflict_keep_the_first(void **state)
{
    struct fixture *f = *state;
    static const struct tag_set a = {
        .tags = names_a, .tag_count = 3, .train = 30, .tags_of = tags_of_a, .kind = "labels"};
    static const struct tag_set b = {
        .tags = names_b, .tag_count = 4, .train = 30, .tags_of = one_of_b, .kind = "labels"};
    char path_a[96], path_b[96];
    struct wsl_dataset *sets[2];
    struct wsl_merge_setup setup = {.datasets = sets, .count = 2, .output = f->out, .heldout = -1};
    struct wsl_merge_result result;
    struct wsl_dataset *ds;
    uint64_t differing = 0;

    snprintf(path_a, sizeof path_a, "%s/labels-a", f->folder);
    snprintf(path_b, sizeof path_b, "%s/labels-b", f->folder);
    make_tag_set(path_a, &a);
    make_tag_set(path_b, &b);
    sets[0] = open_set(path_a);
    sets[1] = open_set(path_b);
    for (uint64_t i = 0; i < 30; i++) {
        uint32_t x[64], y[64];

        tags_of_a(i, x);
        one_of_b(i, y);
        differing += strcmp(names_a[x[0]], names_b[y[0]]) != 0;
    }
    assert_int_equal(wsl_merge(&setup, &result, NULL), 0);
    assert_int_equal(result.train, 30);
    assert_int_equal(result.label_conflicts, differing);
    ds = open_set(f->out);
    assert_string_equal(wsl_dataset_kind(ds), "labels");
    for (uint64_t i = 0; i < 30; i++) {
        struct wsl_record r;
        uint32_t first[64];

        assert_int_equal(wsl_dataset_read(ds, WSL_SPLIT_TRAIN, i, &r, NULL), 0);
        tags_of_a(r.pixel_hash, first);
        assert_int_equal(r.tag_count, 1);
        assert_string_equal(wsl_dataset_tag(ds, r.tags[0])->name, names_a[first[0]]);
    }
    wsl_dataset_close(ds);
    wsl_dataset_close(sets[0]);
    wsl_dataset_close(sets[1]);
}

static void another_share_is_held_out(void **state)
{
    struct fixture *f = *state;
    struct wsl_merge_setup setup = merge_setup(f);
    struct wsl_merge_result result;

    setup.count = 1;
    setup.heldout = 0.5;
    assert_int_equal(wsl_merge(&setup, &result, NULL), 0);
    assert_int_equal(result.train + result.heldout, TRAIN + HELDOUT);
    assert_int_equal(result.moved_to_heldout, 0);
    assert_in_range(result.heldout, 33, 87); /* binomial of 120: five deviations */
}

static void a_cancelled_merge_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct wsl_merge_setup setup = merge_setup(f);
    struct wsl_merge_result result;
    atomic_bool cancel = true;
    char partial[96];

    setup.cancel = &cancel;
    assert_int_equal(wsl_merge(&setup, &result, NULL), WSL_ECANCELLED);
    snprintf(partial, sizeof partial, "%s.partial", f->out);
    assert_false(wsl_file_exists(f->out) || wsl_file_exists(partial));
}

static void a_subset_is_nested_and_leaves_the_rest(void **state)
{
    static const double shares[] = {0.2, 0.6};
    struct fixture *f = *state;
    int times[3][TRAIN] = {{0}};

    for (int k = 0; k < 3; k++) {
        char path[96];
        struct wsl_view_setup setup = {.dataset = f->sets[0], .directory = f->a, .output = path};
        struct wsl_view_result result;
        struct wsl_dataset *view;

        snprintf(path, sizeof path, "%s/share-%d", f->folder, k);
        assert_int_equal(wsl_view_subset(&setup, shares[k > 0], k == 2, 4, &result, NULL), 0);
        view = open_set(path);
        assert_int_equal(result.heldout, HELDOUT);
        assert_int_equal(wsl_dataset_tag_count(view), 3);
        for (uint64_t i = 0; i < result.train; i++) {
            struct wsl_record r;

            assert_int_equal(wsl_dataset_read(view, WSL_SPLIT_TRAIN, i, &r, NULL), 0);
            times[k][r.pixel_hash]++;
        }
        wsl_dataset_close(view);
    }
    for (int i = 0; i < TRAIN; i++) {
        assert_true(times[0][i] <= times[1][i]);
        assert_int_equal(times[1][i] + times[2][i], 1);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, make, clear)
    const struct CMUnitTest tests[] = {
        CASE(merged_sets_have_the_records_and_tags_of_both),
        CASE(labels_in_conflict_keep_the_first),
        CASE(another_share_is_held_out),
        CASE(a_cancelled_merge_leaves_nothing),
        CASE(a_subset_is_nested_and_leaves_the_rest),
    };

    return cmocka_run_group_tests_name("merge", tests, NULL, NULL);
}
