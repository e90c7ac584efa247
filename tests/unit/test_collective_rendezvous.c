/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is still there (kernels/collective/rendezvous.h): all ranks in one thread, since nothing
 * blocks.
 */
#include "base/clock.h"
#include "kernels/collective/rendezvous.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define WORLD 4
#define LIMIT 5000000000u /* ns; on loopback all takes far less */

static struct wsl_rendezvous *open_one(int rank, int world, size_t each, const void *ours,
                                       struct wsl_rendezvous_address *zero)
{
    const struct wsl_rendezvous_setup setup = {rank, world, "127.0.0.1", each, ours};
    struct wsl_rendezvous *p;
    struct wsl_err err = {0};

    if (wsl_rendezvous_open(&p, &setup, zero, &err) < 0)
        fail_msg("%s", err.text);
    return p;
}

static void open_all(struct wsl_rendezvous *p[WORLD], struct wsl_rendezvous_address *zero)
{
    memset(zero, 0, sizeof(*zero));
    for (int i = 0; i < WORLD; i++)
        p[i] = open_one(i, WORLD, 0, NULL, zero);
}

static void connect_all(struct wsl_rendezvous *p[WORLD], const struct wsl_rendezvous_address *zero)
{
    uint64_t until = wsl_clock_ns() + LIMIT;
    struct wsl_err err = {0};
    int waiting;

    do {
        waiting = 0;
        for (int i = 0; i < WORLD; i++) {
            int r = wsl_rendezvous_connect(p[i], zero, NULL, &err);

            if (r < 0)
                fail_msg("%s", err.text);
            waiting += r;
        }
        assert_true(wsl_clock_ns() < until);
    } while (waiting > 0);
    for (int i = 0; i < WORLD; i++)
        assert_int_equal(wsl_rendezvous_check(p[i], &err), 0);
}

/* Checks until somebody is lost. */
static void expect_lost(struct wsl_rendezvous *p, const char *rank)
{
    uint64_t until = wsl_clock_ns() + LIMIT;
    struct wsl_err err = {0};

    while (wsl_rendezvous_check(p, &err) == 0)
        assert_true(wsl_clock_ns() < until);
    assert_int_equal(err.code, WSL_EPEER);
    assert_non_null(strstr(err.text, rank));
    assert_int_equal(wsl_rendezvous_check(p, &err), WSL_EPEER);
}

static void a_lost_rank_is_named_to_all(void **state)
{
    struct wsl_rendezvous *p[WORLD];
    struct wsl_rendezvous_address zero;

    (void)state;
    open_all(p, &zero);
    connect_all(p, &zero);
    wsl_rendezvous_close(p[2]);
    expect_lost(p[0], "rank 2");
    expect_lost(p[1], "rank 2");
    wsl_rendezvous_close(p[0]); /* now the hub goes too: what rank 3 was told comes first */
    expect_lost(p[3], "rank 2");
    wsl_rendezvous_close(p[1]);
    wsl_rendezvous_close(p[3]);
}

static void a_lost_hub_is_named(void **state)
{
    struct wsl_rendezvous *p[WORLD];
    struct wsl_rendezvous_address zero;

    (void)state;
    open_all(p, &zero);
    connect_all(p, &zero);
    wsl_rendezvous_close(p[0]);
    for (int i = 1; i < WORLD; i++) {
        expect_lost(p[i], "rank 0");
        wsl_rendezvous_close(p[i]);
    }
}

