/* SPDX-License-Identifier: Apache-2.0
 *
 * The store's disk side: LMDB and append-only files. Internal to storage/state; the store thread's
 * alone once it runs.
 *
 * Keys are big-endian, so that LMDB's order is ours: "jobs" id; "events" job id, sequence; "files"
 * job id, name -> size in bytes that is durable. What lies in a file beyond that size was never
 * promised to anyone: it is cut off at the next start.
 */
#ifndef WSL_STORAGE_STATE_INTERNAL_H
#define WSL_STORAGE_STATE_INTERNAL_H

#include "storage/state/state.h"

#include <stdbool.h>

#include <lmdb.h>

enum op_kind { OP_JOB, OP_EVENT, OP_REMOVE_EVENT, OP_REMOVE, OP_APPEND };

struct op {
    struct op *next;
    enum op_kind kind;
    uint64_t job;
    uint64_t number; /* event: sequence; append: offset */
    char name[64];   /* append: file name */
    size_t size;
    uint8_t bytes[];
};

struct wsl_files {
    char folder[4096];
    uint64_t map_bytes;
    MDB_env *env;
    MDB_dbi jobs, events, files;
    MDB_txn *txn;
    bool broken; /* LMDB gave the environment up; it is opened anew at the next begin */
};

int wsl_files_open(struct wsl_files *files, const char *folder, uint64_t map_bytes,
                   struct wsl_err *err);
void wsl_files_close(struct wsl_files *files); /* zeroed is fine */
int wsl_files_load(struct wsl_files *files, const struct wsl_state_load *load, struct wsl_err *err);

/* One transaction: begin, put lists of operations, end. An append writes and syncs its file before
 * the transaction that makes it count is committed. end after a failed begin is fine. */
int wsl_files_begin(struct wsl_files *files, struct wsl_err *err);
int wsl_files_put(struct wsl_files *files, const struct op *first, struct wsl_err *err);
int wsl_files_end(struct wsl_files *files, bool keep, struct wsl_err *err);

/* Calls back for each file and its durable size, having cut off (or, when it is shorter, filled up
 * with zero bytes) what differs; *ret_mended counts those. */
typedef int (*wsl_files_size_fn)(void *context, uint64_t job, const char *name, uint64_t size);
int wsl_files_mend(struct wsl_files *files, wsl_files_size_fn each, void *context,
                   size_t *ret_mended, struct wsl_err *err);

void wsl_files_remove(struct wsl_files *files, uint64_t job);
void wsl_files_path(const struct wsl_files *files, uint64_t job, const char *name, char *ret_path,
                    size_t size);

#endif
