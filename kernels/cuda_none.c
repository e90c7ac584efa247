/* SPDX-License-Identifier: Apache-2.0
 *
 * Stands in for the CUDA backend in builds without it: only its name, and why it cannot be had. */
#include "kernels/ops.h"

static int probe(struct wsl_err *err)
{
    return wsl_fail(err, WSL_EUNSUPPORTED,
                    "this build has no cuda backend; use the backend cpu, or ref");
}

const struct wsl_ops wsl_ops_cuda = {.name = "cuda", .probe = probe};
