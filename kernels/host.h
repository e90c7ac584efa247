/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory of the backends that compute on the host: zeroed pages, kept in a list, given back all at
 * once.
 */
#ifndef WSL_KERNELS_HOST_H
#define WSL_KERNELS_HOST_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

#define WSL_HOST_BLOCKS 16 /* a net takes 10 at most */

struct wsl_host_memory {
    struct {
        void *data;
        size_t bytes;
    } blocks[WSL_HOST_BLOCKS];
    size_t count;
    size_t bytes; /* of all blocks */
};

/* Adds a zeroed block aligned to a page; bytes 0 gives a small one. WSL_ENOMEM when the machine
 * does not have that much memory (the kernel would promise it and kill us later), naming `what`. */
int wsl_host_alloc(struct wsl_host_memory *memory, size_t bytes, const char *what, void **ret,
                   struct wsl_err *err);
void wsl_host_fini(struct wsl_host_memory *memory);

#endif
