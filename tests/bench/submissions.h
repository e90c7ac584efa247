/* SPDX-License-Identifier: Apache-2.0
 *
 * Jobs for a coordinator under measurement: submitted over gRPC, and ended in its store.
 */
#ifndef WSL_TESTS_BENCH_SUBMISSIONS_H
#define WSL_TESTS_BENCH_SUBMISSIONS_H

#include "tests/bench/coordinator_process.h"

struct submissions {
    size_t count;
    size_t in_flight; /* calls at a time, at most 256 */
    size_t batch;     /* submissions in each call; 0: one, by Submit instead of SubmitBatch */
    double *latency;  /* filled in: seconds of each call; the caller's to free */
    size_t answers;   /* calls */
};

/* Submits them under names that were not used before; a refusal ends the program. */
void submit(struct coordinator_process *c, struct submissions *s);

/* Makes every queued job of a store, which no coordinator uses now, a cancelled one. */
void end_all_jobs(const char *state, size_t count);

#endif
