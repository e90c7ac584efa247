/* SPDX-License-Identifier: Apache-2.0
 *
 * A file of messages, each behind its length as a varint (what protobuf calls delimited): a
 * trainer's metric file, written by the trainer, shipped by the worker, read and kept by the
 * coordinator. Pure; any thread.
 */
#ifndef WSL_PROTO_DELIMITED_H
#define WSL_PROTO_DELIMITED_H

#include "base/protowire.h"

enum {
    WSL_DELIMITED_MAX = 512 << 10, /* bytes of one message; a longer one is damage */
    WSL_DELIMITED_ROOM = WSL_DELIMITED_MAX + WSL_VARINT_MAX, /* for any one with its length */
};

/* The length of the message that begins at bytes. Returns the bytes of the length itself; 0 when
 * more than `size` bytes are needed to read it; WSL_ECORRUPT when it is not one. */
int wsl_delimited_head(const uint8_t *bytes, size_t size, size_t *ret_length);

/* Bytes of the whole messages at the start of `size` bytes (*ret_whole), and of the first one that
 * is cut off with its length (*ret_next; 0: none begins, or its length is cut off). 0, or
 * WSL_ECORRUPT when what follows the whole ones is damage. */
int wsl_delimited_whole(const uint8_t *bytes, size_t size, size_t *ret_whole, size_t *ret_next);

#endif
