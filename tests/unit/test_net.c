/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/net_world.h"

#include <malloc.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FEW 2 /* images of a gradient check */

/* ---- allocations of our own code, counted: the linker wraps its calls (--wrap), not libraries'
 * ---- */

static size_t allocations;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

void *__wrap_malloc(size_t size)
{
    allocations++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    allocations++;
    return __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    allocations++;
    return __real_realloc(old, size);
}

/* ---- the tests ---- */

static void test_published_sizes(void **state)
{
    static const struct {
        const char *name;
        double parameters, macs; /* millions, thousand millions */
    } known[] = {
        {"resnext50_32x4d", 25.03, 4.23},     {"resnext101_32x4d", 44.18, 7.97},
        {"resnext101_32x8d", 88.79, 16.41},   {"resnext101_32x16d", 194.03, 36.16},
        {"resnext101_32x32d", 468.53, 87.11}, {"resnext101_32x48d", 828.41, 153.31},
    };
    struct wsl_net_config config = {.image_size = 224, .classes = 1000};

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        assert_int_equal(wsl_net_config_by_name(known[i].name, &config), 0);
        assert_int_equal((int)lround((double)wsl_net_parameter_count(&config) * 1e-4),
                         (int)lround(known[i].parameters * 100));
        assert_int_equal((int)lround((double)wsl_net_macs(&config) * 1e-7),
                         (int)lround(known[i].macs * 100));
    }
    assert_int_equal(wsl_net_config_by_name("resnext50_32x5d", &config), WSL_ENOENT);
}

static void refuse(struct wsl_net_config config, const char *word)
{
    struct wsl_err err = {0};

    assert_int_equal(wsl_net_config_check(&config, &err), WSL_EINVAL);
    if (!strstr(err.text, word))
        fail_msg("\"%s\" does not name %s", err.text, word);
}

static void test_bad_configs_are_named(void **state)
{
    struct wsl_net_config c = net_tiny();
    struct wsl_net_setup setup = {
        .config = net_tiny(), .backend = "abacus", .batch = 1, .threads = 1};
    struct wsl_net *net;
    struct wsl_err err = {0};

    (void)state;
    assert_int_equal(wsl_net_config_check(&c, &err), 0);
    refuse((c = net_tiny(), c.stages = 5, c), "stages is 5");
    refuse((c = net_tiny(), c.depths[1] = 0, c), "depths[1] is 0");
    refuse((c = net_tiny(), c.groups = 0, c), "groups is 0");
    refuse((c = net_tiny(), c.width = -1, c), "width is -1");
    refuse((c = net_tiny(), c.groups = 60000, c.width = 60000, c), "groups * width");
    refuse((c = net_tiny(), c.image_size = 48, c), "image_size is 48");
    refuse((c = net_tiny(), c.image_size = 0, c), "image_size is 0");
    refuse((c = net_tiny(), c.classes = 100001, c), "classes is 100001");
    assert_int_equal(wsl_net_open(&net, &setup, &err), WSL_ENOENT);
    assert_non_null(strstr(err.text, "abacus"));
    setup.backend = "ref";
    setup.batch = 0;
    assert_int_equal(wsl_net_open(&net, &setup, &err), WSL_EINVAL);
    assert_non_null(strstr(err.text, "batch is 0"));
    setup.batch = 1;
    setup.threads = 0;
    assert_int_equal(wsl_net_open(&net, &setup, &err), WSL_EINVAL);
    assert_non_null(strstr(err.text, "threads is 0"));
}

static void test_too_big_says_how_much(void **state)
{
    struct wsl_net_setup setup = {.backend = "cpu", .batch = 60000, .threads = 1};
    struct wsl_net *net;
    struct wsl_err err = {0};

    (void)state;
    wsl_net_config_by_name("resnext50_32x4d", &setup.config);
    setup.config.image_size = 512;
    setup.config.classes = 1000;
    assert_int_equal(wsl_net_open(&net, &setup, &err), WSL_ENOMEM);
    assert_non_null(strstr(err.text, "GiB"));
}

