/* SPDX-License-Identifier: Apache-2.0
 *
 * What the cuda backend does with CUDA, seen by a fake GPU: which launches a step makes
 * with and without graphs, and what becomes of each call that fails. */
#include "kernels/model/net.h"
#include "tests/gpu/fake_gpu.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BATCH   2
#define IMAGE   32
#define CLASSES 5

/* Of nets that are opened. No file of plans: every net chooses anew, and makes the same calls. */
static struct wsl_cuda_settings settings = {.no_tuning = true, .plans = "none", .workspace_mib = 1};

static int open_net(struct wsl_net **ret, struct wsl_err *err)
{
    struct wsl_net_setup setup = {.config = {.stages = 1,
                                             .depths = {1},
                                             .groups = 2,
                                             .width = 2,
                                             .image_size = IMAGE,
                                             .classes = CLASSES},
                                  .backend = "cuda",
                                  .batch = BATCH,
                                  .threads = 1,
                                  .cuda = settings};
    int r = wsl_net_open(ret, &setup, err);

    if (r == 0)
        wsl_net_init(*ret, 7);
    return r;
}

static struct wsl_net *must_open(const char *graph)
{
    struct wsl_net *net = NULL;
    struct wsl_err err = {0};

    settings.graphs = *graph == '1';
    fake_gpu = (struct fake_gpu){0};
    if (open_net(&net, &err))
        fail_msg("%s", err.text);
    return net;
}

static void count_bucket(void *context, int bucket, float *gradients, size_t count)
{
    (void)bucket, (void)gradients, (void)count;
    ++*(int *)context;
}

static int try_step(struct wsl_net *net, int count, uint8_t colour, double *ret_loss,
                    struct wsl_err *err)
{
    static const uint32_t begin[] = {0, 1, 3}, tags[] = {1, 4, 0};
    struct wsl_targets targets = {begin, tags};
    uint8_t pixels[BATCH * IMAGE * IMAGE * 3];
    struct wsl_step_result result;
    int buckets = 0, r;

    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(i * 31 % 256 ^ colour);
    r = wsl_net_step(net, &(struct wsl_net_batch){pixels, targets, count},
                     &(struct wsl_step_options){0.5f, count_bucket, &buckets}, &result, err);
    if (r == 0) {
        assert_int_equal(buckets, wsl_net_bucket_count(net));
        wsl_net_update(net, 0.05f, 0.9f, 1e-4f);
        *ret_loss = result.loss;
    }
    return r;
}

static double step(struct wsl_net *net, int count, uint8_t colour)
{
    struct wsl_err err = {0};
    double loss = 0;

    fake_gpu.traced = fake_gpu.graph_launches = fake_gpu.alone = fake_gpu.captures = 0;
    if (try_step(net, count, colour, &loss, &err))
        fail_msg("%s", err.text);
    return loss;
}

static int try_evaluate(struct wsl_net *net, double *ret_loss, struct wsl_err *err)
{
    static const uint32_t begin[] = {0, 1, 2}, tags[] = {1, 4};
    struct wsl_targets targets = {begin, tags};
    uint8_t pixels[BATCH * IMAGE * IMAGE * 3] = {17};
    struct wsl_step_result result = {0};
    float logits[BATCH * CLASSES];
    int r = wsl_net_evaluate(net, &(struct wsl_net_batch){pixels, targets, BATCH}, logits, &result,
                             err);

    *ret_loss = result.loss;
    return r;
}

static double evaluate(struct wsl_net *net)
{
    struct wsl_err err = {0};
    double loss = 0;

    if (try_evaluate(net, &loss, &err))
        fail_msg("%s", err.text);
    return loss;
}

/* ---- graphs ---- */

