/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading fields of protobuf messages where they lie.
 */
#include "base/protowire.h"

#include <assert.h>

enum { FIELD_NUMBER_MAX = (1 << 29) - 1 };

int wsl_varint_read(const uint8_t *p, size_t n, uint64_t *ret)
{
    uint64_t value = 0;

    for (size_t i = 0; i < n && i < WSL_VARINT_MAX; i++) {
        value |= (uint64_t)(p[i] & 0x7f) << (7 * i);
        if (p[i] < 0x80) {
            *ret = value;
            return (int)i + 1;
        }
    }
    return n < WSL_VARINT_MAX ? 0 : -1;
}

size_t wsl_varint_write(uint8_t *p, uint64_t value)
{
    size_t n = 0;

    for (; value >= 0x80; value >>= 7)
        p[n++] = (uint8_t)(value | 0x80);
    p[n++] = (uint8_t)value;
    return n;
}

struct wsl_wire wsl_wire_of(const void *bytes, size_t size)
{
    return (struct wsl_wire){.at = bytes, .end = (const uint8_t *)bytes + size};
}

struct wsl_wire wsl_wire_inside(const struct wsl_wire_field *field)
{
    assert(field->type == WSL_WIRE_BYTES);
    return wsl_wire_of(field->bytes, field->size);
}

static bool damaged(struct wsl_wire *wire)
{
    wire->bad = true;
    return false;
}

bool wsl_wire_take_varint(struct wsl_wire *wire, uint64_t *ret)
{
    int used = wsl_varint_read(wire->at, (size_t)(wire->end - wire->at), ret);

    if (used <= 0)
        return damaged(wire);
    wire->at += used;
    return true;
}

bool wsl_wire_take_fixed(struct wsl_wire *wire, size_t size, uint64_t *ret)
{
    uint64_t value = 0;

    if ((size_t)(wire->end - wire->at) < size)
        return damaged(wire);
    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)wire->at[i] << (8 * i);
    wire->at += size;
    *ret = value;
    return true;
}

static bool take_bytes(struct wsl_wire *wire, struct wsl_wire_field *field)
{
    uint64_t size;

    if (!wsl_wire_take_varint(wire, &size))
        return false;
    if (size > (uint64_t)(wire->end - wire->at))
        return damaged(wire);
    field->bytes = wire->at;
    field->size = (size_t)size;
    wire->at += size;
    return true;
}

static bool take_value(struct wsl_wire *wire, struct wsl_wire_field *field)
{
    switch (field->type) {
    case WSL_WIRE_VARINT:
        return wsl_wire_take_varint(wire, &field->value);
    case WSL_WIRE_FIXED64:
        return wsl_wire_take_fixed(wire, 8, &field->value);
    case WSL_WIRE_FIXED32:
        return wsl_wire_take_fixed(wire, 4, &field->value);
    case WSL_WIRE_BYTES:
        return take_bytes(wire, field);
    default:
        return damaged(wire);
    }
}

bool wsl_wire_next(struct wsl_wire *wire, struct wsl_wire_field *ret)
{
    struct wsl_wire_field field = {0};
    uint64_t key;

    if (wire->bad || wire->at == wire->end)
        return false;
    if (!wsl_wire_take_varint(wire, &key))
        return false;
    if (key >> 3 == 0 || key >> 3 > FIELD_NUMBER_MAX)
        return damaged(wire);
    field.number = (uint32_t)(key >> 3);
    field.type = (int)(key & 7);
    if (!take_value(wire, &field))
        return false;
    *ret = field;
    return true;
}
