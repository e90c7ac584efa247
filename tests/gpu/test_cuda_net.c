/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole nets on a GPU against the cpu backend: with floats, where only the order of sums differs,
 * and with bf16, as it trains. Exits 77, with the reason, where there is no GPU. Linked with the
 * fake_ files of this directory it runs without one, and tests the backend's C half. */
#include "base/args.h"
#include "kernels/model/net.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BATCH   8
#define CLASSES 11
#define SKIPPED 77
/* The fake GPU takes smaller ones: see cuda_host in tests/meson.build. */
#ifndef IMAGE
#define IMAGE   64
#define CONFIGS 3
#endif
#define USED (CONFIGS > 1 ? 1 : 0) /* the config of the tests that take one */

struct kind {
    const char *backend;
    bool f32;
    int micro_batch;
    bool recompute;
};

static const struct kind cpu = {"cpu", false, 0, false}, exact = {"cuda", true, 0, false},
                         bf16 = {"cuda", false, 0, false};

static const struct wsl_net_config configs[] = {
    /* Odd channels, no engine of which has tensor cores. */
    {.stages = 3, .depths = {2, 1, 1}, .groups = 2, .width = 3},
    {.stages = 4, .depths = {1, 2, 1, 1}, .groups = 32, .width = 4},
    {.stages = 2, .depths = {1, 1}, .groups = 32, .width = 48},
};
static struct wsl_cuda_settings settings;

static struct wsl_net *open_net(const struct wsl_net_config *config, struct kind kind)
{
    struct wsl_net_setup setup = {.config = *config,
                                  .backend = kind.backend,
                                  .batch = BATCH,
                                  .threads = 2,
                                  .f32 = kind.f32,
                                  .micro_batch = kind.micro_batch,
                                  .recompute = kind.recompute,
                                  .cuda = settings};
    struct wsl_net *net = NULL;
    struct wsl_err err = {0};

    setup.config.image_size = IMAGE;
    setup.config.classes = CLASSES;
    if (wsl_net_open(&net, &setup, &err))
        fail_msg("%s", err.text);
    wsl_net_init(net, 7);
    return net;
}

struct batch {
    uint8_t pixels[BATCH * IMAGE * IMAGE * 3];
    uint32_t begin[BATCH + 1], tags[2 * BATCH];
    struct wsl_targets targets;
};

/* Images whose colour says their first tag, in noise. */
static void make_batch(struct batch *b, uint32_t seed)
{
    b->begin[0] = 0;
    for (uint32_t i = 0; i < BATCH; i++) {
        uint32_t k = 1 + i % 2;

        b->begin[i + 1] = b->begin[i] + k;
        for (uint32_t j = 0; j < k; j++)
            b->tags[b->begin[i] + j] = (i + 3 * j) % CLASSES;
        for (size_t p = 0; p < (size_t)IMAGE * IMAGE * 3; p++) {
            seed = seed * 1664525 + 1013904223;
            b->pixels[i * IMAGE * IMAGE * 3 + p] =
                (uint8_t)((seed >> 26) + (p % 3 == i % 3 ? 20 * i : 10));
        }
    }
    b->targets = (struct wsl_targets){b->begin, b->tags};
}

static double step(struct wsl_net *net, const struct batch *b, int count)
{
    struct wsl_step_result result;
    struct wsl_err err = {0};

    if (wsl_net_step(net, &(struct wsl_net_batch){b->pixels, b->targets, count},
                     &(struct wsl_step_options){1.0f / (float)count, NULL, NULL}, &result, &err))
        fail_msg("%s", err.text);
    return result.loss / count;
}

