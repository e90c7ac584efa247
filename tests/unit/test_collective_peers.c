/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is still there (kernels/collective/peers.h): all ranks in one thread, since nothing blocks.
 */
#include "base/clock.h"
#include "kernels/collective/peers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define WORLD 4
#define LIMIT 5000000000u /* ns; on loopback all takes far less */

static void open_all(struct wsl_peers *p[WORLD], struct wsl_peers_address *zero)
{
    struct wsl_err err = {0};

    memset(zero, 0, sizeof(*zero));
    for (int i = 0; i < WORLD; i++)
        if (wsl_peers_open(&p[i], i, WORLD, "127.0.0.1", zero, &err) < 0)
            fail_msg("%s", err.text);
}

static void connect_all(struct wsl_peers *p[WORLD], const struct wsl_peers_address *zero)
{
    uint64_t until = wsl_clock_ns() + LIMIT;
    struct wsl_err err = {0};
    int waiting;

    do {
        waiting = 0;
        for (int i = 0; i < WORLD; i++) {
            int r = wsl_peers_connect(p[i], zero, &err);

            if (r < 0)
                fail_msg("%s", err.text);
            waiting += r;
        }
        assert_true(wsl_clock_ns() < until);
    } while (waiting > 0);
    for (int i = 0; i < WORLD; i++)
        assert_int_equal(wsl_peers_check(p[i], &err), 0);
}

/* Checks until somebody is lost. */
static void expect_lost(struct wsl_peers *p, const char *rank)
{
    uint64_t until = wsl_clock_ns() + LIMIT;
    struct wsl_err err = {0};

    while (wsl_peers_check(p, &err) == 0)
        assert_true(wsl_clock_ns() < until);
    assert_int_equal(err.code, WSL_EPEER);
    assert_non_null(strstr(err.text, rank));
    assert_int_equal(wsl_peers_check(p, &err), WSL_EPEER);
}

static void a_lost_rank_is_named_to_all(void **state)
{
    struct wsl_peers *p[WORLD];
    struct wsl_peers_address zero;

    (void)state;
    open_all(p, &zero);
    connect_all(p, &zero);
    wsl_peers_close(p[2]);
    expect_lost(p[0], "rank 2");
    expect_lost(p[1], "rank 2");
    wsl_peers_close(p[0]); /* now the hub goes too: what rank 3 was told comes first */
    expect_lost(p[3], "rank 2");
    wsl_peers_close(p[1]);
    wsl_peers_close(p[3]);
}

static void a_lost_hub_is_named(void **state)
{
    struct wsl_peers *p[WORLD];
    struct wsl_peers_address zero;

    (void)state;
    open_all(p, &zero);
    connect_all(p, &zero);
    wsl_peers_close(p[0]);
    for (int i = 1; i < WORLD; i++) {
        expect_lost(p[i], "rank 0");
        wsl_peers_close(p[i]);
    }
}

static int connect_stranger(const struct wsl_peers_address *zero)
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
    struct wsl_peers *p[WORLD];
    struct wsl_peers_address zero;
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
        wsl_peers_close(p[i]);
}

static void nobody_at_the_address(void **state)
{
    struct wsl_peers *p;
    struct wsl_peers_address zero = {.host = "127.0.0.1", .port = 1};
    uint64_t until = wsl_clock_ns() + LIMIT;
    struct wsl_err err = {0};
    int r;

    (void)state;
    assert_int_equal(wsl_peers_open(&p, 1, 2, "127.0.0.1", &zero, &err), 0);
    do {
        r = wsl_peers_connect(p, &zero, &err);
        assert_true(wsl_clock_ns() < until);
    } while (r == 1);
    assert_int_equal(r, WSL_EPEER);
    assert_non_null(strstr(err.text, "rank 0 is gone"));
    printf("# %s\n", err.text);
    wsl_peers_close(p);
    wsl_peers_close(NULL);
    assert_int_equal(wsl_peers_open(&p, 0, 2, "no number", &zero, &err), WSL_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lost_rank_is_named_to_all),
        cmocka_unit_test(a_lost_hub_is_named),
        cmocka_unit_test(strangers_do_not_matter),
        cmocka_unit_test(nobody_at_the_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