static void test_bad_targets_are_named(void **state)
{
    struct wsl_net_config config = net_tiny();
    struct wsl_net *net = net_open(&config, "ref", BATCH, 1);
    struct wsl_step_result result;
    struct net_batch b;
    struct wsl_err err = {0};

    (void)state;
    net_make_batch(&b, 1);
    b.tags[2] = CLASSES;
    assert_int_equal(wsl_net_step(net, &(struct wsl_net_batch){b.pixels, b.targets, BATCH},
                                  &(struct wsl_step_options){1, NULL, NULL}, &result, &err),
                     WSL_EINVAL);
    assert_non_null(strstr(err.text, "image 1 of the batch has tag 7"));
    net_make_batch(&b, 1);
    b.begin[1] = 0;
    assert_int_equal(wsl_net_evaluate(net, &(struct wsl_net_batch){b.pixels, b.targets, BATCH},
                                      NULL, &result, &err),
                     WSL_EINVAL);
    assert_non_null(strstr(err.text, "image 0 of the batch has no tag"));
    assert_int_equal(wsl_net_step(net, &(struct wsl_net_batch){b.pixels, b.targets, BATCH + 1},
                                  &(struct wsl_step_options){1, NULL, NULL}, &result, &err),
                     WSL_EINVAL);
    wsl_net_close(net);
}

static void test_names_are_torchvisions(void **state)
{
    struct wsl_net_config config = net_tiny();
    struct wsl_net *net = net_open(&config, "ref", BATCH, 1);
    static const struct {
        const char *name;
        int dims;
        int64_t shape[4];
        bool decay, head;
    } known[] = {
        {"conv1.weight", 4, {64, 3, 7, 7}, true, false},
        {"bn1.weight", 1, {64}, false, false},
        {"bn1.running_var", 1, {64}, false, false},
        {"layer1.0.conv2.weight", 4, {6, 3, 3, 3}, true, false},
        {"layer1.0.downsample.0.weight", 4, {256, 64, 1, 1}, true, false},
        {"layer1.1.bn3.bias", 1, {256}, false, false},
        {"layer2.0.downsample.1.running_mean", 1, {512}, false, false},
        {"layer3.0.conv1.weight", 4, {24, 512, 1, 1}, true, false},
        {"fc.weight", 2, {CLASSES, 1024}, true, true},
        {"fc.bias", 1, {CLASSES}, true, true},
    };
    uint64_t weights = 0;

    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        const struct wsl_tensor_info *info =
            wsl_net_tensor(net, net_tensor_named(net, known[i].name));

        assert_int_equal(info->dims, known[i].dims);
        for (int d = 0; d < info->dims; d++)
            assert_int_equal(info->shape[d], known[i].shape[d]);
        assert_int_equal(info->decay, known[i].decay);
        assert_int_equal(info->head, known[i].head);
    }
    for (size_t i = 0; i < wsl_net_tensor_count(net); i++)
        if (wsl_net_tensor(net, i)->kind == WSL_TENSOR_WEIGHT)
            weights += wsl_net_tensor(net, i)->count;
    assert_int_equal(weights, wsl_net_parameter_count(&config));
    wsl_net_close(net);
}

/* The derivative of the loss along one weight, by central differences on the exact backend, for
 * some weights of every tensor. Where a step of half the size gives another value, a ReLU or a
 * maximum changed its mind in between; such a weight says nothing and is passed over. */
static bool slope(struct wsl_net *net, const struct net_batch *b, size_t tensor, size_t at,
                  float *values, double *ret)
{
    float kept = values[at];
    double slopes[2];

    for (int half = 0; half < 2; half++) {
        float eps = half ? 1e-4f : 2e-4f, up = kept + eps, down = kept - eps;
        double above, below;

        values[at] = up;
        wsl_net_set(net, tensor, WSL_TENSOR_VALUE, values);
        above = net_step(net, b, FEW, 1);
        values[at] = down;
        wsl_net_set(net, tensor, WSL_TENSOR_VALUE, values);
        below = net_step(net, b, FEW, 1);
        slopes[half] = (above - below) / ((double)up - (double)down);
    }
    values[at] = kept;
    wsl_net_set(net, tensor, WSL_TENSOR_VALUE, values);
    *ret = slopes[1];
    return fabs(slopes[0] - slopes[1]) <= 1e-4 * fmax(1e-2, fabs(slopes[1]));
}

