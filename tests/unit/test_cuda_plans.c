/* SPDX-License-Identifier: Apache-2.0
 *
 * Without a GPU: what cuDNN would compute our nets with on an H200 that is only described to it.
 * Goes through the cuda backend's own search (kernels/cuda/plan.c). */
#include "kernels/cuda/plan.h"

#include "base/file.h"
#include "kernels/model/graph.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORKSPACE_MAX ((size_t)WSL_CUDA_WORKSPACE_MIB << 20)
#define BATCH         128
#define PROBLEMS      400

static struct wsl_cuda_target h200;

static int describe(void **state)
{
    struct wsl_buf json = {0};
    struct wsl_err err = {0};
    int rc = wsl_file_read(WSL_CUDA_DATA_DIRECTORY "/h200.json", 1 << 16, &json, &err);

    (void)state;
    if (rc == 0)
        rc = wsl_cuda_target_describe(&h200, (const char *)json.data, &err);
    if (rc)
        print_error("%s\n", err.text);
    wsl_buf_free(&json);
    return rc;
}

static int forget(void **state)
{
    (void)state;
    wsl_cuda_target_fini(&h200);
    return 0;
}

/* ---- the problems of a net, each once ---- */

struct problems {
    struct wsl_cuda_problem items[PROBLEMS];
    int count;
};

static void add_problem(struct problems *p, const struct wsl_conv_shape *shape,
                        enum wsl_cuda_direction direction, bool add_to)
{
    struct wsl_cuda_problem problem = wsl_cuda_problem_of(shape, BATCH, direction, false, add_to);

    for (int i = 0; i < p->count; i++)
        if (wsl_cuda_problem_equal(&p->items[i], &problem))
            return;
    assert_true(p->count < PROBLEMS);
    p->items[p->count++] = problem;
}

static void collect(struct problems *p, const char *name)
{
    struct wsl_net_config config;
    struct wsl_graph graph;
    struct wsl_err err = {0};

    assert_int_equal(wsl_net_config_by_name(name, &config), 0);
    config.image_size = 224;
    config.classes = 1000;
    assert_int_equal(wsl_graph_init(&graph, &config, &err), 0);
    for (int i = 0; i < graph.layer_count; i++) {
        const struct wsl_conv_shape *s = &graph.layers[i].shape;

        add_problem(p, s, WSL_CUDA_FORWARD, false);
        add_problem(p, s, WSL_CUDA_WEIGHTS, false);
        if (!s->input_gradient)
            continue;
        add_problem(p, s, WSL_CUDA_DATA, false);
        if (s->kernel == 1)
            add_problem(p, s, WSL_CUDA_DATA, true);
    }
    wsl_graph_fini(&graph);
}

/* ---- the claim: a deterministic tensor-core plan under the cap for each ---- */

static void check_problem(const struct wsl_cuda_problem *problem, size_t *largest)
{
    char text[WSL_CUDA_PROBLEM_TEXT];
    struct wsl_cuda_graph graph;
    struct wsl_cuda_plan plan;
    struct wsl_err err = {0};
    int count = 0;

    wsl_cuda_problem_text(problem, text);
    if (wsl_cuda_graph_init(&graph, &h200, problem, &err))
        fail_msg("%s", err.text);
    if (wsl_cuda_graph_plans(&graph, WORKSPACE_MAX, &plan, 1, &count, &err))
        fail_msg("%s", err.text);
    assert_int_equal(count, 1);
    if (!plan.tensor_core)
        fail_msg("%s: engine %d has no tensor cores", text, (int)plan.engine);
    print_message("# %-60s engine %2d, %4zu MiB\n", text, (int)plan.engine, plan.workspace >> 20);
    if (plan.workspace > *largest)
        *largest = plan.workspace;
    wsl_cuda_plan_fini(&plan);
    wsl_cuda_graph_fini(&graph);
}

