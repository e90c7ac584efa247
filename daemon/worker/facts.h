/* SPDX-License-Identifier: Apache-2.0
 *
 * What this machine is: for the Hello of a session. Reads /proc; blocks briefly.
 */
#ifndef WSL_DAEMON_WORKER_FACTS_H
#define WSL_DAEMON_WORKER_FACTS_H

#include <stdint.h>

enum { WSL_FACTS_GPUS_MAX = 64 };

struct wsl_facts {
    char host[256];
    char cpu_model[128];
    char boot_id[40];
    uint32_t cpus; /* that this process may use */
    uint64_t memory_bytes;
    uint32_t gpu_count;
    char gpus[WSL_FACTS_GPUS_MAX][128]; /* names, as the driver lists them; none without a driver */
};

/* What cannot be read stays zero or empty. All texts are valid UTF-8. */
void wsl_facts_read(struct wsl_facts *ret);

uint64_t wsl_facts_memory_available(void); /* bytes; 0 where the kernel does not tell */

#endif
