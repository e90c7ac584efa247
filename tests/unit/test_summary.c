/* SPDX-License-Identifier: Apache-2.0
 *
 * Nets on paper: layers, tensors and memory against the fenced numbers and against real nets;
 * configs found from tensors. */
#include "base/resnext.h"
#include "kernels/cpu/cpu.h"
#include "kernels/model/internal.h"
#include "kernels/model/summary.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

static struct wsl_net_config named(const char *name, int image_size, int classes)
{
    struct wsl_net_config config = {.image_size = image_size, .classes = classes};

    assert_int_equal(wsl_net_config_by_name(name, &config), 0);
    return config;
}

static struct wsl_net_config odd(void)
{
    return (struct wsl_net_config){
        .stages = 3, .depths = {2, 1, 1}, .groups = 2, .width = 3, .image_size = 64, .classes = 7};
}

static struct wsl_net_summary *summary_of(const struct wsl_net_config *config)
{
    struct wsl_net_summary *summary = NULL;
    struct wsl_err err = {0};

    if (wsl_net_summary_open(&summary, config, &err))
        fail_msg("%s", err.text);
    return summary;
}

/* ---- layers ---- */

static void test_layers_add_up_to_the_published_sizes(void **state)
{
    static const struct {
        const char *name;
        double parameters, macs; /* millions, thousand millions */
        size_t layers;
    } known[] = {
        {"resnext50_32x4d", 25.03, 4.23, 54},      {"resnext101_32x4d", 44.18, 7.97, 105},
        {"resnext101_32x8d", 88.79, 16.41, 105},   {"resnext101_32x16d", 194.03, 36.16, 105},
        {"resnext101_32x32d", 468.53, 87.11, 105}, {"resnext101_32x48d", 828.41, 153.31, 105},
    };

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        struct wsl_net_config config = named(known[i].name, 224, 1000);
        struct wsl_net_summary *summary = summary_of(&config);
        uint64_t parameters = 0, macs = 0;

        assert_string_equal(wsl_net_config_name(&config), known[i].name);
        assert_int_equal(wsl_net_summary_layer_count(summary), known[i].layers);
        for (size_t l = 0; l < known[i].layers; l++) {
            parameters += wsl_net_summary_layer(summary, l)->parameters;
            macs += wsl_net_summary_layer(summary, l)->macs;
        }
        assert_int_equal(lround((double)parameters * 1e-4), lround(known[i].parameters * 100));
        assert_int_equal(lround((double)macs * 1e-7), lround(known[i].macs * 100));
        assert_int_equal(parameters, wsl_net_parameter_count(&config));
        assert_int_equal(macs, wsl_net_macs(&config));
        wsl_net_summary_close(summary);
    }
}

static void expect_layer(const struct wsl_net_summary *summary, size_t i,
                         struct wsl_net_layer_info want)
{
    const struct wsl_net_layer_info *is = wsl_net_summary_layer(summary, i);

    assert_string_equal(is->name, want.name);
    assert_int_equal(is->kernel, want.kernel);
    assert_int_equal(is->stride, want.stride);
    assert_int_equal(is->groups, want.groups);
    assert_int_equal(is->channels, want.channels);
    assert_int_equal(is->height, want.height);
    assert_int_equal(is->width, want.width);
    assert_int_equal(is->parameters, want.parameters);
    assert_int_equal(is->macs, want.macs);
    assert_int_equal(is->activation_bytes, want.activation_bytes);
}

