/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of weights: what net they are of, into a net, out of a checkpoint. Seeds are fixed. */
#include "base/buf.h"
#include "base/file.h"
#include "kernels/model/summary.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/model/model_file.h"
#include "tests/unit/tensor_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/wsl-test-model-file-XXXXXX";

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return wsl_file_remove_tree(folder, NULL);
}

static const char *in_folder(const char *name)
{
    static char path[4][4096];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static struct wsl_net_config small(void)
{
    return (struct wsl_net_config){
        .stages = 2, .depths = {2, 1}, .groups = 2, .width = 3, .image_size = 32, .classes = 7};
}

/* All tensors of a config; value j of tensor i is i + j / 1024. */
struct weights {
    struct wsl_net_summary *summary;
    struct wsl_named_tensor *items;
    size_t count;
};

static struct weights weights_of(struct wsl_net_config config)
{
    struct weights w = {0};

    assert_int_equal(wsl_net_summary_open(&w.summary, &config, NULL), 0);
    w.count = wsl_net_summary_tensor_count(w.summary);
    w.items = calloc(w.count, sizeof *w.items);
    assert_non_null(w.items);
    for (size_t i = 0; i < w.count; i++) {
        const struct wsl_tensor_info *info = wsl_net_summary_tensor(w.summary, i);
        struct wsl_named_tensor *t = &w.items[i];

        t->name = info->name;
        t->dims = info->dims;
        memcpy(t->shape, info->shape, sizeof t->shape);
        t->values = malloc(info->count * sizeof(float));
        assert_non_null(t->values);
        for (size_t j = 0; j < info->count; j++)
            t->values[j] = (float)i + (float)j / 1024;
    }
    return w;
}

static void free_weights(struct weights *w)
{
    for (size_t i = 0; i < w->count; i++)
        free(w->items[i].values);
    free(w->items);
    wsl_net_summary_close(w->summary);
}

static const char *write_weights(const char *name, const struct wsl_named_tensor *items,
                                 size_t count)
{
    const char *path = in_folder(name);

    assert_int_equal(write_tensors(path, items, count, NULL), 0);
    return path;
}

/* ---- check ---- */

static void test_a_whole_file(void **state)
{
    struct wsl_net_config config = small();
    struct weights w = weights_of(config);
    const char *path = write_weights("whole", w.items, w.count);
    struct wsl_model_file_info info;
    struct wsl_err err = {0};

    (void)state;
    if (wsl_model_file_check(path, &info, NULL, NULL, &err))
        fail_msg("%s", err.text);
    assert_int_equal(info.config.image_size, 0);
    info.config.image_size = config.image_size;
    assert_memory_equal(&info.config, &config, sizeof config);
    assert_string_equal(info.dtype, "F32");
    assert_int_equal(info.parameters, wsl_net_parameter_count(&config));
    assert_int_equal(info.tensors, w.count);
    assert_true(info.bytes > 4 * info.parameters);
    /* without the head, which lies last */
    path = write_weights("backbone", w.items, w.count - 2);
    if (wsl_model_file_check(path, &info, NULL, NULL, &err))
        fail_msg("%s", err.text);
    assert_int_equal(info.config.classes, 0);
    assert_int_equal(info.parameters, wsl_net_parameter_count(&config) - 7 * 513);
    free_weights(&w);
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

static void test_faults_are_named(void **state)
{
    struct weights w = weights_of(small());
    struct wsl_model_file_info info;
    struct lines lines = {0};
    struct wsl_err err = {0};
    char text[300];
    const char *path;

    (void)state;
    w.items[w.count - 1].shape[0] = 6; /* fc.bias */
    path = write_weights("faults", w.items + 1, w.count - 1);
    assert_int_equal(wsl_model_file_check(path, &info, take_line, &lines, &err), WSL_EINVAL);
    snprintf(text, sizeof text, "%s: conv1.weight is missing; it should be [64, 3, 7, 7]", path);
    assert_string_equal(err.text, text);
    assert_int_equal(lines.count, 2);
    assert_string_equal(lines.text[1], "fc.bias is [6]; it should be [7]");
    assert_int_equal(info.config.stages, 2); /* it is known all the same */
    /* nothing of a net */
    lines.count = 0;
    path = write_weights("one", w.items, 1);
    assert_int_equal(wsl_model_file_check(path, &info, take_line, &lines, &err), WSL_EINVAL);
    assert_int_equal(info.config.stages, 0);
    assert_int_equal(lines.count, 1);
    assert_non_null(strstr(lines.text[0], "no tensor is named layer1.0.*"));
    assert_int_equal(wsl_model_file_check(in_folder("none"), &info, NULL, NULL, &err), WSL_ENOENT);
    free_weights(&w);
}

/* A file with this header and as many bytes behind it, which take no room on the disk. */
static void write_sparse(const char *path, const struct wsl_buf *header, uint64_t bytes)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    uint64_t size = header->size;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, &size, 8), 8);
    assert_int_equal(write(fd, header->data, header->size), header->size);
    assert_int_equal(ftruncate(fd, (off_t)(8 + size + bytes)), 0);
    close(fd);
}

