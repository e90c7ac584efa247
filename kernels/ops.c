/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/ops.h"

#include <string.h>

/* Fastest first. */
static const struct wsl_ops *const backends[] = {&wsl_ops_cuda, &wsl_ops_cpu, &wsl_ops_ref};
#define BACKENDS (sizeof backends / sizeof backends[0])

int wsl_ops_find(const char *name, const struct wsl_ops **ret, struct wsl_err *err)
{
    for (size_t i = 0; i < BACKENDS; i++) {
        int rc;

        if (name && strcmp(name, backends[i]->name) != 0)
            continue;
        rc = backends[i]->probe(name ? err : NULL);
        if (rc == 0) {
            *ret = backends[i];
            return 0;
        }
        if (name)
            return rc;
    }
    return wsl_fail(err, WSL_ENOENT, "there is no backend \"%s\"; use cuda, cpu or ref",
                    name ? name : "");
}
