/* SPDX-License-Identifier: Apache-2.0
 *
 * The collective over processes: ranks that are killed, stopped, or never come. The parent forks
 * the ranks and judges them by their exit status; they find each other through files in a directory
 * of the test's own.
 */
#include "base/clock.h"
#include "base/file.h"
#include "kernels/collective/collective.h"
#include "kernels/collective/rendezvous.h"
#include "tests/unit/file_exchange.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT (2 << 20)

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static struct wsl_collective *open_rank(struct file_exchange *f, uint32_t timeout_ms)
{
    struct wsl_collective_setup setup = {
        .implementation = "gloo",
        .rank = f->rank,
        .world = f->world,
        .timeout_ms = timeout_ms,
        .exchange = file_exchange_of(f),
    };
    struct wsl_collective *c;
    struct wsl_err err;

    if (wsl_collective_open(&c, &setup, &err) < 0) {
        fprintf(stderr, "# rank %d: %s\n", f->rank, err.text);
        _exit(2);
    }
    return c;
}

static double ms_since(uint64_t ns)
{
    return (double)(wsl_clock_ns() - ns) / 1e6;
}

/* In a rank's process: leaves with status 1 when a thing is not so. */
#define REQUIRE(thing)                                                                             \
    do {                                                                                           \
        if (!(thing)) {                                                                            \
            fprintf(stderr, "# line %d: not so: %s (%s)\n", __LINE__, #thing, err.text);           \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

static int sum_once(struct wsl_collective *c, float *data, float value, struct wsl_err *err)
{
    int r;

    for (size_t i = 0; i < COUNT; i++)
        data[i] = value;
    r = wsl_collective_all_reduce(c, data, COUNT, err);
    return r < 0 ? r : wsl_collective_wait(c, err);
}

struct scene {
    char directory[64];
    int world;
    pid_t pids[4];
    int done[2]; /* ranks write a byte when they have begun to sum */
};

static void scene_open(struct scene *s, int world)
{
    *s = (struct scene){.world = world};
    strcpy(s->directory, "/tmp/wsl-collective-XXXXXX");
    assert_non_null(mkdtemp(s->directory));
    assert_int_equal(pipe(s->done), 0);
    fflush(NULL);
}

static void scene_start(struct scene *s, void (*body)(struct scene *s, int rank))
{
    for (int i = 0; i < s->world; i++) {
        s->pids[i] = fork();
        assert_true(s->pids[i] >= 0);
        if (s->pids[i] == 0) {
            alarm(60);
            body(s, i);
            fflush(NULL);
            _exit(0);
        }
    }
    for (int i = 0; i < s->world; i++) {
        char c;

        assert_int_equal(read(s->done[0], &c, 1), 1);
    }
}

static void scene_close(struct scene *s, int ended_by_us)
{
    struct wsl_err err;
    int status;

    for (int i = 0; i < s->world; i++) {
        if (i == ended_by_us)
            kill(s->pids[i], SIGKILL);
        assert_int_equal(waitpid(s->pids[i], &status, 0), s->pids[i]);
        if (i == ended_by_us)
            assert_true(WIFSIGNALED(status));
        else
            assert_int_equal(status, 0);
    }
    close(s->done[0]);
    close(s->done[1]);
    wsl_file_remove_tree(s->directory, &err);
}

/* ---- a killed rank, and the next generation without it ---- */

static void killed_body(struct scene *s, int rank)
{
    struct file_exchange first = {
        .directory = s->directory, .generation = 1, .rank = rank, .world = 4};
    struct file_exchange second = {
        .directory = s->directory, .generation = 2, .rank = rank > 2 ? rank - 1 : rank, .world = 3};
    float *data = malloc(COUNT * sizeof(float));
    struct wsl_collective *c = open_rank(&first, 30000);
    struct wsl_err err = {0};
    uint64_t before;
    int r;

    REQUIRE(sum_once(c, data, (float)rank + 1, &err) == 0);
    REQUIRE(data[0] == 10 && data[COUNT - 1] == 10);
    REQUIRE(write(s->done[1], "x", 1) == 1);
    do { /* rank 2 is killed somewhere in here */
        before = wsl_clock_ns();
        r = sum_once(c, data, 1, &err);
    } while (r == 0);
    REQUIRE(r == WSL_EPEER);
    REQUIRE(strstr(err.text, "rank 2"));
    printf("# rank %d, %.1f ms into a sum: %s\n", rank, ms_since(before), err.text);
    REQUIRE(ms_since(before) < 5000);
    wsl_collective_close(c);

    before = wsl_clock_ns();
    c = open_rank(&second, 30000);
    REQUIRE(sum_once(c, data, (float)second.rank + 1, &err) == 0);
    printf("# rank %d: summing again after %.1f ms\n", rank, ms_since(before));
    REQUIRE(data[0] == 6 && data[COUNT / 2] == 6 && data[COUNT - 1] == 6);
    wsl_collective_close(c);
    free(data);
}

static void a_killed_rank_ends_the_all_reduce_and_the_rest_continues(void **state)
{
    struct scene s;

    (void)state;
    scene_open(&s, 4);
    scene_start(&s, killed_body);
    kill(s.pids[2], SIGKILL);
    scene_close(&s, 2);
}

/* ---- a stopped rank ---- */

static void *abort_soon(void *context)
{
    pause_ms(300);
    wsl_collective_abort(context);
    return (void *)(uintptr_t)(wsl_clock_ns() / 1000);
}

/* Rank 2 is stopped. Rank 0 aborts; rank 1 has a time limit. */
static void stopped_body(struct scene *s, int rank)
{
    struct file_exchange f = {.directory = s->directory, .generation = 1, .rank = rank, .world = 3};
    float *data = malloc(COUNT * sizeof(float));
    struct wsl_collective *c = open_rank(&f, 2000);
    struct wsl_err err = {0};
    uint64_t before = wsl_clock_ns();
    pthread_t thread;
    void *aborted_us;
    int r;

    REQUIRE(sum_once(c, data, 1, &err) == 0);
    REQUIRE(write(s->done[1], "x", 1) == 1);
    if (rank == 2)
        for (;;)
            pause_ms(1000);
    if (rank == 0)
        REQUIRE(pthread_create(&thread, NULL, abort_soon, c) == 0);
    r = sum_once(c, data, 1, &err);
    if (rank == 0) {
        uint64_t now = wsl_clock_ns() / 1000;

        REQUIRE(r == WSL_ECANCELLED);
        pthread_join(thread, &aborted_us);
        REQUIRE((double)now - (double)(uintptr_t)aborted_us < 100e3);
    } else {
        printf("# rank 1 after %.0f ms: %s\n", ms_since(before), err.text);
        REQUIRE(r == WSL_EPEER || r == WSL_ETIMEOUT);
        REQUIRE(ms_since(before) < 4000);
    }
    before = wsl_clock_ns();
    wsl_collective_close(c);
    REQUIRE(ms_since(before) < 1000);
    free(data);
}

static void a_stopped_rank_holds_nobody_for_ever(void **state)
{
    struct scene s;

    (void)state;
    scene_open(&s, 3);
    scene_start(&s, stopped_body);
    kill(s.pids[2], SIGSTOP);
    scene_close(&s, 2);
}

/* Rank 1 sums one number more than rank 0: the time limit says so on both, and Gloo's own thread,
 * which would end the process when bytes do not fit, does not meet them. */
static void unequal_body(struct scene *s, int rank)
{
    struct file_exchange f = {.directory = s->directory, .generation = 1, .rank = rank, .world = 2};
    size_t count = 100 + (size_t)rank;
    float *data = calloc(count, sizeof(float));
    struct wsl_collective *c = open_rank(&f, 1000);
    struct wsl_err err = {0};
    int r;

    REQUIRE(wsl_collective_wait(c, &err) == 0);
    REQUIRE(write(s->done[1], "x", 1) == 1);
    REQUIRE(wsl_collective_all_reduce(c, data, count, &err) == 0);
    r = wsl_collective_wait(c, &err);
    REQUIRE(r == WSL_ETIMEOUT || r == WSL_EPEER);
    wsl_collective_close(c);
    free(data);
}

static void ranks_that_reduce_different_things_end_by_the_time_limit(void **state)
{
    struct scene s;

    (void)state;
    scene_open(&s, 2);
    scene_start(&s, unequal_body);
    scene_close(&s, -1);
}

/* ---- peers that gave an address and then nothing ---- */

/* Rank 1 as rank 0 sees it: it comes to the meeting and says that its pair listens on `port`, so
 * that rank 0 waits for a connection (65535: above its own) or tries to connect (1: where nobody
 * listens). */
struct ghost {
    uint16_t port;
    atomic_bool cancelled;
    int fd;
};

static int ghost_broadcast(void *context, void *data, size_t size, struct wsl_err *err)
{
    struct ghost *ghost = context;
    const struct wsl_rendezvous_address *zero = data;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(zero->port)};
    struct {
        uint8_t token[16];
        uint32_t rank;
        struct sockaddr_storage pair; /* what Gloo says of it; then a number that is not used */
        int64_t unused;
    } __attribute__((packed)) hello = {.rank = 1};
    struct sockaddr_in pair = {.sin_family = AF_INET, .sin_port = htons(ghost->port)};

    (void)err;
    assert_int_equal(size, sizeof(*zero));
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    pair.sin_addr = to.sin_addr;
    memcpy(hello.token, zero->token, sizeof(hello.token));
    memcpy(&hello.pair, &pair, sizeof(pair));
    ghost->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(ghost->fd, (struct sockaddr *)&to, sizeof(to)), 0);
    assert_int_equal(write(ghost->fd, &hello, sizeof(hello)), sizeof(hello));
    return 0;
}

static void ghost_cancel(void *context)
{
    ((struct ghost *)context)->cancelled = true;
}

static struct wsl_collective *open_ghost(struct ghost *ghost, uint32_t timeout_ms)
{
    struct wsl_collective_setup setup = {
        .implementation = "gloo",
        .rank = 0,
        .world = 2,
        .timeout_ms = timeout_ms,
        .exchange = {.context = ghost, .broadcast = ghost_broadcast, .cancel = ghost_cancel},
    };
    struct wsl_collective *c;
    struct wsl_err err;

    assert_int_equal(wsl_collective_open(&c, &setup, &err), 0);
    return c;
}

static void abort_ends_connecting(void **state)
{
    struct ghost ghost = {.port = 65535};
    struct wsl_collective *c = open_ghost(&ghost, 30000);
    struct wsl_err err = {0};
    pthread_t thread;
    void *aborted_us;
    double ms;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, abort_soon, c), 0);
    assert_int_equal(wsl_collective_wait(c, &err), WSL_ECANCELLED);
    ms = (double)wsl_clock_ns() / 1e6;
    pthread_join(thread, &aborted_us);
    assert_true(ms - (double)(uintptr_t)aborted_us / 1e3 < 100);
    wsl_collective_close(c);
    close(ghost.fd);
}

