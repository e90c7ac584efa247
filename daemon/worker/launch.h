/* SPDX-License-Identifier: Apache-2.0
 *
 * Starting a trainer: its run directory, its files, the process in a session of its own. Blocks on
 * the disk for a few small synced files.
 */
#ifndef WSL_DAEMON_WORKER_LAUNCH_H
#define WSL_DAEMON_WORKER_LAUNCH_H

#include "daemon/worker/process.h"
#include "daemon/worker/table.h"

/* What all trainers of this daemon have in common; absolute paths, valid as long as it runs. */
struct wsl_launch {
    const char *trainer;          /* the program */
    const char *const *arguments; /* more of them, NULL after the last; NULL: none */
    const char *trainers;         /* directory of the run directories */
    const char *checkpoints;      /* directory of the jobs' checkpoint directories */
    bool assigns_gpus;            /* each trainer is given one, or none (gpus.h) */
};

/* <trainers>/<job>-<generation>-<rank>, and back. */
int wsl_launch_directory(const struct wsl_launch *launch, const struct wsl_trainer_key *key,
                         char ret[4096], struct wsl_err *err);
bool wsl_launch_key_of_name(const char *name, struct wsl_trainer_key *ret);

/* Makes the run directory with assignment.pb. WSL_EEXIST when there is one from before (it is left
 * alone); after another failure nothing is left of it. */
int wsl_launch_prepare(const struct wsl_launch *launch, const struct wsl_trainer_key *key,
                       const Wsl__V1__Assignment *assignment, const char *directory,
                       struct wsl_err *err);

/* Starts the program in it: own session, standard output and error appended to `log`, no other
 * descriptor, a small environment; and notes it in the file `process`. `gpu` is its
 * CUDA_VISIBLE_DEVICES ("": none) where GPUs are assigned. On failure nothing runs. *ret_pidfd is
 * the caller's. */
int wsl_launch_spawn(const struct wsl_launch *launch, const char *directory, const char *gpu,
                     struct wsl_process *ret, int *ret_pidfd, struct wsl_err *err);

#endif
