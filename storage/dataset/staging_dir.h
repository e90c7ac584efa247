/* SPDX-License-Identifier: Apache-2.0
 *
 * The directory "<output>.partial" in which a data set is made. Internal to storage/dataset.
 */
#ifndef WSL_STORAGE_DATASET_STAGING_DIR_H
#define WSL_STORAGE_DATASET_STAGING_DIR_H

#include "base/err.h"

/* Makes the directory and locks it; the lock goes with the descriptor, or the process. WSL_EEXIST
 * when another `who` ("import") has it. */
int wsl_staging_dir_lock(const char *directory, const char *who, int *ret_lock,
                         struct wsl_err *err);

/* Removes what lies in it, but for one name (or NULL). The directory stays: its lock is ours. */
int wsl_staging_dir_clear(const char *directory, const char *but, struct wsl_err *err);

#endif
