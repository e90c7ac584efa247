/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes checkpoints on a thread of its own, "checkpoint", from a copy taken on the step thread. A
 * write that fails is noted and training goes on with the older checkpoint; the last one is tried
 * again. One write at a time: the next save waits for the one before. Step thread.
 */
#ifndef WSL_DAEMON_TRAINER_SAVER_H
#define WSL_DAEMON_TRAINER_SAVER_H

#include "base/err.h"
#include "kernels/model/net.h"
#include "storage/dataset/dataset.h"
#include "wsl/v1/agent.pb-c.h"

#include <stdbool.h>
#include <stdint.h>

struct wsl_metrics;
struct wsl_saver;

/* Everything given stays open for the saver's life. Opening makes the checkpoint directory and
 * tries, before any step, that a checkpoint can be written there: errors as wsl_checkpoint_try. */
struct wsl_saver_setup {
    struct wsl_net *net;
    const struct wsl_net_config *config;
    const Wsl__V1__Assignment *assignment;
    const struct wsl_dataset *dataset;
    struct wsl_metrics *metrics;
};
int wsl_saver_open(struct wsl_saver **ret, const struct wsl_saver_setup *setup,
                   struct wsl_err *err);

/* Copies the net and starts to write it as the checkpoint after `step` steps. Waits for the write
 * before, if it still runs. */
void wsl_saver_save(struct wsl_saver *saver, uint64_t step);

/* Waits until the last save is on the disk. When it cannot be written, says so, keeps the copy and
 * tries again, from one second apart to thirty, for `retry_seconds` or until `stopped` says true
 * (NULL: never). 0, or how the last try failed. */
struct wsl_saver_patience {
    uint32_t retry_seconds;
    bool (*stopped)(void *context);
    void *context;
};
int wsl_saver_finish(struct wsl_saver *saver, const struct wsl_saver_patience *patience,
                     struct wsl_err *err);

void wsl_saver_close(struct wsl_saver *saver); /* waits for a write; NULL is fine */

#endif