/* Length of the difference against the length of the right one, over all values of a kind. */
static double distance(struct wsl_net *right, struct wsl_net *net, enum wsl_tensor_slot slot,
                       const char **ret_worst)
{
    double worst = 0;

    for (size_t i = 0; i < wsl_net_tensor_count(right); i++) {
        const struct wsl_tensor_info *info = wsl_net_tensor(right, i);
        float *a = malloc(info->count * sizeof *a), *b = malloc(info->count * sizeof *b);
        double off = 0, size = 1e-12;

        assert_true(a && b);
        if (info->kind == WSL_TENSOR_WEIGHT || slot == WSL_TENSOR_VALUE) {
            wsl_net_get(right, i, slot, a);
            wsl_net_get(net, i, slot, b);
            for (size_t k = 0; k < info->count; k++) {
                off += ((double)a[k] - (double)b[k]) * ((double)a[k] - (double)b[k]);
                size += (double)a[k] * (double)a[k];
            }
        }
        /* NaN is the worst. */
        if (!(sqrt(off / size) <= worst)) {
            worst = sqrt(off / size);
            *ret_worst = info->name;
        }
        free(a);
        free(b);
    }
    return worst;
}

static void close_enough(struct wsl_net *right, struct wsl_net *net, enum wsl_tensor_slot slot,
                         double most)
{
    const char *name = "";
    double worst = distance(right, net, slot, &name);

    print_message("# %s: %g off at most (%s)\n",
                  slot == WSL_TENSOR_GRADIENT ? "gradients" : "values", worst, name);
    if (!(worst <= most))
        fail_msg("%s is off by %g of its length; allowed is %g", name, worst, most);
}

static void check_step(struct kind kind, int count, double loss_off, double gradient_off)
{
    for (size_t i = 0; i < CONFIGS; i++) {
        struct wsl_net *right = open_net(&configs[i], cpu), *net = open_net(&configs[i], kind);
        struct batch b;
        double expected, got;

        make_batch(&b, 5);
        expected = step(right, &b, count);
        got = step(net, &b, count);
        print_message("# loss %g, cpu says %g\n", got, expected);
        assert_true(fabs(got - expected) <= loss_off * expected);
        close_enough(right, net, WSL_TENSOR_GRADIENT, gradient_off);
        wsl_net_close(right);
        wsl_net_close(net);
    }
}

static void test_floats_agree(void **state)
{
    (void)state;
    check_step(exact, BATCH, 1e-4, 2e-3);
    check_step(exact, BATCH - 3, 1e-4, 2e-3);
}

/* 8 bits of fraction through a dozen layers: directions, not digits. */
static void test_bf16_is_near(void **state)
{
    (void)state;
    check_step(bf16, BATCH, 0.02, 0.35);
    check_step(bf16, BATCH - 3, 0.02, 0.35);
}

static void test_updates_agree(void **state)
{
    struct wsl_net *right = open_net(&configs[USED], cpu), *net = open_net(&configs[USED], exact);
    struct batch b;

    (void)state;
    make_batch(&b, 9);
    for (int i = 0; i < 3; i++) {
        step(right, &b, BATCH);
        step(net, &b, BATCH);
        wsl_net_update(right, 0.01f, 0.9f, 1e-4f);
        wsl_net_update(net, 0.01f, 0.9f, 1e-4f);
    }
    close_enough(right, net, WSL_TENSOR_VALUE, 1e-2);
    wsl_net_close(right);
    wsl_net_close(net);
}

/* Every value of a net after some steps. */
static uint64_t bits_after(struct kind kind, int steps)
{
    struct wsl_net *net = open_net(&configs[USED], kind);
    uint64_t hash = 14695981039346656037u;
    struct batch b;

    for (int i = 0; i < steps; i++) {
        make_batch(&b, (uint32_t)i);
        step(net, &b, BATCH - i % 2);
        wsl_net_update(net, 0.05f, 0.9f, 1e-4f);
    }
    for (size_t i = 0; i < wsl_net_tensor_count(net); i++) {
        size_t count = wsl_net_tensor(net, i)->count;
        float *values = malloc(count * sizeof *values);

        assert_non_null(values);
        wsl_net_get(net, i, WSL_TENSOR_VALUE, values);
        for (size_t k = 0; k < count * sizeof *values; k++)
            hash = (hash ^ ((const uint8_t *)values)[k]) * 1099511628211u;
        free(values);
    }
    wsl_net_close(net);
    return hash;
}