static void check_net(const char *name)
{
    struct problems *p = calloc(1, sizeof *p);
    size_t largest = 0;

    assert_non_null(p);
    collect(p, name);
    for (int i = 0; i < p->count; i++)
        check_problem(&p->items[i], &largest);
    print_message("# %s: %d problems, at most %zu MiB of workspace\n", name, p->count,
                  largest >> 20);
    free(p);
}

static void test_32x4d(void **state)
{
    (void)state;
    check_net("resnext101_32x4d");
}

static void test_32x8d(void **state)
{
    (void)state;
    check_net("resnext101_32x8d");
}

static void test_32x16d(void **state)
{
    (void)state;
    check_net("resnext101_32x16d");
}

static void test_32x32d(void **state)
{
    (void)state;
    check_net("resnext101_32x32d");
}

static void test_32x48d(void **state)
{
    (void)state;
    check_net("resnext101_32x48d");
}

/* ---- single problems ---- */

/* c channels a group, 32 groups. */
static struct wsl_cuda_problem grouped(int c, enum wsl_cuda_direction direction, bool f32)
{
    struct wsl_conv_shape s = {.in = {32 * c, 14, 14},
                               .out = {32 * c, 14, 14},
                               .kernel = 3,
                               .stride = 1,
                               .pad = 1,
                               .groups = 32};

    return wsl_cuda_problem_of(&s, BATCH, direction, f32, false);
}

static int plans_of(const struct wsl_cuda_problem *problem, size_t workspace, int most,
                    struct wsl_cuda_plan *ret, struct wsl_err *err)
{
    struct wsl_cuda_graph graph;
    int count = 0;

    assert_int_equal(wsl_cuda_graph_init(&graph, &h200, problem, err), 0);
    wsl_cuda_graph_plans(&graph, workspace, ret, most, &count, err);
    wsl_cuda_graph_fini(&graph);
    return count;
}

/* Nets of tests have channels that no tensor core wants: any deterministic engine will do. */
static void check_small(int groups, int width, bool f32)
{
    struct wsl_net_config config = {.stages = 3,
                                    .depths = {2, 1, 1},
                                    .groups = groups,
                                    .width = width,
                                    .image_size = 32,
                                    .classes = 7};
    struct wsl_graph graph;
    struct wsl_err err = {0};

    assert_int_equal(wsl_graph_init(&graph, &config, &err), 0);
    for (int i = 0; i < graph.layer_count; i++)
        for (int direction = 0; direction < 3; direction++) {
            struct wsl_cuda_problem problem = wsl_cuda_problem_of(
                &graph.layers[i].shape, 4, (enum wsl_cuda_direction)direction, f32, false);
            struct wsl_cuda_plan plan;

            if (direction == WSL_CUDA_DATA && !graph.layers[i].shape.input_gradient)
                continue;
            if (plans_of(&problem, WORKSPACE_MAX, 1, &plan, &err) != 1)
                fail_msg("%s", err.text);
            wsl_cuda_plan_fini(&plan);
        }
    wsl_graph_fini(&graph);
}

static void test_small_nets(void **state)
{
    (void)state;
    for (int f32 = 0; f32 < 2; f32++) {
        check_small(2, 3, f32);
        check_small(4, 4, f32);
        check_small(32, 4, f32);
    }
}

/* What the timing has to choose from. */
static void test_alternatives(void **state)
{
    static const int channels[] = {4, 8, 16, 32, 64, 128, 192, 256};

    (void)state;
    for (size_t i = 0; i < sizeof channels / sizeof channels[0]; i++)
        for (int direction = 0; direction < 3; direction++) {
            struct wsl_cuda_problem problem =
                grouped(channels[i], (enum wsl_cuda_direction)direction, false);
            struct wsl_cuda_plan plans[8];
            struct wsl_err err = {0};
            char text[WSL_CUDA_PROBLEM_TEXT];
            int count = plans_of(&problem, WORKSPACE_MAX, 8, plans, &err);

            wsl_cuda_problem_text(&problem, text);
            print_message("# %-60s %d plans\n", text, count);
            assert_true(count > 1);
            for (int k = 0; k < count; k++) {
                assert_true(plans[k].tensor_core);
                wsl_cuda_plan_fini(&plans[k]);
            }
        }
}

