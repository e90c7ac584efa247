/* SPDX-License-Identifier: Apache-2.0
 *
 * What a test may ask of the fake GPU (fake_runtime.c, fake_kernels.c): make calls fail,
 * and see what ran. A stream that captures runs nothing: its jobs become a graph, and every launch
 * of the graph runs them again, with the arguments of the capture.
 */
#ifndef WSL_TESTS_GPU_FAKE_GPU_H
#define WSL_TESTS_GPU_FAKE_GPU_H

#include <stdbool.h>
#include <stddef.h>

#define FAKE_GPU_TRACE 4096
#define FAKE_GPU_CALLS 65536

struct fake_gpu {
    /* The call with this number, from 1, fails; 0: none. */
    int fail_at;
    /* Every call of this name fails. */
    const char *fail_name;

    int calls;          /* of CUDA, cuDNN and kernels since it was zeroed */
    const char *failed; /* the name of the last call that was made to fail; NULL: none was */

    int captures, graphs, graph_launches; /* begun; alive; done */
    int alone;                            /* jobs that ran outside of a graph */
    /* What ran, a sum over name and pointers of each job, in order; the count goes on beyond. */
    unsigned long trace[FAKE_GPU_TRACE];
    int traced;
};

extern struct fake_gpu fake_gpu;

/* The names of the calls that fake_gpu.calls counts, of the first so many. */
extern const char *fake_gpu_calls[FAKE_GPU_CALLS];

/* Shall this call fail? Counts it. */
bool fake_gpu_fails(const char *name);

/* Runs a job now, or puts a copy of it into the graph that is being captured. What it works on, for
 * the trace. */
struct fake_gpu_job {
    const char *name;
    void (*run)(const void *data);
    const void *data;
    size_t size;
    const void *const *pointers;
    int pointer_count;
};
void fake_gpu_run(const struct fake_gpu_job *job);

/* Notes what runs now and can be in no graph. */
void fake_gpu_run_alone(const char *name);

#endif
