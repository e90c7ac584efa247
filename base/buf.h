/* SPDX-License-Identifier: Apache-2.0
 *
 * A growable run of bytes with a limit. Zero-initialise it (`struct wsl_buf b = {0}`), free it with
 * wsl_buf_free(), which accepts a zeroed one. `data` is always followed by a zero byte once
 * anything was added, so a buffer of text is also a C string. Not thread-safe.
 */
#ifndef WSL_BASE_BUF_H
#define WSL_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct wsl_buf {
    uint8_t *data;   /* owned; NULL while empty */
    size_t size;     /* bytes in use */
    size_t capacity; /* bytes allocated, the closing zero included */
    size_t limit;    /* most bytes allowed; 0 means WSL_BUF_LIMIT */
};

#define WSL_BUF_LIMIT ((size_t)1 << 30)

/* Each returns 0, WSL_ENOMEM, or WSL_ELIMIT when the limit would be passed (the buffer stays as it
 * was). */
int wsl_buf_reserve(struct wsl_buf *b, size_t more);
int wsl_buf_add(struct wsl_buf *b, const void *bytes, size_t size);
int wsl_buf_add_text(struct wsl_buf *b, const char *text);
int wsl_buf_add_format(struct wsl_buf *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Drops the first n bytes (n <= size). */
void wsl_buf_drop(struct wsl_buf *b, size_t n);

/* Empties it and keeps the memory. */
void wsl_buf_clear(struct wsl_buf *b);

void wsl_buf_free(struct wsl_buf *b);

#endif
