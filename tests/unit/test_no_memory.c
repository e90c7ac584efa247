/* SPDX-License-Identifier: Apache-2.0
 *
 * base, proto and kernels/model without memory: every allocation of theirs is made to fail once.
 */
#include "base/buf.h"
#include "base/file.h"
#include "base/map.h"
#include "base/text_input.h"
#include "kernels/model/net.h"
#include "proto/jobspec/yaml/load.h"
#include "proto/json_print.h"
#include "proto/message.h"
#include "tests/lib/failing_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char directory[] = "/tmp/wsl-test-no-memory-XXXXXX";

static int make_directory(void **state)
{
    (void)state;
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void)state;
    return wsl_file_remove_tree(directory, NULL);
}

/* ---- base ---- */

static int files(void *context, struct wsl_err *err)
{
    struct wsl_buf text = {0};
    char path[128];
    int r;

    (void)context;
    snprintf(path, sizeof path, "%s/list", directory);
    r = wsl_file_write_atomic(path, "\xef\xbb\xbfone\ntwo\n", 11, err);
    if (r == 0)
        r = wsl_text_input_read(path, 100, &text, err);
    wsl_buf_free(&text);
    return r;
}

static void files_are_read_and_written(void **state)
{
    (void)state;
    assert_true(failing_alloc_run(files, NULL) > 0);
}

/* Only the first entry needs memory: later on a map without it grows slow, not full. */
static int fill_map(void *context, struct wsl_err *err)
{
    static struct wsl_map_entry entries[1000];
    struct wsl_map map = {0};
    int r = 0;

    (void)context;
    for (size_t i = 0; i < 1000 && r == 0; i++) {
        entries[i].hash = i * 7;
        r = wsl_map_add(&map, &entries[i]);
    }
    for (size_t i = 0; i < 1000 && r == 0; i++)
        assert_ptr_equal(wsl_map_first(&map, i * 7), &entries[i]);
    wsl_map_free(&map);
    return r == 0 ? 0 : wsl_fail(err, r, "no memory for a map");
}

static void maps_keep_what_they_hold(void **state)
{
    (void)state;
    assert_true(failing_alloc_run(fill_map, NULL) > 3);
}

/* ---- proto ---- */

static const char job[] = "name: birds\n"
                          "kind: transfer\n"
                          "data: /data/birds\n"
                          "model: {depths: [3, 4, 6, 3], groups: 32, width: 4}\n"
                          "batch: 64\n"
                          "epochs: 2\n"
                          "init: job:pretraining\n"
                          "schedule: {kind: step-tenth, steps: 4}\n";

static int print_job(const Wsl__V1__JobSpec *spec, struct wsl_err *err)
{
    struct wsl_buf out = {0};
    int r = wsl_jobspec_print(spec, &out);

    if (r == 0)
        r = wsl_jobspec_explain(&out);
    wsl_buf_free(&out);
    return r == 0 ? 0 : wsl_fail(err, r, "no memory to print");
}

static int read_job(void *context, struct wsl_err *err)
{
    static const char *const sets[] = {"optimizer.learning_rate=0.1", "seed=7"};
    struct wsl_jobspec_source source = {
        .file = "job.yaml", .text = job, .size = sizeof job - 1, .sets = sets, .set_count = 2};
    Wsl__V1__JobSpec *spec = NULL, *copy = NULL;
    int r = wsl_jobspec_load(&source, &spec, err);

    (void)context;
    if (r == 0)
        r = wsl_jobspec_fill(spec, err);
    if (r == 0)
        copy = wsl_jobspec_copy(spec);
    if (r == 0 && !copy)
        r = wsl_fail(err, WSL_ENOMEM, "no memory for a copy");
    if (r == 0)
        r = print_job(copy, err);
    if (copy)
        wsl__v1__job_spec__free_unpacked(copy, NULL);
    if (spec)
        wsl__v1__job_spec__free_unpacked(spec, NULL);
    return r;
}

static void job_files_are_read_filled_and_printed(void **state)
{
    (void)state;
    assert_true(failing_alloc_run(read_job, NULL) > 20);
}

static int print_json(void *context, struct wsl_err *err)
{
    json_t *document = json_pack("{s:[f,f,i],s:s}", "rates", 0.4, 1e-5, 3, "name", "birds");
    struct wsl_buf out = {0};
    int r = wsl_json_print(document, 2, &out);

    (void)context;
    json_decref(document);
    wsl_buf_free(&out);
    return r == 0 ? 0 : wsl_fail(err, r, "no memory for JSON");
}

static void documents_are_printed(void **state)
{
    (void)state;
    assert_true(failing_alloc_run(print_json, NULL) > 0);
}

/* ---- kernels/model ---- */

static int train_a_step(void *context, struct wsl_err *err)
{
    static uint8_t pixels[2 * 32 * 32 * 3];
    static const uint32_t begin[] = {0, 1, 2}, tags[] = {0, 2};
    const struct wsl_net_setup setup = {.config = {.stages = 2,
                                                   .depths = {1, 1},
                                                   .groups = 2,
                                                   .width = 2,
                                                   .image_size = 32,
                                                   .classes = 3},
                                        .backend = context,
                                        .batch = 2,
                                        .threads = 1};
    struct wsl_targets targets = {.begin = begin, .tags = tags};
    struct wsl_step_result result;
    struct wsl_net *net = NULL;
    int r = wsl_net_open(&net, &setup, err);

    if (r == 0) {
        wsl_net_init(net, 1);
        r = wsl_net_step(net, &(struct wsl_net_batch){pixels, targets, 2},
                         &(struct wsl_step_options){1, NULL, NULL}, &result, err);
    }
    wsl_net_close(net);
    return r;
}

static void nets_are_opened_and_trained(void **state)
{
    static char ref[] = "ref", cpu[] = "cpu";

    (void)state;
    assert_true(failing_alloc_run(train_a_step, ref) > 10);
    assert_true(failing_alloc_run(train_a_step, cpu) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_read_and_written),
        cmocka_unit_test(maps_keep_what_they_hold),
        cmocka_unit_test(job_files_are_read_filled_and_printed),
        cmocka_unit_test(documents_are_printed),
        cmocka_unit_test(nets_are_opened_and_trained),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