static void test_same_bits_twice(void **state)
{
    (void)state;
    assert_true(bits_after(bf16, 4) == bits_after(bf16, 4));
    assert_true(bits_after(exact, 4) == bits_after(exact, 4));
    assert_true(bits_after(bf16, 4) != bits_after(bf16, 3));
}

static void test_it_learns(void **state)
{
    struct wsl_net *right = open_net(&configs[USED], cpu), *net = open_net(&configs[USED], bf16);
    double expected = 0, got = 0, first = 0;
    struct batch b;

    (void)state;
    make_batch(&b, 3);
    for (int i = 0; i < 10; i++) {
        expected = step(right, &b, BATCH);
        got = step(net, &b, BATCH);
        first = i == 0 ? got : first;
        print_message("# step %d: loss %g, cpu %g\n", i, got, expected);
        wsl_net_update(right, 0.02f, 0.9f, 1e-4f);
        wsl_net_update(net, 0.02f, 0.9f, 1e-4f);
    }
    assert_true(got < 0.6 * first);
    wsl_net_close(right);
    wsl_net_close(net);
}

/* Weights that others have written are the ones that compute: bf16 copies of old ones do not. */
static void test_new_weights_count(void **state)
{
    struct wsl_net *right = open_net(&configs[USED], bf16), *net = open_net(&configs[USED], bf16);
    struct batch b;

    (void)state;
    make_batch(&b, 4);
    for (int i = 0; i < 2; i++) {
        step(right, &b, BATCH);
        wsl_net_update(right, 0.1f, 0.9f, 1e-4f);
    }
    step(net, &b, BATCH);
    for (size_t i = 0; i < wsl_net_tensor_count(net); i++) {
        size_t count = wsl_net_tensor(net, i)->count;
        float *values = malloc(count * sizeof *values), *back = malloc(count * sizeof *back);

        assert_true(values && back);
        wsl_net_get(right, i, WSL_TENSOR_VALUE, values);
        wsl_net_set(net, i, WSL_TENSOR_VALUE, values);
        wsl_net_get(net, i, WSL_TENSOR_VALUE, back);
        assert_memory_equal(values, back, count * sizeof *values);
        free(values);
        free(back);
    }
    assert_true(step(net, &b, BATCH) == step(right, &b, BATCH));
    close_enough(right, net, WSL_TENSOR_GRADIENT, 0);
    wsl_net_close(right);
    wsl_net_close(net);
}

static void test_evaluation(void **state)
{
    struct wsl_net *right = open_net(&configs[USED], cpu), *net = open_net(&configs[USED], exact);
    float logits[2][BATCH * CLASSES];
    struct wsl_step_result results[2];
    struct wsl_err err = {0};
    struct batch b;

    (void)state;
    make_batch(&b, 6);
    step(right, &b, BATCH);
    step(net, &b, BATCH);
    assert_int_equal(wsl_net_evaluate(right,
                                      &(struct wsl_net_batch){b.pixels, b.targets, BATCH - 1},
                                      logits[0], &results[0], &err),
                     0);
    assert_int_equal(wsl_net_evaluate(net, &(struct wsl_net_batch){b.pixels, b.targets, BATCH - 1},
                                      logits[1], &results[1], &err),
                     0);
    for (int i = 0; i < (BATCH - 1) * CLASSES; i++)
        assert_true(fabsf(logits[0][i] - logits[1][i]) < 1e-3f + 1e-2f * fabsf(logits[0][i]));
    assert_true(fabs(results[0].loss - results[1].loss) < 1e-2);
    wsl_net_close(right);
    wsl_net_close(net);
}

