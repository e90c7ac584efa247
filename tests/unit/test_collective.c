/* SPDX-License-Identifier: Apache-2.0
 *
 * The contract of kernels/collective/collective.h, over every implementation: ranks are threads
 * here. What only processes can show (a killed or stopped rank) is in test_collective_process.c.
 */
#include "base/clock.h"
#include "base/rng.h"
#include "kernels/collective/bf16_add.h"
#include "kernels/collective/collective.h"
#include "kernels/collective/local.h"

#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WORLD_MAX 5

/* One generation of ranks that are threads; `body` runs in each with its collective open. */
struct ranks {
    const char *implementation;
    int world;
    enum wsl_reduce_dtype gradient_dtype;
    uint32_t timeout_ms;
    void (*body)(struct ranks *ranks, int rank);
    void *context;
    struct wsl_local_group *group;
    struct wsl_collective *c[WORLD_MAX];
    pthread_barrier_t barrier; /* for bodies */
    sem_t go;                  /* likewise */
};

struct start {
    struct ranks *ranks;
    int rank;
};

static struct wsl_collective_setup setup_of(struct ranks *ranks, int rank)
{
    return (struct wsl_collective_setup){
        .implementation = ranks->implementation,
        .rank = rank,
        .world = ranks->world,
        .gradient_dtype = ranks->gradient_dtype,
        .timeout_ms = ranks->timeout_ms,
        .exchange = wsl_local_group_exchange(ranks->group, rank),
    };
}

static void must(int r, const struct wsl_err *err)
{
    if (r != 0) {
        fprintf(stderr, "# %s: %s\n", wsl_err_name(r), err->text);
        abort(); /* a rank's thread cannot leave through cmocka */
    }
}

static void require(bool true_thing, const char *what)
{
    if (!true_thing) {
        fprintf(stderr, "# not so: %s\n", what);
        abort();
    }
}
#define REQUIRE(thing) require(thing, #thing)

static void *rank_main(void *context)
{
    struct start *start = context;
    struct ranks *ranks = start->ranks;
    struct wsl_collective_setup setup = setup_of(ranks, start->rank);
    struct wsl_err err = {0};

    must(wsl_collective_open(&ranks->c[start->rank], &setup, &err), &err);
    ranks->body(ranks, start->rank);
    wsl_collective_close(ranks->c[start->rank]);
    return NULL;
}

static void run_ranks(struct ranks *ranks)
{
    pthread_t threads[WORLD_MAX];
    struct start starts[WORLD_MAX];
    struct wsl_err err;

    assert_int_equal(wsl_local_group_open(&ranks->group, ranks->world, &err), 0);
    if (ranks->timeout_ms == 0)
        ranks->timeout_ms = 20000;
    pthread_barrier_init(&ranks->barrier, NULL, (unsigned)ranks->world);
    sem_init(&ranks->go, 0, 0);
    for (int i = 0; i < ranks->world; i++) {
        starts[i] = (struct start){ranks, i};
        assert_int_equal(pthread_create(&threads[i], NULL, rank_main, &starts[i]), 0);
    }
    for (int i = 0; i < ranks->world; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&ranks->barrier);
    wsl_local_group_close(ranks->group);
}

static double ms_since(uint64_t ns)
{
    return (double)(wsl_clock_ns() - ns) / 1e6;
}

/* ---- sums ---- */

static const size_t sizes[] = {1, 2, 3, 7, 1000, 100003, (1 << 20) + 5, 0};
#define SIZE_MAX_TESTED ((1 << 20) + 5)

static float input(int rank, size_t i)
{
    uint64_t h = wsl_mix64((uint64_t)rank + 17, i);

    return (float)((double)(h >> 11) * 0x1p-53 - 0.5) * (float)(1 << (h % 12));
}

