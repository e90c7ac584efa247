/* SPDX-License-Identifier: Apache-2.0
 *
 * What protobuf-c lacks for messages of any type. Any thread.
 */
#ifndef WSL_PROTO_MESSAGE_H
#define WSL_PROTO_MESSAGE_H

#include <protobuf-c/protobuf-c.h>

/* A deep copy, to be freed with protobuf_c_message_free_unpacked() or the type's own function; NULL
 * without memory. */
ProtobufCMessage *wsl_message_copy(const ProtobufCMessage *message);

#endif
