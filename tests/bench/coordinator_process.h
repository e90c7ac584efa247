/* SPDX-License-Identifier: Apache-2.0
 *
 * A coordinator as a process of its own under measurement: started on one core, killed, asked for
 * its CPU time and memory. Failures end the program with one line.
 */
#ifndef WSL_TESTS_BENCH_COORDINATOR_PROCESS_H
#define WSL_TESTS_BENCH_COORDINATOR_PROCESS_H

#include "proto/rpc/client.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct coordinator_process {
    const char *program; /* path of wsl-coordinator */
    const char *state;   /* its state directory, which must exist */
    int core;            /* that it is pinned to; -1: none */
    pid_t pid;           /* 0: it does not run */
    struct wsl_client *client;
};

/* Starts it and connects; returns seconds from exec to the first answer. */
double coordinator_start(struct coordinator_process *c);
/* SIGKILL, and waits. Fine when it does not run. */
void coordinator_kill(struct coordinator_process *c);
/* Removes the state directory's contents: the next start begins with nothing. */
void coordinator_wipe(const struct coordinator_process *c);

double coordinator_cpu_seconds(const struct coordinator_process *c);
/* Its own memory, without file pages that the kernel can drop at any time. */
size_t coordinator_memory(const struct coordinator_process *c);
size_t coordinator_store_bytes(const struct coordinator_process *c); /* store.mdb */

void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
double bench_own_cpu_seconds(void);
void bench_pin(int core); /* the calling process; -1: not */
/* Sorts; the value below which this share of them lies. */
double bench_percentile(double *values, size_t count, double share);

#endif