static void a_replay_launches_what_the_step_before_did(void **state)
{
    struct wsl_net *net = must_open("1");
    unsigned long second[FAKE_GPU_TRACE];
    int traced, graphs, alone;

    (void)state;
    step(net, BATCH, 1);
    assert_int_equal(fake_gpu.captures, 0);
    assert_int_equal(fake_gpu.graph_launches, 0);
    step(net, BATCH, 2);
    graphs = fake_gpu.captures;
    assert_true(graphs >= 2); /* forward; backward, cut where buckets are handed out */
    assert_int_equal(fake_gpu.graph_launches, graphs);
    assert_int_equal(fake_gpu.graphs, graphs);
    traced = fake_gpu.traced;
    alone = fake_gpu.alone;
    assert_true(traced < FAKE_GPU_TRACE && alone < traced / 4);
    memcpy(second, fake_gpu.trace, (size_t)traced * sizeof *second);
    step(net, BATCH, 3);
    assert_int_equal(fake_gpu.captures, 0);
    assert_int_equal(fake_gpu.graph_launches, graphs);
    assert_int_equal(fake_gpu.traced, traced);
    assert_int_equal(fake_gpu.alone, alone);
    assert_memory_equal(second, fake_gpu.trace, (size_t)traced * sizeof *second);
    wsl_net_close(net);
    assert_int_equal(fake_gpu.graphs, 0);
}

static void graphs_are_off_unless_wanted(void **state)
{
    struct wsl_net *net = must_open("0");

    (void)state;
    for (int i = 0; i < 3; i++)
        step(net, BATCH, 1);
    assert_int_equal(fake_gpu.captures, 0);
    assert_int_equal(fake_gpu.alone, fake_gpu.traced);
    wsl_net_close(net);
}

/* Every kind of change between the passes; the numbers must be those without graphs. */
static void play_a_day(struct wsl_net *net, double losses[12])
{
    size_t count;
    float *values;
    int n = 0;

    for (int i = 0; i < 3; i++)
        losses[n++] = step(net, BATCH, (uint8_t)i);
    losses[n++] = step(net, 1, 9);
    losses[n++] = evaluate(net);
    losses[n++] = evaluate(net);
    losses[n++] = step(net, BATCH, 4);
    count = wsl_net_tensor(net, 0)->count;
    values = malloc(count * sizeof *values);
    assert_non_null(values);
    wsl_net_get(net, 0, WSL_TENSOR_VALUE, values);
    for (size_t i = 0; i < count; i++)
        values[i] *= 1.5f;
    wsl_net_set(net, 0, WSL_TENSOR_VALUE, values);
    free(values);
    losses[n++] = step(net, BATCH, 5);
    wsl_net_parameters(net, &count)[0] += 1;
    losses[n++] = step(net, BATCH, 6);
    losses[n++] = evaluate(net);
    wsl_net_scale_statistics(net, 0.5f);
    losses[n++] = evaluate(net);
    losses[n++] = step(net, BATCH, 7);
    assert_int_equal(n, 12);
}

static void graphs_change_no_bit(void **state)
{
    double with[12], without[12];
    struct wsl_net *net = must_open("0");

    (void)state;
    play_a_day(net, without);
    wsl_net_close(net);
    net = must_open("1");
    play_a_day(net, with);
    assert_memory_equal(with, without, sizeof with);
    wsl_net_close(net);
}

static void fewer_images_are_launched_one_by_one(void **state)
{
    struct wsl_net *net = must_open("1");

    (void)state;
    for (int i = 0; i < 3; i++)
        step(net, BATCH, 1);
    step(net, BATCH - 1, 1);
    assert_int_equal(fake_gpu.graph_launches, 0);
    assert_int_equal(fake_gpu.alone, fake_gpu.traced);
    step(net, BATCH, 1); /* the graphs are still there */
    assert_int_equal(fake_gpu.captures, 0);
    assert_true(fake_gpu.graph_launches > 0);
    wsl_net_close(net);
}

static void a_failed_capture_continues_without_graphs(void **state)
{
    static const char *const calls[] = {"cudaStreamBeginCapture", "cudaStreamEndCapture",
                                        "cudaGraphInstantiate", "cudaGraphUpload"};
    double without[4], with[4];
    struct wsl_net *net = must_open("0");

    (void)state;
    for (int i = 0; i < 4; i++)
        without[i] = step(net, BATCH, (uint8_t)i);
    wsl_net_close(net);
    for (size_t c = 0; c < sizeof calls / sizeof *calls; c++) {
        net = must_open("1");
        fake_gpu.fail_name = calls[c];
        for (int i = 0; i < 4; i++)
            with[i] = step(net, BATCH, (uint8_t)i);
        assert_string_equal(fake_gpu.failed, calls[c]);
        assert_int_equal(fake_gpu.captures, 0);
        assert_int_equal(fake_gpu.graph_launches, 0);
        assert_memory_equal(with, without, sizeof with);
        wsl_net_close(net);
        assert_int_equal(fake_gpu.graphs, 0);
    }
}