static void test_layers_one_by_one(void **state)
{
    struct wsl_net_config config = named("resnext50_32x4d", 224, 1000);
    struct wsl_net_summary *summary = summary_of(&config);

    (void)state;
    expect_layer(summary, 0,
                 (struct wsl_net_layer_info){"conv1", 7, 2, 1, 64, 112, 112, 64 * 147 + 128,
                                             64 * 147 * 112 * 112, 64 * 112 * 112 * 4});
    expect_layer(summary, 2,
                 (struct wsl_net_layer_info){"layer1.0.conv2", 3, 1, 32, 128, 56, 56,
                                             128 * 4 * 9 + 256, 128 * 4 * 9 * 56 * 56,
                                             128 * 56 * 56 * 4});
    expect_layer(summary, 4,
                 (struct wsl_net_layer_info){"layer1.0.downsample.0", 1, 1, 1, 256, 56, 56,
                                             256 * 64 + 512, 256 * 64 * 56 * 56,
                                             256 * 56 * 56 * 4});
    expect_layer(summary, 12,
                 (struct wsl_net_layer_info){"layer2.0.conv2", 3, 2, 32, 256, 28, 28,
                                             256 * 8 * 9 + 512, 256 * 8 * 9 * 28 * 28,
                                             256 * 28 * 28 * 4});
    expect_layer(summary, 53,
                 (struct wsl_net_layer_info){"fc", 1, 1, 1, 1000, 1, 1, 2049000, 2048000, 4000});
    wsl_net_summary_close(summary);
}

static void test_names_go_both_ways(void **state)
{
    struct wsl_net_config config;
    size_t i = 0;

    (void)state;
    for (; wsl_net_config_known(i); i++) {
        const struct wsl_resnext *known = wsl_resnext_known(i);

        config = named(wsl_net_config_known(i), 224, 10);
        assert_string_equal(wsl_net_config_known(i), known->name);
        assert_memory_equal(config.depths, known->depths, sizeof config.depths);
        assert_int_equal(config.groups, known->groups);
        assert_int_equal(config.width, known->width);
        assert_int_equal(wsl_net_config_check(&config, NULL), 0);
        assert_string_equal(wsl_net_config_name(&config), wsl_net_config_known(i));
    }
    assert_null(wsl_resnext_known(i));
    assert_true(i >= 6);
    config = odd();
    assert_null(wsl_net_config_name(&config));
}

static void test_bad_configs_are_named(void **state)
{
    struct wsl_net_config config = odd();
    struct wsl_net_summary *summary = NULL;
    struct wsl_err err = {0};

    (void)state;
    config.image_size = 48;
    assert_int_equal(wsl_net_summary_open(&summary, &config, &err), WSL_EINVAL);
    assert_non_null(strstr(err.text, "image_size is 48"));
    assert_null(summary);
}

/* ---- tensors and memory, against real nets ---- */

static void test_tensors_are_those_of_a_net(void **state)
{
    struct wsl_net_setup setup = {.config = odd(), .backend = "cpu", .batch = 1, .threads = 1};
    struct wsl_net_summary *summary = summary_of(&setup.config);
    struct wsl_net *net;

    (void)state;
    assert_int_equal(wsl_net_open(&net, &setup, NULL), 0);
    assert_int_equal(wsl_net_summary_tensor_count(summary), wsl_net_tensor_count(net));
    for (size_t i = 0; i < wsl_net_tensor_count(net); i++) {
        const struct wsl_tensor_info *a = wsl_net_summary_tensor(summary, i);
        const struct wsl_tensor_info *b = wsl_net_tensor(net, i);

        assert_string_equal(a->name, b->name);
        assert_int_equal(a->kind, b->kind);
        assert_int_equal(a->dims, b->dims);
        assert_memory_equal(a->shape, b->shape, sizeof a->shape);
        assert_int_equal(a->head, b->head);
    }
    wsl_net_close(net);
    wsl_net_summary_close(summary);
}

