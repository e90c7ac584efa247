/* SPDX-License-Identifier: Apache-2.0
 *
 * Searching a descriptor set by file name and by symbol.
 */
#include "proto/rpc/protoset.h"

#include "base/protowire.h"

#include <string.h>

bool wsl_pb_next(struct wsl_pb_span *rest, struct wsl_pb_field *ret)
{
    struct wsl_wire wire = wsl_wire_of(rest->at, rest->size);
    struct wsl_wire_field field;

    if (!wsl_wire_next(&wire, &field))
        return false;
    *rest = (struct wsl_pb_span){wire.at, (size_t)(wire.end - wire.at)};
    *ret = (struct wsl_pb_field){field.number, field.value, {field.bytes, field.size}};
    return true;
}

struct wsl_pb_span wsl_pb_get(struct wsl_pb_span message, uint32_t number)
{
    struct wsl_pb_field field;

    while (wsl_pb_next(&message, &field))
        if (field.number == number)
            return field.span;
    return (struct wsl_pb_span){0};
}

static bool same(struct wsl_pb_span a, struct wsl_pb_span b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.at, b.at, a.size) == 0);
}

bool wsl_pb_is(struct wsl_pb_span span, const char *text)
{
    return same(span, (struct wsl_pb_span){(const uint8_t *)text, strlen(text)});
}

bool wsl_protoset_file(struct wsl_pb_span set, struct wsl_pb_span name, struct wsl_pb_span *ret)
{
    struct wsl_pb_field field;

    while (wsl_pb_next(&set, &field)) {
        if (field.number != WSL_PB_SET_FILE ||
            !same(wsl_pb_get(field.span, WSL_PB_FILE_NAME), name))
            continue;
        *ret = field.span;
        return true;
    }
    return false;
}

enum scope { IN_FILE, IN_MESSAGE, IN_ENUM, IN_SERVICE, IN_NOTHING };

/* What the children of such a field are: the scope they open, or -1 when it declares no name. */
static int opens(enum scope scope, uint32_t number)
{
    switch (scope) {
    case IN_FILE:
        return number == WSL_PB_FILE_MESSAGE     ? IN_MESSAGE
               : number == WSL_PB_FILE_ENUM      ? IN_ENUM
               : number == WSL_PB_FILE_SERVICE   ? IN_SERVICE
               : number == WSL_PB_FILE_EXTENSION ? IN_NOTHING
                                                 : -1;
    case IN_MESSAGE:
        return number == WSL_PB_MESSAGE_NESTED                                    ? IN_MESSAGE
               : number == WSL_PB_MESSAGE_ENUM                                    ? IN_ENUM
               : number == WSL_PB_MESSAGE_FIELD || number == WSL_PB_MESSAGE_ONEOF ? IN_NOTHING
                                                                                  : -1;
    case IN_ENUM:
        return number == WSL_PB_ENUM_VALUE ? IN_NOTHING : -1;
    case IN_SERVICE:
        return number == WSL_PB_SERVICE_METHOD ? IN_NOTHING : -1;
    case IN_NOTHING:
        break;
    }
    return -1;
}

/* Steps from `*at` into its child of that name. Values of an enum are also names of the scope
 * around the enum, as in C++. */
static bool enter(struct wsl_pb_span *at, enum scope *scope, struct wsl_pb_span name)
{
    struct wsl_pb_span rest = *at;
    struct wsl_pb_field child, value;

    while (wsl_pb_next(&rest, &child)) {
        int inner = opens(*scope, child.number);
        struct wsl_pb_span values = child.span;

        if (inner < 0)
            continue;
        if (same(wsl_pb_get(child.span, WSL_PB_ANY_NAME), name)) {
            *at = child.span;
            *scope = (enum scope)inner;
            return true;
        }
        while (inner == IN_ENUM && wsl_pb_next(&values, &value)) {
            if (value.number != WSL_PB_ENUM_VALUE ||
                !same(wsl_pb_get(value.span, WSL_PB_ANY_NAME), name))
                continue;
            *at = value.span;
            *scope = IN_NOTHING;
            return true;
        }
    }
    return false;
}

static bool declares(struct wsl_pb_span file, const char *symbol)
{
    struct wsl_pb_span package = wsl_pb_get(file, WSL_PB_FILE_PACKAGE);
    enum scope scope = IN_FILE;

    if (package.size > 0) {
        if (strncmp(symbol, (const char *)package.at, package.size) != 0 ||
            symbol[package.size] != '.')
            return false;
        symbol += package.size + 1;
    }
    for (;;) {
        size_t length = strcspn(symbol, ".");

        if (!enter(&file, &scope, (struct wsl_pb_span){(const uint8_t *)symbol, length}))
            return false;
        if (!symbol[length])
            return true;
        symbol += length + 1;
    }
}

bool wsl_protoset_file_of_symbol(struct wsl_pb_span set, const char *symbol,
                                 struct wsl_pb_span *ret)
{
    struct wsl_pb_field field;

    while (wsl_pb_next(&set, &field)) {
        if (field.number != WSL_PB_SET_FILE || !declares(field.span, symbol))
            continue;
        *ret = field.span;
        return true;
    }
    return false;
}
