/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/trainer/frame.h"

#include "base/err.h"

enum { HEAD = 4 };

int wsl_frame_first(const struct wsl_buf *in, const uint8_t **ret_bytes, uint32_t *ret_size)
{
    const uint8_t *p = in->data;
    uint32_t size;

    if (in->size < HEAD)
        return 0;
    size = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    if (size > WSL_FRAME_MAX)
        return WSL_ELIMIT;
    if (in->size - HEAD < size)
        return 0;
    *ret_bytes = p + HEAD;
    *ret_size = size;
    return 1;
}

void wsl_frame_drop(struct wsl_buf *in, uint32_t size)
{
    wsl_buf_drop(in, HEAD + (size_t)size);
}

uint8_t *wsl_frame_add(struct wsl_buf *out, uint32_t size)
{
    uint8_t *p;

    if (wsl_buf_reserve(out, HEAD + (size_t)size) < 0)
        return NULL;
    p = out->data + out->size;
    for (int i = 0; i < HEAD; i++)
        p[i] = (uint8_t)(size >> (8 * i));
    out->size += HEAD + (size_t)size;
    out->data[out->size] = 0;
    return p + HEAD;
}
