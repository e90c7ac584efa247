/* SPDX-License-Identifier: Apache-2.0
 *
 * Our nets against PyTorch's: fixtures made by oracle/make_fixture.py, which explains them. The
 * backends start from the same formula and must agree to 1e-4 of the largest value of each tensor.
 */
#include "kernels/model/net.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TOLERANCE 1e-4
#define BATCH_MAX 8

/* The same as in make_fixture.py. */
static double noise(const char *prefix, const char *name, size_t i)
{
    uint64_t key = 14695981039346656037u, x;

    for (const char *c = prefix; *c; c++)
        key = (key ^ (uint8_t)*c) * 1099511628211u;
    for (const char *c = name; *c; c++)
        key = (key ^ (uint8_t)*c) * 1099511628211u;
    x = (i + 1) * 0x9E3779B97F4A7C15u + key;
    x ^= x >> 29;
    x *= 0xBF58476D1CE4E5B9u;
    x ^= x >> 32;
    return (double)(x & 0xFFFFFF) / 16777216 - 0.5;
}

static bool ends_with(const char *text, const char *end)
{
    return strlen(text) >= strlen(end) && strcmp(text + strlen(text) - strlen(end), end) == 0;
}

static float first_value(const struct wsl_tensor_info *info, size_t i)
{
    double u = noise("", info->name, i);

    if (info->dims == 4)
        return (float)(u * sqrt(24.0 / (double)(info->shape[1] * info->shape[2] * info->shape[3])));
    if (info->dims == 2)
        return (float)(u * 0.5);
    if (ends_with(info->name, "running_var"))
        return (float)(u + 1);
    if (ends_with(info->name, "weight"))
        return (float)(u * 0.5 + 1);
    return (float)(u * 0.4);
}

static void set_first_values(struct wsl_net *net)
{
    for (size_t t = 0; t < wsl_net_tensor_count(net); t++) {
        const struct wsl_tensor_info *info = wsl_net_tensor(net, t);
        float *values = malloc(info->count * sizeof *values);

        assert_non_null(values);
        for (size_t i = 0; i < info->count; i++)
            values[i] = first_value(info, i);
        wsl_net_set(net, t, WSL_TENSOR_VALUE, values);
        for (size_t i = 0; i < info->count; i++)
            values[i] = (float)(noise("momentum ", info->name, i) * 0.01);
        if (info->kind == WSL_TENSOR_WEIGHT)
            wsl_net_set(net, t, WSL_TENSOR_MOMENTUM, values);
        free(values);
    }
}

/* ---- a fixture ---- */

struct fixture {
    FILE *file;
    const char *name;
    struct wsl_net_config config;
    int batch;
    float rate, momentum, decay;
    uint8_t *pixels;
    uint32_t begin[BATCH_MAX + 1], tags[3 * BATCH_MAX];
    struct wsl_targets targets;
};

static void open_fixture(struct fixture *f, const char *name)
{
    char path[4096], versions[200], draw[16];
    struct wsl_net_config *c = &f->config;
    size_t bytes;

    *f = (struct fixture){.name = name};
    snprintf(path, sizeof path, "%s/%s.txt", WSL_ORACLE_DIRECTORY, name);
    f->file = fopen(path, "r");
    if (!f->file)
        fail_msg("cannot open %s", path);
    assert_non_null(fgets(versions, sizeof versions, f->file));
    assert_int_equal(fscanf(f->file, "%d %d %d %d %d %d %d %d %d %d %15s %f %f %f", &c->stages,
                            &c->depths[0], &c->depths[1], &c->depths[2], &c->depths[3], &c->groups,
                            &c->width, &c->image_size, &f->batch, &c->classes, draw, &f->rate,
                            &f->momentum, &f->decay),
                     14);
    assert_in_range(f->batch, 1, BATCH_MAX);
    bytes = (size_t)f->batch * (size_t)c->image_size * (size_t)c->image_size * 3;
    f->pixels = malloc(bytes);
    assert_non_null(f->pixels);
    for (size_t i = 0; i < bytes; i++)
        f->pixels[i] = (uint8_t)floor((noise("pixels", draw, i) + 0.5) * 256);
    for (uint32_t i = 0; i < (uint32_t)f->batch; i++) {
        f->begin[i + 1] = f->begin[i] + 1 + i % 3;
        for (uint32_t j = 0; j < 1 + i % 3; j++)
            f->tags[f->begin[i] + j] = (2 * i + 3 * j) % (uint32_t)c->classes;
    }
    f->targets = (struct wsl_targets){f->begin, f->tags};
}

static void close_fixture(struct fixture *f)
{
    fclose(f->file);
    free(f->pixels);
}

struct record {
    char kind[16], name[64];
    size_t stride, count;
    double norm, values[512];
};

static bool read_record(struct fixture *f, struct record *r)
{
    if (fscanf(f->file, "%15s %63s %zu %zu %lf", r->kind, r->name, &r->stride, &r->count,
               &r->norm) != 5)
        return false;
    assert_in_range(r->count, 1, 512);
    for (size_t i = 0; i < r->count; i++)
        assert_int_equal(fscanf(f->file, "%lf", &r->values[i]), 1);
    return true;
}

/* ---- comparing ---- */

struct run {
    struct fixture fixture;
    struct wsl_net *net;
    const char *backend;
    float *scratch;   /* room for any tensor */
    float *gradients; /* every tensor's, one after another, taken before the update */
    struct wsl_step_result trained, evaluated;
    float *logits;
    double worst;
    int compared;
};

