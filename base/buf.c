/* SPDX-License-Identifier: Apache-2.0
 *
 * The buffer grows by doubling, so that adding byte by byte stays linear.
 */
#include "base/buf.h"

#include "base/err.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int wsl_buf_reserve(struct wsl_buf *b, size_t more)
{
    size_t limit = b->limit ? b->limit : WSL_BUF_LIMIT;
    size_t need, capacity;
    uint8_t *data;

    if (more > limit || b->size > limit - more)
        return WSL_ELIMIT;
    need = b->size + more + 1;
    if (need <= b->capacity)
        return 0;
    capacity = b->capacity ? b->capacity : 64;
    while (capacity < need)
        capacity *= 2;
    data = realloc(b->data, capacity);
    if (!data)
        return WSL_ENOMEM;
    b->data = data;
    b->capacity = capacity;
    return 0;
}

int wsl_buf_add(struct wsl_buf *b, const void *bytes, size_t size)
{
    int r = wsl_buf_reserve(b, size);

    if (r < 0)
        return r;
    if (size > 0)
        memcpy(b->data + b->size, bytes, size);
    b->size += size;
    b->data[b->size] = 0;
    return 0;
}

int wsl_buf_add_text(struct wsl_buf *b, const char *text)
{
    return wsl_buf_add(b, text, strlen(text));
}

int wsl_buf_add_format(struct wsl_buf *b, const char *format, ...)
{
    va_list args, again;
    int n, r;

    va_start(args, format);
    va_copy(again, args);
    n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    r = n < 0 ? WSL_EINVAL : wsl_buf_reserve(b, (size_t)n);
    if (r == 0) {
        vsnprintf((char *)b->data + b->size, (size_t)n + 1, format, again);
        b->size += (size_t)n;
    }
    va_end(again);
    return r;
}

void wsl_buf_drop(struct wsl_buf *b, size_t n)
{
    assert(n <= b->size);
    if (n == 0)
        return;
    memmove(b->data, b->data + n, b->size - n);
    b->size -= n;
    b->data[b->size] = 0;
}

void wsl_buf_clear(struct wsl_buf *b)
{
    b->size = 0;
    if (b->data)
        b->data[0] = 0;
}

void wsl_buf_free(struct wsl_buf *b)
{
    free(b->data);
    *b = (struct wsl_buf){.limit = b->limit};
}