/* All tensors of a net, in types that follow one another. */
static uint64_t write_net(const char *path, const struct wsl_net_config *config,
                          const char *const *dtypes, int dtype_count)
{
    struct wsl_net_summary *summary;
    struct wsl_buf header = {0};
    uint64_t at = 0;

    assert_int_equal(wsl_net_summary_open(&summary, config, NULL), 0);
    wsl_buf_add_text(&header, "{\"bn1.num_batches_tracked\":{\"dtype\":\"I64\",\"shape\":[],"
                              "\"data_offsets\":[0,8]}");
    at = 8;
    for (size_t i = 0; i < wsl_net_summary_tensor_count(summary); i++) {
        const struct wsl_tensor_info *info = wsl_net_summary_tensor(summary, i);
        const char *dtype = dtypes[i % (size_t)dtype_count];
        uint64_t bytes = info->count * (strstr(dtype, "16") ? 2 : strstr(dtype, "64") ? 8 : 4);

        wsl_buf_add_format(&header, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", info->name, dtype);
        for (int d = 0; d < info->dims; d++)
            wsl_buf_add_format(&header, "%s%lld", d ? "," : "", (long long)info->shape[d]);
        wsl_buf_add_format(&header, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
                           (unsigned long long)(at + bytes));
        at += bytes;
    }
    wsl_buf_add_text(&header, "}");
    write_sparse(path, &header, at);
    wsl_buf_free(&header);
    wsl_net_summary_close(summary);
    return at;
}

static void test_types(void **state)
{
    static const char *const half[] = {"BF16"}, *const mixed[] = {"F32", "F16"},
                             *const wrong[] = {"F64"};
    struct wsl_net_config config = small();
    struct wsl_model_file_info info;
    struct wsl_err err = {0};
    const char *path = in_folder("types");

    (void)state;
    write_net(path, &config, half, 1);
    assert_int_equal(wsl_model_file_check(path, &info, NULL, NULL, &err), 0);
    assert_string_equal(info.dtype, "BF16");
    write_net(path, &config, mixed, 2);
    assert_int_equal(wsl_model_file_check(path, &info, NULL, NULL, &err), 0);
    assert_string_equal(info.dtype, "mixed");
    write_net(path, &config, wrong, 1);
    assert_int_equal(wsl_model_file_check(path, &info, NULL, NULL, &err), WSL_EINVAL);
    assert_non_null(strstr(err.text, "bn1.bias has dtype F64; F32, F16 and BF16 are read"));
}

/* ---- memory ---- */

static long peak_kib(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

/* 776 MB of weights take next to no memory to check. */
static void test_a_check_takes_little_memory(void **state)
{
    static const char *const single[] = {"F32"};
    struct wsl_net_config config = {.image_size = 224, .classes = 1000};
    const char *path = in_folder("large");
    struct wsl_model_file_info info;
    struct wsl_err err = {0};
    long before = peak_kib();

    (void)state;
    wsl_net_config_by_name("resnext101_32x16d", &config);
    assert_true(write_net(path, &config, single, 1) > 770000000u);
    if (wsl_model_file_check(path, &info, NULL, NULL, &err))
        fail_msg("%s", err.text);
    assert_string_equal(wsl_net_config_name(&info.config), "resnext101_32x16d");
    assert_in_range(info.parameters, 194020000, 194040000);
    assert_true(peak_kib() - before < 16 << 10);
    unlink(path);
}

/* 256 MiB, tensor by tensor: never more of it in memory than some. */
static void test_reading_keeps_no_second_copy(void **state)
{
    enum { TENSORS = 64, VALUES = 1 << 20 };
    struct wsl_named_tensor want = {.dims = 1, .shape = {VALUES}};
    struct wsl_safetensors *file;
    struct wsl_buf header = {0};
    const char *path = in_folder("stream");
    float *values = malloc(VALUES * sizeof *values);
    long before;

    (void)state;
    assert_non_null(values);
    for (int i = 0; i < TENSORS; i++)
        wsl_buf_add_format(&header,
                           "%s\"t%d\":{\"dtype\":\"F32\",\"shape\":[%d],\"data_offsets\":[%d,%d]}",
                           i ? "," : "{", i, VALUES, i * VALUES * 4, (i + 1) * VALUES * 4);
    wsl_buf_add_text(&header, "}");
    write_sparse(path, &header, (uint64_t)TENSORS * VALUES * 4);
    memset(values, 1, VALUES * sizeof *values);
    before = peak_kib();
    assert_int_equal(wsl_safetensors_open(&file, path, NULL), 0);
    want.values = values;
    for (int i = 0; i < TENSORS; i++) {
        char name[16];

        snprintf(name, sizeof name, "t%d", i);
        want.name = name;
        values[VALUES - 1] = 1;
        assert_int_equal(wsl_safetensors_read(file, &want, NULL), 0);
        assert_true(values[VALUES - 1] == 0);
    }
    assert_true(peak_kib() - before < 32 << 10);
    wsl_safetensors_close(file);
    wsl_buf_free(&header);
    free(values);
    unlink(path);
}

/* ---- load ---- */

static struct wsl_net *open_net(void)
{
    struct wsl_net_setup setup = {.config = small(), .backend = "ref", .batch = 1, .threads = 1};
    struct wsl_net *net;

    assert_int_equal(wsl_net_open(&net, &setup, NULL), 0);
    wsl_net_init(net, 1);
    return net;
}

static float first_value(struct wsl_net *net, size_t i, enum wsl_tensor_slot slot)
{
    float *values = malloc(wsl_net_tensor(net, i)->count * sizeof *values), first;

    assert_non_null(values);
    wsl_net_get(net, i, slot, values);
    first = values[0];
    free(values);
    return first;
}

/* What a file of momentum holds: no statistics. */
static size_t without_statistics(const struct weights *w, struct wsl_named_tensor *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < w->count; i++)
        if (wsl_net_summary_tensor(w->summary, i)->kind == WSL_TENSOR_WEIGHT)
            ret[n++] = w->items[i];
    return n;
}

static void test_load(void **state)
{
    struct weights w = weights_of(small());
    struct wsl_named_tensor trained[64];
    const char *path = write_weights("load", w.items, w.count);
    struct wsl_net *net = open_net();
    size_t last = w.count - 1; /* fc.bias, 0 at first */
    struct wsl_err err = {0};

    (void)state;
    assert_int_equal(wsl_model_file_load(net, path, WSL_TENSOR_VALUE, false, NULL, &err), 0);
    for (size_t i = 0; i + 2 < w.count; i++)
        assert_true(first_value(net, i, WSL_TENSOR_VALUE) == (float)i);
    assert_true(first_value(net, last, WSL_TENSOR_VALUE) == 0);
    assert_true(first_value(net, 0, WSL_TENSOR_MOMENTUM) == 0);
    assert_int_equal(wsl_model_file_load(net, path, WSL_TENSOR_VALUE, true, NULL, &err), 0);
    assert_true(first_value(net, last, WSL_TENSOR_VALUE) == (float)last);
    path = write_weights("momentum", trained, without_statistics(&w, trained));
    assert_int_equal(wsl_model_file_load(net, path, WSL_TENSOR_MOMENTUM, true, NULL, &err), 0);
    assert_true(first_value(net, last, WSL_TENSOR_MOMENTUM) == (float)last);
    wsl_net_close(net);
    free_weights(&w);
}

/* ---- load is strict ---- */

/* A load with or without the head fails with this text, and leaves the net as it was. */
static void refuse_load(struct wsl_net *net, const char *path, bool head, const char *text)
{
    struct wsl_err err = {0};
    float before = first_value(net, 0, WSL_TENSOR_VALUE);

    assert_int_equal(wsl_model_file_load(net, path, WSL_TENSOR_VALUE, head, NULL, &err),
                     WSL_EINVAL);
    if (!strstr(err.text, text))
        fail_msg("\"%s\" does not say \"%s\"", err.text, text);
    assert_true(first_value(net, 0, WSL_TENSOR_VALUE) == before);
}

static void test_another_net_is_not_loaded(void **state)
{
    static const struct {
        struct wsl_net_config config;
        const char *text;
    } others[] = {
        {{2, {12, 1}, 2, 3, 32, 7},
         " is blocks 12,1; groups 2; width 3, the model is blocks 2,1; groups 2; width 3: "
         "layer1.2.bn1.bias is not a tensor of this net"},
        {{2, {1, 1}, 2, 3, 32, 7}, "the model is blocks 2,1; groups 2; width 3: layer1.1."},
        {{3, {2, 1, 1}, 2, 3, 32, 7}, "layer3.0.bn1.bias is not a tensor of this net"},
        {{1, {2}, 2, 3, 32, 7}, "is blocks 2; groups 2; width 3, the model is"},
        {{2, {2, 1}, 3, 2, 32, 7}, "is blocks 2,1; groups 3; width 2, the model is"},
        {{4, {3, 4, 6, 3}, 32, 4, 32, 7},
         "is resnext50_32x4d, the model is blocks 2,1; groups 2; width 3: "},
    };
    struct wsl_net *net = open_net();

    (void)state;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct weights w = weights_of(others[i].config);
        const char *path = write_weights("other", w.items, w.count);

        refuse_load(net, path, false, others[i].text);
        refuse_load(net, path, true, "the model is blocks 2,1; groups 2; width 3: ");
        free_weights(&w);
    }
    wsl_net_close(net);
}

