/* SPDX-License-Identifier: Apache-2.0
 *
 * What the programs share besides the schema: frames, delimited files, copies.
 */
#include "base/buf.h"
#include "base/err.h"
#include "proto/delimited.h"
#include "proto/frame.h"
#include "proto/message.h"
#include "wsl/v1/job.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LIMIT = 1000 };

/* ---- frames ---- */

static void frames_come_whole_or_not_at_all(void **state)
{
    struct wsl_buf out = {0}, in = {0};
    const uint8_t *bytes;
    uint32_t size;

    (void)state;
    memcpy(wsl_frame_add(&out, 5), "hello", 5);
    wsl_frame_add(&out, 0);
    memcpy(wsl_frame_add(&out, 300), "x", 1);
    assert_int_equal(out.size, 3 * 4 + 305);
    assert_memory_equal(out.data, "\5\0\0\0hello\0\0\0\0\x2c\1\0\0x", 18);
    for (size_t i = 0; i < out.size; i++) { /* byte by byte */
        int r = wsl_frame_first(&in, LIMIT, &bytes, &size);

        assert_int_equal(r, 0);
        wsl_buf_add(&in, out.data + i, 1);
        if (i == 8) {
            assert_int_equal(wsl_frame_first(&in, LIMIT, &bytes, &size), 1);
            assert_int_equal(size, 5);
            assert_memory_equal(bytes, "hello", 5);
            wsl_frame_drop(&in, size);
        } else if (i == 12) {
            assert_int_equal(wsl_frame_first(&in, LIMIT, &bytes, &size), 1);
            assert_int_equal(size, 0);
            wsl_frame_drop(&in, size);
        }
    }
    assert_int_equal(wsl_frame_first(&in, LIMIT, &bytes, &size), 1);
    assert_int_equal(size, 300);
    wsl_frame_drop(&in, size);
    assert_int_equal(in.size, 0);
    wsl_buf_add(&in, "\xe9\3\0\0", 4);
    assert_int_equal(wsl_frame_first(&in, LIMIT, &bytes, &size), WSL_ELIMIT);
    wsl_buf_free(&in);
    out.limit = out.size + 4;
    assert_null(wsl_frame_add(&out, 1));
    wsl_buf_free(&out);
}

/* ---- delimited files ---- */

static void add_message(struct wsl_buf *b, size_t size)
{
    uint8_t length[WSL_VARINT_MAX];

    assert_int_equal(wsl_buf_add(b, length, wsl_varint_write(length, size)), 0);
    for (size_t i = 0; i < size; i++)
        assert_int_equal(wsl_buf_add(b, "m", 1), 0);
}

static void whole_messages_are_told_from_torn_ones(void **state)
{
    struct wsl_buf b = {0};
    size_t ends[4], whole, next, count = 0;
    const size_t sizes[] = {0, 1, 127, 128};

    (void)state;
    for (int i = 0; i < 4; i++) {
        add_message(&b, sizes[i]);
        ends[i] = b.size;
    }
    for (size_t n = 0; n <= b.size; n++) {
        while (count < 4 && ends[count] <= n)
            count++;
        assert_int_equal(wsl_delimited_whole(b.data, n, &whole, &next), 0);
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
    size_t whole = 99, next;

    (void)state;
    assert_int_equal(wsl_delimited_whole(endless, sizeof endless, &whole, &next), WSL_ECORRUPT);
    assert_int_equal(whole, 2); /* what came before it is good */
    assert_int_equal(wsl_delimited_whole(huge, sizeof huge, &whole, &next), WSL_ECORRUPT);
    assert_int_equal(whole, 0);
}

/* ---- copies ---- */

static void a_copy_is_deep(void **state)
{
    Wsl__V1__JobSpec spec = WSL__V1__JOB_SPEC__INIT;
    Wsl__V1__Init init = WSL__V1__INIT__INIT;
    Wsl__V1__JobSpec *copy;
    char name[] = "birds", job[] = "pretraining";

    (void)state;
    spec.name = name;
    init.from_case = WSL__V1__INIT__FROM_JOB;
    init.job = job;
    spec.init = &init;
    copy = (Wsl__V1__JobSpec *)wsl_message_copy(&spec.base);
    name[0] = job[0] = 'X';
    assert_string_equal(copy->name, "birds");
    assert_string_equal(copy->init->job, "pretraining");
    wsl__v1__job_spec__free_unpacked(copy, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_come_whole_or_not_at_all),
        cmocka_unit_test(whole_messages_are_told_from_torn_ones),
        cmocka_unit_test(what_cannot_be_a_length_is_found),
        cmocka_unit_test(a_copy_is_deep),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
