/* SPDX-License-Identifier: Apache-2.0
 *
 * The coordinator's durable store: jobs, events, workers and the sizes of files in one LMDB environment
 * (STATE/store.mdb), logs and metrics of trainers in append-only files (STATE/jobs/<job>/<name>).
 *
 * One thread, "store", does all writing, in the order of commits; what waits while it works is
 * written in one transaction (one fsync for all). A commit's completion comes to the loop through a
 * mailbox, after its bytes are on the disk: until then nothing may be acknowledged or acted on.
 * Commits complete in order.
 *
 * Disk full or broken: the commit fails as a whole (WSL_ENOSPC, WSL_EIO), the store stays usable,
 * and later commits may succeed. A file's bytes count from the moment the transaction that notes
 * its size is durable; bytes beyond (a torn write) are cut off at the next open.
 *
 * All functions are for the loop thread. Values are opaque bytes here.
 */
#ifndef WSL_STORAGE_STATE_STATE_H
#define WSL_STORAGE_STATE_STATE_H

#include "base/buf.h"
#include "base/err.h"

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct wsl_state;

struct wsl_state_setup {
    const char *directory; /* made when missing; locked while open */
    uv_loop_t *loop;
    uint64_t map_bytes; /* largest size of store.mdb; 0: 64 GiB */
    size_t waiting_max; /* commits waiting at once; 0: 16384 */
};

/* WSL_EEXIST: another process has the directory. WSL_EUNSUPPORTED: made in another format. */
int wsl_state_open(struct wsl_state **ret, const struct wsl_state_setup *setup,
                   struct wsl_err *err);

/* Finishes what was committed (blocks for it), ends the thread, and closes. Completions that were
 * pending run before it returns. The mailbox's handle goes away in the loop's next turn. NULL is
 * fine. */
void wsl_state_close(struct wsl_state *state);

/* A record's bytes, valid during the call; `number` is a job's id or an event's sequence. 0, or a
 * failure that ends the reading. */
typedef int (*wsl_state_record_fn)(void *context, uint64_t number, const uint8_t *bytes,
                                   size_t size);

/* Calls back for each job in the order of ids. Before the first commit. A record that cannot be a
 * record ends it with WSL_ECORRUPT. */
int wsl_state_load(struct wsl_state *state, wsl_state_record_fn job, void *context,
                   struct wsl_err *err);

/* The same for each worker, in the order of names; `number` is 0. */
int wsl_state_load_nodes(struct wsl_state *state, wsl_state_record_fn node, void *context,
                         struct wsl_err *err);

/* What the last completed commit holds: one job's record (WSL_ENOENT: none), and all its events in
 * order. Beside the writing thread; may wait for the disk when the pages are not in memory. */
int wsl_state_read_job(struct wsl_state *state, uint64_t id, wsl_state_record_fn each,
                       void *context);
int wsl_state_read_events(struct wsl_state *state, uint64_t job, wsl_state_record_fn each,
                          void *context);

/* Files whose size on the disk was not the one in the store when it was opened: torn tails that
 * were cut off, or lost ends that were filled with zero bytes. */
size_t wsl_state_mended(const struct wsl_state *state);

/* ---- a commit: everything in it becomes durable together, or nothing of it does ---- */

struct wsl_state_commit;

/* NULL when waiting_max commits wait for the disk already, or out of memory. One that was begun
 * must be ended. */
struct wsl_state_commit *wsl_state_begin(struct wsl_state *state);

/* Each copies its bytes; a failure to get memory is reported by the completion. */
void wsl_state_put_job(struct wsl_state_commit *commit, uint64_t id, const void *bytes,
                       size_t size);
void wsl_state_put_event(struct wsl_state_commit *commit, uint64_t job, uint64_t sequence,
                         const void *bytes, size_t size);
/* Forgets one event; fine when there is none. */
void wsl_state_remove_event(struct wsl_state_commit *commit, uint64_t job, uint64_t sequence);
/* Forgets a job, its events, and its files. */
void wsl_state_remove_job(struct wsl_state_commit *commit, uint64_t id);
/* A worker's record; names have 1 to 79 bytes. Removing one that is not there is fine. */
void wsl_state_put_node(struct wsl_state_commit *commit, const char *name, const void *bytes,
                        size_t size);
void wsl_state_remove_node(struct wsl_state_commit *commit, const char *name);
/* Writes at `offset` of STATE/jobs/<job>/<name>. Bytes below the file's end are skipped (they were
 * sent twice); a gap is a failure (WSL_ESTATE). */
void wsl_state_append(struct wsl_state_commit *commit, uint64_t job, const char *name,
                      uint64_t offset, const void *bytes, size_t size);

/* `done` is called exactly once from the loop; err is NULL when all is durable. May be NULL. Takes
 * the commit. */
typedef void (*wsl_state_done_fn)(void *context, const struct wsl_err *err);
void wsl_state_end(struct wsl_state_commit *commit, wsl_state_done_fn done, void *context);

/* Commits that wait or run. */
size_t wsl_state_waiting(const struct wsl_state *state);

/* ---- files ---- */

/* Durable size of a file of a job; 0 when there is none. Grows when an append's completion runs. */
uint64_t wsl_state_file_size(const struct wsl_state *state, uint64_t job, const char *name);
/* The full path. */
void wsl_state_file_path(const struct wsl_state *state, uint64_t job, const char *name,
                         char *ret_path, size_t size);

#endif
