/* SPDX-License-Identifier: Apache-2.0
 *
 * What this machine is: for the Hello of a session. Reads /proc; blocks briefly.
 */
#ifndef WSL_DAEMON_WORKER_FACTS_H
#define WSL_DAEMON_WORKER_FACTS_H

#include <stdint.h>

enum { WSL_FACTS_GPUS_MAX = 64 };

struct wsl_facts_gpu {
    char name[128];
    char uuid[64]; /* "GPU-5f9c...", as CUDA and nvidia-smi have it; empty: not told */
    char bus[32];  /* "0000:3b:00.0" */
};

struct wsl_facts {
    char host[256];
    char cpu_model[128];
    char boot_id[40];
    uint32_t cpus; /* that this process may use */
    uint64_t memory_bytes;
    uint32_t gpu_count;
    struct wsl_facts_gpu gpus[WSL_FACTS_GPUS_MAX]; /* by PCI bus; none without a driver */
};

/* What cannot be read stays zero or empty. All texts are valid UTF-8. */
void wsl_facts_read(struct wsl_facts *ret);

/* The GPUs alone, from the kernel driver's directory (wsl_facts_read: /proc/driver/nvidia/gpus). */
void wsl_facts_read_gpus(const char *directory, struct wsl_facts *ret);

uint64_t wsl_facts_memory_available(void); /* bytes; 0 where the kernel does not tell */

#endif