static void sum_body(struct ranks *ranks, int rank)
{
    float *results = ranks->context; /* world x SIZE_MAX_TESTED */
    float *data = results + (size_t)rank * SIZE_MAX_TESTED;
    double f64[100];
    struct wsl_err err = {0};

    for (size_t s = 0; s < sizeof(sizes) / sizeof(*sizes); s++) {
        for (size_t i = 0; i < sizes[s]; i++)
            data[i] = input(rank, i);
        must(wsl_collective_all_reduce(ranks->c[rank], data, sizes[s], &err), &err);
        must(wsl_collective_wait(ranks->c[rank], &err), &err);
        for (size_t i = 0; i < sizes[s]; i++) {
            double want = 0, scale = 1;

            for (int k = 0; k < ranks->world; k++) {
                want += (double)input(k, i);
                scale += fabs((double)input(k, i));
            }
            REQUIRE(fabs((double)data[i] - want) <= 1e-6 * scale);
        }
        pthread_barrier_wait(&ranks->barrier);
        for (int k = 0; k < ranks->world; k++) /* the same bits everywhere */
            REQUIRE(memcmp(data, results + (size_t)k * SIZE_MAX_TESTED, sizes[s] * sizeof(float)) ==
                    0);
        pthread_barrier_wait(&ranks->barrier);
    }
    for (int i = 0; i < 100; i++)
        f64[i] = (double)(rank + 1) * 1e15 + i;
    must(wsl_collective_all_reduce_f64(ranks->c[rank], f64, 100, &err), &err);
    must(wsl_collective_wait(ranks->c[rank], &err), &err);
    for (int i = 0; i < 100; i++) /* exact in 53 bits, not in 24 */
        REQUIRE(f64[i] == (double)(ranks->world * (ranks->world + 1) / 2) * 1e15 +
                              (double)(i * ranks->world));
    /* what sum and repeat compare */
    for (size_t i = 0; i < SIZE_MAX_TESTED; i++)
        data[i] = input(rank, i);
    must(wsl_collective_all_reduce(ranks->c[rank], data, SIZE_MAX_TESTED, &err), &err);
    must(wsl_collective_wait(ranks->c[rank], &err), &err);
}

static void all_reduces_are_right_and_repeat(void **state)
{
    for (int world = 2; world <= 4; world++) {
        struct ranks ranks = {.implementation = *state, .world = world, .body = sum_body};
        float *first = calloc((size_t)world * SIZE_MAX_TESTED, sizeof(float));
        float *second = calloc((size_t)world * SIZE_MAX_TESTED, sizeof(float));

        ranks.context = first;
        run_ranks(&ranks);
        ranks.context = second;
        run_ranks(&ranks);
        assert_memory_equal(first, second, SIZE_MAX_TESTED * sizeof(float));
        free(first);
        free(second);
    }
}

/* More than the GPU's bf16 buffer holds. */
#define GRADIENTS (((size_t)4 << 20) + 3)

/* Every rank's floats and every sum of two are rounded once: each time by at most 2^-8 of what it
 * is. What is no gradient is not rounded. */
static void gradient_body(struct ranks *ranks, int rank)
{
    size_t count = ranks->world == 2 ? GRADIENTS : 100003;
    float *data = (float *)ranks->context + (size_t)rank * GRADIENTS, exact = 1 + 0x1p-20f;
    double f64 = 1 + 0x1p-50;
    struct wsl_err err = {0};

    for (size_t i = 0; i < count; i++)
        data[i] = input(rank, i);
    data[5] = rank == 0 ? NAN : 1;
    data[6] = rank == 0 ? INFINITY : 1;
    must(wsl_collective_all_reduce_gradients(ranks->c[rank], data, count, &err), &err);
    must(wsl_collective_all_reduce(ranks->c[rank], &exact, 1, &err), &err);
    must(wsl_collective_all_reduce_f64(ranks->c[rank], &f64, 1, &err), &err);
    must(wsl_collective_wait(ranks->c[rank], &err), &err);
    REQUIRE(exact == (float)ranks->world * (1 + 0x1p-20f));
    REQUIRE(f64 == (double)ranks->world * (1 + 0x1p-50));
    REQUIRE(isnan(data[5]) && isinf(data[6]));
    for (size_t i = 7; i < count; i++) {
        double want = 0, scale = 0;

        for (int k = 0; k < ranks->world; k++) {
            want += (double)input(k, i);
            scale += fabs((double)input(k, i));
        }
        REQUIRE(fabs((double)data[i] - want) <= ranks->world * 0x1p-8 * 1.02 * scale);
        REQUIRE(wsl_bf16_widen(wsl_bf16_round(data[i])) == data[i]);
        if (ranks->world == 2)
            REQUIRE(data[i] == wsl_bf16_widen(wsl_bf16_add(wsl_bf16_round(input(0, i)),
                                                           wsl_bf16_round(input(1, i)))));
    }
    pthread_barrier_wait(&ranks->barrier);
    REQUIRE(memcmp(data, ranks->context, count * sizeof(float)) == 0);
    pthread_barrier_wait(&ranks->barrier);
}

