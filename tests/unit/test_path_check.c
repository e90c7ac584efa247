/* SPDX-License-Identifier: Apache-2.0
 *
 * The worker's look at a job's paths: what is a data set and what a checkpoint, how answers come to
 * the loop, and what happens when too many are asked for.
 */
#include "base/file.h"
#include "daemon/worker/path_check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static char root[] = "/tmp/wsl-test-paths-XXXXXX";

static const char *path(const char *name)
{
    static char text[200];

    snprintf(text, sizeof text, "%s/%s", root, name);
    return text;
}

static void make_file(const char *name)
{
    FILE *file = fopen(path(name), "w");

    assert_non_null(file);
    fclose(file);
}

static void make_directory(const char *name)
{
    assert_int_equal(mkdir(path(name), 0777), 0);
}

static int make_root(void **state)
{
    (void)state;
    if (!mkdtemp(root))
        return -1;
    make_directory("set");
    make_file("set/dataset.json");
    make_directory("empty");
    make_directory("step-1");
    make_file("step-1/model.safetensors");
    make_directory("job");
    make_directory("job/step-1");
    make_file("weights.safetensors");
    make_file("notes.txt");
    return 0;
}

static int remove_root(void **state)
{
    (void)state;
    return wsl_file_remove_tree(root, NULL);
}

static void expect_data(const char *name, const char *wanted)
{
    char problem[WSL_PATH_PROBLEM];

    wsl_path_check_data(path(name), problem);
    assert_string_equal(problem, wanted);
}

static void expect_init(const char *name, const char *wanted)
{
    char problem[WSL_PATH_PROBLEM];

    wsl_path_check_init(path(name), problem);
    assert_string_equal(problem, wanted);
}

static void what_is_a_data_set(void **state)
{
    (void)state;
    expect_data("set", "");
    expect_data("nothing", "no such directory");
    expect_data("notes.txt", "not a directory");
    expect_data("notes.txt/below", "Not a directory");
    expect_data("empty", "not a data set (it has no dataset.json)");
}

static void what_is_a_checkpoint(void **state)
{
    (void)state;
    expect_init("step-1", "");
    expect_init("job", "");
    expect_init("weights.safetensors", "");
    expect_init("nothing", "no such checkpoint");
    expect_init("nothing.safetensors", "no such checkpoint");
    expect_init("notes.txt", "neither a checkpoint's directory nor a .safetensors file");
    expect_init("empty", "not a checkpoint (it has no model.safetensors)");
}

struct answers {
    size_t count, asked;
    uint64_t ids; /* their sum */
    struct wsl_path_answer last;
    struct wsl_path_checks *checks;
};

static void on_answer(void *context, const struct wsl_path_answer *answer)
{
    struct answers *a = context;

    a->count++;
    a->ids += answer->id;
    a->last = *answer;
    if (a->count == a->asked)
        wsl_path_checks_close(a->checks);
}

static void answers_come_to_the_loop(void **state)
{
    struct answers a = {.asked = 1};
    uv_loop_t loop;

    (void)state;
    uv_loop_init(&loop);
    assert_int_equal(wsl_path_checks_open(&a.checks, &loop, on_answer, &a, NULL), 0);
    assert_int_equal(wsl_path_checks_ask(a.checks, 7, path("empty"), "/nowhere", NULL), 0);
    assert_int_equal(a.count, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(a.count, 1);
    assert_int_equal(a.last.id, 7);
    assert_false(a.last.unknown);
    assert_string_equal(a.last.data, "not a data set (it has no dataset.json)");
    assert_string_equal(a.last.init, "no such checkpoint");
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* Their answers lie in the pipe until the loop runs: as far as it knows, all are still looking. */
static void questions_have_a_limit(void **state)
{
    struct answers a = {.asked = WSL_PATH_CHECKS_MAX};
    struct wsl_err err = {0};
    uv_loop_t loop;
    uint64_t sum = 0;

    (void)state;
    uv_loop_init(&loop);
    assert_int_equal(wsl_path_checks_open(&a.checks, &loop, on_answer, &a, NULL), 0);
    for (uint64_t id = 1; id <= WSL_PATH_CHECKS_MAX; id++) {
        sum += id;
        assert_int_equal(wsl_path_checks_ask(a.checks, id, path("set"), "", NULL), 0);
    }
    assert_int_equal(wsl_path_checks_ask(a.checks, 99, path("set"), "", &err), WSL_ELIMIT);
    assert_string_equal(err.text, "16 paths are being looked at already");
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(a.ids, sum);
    assert_string_equal(a.last.data, "");
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void closing_does_not_wait(void **state)
{
    struct answers a = {.asked = 100};
    uv_loop_t loop;

    (void)state;
    uv_loop_init(&loop);
    assert_int_equal(wsl_path_checks_open(&a.checks, &loop, on_answer, &a, NULL), 0);
    assert_int_equal(wsl_path_checks_ask(a.checks, 1, path("set"), "", NULL), 0);
    wsl_path_checks_close(a.checks);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(a.count, 0);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_a_data_set),       cmocka_unit_test(what_is_a_checkpoint),
        cmocka_unit_test(answers_come_to_the_loop), cmocka_unit_test(questions_have_a_limit),
        cmocka_unit_test(closing_does_not_wait),
    };

    return cmocka_run_group_tests(tests, make_root, remove_root);
}
