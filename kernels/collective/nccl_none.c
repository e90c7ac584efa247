/* SPDX-License-Identifier: Apache-2.0
 *
 * Stands in for NCCL in builds without it: only its name, and why it cannot be had.
 */
#include "kernels/collective/implementation.h"

static int probe(struct wsl_collective_setup *setup, struct wsl_err *err)
{
    (void)setup;
    return wsl_fail(err, WSL_EUNSUPPORTED,
                    "collective: this build has no NCCL; build where the CUDA toolkit and nccl.h "
                    "are, or use the backend cpu");
}

const struct wsl_collective_implementation wsl_collective_nccl = {.name = "nccl", .probe = probe};
