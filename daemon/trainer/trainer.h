/* SPDX-License-Identifier: Apache-2.0
 *
 * One trainer, from its assignment to its last word. The main thread is the step thread.
 */
#ifndef WSL_DAEMON_TRAINER_TRAINER_H
#define WSL_DAEMON_TRAINER_TRAINER_H

#include "base/err.h"
#include "kernels/cuda_settings.h"
#include "wsl/v1/agent.pb-c.h"

/* What the command line says: of this machine, not of the job. */
struct wsl_trainer_options {
    uint32_t timeout_ms; /* of the rendezvous, and of each operation of the collective */
    struct wsl_cuda_settings cuda;
};

struct wsl_trainer_end {
    Wsl__V1__TrainerOutcome outcome;
    char reason[600]; /* one line */
};

/* Trains until the job ends, is stopped, or fails. The current directory is the run directory;
 * SIGTERM and SIGINT are blocked. The assignment's spec gets its defaults filled in. */
void wsl_trainer_run(Wsl__V1__Assignment *assignment, const struct wsl_trainer_options *options,
                     struct wsl_trainer_end *ret);

#endif