/* ---- prefetched images ---- */

struct ahead {
    struct wsl_net *net;
    const uint8_t *next;
    int calls, alone; /* jobs that had run by then */
};

static void hand_ahead(void *context)
{
    struct ahead *a = context;

    a->calls++;
    a->alone = fake_gpu.alone;
    if (a->next)
        wsl_net_prefetch(a->net, a->next, BATCH);
}

/* What was sent ahead is what the next step computes with, if it comes with these pixels; bytes
 * that change afterwards do not count. */
static void images_are_prefetched(void **state)
{
    static const uint32_t begin[] = {0, 1, 3}, tags[] = {1, 4, 0};
    struct wsl_targets targets = {begin, tags};
    uint8_t a[BATCH * IMAGE * IMAGE * 3], b[sizeof a];
    double plain[3], ahead[3];

    (void)state;
    for (int way = 0; way < 2; way++) {
        struct wsl_net *net = must_open("1");
        struct ahead context = {.net = net};
        struct wsl_step_result result;
        struct wsl_err err = {0};

        for (size_t i = 0; i < sizeof a; i++) {
            a[i] = (uint8_t)(i * 7);
            b[i] = (uint8_t)(i * 13);
        }
        if (way == 1)
            wsl_net_set_prefetch(net, hand_ahead, &context);
        for (int i = 0; i < 3; i++) {
            const uint8_t *now = i == 1 ? b : a;

            context.next = i == 0 ? b : i == 1 ? b /* and then a comes */ : NULL;
            if (wsl_net_step(net, &(struct wsl_net_batch){now, targets, BATCH},
                             &(struct wsl_step_options){0.5f, NULL, NULL}, &result, &err))
                fail_msg("%s", err.text);
            wsl_net_update(net, 0.05f, 0.9f, 1e-4f);
            (way == 1 ? ahead : plain)[i] = result.loss;
            if (way == 1 && i == 0) /* the upload is done, so this changes nothing */
                memset(b, 0, sizeof b);
        }
        if (way == 1) {
            assert_int_equal(context.calls, 3);
            assert_true(context.alone > 0);
        }
        wsl_net_close(net);
    }
    assert_memory_equal(ahead, plain, sizeof ahead);
}

/* ---- every call fails once ---- */

/* Failures that only cost time: plans are timed or saved, graphs made, flags set. */
static bool may_be_harmless(const char *call)
{
    static const char *const names[] = {
        "cudaSetDeviceFlags",       "cudaMalloc",
        "cudaMemsetAsync",          "cudaEventCreate",
        "cudaEventRecord",          "cudaEventSynchronize",
        "cudaEventElapsedTime",     "cudaStreamSynchronize",
        "cudnnBackendExecute",      "cudnnBackendCreateDescriptor",
        "cudnnBackendSetAttribute", "cudnnBackendFinalize",
        "cudnnBackendGetAttribute", "cudaStreamBeginCapture",
        "cudaStreamEndCapture",     "cudaGraphInstantiate",
        "cudaGraphUpload",
    };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], call) == 0)
            return true;
    return false;
}

/* Opens, trains some steps, evaluates, closes; the last loss, or the first error. */
static int live(int steps, double *ret_loss, struct wsl_err *err)
{
    struct wsl_net *net = NULL;
    int r = open_net(&net, err);

    for (int i = 0; i < steps && r == 0; i++)
        r = try_step(net, BATCH, (uint8_t)i, ret_loss, err);
    if (r == 0)
        r = try_evaluate(net, ret_loss, err);
    wsl_net_close(net);
    return r;
}

static bool names_a_cause(const char *text, const char *call)
{
    return strstr(text, call) || strstr(text, "failed in") || strstr(text, "need") ||
           strstr(text, "pinned memory") || strstr(text, "no GPU") || strstr(text, "cuDNN");
}