static void gradients_travel_as_bf16(void **state)
{
    for (int world = 2; world <= 4; world++) {
        struct ranks ranks = {.implementation = *state,
                              .world = world,
                              .gradient_dtype = WSL_REDUCE_BF16,
                              .body = gradient_body};

        ranks.context = calloc((size_t)world * GRADIENTS, sizeof(float));
        assert_non_null(ranks.context);
        run_ranks(&ranks);
        free(ranks.context);
    }
}

static void broadcast_body(struct ranks *ranks, int rank)
{
    size_t bytes = 300001;
    uint8_t *data = malloc(bytes);
    struct wsl_err err = {0};

    for (int root = 0; root < ranks->world; root++) {
        for (size_t i = 0; i < bytes; i++)
            data[i] = (uint8_t)(i * 7 + (size_t)rank * 31);
        must(wsl_collective_broadcast(ranks->c[rank], data, bytes, root, &err), &err);
        must(wsl_collective_wait(ranks->c[rank], &err), &err);
        for (size_t i = 0; i < bytes; i++)
            REQUIRE(data[i] == (uint8_t)(i * 7 + (size_t)root * 31));
    }
    REQUIRE(wsl_collective_broadcast(ranks->c[rank], data, bytes, ranks->world, &err) ==
            WSL_EINVAL);
    free(data);
}

static void broadcasts_come_from_each_root(void **state)
{
    for (int world = 2; world <= 5; world++)
        run_ranks(
            &(struct ranks){.implementation = *state, .world = world, .body = broadcast_body});
}

/* Many operations at once, in order, counted; starting does not block though nobody else starts. */
static void queue_body(struct ranks *ranks, int rank)
{
    enum { OPERATIONS = 300, COUNT = 1000 };
    float *data = calloc(OPERATIONS * COUNT, sizeof(float));
    struct wsl_err err = {0};
    uint64_t started, done, before;

    must(wsl_collective_wait(ranks->c[rank], &err), &err);
    for (int i = 0; i < OPERATIONS * COUNT; i++)
        data[i] = (float)(rank + i / COUNT);
    if (rank == 0) {
        before = wsl_clock_ns();
        for (int i = 0; i < OPERATIONS; i++)
            must(wsl_collective_all_reduce(ranks->c[0], data + i * COUNT, COUNT, &err), &err);
        REQUIRE(ms_since(before) < 1000);
        REQUIRE(wsl_collective_poll(ranks->c[0], &err) == WSL_COLLECTIVE_PENDING);
        wsl_collective_counts(ranks->c[0], &started, &done);
        REQUIRE(started == OPERATIONS && done == 0);
    }
    pthread_barrier_wait(&ranks->barrier);
    if (rank != 0)
        for (int i = 0; i < OPERATIONS; i++)
            must(wsl_collective_all_reduce(ranks->c[rank], data + i * COUNT, COUNT, &err), &err);
    must(wsl_collective_wait(ranks->c[rank], &err), &err);
    REQUIRE(wsl_collective_poll(ranks->c[rank], &err) == WSL_COLLECTIVE_DONE);
    wsl_collective_counts(ranks->c[rank], &started, &done);
    REQUIRE(started == OPERATIONS && done == OPERATIONS);
    for (int i = 0; i < OPERATIONS * COUNT; i++)
        REQUIRE(data[i] == (float)(3 + 3 * (i / COUNT)));
    free(data);
}

static void operations_queue_in_order(void **state)
{
    run_ranks(&(struct ranks){.implementation = *state, .world = 3, .body = queue_body});
}

/* ---- ends ---- */

struct abort_later {
    struct wsl_collective *c;
    uint64_t at_ns;
    uint64_t done_ns;
};

static void *abort_main(void *context)
{
    struct abort_later *later = context;
    struct timespec until = {.tv_sec = (time_t)(later->at_ns / 1000000000),
                             .tv_nsec = (long)(later->at_ns % 1000000000)};

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    wsl_collective_abort(later->c);
    wsl_collective_abort(later->c);
    later->done_ns = wsl_clock_ns();
    return NULL;
}

/* Waits in c while another thread aborts it 50 ms from now; returns the code, and *ret_ms from the
 * abort to the return. */
