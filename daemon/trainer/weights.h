/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a net's weights come from and how they leave it: fresh, from a checkpoint or a file, to the
 * other ranks, into a copy that can be written while training goes on. Step thread.
 */
#ifndef WSL_DAEMON_TRAINER_WEIGHTS_H
#define WSL_DAEMON_TRAINER_WEIGHTS_H

#include "base/err.h"
#include "kernels/collective/collective.h"
#include "kernels/model/net.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/dataset/dataset.h"
#include "wsl/v1/agent.pb-c.h"

struct wsl_metrics;

/* Rank 0: fills the net as the assignment says, and says so (wsl_say).
 *  - resume: weights, statistics, momentum and *ret_step of that checkpoint. When it is damaged,
 *    the newest whole one beside it, with a note. WSL_EINVAL when it is of another model, data set
 *    or batch, WSL_ECORRUPT when no whole one is left.
 *  - else init (a checkpoint directory, a directory of them, or a .safetensors file): the backbone
 *    from there, all of it and nothing else (wsl_model_file_load); the head too when the
 *    checkpoint's class names are this data set's, in its order, else fresh. A .safetensors file
 *    names no classes: its head is never taken.
 *  - else fresh weights from the job's seed. */
int wsl_weights_load(struct wsl_net *net, const Wsl__V1__Assignment *assignment,
                     const struct wsl_dataset *dataset, struct wsl_metrics *metrics,
                     uint64_t *ret_step, struct wsl_err *err);

/* The other ranks: only rank 0 reads what a job starts from, but any worker may be given rank 0 when
 * the job starts again before its first checkpoint. Notes a path that is missing here. */
void wsl_weights_look_for_init(const Wsl__V1__Assignment *assignment, struct wsl_metrics *metrics);

/* Gives rank 0's parameters, momentum, statistics and step to all; blocks. */
int wsl_weights_broadcast(struct wsl_net *net, struct wsl_collective *collective, uint64_t *step,
                          struct wsl_err *err);

/* A copy of all tensors in the canonical layout, made once, taken often. */
struct wsl_snapshot {
    struct wsl_named_tensor *model, *momentum; /* names belong to the net */
    size_t model_count, momentum_count;
};
int wsl_snapshot_open(struct wsl_snapshot *ret, struct wsl_net *net, struct wsl_err *err);
void wsl_snapshot_take(struct wsl_snapshot *snapshot, struct wsl_net *net);
void wsl_snapshot_close(struct wsl_snapshot *snapshot); /* zeroed is fine */

#endif
