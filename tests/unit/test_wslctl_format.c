/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"
#include "client/wslctl/format.h"
#include "client/wslctl/json.h"
#include "client/wslctl/progress.h"
#include "client/wslctl/table.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_duration(void **state)
{
    static const struct {
        double seconds;
        const char *text;
    } cases[] = {
        {0, "0s"},         {0.4, "0s"},     {59.4, "59s"},   {59.6, "1m00s"},   {192, "3m12s"},
        {3599, "59m59s"},  {3600, "1h00m"}, {7500, "2h05m"}, {86399, "23h59m"}, {86400, "1d00h"},
        {273600, "3d04h"}, {-1, "-"},       {NAN, "-"},      {INFINITY, "-"},   {1e300, "-"},
    };
    char text[WSL_CTL_TEXT];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wsl_ctl_duration(cases[i].seconds, text);
        assert_string_equal(text, cases[i].text);
    }
    wsl_ctl_between(1000, 13000, text);
    assert_string_equal(text, "12s");
    wsl_ctl_between(13000, 1000, text);
    assert_string_equal(text, "0s");
    wsl_ctl_between(0, 1000, text);
    assert_string_equal(text, "-");
}

static void test_numbers(void **state)
{
    char text[WSL_CTL_TEXT];

    (void)state;
    wsl_ctl_bytes(0, text);
    assert_string_equal(text, "0 B");
    wsl_ctl_bytes(1023, text);
    assert_string_equal(text, "1023 B");
    wsl_ctl_bytes(1536, text);
    assert_string_equal(text, "1.5 KiB");
    wsl_ctl_bytes((1 << 20) - 1, text);
    assert_string_equal(text, "1.0 MiB");
    wsl_ctl_bytes(UINT64_MAX, text);
    assert_string_equal(text, "16.0 EiB");
    wsl_ctl_count(0, text);
    assert_string_equal(text, "0");
    wsl_ctl_count(999, text);
    assert_string_equal(text, "999");
    wsl_ctl_count(1234567, text);
    assert_string_equal(text, "1,234,567");
    wsl_ctl_count(UINT64_MAX, text);
    assert_string_equal(text, "18,446,744,073,709,551,615");
    wsl_ctl_thousands(999, text);
    assert_string_equal(text, "999");
    wsl_ctl_thousands(1000, text);
    assert_string_equal(text, "1.00 K");
    wsl_ctl_thousands(999999, text);
    assert_string_equal(text, "1.00 M");
    wsl_ctl_thousands(16412000000, text);
    assert_string_equal(text, "16.41 G");
    wsl_ctl_thousands(UINT64_MAX, text);
    assert_string_equal(text, "18.45 E");
    wsl_ctl_time(1525255872345, text);
    assert_string_equal(text, "2018-05-02 10:11:12");
    wsl_ctl_time(0, text);
    assert_string_equal(text, "-");
    wsl_ctl_time(INT64_MAX, text);
    assert_string_equal(text, "-");
}

static void test_words(void **state)
{
    const ProtobufCEnumDescriptor *type = &wsl__v1__schedule_kind__descriptor;
    char text[WSL_CTL_TEXT];

    (void)state;
    wsl_ctl_word(type, WSL__V1__SCHEDULE_KIND__STEP_HALVING, text);
    assert_string_equal(text, "step-halving");
    assert_int_equal(wsl_ctl_word_number(type, "step-halving"),
                     WSL__V1__SCHEDULE_KIND__STEP_HALVING);
    wsl_ctl_word(type, 0, text);
    assert_string_equal(text, "-");
    wsl_ctl_word(type, 77, text);
    assert_string_equal(text, "-");
    assert_int_equal(wsl_ctl_word_number(type, "linear"), -1);
    assert_int_equal(wsl_ctl_word_number(type, "-"), -1);
    strcpy(text, "a\033[2Jb\n");
    wsl_one_line(text);
    assert_string_equal(text, "a?[2Jb?");
}

static void test_bar(void **state)
{
    char text[40];

    (void)state;
    wsl_ctl_bar(0.5, 12, text, sizeof text);
    assert_string_equal(text, "[#####     ]");
    wsl_ctl_bar(0, 6, text, sizeof text);
    assert_string_equal(text, "[    ]");
    wsl_ctl_bar(7, 6, text, sizeof text);
    assert_string_equal(text, "[####]");
    wsl_ctl_bar(NAN, 6, text, sizeof text);
    assert_string_equal(text, "[    ]");
    wsl_ctl_bar(1, 1000, text, sizeof text);
    assert_int_equal(strlen(text), sizeof text - 1);
    wsl_ctl_bar(1, 3, text, sizeof text);
    assert_string_equal(text, "");
}

