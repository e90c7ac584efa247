/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/resnext.h"
#include "base/rng.h"
#include "base/suggest.h"
#include "proto/jobspec/yaml/load.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char minimal[] = "name: first\n"
                              "kind: pretrain\n"
                              "data: /data/x\n"
                              "model: {depths: [1, 1, 1, 1]}\n"
                              "batch: 64\n"
                              "epochs: 2\n";

static const char whole[] = "# every field\n"
                            "name: all-of_it.1\n"
                            "kind: transfer\n"
                            "data: \"/data/with blank: and # mark\"\n"
                            "model:\n"
                            "  depths: [3, 4, 23, 3]\n"
                            "  groups: 16\n"
                            "  width: 8\n"
                            "  image_size: 96\n"
                            "world: 4\n"
                            "batch: 128\n"
                            "micro_batches: 4\n"
                            "recompute: true\n"
                            "epochs: 7\n"
                            "max_steps: 123456789012\n"
                            "optimizer: {learning_rate: 0.3, momentum: 0, weight_decay: 5e-5}\n"
                            "schedule: {kind: step-tenth, steps: 4, warmup_epochs: 0.5, "
                            "warmup_from: 0.01}\n"
                            "sampling: {kind: square-root, threshold: 12.5, max_repeat: 3, "
                            "window: 64}\n"
                            "augmentation: {min_area: 0.2, flip: false}\n"
                            "init: job:other\n"
                            "mode: finetune\n"
                            "checkpoint: {every_steps: 500, keep: 5}\n"
                            "seed: 18446744073709551615\n"
                            "threads: 2\n"
                            "loader_threads: 3\n"
                            "restart: {max_machine_errors: 4, max_user_errors: 1}\n"
                            "evaluate_every_epochs: 2\n"
                            "backend: ref\n"
                            "max_bad_records: 0.1\n"
                            "gradient_dtype: bf16\n";

struct lines {
    struct wsl_buf text;
    int count;
};

static void keep_line(void *context, const char *line)
{
    struct lines *lines = context;

    assert_null(strchr(line, '\n'));
    wsl_buf_add_format(&lines->text, "%s\n", line);
    lines->count++;
}

/* Mistakes go to `lines`; NULL: the first one ends the parse. */
static int parse(const char *file, const char *text, size_t size, Wsl__V1__JobSpec **ret,
                 struct lines *lines, struct wsl_err *err)
{
    struct wsl_jobspec_source source = {.file = file,
                                        .text = text,
                                        .size = size,
                                        .report = lines ? keep_line : NULL,
                                        .context = lines};

    return wsl_jobspec_load(&source, ret, err);
}

static Wsl__V1__JobSpec *good(const char *text)
{
    Wsl__V1__JobSpec *spec = NULL;
    struct wsl_err err = {0};
    int r = parse("job.yaml", text, strlen(text), &spec, NULL, &err);

    if (r < 0)
        fail_msg("%s", err.text);
    return spec;
}

static void drop(Wsl__V1__JobSpec *spec)
{
    wsl__v1__job_spec__free_unpacked(spec, NULL);
}

static void test_minimal_and_fill(void **state)
{
    Wsl__V1__JobSpec *spec = good(minimal), *again;
    struct wsl_err err = {0};
    uint8_t before[512], after[512];
    size_t n;

    (void)state;
    assert_string_equal(spec->name, "first");
    assert_int_equal(spec->kind, WSL__V1__JOB_KIND__PRETRAIN);
    assert_null(spec->optimizer);
    assert_int_equal(wsl_jobspec_fill(spec, &err), 0);
    assert_int_equal(spec->world, 1);
    assert_int_equal(spec->model->groups, 32);
    assert_int_equal(spec->model->width, 4);
    assert_int_equal(spec->model->image_size, 224);
    assert_true(spec->optimizer->learning_rate == 0.1 * 64 / 256);
    assert_true(spec->optimizer->momentum == 0.9);
    assert_true(spec->optimizer->weight_decay == 1e-4);
    assert_int_equal(spec->schedule->kind, WSL__V1__SCHEDULE_KIND__STEP_HALVING);
    assert_int_equal(spec->schedule->steps, 10);
    assert_true(spec->schedule->warmup_epochs == 0);
    assert_true(spec->schedule->warmup_from == spec->optimizer->learning_rate / 10);
    assert_int_equal(spec->sampling->kind, WSL__V1__SAMPLING_KIND__NATURAL);
    assert_true(spec->sampling->max_repeat == 20);
    assert_true(spec->augmentation->min_area == 0.08);
    assert_false(spec->augmentation->no_flip);
    assert_null(spec->init);
    assert_int_equal(spec->mode, 0);
    assert_int_equal(spec->checkpoint->keep, 2);
    assert_int_equal(spec->restart->max_machine_errors, 10);
    assert_int_equal(spec->restart->max_user_errors, 0);
    assert_int_equal(spec->threads, 1);
    assert_int_equal(spec->micro_batches, 1);
    assert_false(spec->recompute);
    assert_int_equal(spec->loader_threads, 1);
    assert_int_equal(spec->evaluate_every_epochs, 1);
    assert_true(spec->max_bad_records == 0.01);
    assert_int_equal(wsl_jobspec_check(spec, &err), 0);

    n = wsl__v1__job_spec__pack(spec, before);
    assert_true(n <= sizeof before);
    assert_int_equal(wsl_jobspec_fill(spec, &err), 0);
    assert_int_equal(wsl__v1__job_spec__pack(spec, after), n);
    assert_memory_equal(before, after, n);
    again = wsl_jobspec_copy(spec);
    assert_int_equal(wsl__v1__job_spec__pack(again, after), n);
    assert_memory_equal(before, after, n);
    drop(again);
    drop(spec);
}

