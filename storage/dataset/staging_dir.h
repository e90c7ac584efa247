/* SPDX-License-Identifier: Apache-2.0
 *
 * How an output appears whole or not at all: it is made in "<output>.partial", under a lock, and
 * gets its name by a rename once everything is on the disk. For data sets and exports.
 *
 * One thread; all block. A process that dies leaves the directory without its lock; the next one
 * that makes the same output takes it over.
 */
#ifndef WSL_STORAGE_DATASET_STAGING_DIR_H
#define WSL_STORAGE_DATASET_STAGING_DIR_H

#include "base/err.h"

#include <limits.h>

/* A path in the directory is at most this much longer than it. */
enum { WSL_STAGING_NAMES_MAX = 300 };

struct wsl_staging_dir {
    char output[PATH_MAX];    /* without slashes at its end */
    char directory[PATH_MAX]; /* "<output>.partial" */
    int lock;                 /* descriptor; -1: not open */
};

/* Says where, and makes nothing. WSL_EINVAL for an output that cannot be made: "", "..", too long. */
int wsl_staging_dir_set(struct wsl_staging_dir *staging, const char *output, struct wsl_err *err);

/* The last part of the output. */
const char *wsl_staging_dir_name(const struct wsl_staging_dir *staging);

/* WSL_EEXIST when the output is there. */
int wsl_staging_dir_check(const struct wsl_staging_dir *staging, struct wsl_err *err);

/* Makes and locks the directory; what is in it stays. WSL_EEXIST when the output is there, or
 * another `who` ("import") makes it; WSL_EUNSUPPORTED where there are no locks. */
int wsl_staging_dir_open(struct wsl_staging_dir *staging, const char *who, struct wsl_err *err);

/* Removes what lies in it, but for one name (or NULL). */
int wsl_staging_dir_clear(const struct wsl_staging_dir *staging, const char *but,
                          struct wsl_err *err);

/* Writes everything in it to the disk, for makers that have not synced each file. */
int wsl_staging_dir_sync(const struct wsl_staging_dir *staging, struct wsl_err *err);

/* Gives what was made its name: the directory itself, or `name` in it. Never over an output that has
 * come into being meanwhile (WSL_EEXIST). Once it returns 0 a power cut does not undo it; on failure
 * there is no output. What lies in it has to be synced before. The lock goes with the directory. */
int wsl_staging_dir_publish(struct wsl_staging_dir *staging, const char *name, struct wsl_err *err);

/* Where the output is there: removes the directory of a process that died between publishing `name`
 * and discarding the rest; any other stays. */
void wsl_staging_dir_remove_published(struct wsl_staging_dir *staging, const char *name);

/* Removes what is left of the directory and gives the lock up; zeroed is fine. */
void wsl_staging_dir_discard(struct wsl_staging_dir *staging);

/* Gives the lock up and leaves the directory for the next one; zeroed is fine. */
void wsl_staging_dir_close(struct wsl_staging_dir *staging);

#endif
