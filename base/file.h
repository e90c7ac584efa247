/* SPDX-License-Identifier: Apache-2.0
 *
 * Files: whole reads with a limit, durable whole writes, directories. All block; none is for a loop
 * thread except on small files.
 */
#ifndef WSL_BASE_FILE_H
#define WSL_BASE_FILE_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* Appends the whole file to *out. WSL_ELIMIT when it is larger than `limit` bytes. On an error *out
 * is as it was; an empty one holds no memory. */
int wsl_file_read(const char *path, size_t limit, struct wsl_buf *out, struct wsl_err *err);

/* Replaces `path` with these bytes so that a crash at any moment leaves the old file or the new
 * one: temporary file in the same directory, fsync, rename, fsync of the directory. */
int wsl_file_write_atomic(const char *path, const void *bytes, size_t size, struct wsl_err *err);

/* Makes a directory and its parents (mode 0755); fine when it exists. */
int wsl_file_make_directories(const char *path, struct wsl_err *err);

/* fsync of a directory, so that names created or renamed in it survive a power cut. */
int wsl_file_sync_directory(const char *path, struct wsl_err *err);
/* The same for the directory that `path` lies in. */
int wsl_file_sync_parent(const char *path, struct wsl_err *err);

/* Removes a file or a whole directory tree; does not follow links; fine when it does not exist. */
int wsl_file_remove_tree(const char *path, struct wsl_err *err);

bool wsl_file_exists(const char *path);

/* "a/b" from "a" and "b" (b absolute: b alone). Returns WSL_ELIMIT when it does not fit. */
int wsl_file_join(char *ret_path, size_t size, const char *directory, const char *name);

/* Takes an exclusive lock on `path` (created when missing) for as long as the returned descriptor
 * stays open (dirlock.h). WSL_EEXIST when another process holds it; WSL_EUNSUPPORTED where the file
 * system has no locks. */
int wsl_file_lock(const char *path, int *ret_fd, struct wsl_err *err);

#endif
