/* SPDX-License-Identifier: Apache-2.0
 *
 * Framing on control.sock, between a worker and its trainers: a 4-byte little-endian length, then
 * that many bytes. Pure.
 */
#ifndef WSL_PROTO_FRAME_H
#define WSL_PROTO_FRAME_H

#include "base/buf.h"

#include <stdint.h>

enum {
    WSL_FRAME_HEAD = 4,
    /* Longest message each side takes; the longest sent is an exchange's answer of some KiB. */
    WSL_FRAME_TO_TRAINER_MAX = 1 << 20,
    WSL_FRAME_FROM_TRAINER_MAX = 256 << 10,
};

/* Looks at the first frame of the bytes received so far. Returns 1 and its bytes (inside `in`), 0
 * when it is not whole yet, WSL_ELIMIT when its length is over `max`: the stream is of no more
 * use. */
int wsl_frame_first(const struct wsl_buf *in, uint32_t max, const uint8_t **ret_bytes,
                    uint32_t *ret_size);

/* Drops the frame that wsl_frame_first found. */
void wsl_frame_drop(struct wsl_buf *in, uint32_t size);

/* Writes the head of a frame of `size` bytes. */
void wsl_frame_head(uint8_t head[WSL_FRAME_HEAD], uint32_t size);

/* Appends a frame of `size` bytes to be filled in; NULL when the buffer's limit does not allow it
 * (nothing is appended). */
uint8_t *wsl_frame_add(struct wsl_buf *out, uint32_t size);

#endif