/* Of each name the first three calls, then one of 251: a net makes thousands of the same. */
static bool worth_failing(int call)
{
    int before = 0;

    for (int i = 0; i < call; i++)
        before += strcmp(fake_gpu_calls[i], fake_gpu_calls[call]) == 0;
    return before < 3 || before % 251 == 0;
}

static void every_call_may_fail(void **state)
{
    const char *graph = *state;
    double right = 0;
    struct wsl_err err = {0};
    int steps = *graph == '0' ? 2 : 3, calls, count = 0, errors = 0, *chosen;

    /* Timing runs every convolution many times: once is enough. */
    settings.no_tuning = *graph != '0';
    settings.graphs = *graph == '1';
    fake_gpu = (struct fake_gpu){0};
    if (live(steps, &right, &err))
        fail_msg("%s", err.text);
    calls = fake_gpu.calls;
    assert_true(calls < FAKE_GPU_CALLS);
    chosen = calloc((size_t)calls, sizeof *chosen);
    assert_non_null(chosen);
    for (int i = 0; i < calls; i++)
        if (worth_failing(i))
            chosen[count++] = i + 1;
    print_message("# %d of %d calls are made to fail\n", count, calls);
    for (int i = 0; i < count; i++) {
        bool is_kernel; /* a capture in which one fails is given up */
        double loss = 0;
        int r;

        fake_gpu = (struct fake_gpu){.fail_at = chosen[i]};
        err = (struct wsl_err){0};
        r = live(steps, &loss, &err);
        assert_int_equal(fake_gpu.graphs, 0);
        assert_non_null(fake_gpu.failed);
        is_kernel = strncmp(fake_gpu.failed, "the kernel", 10) == 0;
        if (r == 0) {
            if (!may_be_harmless(fake_gpu.failed) && !(fake_gpu.captures > 0 && is_kernel))
                fail_msg("call %d, %s, failed, and nobody said so", chosen[i], fake_gpu.failed);
            assert_true(loss == right);
            continue;
        }
        errors++;
        print_message("# %s: %s\n", fake_gpu.failed, err.text);
        if (!names_a_cause(err.text, fake_gpu.failed))
            fail_msg("call %d, %s: \"%s\"", chosen[i], fake_gpu.failed, err.text);
    }
    free(chosen);
    settings.no_tuning = true;
    print_message("# %d of these failures were errors, the others harmless\n", errors);
    assert_true(errors > 50);
}

/* Memory that lacks is told with what it was for and how much. */
static void lacking_memory_says_what_for(void **state)
{
    int allocations[100], count = 0;
    struct wsl_err err = {0};
    double loss;

    (void)state;
    settings.graphs = false;
    fake_gpu = (struct fake_gpu){0};
    assert_int_equal(live(1, &loss, &err), 0);
    for (int i = 0; i < fake_gpu.calls && count < 100; i++)
        if (strncmp(fake_gpu_calls[i], "cudaMalloc", 10) == 0)
            allocations[count++] = i + 1;
    assert_true(count >= 12 && count < 100);
    for (int i = 0; i < count; i++) {
        fake_gpu = (struct fake_gpu){.fail_at = allocations[i]};
        err = (struct wsl_err){0};
        assert_int_equal(live(1, &loss, &err), WSL_ENOMEM);
        print_message("# %s\n", err.text);
        assert_non_null(strstr(err.text, " need "));
        assert_true(strstr(err.text, "GiB") || strstr(err.text, "MiB"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_replay_launches_what_the_step_before_did),
        cmocka_unit_test(graphs_are_off_unless_wanted),
        cmocka_unit_test(graphs_change_no_bit),
        cmocka_unit_test(fewer_images_are_launched_one_by_one),
        cmocka_unit_test(a_failed_capture_continues_without_graphs),
        cmocka_unit_test(images_are_prefetched),
        {"every call may fail, without graphs", every_call_may_fail, NULL, NULL, (void *)"0"},
        {"every call may fail, with graphs", every_call_may_fail, NULL, NULL, (void *)"1"},
        cmocka_unit_test(lacking_memory_says_what_for),
    };

    return cmocka_run_group_tests_name("cuda_fake_gpu", tests, NULL, NULL);
}