static void check_memory(const char *backend, bool inference_only, int micro_batch)
{
    struct wsl_net_setup setup = {.config = odd(),
                                  .backend = backend,
                                  .batch = 5,
                                  .micro_batch = micro_batch,
                                  .threads = 1,
                                  .inference_only = inference_only};
    struct wsl_net_memory memory;
    struct wsl_net *net;
    size_t parameters, statistics;

    assert_int_equal(wsl_net_memory(&setup, &memory, NULL), 0);
    assert_int_equal(wsl_net_open(&net, &setup, NULL), 0);
    wsl_net_parameters(net, &parameters);
    wsl_net_statistics(net, &statistics);
    assert_string_equal(memory.backend, backend);
    assert_int_equal(memory.parameters, parameters * sizeof(float));
    assert_int_equal(memory.gradients, inference_only ? 0 : memory.parameters);
    assert_int_equal(memory.momentum, memory.gradients);
    assert_int_equal(memory.statistics, statistics * sizeof(float));
    assert_true(memory.batch_statistics > 0);
    assert_int_equal(memory.activations, net->program.arena_bytes);
    assert_int_equal(memory.accumulated_gradients, micro_batch == 2 ? memory.gradients : 0);
    if (strcmp(backend, "cpu") == 0) {
        assert_true(memory.workspace > 0);
        assert_int_equal(memory.total, net->dev->memory.bytes); /* to the byte */
    }
    assert_int_equal(memory.workspace_more, 0);
    assert_int_equal(memory.total, memory.parameters + memory.gradients + memory.momentum +
                                       memory.accumulated_gradients + memory.statistics +
                                       memory.batch_statistics + memory.activations +
                                       memory.workspace);
    wsl_net_close(net);
}

static void test_memory_is_that_of_a_net(void **state)
{
    (void)state;
    check_memory("cpu", false, 0);
    check_memory("cpu", true, 0);
    check_memory("ref", false, 0);
    check_memory("cpu", false, 5);
    check_memory("cpu", false, 2);
    check_memory("cpu", true, 2);
}

/* Activations of a batch in pieces are those of a piece. */
static void test_memory_of_pieces(void **state)
{
    struct wsl_net_setup whole = {.config = odd(), .backend = "cpu", .batch = 8, .threads = 1};
    struct wsl_net_setup pieces = whole, small = whole;
    struct wsl_net_memory a, b, c;

    (void)state;
    pieces.micro_batch = 2;
    small.batch = 2;
    assert_int_equal(wsl_net_memory(&whole, &a, NULL), 0);
    assert_int_equal(wsl_net_memory(&pieces, &b, NULL), 0);
    assert_int_equal(wsl_net_memory(&small, &c, NULL), 0);
    assert_int_equal(b.activations, c.activations);
    assert_true(b.activations < a.activations / 3);
}

/* What could never be had here is still told, and nothing of it is taken. */
static void test_memory_is_not_taken(void **state)
{
    struct wsl_net_setup setup = {.config = named("resnext50_32x4d", 224, 1000),
                                  .backend = "cpu",
                                  .batch = 4096,
                                  .threads = 1};
    struct wsl_net_memory memory;
    struct rusage before, after;
    struct wsl_err err = {0};

    (void)state;
    getrusage(RUSAGE_SELF, &before);
    if (wsl_net_memory(&setup, &memory, &err))
        fail_msg("%s", err.text);
    getrusage(RUSAGE_SELF, &after);
    assert_true(memory.activations > (uint64_t)200 << 30);
    assert_true(after.ru_maxrss - before.ru_maxrss < 100 << 10);
}

static void test_memory_refuses_what_open_refuses(void **state)
{
    struct wsl_net_setup setup = {.config = odd(), .backend = "abacus", .batch = 1, .threads = 1};
    struct wsl_net_memory memory;
    struct wsl_err err = {0};

    (void)state;
    assert_int_equal(wsl_net_memory(&setup, &memory, &err), WSL_ENOENT);
    assert_non_null(strstr(err.text, "abacus"));
    setup.backend = "ref";
    setup.batch = 0;
    assert_int_equal(wsl_net_memory(&setup, &memory, &err), WSL_EINVAL);
    assert_non_null(strstr(err.text, "batch is 0"));
}

/* ---- from tensors to a config ---- */

struct tensors {
    struct wsl_tensor_shape *items;
    size_t count;
    struct wsl_net_summary *summary; /* the names are its */
};

/* All tensors of a net, as a file of it would have them, with PyTorch's counters. */
static struct tensors tensors_of(const struct wsl_net_config *config)
{
    struct tensors t = {.summary = summary_of(config)};
    size_t count = wsl_net_summary_tensor_count(t.summary);

