/* SPDX-License-Identifier: Apache-2.0
 *
 * LMDB's result codes as ours.
 */
#ifndef WSL_STORAGE_DATASET_LMDB_ERR_H
#define WSL_STORAGE_DATASET_LMDB_ERR_H

#include "base/err.h"

/* Fills *err with "<verb> <path>: <what LMDB says>" and returns the code that fits. `lmdb_code` is
 * not 0. */
int wsl_lmdb_fail(struct wsl_err *err, int lmdb_code, const char *verb, const char *path);

#endif