static void test_pieces_and_recompute(void **state)
{
    struct kind cpu_pieces = {"cpu", false, 3, false}, pieces = {"cuda", true, 3, false};
    struct kind again = {"cuda", false, 3, true}, kept = {"cuda", false, 3, false};
    struct wsl_net *right = open_net(&configs[USED], cpu_pieces);
    struct wsl_net *net = open_net(&configs[USED], pieces);
    struct batch b;

    (void)state;
    make_batch(&b, 8);
    assert_true(fabs(step(right, &b, BATCH) - step(net, &b, BATCH)) < 1e-3);
    close_enough(right, net, WSL_TENSOR_GRADIENT, 2e-3);
    wsl_net_close(right);
    wsl_net_close(net);
    right = open_net(&configs[USED], kept);
    net = open_net(&configs[USED], again);
    for (int i = 0; i < 2; i++) {
        assert_true(step(right, &b, BATCH) == step(net, &b, BATCH));
        close_enough(right, net, WSL_TENSOR_GRADIENT, 0);
        wsl_net_update(right, 0.05f, 0.9f, 1e-4f);
        wsl_net_update(net, 0.05f, 0.9f, 1e-4f);
    }
    close_enough(right, net, WSL_TENSOR_VALUE, 0);
    wsl_net_close(right);
    wsl_net_close(net);
}

static void test_what_is_not_finite_is_named(void **state)
{
    struct wsl_net *net = open_net(&configs[USED], bf16);
    const float zero[CLASSES] = {0}, bad[CLASSES] = {0, 0, NAN};
    struct wsl_err err = {0};
    size_t i = wsl_net_tensor_count(net) - 1; /* fc.bias */
    struct batch b;

    (void)state;
    make_batch(&b, 8);
    step(net, &b, BATCH);
    assert_int_equal(wsl_net_check_step(net, &err), 0);
    assert_int_equal(wsl_net_check_values(net, &err), 0);
    wsl_net_set(net, i, WSL_TENSOR_MOMENTUM, bad);
    assert_int_equal(wsl_net_check_values(net, &err), WSL_EINVAL);
    assert_string_equal(err.text, "the momentum of fc.bias is not finite (NaN, first at element 2 "
                                  "of 11)");
    wsl_net_set(net, i, WSL_TENSOR_MOMENTUM, zero);
    wsl_net_set(net, i, WSL_TENSOR_VALUE, bad);
    step(net, &b, BATCH);
    assert_int_equal(wsl_net_check_step(net, &err), WSL_EINVAL);
    assert_string_equal(err.text, "fc.bias is not finite (NaN, first at element 2 of 11)");
    wsl_net_close(net);
}

static int skip_without_gpu(void)
{
    struct wsl_net_setup setup = {
        .config = configs[0], .backend = "cuda", .batch = 1, .threads = 1, .cuda = settings};
    struct wsl_net *net = NULL;
    struct wsl_err err = {0};
    int rc;

    setup.config.image_size = 32;
    setup.config.classes = 2;
    rc = wsl_net_open(&net, &setup, &err);
    wsl_net_close(net);
    if (rc != WSL_EUNAVAILABLE && rc != WSL_EUNSUPPORTED)
        return 0;
    printf("skipped: %s\n", err.text);
    return SKIPPED;
}

int main(int argc, char **argv)
{
    const struct wsl_arg rows[] = {WSL_CUDA_SETTINGS_ROWS(settings)};
    const struct wsl_args args = {"test_cuda_net [options]", "Nets on a GPU.", rows,
                                  sizeof rows / sizeof rows[0]};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_floats_agree),
        cmocka_unit_test(test_bf16_is_near),
        cmocka_unit_test(test_updates_agree),
        cmocka_unit_test(test_same_bits_twice),
        cmocka_unit_test(test_it_learns),
        cmocka_unit_test(test_new_weights_count),
        cmocka_unit_test(test_evaluation),
        cmocka_unit_test(test_pieces_and_recompute),
        cmocka_unit_test(test_what_is_not_finite_is_named),
    };
    int words, skip;

    assert_int_equal(wsl_args_parse(&args, argc, argv, &words, NULL), WSL_ARGS_RUN);
    skip = skip_without_gpu();
    return skip ? skip : cmocka_run_group_tests_name("cuda_net", tests, NULL, NULL);
}