static int wait_with_abort(struct wsl_collective *c, double *ret_ms)
{
    struct abort_later later = {.c = c, .at_ns = wsl_clock_ns() + 50000000};
    pthread_t thread;
    struct wsl_err err = {0};
    int r;

    pthread_create(&thread, NULL, abort_main, &later);
    r = wsl_collective_wait(c, &err);
    *ret_ms = ms_since(later.at_ns);
    pthread_join(thread, NULL);
    return r;
}

/* Far from the time limits that would end the same calls without an abort; how fast it is stands in
 * the output, since a loaded machine may be slow. */
enum { ABORT_LIMIT_MS = 10000 };

/* The last rank starts its part only when rank 0 has given up: then everybody must learn of it,
 * rank by rank. */
static void abort_body(struct ranks *ranks, int rank)
{
    size_t count = 1 << 20;
    float *data = calloc(count, sizeof(float));
    struct wsl_err err = {0};
    double ms;

    must(wsl_collective_wait(ranks->c[rank], &err), &err);
    pthread_barrier_wait(&ranks->barrier);
    if (rank == ranks->world - 1) {
        sem_wait(&ranks->go);
        wsl_collective_all_reduce_gradients(ranks->c[rank], data, count,
                                            &err); /* may know already */
    } else {
        must(wsl_collective_all_reduce_gradients(ranks->c[rank], data, count, &err), &err);
        must(wsl_collective_all_reduce_gradients(ranks->c[rank], data, count, &err), &err);
    }
    if (rank == 0) {
        REQUIRE(wait_with_abort(ranks->c[0], &ms) == WSL_ECANCELLED);
        printf("# %s: aborted sum ended after %.1f ms\n", ranks->implementation, ms);
        REQUIRE(ms < ABORT_LIMIT_MS);
        REQUIRE(wsl_collective_wait(ranks->c[0], &err) == WSL_ECANCELLED);
        REQUIRE(wsl_collective_poll(ranks->c[0], &err) == WSL_ECANCELLED);
        REQUIRE(wsl_collective_all_reduce_gradients(ranks->c[0], data, count, &err) ==
                WSL_ECANCELLED);
        sem_post(&ranks->go);
    } else {
        uint64_t before = wsl_clock_ns();

        REQUIRE(wsl_collective_wait(ranks->c[rank], &err) == WSL_EPEER);
        REQUIRE(strstr(err.text, "rank ") != NULL);
        REQUIRE(ms_since(before) < 5000);
        REQUIRE(wsl_collective_wait(ranks->c[rank], &err) == WSL_EPEER);
        REQUIRE(wsl_collective_all_reduce_gradients(ranks->c[rank], data, count, &err) ==
                WSL_EPEER);
    }
    pthread_barrier_wait(&ranks->barrier);
    free(data);
}

static void abort_ends_an_all_reduce_and_peers_learn(void **state)
{
    for (int world = 2; world <= 4; world++)
        run_ranks(&(struct ranks){.implementation = *state, .world = world, .body = abort_body});
    run_ranks(&(struct ranks){.implementation = *state,
                              .world = 3,
                              .gradient_dtype = WSL_REDUCE_BF16,
                              .body = abort_body});
}

static void abort_ends_a_rendezvous(void **state)
{
    struct ranks ranks = {.implementation = *state, .world = 3, .timeout_ms = 20000};
    struct wsl_collective_setup setup;
    struct wsl_collective *c;
    struct wsl_err err = {0};
    double ms;

    assert_int_equal(wsl_local_group_open(&ranks.group, 3, &err), 0);
    setup = setup_of(&ranks, 1);
    assert_int_equal(wsl_collective_open(&c, &setup, &err), 0);
    assert_int_equal(wsl_collective_poll(c, &err), WSL_COLLECTIVE_PENDING);
    assert_int_equal(wait_with_abort(c, &ms), WSL_ECANCELLED);
    printf("# %s: aborted join ended after %.1f ms\n", ranks.implementation, ms);
    assert_true(ms < ABORT_LIMIT_MS);
    wsl_collective_close(c);
    wsl_local_group_close(ranks.group);
}

static void close_ends_a_rendezvous(void **state)
{
    struct ranks ranks = {.implementation = *state, .world = 2, .timeout_ms = 20000};
    struct wsl_collective_setup setup;
    struct wsl_collective *c;
    struct wsl_err err = {0};
    uint64_t before = wsl_clock_ns();

    assert_int_equal(wsl_local_group_open(&ranks.group, 2, &err), 0);
    setup = setup_of(&ranks, 0);
    assert_int_equal(wsl_collective_open(&c, &setup, &err), 0);
    wsl_collective_close(c);
    assert_true(ms_since(before) < 1000);
    wsl_local_group_close(ranks.group);
}

