/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/rng.h"
#include "daemon/worker/spool.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int make_file(const void *bytes, size_t size)
{
    char path[] = "/tmp/wsl-test-spool-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(write(fd, bytes, size), size);
    return fd;
}

static void add_message(struct wsl_buf *b, size_t size)
{
    uint8_t length[10];
    size_t left = size, n = 0;

    do {
        length[n] = (uint8_t)((left & 0x7f) | (left > 0x7f ? 0x80 : 0));
        left >>= 7;
        n++;
    } while (left > 0);
    assert_int_equal(wsl_buf_add(b, length, n), 0);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(wsl_buf_add(b, "m", 1), 0);
}

static void whole_messages_are_told_from_torn_ones(void **state)
{
    struct wsl_buf b = {0};
    size_t ends[4], whole, count = 0;
    const size_t sizes[] = {0, 1, 127, 128};
    uint64_t next;

    (void)state;
    for (int i = 0; i < 4; i++) {
        add_message(&b, sizes[i]);
        ends[i] = b.size;
    }
    for (size_t n = 0; n <= b.size; n++) {
        while (count < 4 && ends[count] <= n)
            count++;
        assert_int_equal(wsl_spool_whole(b.data, n, &whole, &next), 0);
        assert_int_equal(whole, count ? ends[count - 1] : 0);
        if (next) /* tells where the torn one will end */
            assert_int_equal(whole + next, ends[count]);
    }
    wsl_buf_free(&b);
}

static void what_cannot_be_a_length_is_found(void **state)
{
    const uint8_t endless[] = {1, 'x', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const uint8_t huge[] = {0xff, 0xff, 0xff, 0x7f};
    size_t whole = 99;
    uint64_t next;

    (void)state;
    assert_int_equal(wsl_spool_whole(endless, sizeof endless, &whole, &next), WSL_ECORRUPT);
    assert_int_equal(whole, 2); /* what came before it is good */
    assert_int_equal(wsl_spool_whole(huge, sizeof huge, &whole, &next), WSL_ECORRUPT);
    assert_int_equal(whole, 0);
}

static void messages_are_read_in_chunks(void **state)
{
    uint8_t *chunk = malloc(WSL_METRIC_MESSAGE_MAX + 10);
    struct wsl_buf b = {0};
    uint64_t at = 0, end = 0, last;
    struct wsl_rng rng;
    int fd, large = 0;

    (void)state;
    assert_non_null(chunk);
    wsl_rng_start(&rng, 7, 1);
    for (int i = 0; i < 300; i++)
        add_message(&b, (size_t)wsl_rng_below(&rng, i % 50 == 49 ? 200000 : 2000));
    last = b.size;
    add_message(&b, 5000);
    fd = make_file(b.data, b.size - 1); /* the last one is torn */
    for (;;) {
        size_t count, whole;
        uint64_t next;

        assert_int_equal(wsl_spool_read_messages(fd, at, chunk, &count, NULL), 0);
        if (count == 0)
            break;
        assert_memory_equal(chunk, b.data + at, count);
        assert_int_equal(wsl_spool_whole(chunk, count, &whole, &next), 0);
        assert_int_equal(whole, count);
        large += count > WSL_CHUNK_MAX;
        at += count;
    }
    assert_int_equal(at, last);
    assert_true(large > 0); /* a message beyond a chunk's size is sent all the same */
    assert_int_equal(wsl_spool_whole_end(fd, 0, &end, NULL), 0);
    assert_int_equal(end, last);
    close(fd);
    free(chunk);
    wsl_buf_free(&b);
}

static void damage_ends_the_messages(void **state)
{
    uint8_t *chunk = malloc(WSL_METRIC_MESSAGE_MAX + 10);
    struct wsl_buf b = {0};
    struct wsl_err err;
    uint64_t good, end = 0;
    size_t count;
    int fd;

    (void)state;
    assert_non_null(chunk);
    add_message(&b, 100);
    add_message(&b, 100);
    good = b.size;
    for (int i = 0; i < 20; i++)
        wsl_buf_add(&b, "\xff", 1);
    fd = make_file(b.data, b.size);
    assert_int_equal(wsl_spool_read_messages(fd, 0, chunk, &count, &err), 0);
    assert_int_equal(count, good);
    assert_int_equal(wsl_spool_read_messages(fd, good, chunk, &count, &err), WSL_ECORRUPT);
    assert_string_equal(err.text, "no message begins at 202");
    assert_int_equal(wsl_spool_whole_end(fd, 0, &end, &err), 0);
    assert_int_equal(end, good);
    close(fd);
    free(chunk);
    wsl_buf_free(&b);
}

static void positions_hold_their_bounds(void **state)
{
    struct wsl_spool s = {0};

    (void)state;
    assert_int_equal(wsl_spool_ready(&s), 0);
    assert_true(wsl_spool_done(&s));
    wsl_spool_grow(&s, 100);
    wsl_spool_grow(&s, 50);
    assert_int_equal(wsl_spool_ready(&s), 100);
    wsl_spool_resume(&s, 30);
    assert_int_equal(wsl_spool_ready(&s), 70);
    wsl_spool_resume(&s, 500); /* the coordinator has more than is left here */
    assert_int_equal(wsl_spool_ready(&s), 0);
    assert_true(wsl_spool_done(&s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_messages_are_told_from_torn_ones),
        cmocka_unit_test(what_cannot_be_a_length_is_found),
        cmocka_unit_test(messages_are_read_in_chunks),
        cmocka_unit_test(damage_ends_the_messages),
        cmocka_unit_test(positions_hold_their_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