static void test_all_fields(void **state)
{
    Wsl__V1__JobSpec *spec = good(whole);

    (void)state;
    assert_string_equal(spec->data, "/data/with blank: and # mark");
    assert_int_equal(spec->model->n_depths, 4);
    assert_int_equal(spec->model->depths[2], 23);
    assert_int_equal(spec->model->image_size, 96);
    assert_true(spec->max_steps == 123456789012);
    assert_true(spec->optimizer->momentum == 0);
    assert_true(spec->optimizer->weight_decay == 5e-5);
    assert_int_equal(spec->schedule->kind, WSL__V1__SCHEDULE_KIND__STEP_TENTH);
    assert_int_equal(spec->sampling->kind, WSL__V1__SAMPLING_KIND__SQUARE_ROOT);
    assert_true(spec->augmentation->no_flip);
    assert_int_equal(spec->init->from_case, WSL__V1__INIT__FROM_JOB);
    assert_string_equal(spec->init->job, "other");
    assert_int_equal(spec->micro_batches, 4);
    assert_true(spec->recompute);
    assert_true(spec->seed == UINT64_MAX);
    assert_string_equal(spec->backend, "ref");
    assert_string_equal(spec->gradient_dtype, "bf16");
    drop(spec);
}

static void test_short_forms(void **state)
{
    Wsl__V1__JobSpec *spec = good("name: a\nkind: transfer\ndata: d\nmodel: resnext101_32x16d\n"
                                  "image_size: 320\nbatch: 8\nmax_steps: 5\naugmentation: none\n"
                                  "init: some/model.safetensors\noptimizer: {momentum: 0.8}\n");

    (void)state;
    assert_int_equal(spec->model->depths[2], 23);
    assert_int_equal(spec->model->width, 16);
    assert_int_equal(spec->model->image_size, 320);
    assert_true(spec->augmentation->none);
    assert_int_equal(spec->init->from_case, WSL__V1__INIT__FROM_CHECKPOINT);
    assert_string_equal(spec->init->checkpoint, "some/model.safetensors");
    /* The rest of a section that is there has its defaults too. */
    assert_true(spec->optimizer->learning_rate == 0.1 * 8 / 256);
    assert_true(spec->optimizer->weight_decay == 1e-4);
    drop(spec);
    spec = good("name: a\nkind: pretrain\ndata: d\nbatch: 8\nmax_steps: 5\n"
                "model: {name: resnext50_32x4d, image_size: 64}\n");
    assert_int_equal(spec->model->depths[2], 6);
    assert_int_equal(spec->model->image_size, 64);
    drop(spec);
}

/* Each published network is a model of a job file, and stands in what is allowed. */
static void test_published_networks(void **state)
{
    const struct wsl_resnext *known;
    struct wsl_jobspec_field field = {0};
    char text[300];
    size_t i;

    (void)state;
    for (i = 0; strcmp(field.path ? field.path : "", "model.name") != 0; i++)
        wsl_jobspec_field(i, &field);
    for (i = 0; (known = wsl_resnext_known(i)); i++) {
        Wsl__V1__JobSpec *spec;

        snprintf(text, sizeof text,
                 "name: a\nkind: pretrain\ndata: d\nmodel: %s\nbatch: 8\nmax_steps: 5\n",
                 known->name);
        spec = good(text);
        assert_int_equal(spec->model->n_depths, 4);
        assert_memory_equal(spec->model->depths, known->depths, sizeof known->depths);
        assert_int_equal(spec->model->groups, known->groups);
        assert_int_equal(spec->model->width, known->width);
        drop(spec);
        assert_ptr_equal(wsl_resnext_named(known->name), known);
        assert_non_null(strstr(field.allowed, known->name));
    }
    assert_int_equal(i, 9);
    assert_null(wsl_resnext_named("resnext50_32x5d"));
    assert_true(strlen(field.allowed) + 1 < sizeof field.allowed); /* not cut off */
}

