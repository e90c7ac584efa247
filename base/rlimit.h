/* SPDX-License-Identifier: Apache-2.0
 *
 * Limits that the operating system sets for this process. Any thread.
 */
#ifndef WSL_BASE_RLIMIT_H
#define WSL_BASE_RLIMIT_H

#include <stdint.h>

/* What daemons ask for: sockets, pipes and files of thousands of peers, far below what a kernel
 * refuses. */
enum { WSL_RLIMIT_DAEMON_FILES = 65536 };

/* Raises the limit on open files to `want`, or to the hard limit if that is lower; never lowers it.
 * Returns the limit that holds now. */
uint64_t wsl_rlimit_raise_open_files(uint64_t want);

/* Once at the start of every main: a write beyond a limit on file sizes (ulimit -f) then fails with
 * EFBIG, WSL_ENOSPC here, instead of ending the process with SIGXFSZ and its files half written. */
void wsl_rlimit_file_size_is_an_error(void);

#endif
