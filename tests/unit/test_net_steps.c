/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps under conditions: numbers that are not finite. */
#include "tests/unit/net_world.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xmmintrin.h>

#include <cmocka.h>

#define DENORMAL 1e-40f

static const char *const backends[] = {"ref", "cpu"};
enum { BACKENDS = sizeof backends / sizeof backends[0] };

/* ---- numbers that are not finite ---- */

static struct wsl_net *fresh(const char *backend)
{
    struct wsl_net_config config = net_tiny();
    struct wsl_net *net;

    config.stages = 2;
    net = net_open(&config, backend, BATCH, 2);
    wsl_net_init(net, 3);
    net_shake(net);
    return net;
}

static void expect(int rc, const struct wsl_err *err, const char *text)
{
    assert_int_equal(rc, WSL_EINVAL);
    if (!strstr(err->text, text))
        fail_msg("\"%s\" does not say \"%s\"", err->text, text);
}

static void test_good_steps_pass(void **state)
{
    struct net_batch b;

    (void)state;
    net_make_batch(&b, 5);
    for (int k = 0; k < BACKENDS; k++) {
        struct wsl_net *net = fresh(backends[k]);

        for (int i = 0; i < 3; i++) {
            net_step(net, &b, BATCH, 0.25f);
            assert_int_equal(wsl_net_check_step(net, NULL), 0);
            wsl_net_update(net, 0.05f, 0.9f, 1e-4f);
            assert_int_equal(wsl_net_check_values(net, NULL), 0);
        }
        wsl_net_close(net);
    }
}

/* Sets one element of a tensor, and what is said of it. */
static void spoil(struct wsl_net *net, const char *name, enum wsl_tensor_what what, float value)
{
    size_t i = net_tensor_named(net, name), count = wsl_net_tensor(net, i)->count;
    float *values = net_get(net, i, what);

    values[count - 2] = value;
    wsl_net_set(net, i, what, values);
    free(values);
}

static void test_what_is_not_finite_is_named(void **state)
{
    static const struct {
        const char *tensor;
        enum wsl_tensor_what what;
        float value;
        const char *text;
    } cases[] = {
        {"conv1.weight", WSL_TENSOR_VALUE, NAN,
         "conv1.weight is not finite (NaN, first at element 9406 of 9408)"},
        {"fc.bias", WSL_TENSOR_VALUE, INFINITY, "fc.bias is not finite (infinity, first at elem"},
        {"layer1.0.bn1.running_var", WSL_TENSOR_VALUE, -INFINITY,
         "layer1.0.bn1.running_var is not finite (-infinity, first at element 4 of 6)"},
        {"layer2.0.bn3.bias", WSL_TENSOR_MOMENTUM, -NAN,
         "the momentum of layer2.0.bn3.bias is not finite (NaN, "},
        {"layer2.0.conv2.weight", WSL_TENSOR_GRADIENT, NAN,
         "the gradient of layer2.0.conv2.weight is not finite (NaN, "},
        {"layer1.1.bn2.weight", WSL_TENSOR_GRADIENT, INFINITY,
         "the gradient of layer1.1.bn2.weight is not finite (infinity, first at element 4 of 6)"},
    };
    struct net_batch b;

    (void)state;
    net_make_batch(&b, 5);
    for (int k = 0; k < BACKENDS; k++)
        for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
            struct wsl_net *net = fresh(backends[k]);
            struct wsl_err err = {0};

            net_step(net, &b, BATCH, 0.25f);
            spoil(net, cases[c].tensor, cases[c].what, cases[c].value);
            if (cases[c].what == WSL_TENSOR_GRADIENT) {
                assert_int_equal(wsl_net_check_values(net, NULL), 0);
                expect(wsl_net_check_step(net, &err), &err, cases[c].text);
            } else {
                expect(wsl_net_check_values(net, &err), &err, cases[c].text);
            }
            wsl_net_close(net);
        }
}