static void test_gradient_of_every_tensor(void **state)
{
    struct wsl_net_config config = {.stages = 1,
                                    .depths = {2},
                                    .groups = 2,
                                    .width = 2,
                                    .image_size = IMAGE,
                                    .classes = CLASSES};
    struct wsl_net *net = net_open(&config, "ref", FEW, 1);
    struct net_batch b;
    int smooth = 0, tried = 0;

    (void)state;
    net_make_batch(&b, 3);
    wsl_net_init(net, 5);
    net_shake(net);
    for (size_t i = 0; i < wsl_net_tensor_count(net); i++) {
        const struct wsl_tensor_info *info = wsl_net_tensor(net, i);
        float *values, *gradient;

        if (info->kind != WSL_TENSOR_WEIGHT)
            continue;
        net_step(net, &b, FEW, 1);
        values = net_get(net, i, WSL_TENSOR_VALUE);
        gradient = net_get(net, i, WSL_TENSOR_GRADIENT);
        for (size_t at = i % 4; at < info->count; at += info->count) {
            double expected;

            tried++;
            if (!slope(net, &b, i, at, values, &expected))
                continue;
            smooth++;
            if (fabs((double)gradient[at] - expected) > 2e-4 * fmax(1e-2, fabs(expected)))
                fail_msg("%s[%zu]: gradient %g, by differences %g", info->name, at,
                         (double)gradient[at], expected);
        }
        free(values);
        free(gradient);
    }
    wsl_net_close(net);
    assert_true(tried >= 20);
    assert_true(smooth >= tried * 2 / 3);
}

static void test_overfits_one_batch(void **state)
{
    static const char *const backends[] = {"ref", "cpu"};
    struct wsl_net_config config = net_tiny();
    struct net_batch b;

    (void)state;
    config.stages = 1;
    net_make_batch(&b, 9);
    for (int k = 0; k < 2; k++) {
        struct wsl_net *net = net_open(&config, backends[k], BATCH, 1);
        struct wsl_step_result result;
        double first, last = 0;

        wsl_net_init(net, 1);
        first = net_step(net, &b, BATCH, 1.0f / BATCH);
        for (int i = 0; i < 25; i++) {
            wsl_net_update(net, 0.05f, 0.9f, 1e-4f);
            last = net_step(net, &b, BATCH, 1.0f / BATCH);
        }
        assert_in_range((int)(first / BATCH * 1000), 1500, 3000); /* about log 7 */
        if (last > 0.35 * first) /* two tags of 1/2 leave log 2 for half of the images */
            fail_msg("%s: loss went from %g to %g", backends[k], first, last);
        wsl_net_step(net, &(struct wsl_net_batch){b.pixels, b.targets, BATCH},
                     &(struct wsl_step_options){1, NULL, NULL}, &result, NULL);
        assert_int_equal(result.hit1, BATCH);
        assert_int_equal(result.hit5, BATCH);
        wsl_net_close(net);
    }
}

static uint64_t bits_after(const char *backend, int threads, int count)
{
    struct wsl_net_config config = net_tiny();
    struct wsl_net *net = net_open(&config, backend, BATCH, threads);
    uint64_t hash = 14695981039346656037u;
    struct net_batch b;
    size_t n;
    const float *blocks[3];

    net_make_batch(&b, 17);
    wsl_net_init(net, 4);
    for (int i = 0; i < 3; i++) {
        net_step(net, &b, count, 0.25f);
        wsl_net_update(net, 0.05f, 0.9f, 1e-4f);
    }
    blocks[0] = wsl_net_parameters(net, &n);
    blocks[1] = wsl_net_momentum(net, &n);
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < n * sizeof(float); i++)
            hash = (hash ^ ((const uint8_t *)blocks[k])[i]) * 1099511628211u;
    blocks[2] = wsl_net_statistics(net, &n);
    for (size_t i = 0; i < n * sizeof(float); i++)
        hash = (hash ^ ((const uint8_t *)blocks[2])[i]) * 1099511628211u;
    wsl_net_close(net);
    return hash;
}

