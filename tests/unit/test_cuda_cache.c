/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend's file of plans, and how it cuts an update into segments. Needs no CUDA. */
#include "kernels/cuda/plan_cache.h"
#include "kernels/cuda/segments.h"

#include "base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GPU     "A GPU, 141 GB"
#define VERSION 91900

static char directory[64], path[WSL_CUDA_CACHE_PATH];

static int make_directory(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "/tmp/wsl-cuda-cache-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    return wsl_file_remove_tree(directory, NULL);
}

static void open_cache(struct wsl_cuda_cache *cache, size_t version)
{
    struct wsl_err err = {0};

    wsl_cuda_cache_path(directory, GPU, VERSION, path);
    if (wsl_cuda_cache_init(cache, path, GPU, version, &err))
        fail_msg("%s", err.text);
}

static void write_two(void)
{
    struct wsl_cuda_cache cache;
    struct wsl_err err = {0};

    remove(path);
    open_cache(&cache, VERSION);
    assert_int_equal(wsl_cuda_cache_put(&cache, "forward a", "{\"engine\": 1}", &err), 0);
    assert_int_equal(wsl_cuda_cache_put(&cache, "data b", "{\"engine\": 2}", &err), 0);
    assert_int_equal(wsl_cuda_cache_put(&cache, "forward a", "{\"engine\": 3}", &err), 0);
    if (wsl_cuda_cache_save(&cache, &err))
        fail_msg("%s", err.text);
    wsl_cuda_cache_fini(&cache);
}

static void test_kept_and_found(void **state)
{
    struct wsl_cuda_cache cache;

    (void)state;
    write_two();
    open_cache(&cache, VERSION);
    assert_int_equal(cache.count, 2);
    assert_string_equal(wsl_cuda_cache_find(&cache, "forward a"), "{\"engine\": 3}");
    assert_string_equal(wsl_cuda_cache_find(&cache, "data b"), "{\"engine\": 2}");
    assert_null(wsl_cuda_cache_find(&cache, "data"));
    assert_false(cache.changed);
    wsl_cuda_cache_fini(&cache);
}

static void test_other_version_is_not_read(void **state)
{
    struct wsl_cuda_cache cache;

    (void)state;
    write_two();
    open_cache(&cache, VERSION + 1);
    assert_int_equal(cache.count, 0);
    wsl_cuda_cache_fini(&cache);
}

/* Whatever byte is changed, and wherever the file ends: what is found is what was put, or nothing.
 */
static void check_remains(void)
{
    struct wsl_cuda_cache cache;
    const char *a, *b;

    open_cache(&cache, VERSION);
    a = wsl_cuda_cache_find(&cache, "forward a");
    b = wsl_cuda_cache_find(&cache, "data b");
    assert_true(!a || strcmp(a, "{\"engine\": 3}") == 0);
    assert_true(!b || strcmp(b, "{\"engine\": 2}") == 0);
    assert_in_range(cache.count, 0, 2);
    assert_false(a && b);
    wsl_cuda_cache_fini(&cache);
}

