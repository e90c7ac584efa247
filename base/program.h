/* SPDX-License-Identifier: Apache-2.0
 *
 * How our programs find each other: by where the running one lies, never by PATH, so that an
 * installation, an unpacked bundle and a build tree each use their own.
 */
#ifndef WSL_BASE_PROGRAM_H
#define WSL_BASE_PROGRAM_H

#include "base/err.h"

#include <limits.h>

/* The absolute path of the program `name` ("wsl-trainer"): beside the running program, in
 * ../libexec/wsl from there, or in the daemon's directory of the same build tree. WSL_ENOENT names
 * the directory that was searched from. Blocks for a few file lookups; any thread. */
int wsl_program_find(const char *name, char ret_path[PATH_MAX], struct wsl_err *err);

#endif