static void test_same_bits_twice(void **state)
{
    (void)state;
    assert_true(bits_after("ref", 1, BATCH) == bits_after("ref", 1, BATCH));
    assert_true(bits_after("cpu", 1, BATCH) == bits_after("cpu", 1, BATCH));
    assert_true(bits_after("cpu", 2, BATCH) == bits_after("cpu", 2, BATCH));
    assert_true(bits_after("cpu", 1, BATCH - 1) == bits_after("cpu", 1, BATCH - 1));
    assert_true(bits_after("cpu", 1, BATCH) != bits_after("cpu", 1, BATCH - 1));
}

/* A net made for more images than it gets computes the same as one made for that many. */
static void test_fewer_images_than_the_batch(void **state)
{
    struct wsl_net_config config = net_tiny();
    struct wsl_net *roomy = net_open(&config, "cpu", BATCH, 1);
    struct wsl_net *exact = net_open(&config, "cpu", BATCH - 1, 1);
    struct net_batch b;

    (void)state;
    net_make_batch(&b, 23);
    wsl_net_init(roomy, 8);
    wsl_net_init(exact, 8);
    net_shake(roomy);
    net_shake(exact);
    net_step(roomy, &b, BATCH, 1); /* leaves its own values everywhere */
    wsl_net_init(roomy, 8);
    net_shake(roomy);
    assert_true(fabs(net_step(roomy, &b, BATCH - 1, 1) - net_step(exact, &b, BATCH - 1, 1)) < 1e-4);
    for (size_t i = 0; i < wsl_net_tensor_count(exact); i++) {
        const struct wsl_tensor_info *info = wsl_net_tensor(exact, i);
        enum wsl_tensor_slot slot =
            info->kind == WSL_TENSOR_WEIGHT ? WSL_TENSOR_GRADIENT : WSL_TENSOR_VALUE;
        float *x = net_get(roomy, i, slot), *y = net_get(exact, i, slot);
        double difference = 0, size = 0;

        for (size_t j = 0; j < info->count; j++) {
            difference += pow((double)x[j] - (double)y[j], 2);
            size += pow((double)y[j], 2);
        }
        if (!(sqrt(difference) <= 1e-3 * sqrt(size) + 1e-5))
            fail_msg("%s differs by %g of %g", info->name, sqrt(difference), sqrt(size));
        free(x);
        free(y);
    }
    wsl_net_close(roomy);
    wsl_net_close(exact);
}

struct seen {
    float *block, *snapshot;
    size_t total, end;
    int next;
};

static void on_bucket(void *context, int bucket, float *gradients, size_t count)
{
    struct seen *seen = context;

    assert_int_equal(bucket, seen->next);
    seen->next++;
    assert_true(count > 0 && count <= seen->end);
    assert_true(count * sizeof(float) <= 1 << 20);
    seen->end -= count;
    if (!seen->block) /* the first: the end of the block */
        seen->block = gradients - seen->end;
    assert_ptr_equal(gradients, seen->block + seen->end);
    memcpy(seen->snapshot + seen->end, gradients, count * sizeof(float));
}

static void test_buckets_cover_the_block_from_its_end(void **state)
{
    struct wsl_net_config config = {.stages = 4,
                                    .depths = {1, 1, 1, 1},
                                    .groups = 4,
                                    .width = 4,
                                    .image_size = IMAGE,
                                    .classes = CLASSES};
    struct wsl_net *net = net_open(&config, "cpu", BATCH, 1);
    struct seen seen = {0};
    struct wsl_step_result result;
    struct net_batch b;

    (void)state;
    net_make_batch(&b, 2);
    wsl_net_init(net, 2);
    net_shake(net);
    wsl_net_parameters(net, &seen.total);
    seen.snapshot = malloc(seen.total * sizeof(float));
    assert_non_null(seen.snapshot);
    for (int round = 0; round < 2; round++) {
        seen.end = seen.total;
        seen.next = 0;
        seen.block = NULL;
        assert_int_equal(wsl_net_step(net, &(struct wsl_net_batch){b.pixels, b.targets, BATCH},
                                      &(struct wsl_step_options){1, on_bucket, &seen}, &result,
                                      NULL),
                         0);
        assert_int_equal(seen.next, wsl_net_bucket_count(net));
        assert_true(seen.next > 3);
        assert_int_equal(seen.end, 0);
        /* Nothing was written after it was handed out. */
        assert_memory_equal(seen.snapshot, seen.block, seen.total * sizeof(float));
    }
    free(seen.snapshot);
    wsl_net_close(net);
}

