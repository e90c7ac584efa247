/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared libraries that are loaded when they are first needed, so that a program starts without
 * them. Any thread; blocks on the disk.
 */
#ifndef WSL_BASE_LIBRARY_H
#define WSL_BASE_LIBRARY_H

#include "base/err.h"

#include <stddef.h>

struct wsl_library_symbol {
    const char *name;
    void **ret; /* where its address goes */
};

/* Loads `name` ("libcudnn.so.9") from where the dynamic loader looks (LD_LIBRARY_PATH, the system's
 * directories), or else from the first of `directories` (colon-separated) that has it, and fills
 * in all `count` symbols. The library stays loaded until the process ends. WSL_ENOENT, with the
 * loader's words: it cannot be loaded. WSL_EUNSUPPORTED: it lacks one of the symbols; what is in
 * the `ret`s then is unspecified. */
int wsl_library_load(const char *name, const char *directories,
                     const struct wsl_library_symbol *symbols, size_t count, struct wsl_err *err);

#endif