static void compare(struct run *run, const struct record *r, const float *got, size_t count)
{
    double largest = 0, difference = 0, squares = 0;

    assert_int_equal(r->count, (count + r->stride - 1) / r->stride);
    for (size_t i = 0; i < count; i++)
        squares += (double)got[i] * (double)got[i];
    for (size_t i = 0; i < r->count; i++) {
        double d = fabs((double)got[i * r->stride] - r->values[i]);

        assert_true(isfinite(d));
        largest = fmax(largest, fabs(r->values[i]));
        difference = fmax(difference, d);
    }
    run->worst = fmax(run->worst, difference / largest);
    run->compared++;
    if (difference > TOLERANCE * largest)
        fail_msg("%s, %s: %s of %s is off by %g of %g", run->fixture.name, run->backend, r->kind,
                 r->name, difference, largest);
    if (fabs(sqrt(squares) - r->norm) > TOLERANCE * r->norm)
        fail_msg("%s, %s: the norm of the %s of %s is %g, should be %g", run->fixture.name,
                 run->backend, r->kind, r->name, sqrt(squares), r->norm);
}

static void compare_record(struct run *run, const struct record *r)
{
    size_t at = 0;

    if (strcmp(r->kind, "loss") == 0) {
        compare(run, r, (float[]){(float)run->trained.loss}, 1);
        return;
    }
    if (strcmp(r->kind, "evaluation") == 0) {
        compare(run, r, (float[]){(float)run->evaluated.loss}, 1);
        return;
    }
    if (strcmp(r->kind, "logits") == 0) {
        compare(run, r, run->logits,
                (size_t)run->fixture.batch * (size_t)run->fixture.config.classes);
        return;
    }
    for (size_t t = 0; t < wsl_net_tensor_count(run->net); t++) {
        const struct wsl_tensor_info *info = wsl_net_tensor(run->net, t);

        if (strcmp(info->name, r->name) != 0) {
            at += info->count;
            continue;
        }
        if (strcmp(r->kind, "gradient") == 0) {
            compare(run, r, run->gradients + at, info->count);
            return;
        }
        wsl_net_get(run->net, t,
                    strcmp(r->kind, "value") == 0 ? WSL_TENSOR_VALUE : WSL_TENSOR_MOMENTUM,
                    run->scratch);
        compare(run, r, run->scratch, info->count);
        return;
    }
    fail_msg("there is no tensor %s", r->name);
}

static void take_gradients(struct run *run)
{
    size_t total = 0, at = 0, largest = 0;

    for (size_t t = 0; t < wsl_net_tensor_count(run->net); t++) {
        size_t count = wsl_net_tensor(run->net, t)->count;

        total += count;
        largest = count > largest ? count : largest;
    }
    run->scratch = malloc(largest * sizeof(float));
    run->gradients = calloc(total, sizeof(float));
    assert_non_null(run->scratch);
    assert_non_null(run->gradients);
    for (size_t t = 0; t < wsl_net_tensor_count(run->net); t++) {
        const struct wsl_tensor_info *info = wsl_net_tensor(run->net, t);

        if (info->kind == WSL_TENSOR_WEIGHT)
            wsl_net_get(run->net, t, WSL_TENSOR_GRADIENT, run->gradients + at);
        at += info->count;
    }
}

static void compute(struct run *run)
{
    struct fixture *f = &run->fixture;
    struct wsl_net_setup setup = {
        .config = f->config, .backend = run->backend, .batch = f->batch, .threads = 1};
    struct wsl_err err = {0};

    if (wsl_net_open(&run->net, &setup, &err))
        fail_msg("%s", err.text);
    set_first_values(run->net);
    if (wsl_net_step(run->net, &(struct wsl_net_batch){f->pixels, f->targets, f->batch},
                     &(struct wsl_step_options){1 / (float)f->batch, NULL, NULL}, &run->trained,
                     &err))
        fail_msg("%s", err.text);
    take_gradients(run);
    wsl_net_update(run->net, f->rate, f->momentum, f->decay);
    run->logits = calloc((size_t)f->batch * (size_t)f->config.classes, sizeof(float));
    assert_non_null(run->logits);
    if (wsl_net_evaluate(run->net, &(struct wsl_net_batch){f->pixels, f->targets, f->batch},
                         run->logits, &run->evaluated, &err))
        fail_msg("%s", err.text);
}

static void check(const char *fixture, const char *backend, double most)
{
    struct run run = {.backend = backend};
    struct record record;

    open_fixture(&run.fixture, fixture);
    compute(&run);
    while (read_record(&run.fixture, &record))
        compare_record(&run, &record);
    assert_true(feof(run.fixture.file));
    assert_true(run.compared > 100);
    print_message("# %s, %s: %d tensors, worst relative error %.2g\n", fixture, backend,
                  run.compared, run.worst);
    assert_true(run.worst <= most);
    wsl_net_close(run.net);
    close_fixture(&run.fixture);
    free(run.scratch);
    free(run.gradients);
    free(run.logits);
}

/* ref computes in double: only its float blocks round. */
static void test_ref_main(void **state)
{
    (void)state;
    check("main", "ref", 1e-6);
}

static void test_ref_odd(void **state)
{
    (void)state;
    check("odd", "ref", 1e-6);
}

static void test_cpu_main(void **state)
{
    (void)state;
    check("main", "cpu", TOLERANCE);
}

static void test_cpu_odd(void **state)
{
    (void)state;
    check("odd", "cpu", TOLERANCE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ref_main),
        cmocka_unit_test(test_ref_odd),
        cmocka_unit_test(test_cpu_main),
        cmocka_unit_test(test_cpu_odd),
    };

    return cmocka_run_group_tests_name("oracle", tests, NULL, NULL);
}
