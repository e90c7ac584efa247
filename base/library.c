/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared libraries that are loaded when they are first needed: dlopen and dlsym with errors as
 * values.
 */
#include "base/library.h"

#include <dlfcn.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static void *open_in(const char *directories, const char *name)
{
    char path[PATH_MAX];
    void *library = NULL;

    while (!library && *directories) {
        size_t length = strcspn(directories, ":");
        int n = snprintf(path, sizeof path, "%.*s/%s", (int)length, directories, name);

        if (length > 0 && n < (int)sizeof path)
            library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        directories += length + (directories[length] == ':');
    }
    return library;
}

int wsl_library_load(const char *name, const char *directories,
                     const struct wsl_library_symbol *symbols, size_t count, struct wsl_err *err)
{
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    char why[256];

    if (!library) {
        const char *text = dlerror();

        snprintf(why, sizeof why, "%s", text ? text : "no reason given");
        library = open_in(directories, name);
    }
    if (!library)
        return wsl_fail(err, WSL_ENOENT, "%s", why);
    for (size_t i = 0; i < count; i++) {
        *symbols[i].ret = dlsym(library, symbols[i].name);
        if (!*symbols[i].ret)
            return wsl_fail(err, WSL_EUNSUPPORTED, "%s has no %s: it is too old", name,
                            symbols[i].name);
    }
    return 0;
}
