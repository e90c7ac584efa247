/* SPDX-License-Identifier: Apache-2.0
 *
 * Messages on a byte stream, each behind its length.
 */
#include "proto/frame.h"

#include "base/err.h"

int wsl_frame_first(const struct wsl_buf *in, uint32_t max, const uint8_t **ret_bytes,
                    uint32_t *ret_size)
{
    const uint8_t *p = in->data;
    uint32_t size;

    if (in->size < WSL_FRAME_HEAD)
        return 0;
    size = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    if (size > max)
        return WSL_ELIMIT;
    if (in->size - WSL_FRAME_HEAD < size)
        return 0;
    *ret_bytes = p + WSL_FRAME_HEAD;
    *ret_size = size;
    return 1;
}

void wsl_frame_drop(struct wsl_buf *in, uint32_t size)
{
    wsl_buf_drop(in, WSL_FRAME_HEAD + (size_t)size);
}

void wsl_frame_head(uint8_t head[WSL_FRAME_HEAD], uint32_t size)
{
    for (int i = 0; i < WSL_FRAME_HEAD; i++)
        head[i] = (uint8_t)(size >> (8 * i));
}

uint8_t *wsl_frame_add(struct wsl_buf *out, uint32_t size)
{
    uint8_t *p;

    if (wsl_buf_reserve(out, WSL_FRAME_HEAD + (size_t)size) < 0)
        return NULL;
    p = out->data + out->size;
    wsl_frame_head(p, size);
    out->size += WSL_FRAME_HEAD + (size_t)size;
    out->data[out->size] = 0;
    return p + WSL_FRAME_HEAD;
}
