/* SPDX-License-Identifier: Apache-2.0
 *
 * A memory map is only as good as its file: touching a page past the end of a file that shrank, or
 * one the disk cannot read, raises SIGBUS. This turns it into a value for the work it is given, and
 * leaves every other SIGBUS of the process as it was.
 */
#ifndef WSL_STORAGE_DATASET_SIGBUS_GUARD_H
#define WSL_STORAGE_DATASET_SIGBUS_GUARD_H

#include <stdbool.h>

/* Puts the handler for SIGBUS in place; it passes on what is not its own to the action from before.
 * Again is fine, and needed only when something else took the signal since. Any thread. */
void wsl_sigbus_guard_install(void);

/* Runs work(context) and returns true, or returns false when it touched memory that is not there;
 * what it wrote until then stays. The work is left by siglongjmp: it must hold no lock, and what it
 * allocated is lost. Any thread; does not nest. About 20 ns. */
bool wsl_sigbus_guard_run(void (*work)(void *context), void *context);

#endif
