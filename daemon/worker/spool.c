/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/worker/spool.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum { LENGTH_MAX = 10 }; /* bytes of a varint */

void wsl_spool_resume(struct wsl_spool *spool, uint64_t acked)
{
    spool->acked = spool->sent = acked;
    spool->waits = 0;
}

void wsl_spool_ack(struct wsl_spool *spool, uint64_t acked)
{
    if (acked > spool->sent)
        acked = spool->sent;
    if (acked > spool->acked)
        spool->acked = acked;
}

void wsl_spool_grow(struct wsl_spool *spool, uint64_t size)
{
    if (size > spool->size)
        spool->size = size;
}

size_t wsl_spool_ready(const struct wsl_spool *spool)
{
    uint64_t left = spool->size > spool->sent ? spool->size - spool->sent : 0;

    if (spool->sent - spool->acked >= WSL_SPOOL_WINDOW || spool->size <= spool->waits)
        return 0;
    return left < WSL_CHUNK_MAX ? (size_t)left : WSL_CHUNK_MAX;
}

bool wsl_spool_done(const struct wsl_spool *spool)
{
    return spool->acked >= spool->size;
}

int wsl_spool_whole(const uint8_t *bytes, size_t size, size_t *ret_whole, uint64_t *ret_next)
{
    size_t at = 0;

    *ret_whole = 0;
    for (;;) {
        uint64_t length = 0;
        size_t n = 0;

        *ret_next = 0;
        do {
            if (n == LENGTH_MAX)
                return WSL_ECORRUPT;
            if (at + n == size)
                return 0;
            length |= (uint64_t)(bytes[at + n] & 0x7f) << (7 * n);
        } while (bytes[at + n++] & 0x80);
        if (length > WSL_METRIC_MESSAGE_MAX)
            return WSL_ECORRUPT;
        if (length > size - at - n) {
            *ret_next = n + length;
            return 0;
        }
        at += n + length;
        *ret_whole = at;
    }
}

int wsl_spool_read(int fd, uint64_t offset, uint8_t *ret, size_t size, size_t *ret_count,
                   struct wsl_err *err)
{
    size_t count = 0;

    while (count < size) {
        ssize_t n = pread(fd, ret + count, size - count, (off_t)(offset + count));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return wsl_fail_errno(err, "cannot read at %llu", (unsigned long long)offset);
        if (n == 0)
            break;
        count += (size_t)n;
    }
    *ret_count = count;
    return 0;
}

int wsl_spool_read_messages(int fd, uint64_t offset, uint8_t *ret, size_t *ret_count,
                            struct wsl_err *err)
{
    size_t count, whole;
    uint64_t next;
    int r = wsl_spool_read(fd, offset, ret, WSL_CHUNK_MAX, &count, err);

    if (r < 0)
        return r;
    r = wsl_spool_whole(ret, count, &whole, &next);
    if (whole == 0 && next > count) { /* one message larger than a chunk */
        r = wsl_spool_read(fd, offset, ret, (size_t)next, &count, err);
        if (r == 0)
            r = wsl_spool_whole(ret, count, &whole, &next);
    }
    if (r < 0 && whole == 0)
        return wsl_fail(err, r, "no message begins at %llu", (unsigned long long)offset);
    *ret_count = whole; /* what is damaged behind them shows at the next read */
    return 0;
}

int wsl_spool_whole_end(int fd, uint64_t offset, uint64_t *ret_end, struct wsl_err *err)
{
    uint8_t *bytes = malloc(WSL_METRIC_MESSAGE_MAX + LENGTH_MAX);
    size_t count;
    int r;

    if (!bytes)
        return wsl_fail(err, WSL_ENOMEM, "out of memory");
    do {
        r = wsl_spool_read_messages(fd, offset, bytes, &count, err);
        if (r == 0)
            offset += count;
    } while (r == 0 && count > 0);
    free(bytes);
    if (r < 0 && r != WSL_ECORRUPT)
        return r;
    *ret_end = offset;
    return 0;
}