static void test_tensors_that_have_no_place(void **state)
{
    struct weights w = weights_of(small());
    struct wsl_named_tensor *more = calloc(w.count + 2, sizeof *more);
    struct wsl_net *net = open_net();
    struct wsl_err err = {0};
    float gate[4] = {1, 2, 3, 4};

    (void)state;
    assert_non_null(more);
    memcpy(more, w.items, w.count * sizeof *more);
    more[w.count] = (struct wsl_named_tensor){"layer1.0.se.fc1.weight", 2, {2, 2}, gate};
    refuse_load(net, write_weights("se", more, w.count + 1), false,
                "does not fit the model, blocks 2,1; groups 2; width 3: layer1.0.se.fc1.weight is "
                "not a tensor of this net");
    more[w.count].name = "fc.2.weight"; /* the head is two tensors, and no others */
    refuse_load(net, write_weights("head", more, w.count + 1), false, "fc.2.weight is not");
    more[w.count].name = "layer1.0.bn1.num_batches_tracked";
    assert_int_equal(wsl_model_file_load(net, write_weights("tracked", more, w.count + 1),
                                         WSL_TENSOR_VALUE, true, NULL, &err),
                     0);
    refuse_load(net, write_weights("less", w.items + 1, w.count - 1), false,
                "conv1.weight is missing; it should be [64, 3, 7, 7]");
    refuse_load(net, write_weights("headless", w.items, w.count - 2), true, "fc.weight is missing");
    more[w.count - 2].shape[0] = 9; /* a head of other classes, which is not wanted */
    more[w.count - 2].values = calloc(9 * 512, sizeof(float));
    more[w.count - 1].shape[0] = 9;
    more[w.count - 1].values = calloc(9, sizeof(float));
    assert_int_equal(wsl_model_file_load(net, write_weights("nine", more, w.count),
                                         WSL_TENSOR_VALUE, false, NULL, &err),
                     0);
    refuse_load(net, write_weights("nine", more, w.count), true,
                "fc.weight is [9, 512]; it should");
    free(more[w.count - 2].values);
    free(more[w.count - 1].values);
    free(more);
    wsl_net_close(net);
    free_weights(&w);
}