    t.items = calloc(count + 1, sizeof *t.items);
    assert_non_null(t.items);
    for (size_t i = 0; i < count; i++) {
        const struct wsl_tensor_info *info = wsl_net_summary_tensor(t.summary, i);
        struct wsl_tensor_shape *item = &t.items[t.count++];

        item->name = info->name;
        item->dims = info->dims;
        memcpy(item->shape, info->shape, sizeof item->shape);
    }
    t.items[t.count++] = (struct wsl_tensor_shape){.name = "bn1.num_batches_tracked"};
    return t;
}

static void drop(struct tensors *t, const char *name)
{
    size_t kept = 0;

    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->items[i].name, name) != 0)
            t->items[kept++] = t->items[i];
    assert_int_equal(kept, t->count - 1);
    t->count = kept;
}

static struct wsl_tensor_shape *item(struct tensors *t, const char *name)
{
    for (size_t i = 0; i < t->count; i++)
        if (strcmp(t->items[i].name, name) == 0)
            return &t->items[i];
    fail_msg("there is no %s", name);
    return NULL;
}

static void free_tensors(struct tensors *t)
{
    wsl_net_summary_close(t->summary);
    free(t->items);
}

static void find_again(struct wsl_net_config config)
{
    struct tensors t = tensors_of(&config);
    struct wsl_net_config found = {.image_size = config.image_size};
    struct wsl_err err = {0};

    if (wsl_net_config_from_tensors(t.items, t.count, &found, &err))
        fail_msg("%s", err.text);
    assert_memory_equal(&found, &config, sizeof found);
    if (wsl_net_summary_compare(t.summary, 0, t.items, t.count,
                                (struct wsl_fault_report){NULL, NULL}, &err))
        fail_msg("%s", err.text);
    free_tensors(&t);
}

static void test_configs_are_found_from_tensors(void **state)
{
    (void)state;
    for (size_t i = 0; wsl_net_config_known(i); i++)
        find_again(named(wsl_net_config_known(i), 224, 1000 + (int)i));
    find_again(odd());
    find_again((struct wsl_net_config){1, {12}, 3, 5, 32, 1});
}

static void test_the_first_stage_need_not_be_whole(void **state)
{
    struct wsl_net_config config = odd(), found = {.image_size = 64};
    struct tensors t = tensors_of(&config);
    struct wsl_err err = {0};

    (void)state;
    drop(&t, "layer1.0.conv2.weight");
    assert_int_equal(wsl_net_config_from_tensors(t.items, t.count, &found, &err), 0);
    assert_memory_equal(&found, &config, sizeof found);
    free_tensors(&t);
}

static void test_a_backbone_has_no_classes(void **state)
{
    struct wsl_net_config config = odd(), found = {0};
    struct tensors t = tensors_of(&config);
    struct wsl_err err = {0};

    (void)state;
    drop(&t, "fc.weight");
    drop(&t, "fc.bias");
    assert_int_equal(wsl_net_config_from_tensors(t.items, t.count, &found, &err), 0);
    assert_int_equal(found.classes, 0);
    assert_int_equal(wsl_net_summary_compare(t.summary, WSL_WITHOUT_HEAD, t.items, t.count,
                                             (struct wsl_fault_report){NULL, NULL}, &err),
                     0);
    assert_int_equal(wsl_net_summary_compare(t.summary, 0, t.items, t.count,
                                             (struct wsl_fault_report){NULL, NULL}, &err),
                     WSL_EINVAL);
    assert_string_equal(err.text, "fc.weight is missing; it should be [7, 1024]");
    free_tensors(&t);
}

static void refuse(const struct tensors *t, const char *text)
{
    struct wsl_net_config found = {.image_size = 99};
    struct wsl_err err = {0};

    assert_int_equal(wsl_net_config_from_tensors(t->items, t->count, &found, &err), WSL_EINVAL);
    if (!strstr(err.text, text))
        fail_msg("\"%s\" does not say \"%s\"", err.text, text);
    assert_int_equal(found.image_size, 99); /* untouched */
    assert_int_equal(found.stages, 0);
}

