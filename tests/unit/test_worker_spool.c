/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "base/rng.h"
#include "daemon/worker/spool.h"
#include "proto/delimited.h"

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
    uint8_t length[WSL_VARINT_MAX];

    assert_int_equal(wsl_buf_add(b, length, wsl_varint_write(length, size)), 0);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(wsl_buf_add(b, "m", 1), 0);
}

static void messages_are_read_in_chunks(void **state)
{
    uint8_t *chunk = malloc(WSL_DELIMITED_ROOM);
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
        size_t count, whole, next;

        assert_int_equal(wsl_spool_read_messages(fd, at, chunk, &count, NULL), 0);
        if (count == 0)
            break;
        assert_memory_equal(chunk, b.data + at, count);
        assert_int_equal(wsl_delimited_whole(chunk, count, &whole, &next), 0);
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
    uint8_t *chunk = malloc(WSL_DELIMITED_ROOM);
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
        cmocka_unit_test(messages_are_read_in_chunks),
        cmocka_unit_test(damage_ends_the_messages),
        cmocka_unit_test(positions_hold_their_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