static void test_get_set_round_trip(void **state)
{
    static const char *const backends[] = {"ref", "cpu"};
    struct wsl_net_config config = net_tiny();

    (void)state;
    for (int k = 0; k < 2; k++) {
        struct wsl_net *net = net_open(&config, backends[k], 1, 1);

        wsl_net_init(net, 1);
        for (size_t i = 0; i < wsl_net_tensor_count(net); i++) {
            const struct wsl_tensor_info *info = wsl_net_tensor(net, i);
            float *values = net_get(net, i, WSL_TENSOR_VALUE), *back;
            int last = info->kind == WSL_TENSOR_WEIGHT ? WSL_TENSOR_GRADIENT : WSL_TENSOR_VALUE;

            for (int what = WSL_TENSOR_VALUE; what <= last; what++) {
                for (size_t j = 0; j < info->count; j++)
                    values[j] = (float)(j + 10 * i) + (float)what * 0.25f;
                wsl_net_set(net, i, (enum wsl_tensor_slot)what, values);
                back = net_get(net, i, (enum wsl_tensor_slot)what);
                assert_memory_equal(values, back, info->count * sizeof(float));
                free(back);
            }
            free(values);
        }
        wsl_net_close(net);
    }
}

static void test_init(void **state)
{
    struct wsl_net_config config = net_tiny();
    struct wsl_net *a = net_open(&config, "ref", 1, 1), *b = net_open(&config, "cpu", 1, 1);
    double squares = 0;
    float *w;
    size_t i;

    (void)state;
    wsl_net_init(a, 77);
    wsl_net_init(b, 77);
    for (i = 0; i < wsl_net_tensor_count(a); i++) {
        float *x = net_get(a, i, WSL_TENSOR_VALUE), *y = net_get(b, i, WSL_TENSOR_VALUE);

        assert_memory_equal(x, y, wsl_net_tensor(a, i)->count * sizeof(float));
        free(x);
        free(y);
    }
    i = net_tensor_named(a, "conv1.weight");
    w = net_get(a, i, WSL_TENSOR_VALUE);
    for (size_t j = 0; j < wsl_net_tensor(a, i)->count; j++)
        squares += (double)w[j] * (double)w[j];
    free(w);
    /* variance 2 / (64 * 7 * 7) */
    assert_true(fabs(squares / (64 * 3 * 49) * (64 * 49) / 2 - 1) < 0.05);
    w = net_get(a, net_tensor_named(a, "layer1.0.bn3.weight"), WSL_TENSOR_VALUE);
    assert_true(w[0] == 0);
    free(w);
    w = net_get(a, net_tensor_named(a, "layer1.0.bn2.weight"), WSL_TENSOR_VALUE);
    assert_true(w[0] == 1);
    free(w);
    wsl_net_init_head(b, 78);
    w = net_get(a, net_tensor_named(a, "fc.weight"), WSL_TENSOR_VALUE);
    float *other = net_get(b, net_tensor_named(b, "fc.weight"), WSL_TENSOR_VALUE);
    assert_memory_not_equal(w, other, 16);
    free(w);
    free(other);
    wsl_net_close(a);
    wsl_net_close(b);
}

