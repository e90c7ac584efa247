/* SPDX-License-Identifier: Apache-2.0
 *
 * Who this worker is, whatever its name, address and process: an id drawn once and kept in its state
 * directory. The directory's lock sees to it that one daemon has it at a time.
 */
#ifndef WSL_DAEMON_WORKER_IDENTITY_H
#define WSL_DAEMON_WORKER_IDENTITY_H

#include "base/err.h"

enum { WSL_IDENTITY_SIZE = 32 + 1 }; /* 128 bits in hexadecimal */

/* Reads <state>/id; draws and writes it, durably, when there is none. The caller holds the
 * directory's lock. Blocks on the disk. WSL_ECORRUPT: the file holds something else. */
int wsl_identity_read(const char *state, char ret_id[WSL_IDENTITY_SIZE], struct wsl_err *err);

#endif
