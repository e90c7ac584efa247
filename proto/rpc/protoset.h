/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading a packed google.protobuf.FileDescriptorSet without generated code: field by field, in
 * place. Field numbers are those of descriptor.proto. For sets of our own build; damaged bytes end
 * the walk early and are never read past. Pure; any thread.
 */
#ifndef WSL_PROTO_RPC_PROTOSET_H
#define WSL_PROTO_RPC_PROTOSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wsl_pb_span {
    const uint8_t *at;
    size_t size;
};

struct wsl_pb_field {
    uint32_t number;
    uint64_t value;          /* of a varint or fixed field */
    struct wsl_pb_span span; /* of a length-delimited field */
};

enum {
    WSL_PB_SET_FILE = 1,
    WSL_PB_FILE_NAME = 1,
    WSL_PB_FILE_PACKAGE = 2,
    WSL_PB_FILE_DEPENDENCY = 3,
    WSL_PB_FILE_MESSAGE = 4,
    WSL_PB_FILE_ENUM = 5,
    WSL_PB_FILE_SERVICE = 6,
    WSL_PB_FILE_EXTENSION = 7,
    WSL_PB_ANY_NAME = 1, /* of message, field, enum, enum value, service and method */
    WSL_PB_MESSAGE_FIELD = 2,
    WSL_PB_MESSAGE_NESTED = 3,
    WSL_PB_MESSAGE_ENUM = 4,
    WSL_PB_MESSAGE_ONEOF = 8,
    WSL_PB_FIELD_TYPE_NAME = 6, /* ".wsl.v1.Job" */
    WSL_PB_ENUM_VALUE = 2,
    WSL_PB_SERVICE_METHOD = 2,
};

/* Takes the next field off the front of *rest; false at the end. */
bool wsl_pb_next(struct wsl_pb_span *rest, struct wsl_pb_field *ret);

/* The first field of that number; an empty span when there is none. */
struct wsl_pb_span wsl_pb_get(struct wsl_pb_span message, uint32_t number);

bool wsl_pb_is(struct wsl_pb_span span, const char *text);

/* The file of that name, or the one that declares `symbol` (a full name without a leading dot).
 * False when there is none. */
bool wsl_protoset_file(struct wsl_pb_span set, struct wsl_pb_span name, struct wsl_pb_span *ret);
bool wsl_protoset_file_of_symbol(struct wsl_pb_span set, const char *symbol,
                                 struct wsl_pb_span *ret);

#endif
