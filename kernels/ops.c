/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of backends.
 */
#include "kernels/ops.h"

#include <assert.h>
#include <string.h>

/* Fastest first. */
static const struct wsl_ops *const backends[] = {&wsl_ops_cuda, &wsl_ops_cpu, &wsl_ops_ref};
#define BACKENDS (sizeof backends / sizeof backends[0])

static int no_such_backend(const char *name, struct wsl_err *err)
{
    return wsl_fail(err, WSL_ENOENT, "there is no backend \"%s\"; use cuda, cpu or ref", name);
}

static const struct wsl_ops *named(const char *name)
{
    for (size_t i = 0; i < BACKENDS; i++)
        if (strcmp(name, backends[i]->name) == 0)
            return backends[i];
    return NULL;
}

int wsl_ops_find(const char *name, const struct wsl_ops **ret, struct wsl_err *err)
{
    const struct wsl_ops *ops = NULL;
    int rc = 0;

    for (size_t i = 0; i < BACKENDS && !name && !ops; i++)
        if (backends[i]->probe(NULL) == 0)
            ops = backends[i];
    if (name) {
        ops = named(name);
        if (!ops)
            return no_such_backend(name, err);
        rc = ops->probe(err);
    }
    assert(ops); /* ref works everywhere */
    if (rc == 0)
        *ret = ops;
    return rc;
}

int wsl_ops_find_for_sizes(const char *name, const struct wsl_ops **ret, struct wsl_err *err)
{
    const struct wsl_ops *ops;

    if (!name)
        return wsl_ops_find(NULL, ret, err);
    ops = named(name);
    if (!ops)
        return no_such_backend(name, err);
    if (!ops->open)
        return ops->probe(err); /* says that it is not built */
    *ret = ops;
    return 0;
}