static void connecting_has_a_time_limit(void **state)
{
    struct ghost ghost = {.port = 65535};
    uint64_t before = wsl_clock_ns();
    struct wsl_collective *c = open_ghost(&ghost, 500);
    struct wsl_err err = {0};

    (void)state;
    assert_int_equal(wsl_collective_wait(c, &err), WSL_ETIMEOUT);
    printf("# after %.0f ms: %s\n", ms_since(before), err.text);
    assert_true(ms_since(before) > 400 && ms_since(before) < 3000);
    wsl_collective_close(c);
    close(ghost.fd);
}

static void nobody_at_the_address(void **state)
{
    struct ghost ghost = {.port = 1};
    struct wsl_collective *c = open_ghost(&ghost, 5000);
    struct wsl_err err = {0};

    (void)state;
    assert_int_equal(wsl_collective_wait(c, &err), WSL_EPEER);
    printf("# %s\n", err.text);
    assert_non_null(strstr(err.text, "rank 1"));
    wsl_collective_close(c);
    close(ghost.fd);
}

static void an_unknown_address_is_named(void **state)
{
    struct ghost ghost = {.port = 1};
    struct wsl_collective_setup setup = {
        .implementation = "gloo",
        .rank = 0,
        .world = 2,
        .address = "no-such-host.invalid",
        .timeout_ms = 20000,
        .exchange = {.context = &ghost, .broadcast = ghost_broadcast, .cancel = ghost_cancel},
    };
    struct wsl_collective *c;
    struct wsl_err err;

    (void)state;
    assert_int_equal(wsl_collective_open(&c, &setup, &err), 0);
    assert_int_equal(wsl_collective_wait(c, &err), WSL_EINVAL);
    assert_non_null(strstr(err.text, "no-such-host.invalid"));
    wsl_collective_close(c);
    setup.address = "203.0.113.7"; /* nobody's (RFC 5737), so not ours */
    assert_int_equal(wsl_collective_open(&c, &setup, &err), 0);
    assert_int_equal(wsl_collective_wait(c, &err), WSL_EIO);
    printf("# %s\n", err.text);
    assert_non_null(strstr(err.text, "203.0.113.7"));
    wsl_collective_close(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_rank_ends_the_all_reduce_and_the_rest_continues),
        cmocka_unit_test(a_stopped_rank_holds_nobody_for_ever),
        cmocka_unit_test(ranks_that_reduce_different_things_end_by_the_time_limit),
        cmocka_unit_test(abort_ends_connecting),
        cmocka_unit_test(connecting_has_a_time_limit),
        cmocka_unit_test(nobody_at_the_address),
        cmocka_unit_test(an_unknown_address_is_named),
    };

    signal(SIGPIPE, SIG_DFL); /* the library must not need it ignored */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