static void fill_job(Wsl__V1__Job *job, Wsl__V1__Progress *progress)
{
    wsl__v1__job__init(job);
    wsl__v1__progress__init(progress);
    job->state = WSL__V1__JOB_STATE__RUNNING;
    job->progress = progress;
    progress->step = 120;
    progress->total_steps = 640;
    progress->epoch = 1.5;
    progress->loss = 3.21436;
    progress->hit1 = 0.2314;
    progress->images_per_second = 161.96;
    progress->eta_seconds = 192;
}

static void test_progress(void **state)
{
    Wsl__V1__Job job;
    Wsl__V1__Progress progress;
    char text[300];

    (void)state;
    fill_job(&job, &progress);
    wsl_ctl_progress(&job, 0, text, sizeof text);
    assert_string_equal(text, "running  step 120/640  epoch 1.50  loss 3.2144  hit@1 0.231  "
                              "162 images/s  ETA 3m12s");
    wsl_ctl_progress(&job, 200, text, sizeof text);
    assert_string_equal(text, "running  [###                 ]  step 120/640  epoch 1.50  "
                              "loss 3.2144  hit@1 0.231  162 images/s  ETA 3m12s");
    /* Whatever the window, the line stays in it and begins with the state. */
    for (int width = 8; width < 200; width++) {
        wsl_ctl_progress(&job, width, text, sizeof text);
        assert_true(strlen(text) <= (size_t)width);
        assert_memory_equal(text, "running", 7);
    }
    wsl_ctl_progress(&job, 60, text, sizeof text);
    assert_non_null(strstr(text, "step 120/640"));
    assert_null(strstr(text, "epoch"));
    wsl_ctl_progress(&job, 0, text, 20);
    assert_true(strlen(text) < 20);

    job.state = WSL__V1__JOB_STATE__SUCCEEDED;
    wsl_ctl_progress(&job, 0, text, sizeof text);
    assert_null(strstr(text, "ETA"));
    progress.total_steps = 0;
    wsl_ctl_progress(&job, 0, text, sizeof text);
    assert_non_null(strstr(text, "step 120  "));
    job.progress = NULL;
    job.state = WSL__V1__JOB_STATE__QUEUED;
    wsl_ctl_progress(&job, 80, text, sizeof text);
    assert_string_equal(text, "queued");
}

static void test_table(void **state)
{
    static const struct wsl_ctl_column columns[] = {{"NAME", false}, {"N", true}, {"WHY", false}};
    struct wsl_ctl_table table = {.columns = columns, .column_count = 3};
    struct wsl_buf out = {0};

    (void)state;
    wsl_ctl_cell(&table, "%s",
                 "gr\xc3\xbc"
                 "n");
    wsl_ctl_cell(&table, "%d", 7);
    wsl_ctl_cell(&table, "%s", "");
    wsl_ctl_cell(&table, "%s", "long-name");
    wsl_ctl_cell(&table, "%d", 1234);
    wsl_ctl_cell(&table, "%s", "two\nlines");
    assert_int_equal(wsl_ctl_table_print(&table, &out), 0);
    assert_string_equal((char *)out.data, "NAME          N  WHY\n"
                                          "gr\xc3\xbcn          7  -\n"
                                          "long-name  1234  two?lines\n");
    wsl_ctl_table_free(&table);
    wsl_buf_clear(&out);

    table.color = true;
    table.indent = 2;
    for (int i = 0; i < 300; i++)
        wsl_ctl_cell(&table, "%s", "failed");
    assert_int_equal(wsl_ctl_table_print(&table, &out), 0);
    assert_non_null(strstr((char *)out.data, "  \033[1mNAME\033[0m"));
    assert_non_null(strstr((char *)out.data, "\033[31mfailed\033[0m"));
    wsl_ctl_table_free(&table);
    wsl_buf_free(&out);
}

static json_t *dump_and_load(json_t *value)
{
    struct wsl_buf out = {0};
    json_error_t error;
    json_t *again;

    assert_int_equal(wsl_ctl_json_print(value, false, &out), 0);
    again = json_loads((char *)out.data, 0, &error);
    if (!again)
        fail_msg("%s in %s", error.text, (char *)out.data);
    wsl_buf_free(&out);
    return again;
}