/* Floats stay floats: no tensor cores, which would round them. */
static void test_f32_is_not_rounded(void **state)
{
    (void)state;
    for (int direction = 0; direction < 3; direction++) {
        struct wsl_cuda_problem problem = grouped(4, (enum wsl_cuda_direction)direction, true);
        struct wsl_cuda_plan plan;
        struct wsl_err err = {0};

        if (plans_of(&problem, WORKSPACE_MAX, 1, &plan, &err) != 1)
            fail_msg("%s", err.text);
        assert_false(plan.tensor_core);
        wsl_cuda_plan_fini(&plan);
    }
}

static void test_plan_as_text(void **state)
{
    struct wsl_cuda_problem problem = grouped(256, WSL_CUDA_WEIGHTS, false);
    struct wsl_cuda_plan plan, again;
    struct wsl_buf json = {0};
    struct wsl_err err = {0};

    (void)state;
    assert_int_equal(plans_of(&problem, WORKSPACE_MAX, 1, &plan, &err), 1);
    if (wsl_cuda_plan_write(&plan, &json, &err))
        fail_msg("%s", err.text);
    assert_null(strpbrk((const char *)json.data, "\t\r\n"));
    if (wsl_cuda_plan_read(&h200, (const char *)json.data, &again, &err))
        fail_msg("%s", err.text);
    assert_int_equal(again.workspace, plan.workspace);
    wsl_cuda_plan_fini(&again);
    /* Not a plan, and a plan that is cut off. */
    assert_true(wsl_cuda_plan_read(&h200, "{}", &again, &err) < 0);
    json.data[json.size / 2] = '\0';
    assert_true(wsl_cuda_plan_read(&h200, (const char *)json.data, &again, &err) < 0);
    assert_true(strstr(err.text, "cudnnBackend") != NULL);
    wsl_buf_free(&json);
    wsl_cuda_plan_fini(&plan);
}

/* With no workspace at all, channels that need padding have no plan on tensor cores. */
static void test_workspace_is_a_limit(void **state)
{
    struct wsl_cuda_problem problem = grouped(48, WSL_CUDA_FORWARD, false);
    struct wsl_cuda_plan plan;
    struct wsl_err err = {0};

    (void)state;
    if (plans_of(&problem, 0, 1, &plan, &err) == 1) {
        assert_int_equal(plan.workspace, 0);
        assert_false(plan.tensor_core);
        wsl_cuda_plan_fini(&plan);
    } else {
        assert_int_equal(err.code, WSL_EUNSUPPORTED);
        assert_non_null(strstr(err.text, "--cuda-workspace-mib"));
    }
}

static void test_bad_description(void **state)
{
    struct wsl_cuda_target target;
    struct wsl_err err = {0};

    (void)state;
    assert_true(wsl_cuda_target_describe(&target, "{}", &err) < 0);
    assert_non_null(strstr(err.text, "maxGridSize"));
    assert_null(target.properties);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_32x4d),           cmocka_unit_test(test_32x8d),
        cmocka_unit_test(test_32x16d),          cmocka_unit_test(test_32x32d),
        cmocka_unit_test(test_32x48d),          cmocka_unit_test(test_small_nets),
        cmocka_unit_test(test_alternatives),    cmocka_unit_test(test_f32_is_not_rounded),
        cmocka_unit_test(test_plan_as_text),    cmocka_unit_test(test_workspace_is_a_limit),
        cmocka_unit_test(test_bad_description),
    };

    return cmocka_run_group_tests_name("cuda_plans", tests, describe, forget);
}
