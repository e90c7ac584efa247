/* SPDX-License-Identifier: Apache-2.0
 *
 * The store's disk side: LMDB and append-only files. Internal to storage/state; the store thread's
 * alone once it runs.
 *
 * Keys are big-endian, so that LMDB's order is ours: "job" id; "event" job id, sequence.
 */
#ifndef WSL_STORAGE_STATE_INTERNAL_H
#define WSL_STORAGE_STATE_INTERNAL_H

#include "storage/state/state.h"

#include <stdbool.h>

#include <lmdb.h>

enum op_kind { OP_JOB, OP_EVENT, OP_REMOVE, OP_APPEND };

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
    MDB_env *env;
    MDB_dbi jobs, events;
    MDB_txn *txn;
};

int wsl_files_open(struct wsl_files *files, const char *folder, uint64_t map_bytes,
                   struct wsl_err *err);
void wsl_files_close(struct wsl_files *files); /* zeroed is fine */
int wsl_files_load(struct wsl_files *files, const struct wsl_state_load *load, struct wsl_err *err);

/* One transaction: begin, put lists of operations (appends are passed over), end. end after a
 * failed begin is fine. */
int wsl_files_begin(struct wsl_files *files, struct wsl_err *err);
int wsl_files_put(struct wsl_files *files, const struct op *first, struct wsl_err *err);
int wsl_files_end(struct wsl_files *files, bool keep, struct wsl_err *err);

/* Does the appends of a list and syncs each file. */
int wsl_files_append(struct wsl_files *files, const struct op *first, struct wsl_err *err);
void wsl_files_remove(struct wsl_files *files, uint64_t job);

uint64_t wsl_files_size(const struct wsl_files *files, uint64_t job, const char *name);
void wsl_files_path(const struct wsl_files *files, uint64_t job, const char *name, char *ret_path,
                    size_t size);

#endif
