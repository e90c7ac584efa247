/* SPDX-License-Identifier: Apache-2.0
 *
 * The coordinator's question about a job's paths, with workers and a clock that the test plays.
 */
#include "daemon/coordinator/coordinator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

struct worker {
    const char *name;
    uint32_t slots;
    bool old; /* it does not know the question */
};

static struct fixture {
    struct wsl_coordinator co;
    int64_t now;
    const struct worker *workers;
    size_t questions;
    char data[100], init[100];
    size_t answers; /* of wsl_data_check_start() */
    int code;
    char text[500];
} f;

static int64_t fake_now(void)
{
    return f.now;
}

void wsl_workers_ask(struct wsl_coordinator *co, const Wsl__V1__CoordinatorMessage *message,
                     void (*each)(void *context, const char *node, uint32_t slots, bool asked),
                     void *context)
{
    assert_ptr_equal(co, &f.co);
    f.questions++;
    snprintf(f.data, sizeof f.data, "%s", message->check->data);
    snprintf(f.init, sizeof f.init, "%s", message->check->init);
    for (size_t i = 0; f.workers && f.workers[i].name; i++)
        each(context, f.workers[i].name, f.workers[i].slots, !f.workers[i].old);
}

static int open_fixture(void **state)
{
    (void)state;
    f = (struct fixture){.co = {.now = fake_now, .session_count = 64}};
    return 0;
}

static int close_fixture(void **state)
{
    (void)state;
    wsl_data_check_free(&f.co);
    return f.co.check_count == 0 && !f.co.checks ? 0 : -1;
}

static void on_checked(void *context, const struct wsl_err *err, const char *note)
{
    (void)context;
    f.answers++;
    f.code = err ? err->code : 0;
    snprintf(f.text, sizeof f.text, "%s", err ? err->text : note);
}

static void check(const char *data, const char *init, uint32_t world)
{
    Wsl__V1__JobSpec spec = WSL__V1__JOB_SPEC__INIT;
    Wsl__V1__Init from = WSL__V1__INIT__INIT;

    f.text[0] = '\0';
    f.answers = 0;
    spec.data = (char *)data;
    spec.world = world;
    from.from_case = WSL__V1__INIT__FROM_CHECKPOINT;
    from.checkpoint = (char *)init;
    spec.init = init ? &from : NULL;
    wsl_data_check_start(&f.co, &spec, on_checked, NULL);
}

static void answer(const char *node, const char *data, const char *init)
{
    Wsl__V1__PathsChecked paths = WSL__V1__PATHS_CHECKED__INIT;

    paths.id = f.co.next_check;
    paths.data = (char *)data;
    paths.init = (char *)init;
    wsl_data_check_answer(&f.co, node, &paths);
}

static void expect(int code, const char *text)
{
    assert_int_equal(f.answers, 1);
    assert_string_equal(f.text, text);
    assert_int_equal(f.code, code);
}

static const struct worker two[] = {{.name = "b", .slots = 2}, {.name = "a", .slots = 1}, {0}};

static void all_workers_have_it(void **state)
{
    (void)state;
    f.workers = two;
    check("/d", "/w/step-1", 3);
    assert_string_equal(f.data, "/d");
    assert_string_equal(f.init, "/w/step-1");
    answer("a", "", "");
    assert_int_equal(f.answers, 0);
    answer("b", "", "");
    expect(0, "");
}

static void no_worker_has_it(void **state)
{
    (void)state;
    f.workers = two;
    check("/d", NULL, 1);
    answer("b", "no such directory", "");
    answer("a", "no such directory", "");
    expect(WSL_EINVAL, "data: /d: no such directory on workers a, b; put it there, or submit with "
                       "--no-data-check");
    check("/d", "/w", 1); /* a bad result is not kept: the next one asks anew */
    assert_int_equal(f.questions, 2);
    answer("b", "", "no such checkpoint");
    answer("a", "", "no such checkpoint");
    expect(WSL_EINVAL, "init: /w: no such checkpoint on workers a, b; put it there, or submit with "
                       "--no-data-check");
}