static void test_evaluation(void **state)
{
    struct wsl_net_config config = net_tiny();
    struct wsl_net *net = net_open(&config, "cpu", BATCH, 1), *only = NULL;
    struct wsl_net_setup setup = {
        .config = config, .backend = "cpu", .batch = BATCH, .threads = 1, .inference_only = true};
    float logits[BATCH * CLASSES], again[BATCH * CLASSES];
    struct wsl_step_result result, second;
    struct net_batch b;
    double loss = 0;

    (void)state;
    net_make_batch(&b, 31);
    wsl_net_init(net, 3);
    for (int i = 0; i < 5; i++) {
        net_step(net, &b, BATCH, 0.25f);
        wsl_net_update(net, 0.02f, 0.9f, 0);
    }
    assert_int_equal(wsl_net_evaluate(net, &(struct wsl_net_batch){b.pixels, b.targets, BATCH},
                                      logits, &result, NULL),
                     0);
    for (uint32_t n = 0; n < BATCH; n++) {
        double sum = 0, k = b.begin[n + 1] - b.begin[n];

        for (int c = 0; c < CLASSES; c++)
            sum += exp((double)logits[n * CLASSES + c]);
        for (uint32_t j = b.begin[n]; j < b.begin[n + 1]; j++)
            loss += (log(sum) - (double)logits[n * CLASSES + b.tags[j]]) / k;
    }
    assert_true(fabs(loss - result.loss) < 1e-4 * loss);
    assert_int_equal(wsl_net_open(&only, &setup, NULL), 0);
    for (size_t i = 0; i < wsl_net_tensor_count(net); i++) {
        float *values = net_get(net, i, WSL_TENSOR_VALUE);

        wsl_net_set(only, i, WSL_TENSOR_VALUE, values);
        free(values);
    }
    assert_int_equal(wsl_net_evaluate(only, &(struct wsl_net_batch){b.pixels, b.targets, BATCH},
                                      again, &second, NULL),
                     0);
    for (int i = 0; i < BATCH * CLASSES; i++)
        assert_true(fabs((double)logits[i] - (double)again[i]) < 1e-4);
    assert_int_equal(result.hit1, second.hit1);
    wsl_net_close(net);
    wsl_net_close(only);
}

static void test_statistics_average(void **state)
{
    struct wsl_net_config config = net_tiny();
    struct wsl_net *net = net_open(&config, "cpu", 1, 1);
    size_t count, used = 0;
    float *block = wsl_net_statistics(net, &count), *var;

    (void)state;
    wsl_net_init(net, 1);
    for (size_t i = 0; i < wsl_net_tensor_count(net); i++)
        if (wsl_net_tensor(net, i)->kind == WSL_TENSOR_STATISTIC)
            used += wsl_net_tensor(net, i)->count;
    assert_true(count >= used);
    for (size_t i = 0; i < count; i++)
        block[i] *= 4;
    wsl_net_scale_statistics(net, 0.25f);
    var = net_get(net, net_tensor_named(net, "bn1.running_var"), WSL_TENSOR_VALUE);
    assert_true(var[0] == 1 && var[63] == 1);
    free(var);
    wsl_net_close(net);
}

/* Our code allocates nothing at all. oneDNN takes and gives back small things of its own in every
 * call; of those, none stays, and the process does not grow. */
static void test_no_allocation_after_the_first_step(void **state)
{
    static const char *const backends[] = {"ref", "cpu"};
    struct wsl_net_config config = net_tiny();
    struct net_batch b;

    (void)state;
    config.stages = 2;
    net_make_batch(&b, 1);
    for (int k = 0; k < 2; k++) {
        size_t counted = allocations;
        struct wsl_net *net = net_open(&config, backends[k], BATCH, 1);
        struct mallinfo2 before, after;

        assert_true(allocations > counted); /* the counter works */
        wsl_net_init(net, 1);
        net_step(net, &b, BATCH, 1);
        before = mallinfo2();
        counted = allocations;
        for (int i = 0; i < 4; i++) {
            net_step(net, &b, BATCH, 1);
            wsl_net_update(net, 0.1f, 0.9f, 0);
        }
        after = mallinfo2();
        assert_int_equal(allocations, counted);
        assert_int_equal(before.uordblks, after.uordblks);
        assert_int_equal(before.arena + before.hblkhd, after.arena + after.hblkhd);
        wsl_net_close(net);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_sizes),
        cmocka_unit_test(test_bad_configs_are_named),
        cmocka_unit_test(test_too_big_says_how_much),
        cmocka_unit_test(test_bad_targets_are_named),
        cmocka_unit_test(test_names_are_torchvisions),
        cmocka_unit_test(test_gradient_of_every_tensor),
        cmocka_unit_test(test_overfits_one_batch),
        cmocka_unit_test(test_same_bits_twice),
        cmocka_unit_test(test_fewer_images_than_the_batch),
        cmocka_unit_test(test_buckets_cover_the_block_from_its_end),
        cmocka_unit_test(test_get_set_round_trip),
        cmocka_unit_test(test_init),
        cmocka_unit_test(test_evaluation),
        cmocka_unit_test(test_statistics_average),
        cmocka_unit_test(test_no_allocation_after_the_first_step),
    };

    return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
