/* SPDX-License-Identifier: Apache-2.0
 *
 * Locks that keep a second process out of a directory (or, by file.h, away from a file). They are
 * advisory, taken without waiting, and held for as long as the descriptor stays open: the kernel
 * drops them when the process dies. Any thread; the calls block as long as a system call does.
 */
#ifndef WSL_BASE_DIRLOCK_H
#define WSL_BASE_DIRLOCK_H

#include "base/err.h"

/* Opens and locks a directory that exists. WSL_EEXIST: another process holds it, or has just renamed
 * or removed it. WSL_EUNSUPPORTED: its file system has no locks (NFS without its lock service).
 * Other failures are those of opening it. The line names the directory and the reason. */
int wsl_dirlock_take(const char *directory, int *ret_fd, struct wsl_err *err);

/* The lock itself, for a descriptor that is open already; `path` is for the line. */
int wsl_dirlock_lock(int fd, const char *path, struct wsl_err *err);

#endif
