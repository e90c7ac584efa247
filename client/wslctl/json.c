/* SPDX-License-Identifier: Apache-2.0
 *
 * Protobuf messages as JSON, field by field from their descriptors.
 */
#include "client/wslctl/json.h"

#include "base/clock.h"
#include "base/err.h"
#include "base/number.h"
#include "client/wslctl/format.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static json_t *message_json(const ProtobufCMessage *message);

json_t *wsl_ctl_json_text(const char *text, size_t size)
{
    json_t *value = json_stringn(text, size);
    char *copy;

    if (value)
        return value;
    copy = malloc(size + 1);
    if (!copy)
        return NULL;
    for (size_t i = 0; i < size; i++) /* not UTF-8: what is ASCII can still be read */
        copy[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
    value = json_stringn(copy, size);
    free(copy);
    return value;
}

static json_t *u64_json(uint64_t value)
{
    char digits[24];

    if (value <= INT64_MAX)
        return json_integer((json_int_t)value);
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    return json_string(digits);
}

static json_t *enum_json(const ProtobufCEnumDescriptor *type, int value)
{
    char word[WSL_CTL_TEXT];

    wsl_ctl_word(type, value, word);
    return strcmp(word, "-") == 0 ? json_null() : json_string(word);
}

static size_t element_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    default:
        return 4;
    }
}

static json_t *value_json(const ProtobufCFieldDescriptor *field, const void *value)
{
    const char *text;

    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        text = *(char *const *)value;
        return wsl_ctl_json_text(text ? text : "", text ? strlen(text) : 0);
    case PROTOBUF_C_TYPE_MESSAGE:
        return message_json(*(ProtobufCMessage *const *)value);
    case PROTOBUF_C_TYPE_BYTES:
        return wsl_ctl_json_text((const char *)((const ProtobufCBinaryData *)value)->data,
                                 ((const ProtobufCBinaryData *)value)->len);
    case PROTOBUF_C_TYPE_BOOL:
        return json_boolean(*(const protobuf_c_boolean *)value);
    case PROTOBUF_C_TYPE_DOUBLE:
        return wsl_json_real(*(const double *)value);
    case PROTOBUF_C_TYPE_FLOAT:
        return wsl_json_real(wsl_real_of_float(*(const float *)value));
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return u64_json(*(const uint64_t *)value);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return json_integer(*(const int64_t *)value);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return json_integer(*(const uint32_t *)value);
    case PROTOBUF_C_TYPE_ENUM:
        return enum_json(field->descriptor, *(const int *)value);
    default:
        return json_integer(*(const int32_t *)value);
    }
}

static json_t *list_json(const ProtobufCFieldDescriptor *field, const char *message)
{
    size_t count = *(const size_t *)(message + field->quantifier_offset);
    const char *items = *(char *const *)(message + field->offset);
    json_t *list = json_array();

    for (size_t i = 0; i < count && list; i++)
        if (json_array_append_new(list, value_json(field, items + i * element_size(field->type))) <
            0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

/* "ended" beside "ended_ms". */
static int add_time_text(json_t *object, const char *name, int64_t wall_ms)
{
    size_t length = strlen(name);
    char key[64], text[WSL_CLOCK_TEXT_SIZE];

    if (length < 4 || length >= sizeof key || strcmp(name + length - 3, "_ms") != 0)
        return 0;
    snprintf(key, sizeof key, "%.*s", (int)length - 3, name);
    wsl_clock_text(wall_ms, text);
    return json_object_set_new(object, key, wall_ms > 0 ? json_string(text) : json_null());
}

static bool is_unset_oneof(const ProtobufCFieldDescriptor *field, const char *message)
{
    return (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
           *(const int *)(message + field->quantifier_offset) != (int)field->id;
}

/* Messages of this schema do not contain themselves, so the recursion ends. */
static json_t *message_json(const ProtobufCMessage *message)
{
    const char *bytes = (const char *)message;
    json_t *object;

    if (!message)
        return json_null();
    object = json_object();
    for (unsigned i = 0; i < message->descriptor->n_fields && object; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        json_t *value = field->label == PROTOBUF_C_LABEL_REPEATED ? list_json(field, bytes)
                        : is_unset_oneof(field, bytes)            ? json_null()
                                                       : value_json(field, bytes + field->offset);

        if (json_object_set_new(object, field->name, value) < 0 ||
            (field->type == PROTOBUF_C_TYPE_INT64 &&
             add_time_text(object, field->name, *(const int64_t *)(bytes + field->offset)) < 0)) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

json_t *wsl_ctl_json(const ProtobufCMessage *message)
{
    return message_json(message);
}

json_t *wsl_ctl_json_job(const Wsl__V1__Job *job)
{
    json_t *whole = message_json(&job->base), *object = json_object();
    const Wsl__V1__JobSpec *spec = job->spec;
    const char *name = spec && spec->name ? spec->name : "";

    if (!whole || !object || json_object_set_new(object, "id", u64_json(job->id)) < 0 ||
        json_object_set_new(object, "name", wsl_ctl_json_text(name, strlen(name))) < 0 ||
        json_object_set_new(object, "kind",
                            spec ? enum_json(&wsl__v1__job_kind__descriptor, (int)spec->kind)
                                 : json_null()) < 0 ||
        json_object_update(object, whole) < 0) {
        json_decref(object);
        object = NULL;
    }
    json_decref(whole);
    return object;
}

json_t *wsl_ctl_json_document(const char *key, json_t *value, ...)
{
    json_t *document = json_object();
    bool good = document &&
                json_object_set_new(document, "version", json_integer(WSL_CTL_JSON_VERSION)) == 0;
    va_list args;

    va_start(args, value);
    for (; key; value = key ? va_arg(args, json_t *) : NULL) {
        /* set_new takes the value whatever comes of it. */
        good = json_object_set_new(document, key, value) == 0 && good;
        key = va_arg(args, const char *);
    }
    va_end(args);
    if (!good) {
        json_decref(document);
        return NULL;
    }
    return document;
}

int wsl_ctl_json_print(json_t *value, bool compact, struct wsl_buf *out)
{
    int r = wsl_json_print(value, compact ? 0 : 2, out);

    json_decref(value);
    return r < 0 ? r : wsl_buf_add_text(out, "\n");
}