static void test_a_prefix_is_left_out(void **state)
{
    struct weights w = weights_of(small());
    struct wsl_model_file_info info;
    struct wsl_net *net = open_net();
    struct wsl_err err = {0};
    const char *path;

    (void)state;
    for (size_t i = 0; i < w.count; i++) {
        char name[100];

        snprintf(name, sizeof name, "module.%s", w.items[i].name);
        w.items[i].name = strdup(name);
    }
    path = write_weights("parallel", w.items, w.count);
    if (wsl_model_file_load(net, path, WSL_TENSOR_VALUE, true, &info, &err))
        fail_msg("%s", err.text);
    assert_string_equal(info.prefix, "module.");
    assert_true(first_value(net, w.count - 1, WSL_TENSOR_VALUE) == (float)(w.count - 1));
    if (wsl_model_file_check(path, &info, NULL, NULL, &err))
        fail_msg("%s", err.text);
    assert_string_equal(info.prefix, "module.");
    assert_int_equal(info.config.classes, 7);
    free((char *)w.items[3].name);
    w.items[3].name = strdup("queue"); /* as MoCo has one beside its net */
    path = write_weights("parallel", w.items, w.count);
    refuse_load(net, path, false, "the names of some tensors have a prefix that others do not");
    assert_int_equal(wsl_model_file_check(path, &info, NULL, NULL, &err), WSL_EINVAL);
    for (size_t i = 0; i < w.count; i++)
        free((char *)w.items[i].name);
    wsl_net_close(net);
    free_weights(&w);
}

