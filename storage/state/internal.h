/* SPDX-License-Identifier: Apache-2.0
 *
 * The store's disk side: LMDB and append-only files. Internal to storage/state; the store thread's
 * alone once it runs, but for wsl_files_read_*(), which is the loop's: it reads what was committed
 * last, beside the writer.
 *
 * Keys are big-endian, so that LMDB's order is ours: "jobs" id; "events" job id, sequence; "files"
 * job id, name -> size in bytes that is durable; "nodes" name. What lies in a file beyond that size was never
 * promised to anyone: it is cut off at the next start.
 */
#ifndef WSL_STORAGE_STATE_INTERNAL_H
#define WSL_STORAGE_STATE_INTERNAL_H

#include "storage/state/state.h"

#include <pthread.h>
#include <stdbool.h>

#include <lmdb.h>

enum op_kind { OP_JOB, OP_EVENT, OP_REMOVE_EVENT, OP_REMOVE, OP_APPEND, OP_NODE, OP_REMOVE_NODE };

struct op {
    struct op *next;
    enum op_kind kind;
    uint64_t job;
    uint64_t number; /* event: sequence; append: offset */
    char name[80];   /* append: file name; node: its name */
    size_t size;
    uint8_t bytes[];
};

struct wsl_files {
    char directory[4096];
    uint64_t map_bytes;
    pthread_mutex_t lock; /* held while the environment is used by a reader or opened anew */
    MDB_env *env;
    MDB_dbi jobs, events, files, nodes;
    MDB_txn *txn;
    MDB_txn *reader; /* between reads it holds no pages; NULL: none yet */
    uint64_t last_job,
        last_event_job; /* the largest keys put by this process: behind them it appends */
    bool broken;        /* LMDB gave the environment up; it is opened anew at the next begin */
};

int wsl_files_open(struct wsl_files *files, const char *directory, uint64_t map_bytes,
                   struct wsl_err *err);
void wsl_files_close(struct wsl_files *files); /* zeroed is fine */
void wsl_files_fini(struct wsl_files *files);  /* after the last read */
int wsl_files_read_job(struct wsl_files *files, uint64_t id, wsl_state_record_fn each,
                       void *context);
int wsl_files_read_events(struct wsl_files *files, uint64_t job, wsl_state_record_fn each,
                          void *context);
int wsl_files_load(struct wsl_files *files, wsl_state_record_fn job, void *context,
                   struct wsl_err *err);
int wsl_files_load_nodes(struct wsl_files *files, wsl_state_record_fn node, void *context,
                         struct wsl_err *err);

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
