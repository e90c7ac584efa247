/* SPDX-License-Identifier: Apache-2.0
 *
 * protobuf's wire format, read in place: examples of its documentation, and damage.
 */
#include "base/protowire.h"
#include "base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void varints_read_back_as_written(void **state)
{
    const uint64_t values[] = {0, 1, 127, 128, 150, 16383, 16384, UINT32_MAX, UINT64_MAX};
    uint8_t bytes[WSL_VARINT_MAX];
    uint64_t value = 0;

    (void)state;
    assert_int_equal(wsl_varint_write(bytes, 150), 2); /* the documentation's example */
    assert_memory_equal(bytes, "\x96\x01", 2);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        int n = (int)wsl_varint_write(bytes, values[i]);

        assert_int_equal(wsl_varint_read(bytes, sizeof bytes, &value), n);
        assert_int_equal(value, values[i]);
        for (int cut = 0; cut < n; cut++)
            assert_int_equal(wsl_varint_read(bytes, (size_t)cut, &value), 0);
    }
    assert_int_equal(wsl_varint_write(bytes, UINT64_MAX), WSL_VARINT_MAX);
}

static void a_varint_without_an_end_is_damage(void **state)
{
    uint8_t bytes[20];
    uint64_t value = 7;

    (void)state;
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(wsl_varint_read(bytes, 9, &value), 0); /* it could still end */
    assert_int_equal(wsl_varint_read(bytes, 10, &value), -1);
    assert_int_equal(wsl_varint_read(bytes, 20, &value), -1);
    assert_int_equal(value, 7);
}

/* 1: 150; 2: "testing"; 3: message {1: 150}; 4: fixed64 1; 5: fixed32 2 */
static const uint8_t message[] = "\x08\x96\x01"
                                 "\x12\x07testing"
                                 "\x1a\x03\x08\x96\x01"
                                 "\x21\1\0\0\0\0\0\0\0"
                                 "\x2d\2\0\0";

static void fields_are_taken_one_by_one(void **state)
{
    struct wsl_wire wire = wsl_wire_of(message, sizeof message), inside;
    struct wsl_wire_field f;

    (void)state;
    assert_true(wsl_wire_next(&wire, &f));
    assert_true(f.number == 1 && f.type == WSL_WIRE_VARINT && f.value == 150);
    assert_true(wsl_wire_next(&wire, &f));
    assert_true(f.number == 2 && f.type == WSL_WIRE_BYTES && f.size == 7);
    assert_memory_equal(f.bytes, "testing", 7);
    assert_true(wsl_wire_next(&wire, &f));
    inside = wsl_wire_inside(&f);
    assert_true(wsl_wire_next(&inside, &f));
    assert_int_equal(f.value, 150);
    assert_false(wsl_wire_next(&inside, &f));
    assert_false(inside.bad);
    assert_true(wsl_wire_next(&wire, &f));
    assert_true(f.number == 4 && f.type == WSL_WIRE_FIXED64 && f.value == 1);
    assert_true(wsl_wire_next(&wire, &f));
    assert_true(f.number == 5 && f.type == WSL_WIRE_FIXED32 && f.value == 2);
    assert_false(wsl_wire_next(&wire, &f));
    assert_false(wire.bad);
}

/* Cut anywhere, a message reads to its end or is found damaged; a copy of the exact size makes a
 * read past it a fault under AddressSanitizer. */
static void cut_messages_are_damage_or_shorter(void **state)
{
    const size_t ends[] = {0, 3, 12, 17, 26, 31}; /* of its fields */

    (void)state;
    for (size_t n = 0; n <= sizeof message; n++) {
        uint8_t *copy = malloc(n ? n : 1);
        struct wsl_wire wire;
        struct wsl_wire_field f;
        bool whole = false;

        assert_non_null(copy);
        memcpy(copy, message, n);
        wire = wsl_wire_of(copy, n);
        while (wsl_wire_next(&wire, &f))
            assert_in_range(f.number, 1, 5);
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
            whole |= ends[i] == n;
        assert_int_equal(wire.bad, !whole);
        assert_false(wsl_wire_next(&wire, &f)); /* it stays at its end */
        free(copy);
    }
}

static void what_is_no_field_is_damage(void **state)
{
    static const char *const bad[] = {
        "\x03",                     /* a group, which proto3 does not have */
        "\x07",                     /* no wire type */
        "\x01",                     /* field 0, fixed64 */
        "\x0a\xff\x7f",             /* longer than the message */
        "\xff\xff\xff\xff\xff\x01", /* a number over 2^29 - 1 */
    };

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct wsl_wire wire = wsl_wire_of(bad[i], strlen(bad[i]));
        struct wsl_wire_field f = {.number = 99};

        assert_false(wsl_wire_next(&wire, &f));
        assert_true(wire.bad);
        assert_int_equal(f.number, 99);
    }
}

static void random_bytes_are_never_read_past(void **state)
{
    struct wsl_rng rng;

    (void)state;
    wsl_rng_start(&rng, 11, 1);
    for (int round = 0; round < 20000; round++) {
        size_t n = (size_t)wsl_rng_below(&rng, 24);
        uint8_t *bytes = malloc(n ? n : 1);
        struct wsl_wire wire;
        struct wsl_wire_field f;

        assert_non_null(bytes);
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)wsl_rng_below(&rng, 256);
        wire = wsl_wire_of(bytes, n);
        while (wsl_wire_next(&wire, &f))
            assert_true(f.type != WSL_WIRE_BYTES || f.size <= n);
        assert_true(wire.bad || wire.at == wire.end);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(varints_read_back_as_written),
        cmocka_unit_test(a_varint_without_an_end_is_damage),
        cmocka_unit_test(fields_are_taken_one_by_one),
        cmocka_unit_test(cut_messages_are_damage_or_shorter),
        cmocka_unit_test(what_is_no_field_is_damage),
        cmocka_unit_test(random_bytes_are_never_read_past),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