static size_t index_of(const struct weights *w, const char *name)
{
    for (size_t i = 0; i < w->count; i++)
        if (strcmp(w->items[i].name, name) == 0)
            return i;
    fail_msg("no tensor %s", name);
    return 0;
}

static void test_values_are_checked(void **state)
{
    static const struct {
        const char *tensor;
        size_t element;
        float value;
        const char *text; /* NULL: fine */
    } rows[] = {
        {"layer1.1.bn2.running_var", 5, -1e-6f,
         "layer1.1.bn2.running_var is a variance and has a negative value (-1e-06, first at "
         "element 5 of 6)"},
        {"layer1.1.bn2.running_var", 5, 0, NULL},
        {"layer1.1.bn2.running_mean", 5, -1, NULL},
        {"layer2.0.conv1.weight", 3000, NAN,
         "layer2.0.conv1.weight is not finite (NaN, first at element 3000 of 3072)"},
        {"conv1.weight", 0, INFINITY,
         "conv1.weight is not finite (infinity, first at element 0 of"},
        {"layer2.0.downsample.0.weight", 131071, -INFINITY,
         "is not finite (-infinity, first at element 131071 of 131072)"},
        {"fc.bias", 6, NAN, "fc.bias is not finite (NaN, first at element 6 of 7)"},
    };
    struct wsl_net *net = open_net();

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct weights w = weights_of(small());
        struct wsl_model_file_info info;
        struct lines lines = {0};
        struct wsl_err err = {0};
        const char *path;

        w.items[index_of(&w, rows[i].tensor)].values[rows[i].element] = rows[i].value;
        path = write_weights("values", w.items, w.count);
        assert_int_equal(wsl_model_file_check(path, &info, take_line, &lines, &err),
                         rows[i].text ? WSL_EINVAL : 0);
        if (rows[i].text) {
            assert_int_equal(lines.count, 1);
            if (!strstr(lines.text[0], rows[i].text))
                fail_msg("\"%s\" does not say \"%s\"", lines.text[0], rows[i].text);
            refuse_load(net, path, false, rows[i].text);
        } else if (wsl_model_file_load(net, path, WSL_TENSOR_VALUE, false, NULL, &err)) {
            fail_msg("%s", err.text);
        }
        free_weights(&w);
    }
    wsl_net_close(net);
}

/* ---- export ---- */

static void write_checkpoint(const char *root, const struct weights *w,
                             struct wsl_net_config config, uint64_t step)
{
    struct wsl_checkpoint_info info = {
        .job_name = "test",
        .step = step,
        .batch = 1,
        .fingerprint = "0123456789abcdef0123456789abcdef",
        .stages = config.stages,
        .groups = config.groups,
        .width = config.width,
        .image_size = config.image_size,
        .classes = config.classes,
    };
    char where[4096];
    struct wsl_err err = {0};
    uint64_t bytes;

    memcpy(info.depths, config.depths, sizeof info.depths);
    if (wsl_checkpoint_write(root,
                             &(struct wsl_checkpoint_contents){&info, w->items, NULL, w->count, 0},
                             9, where, &bytes, &err))
        fail_msg("%s", err.text);
}

