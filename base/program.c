/* SPDX-License-Identifier: Apache-2.0
 *
 * Where our other programs lie, seen from the running one.
 */
#include "base/program.h"

#include "base/file.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int own_directory(char ret[PATH_MAX], struct wsl_err *err)
{
    ssize_t n = readlink("/proc/self/exe", ret, PATH_MAX - 1);

    if (n < 0)
        return wsl_fail_errno(err, "cannot read /proc/self/exe");
    ret[n] = '\0';
    *strrchr(ret, '/') = '\0';
    return 0;
}

static bool is_there(const char *directory, const char *place, const char *name,
                     char ret_path[PATH_MAX])
{
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s/%s%s", directory, place, name);

    return n > 0 && n < (int)sizeof path && access(path, X_OK) == 0 && realpath(path, ret_path);
}

int wsl_program_find(const char *name, char ret_path[PATH_MAX], struct wsl_err *err)
{
    const char *part = strchr(name, '-') ? strchr(name, '-') + 1 : name;
    char self[PATH_MAX], built[96];
    int r = own_directory(self, err);

    if (r < 0)
        return r;
    snprintf(built, sizeof built, "../../daemon/%.64s/", part); /* build/daemon/worker/wsl-worker */
    if (is_there(self, "", name, ret_path) || is_there(self, "../libexec/wsl/", name, ret_path) ||
        is_there(self, built, name, ret_path))
        return 0;
    return wsl_fail(err, WSL_ENOENT, "no %s in %s or %s/../libexec/wsl", name, self, self);
}