/* Not the tree's careful way to write: there are hundreds of them. */
static void write_damaged(const void *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void test_damage(void **state)
{
    static const uint8_t wrong[] = {0, '\t', '\n', 0xff, 'x'};
    struct wsl_buf file = {0};
    struct wsl_err err = {0};

    (void)state;
    write_two();
    assert_int_equal(wsl_file_read(path, 1 << 16, &file, &err), 0);
    for (size_t i = 0; i < file.size; i++) {
        uint8_t right = file.data[i];

        write_damaged(file.data, i);
        check_remains();
        for (size_t k = 0; k < sizeof wrong; k++) {
            if (wrong[k] == right)
                continue;
            file.data[i] = wrong[k];
            write_damaged(file.data, file.size);
            check_remains();
        }
        file.data[i] = right;
    }
    wsl_buf_free(&file);
}

static void test_where_it_lies(void **state)
{
    char where[WSL_CUDA_CACHE_PATH], long_name[WSL_CUDA_CACHE_PATH];

    (void)state;
    wsl_cuda_cache_path("/x", "NVIDIA H200", 91900, where);
    assert_string_equal(where, "/x/cuda-nvidia-h200-cudnn91900.plans");
    memset(long_name, 'd', sizeof long_name - 20);
    long_name[sizeof long_name - 20] = '\0';
    wsl_cuda_cache_path(long_name, "NVIDIA H200", 91900, where);
    assert_string_equal(where, ""); /* does not fit */
    wsl_cuda_cache_path("none", "NVIDIA H200", 91900, where);
    assert_string_equal(where, "");
    setenv("XDG_CACHE_HOME", "/c", 1);
    wsl_cuda_cache_path(NULL, "NVIDIA H200", 91900, where);
    assert_string_equal(where, "/c/wsl/cuda-nvidia-h200-cudnn91900.plans");
    unsetenv("XDG_CACHE_HOME");
    setenv("HOME", "/h", 1);
    wsl_cuda_cache_path(NULL, "NVIDIA H200", 91900, where);
    assert_string_equal(where, "/h/.cache/wsl/cuda-nvidia-h200-cudnn91900.plans");
}

static void test_cannot_be_written(void **state)
{
    struct wsl_cuda_cache cache;
    struct wsl_err err = {0};

    (void)state;
    if (wsl_cuda_cache_init(&cache, "/proc/no/such/place.plans", GPU, VERSION, &err))
        fail_msg("%s", err.text);
    assert_int_equal(wsl_cuda_cache_put(&cache, "forward a", "{}", &err), 0);
    assert_true(wsl_cuda_cache_save(&cache, &err) < 0);
    assert_string_equal(wsl_cuda_cache_find(&cache, "forward a"), "{}");
    wsl_cuda_cache_fini(&cache);
}

/* ---- segments ---- */

#define VALUES 40

static uint32_t roll(uint64_t *state, uint32_t below)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33) % below;
}

/* Random ranges and copies: every value of a range comes once, with its rule and its copy. */
static void check_cut(uint64_t seed)
{
    uint16_t working[VALUES] = {0};
    struct wsl_cuda_copy copies[4];
    struct wsl_range ranges[4];
    struct wsl_sgd sgd = {.ranges = ranges, .weight_decay = 0.5f};
    size_t copy_count = 0;
    int seen[VALUES] = {0}, wanted[VALUES] = {0}, most = 1 + (int)roll(&seed, 3), n;
    struct wsl_cuda_segment segments[3];
    struct wsl_cuda_cut cut = {0};

    for (size_t at = roll(&seed, 4), i = 0; i < 4 && at < VALUES; i++, at += roll(&seed, 3)) {
        size_t count = roll(&seed, (uint32_t)(VALUES - at) / 2 + 1);

        ranges[sgd.range_count++] = (struct wsl_range){at, count, roll(&seed, 2)};
        for (size_t k = at; k < at + count; k++)
            wanted[k] = ranges[i].decay ? 2 : 1;
        at += count;
    }
    for (size_t at = roll(&seed, 6), i = 0; i < 4 && at < VALUES; i++, at += roll(&seed, 9)) {
        size_t count = 1 + roll(&seed, (uint32_t)(VALUES - at));

        copies[3 - i] = (struct wsl_cuda_copy){at, count, working + at};
        copy_count++;
        at += count;
    }
    while ((n = wsl_cuda_cut_next(&cut, &sgd, copies + 4 - copy_count, copy_count, segments,
                                  most)) > 0)
        for (int i = 0; i < n; i++)
            for (size_t k = 0; k < segments[i].count; k++) {
                size_t at = segments[i].begin + k;
                bool copied = false;

                for (size_t c = 4 - copy_count; c < 4; c++)
                    copied |= at >= copies[c].begin && at < copies[c].begin + copies[c].count;
                assert_true(at < VALUES);
                seen[at] += segments[i].decay > 0 ? 2 : 1;
                assert_ptr_equal(segments[i].working ? segments[i].working + k : NULL,
                                 copied ? working + at : NULL);
            }
    for (int k = 0; k < VALUES; k++)
        assert_int_equal(seen[k], wanted[k]);
}

static void test_segments(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2000; seed++)
        check_cut(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_and_found),
        cmocka_unit_test(test_other_version_is_not_read),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_where_it_lies),
        cmocka_unit_test(test_cannot_be_written),
        cmocka_unit_test(test_segments),
    };

    return cmocka_run_group_tests_name("cuda_cache", tests, make_directory, remove_directory);
}
