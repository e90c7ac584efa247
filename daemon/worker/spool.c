/* SPDX-License-Identifier: Apache-2.0
 *
 * Positions in a file that grows while it is sent, and reading it from there.
 */
#include "daemon/worker/spool.h"

#include "proto/delimited.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

void wsl_spool_resume(struct wsl_spool *spool, uint64_t acked)
{
    spool->acked = spool->sent = acked;
    spool->waits = 0;
}

void wsl_spool_ack(struct wsl_spool *spool, uint64_t acked)
{
    assert(spool->acked <= spool->sent);
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

    assert(spool->acked <= spool->sent);
    if (spool->sent - spool->acked >= WSL_SPOOL_WINDOW || spool->size <= spool->waits)
        return 0;
    return left < WSL_CHUNK_MAX ? (size_t)left : WSL_CHUNK_MAX;
}

bool wsl_spool_done(const struct wsl_spool *spool)
{
    return spool->acked >= spool->size;
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
    size_t count, whole, next;
    int r = wsl_spool_read(fd, offset, ret, WSL_CHUNK_MAX, &count, err);

    if (r < 0)
        return r;
    r = wsl_delimited_whole(ret, count, &whole, &next);
    if (whole == 0 && next > count) { /* one message larger than a chunk */
        r = wsl_spool_read(fd, offset, ret, next, &count, err);
        if (r == 0)
            r = wsl_delimited_whole(ret, count, &whole, &next);
    }
    if (r < 0 && whole == 0)
        return wsl_fail(err, r, "no message begins at %llu", (unsigned long long)offset);
    *ret_count = whole; /* what is damaged behind them shows at the next read */
    return 0;
}

int wsl_spool_whole_end(int fd, uint64_t offset, uint64_t *ret_end, struct wsl_err *err)
{
    uint8_t *bytes = malloc(WSL_DELIMITED_ROOM);
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
