/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages as gRPC's bytes, and texts out of gRPC's errors.
 */
#include "base/utf8.h"
#include "proto/rpc/address.h"
#include "proto/rpc/internal.h"

#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>
#include <string.h>

grpc_byte_buffer *wsl_rpc_pack(const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    grpc_slice slice = grpc_slice_malloc(size);
    grpc_byte_buffer *bytes;

    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    bytes = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return bytes;
}

ProtobufCMessage *wsl_rpc_unpack(const ProtobufCMessageDescriptor *type, grpc_byte_buffer *bytes)
{
    grpc_byte_buffer_reader reader;
    grpc_slice slice;
    ProtobufCMessage *message;

    if (!grpc_byte_buffer_reader_init(&reader, bytes))
        return NULL;
    slice = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    message = protobuf_c_message_unpack(type, NULL, GRPC_SLICE_LENGTH(slice),
                                        GRPC_SLICE_START_PTR(slice));
    grpc_slice_unref(slice);
    return message;
}

static bool is_present(const ProtobufCFieldDescriptor *field, const char *base)
{
    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *(const uint32_t *)(base + field->quantifier_offset) == field->id;
    return true;
}

static const char *bad_text_of_value(const ProtobufCFieldDescriptor *field, const void *value)
{
    if (!value)
        return NULL;
    if (field->type == PROTOBUF_C_TYPE_STRING)
        return wsl_utf8_is_valid(value, strlen(value)) ? NULL : field->name;
    return wsl_rpc_bad_text(value);
}

/* Goes as deep as the schema is nested; no message of ours contains itself (test_rpc proves it). */
const char *wsl_rpc_bad_text(const ProtobufCMessage *message)
{
    const char *base = (const char *)message;

    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        const char *at = base + field->offset;
        const char *bad = NULL;

        if (field->type != PROTOBUF_C_TYPE_STRING && field->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        if (!is_present(field, base))
            continue;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t count = *(const size_t *)(base + field->quantifier_offset);
            void *const *values = *(void *const *const *)at;

            for (size_t k = 0; k < count && !bad; k++)
                bad = bad_text_of_value(field, values[k]);
        } else {
            bad = bad_text_of_value(field, *(const void *const *)at);
        }
        if (bad)
            return bad;
    }
    return NULL;
}

static grpc_arg int_arg(const char *key, int value)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = value};
}

grpc_channel *wsl_rpc_connect(const char *address, int receive_max, struct wsl_err *err)
{
    /* Pings often enough to notice a frozen peer, and less often than the server's limit
     * (server.c). No proxy and no DNS extras: the address given is the one that is meant. */
    grpc_arg list[] = {
        int_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, receive_max),
        int_arg(GRPC_ARG_KEEPALIVE_TIME_MS, 10000),
        int_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000),
        int_arg(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1),
        int_arg(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0),
        int_arg(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 500),
        int_arg(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000), /* longest one attempt takes */
        int_arg(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000),
        int_arg(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1),
        int_arg(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
        int_arg(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1),
    };
    grpc_channel_args args = {.num_args = sizeof list / sizeof *list, .args = list};
    grpc_channel_credentials *plain;
    grpc_channel *channel;

    if (wsl_rpc_address_form(address, err) < 0)
        return NULL;
    plain = grpc_insecure_credentials_create();
    channel = grpc_channel_create(address, plain, &args);
    grpc_channel_credentials_release(plain);
    if (!channel)
        wsl_fail(err, WSL_EINVAL, "'%s' is no address; give HOST:PORT", address);
    return channel;
}

void wsl_rpc_slice_text(grpc_slice slice, char *text, size_t size)
{
    size_t length = GRPC_SLICE_LENGTH(slice);

    if (length >= size)
        length = size - 1;
    memcpy(text, GRPC_SLICE_START_PTR(slice), length);
    text[length] = '\0';
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
}

void wsl_rpc_status_text(grpc_slice slice, char *text, size_t size)
{
    static const char *const wrappings[] = {"failed to connect to all addresses",
                                            "DNS resolution failed"};
    const char *core = text;

    wsl_rpc_slice_text(slice, text, size);
    for (size_t i = 0; i < 2; i++) {
        if (strncmp(text, wrappings[i], strlen(wrappings[i])) != 0)
            continue;
        for (const char *p = strstr(text, ": "); p; p = strstr(core, ": "))
            core = p + 2;
    }
    memmove(text, core, strlen(core) + 1);
}