static const char *text_of(json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void test_json_job(void **state)
{
    Wsl__V1__Job job;
    Wsl__V1__Progress progress;
    Wsl__V1__JobSpec spec = WSL__V1__JOB_SPEC__INIT;
    Wsl__V1__Model model = WSL__V1__MODEL__INIT;
    Wsl__V1__Schedule schedule = WSL__V1__SCHEDULE__INIT;
    Wsl__V1__Init init = WSL__V1__INIT__INIT;
    Wsl__V1__RankPlacement rank = WSL__V1__RANK_PLACEMENT__INIT, *ranks[] = {&rank};
    uint32_t depths[] = {3, 4};
    char name[] = "tags", job_name[] = "other", reason[] = "bad \xff byte and \"quotes\"";
    json_t *document, *object, *inner;

    (void)state;
    fill_job(&job, &progress);
    progress.loss = NAN;
    spec.name = name;
    spec.kind = WSL__V1__JOB_KIND__TRANSFER;
    spec.seed = UINT64_MAX;
    spec.model = &model;
    model.depths = depths;
    model.n_depths = 2;
    spec.schedule = &schedule;
    schedule.kind = WSL__V1__SCHEDULE_KIND__STEP_TENTH;
    spec.init = &init;
    init.from_case = WSL__V1__INIT__FROM_JOB;
    init.job = job_name;
    job.spec = &spec;
    job.id = 7;
    job.reason = reason;
    job.submitted_ms = 1525255872345;
    job.ranks = ranks;
    job.n_ranks = 1;
    document = dump_and_load(wsl_ctl_json_document("job", wsl_ctl_json_job(&job), NULL));
    assert_int_equal(json_integer_value(json_object_get(document, "version")), 1);
    object = json_object_get(document, "job");
    assert_int_equal(json_integer_value(json_object_get(object, "id")), 7);
    assert_string_equal(text_of(object, "name"), "tags");
    assert_string_equal(text_of(object, "kind"), "transfer");
    assert_string_equal(text_of(object, "state"), "running");
    assert_string_equal(text_of(object, "reason"), "bad ? byte and \"quotes\"");
    assert_string_equal(text_of(object, "submitted"), "2018-05-02T10:11:12.345Z");
    assert_true(json_is_null(json_object_get(object, "ended")));
    assert_int_equal(json_array_size(json_object_get(object, "ranks")), 1);
    inner = json_object_get(object, "progress");
    assert_true(json_is_null(json_object_get(inner, "loss")));
    assert_true(json_is_null(json_object_get(inner, "evaluation")));
    assert_int_equal(json_integer_value(json_object_get(inner, "step")), 120);
    inner = json_object_get(object, "spec");
    assert_string_equal(text_of(inner, "seed"), "18446744073709551615");
    assert_string_equal(text_of(json_object_get(inner, "schedule"), "kind"), "step-tenth");
    assert_string_equal(text_of(json_object_get(inner, "init"), "job"), "other");
    assert_true(json_is_null(json_object_get(json_object_get(inner, "init"), "checkpoint")));
    assert_int_equal(json_integer_value(json_array_get(
                         json_object_get(json_object_get(inner, "model"), "depths"), 1)),
                     4);
    json_decref(document);
}

static void test_json_document(void **state)
{
    struct wsl_buf out = {0};

    (void)state;
    assert_int_equal(
        wsl_ctl_json_print(wsl_ctl_json_document("a", json_integer(1), "b", json_string("x"), NULL),
                           true, &out),
        0);
    assert_string_equal((char *)out.data, "{\"version\":1,\"a\":1,\"b\":\"x\"}\n");
    wsl_buf_free(&out);
    assert_null(wsl_ctl_json_document("a", NULL, "b", json_string("x"), NULL));
    assert_int_equal(wsl_ctl_json_print(NULL, true, &out), WSL_ENOMEM);
}

static void test_progress_line(void **state)
{
    struct wsl_ctl_progress p = {.what = "decoding", .total = 37, .quarantined = 1};
    char line[WSL_CTL_PROGRESS_LINE];

    (void)state;
    p.done = 30;
    p.seconds = 0.19; /* too early for a rate */
    wsl_ctl_progress_line(&p, 160, line);
    assert_string_equal(
        line, "decoding  [########################      ]  81 %  30 of 37  1 in quarantine");
    p.seconds = 2;
    p.resumed = 10; /* 20 were done now */
    p.bytes = 3 << 20;
    wsl_ctl_progress_line(&p, 160, line);
    assert_string_equal(line, "decoding  [########################      ]  81 %  30 of 37  10/s  "
                              "1.5 MiB/s  ETA 1s  1 in quarantine");
    wsl_ctl_progress_line(&p, 20, line);
    assert_string_equal(line, "decoding  [########");
    p = (struct wsl_ctl_progress){.what = "listing", .done = 5, .seconds = 0.5};
    wsl_ctl_progress_line(&p, 80, line);
    assert_string_equal(line, "listing   5 images  10/s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_duration),      cmocka_unit_test(test_progress_line),
        cmocka_unit_test(test_numbers),       cmocka_unit_test(test_words),
        cmocka_unit_test(test_bar),           cmocka_unit_test(test_progress),
        cmocka_unit_test(test_table),         cmocka_unit_test(test_json_job),
        cmocka_unit_test(test_json_document),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