static void test_what_decides_must_be_right(void **state)
{
    struct wsl_net_config config = odd();
    struct tensors t = tensors_of(&config), none = {0}, other = tensors_of(&config);
    struct wsl_tensor_shape *conv = item(&t, "layer1.0.conv2.weight");
    const struct wsl_tensor_shape good = *conv;

    (void)state;
    refuse(&none, "no tensor is named layer1.0.*");
    other.items[0].name = "module.conv1.weight";
    other.count = 1;
    refuse(&other, "the first of 1 is module.conv1.weight");
    other.items[0].name = "layer2.0.conv1.weight";
    refuse(&other, "there is a layer2, but no layer1.0");
    other.items[0].name = "layer1.0.conv1.weight";
    refuse(&other, "layer1.0.conv2.weight is missing");
    conv->dims = 2;
    refuse(&t, "layer1.0.conv2.weight is not the 3x3 convolution of a ResNeXt");
    *conv = good;
    conv->shape[1] = 0;
    refuse(&t, "layer1.0.conv2.weight is not");
    conv->shape[1] = 4;
    refuse(&t, "layer1.0.conv2.weight is not");
    *conv = good;
    item(&t, "fc.weight")->dims = 0;
    refuse(&t, "fc.weight has a shape that is no head's");
    free_tensors(&t);
    free_tensors(&other);
}

struct lines {
    char text[8][320];
    int count;
};

static void take_line(void *context, const char *line)
{
    struct lines *lines = context;

    assert_true(lines->count < 8);
    snprintf(lines->text[lines->count++], sizeof lines->text[0], "%s", line);
}

static void test_every_fault_is_told(void **state)
{
    struct wsl_net_config config = odd();
    struct tensors t = tensors_of(&config);
    struct lines lines = {0};
    struct wsl_err err = {0};

    (void)state;
    drop(&t, "layer1.1.bn2.running_var");
    item(&t, "layer2.0.conv3.weight")->shape[0] = 500;
    item(&t, "layer3.0.bn1.bias")->dims = 5;
    t.items[t.count++] = (struct wsl_tensor_shape){.name = "layer1.0.extra"};
    assert_int_equal(wsl_net_summary_compare(t.summary, 0, t.items, t.count,
                                             (struct wsl_fault_report){take_line, &lines}, &err),
                     WSL_EINVAL);
    assert_string_equal(err.text, "layer1.1.bn2.running_var is missing; it should be [6]");
    assert_int_equal(lines.count, 4);
    assert_string_equal(lines.text[0], err.text);
    assert_string_equal(lines.text[1],
                        "layer2.0.conv3.weight is [500, 12, 1, 1]; it should be [512, 12, 1, 1]");
    assert_string_equal(lines.text[2],
                        "layer3.0.bn1.bias is [24, 0, 0, 0, ...]; it should be [24]");
    assert_string_equal(lines.text[3], "layer1.0.extra is not a tensor of this net");
    free_tensors(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layers_add_up_to_the_published_sizes),
        cmocka_unit_test(test_layers_one_by_one),
        cmocka_unit_test(test_names_go_both_ways),
        cmocka_unit_test(test_bad_configs_are_named),
        cmocka_unit_test(test_tensors_are_those_of_a_net),
        cmocka_unit_test(test_memory_is_that_of_a_net),
        cmocka_unit_test(test_memory_of_pieces),
        cmocka_unit_test(test_memory_is_not_taken),
        cmocka_unit_test(test_memory_refuses_what_open_refuses),
        cmocka_unit_test(test_configs_are_found_from_tensors),
        cmocka_unit_test(test_the_first_stage_need_not_be_whole),
        cmocka_unit_test(test_a_backbone_has_no_classes),
        cmocka_unit_test(test_what_decides_must_be_right),
        cmocka_unit_test(test_every_fault_is_told),
    };

    return cmocka_run_group_tests_name("summary", tests, NULL, NULL);
}