/* Of many, the gradient that came first is named; the rest is counted. */
static void test_the_first_of_many_is_named(void **state)
{
    struct wsl_net *net = fresh("cpu");
    struct net_batch b;
    struct wsl_err err = {0};

    (void)state;
    net_make_batch(&b, 5);
    net_step(net, &b, BATCH, 0.25f);
    spoil(net, "conv1.weight", WSL_TENSOR_GRADIENT, NAN);
    spoil(net, "layer1.0.conv1.weight", WSL_TENSOR_GRADIENT, NAN);
    spoil(net, "layer2.0.conv1.weight", WSL_TENSOR_GRADIENT, INFINITY);
    expect(wsl_net_check_step(net, &err), &err, "the gradient of layer2.0.conv1.weight is not ");
    assert_non_null(strstr(err.text, ", and 2 others"));
    wsl_net_close(net);
}

/* Whatever a weight is, the step after it notices, also where the loss stays a number; and a weight
 * that is the cause is named, not what follows from it. */
static void test_a_bad_weight_shows_in_the_step(void **state)
{
    static const char *const names[] = {"conv1.weight",          "bn1.weight",
                                        "layer1.1.conv2.weight", "layer2.0.downsample.0.weight",
                                        "layer2.0.bn2.bias",     "fc.weight"};
    static const float values[] = {NAN, INFINITY, -INFINITY};
    char text[100];
    struct net_batch b;

    (void)state;
    net_make_batch(&b, 5);
    for (int k = 0; k < BACKENDS; k++)
        for (size_t c = 0; c < 18; c += k == 0 ? 3 : 1) { /* ref is slow */
            struct wsl_net *net = fresh(backends[k]);
            struct wsl_err err = {0};

            net_put(net, names[c / 3], 1, values[c % 3]);
            net_step(net, &b, BATCH, 0.25f);
            snprintf(text, sizeof text, "%s is not finite (", names[c / 3]);
            expect(wsl_net_check_step(net, &err), &err, text);
            assert_int_equal(strncmp(err.text, text, strlen(text)), 0);
            wsl_net_close(net);
        }
}

/* Finite weights that a step cannot be computed with. */
static void test_an_overflow_shows_in_the_step(void **state)
{
    struct wsl_net *net = fresh("cpu");
    struct net_batch b;
    struct wsl_err err = {0};

    (void)state;
    net_make_batch(&b, 5);
    net_put(net, "layer2.0.conv1.weight", 7, 3e38f);
    net_put(net, "layer2.0.conv1.weight", 8, 3e38f);
    net_step(net, &b, BATCH, 0.25f);
    expect(wsl_net_check_step(net, &err), &err, "the gradient of ");
    assert_non_null(strstr(err.text, " is not finite ("));
    wsl_net_close(net);
}

/* Denormals are numbers like others: nothing switches them off, and they make nothing else. */
static void test_denormals_are_harmless(void **state)
{
    unsigned before = _mm_getcsr();
    struct net_batch b;

    (void)state;
    net_make_batch(&b, 5);
    for (int k = 0; k < BACKENDS; k++) {
        struct wsl_net *net = fresh(backends[k]);
        size_t i = net_tensor_named(net, "layer1.0.conv2.weight");
        size_t count = wsl_net_tensor(net, i)->count;
        float *values = net_get(net, i, WSL_TENSOR_VALUE), *after;

        for (size_t at = 0; at < count; at++)
            values[at] = (float)at * DENORMAL;
        wsl_net_set(net, i, WSL_TENSOR_VALUE, values);
        for (int n = 0; n < 3; n++) {
            net_step(net, &b, BATCH, DENORMAL); /* and so are gradients */
            assert_int_equal(wsl_net_check_step(net, NULL), 0);
            wsl_net_update(net, 0, 0.9f, 1e-4f);
            assert_int_equal(wsl_net_check_values(net, NULL), 0);
        }
        after = net_get(net, i, WSL_TENSOR_VALUE);
        assert_memory_equal(after, values, count * sizeof *values);
        free(values);
        free(after);
        wsl_net_close(net);
    }
    assert_int_equal(_mm_getcsr() & 0x8040, 0); /* flush to zero, denormals are zero */
    assert_int_equal(before & 0x8040, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_steps_pass),
        cmocka_unit_test(test_what_is_not_finite_is_named),
        cmocka_unit_test(test_the_first_of_many_is_named),
        cmocka_unit_test(test_a_bad_weight_shows_in_the_step),
        cmocka_unit_test(test_an_overflow_shows_in_the_step),
        cmocka_unit_test(test_denormals_are_harmless),
    };

    return cmocka_run_group_tests_name("net steps", tests, NULL, NULL);
}
