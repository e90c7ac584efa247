/* SPDX-License-Identifier: Apache-2.0
 *
 * Every .proto of this directory, described: a packed google.protobuf.FileDescriptorSet made by protoc
 * at build time, each file after those it imports. What server reflection answers from.
 */
#ifndef WSL_PROTO_DESCRIPTORS_H
#define WSL_PROTO_DESCRIPTORS_H

#include <stddef.h>
#include <stdint.h>

extern const uint8_t wsl_descriptor_set[];
extern const size_t wsl_descriptor_set_size;

#endif
