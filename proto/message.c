/* SPDX-License-Identifier: Apache-2.0
 *
 * Copies of messages, by packing and unpacking them.
 */
#include "proto/message.h"

#include <stdlib.h>

ProtobufCMessage *wsl_message_copy(const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(size + 1);
    ProtobufCMessage *copy;

    if (!bytes)
        return NULL;
    protobuf_c_message_pack(message, bytes);
    copy = protobuf_c_message_unpack(message->descriptor, NULL, size, bytes);
    free(bytes);
    return copy;
}