/* Text to put after (or, with the name of a line of `minimal`, in the place of) the minimal job;
 * and how the one mistake must begin. */
struct mistake {
    const char *instead_of, *text, *line;
};

static const struct mistake mistakes[] = {
    {"name", "", "j.yaml:1: name: is missing; must be 1 to 64 of a-z A-Z 0-9 . _ -"},
    {"name", "name: 'a b'\n", "j.yaml:1: name: must be 1 to 64 of a-z A-Z 0-9 . _ -, is \"a b\""},
    {"name", "name: 17\n", "j.yaml:1: name: must not be a number"},
    {"name", "name:\n", "j.yaml:1: name: must be 1 to 64 of a-z A-Z 0-9 . _ -, is empty"},
    {"name", "name: [a]\n", "j.yaml:1: name: must be 1 to 64 of a-z A-Z 0-9 . _ -, is a list"},
    {"kind", "", "j.yaml:1: kind: is missing; must be one of pretrain, transfer"},
    {"kind", "kind: pretrian\n",
     "j.yaml:2: kind: must be one of pretrain, transfer, is pretrian; did you mean pretrain?"},
    {"data", "", "j.yaml:1: data: is missing; must be a path"},
    {"data", "data: \"a\\nb\"\n", "j.yaml:3: data: has a control character at byte 2"},
    {"data", "data: \"a\\0b\"\n", "j.yaml:3: a zero byte is not allowed"},
    {"model", "", "j.yaml:1: model.depths: is missing; must be a list of 1 to 4 whole numbers"},
    {"model", "model: {groups: 4}\n", "j.yaml:4: model.depths: is missing"},
    {"model", "model: 5\n", "j.yaml:4: model.name: must be one of resnext50_32x4d"},
    {"model", "model: [1, 1]\n", "j.yaml:4: model: must be a map with any of: name, depths"},
    {"model", "model: {depths: []}\n", "j.yaml:4: model.depths: must have 1 to 4 stages"},
    {"model", "model: {depths: [1,1,1,1,1]}\n", "j.yaml:4: model.depths: must have 1 to 4 stages"},
    {"model", "model: {depths: [1, 0]}\n",
     "j.yaml:4: model.depths: must be a list of 1 to 4 whole"},
    {"model", "model: {depths: [1, x]}\n",
     "j.yaml:4: model.depths: must be a list of 1 to 4 whole"},
    {"model", "model: {depths: [[1]]}\n", "j.yaml:4: model.depths: must be a list of 1 to 4 whole"},
    {"model", "model: {depths: 3}\n", "j.yaml:4: model.depths: must be a list of 1 to 4 whole"},
    {"model", "model:\n  depths: [1]\n  image_size: 100\n",
     "j.yaml:6: model.image_size: must be a multiple of 32, is 100"},
    {"model", "model:\n  depths: [1]\n  image_size: 0\n",
     "j.yaml:6: model.image_size: must be a whole number from 32 to 2048, is 0"},
    {"model", "model:\n  name: resnext50_32x4d\n  width: 8\n",
     "j.yaml:6: model.width: is given by model.name already (line 5)"},
    {"model", "model:\n  depths: [1]\n  with: 8\n",
     "j.yaml:6: model.with: unknown key; did you mean width?"},
    {"model", "model: {depths: [1], image_size: 64}\nimage_size: 64\n",
     "j.yaml:5: model.image_size: is given twice, first on line 4"},
    {"batch", "", "j.yaml:1: batch: is missing; must be a whole number from 1 to 1048576"},
    {"batch", "batch: 0\n", "j.yaml:5: batch: must be a whole number from 1 to 1048576, is 0"},
    {"batch", "batch: -8\n", "j.yaml:5: batch: must be a whole number from 1 to 1048576, is -8"},
    {"batch", "batch: \"8\"\n",
     "j.yaml:5: batch: must be a whole number from 1 to 1048576, is \"8\""},
    {"batch", "batch: 1.5\n", "j.yaml:5: batch: must be a whole number"},
    {"batch", "batch: 99999999999999999999999\n", "j.yaml:5: batch: must be a whole number"},
    {"batch", "batch: {a: [1, {b: c}]}\n",
     "j.yaml:5: batch: must be a whole number from 1 to "
     "1048576, is a map"},
    {"batch", "batch: 63\nworld: 2\n", "j.yaml:5: batch: must be a multiple of world (2), is 63"},
    {"", "micro_batches: 0\n", "j.yaml:7: micro_batches: must be a whole number from 1 to 65536"},
    {"", "micro_batches: 3\n",
     "j.yaml:7: micro_batches: must divide the images of a trainer, batch / world (64), is 3"},
    {"", "world: 2\nmicro_batches: 64\n",
     "j.yaml:8: micro_batches: must divide the images of a trainer, batch / world (32), is 64"},
    {"batch", "batch: 8\nworld: 2\nmicro_batches: 4\nimage_size: 32\n",
     "j.yaml:5: batch: batch norm of stage 4 would have one value a channel"},
    {"", "recompute: 2\n", "j.yaml:7: recompute: must be true or false, is 2"},
    {"epochs", "", "j.yaml:1: epochs: is missing; give epochs or max_steps"},
    {"", "world: 0\n", "j.yaml:7: world: must be a whole number from 1 to 4096, is 0"},
    {"", "batch: 8\n", "j.yaml:7: batch: is given twice, first on line 5"},
    {"", "model: {}\n", "j.yaml:7: model: is given twice, first on line 4"},
    {"", "epoch: 3\n", "j.yaml:7: epoch: unknown key; did you mean epochs?"},
    {"", "learning_rate: 3\n",
     "j.yaml:7: learning_rate: unknown key; did you mean optimizer.learning_rate?"},
    {"", "zzzzzz: 3\n", "j.yaml:7: zzzzzz: unknown key; 'wslctl explain' lists"},
    {"", "? [a, b]\n: c\n", "j.yaml:7: a key must be a word"},
    {"", "optimizer: {learning_rate: .nan}\n",
     "j.yaml:7: optimizer.learning_rate: must be a number more than 0, at most 1000, is .nan"},
    {"", "optimizer: {learning_rate: nan}\n",
     "j.yaml:7: optimizer.learning_rate: must be a number"},
    {"", "optimizer: {learning_rate: .inf}\n",
     "j.yaml:7: optimizer.learning_rate: must be a number"},
    {"", "optimizer: {learning_rate: 1e999}\n", "j.yaml:7: optimizer.learning_rate: must be a"},
    {"", "optimizer: {learning_rate: 0}\n", "j.yaml:7: optimizer.learning_rate: must be a number"},
    {"", "optimizer: {learning_rate: -1}\n", "j.yaml:7: optimizer.learning_rate: must be a number"},
    {"", "optimizer: {momentum: 1}\n",
     "j.yaml:7: optimizer.momentum: must be a number from 0 to less than 1, is 1"},
    {"", "optimizer: 0.1\n", "j.yaml:7: optimizer: must be a map with any of: learning_rate, "},
    {"", "schedule: {kind: cosine, steps: 3}\n", "j.yaml:7: schedule.steps: is only for step-"},
    {"", "schedule: {kind: linear}\n", "j.yaml:7: schedule.kind: must be one of step-halving, "},
    {"", "schedule: {warmup_epochs: 3}\n",
     "j.yaml:7: schedule.warmup_epochs: must be at most epochs"},
    {"", "sampling: {max_repeat: 0.5}\n", "j.yaml:7: sampling.max_repeat: must be a number from 1"},
    {"", "sampling: {window: 7}\n", "j.yaml:7: sampling.window: must be "},
    {"", "augmentation: {flip: 3}\n", "j.yaml:7: augmentation.flip: must be true or false, is 3"},
    {"", "augmentation: some\n", "j.yaml:7: augmentation: must be a map with any of: min_area, "},
    {"", "augmentation: {none: true, min_area: 0.5}\n", "j.yaml:7: augmentation.min_area: has no "},
    {"", "augmentation: {none: true, lighting: 0.1}\n", "j.yaml:7: augmentation.lighting: has no "},
    {"", "augmentation: {contrast: 1.5}\n", "j.yaml:7: augmentation.contrast: must be "},
    {"", "init: job:x\n", "j.yaml:7: init: is only for transfer jobs"},
    {"", "mode: finetune\n", "j.yaml:7: mode: is only for transfer jobs"},
    {"kind", "kind: transfer\ninit: 'job:'\n", "j.yaml:3: init: must name a job after \"job:\""},
    {"kind", "kind: transfer\ninit: {job: x}\n",
     "j.yaml:3: init: must be job:NAME, job:ID or a path,"},
    {"", "backend: tpu\n", "j.yaml:7: backend: must be one of cpu, ref, cuda, is \"tpu\""},
    {"", "gradient_dtype: f16\n", "j.yaml:7: gradient_dtype: must be one of f32, bf16, is \"f16\""},
    {"", "max_bad_records: 2\n",
     "j.yaml:7: max_bad_records: must be a number more than 0, at most 1"},
    {"", "seed: -1\n",
     "j.yaml:7: seed: must be a whole number from 0 to 18446744073709551615, is -1"},
    {"", "checkpoint: {keep: 0}\n", "j.yaml:7: checkpoint.keep: must be a whole number from 1"},
    {"", "seed: &a 1\n", "j.yaml:7: anchors and aliases"},
    {"", "seed: *a\n", "j.yaml:7: anchors and aliases"},
    {"", "seed: !!int 1\n", "j.yaml:7: type tags"},
    {"", "<<: {a: b}\n", "j.yaml:7: <<: unknown key"},
    {"", "x: [[[[[[[[[[1]]]]]]]]]]\n", "j.yaml:7: x: unknown key"},
    {"", "---\nname: b\n", "j.yaml:7: a second document begins here"},
    {"", "seed: ]\n", "j.yaml:7: not YAML: "},
    {"", "\tseed: 1\n", "j.yaml:7: not YAML: "},
    {"", "seed: 'a\n", "j.yaml:8: not YAML: "},
    {"", "seed: 1\n# \xff\xfe\n", "j.yaml:8: not YAML: "},
};

