/* SPDX-License-Identifier: Apache-2.0
 *
 * The tables of names: implementations, those that fit a backend, dtypes of gradients.
 */
#include "kernels/collective/implementation.h"

#include <string.h>

static const struct wsl_collective_implementation *const implementations[] = {
    &wsl_collective_gloo,
    &wsl_collective_nccl,
    &wsl_collective_local,
};

static const struct {
    const char *backend, *implementation;
} choices[] = {
    {"cuda", "nccl"},
    {"cpu", "gloo"},
    {"ref", "gloo"},
};

const char *wsl_collective_for(const char *backend)
{
    for (size_t i = 0; i < sizeof(choices) / sizeof(*choices); i++)
        if (strcmp(choices[i].backend, backend) == 0)
            return choices[i].implementation;
    return "gloo";
}

int wsl_reduce_dtype_by_name(const char *name, enum wsl_reduce_dtype *ret, struct wsl_err *err)
{
    if (!name || !*name || strcmp(name, "f32") == 0)
        *ret = WSL_REDUCE_F32;
    else if (strcmp(name, "bf16") == 0)
        *ret = WSL_REDUCE_BF16;
    else
        return wsl_fail(err, WSL_EINVAL, "gradient_dtype: \"%s\"; there are f32 and bf16", name);
    return 0;
}

int wsl_collective_find(const char *name, const struct wsl_collective_implementation **ret,
                        struct wsl_err *err)
{
    for (size_t i = 0; i < sizeof(implementations) / sizeof(*implementations); i++) {
        if (strcmp(implementations[i]->name, name ? name : "gloo") != 0)
            continue;
        *ret = implementations[i];
        return 0;
    }
    return wsl_fail(err, WSL_EINVAL,
                    "collective: no implementation \"%s\"; there are gloo, nccl and local", name);
}
