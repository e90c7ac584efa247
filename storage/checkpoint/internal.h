/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of this directory only: the manifest of a checkpoint, and the writer that
 * hashes what it writes.
 */
#ifndef WSL_STORAGE_CHECKPOINT_INTERNAL_H
#define WSL_STORAGE_CHECKPOINT_INTERNAL_H

#include "base/buf.h"
#include "storage/checkpoint/checkpoint.h"

#include <xxhash.h>

/* Names inside a checkpoint directory. */
#define WSL_CHECKPOINT_MANIFEST  "manifest.json"
#define WSL_CHECKPOINT_MODEL     "model.safetensors"
#define WSL_CHECKPOINT_OPTIMIZER "optimizer.safetensors"

/* What a temporary directory's name begins with; the next writer removes it. */
#define WSL_CHECKPOINT_WRITING ".writing-"

struct wsl_checkpoint_file {
    uint64_t bytes;
    XXH128_hash_t hash;
};

struct wsl_checkpoint_manifest {
    struct wsl_checkpoint_info info;
    struct wsl_checkpoint_file model;
    struct wsl_checkpoint_file optimizer;
};

/* Appends the manifest's JSON, which carries a checksum of itself. WSL_EINVAL names a field that is
 * out of range or not UTF-8. */
int wsl_checkpoint_manifest_print(const struct wsl_checkpoint_manifest *manifest,
                                  struct wsl_buf *out, struct wsl_err *err);

/* Reads <directory>/manifest.json; on success ret->info is freed with wsl_checkpoint_info_free().
 */
int wsl_checkpoint_manifest_read(const char *directory, struct wsl_checkpoint_manifest *ret,
                                 struct wsl_err *err);

/* Makes the directory of a job's checkpoints and locks it until *ret_fd is given to close_root().
 * *ret_fd is -1 where the file system has no locks. WSL_EAGAIN: another process writes there. */
int wsl_checkpoint_open_root(const char *root, int *ret_fd, struct wsl_err *err);
void wsl_checkpoint_close_root(int fd);
/* WSL_EEXIST when a checkpoint there is another job's. A damaged manifest does not say whose it is,
 * and is in nobody's way. */
int wsl_checkpoint_check_owner(const char *root, const char *uid, struct wsl_err *err);
/* Removes what killed writers left. Under the lock. */
void wsl_checkpoint_remove_leftovers(const char *root);

/* Writes a new file (never over an old one), synced; tells its size and the XXH3-128 of its bytes.
 * A file that could not be written whole is removed. */
int wsl_safetensors_write_new(const char *path, const struct wsl_named_tensor *tensors,
                              size_t count, struct wsl_checkpoint_file *ret, struct wsl_err *err);

#endif
