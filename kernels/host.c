/* SPDX-License-Identifier: Apache-2.0
 *
 * mmap, because it gives zeroed pages and gives them back.
 */
#include "kernels/host.h"

#include <assert.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

static double gib(size_t bytes)
{
    return (double)bytes / (1024.0 * 1024 * 1024);
}

static size_t machine_bytes(void)
{
    struct sysinfo info;

    return sysinfo(&info) == 0 ? (size_t)info.totalram * info.mem_unit : SIZE_MAX;
}

int wsl_host_alloc(struct wsl_host_memory *memory, size_t bytes, const char *what, void **ret,
                   struct wsl_err *err)
{
    size_t total = machine_bytes();
    void *data = MAP_FAILED;

    assert(memory->count < WSL_HOST_BLOCKS);
    if (bytes == 0)
        bytes = 64;
    if (bytes <= total && memory->bytes <= total - bytes)
        data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return wsl_fail(err, WSL_ENOMEM,
                        "%s need %.2f GiB beside %.2f GiB already taken, and this machine has %.2f "
                        "GiB; use a smaller batch, image size or net",
                        what, gib(bytes), gib(memory->bytes), gib(total));
    /* Fewer page faults and TLB misses; only advice. */
    madvise(data, bytes, MADV_HUGEPAGE);
    memory->blocks[memory->count].data = data;
    memory->blocks[memory->count].bytes = bytes;
    memory->count++;
    memory->bytes += bytes;
    *ret = data;
    return 0;
}

void wsl_host_fini(struct wsl_host_memory *memory)
{
    for (size_t i = 0; i < memory->count; i++)
        munmap(memory->blocks[i].data, memory->blocks[i].bytes);
    memory->count = 0;
    memory->bytes = 0;
}