static void a_rendezvous_has_a_time_limit(void **state)
{
    struct ranks ranks = {.implementation = *state, .world = 2, .timeout_ms = 200};
    struct wsl_collective_setup setup;
    struct wsl_collective *c;
    struct wsl_err err = {0};
    uint64_t before = wsl_clock_ns();

    assert_int_equal(wsl_local_group_open(&ranks.group, 2, &err), 0);
    setup = setup_of(&ranks, 1);
    assert_int_equal(wsl_collective_open(&c, &setup, &err), 0);
    assert_int_equal(wsl_collective_wait(c, &err), WSL_ETIMEOUT);
    assert_true(ms_since(before) > 190 && ms_since(before) < 2000);
    wsl_collective_close(c);
    wsl_local_group_close(ranks.group);
}

static void timeout_body(struct ranks *ranks, int rank)
{
    float data[10] = {0};
    struct wsl_err err = {0};

    must(wsl_collective_wait(ranks->c[rank], &err), &err);
    pthread_barrier_wait(&ranks->barrier);
    if (rank == 0) { /* rank 1 does not take part */
        uint64_t before = wsl_clock_ns();
        int r;

        must(wsl_collective_all_reduce(ranks->c[0], data, 10, &err), &err);
        r = wsl_collective_wait(ranks->c[0], &err);
        printf("# %s: %s after %.0f ms\n", ranks->implementation, err.text, ms_since(before));
        REQUIRE(r == WSL_ETIMEOUT);
        REQUIRE(ms_since(before) > 290 && ms_since(before) < 2000);
    }
    pthread_barrier_wait(&ranks->barrier);
}

static void an_operation_has_a_time_limit(void **state)
{
    run_ranks(&(struct ranks){
        .implementation = *state, .world = 2, .timeout_ms = 300, .body = timeout_body});
}

static void a_world_of_one_needs_nobody(void **state)
{
    struct wsl_collective_setup setup = {
        .implementation = *state, .rank = 0, .world = 1, .timeout_ms = 1000};
    struct wsl_collective *c;
    struct wsl_err err = {0};
    float data[3] = {1, 2, 3};

    assert_int_equal(wsl_collective_open(&c, &setup, &err), 0);
    assert_int_equal(wsl_collective_all_reduce(c, data, 3, &err), 0);
    assert_int_equal(wsl_collective_broadcast(c, data, sizeof(data), 0, &err), 0);
    assert_int_equal(wsl_collective_wait(c, &err), WSL_COLLECTIVE_DONE);
    assert_true(data[0] == 1 && data[1] == 2 && data[2] == 3);
    wsl_collective_abort(c);
    assert_int_equal(wsl_collective_wait(c, &err), WSL_ECANCELLED);
    wsl_collective_close(c);
}

static void wrong_setups_are_refused(void **state)
{
    struct wsl_collective *c;
    struct wsl_err err = {0};
    const struct wsl_collective_setup good = {
        .implementation = *state, .rank = 0, .world = 1, .timeout_ms = 1000};
    struct wsl_collective_setup bad = good;

    bad.implementation = "mpi";
    assert_int_equal(wsl_collective_open(&c, &bad, &err), WSL_EINVAL);
    assert_non_null(strstr(err.text, "\"mpi\""));
    bad = good;
    bad.rank = 1;
    assert_int_equal(wsl_collective_open(&c, &bad, &err), WSL_EINVAL);
    bad = good;
    bad.world = 0;
    assert_int_equal(wsl_collective_open(&c, &bad, &err), WSL_EINVAL);
    bad = good;
    bad.timeout_ms = 0;
    assert_int_equal(wsl_collective_open(&c, &bad, &err), WSL_EINVAL);
    bad = good;
    bad.world = 2; /* without an exchange */
    assert_int_equal(wsl_collective_open(&c, &bad, &err), WSL_EINVAL);
    wsl_collective_close(NULL);
}

