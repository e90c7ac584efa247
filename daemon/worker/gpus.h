/* SPDX-License-Identifier: Apache-2.0
 *
 * Which GPUs a worker gives to its trainers: one each, named to the trainer by
 * CUDA_VISIBLE_DEVICES.
 *
 * A GPU goes by what CUDA calls it: an element of the CUDA_VISIBLE_DEVICES that the worker was
 * started with (whatever that is: a number, a UUID, a MIG device), or else the UUID that the kernel
 * driver reports. Numbers of the machine's GPUs are those of nvidia-smi: by PCI bus.
 * CUDA C++ Programming Guide, "CUDA Environment Variables", says what the variable may hold.
 *
 * Pure but for wsl_gpus_lock().
 */
#ifndef WSL_DAEMON_WORKER_GPUS_H
#define WSL_DAEMON_WORKER_GPUS_H

#include "daemon/worker/facts.h"
#include "daemon/worker/table.h"

#include <stdbool.h>

struct wsl_gpus {
    /* Trainers' CUDA_VISIBLE_DEVICES is set; with count 0 to nothing. False: no GPU is known of,
     * and the variable stays as it is. */
    bool assigned;
    uint32_t count;
    char ids[WSL_FACTS_GPUS_MAX][WSL_GPU_ID_SIZE];
};

/* `visible`: the worker's own CUDA_VISIBLE_DEVICES, NULL when it has none. `wanted`: "all", "none",
 * or a list of numbers from 0 (into `visible`, or else into the machine's GPUs) and UUIDs or
 * beginnings of UUIDs. WSL_EINVAL names the element and what there is. */
int wsl_gpus_choose(struct wsl_gpus *ret, const struct wsl_facts *facts, const char *visible,
                    const char *wanted, struct wsl_err *err);

/* Keeps to the chosen GPUs what is said of the machine in a Hello. */
void wsl_gpus_limit_facts(const struct wsl_gpus *gpus, struct wsl_facts *facts);

/* The one that fewest running trainers of the table have, the first of equals; static or of `gpus`,
 * "" when none is assigned. */
const char *wsl_gpus_pick(const struct wsl_gpus *gpus, const struct wsl_table *table);

/* Takes the GPUs for this process among the workers of the machine (of its network namespace), for
 * as long as it lives. WSL_EEXIST names one that another worker has. A GPU that two workers know by
 * different names is not noticed. */
int wsl_gpus_lock(const struct wsl_gpus *gpus, struct wsl_err *err);

#endif