/* The minimal job with one of its lines changed. */
static void edit(const struct mistake *m, char *text, size_t size)
{
    size_t n = strlen(m->instead_of);

    text[0] = '\0';
    for (const char *line = minimal; *line; line = strchr(line, '\n') + 1) {
        size_t length = (size_t)(strchr(line, '\n') + 1 - line);

        if (n > 0 && strncmp(line, m->instead_of, n) == 0)
            strcat(text, m->text);
        else
            strncat(text, line, length);
    }
    if (n == 0)
        strcat(text, m->text);
    assert_true(strlen(text) < size);
}

static void test_mistakes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        char text[1024];
        Wsl__V1__JobSpec *spec = NULL;
        struct lines lines = {0};
        struct wsl_err err = {0};
        int r;

        edit(&mistakes[i], text, sizeof text);
        r = parse("j.yaml", text, strlen(text), &spec, NULL, &err);
        if (r != WSL_EINVAL || strncmp(err.text, mistakes[i].line, strlen(mistakes[i].line)) != 0)
            fail_msg("case %zu: %d \"%s\"\nwanted     \"%s\"\n%s", i, r, err.text, mistakes[i].line,
                     text);
        assert_null(spec);
        /* One cause, one line. */
        r = parse("j.yaml", text, strlen(text), &spec, &lines, &err);
        assert_int_equal(r, WSL_EINVAL);
        if (lines.count != (strstr(mistakes[i].text, "x: [[") ? 2 : 1))
            fail_msg("case %zu: %d lines:\n%s", i, lines.count, (char *)lines.text.data);
        wsl_buf_free(&lines.text);
    }
}