static void those_that_have_it_must_have_the_slots(void **state)
{
    (void)state;
    f.workers = two;
    check("/d", NULL, 2);
    answer("a", "no such directory", "");
    answer("b", "", "");
    expect(0, "data: /d: no such directory on worker a; the job fails if it is placed there");
    check("/d", NULL, 3);
    answer("a", "no such directory", "");
    answer("b", "", "");
    expect(WSL_EINVAL, "data: /d: no such directory on worker a, and the others have 2 of the 3 "
                       "slots needed; put it there, or submit with --no-data-check");
}

static void a_silent_worker_may_have_it(void **state)
{
    (void)state;
    f.workers = two;
    check("/d", NULL, 3);
    answer("a", "", "");
    f.now = 4999;
    wsl_data_check_tick(&f.co);
    assert_int_equal(f.answers, 0);
    f.now = 5000;
    wsl_data_check_tick(&f.co);
    expect(0, "the data was not checked on 1 of 2 workers: no answer from b");
    answer("b", "no such directory", ""); /* too late: nobody asks any more */
    assert_int_equal(f.answers, 1);
}

static void a_worker_that_leaves_is_not_waited_for(void **state)
{
    (void)state;
    f.workers = two;
    check("/d", NULL, 1);
    answer("a", "", "");
    wsl_data_check_node_left(&f.co, "b");
    expect(0, "the data was not checked on 1 of 2 workers: no answer from b");
}

static void workers_that_cannot_be_asked(void **state)
{
    static const struct worker old[] = {{.name = "a", .slots = 1, .old = true}, {0}};

    (void)state;
    check("/d", NULL, 1); /* sessions without a hello */
    expect(0, "the data was not checked: no worker is connected");
    f.workers = old;
    check("/d", NULL, 1);
    expect(0, "the data was not checked on 1 of 1 workers: no answer from a");
    f.co.session_count = 0;
    check("/d", NULL, 1);
    expect(0, "the data was not checked: no worker is connected");
}

static void one_question_for_many_submissions(void **state)
{
    (void)state;
    f.workers = two;
    for (int i = 0; i < 50; i++)
        check("/d", NULL, 1);
    assert_int_equal(f.questions, 1);
    answer("a", "", "");
    answer("b", "", "");
    assert_int_equal(f.answers, 50);
    check("/d", NULL, 1); /* at once, of what is known */
    expect(0, "");
    assert_int_equal(f.questions, 1);
    f.now = 2000; /* but not for long */
    wsl_data_check_tick(&f.co);
    check("/d", NULL, 1);
    assert_int_equal(f.questions, 2);
}

static void questions_have_a_limit(void **state)
{
    char data[20];

    (void)state;
    f.workers = two;
    for (int i = 0; i < 256; i++) {
        snprintf(data, sizeof data, "/d%d", i);
        check(data, NULL, 1);
        assert_int_equal(f.answers, 0);
    }
    check("/more", NULL, 1);
    expect(0, "the data was not checked: too many checks are under way");
    f.answers = 0;
    wsl_data_check_free(&f.co); /* whoever waits hears of the end */
    assert_int_equal(f.answers, 256);
    assert_int_equal(f.code, WSL_ECANCELLED);
}

static void long_texts_keep_the_remedy(void **state)
{
    static char names[40][65], path[900];
    static struct worker many[41];

    (void)state;
    memset(path, 'p', sizeof path - 1);
    for (int i = 0; i < 40; i++) {
        snprintf(names[i], sizeof names[i], "worker-with-quite-a-long-name-%02d", i);
        many[i] = (struct worker){.name = names[i], .slots = 1};
    }
    f.workers = many;
    check(path, NULL, 1);
    for (int i = 0; i < 40; i++)
        answer(names[i], "no such directory", "");
    assert_int_equal(f.code, WSL_EINVAL);
    assert_non_null(strstr(f.text, " on workers worker-with-quite-a-long-name-00, "));
    assert_non_null(
        strstr(f.text, "-02 and 37 more; put it there, or submit with --no-data-check"));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, open_fixture, close_fixture)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_workers_have_it),
        TEST(no_worker_has_it),
        TEST(those_that_have_it_must_have_the_slots),
        TEST(a_silent_worker_may_have_it),
        TEST(a_worker_that_leaves_is_not_waited_for),
        TEST(workers_that_cannot_be_asked),
        TEST(one_question_for_many_submissions),
        TEST(questions_have_a_limit),
        TEST(long_texts_keep_the_remedy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
