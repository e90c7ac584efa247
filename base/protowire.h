/* SPDX-License-Identifier: Apache-2.0
 *
 * protobuf's wire format (protobuf.dev/programming-guides/encoding), read in place without
 * generated code: for what is read so often, or so partially, that unpacking it would cost more
 * than the work. Damaged bytes end a walk and are never read past. Pure; any thread; allocates
 * nothing.
 */
#ifndef WSL_BASE_PROTOWIRE_H
#define WSL_BASE_PROTOWIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WSL_WIRE_VARINT = 0,
    WSL_WIRE_FIXED64 = 1,
    WSL_WIRE_BYTES = 2,
    WSL_WIRE_FIXED32 = 5,
    WSL_VARINT_MAX = 10, /* bytes of the longest varint */
};

/* Bytes of the varint at p, its value in *ret; 0 when it does not end within n bytes, -1 when it is
 * longer than WSL_VARINT_MAX. */
int wsl_varint_read(const uint8_t *p, size_t n, uint64_t *ret);

/* Writes a varint; returns its bytes, at most WSL_VARINT_MAX. */
size_t wsl_varint_write(uint8_t *p, uint64_t value);

/* What is left of a message. */
struct wsl_wire {
    const uint8_t *at, *end;
    bool bad; /* it ended inside a field, or at something that is not a field */
};

struct wsl_wire_field {
    uint32_t number;
    int type;             /* WSL_WIRE_* */
    uint64_t value;       /* of a varint or fixed field */
    const uint8_t *bytes; /* of a string, message or packed field; inside the message */
    size_t size;
};

struct wsl_wire wsl_wire_of(const void *bytes, size_t size);
struct wsl_wire wsl_wire_inside(const struct wsl_wire_field *field); /* of type WSL_WIRE_BYTES */

/* Takes the next field, varint, or little-endian number of `size` bytes (4 or 8) off the front.
 * False, with *ret untouched, at the end and where the message is damaged; only the latter sets
 * `bad`. At the end of a message a bare varint or number is missing, so that is damage too. */
bool wsl_wire_next(struct wsl_wire *wire, struct wsl_wire_field *ret);
bool wsl_wire_take_varint(struct wsl_wire *wire, uint64_t *ret);
bool wsl_wire_take_fixed(struct wsl_wire *wire, size_t size, uint64_t *ret);

#endif