static void test_no_map(void **state)
{
    static const char *const texts[] = {"", "# only words\n", "42\n", "- a\n- b\n", "---\n...\n"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        Wsl__V1__JobSpec *spec = NULL;
        struct wsl_err err = {0};

        assert_int_equal(parse("e", texts[i], strlen(texts[i]), &spec, NULL, &err), WSL_EINVAL);
        assert_non_null(strstr(err.text, "map of fields"));
    }
}

static void test_encodings(void **state)
{
    static const struct {
        const char *text;
        size_t size;
        const char *fault;
    } bad[] = {
        {"\xff\xfen\0a\0", 6, "e:1: the job file is UTF-16; save it as UTF-8"},
        {"\0n\0a\0m", 6, "e:1: the job file is UTF-16; save it as UTF-8"},
        {"\0\0\xfe\xff\0\0\0n", 8, "e:1: the job file is UTF-32; save it as UTF-8"},
        {"name: a\0b\n", 10, "e:1: not YAML: control characters are not allowed"},
        {"name: a\nkind: \xe9\n", 16, "e:2: not YAML: "},
    };
    char text[sizeof minimal + 3] = "\xef\xbb\xbf";
    Wsl__V1__JobSpec *spec;

    (void)state;
    strcpy(text + 3, minimal);
    spec = good(text);
    assert_string_equal(spec->name, "first");
    drop(spec);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct wsl_err err = {0};

        assert_int_equal(parse("e", bad[i].text, bad[i].size, &spec, NULL, &err), WSL_EINVAL);
        if (!strstr(err.text, bad[i].fault))
            fail_msg("%s", err.text);
    }
}