static int connect_stranger(const struct wsl_rendezvous_address *zero)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(zero->port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    inet_pton(AF_INET, zero->host, &to.sin_addr);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

/* More of them than places: silent ones, talkers, a rank of another generation, one that left. */
static void strangers_do_not_matter(void **state)
{
    struct wsl_rendezvous *p[WORLD];
    struct wsl_rendezvous_address zero;
    int fds[8];
    char c;

    (void)state;
    open_all(p, &zero);
    for (int i = 0; i < 8; i++) {
        struct {
            uint8_t token[16];
            uint32_t rank;
        } hello = {.rank = 1};

        fds[i] = connect_stranger(&zero);
        if (i % 4 == 1)
            assert_int_equal(write(fds[i], "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27), 27);
        if (i % 4 == 2)
            assert_int_equal(write(fds[i], &hello, sizeof(hello)), sizeof(hello));
        if (i % 4 == 3)
            close(fds[i]);
    }
    connect_all(p, &zero);
    for (int i = 1; i < 3; i++) /* the talkers were sent away */
        assert_true(read(fds[i], &c, 1) <= 0);
    for (int i = 0; i < 8; i++)
        if (i % 4 != 3)
            close(fds[i]);
    for (int i = 0; i < WORLD; i++)
        wsl_rendezvous_close(p[i]);
}

static void nobody_at_the_address(void **state)
{
    struct wsl_rendezvous *p;
    struct wsl_rendezvous_address zero = {.host = "127.0.0.1", .port = 1};
    uint64_t until = wsl_clock_ns() + LIMIT;
    struct wsl_err err = {0};
    int r;

    (void)state;
    p = open_one(1, 2, 0, NULL, &zero);
    do {
        r = wsl_rendezvous_connect(p, &zero, NULL, &err);
        assert_true(wsl_clock_ns() < until);
    } while (r == 1);
    assert_int_equal(r, WSL_EPEER);
    assert_non_null(strstr(err.text, "rank 0 disconnected"));
    printf("# %s\n", err.text);
    wsl_rendezvous_close(p);
    wsl_rendezvous_close(NULL);
    assert_int_equal(wsl_rendezvous_open(&p,
                                         &(struct wsl_rendezvous_setup){0, 2, "no number", 0, NULL},
                                         &zero, &err),
                     WSL_EINVAL);
}

/* ---- neighbours ---- */

static void neighbours_are_each_others(void **state)
{
    static const int worlds[] = {2, 3, 4, 5, 7, 8, 9, 16, 17, 100, 336, 337};

    (void)state;
    for (size_t w = 0; w < sizeof(worlds) / sizeof(*worlds); w++)
        for (int rank = 0; rank < worlds[w]; rank++) {
            int ours[WSL_RENDEZVOUS_NEIGHBOURS_MAX], theirs[WSL_RENDEZVOUS_NEIGHBOURS_MAX];
            int count = wsl_rendezvous_neighbours(rank, worlds[w], ours);

            assert_int_equal(count, wsl_rendezvous_neighbours(0, worlds[w], theirs));
            for (int i = 0; i < count; i++) {
                bool found = false;

                assert_true(ours[i] >= 0 && ours[i] < worlds[w] && ours[i] != rank);
                assert_true(i == 0 || ours[i - 1] < ours[i]);
                wsl_rendezvous_neighbours(ours[i], worlds[w], theirs);
                for (int t = 0; t < count; t++)
                    found = found || theirs[t] == rank;
                assert_true(found);
            }
        }
    assert_int_equal(wsl_rendezvous_neighbours(0, 65536, (int[WSL_RENDEZVOUS_NEIGHBOURS_MAX]){0}),
                     31);
}

/* The peer that a binomial tree with any root has at any level (as Gloo's broadcast) is one. */
static void a_tree_needs_neighbours_only(void **state)
{
    (void)state;
    for (int world = 2; world < 40; world++)
        for (int root = 0; root < world; root++)
            for (int rank = 0; rank < world; rank++)
                for (int bit = 1; bit < world; bit *= 2) {
                    int near[WSL_RENDEZVOUS_NEIGHBOURS_MAX];
                    int count = wsl_rendezvous_neighbours(rank, world, near);
                    int peer = ((rank + world - root) % world) ^ bit;
                    bool found = peer >= world;

                    for (int i = 0; i < count; i++)
                        found = found || near[i] == (peer + root) % world;
                    assert_true(found);
                }
}

#define CROWD 21

/* Everybody has a different text for each neighbour, of a size that does not go out at once. */
static void neighbours_get_what_was_meant_for_them(void **state)
{
    const size_t each = 200000;
    struct wsl_rendezvous *p[CROWD];
    struct wsl_rendezvous_address zero = {0};
    uint64_t until = wsl_clock_ns() + 4 * (uint64_t)LIMIT;
    struct wsl_err err = {0};
    bool done[CROWD] = {false};
    char *theirs[CROWD];
    int near[WSL_RENDEZVOUS_NEIGHBOURS_MAX], count = 0, waiting;

    (void)state;
    for (int i = 0; i < CROWD; i++) {
        char *ours;

        count = wsl_rendezvous_neighbours(i, CROWD, near);
        ours = calloc((size_t)count, each);
        theirs[i] = calloc((size_t)count, each);
        assert_true(ours && theirs[i]);
        for (int n = 0; n < count; n++) {
            snprintf(ours + (size_t)n * each, each, "from %d to %d", i, near[n]);
            ours[(size_t)(n + 1) * each - 1] = (char)i;
        }
        p[i] = open_one(i, CROWD, each, ours, &zero);
        free(ours);
    }
    do {
        waiting = 0;
        for (int i = 0; i < CROWD; i++) {
            int r = done[i] ? 0 : wsl_rendezvous_connect(p[i], &zero, theirs[i], &err);

            if (r < 0)
                fail_msg("%s", err.text);
            done[i] = r == 0;
            waiting += r;
        }
        assert_true(wsl_clock_ns() < until);
    } while (waiting > 0);
    for (int i = 0; i < CROWD; i++) {
        wsl_rendezvous_neighbours(i, CROWD, near);
        for (int n = 0; n < count; n++) {
            char expected[40];

            snprintf(expected, sizeof(expected), "from %d to %d", near[n], i);
            assert_string_equal(theirs[i] + (size_t)n * each, expected);
            assert_int_equal(theirs[i][(size_t)(n + 1) * each - 1], (char)near[n]);
        }
        free(theirs[i]);
        wsl_rendezvous_close(p[i]);
    }
}

/* Rank 2 leaves before the meeting is over: rank 0 and rank 1 both hear that it was rank 2. */
static void a_rank_lost_while_meeting_is_named(void **state)
{
    struct wsl_rendezvous *p[4];
    struct wsl_rendezvous_address zero = {0};
    uint64_t until = wsl_clock_ns() + LIMIT;
    struct wsl_err err = {0};
    char ours[3 * 8] = "", theirs[3 * 8];
    int r;

    (void)state;
    for (int i = 0; i < 4; i++)
        p[i] = open_one(i, 4, 8, ours, &zero);
    for (int turn = 0; turn < 100; turn++) /* all but rank 3 */
        for (int i = 0; i < 3; i++)
            assert_int_equal(wsl_rendezvous_connect(p[i], &zero, theirs, &err), 1);
    wsl_rendezvous_close(p[2]);
    while ((r = wsl_rendezvous_connect(p[0], &zero, theirs, &err)) == 1)
        assert_true(wsl_clock_ns() < until);
    assert_int_equal(r, WSL_EPEER);
    assert_non_null(strstr(err.text, "rank 2"));
    while ((r = wsl_rendezvous_connect(p[1], &zero, theirs, &err)) == 1)
        assert_true(wsl_clock_ns() < until);
    assert_int_equal(r, WSL_EPEER);
    assert_non_null(strstr(err.text, "rank 2"));
    wsl_rendezvous_close(p[0]);
    wsl_rendezvous_close(p[1]);
    wsl_rendezvous_close(p[3]);
}

/* In a process of its own: a limit cannot be raised again. */
static void a_limit_of_descriptors_says_which_world_fits(void **state)
{
    const struct wsl_rendezvous_setup setup = {0, 336, "127.0.0.1", 0, NULL};
    struct wsl_rendezvous_address zero = {0};
    pid_t pid = fork();
    int status;

    (void)state;
    if (pid == 0) {
        struct rlimit limit = {64, 500};
        struct wsl_rendezvous *p;
        struct wsl_err err = {0};

        /* The soft one is raised as far as it may be. */
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0 ||
            wsl_rendezvous_open(&p, &setup, &zero, &err) < 0)
            _exit(1);
        wsl_rendezvous_close(p);
        limit = (struct rlimit){64, 264};
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0 ||
            wsl_rendezvous_open(&p, &setup, &zero, &err) != WSL_EIO ||
            !strstr(err.text, "a world of 200 fits"))
            _exit(2);
        fprintf(stderr, "# %s\n", err.text);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void a_wait_ends_when_woken(void **state)
{
    struct wsl_rendezvous_address zero = {0};
    struct wsl_rendezvous *p = open_one(0, 2, 0, NULL, &zero);
    uint64_t before = wsl_clock_ns();

    (void)state;
    wsl_rendezvous_wake(p);
    wsl_rendezvous_wait(p, 60000);
    assert_true(wsl_clock_ns() - before < LIMIT);
    wsl_rendezvous_wait(p, 1); /* woken once, not for ever */
    wsl_rendezvous_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_rank_is_named_to_all),
        cmocka_unit_test(a_lost_hub_is_named),
        cmocka_unit_test(strangers_do_not_matter),
        cmocka_unit_test(nobody_at_the_address),
        cmocka_unit_test(neighbours_are_each_others),
        cmocka_unit_test(a_tree_needs_neighbours_only),
        cmocka_unit_test(neighbours_get_what_was_meant_for_them),
        cmocka_unit_test(a_rank_lost_while_meeting_is_named),
        cmocka_unit_test(a_limit_of_descriptors_says_which_world_fits),
        cmocka_unit_test(a_wait_ends_when_woken),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
