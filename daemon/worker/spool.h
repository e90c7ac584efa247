/* SPDX-License-Identifier: Apache-2.0
 *
 * A trainer's log and metric files are the spool: what the coordinator has not yet put on its disk
 * is sent again from the last acknowledged position. The positions are pure; reading is below.
 */
#ifndef WSL_DAEMON_WORKER_SPOOL_H
#define WSL_DAEMON_WORKER_SPOOL_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WSL_CHUNK_MAX = 64 << 10,     /* bytes of one message */
    WSL_SPOOL_WINDOW = 512 << 10, /* sent and not acknowledged, of one file, before we wait */
};

struct wsl_spool {
    uint64_t size;  /* bytes in the file that may be sent */
    uint64_t sent;  /* in this session */
    uint64_t acked; /* on the coordinator's disk */
    uint64_t waits; /* no whole message below this size: nothing to send until it grows */
};

void wsl_spool_resume(struct wsl_spool *spool, uint64_t acked); /* at the start of a session */
void wsl_spool_ack(struct wsl_spool *spool, uint64_t acked);    /* never back, never beyond sent */
void wsl_spool_grow(struct wsl_spool *spool, uint64_t size);    /* never back */
size_t wsl_spool_ready(const struct wsl_spool *spool); /* bytes to send now, <= WSL_CHUNK_MAX */
bool wsl_spool_done(const struct wsl_spool *spool);    /* all of it acknowledged */

/* Reads up to `size` bytes at `offset`; fewer only at the end of the file. Blocks on the disk. */
int wsl_spool_read(int fd, uint64_t offset, uint8_t *ret, size_t size, size_t *ret_count,
                   struct wsl_err *err);

/* Reads a chunk of whole messages into `ret` (WSL_DELIMITED_ROOM bytes of room): about
 * WSL_CHUNK_MAX bytes, more only for a single larger message; *ret_count is 0 when the next one is
 * not whole yet. WSL_ECORRUPT: no message can begin here. */
int wsl_spool_read_messages(int fd, uint64_t offset, uint8_t *ret, size_t *ret_count,
                            struct wsl_err *err);

/* Where the last whole message of the file ends, from `offset` on, where one begins. What is torn
 * or damaged after it is left out. */
int wsl_spool_whole_end(int fd, uint64_t offset, uint64_t *ret_end, struct wsl_err *err);

#endif