static void test_many_mistakes(void **state)
{
    static const char text[] = "name: x\nkind: pretrain\nbatch: -1\nworld: no\nepochs: 0\nfoo: 1\n";
    char more[2000] = "";
    struct lines lines = {0};
    struct wsl_err err = {0};
    Wsl__V1__JobSpec *spec = NULL;

    (void)state;
    assert_int_equal(parse("m", text, strlen(text), &spec, &lines, &err), WSL_EINVAL);
    assert_non_null(strstr((char *)lines.text.data, "m:3: batch: "));
    assert_non_null(strstr((char *)lines.text.data, "m:4: world: "));
    assert_non_null(strstr((char *)lines.text.data, "m:5: epochs: "));
    assert_non_null(strstr((char *)lines.text.data, "m:6: foo: "));
    assert_non_null(strstr((char *)lines.text.data, "m:1: data: is missing"));
    assert_non_null(strstr((char *)lines.text.data, "m:1: model.depths: is missing"));
    assert_int_equal(lines.count, 6);
    assert_memory_equal(err.text, lines.text.data, strlen(err.text));
    wsl_buf_free(&lines.text);

    lines = (struct lines){0};
    for (int i = 0; i < 50; i++)
        sprintf(more + strlen(more), "key%d: 1\n", i);
    assert_int_equal(parse("m", more, strlen(more), &spec, &lines, &err), WSL_EINVAL);
    assert_int_equal(lines.count, 20);
    wsl_buf_free(&lines.text);
}

static void test_size_and_depth(void **state)
{
    struct wsl_buf text = {0};
    struct wsl_err err = {0};
    Wsl__V1__JobSpec *spec = NULL;

    (void)state;
    wsl_buf_add_text(&text, minimal);
    while (text.size <= WSL_JOBSPEC_FILE_MAX)
        wsl_buf_add_text(&text, "# words\n");
    assert_int_equal(parse("l", (char *)text.data, text.size, &spec, NULL, &err), WSL_EINVAL);
    assert_non_null(strstr(err.text, "is larger than the 65536 bytes"));
    wsl_buf_clear(&text);
    wsl_buf_add_text(&text, minimal);
    wsl_buf_add_text(&text, "x: ");
    while (text.size < 60000)
        wsl_buf_add_text(&text, "[");
    assert_int_equal(parse("l", (char *)text.data, text.size, &spec, NULL, &err), WSL_EINVAL);
    wsl_buf_free(&text);
}

static Wsl__V1__JobSpec *load(const char *const *sets, size_t count, struct wsl_err *err)
{
    struct wsl_jobspec_source source = {.file = "j.yaml",
                                        .text = minimal,
                                        .size = strlen(minimal),
                                        .sets = sets,
                                        .set_count = count};
    Wsl__V1__JobSpec *spec = NULL;

    wsl_jobspec_load(&source, &spec, err);
    return spec;
}

static void test_sets(void **state)
{
    static const char *const sets[] = {"batch=32",
                                       "batch=16",
                                       "optimizer.learning_rate=0.5",
                                       "model=resnext50_32x4d",
                                       "kind=transfer",
                                       "init=job:7",
                                       "schedule={kind: cosine, warmup_epochs: 1}",
                                       "image_size=64",
                                       "data=/a b#c: d"};
    static const char *const depths[] = {"model.depths=[2, 2]"};
    static const char *const bad[][2] = {
        {"batch", "--set batch: must be KEY=VALUE"},
        {"=4", "--set =4: must be KEY=VALUE"},
        {"bach=4", "--set bach=4: bach: unknown key; did you mean batch?"},
        {"momentum=4", "--set momentum=4: momentum: unknown key; did you mean optimizer.momentum?"},
        {"batch=x", "--set batch=x: batch: must be a whole number from 1 to 1048576, is x"},
        {"batch=", "--set batch=: batch: must be a whole number from 1 to 1048576, is empty"},
        {"model.depths=[1", "--set model.depths=[1: not YAML: "},
        {"model.depths=[1] 2", "--set model.depths=[1] 2: "},
        {"schedule={kid: cosine}",
         "--set schedule={kid: cosine}: schedule.kid: unknown key; did you mean kind?"},
        {"world=3", "j.yaml:5: batch: must be a multiple of world (3), is 64"},
    };
    struct wsl_err err = {0};
    Wsl__V1__JobSpec *spec = load(sets, sizeof sets / sizeof sets[0], &err);

    (void)state;
    if (!spec)
        fail_msg("%s", err.text);
    assert_int_equal(spec->batch, 16);
    assert_true(spec->optimizer->learning_rate == 0.5);
    assert_true(spec->optimizer->momentum == 0.9);
    assert_int_equal(spec->model->depths[2], 6);
    assert_int_equal(spec->model->image_size, 64);
    assert_int_equal(spec->schedule->kind, WSL__V1__SCHEDULE_KIND__COSINE);
    assert_string_equal(spec->init->job, "7");
    assert_string_equal(spec->data, "/a b#c: d");
    drop(spec);
    spec = load(depths, 1, &err);
    assert_int_equal(spec->model->n_depths, 2);
    drop(spec);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_null(load(&bad[i][0], 1, &err));
        if (strncmp(err.text, bad[i][1], strlen(bad[i][1])) != 0)
            fail_msg("\"%s\"\nwanted \"%s\"", err.text, bad[i][1]);
    }
}