static int entries(const char *path)
{
    DIR *dir = opendir(path);
    int n = 0;

    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 2;
}

static void test_export(void **state)
{
    struct weights w = weights_of(small());
    struct wsl_model_file_info info;
    struct wsl_buf one = {0}, two = {0};
    struct wsl_err err = {0};
    char from[4096], into[4096], where[4096];

    (void)state;
    snprintf(from, sizeof from, "%s/checkpoints", folder);
    snprintf(into, sizeof into, "%s/exported/model.safetensors", folder);
    write_checkpoint(from, &w, small(), 3);
    w.items[0].values[0] = 99;
    write_checkpoint(from, &w, small(), 4);
    assert_int_equal(wsl_model_file_export(from, into, NULL, &info, where, &err), WSL_ENOENT);
    assert_int_equal(wsl_file_make_directories(in_folder("exported"), NULL), 0);
    if (wsl_model_file_export(from, into, NULL, &info, where, &err))
        fail_msg("%s", err.text);
    assert_string_equal(strrchr(where, '/'), "/step-000000000004");
    assert_int_equal(info.config.image_size, 32);
    assert_int_equal(info.config.classes, 7);
    wsl_file_read(in_folder("checkpoints/step-000000000004/model.safetensors"), 1 << 24, &one,
                  NULL);
    wsl_file_read(into, 1 << 24, &two, NULL);
    assert_int_equal(one.size, two.size);
    assert_memory_equal(one.data, two.data, one.size);
    wsl_buf_free(&one);
    wsl_buf_free(&two);
    /* never over a file */
    assert_int_equal(wsl_model_file_export(from, into, NULL, &info, where, &err), WSL_EEXIST);
    assert_non_null(strstr(err.text, "remove it, or give another name"));
    assert_int_equal(entries(in_folder("exported")), 1);
    free_weights(&w);
}

static void refuse(const char *from, const atomic_bool *cancel, int code, const char *text)
{
    struct wsl_model_file_info info;
    struct wsl_err err = {0};
    char into[4096], where[4096];

    wsl_file_make_directories(in_folder("refused"), NULL);
    snprintf(into, sizeof into, "%s/refused/model.safetensors", folder);
    assert_int_equal(wsl_model_file_export(from, into, cancel, &info, where, &err), code);
    if (!strstr(err.text, text))
        fail_msg("\"%s\" does not say \"%s\"", err.text, text);
    assert_int_equal(entries(in_folder("refused")), 0);
}

/* What a full disk does, too: bytes that cannot be had. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
}

static void test_export_refuses(void **state)
{
    struct weights w = weights_of(small());
    struct wsl_net_config other = small();
    atomic_bool cancelled = true;
    char from[4096], one[4200];
    int fd;

    (void)state;
    snprintf(from, sizeof from, "%s/bad", folder);
    snprintf(one, sizeof one, "%s/step-000000000001", from);
    refuse(from, NULL, WSL_ENOENT, "bad");
    write_checkpoint(from, &w, small(), 1);
    refuse(from, &cancelled, WSL_ECANCELLED, "was not written");
    limit_files(10000);
    refuse(from, NULL, wsl_err_from_errno(EFBIG), "refused/model.safetensors: File too large");
    limit_files(RLIM_INFINITY);
    other.depths[0] = 3;
    write_checkpoint(from, &w, other, 2);
    refuse(from, NULL, WSL_ECORRUPT, "is of another model than its manifest says");
    snprintf(one, sizeof one, "%s/step-000000000001/model.safetensors", from);
    fd = open(one, O_WRONLY);
    assert_int_equal(pwrite(fd, "x", 1, 100000), 1);
    close(fd);
    *strrchr(one, '/') = '\0';
    refuse(one, NULL, WSL_ECORRUPT, "is damaged");
    free_weights(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_whole_file),
        cmocka_unit_test(test_faults_are_named),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_a_check_takes_little_memory),
        cmocka_unit_test(test_reading_keeps_no_second_copy),
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_another_net_is_not_loaded),
        cmocka_unit_test(test_tensors_that_have_no_place),
        cmocka_unit_test(test_a_prefix_is_left_out),
        cmocka_unit_test(test_values_are_checked),
        cmocka_unit_test(test_export),
        cmocka_unit_test(test_export_refuses),
    };

    return cmocka_run_group_tests_name("model_file", tests, set_up, tear_down);
}
