/* SPDX-License-Identifier: Apache-2.0
 *
 * Stands in for NCCL and the CUDA runtime where there is no GPU: ranks are threads, GPU memory is
 * ordinary memory, a stream is a thread that works off a queue. Like NCCL it never notices that a
 * rank is gone: a sum waits until all ranks are in it or its own communicator is aborted.
 */
#ifndef WSL_TESTS_UNIT_FAKE_NCCL_H
#define WSL_TESTS_UNIT_FAKE_NCCL_H

#include <stdbool.h>

/* Do pointers that cudaMalloc did not give count as GPU memory? Before any collective is open. */
void fake_nccl_take_all_for_device(bool all);

/* Frees what communicators leave. After every collective is closed; fails the program when a kernel
 * of an aborted communicator still runs. */
void fake_nccl_reset(void);

#endif
