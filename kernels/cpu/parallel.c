/* SPDX-License-Identifier: Apache-2.0
 *
 * OpenMP: the parts of an operation on the threads of a device, and a processor for each thread.
 */
#include "kernels/cpu/cpu.h"

#include <assert.h>
#include <omp.h>
#include <sched.h>
#include <stdatomic.h>

/* `done` orders a part behind what the caller did before and before what it does after. OpenMP does
 * so too, but in ways that ThreadSanitizer does not see. */
static void run_part(wsl_cpu_part_fn fn, const void *args, size_t part, atomic_size_t *done)
{
    (void)atomic_load_explicit(done, memory_order_acquire);
    fn(args, part);
    atomic_fetch_add_explicit(done, 1, memory_order_release);
}

void wsl_cpu_parallel(const struct wsl_device *dev, size_t parts, wsl_cpu_part_fn fn,
                      const void *args)
{
    int threads = dev->setup.threads;
    atomic_size_t done = 0;
    size_t ended;

    if (threads == 1 || parts == 1) {
        for (size_t part = 0; part < parts; part++)
            fn(args, part);
        return;
    }
    atomic_store_explicit(&done, 0, memory_order_release);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (size_t part = 0; part < parts; part++)
        run_part(fn, args, part, &done);
    ended = atomic_load_explicit(&done, memory_order_acquire);
    assert(ended == parts);
}

int wsl_cpu_thread(void)
{
    return omp_get_thread_num();
}

void wsl_cpu_part(size_t rows, size_t parts, size_t part, size_t *ret_begin, size_t *ret_end)
{
    *ret_begin = rows * part / parts;
    *ret_end = rows * (part + 1) / parts;
}

/* The n-th processor of a set. */
static int processor_of(const cpu_set_t *set, int n)
{
    int cpu = 0;

    while (!CPU_ISSET(cpu, set) || n-- > 0)
        cpu++;
    return cpu;
}

void wsl_cpu_pin_threads(struct wsl_device *dev)
{
    pthread_t caller = pthread_self();
    int threads = dev->setup.threads;
    cpu_set_t allowed;

    if (dev->pinned && pthread_equal(dev->pinned_for, caller))
        return;
    dev->pinned = true;
    dev->pinned_for = caller;
    if (threads == 1 || sched_getaffinity(0, sizeof allowed, &allowed) ||
        CPU_COUNT(&allowed) != threads)
        return;
#pragma omp parallel num_threads(threads)
    if (omp_get_thread_num() > 0) {
        cpu_set_t own;

        CPU_ZERO(&own);
        CPU_SET(processor_of(&allowed, omp_get_thread_num()), &own);
        (void)sched_setaffinity(0, sizeof own, &own); /* without it: as before */
    }
}