static void same_packed(const Wsl__V1__JobSpec *a, const Wsl__V1__JobSpec *b, const char *text)
{
    size_t n = wsl__v1__job_spec__get_packed_size(a), m = wsl__v1__job_spec__get_packed_size(b);
    uint8_t *x = malloc(n + 1), *y = malloc(m + 1);

    wsl__v1__job_spec__pack(a, x);
    wsl__v1__job_spec__pack(b, y);
    if (n != m || memcmp(x, y, n) != 0)
        fail_msg("not the same after print and parse:\n%s", text);
    free(x);
    free(y);
}

static void round_trip(Wsl__V1__JobSpec *spec)
{
    struct wsl_buf out = {0};
    Wsl__V1__JobSpec *again;

    assert_int_equal(wsl_jobspec_print(spec, &out), 0);
    again = good((char *)out.data);
    same_packed(spec, again, (char *)out.data);
    drop(again);
    wsl_buf_free(&out);
}

static void test_round_trip(void **state)
{
    static const char *const texts[] = {
        minimal, whole,
        "name: a\nkind: transfer\ndata: \"null\"\nmodel: resnext50_32x4d\nbatch: 8\nmax_steps: 5\n"
        "augmentation: none\ninit: \"a \\\"b\\\" \\\\ \\u2028 \\U0001F600 \xc3\xb6\"\nsampling: "
        "{}\n"
        "optimizer: {learning_rate: 0.012345678901234567}\n"};

    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        Wsl__V1__JobSpec *spec = good(texts[i]);

        round_trip(spec);
        assert_int_equal(wsl_jobspec_fill(spec, NULL), 0);
        round_trip(spec);
        drop(spec);
    }
}

/* What comes by RPC was never parsed. */
static void test_check_foreign(void **state)
{
    Wsl__V1__JobSpec *spec = good(minimal);
    Wsl__V1__Optimizer optimizer = WSL__V1__OPTIMIZER__INIT;
    Wsl__V1__Schedule schedule = WSL__V1__SCHEDULE__INIT;
    Wsl__V1__Init init = WSL__V1__INIT__INIT;
    Wsl__V1__JobSpec empty = WSL__V1__JOB_SPEC__INIT;
    struct wsl_err err = {0};
    char *name = spec->name;
    char long_name[66];

    (void)state;
    assert_int_equal(wsl_jobspec_check(&empty, &err), WSL_EINVAL);
    assert_string_equal(err.text, "name: is missing; must be 1 to 64 of a-z A-Z 0-9 . _ -");
    optimizer.learning_rate = NAN;
    spec->optimizer = &optimizer;
    assert_int_equal(wsl_jobspec_check(spec, &err), WSL_EINVAL);
    assert_string_equal(
        err.text, "optimizer.learning_rate: must be a number more than 0, at most 1000, is nan");
    optimizer.learning_rate = 0;
    assert_int_equal(wsl_jobspec_check(spec, &err), WSL_EINVAL);
    spec->optimizer = NULL;
    spec->kind = 77;
    assert_int_equal(wsl_jobspec_check(spec, &err), WSL_EINVAL);
    assert_string_equal(err.text, "kind: must be one of pretrain, transfer, is number 77");
    spec->kind = WSL__V1__JOB_KIND__TRANSFER;
    spec->init = &init;
    assert_int_equal(wsl_jobspec_check(spec, &err), WSL_EINVAL);
    assert_string_equal(err.text, "init: is empty; must be job:NAME, job:ID or a path");
    spec->init = NULL;
    schedule.warmup_epochs = INFINITY;
    spec->schedule = &schedule;
    assert_int_equal(wsl_jobspec_check(spec, &err), WSL_EINVAL);
    spec->schedule = NULL;
    memset(long_name, 'a', 65);
    long_name[65] = '\0';
    spec->name = long_name;
    assert_int_equal(wsl_jobspec_check(spec, &err), WSL_EINVAL);
    spec->name = name;
    assert_int_equal(wsl_jobspec_check(spec, &err), 0);
    drop(spec);
}

static void test_explain(void **state)
{
    struct wsl_buf out = {0};
    struct wsl_jobspec_field field;

    (void)state;
    assert_int_equal(wsl_jobspec_explain(&out), 0);
    for (size_t i = 0; i < wsl_jobspec_field_count(); i++) {
        wsl_jobspec_field(i, &field);
        assert_non_null(strstr((char *)out.data, field.path));
        assert_true(strlen(field.help) > 5);
        assert_true(strlen(field.allowed) > 2);
    }
    wsl_buf_free(&out);
}