/* clang-format off */
#define CASE(word, text, function) {word ": " text, function, NULL, NULL, (void *)word}
#define CASES(word)                                                                                \
    CASE(word, "sums are right and repeat", all_reduces_are_right_and_repeat),                            \
    CASE(word, "gradients travel as bf16", gradients_travel_as_bf16),                              \
    CASE(word, "broadcasts come from each root", broadcasts_come_from_each_root),                  \
    CASE(word, "operations queue in order", operations_queue_in_order),                            \
    CASE(word, "abort ends a sum and peers learn", abort_ends_an_all_reduce_and_peers_learn),              \
    CASE(word, "abort ends a join", abort_ends_a_rendezvous),                                            \
    CASE(word, "close ends a join", close_ends_a_rendezvous),                                            \
    CASE(word, "a join has a time limit", a_rendezvous_has_a_time_limit),                                \
    CASE(word, "an operation has a time limit", an_operation_has_a_time_limit),                    \
    CASE(word, "a world of one needs nobody", a_world_of_one_needs_nobody),                        \
    CASE(word, "wrong setups are refused", wrong_setups_are_refused)
/* clang-format on */

#ifndef COLLECTIVE_CASES_ONLY /* test_collective_nccl.c has others */

static void nccl_needs_a_gpu(void **state)
{
    struct ranks ranks = {.implementation = "nccl", .world = 2, .timeout_ms = 300};
    struct wsl_collective_setup setup;
    struct wsl_collective *c;
    struct wsl_err err = {0};
    int r;

    (void)state;
    assert_int_equal(wsl_local_group_open(&ranks.group, 2, &err), 0);
    setup = setup_of(&ranks, 0);
    r = wsl_collective_open(&c, &setup, &err);
    if (r == 0) {
        assert_int_equal(wsl_collective_wait(c, &err), WSL_ETIMEOUT); /* rank 1 never comes */
        wsl_collective_close(c);
    } else {
        printf("# %s\n", err.text);
        assert_true(r == WSL_EUNAVAILABLE || r == WSL_EUNSUPPORTED);
        assert_non_null(strstr(err.text, "NCCL"));
    }
    wsl_local_group_close(ranks.group);
}

static void backends_have_their_implementation(void **state)
{
    (void)state;
    assert_string_equal(wsl_collective_for("cuda"), "nccl");
    assert_string_equal(wsl_collective_for("cpu"), "gloo");
    assert_string_equal(wsl_collective_for("ref"), "gloo");
}

static void dtypes_have_names(void **state)
{
    struct wsl_err err = {0};
    enum wsl_reduce_dtype dtype = WSL_REDUCE_BF16;

    (void)state;
    assert_int_equal(wsl_reduce_dtype_by_name("", &dtype, &err), 0);
    assert_int_equal(dtype, WSL_REDUCE_F32);
    assert_int_equal(wsl_reduce_dtype_by_name("bf16", &dtype, &err), 0);
    assert_int_equal(dtype, WSL_REDUCE_BF16);
    assert_int_equal(wsl_reduce_dtype_by_name("f32", &dtype, &err), 0);
    assert_int_equal(dtype, WSL_REDUCE_F32);
    assert_int_equal(wsl_reduce_dtype_by_name("f16", &dtype, &err), WSL_EINVAL);
    assert_non_null(strstr(err.text, "gradient_dtype"));
}

/* Against halves chosen in doubles: between each two neighbours, below, at and above the middle. */
static void floats_are_rounded_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x7f7f; bits++) {
        float low = wsl_bf16_widen((uint16_t)bits), high = wsl_bf16_widen((uint16_t)(bits + 1));
        float middle = (float)(((double)low + (double)high) / 2);

        assert_int_equal(wsl_bf16_round(low), bits);
        assert_int_equal(wsl_bf16_round(middle), bits + bits % 2);
        assert_int_equal(wsl_bf16_round(nextafterf(middle, 0)), bits);
        assert_int_equal(wsl_bf16_round(nextafterf(middle, INFINITY)), bits + 1);
        assert_int_equal(wsl_bf16_round(-middle), 0x8000 + bits + bits % 2);
    }
    assert_int_equal(wsl_bf16_round(INFINITY), 0x7f80);
    assert_true(isnan(wsl_bf16_widen(wsl_bf16_round(NAN))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASES("local"),
        CASES("gloo"),
        cmocka_unit_test(nccl_needs_a_gpu),
        cmocka_unit_test(backends_have_their_implementation),
        cmocka_unit_test(dtypes_have_names),
        cmocka_unit_test(floats_are_rounded_to_nearest_even),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
