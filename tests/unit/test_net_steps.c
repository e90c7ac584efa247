/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps under conditions: numbers that are not finite, batches in pieces, BN computed again,
 * nets of any form. */
#include "base/rng.h"
#include "kernels/model/internal.h"
#include "kernels/model/summary.h"
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
    net = net_open(&config, backend, BATCH, 1);
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
static void spoil(struct wsl_net *net, const char *name, enum wsl_tensor_slot slot, float value)
{
    size_t i = net_tensor_named(net, name), count = wsl_net_tensor(net, i)->count;
    float *values = net_get(net, i, slot);

    values[count - 2] = value;
    wsl_net_set(net, i, slot, values);
    free(values);
}

static void test_what_is_not_finite_is_named(void **state)
{
    static const struct {
        const char *tensor;
        enum wsl_tensor_slot slot;
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
            spoil(net, cases[c].tensor, cases[c].slot, cases[c].value);
            if (cases[c].slot == WSL_TENSOR_GRADIENT) {
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

/* ---- batches in pieces ---- */

static struct wsl_net *open_pieces(const char *backend, int batch, int micro_batch)
{
    struct wsl_net_setup setup = {.config = net_tiny(),
                                  .backend = backend,
                                  .batch = batch,
                                  .micro_batch = micro_batch,
                                  .threads = 1};
    struct wsl_net *net;

    setup.config.stages = 2;
    net = net_open_setup(&setup);
    wsl_net_init(net, 3);
    net_shake(net);
    return net;
}

/* A step on images [first, first + count) of a batch. */
static struct wsl_step_result step_on(struct wsl_net *net, const struct net_batch *b, int first,
                                      int count)
{
    struct wsl_targets targets = {b->begin + first, b->tags};
    struct wsl_step_result result;
    struct wsl_err err = {0};

    if (wsl_net_step(
            net,
            &(struct wsl_net_batch){b->pixels + (size_t)first * IMAGE * IMAGE * 3, targets, count},
            &(struct wsl_step_options){0.25f, NULL, NULL}, &result, &err))
        fail_msg("%s", err.text);
    return result;
}

/* What one net does on images [0, count) in pieces, another does in separate steps of so many
 * images, whose gradients are added up here in the same order: the same bits. */
static void compare_pieces(const char *backend, int micro_batch, int count)
{
    struct wsl_net *pieces = open_pieces(backend, BATCH, micro_batch);
    struct wsl_net *steps = open_pieces(backend, micro_batch, 0);
    struct wsl_step_result all, sum = {0};
    size_t n, statistics;
    float *expected;
    struct net_batch b;

    net_make_batch(&b, 12);
    wsl_net_parameters(steps, &n);
    expected = calloc(n, sizeof *expected);
    assert_non_null(expected);
    for (int first = 0; first < count; first += micro_batch) {
        int images = count - first < micro_batch ? count - first : micro_batch;
        struct wsl_step_result one = step_on(steps, &b, first, images);

        sum.loss += one.loss;
        sum.hit1 += one.hit1;
        sum.hit5 += one.hit5;
        for (size_t i = 0; i < n; i++)
            expected[i] += steps->gradients[i];
    }
    for (int round = 0; round < 2; round++) { /* nothing is left of the first */
        all = step_on(pieces, &b, 0, count);
        assert_memory_equal(pieces->gradients, expected, n * sizeof *expected);
        assert_true(all.loss == sum.loss && all.hit1 == sum.hit1 && all.hit5 == sum.hit5);
        if (round == 0) { /* each piece has moved the running statistics */
            wsl_net_statistics(pieces, &statistics);
            assert_memory_equal(pieces->statistics, steps->statistics, statistics * sizeof(float));
        }
    }
    free(expected);
    wsl_net_close(pieces);
    wsl_net_close(steps);
}

static void test_pieces_are_separate_steps(void **state)
{
    (void)state;
    compare_pieces("ref", 2, BATCH);
    compare_pieces("cpu", 1, BATCH);
    compare_pieces("cpu", 2, BATCH);
    compare_pieces("cpu", 3, BATCH); /* and one */
    compare_pieces("cpu", 2, BATCH - 1);
    compare_pieces("cpu", 2, 1);
    compare_pieces("cpu", BATCH, BATCH);
}

/* Pieces of equal images have equal statistics: then it is the gradient of the whole batch. */
static void test_equal_pieces_are_the_batch(void **state)
{
    struct wsl_net *whole = open_pieces("ref", BATCH, 0), *pieces = open_pieces("ref", BATCH, 2);
    size_t image = (size_t)IMAGE * IMAGE * 3, n;
    double off = 0, size = 0;
    struct net_batch b;

    (void)state;
    net_make_batch(&b, 4);
    memcpy(b.pixels + 2 * image, b.pixels, 2 * image);
    for (int i = 0; i < BATCH + 1; i++)
        b.begin[i] = (uint32_t)i;
    for (int i = 0; i < BATCH; i++)
        b.tags[i] = (uint32_t)i % 2;
    assert_true(fabs(step_on(whole, &b, 0, BATCH).loss - step_on(pieces, &b, 0, BATCH).loss) <
                1e-9);
    wsl_net_parameters(whole, &n);
    for (size_t i = 0; i < n; i++) {
        off += pow((double)whole->gradients[i] - (double)pieces->gradients[i], 2);
        size += pow((double)whole->gradients[i], 2);
    }
    assert_true(size > 1e-3 && sqrt(off / size) < 1e-6);
    wsl_net_close(whole);
    wsl_net_close(pieces);
}

struct handed {
    struct wsl_net *net;
    float *values;
    size_t end;
    int buckets;
};

static void on_bucket(void *context, int bucket, float *gradients, size_t count)
{
    struct handed *h = context;

    assert_int_equal(bucket, h->buckets++);
    h->end -= count;
    assert_ptr_equal(gradients, h->net->gradients + h->end);
    memcpy(h->values + h->end, gradients, count * sizeof *gradients);
}

/* What is handed out is the sum, once, and nothing changes it later. */
static void test_buckets_of_pieces_are_sums(void **state)
{
    struct wsl_net *net = open_pieces("cpu", BATCH, 1), *other = open_pieces("cpu", BATCH, 1);
    struct handed h = {.net = net};
    struct wsl_step_result result;
    struct net_batch b;
    size_t n;

    (void)state;
    net_make_batch(&b, 12);
    wsl_net_parameters(net, &n);
    h.end = n;
    h.values = calloc(n, sizeof *h.values);
    assert_non_null(h.values);
    assert_int_equal(wsl_net_step(net, &(struct wsl_net_batch){b.pixels, b.targets, BATCH},
                                  &(struct wsl_step_options){0.25f, on_bucket, &h}, &result, NULL),
                     0);
    step_on(other, &b, 0, BATCH);
    assert_int_equal(h.end, 0);
    assert_int_equal(h.buckets, wsl_net_bucket_count(net));
    assert_memory_equal(h.values, other->gradients, n * sizeof *h.values);
    assert_memory_equal(h.values, net->gradients, n * sizeof *h.values);
    free(h.values);
    wsl_net_close(net);
    wsl_net_close(other);
}

static void test_evaluation_in_pieces(void **state)
{
    struct wsl_net *whole = open_pieces("cpu", BATCH, 0), *pieces = open_pieces("cpu", BATCH, 3);
    float logits[BATCH * CLASSES], again[BATCH * CLASSES];
    struct wsl_step_result a, b;
    struct net_batch batch;

    (void)state;
    net_make_batch(&batch, 12);
    assert_int_equal(wsl_net_evaluate(whole,
                                      &(struct wsl_net_batch){batch.pixels, batch.targets, BATCH},
                                      logits, &a, NULL),
                     0);
    assert_int_equal(wsl_net_evaluate(pieces,
                                      &(struct wsl_net_batch){batch.pixels, batch.targets, BATCH},
                                      again, &b, NULL),
                     0);
    for (int i = 0; i < BATCH * CLASSES; i++)
        assert_true(fabs((double)logits[i] - (double)again[i]) < 1e-4);
    assert_true(fabs(a.loss - b.loss) < 1e-4);
    assert_int_equal(a.hit1, b.hit1);
    assert_int_equal(a.hit5, b.hit5);
    wsl_net_close(whole);
    wsl_net_close(pieces);
}

static void test_bad_pieces_are_named(void **state)
{
    struct wsl_net_setup setup = {.config = net_tiny(), .backend = "ref", .batch = 4, .threads = 1};
    struct wsl_net *net;
    struct wsl_err err = {0};

    (void)state;
    setup.micro_batch = 5;
    expect(wsl_net_open(&net, &setup, &err), &err, "micro-batch is 5 images");
    setup.micro_batch = -1;
    expect(wsl_net_open(&net, &setup, &err), &err, "micro-batch is -1 images");
}

/* ---- BN and ReLU computed again ---- */

/* Three steps with updates, in pieces or not; the two nets never differ in a bit. */
static void compare_recompute(const char *backend, int micro_batch, int count)
{
    struct wsl_net_setup setup = {.config = net_tiny(),
                                  .backend = backend,
                                  .batch = BATCH,
                                  .micro_batch = micro_batch,
                                  .threads = 2};
    struct wsl_net *kept, *again;
    struct net_batch b;
    size_t n, statistics;

    setup.config.stages = 2;
    kept = net_open_setup(&setup);
    setup.recompute = true;
    again = net_open_setup(&setup);
    assert_true(again->program.arena_bytes < kept->program.arena_bytes);
    net_make_batch(&b, 12);
    wsl_net_init(kept, 3);
    wsl_net_init(again, 3);
    net_shake(kept);
    net_shake(again);
    wsl_net_parameters(kept, &n);
    wsl_net_statistics(kept, &statistics);
    for (int i = 0; i < 3; i++) {
        assert_true(step_on(kept, &b, 0, count).loss == step_on(again, &b, 0, count).loss);
        assert_memory_equal(kept->gradients, again->gradients, n * sizeof(float));
        assert_memory_equal(kept->statistics, again->statistics, statistics * sizeof(float));
        wsl_net_update(kept, 0.05f, 0.9f, 1e-4f);
        wsl_net_update(again, 0.05f, 0.9f, 1e-4f);
    }
    assert_memory_equal(kept->parameters, again->parameters, n * sizeof(float));
    wsl_net_close(kept);
    wsl_net_close(again);
}

static void test_recomputing_changes_no_bit(void **state)
{
    (void)state;
    compare_recompute("ref", 0, BATCH);
    compare_recompute("cpu", 0, BATCH);
    compare_recompute("cpu", 0, BATCH - 1);
    compare_recompute("cpu", 2, BATCH);
}

/* What is left out is, for each image, the inputs of the convolutions in a block but the first. */
static void test_recomputing_saves_memory(void **state)
{
    struct wsl_net_setup setup = {.backend = "cpu", .batch = 8, .threads = 1};
    struct wsl_net_memory kept, again;
    uint64_t inputs = 0, widest = 0;
    struct wsl_net_summary *summary;

    (void)state;
    assert_int_equal(wsl_net_config_by_name("resnext50_32x4d", &setup.config), 0);
    setup.config.image_size = 224;
    setup.config.classes = 1000;
    assert_int_equal(wsl_net_memory(&setup, &kept, NULL), 0);
    setup.recompute = true;
    assert_int_equal(wsl_net_memory(&setup, &again, NULL), 0);
    assert_int_equal(wsl_net_summary_open(&summary, &setup.config, NULL), 0);
    for (size_t i = 0; i < wsl_net_summary_layer_count(summary); i++) {
        const struct wsl_net_layer_info *l = wsl_net_summary_layer(summary, i);

        if (strstr(l->name, ".conv1") || strstr(l->name, ".conv2")) {
            inputs += l->activation_bytes;
            widest = l->activation_bytes > widest ? l->activation_bytes : widest;
        }
    }
    wsl_net_summary_close(summary);
    print_message("# activations of 8 images: %.1f MiB, with recompute %.1f MiB\n",
                  (double)kept.activations / (1 << 20), (double)again.activations / (1 << 20));
    /* All of them, but for the one that is there at a time. */
    assert_true(kept.activations - again.activations >= 8 * (inputs - 2 * widest));
    assert_int_equal(kept.total - kept.activations, again.total - again.activations);
    setup.inference_only = true;
    assert_int_equal(wsl_net_memory(&setup, &again, NULL), 0);
    setup.recompute = false;
    assert_int_equal(wsl_net_memory(&setup, &kept, NULL), 0);
    assert_int_equal(kept.total, again.total);
}

/* ---- any net ---- */

/* A small net of any form, with a batch of any size that is computed in any way. */
static struct wsl_net_setup random_setup(uint32_t seed, int *ret_count)
{
    static const int groups[] = {1, 2, 3, 4, 8, 32};
    struct wsl_net_setup s = {.backend = "cpu"};
    struct wsl_net_config *c = &s.config;
    struct wsl_rng rng;

    wsl_rng_start(&rng, seed, 0);
    s.threads = 1 + (int)wsl_rng_below(&rng, 2);
    c->stages = 1 + (int)wsl_rng_below(&rng, 3);
    for (int i = 0; i < c->stages; i++)
        c->depths[i] = i == 0 ? 1 + (int)wsl_rng_below(&rng, 2) : 1;
    c->groups = groups[wsl_rng_below(&rng, 6)];
    c->width = 1 + (int)wsl_rng_below(&rng, c->groups > 8 ? 2 : 8);
    c->image_size = c->stages < 3 && wsl_rng_below(&rng, 4) > 0 ? 32 : 64;
    c->classes = CLASSES + (int)wsl_rng_below(&rng, 20);
    s.batch = 1 + (int)wsl_rng_below(&rng, BATCH);
    s.micro_batch = (int)wsl_rng_below(&rng, (uint32_t)s.batch + 1);
    s.recompute = wsl_rng_below(&rng, 2);
    *ret_count = 1 + (int)wsl_rng_below(&rng, (uint32_t)s.batch);
    return s;
}

static void say_setup(const struct wsl_net_setup *s, uint32_t seed, int count)
{
    const struct wsl_net_config *c = &s->config;

    print_message(
        "# seed %u: blocks %d,%d,%d; groups %d; width %d; %d pixels; %d classes; %d of %d "
        "images, %d at a time; recompute %d; %d threads\n",
        seed, c->depths[0], c->depths[1], c->depths[2], c->groups, c->width, c->image_size,
        c->classes, count, s->batch, s->micro_batch, s->recompute, s->threads);
}

/* Length of the difference between two tensors against the length of the first, or of what is
 * nothing next to the other gradients. */
static double distance(struct wsl_net *right, struct wsl_net *net, size_t i, double least)
{
    float *a = net_get(right, i, WSL_TENSOR_GRADIENT), *b = net_get(net, i, WSL_TENSOR_GRADIENT);
    double off = 0, size = 0;

    for (size_t k = 0; k < wsl_net_tensor(right, i)->count; k++) {
        off += pow((double)a[k] - (double)b[k], 2);
        size += pow((double)a[k], 2);
    }
    free(a);
    free(b);
    return sqrt(off) / fmax(sqrt(size), least);
}

/* How far a gradient of a net is from ref's, against its length. */
static double off_ref(struct wsl_net_setup setup, int count, uint32_t seed)
{
    struct wsl_net *net = net_open_setup(&setup), *right;
    double loss, expected, worst = 0;
    const char *where = "";
    struct net_batch b;

    say_setup(&setup, seed, count);
    setup.backend = "ref";
    setup.recompute = false;
    right = net_open_setup(&setup);
    net_make_batch(&b, seed);
    wsl_net_init(net, seed);
    wsl_net_init(right, seed);
    net_shake(net);
    net_shake(right);
    loss = net_step(net, &b, count, 1.0f / (float)count);
    expected = net_step(right, &b, count, 1.0f / (float)count);
    assert_true(fabs(loss - expected) <= 1e-4 * expected);
    for (size_t i = 0; i < wsl_net_tensor_count(right); i++) {
        double d;

        if (wsl_net_tensor(right, i)->kind != WSL_TENSOR_WEIGHT)
            continue;
        d = distance(right, net, i, 1e-3);
        if (!(d <= worst)) {
            worst = d;
            where = wsl_net_tensor(right, i)->name;
        }
    }
    print_message("#   off by %g of its length at most: the gradient of %s\n", worst, where);
    wsl_net_close(net);
    wsl_net_close(right);
    return worst;
}

/* WSL_NET_SEED=N runs that seed alone. Where rounding decides a ReLU differently, a gradient of a
 * small net is off by up to a hundredth of its length; a mistake is off by all of it. */
static void test_any_net_has_the_gradients_of_ref(void **state)
{
    const char *only = getenv("WSL_NET_SEED");
    uint32_t first = only ? (uint32_t)strtoul(only, NULL, 10) : 1, last = only ? first : 6;

    (void)state;
    for (uint32_t seed = first; seed <= last; seed++) {
        int count;
        struct wsl_net_setup setup = random_setup(seed, &count);

        if (off_ref(setup, count, seed) > 0.05)
            fail_msg("seed %u: gradients are not those of ref", seed);
    }
}

/* So many pixels that cpu cuts its sums over them, and computes both gradients of a 1x1 convolution
 * in one sweep. */
static void test_many_pixels_have_the_gradients_of_ref(void **state)
{
    struct wsl_net_setup setup = {
        .config = {.stages = 1,
                   .depths = {2},
                   .groups = 2,
                   .width = 3,
                   .image_size = IMAGE_MAX,
                   .classes = CLASSES},
        .backend = "cpu",
        .batch = 3,
        .threads = 2,
    };

    (void)state;
    assert_true(off_ref(setup, 3, 1) < 0.05);
    setup.recompute = true;
    setup.threads = 1;
    assert_true(off_ref(setup, 2, 2) < 0.05);
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
        cmocka_unit_test(test_pieces_are_separate_steps),
        cmocka_unit_test(test_equal_pieces_are_the_batch),
        cmocka_unit_test(test_buckets_of_pieces_are_sums),
        cmocka_unit_test(test_evaluation_in_pieces),
        cmocka_unit_test(test_bad_pieces_are_named),
        cmocka_unit_test(test_recomputing_changes_no_bit),
        cmocka_unit_test(test_recomputing_saves_memory),
        cmocka_unit_test(test_any_net_has_the_gradients_of_ref),
        cmocka_unit_test(test_many_pixels_have_the_gradients_of_ref),
    };

    return cmocka_run_group_tests_name("net steps", tests, NULL, NULL);
}