/* Bytes changed, dropped, doubled and mixed: any text ends in a specification that checks and round
 * trips, or in one line. */
static void test_mutations(void **state)
{
    static const char odd[] = "\n\t :-[]{}&*!|>'\"%@`#,?0123456789.eE~\xff\xc3\0x";
    const uint64_t seed = 20180502;
    uint64_t n = 0;
    char text[2048];

    (void)state;
    for (int round = 0; round < 4000; round++) {
        const char *from = round & 1 ? minimal : whole;
        size_t size = strlen(from);
        struct lines lines = {0};
        struct wsl_err err = {0};
        Wsl__V1__JobSpec *spec = NULL;

        memcpy(text, from, size);
        for (uint64_t k = wsl_mix64(seed, n++) % 6 + 1; k > 0; k--) {
            size_t at = wsl_mix64(seed, n++) % size;

            switch (wsl_mix64(seed, n++) % 4) {
            case 0:
                text[at] = odd[wsl_mix64(seed, n++) % (sizeof odd - 1)];
                break;
            case 1:
                memmove(text + at, text + at + 1, size - at - 1);
                size--;
                break;
            case 2:
                text[at] = (char)wsl_mix64(seed, n++);
                break;
            default: /* a run from elsewhere */
                memmove(text + at, from + wsl_mix64(seed, n++) % (strlen(from) - 20),
                        size - at < 20 ? size - at : 20);
            }
        }
        if (parse("m", text, size, &spec, &lines, &err) == 0) {
            assert_int_equal(wsl_jobspec_check(spec, &err), 0);
            round_trip(spec);
            drop(spec);
        } else {
            assert_true(lines.count >= 1 && lines.count <= 20);
            assert_true(err.text[0] != '\0');
        }
        wsl_buf_free(&lines.text);
    }
}

/* Batch norm over one value a channel is refused, over more it is not: what is left of the image
 * after the strides, times the images of a pass. Zeros and absent messages are the defaults. */
static void test_norm_values(void **state)
{
    static const struct {
        uint32_t stages, image_size, batch, world, micro_batches;
        uint64_t values;
    } rows[] = {
        {4, 32, 8, 2, 4, 1},     {4, 32, 8, 2, 2, 2},      {4, 64, 8, 2, 4, 4},
        {3, 32, 8, 2, 4, 4},     {1, 32, 1, 0, 0, 64},     {4, 32, 1, 0, 0, 1},
        {4, 0, 1, 1, 1, 49},     {4, 224, 24, 1, 1, 1176}, {4, 96, 336, 336, 1, 9},
        {4, 32, 336, 336, 1, 1}, {2, 32, 336, 336, 1, 16},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Wsl__V1__JobSpec *spec = good(minimal);
        struct wsl_err err = {0};
        uint32_t side;
        int r;

        spec->model->n_depths = rows[i].stages;
        spec->model->image_size = rows[i].image_size;
        spec->batch = rows[i].batch;
        spec->world = rows[i].world;
        spec->micro_batches = rows[i].micro_batches;
        assert_int_equal(wsl_jobspec_norm_values(spec, &side), rows[i].values);
        r = wsl_jobspec_check(spec, &err);
        assert_int_equal(r, rows[i].values == 1 ? WSL_EINVAL : 0);
        if (r < 0)
            assert_non_null(strstr(err.text, "batch: batch norm of stage 4 would have one value a "
                                             "channel (1x1 pixels of one image) and learn nothing; "
                                             "give model.image_size 64, or more images to a pass"));
        drop(spec);
    }
}

static void test_suggest(void **state)
{
    const char *best = NULL;
    size_t distance = SIZE_MAX;

    (void)state;
    assert_int_equal(wsl_suggest_distance("", "abc"), 3);
    assert_int_equal(wsl_suggest_distance("abcd", "abdc"), 1);
    assert_int_equal(wsl_suggest_distance("kitten", "sitting"), 3);
    assert_int_equal(wsl_suggest_distance("max-steps", "Max_steps"), 0);
    wsl_suggest_try("sumbit", "list", &best, &distance);
    assert_null(best);
    wsl_suggest_try("sumbit", "submit", &best, &distance);
    assert_string_equal(best, "submit");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_minimal_and_fill),
        cmocka_unit_test(test_all_fields),
        cmocka_unit_test(test_short_forms),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_no_map),
        cmocka_unit_test(test_encodings),
        cmocka_unit_test(test_many_mistakes),
        cmocka_unit_test(test_size_and_depth),
        cmocka_unit_test(test_sets),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_check_foreign),
        cmocka_unit_test(test_explain),
        cmocka_unit_test(test_mutations),
        cmocka_unit_test(test_norm_values),
        cmocka_unit_test(test_suggest),
        cmocka_unit_test(test_published_networks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
