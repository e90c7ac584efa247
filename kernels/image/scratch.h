/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that a thread keeps from one decode to the next: to ask the system for it anew costs as
 * much as a tenth of the work.
 */
#ifndef WSL_KERNELS_IMAGE_SCRATCH_H
#define WSL_KERNELS_IMAGE_SCRATCH_H

#include <stddef.h>

/* Zeroed is empty. Used by one thread at a time. A decode gives back at once what is above 16 MiB.
 */
struct wsl_image_scratch {
    struct wsl_image_block {
        void *memory;
        size_t size;
    } blocks[4];
};

/* Frees everything; the scratch is empty and may be used again. */
void wsl_image_scratch_free(struct wsl_image_scratch *scratch);

/* ---- inside kernels/image ---- */

enum { WSL_SCRATCH_TABLES, WSL_SCRATCH_SAMPLES, WSL_SCRATCH_BYTES, WSL_SCRATCH_PIXELS };

/* At least `size` bytes of any content, the scratch's until the same block is taken again; NULL: no
 * memory. */
void *wsl_image_scratch_take(struct wsl_image_scratch *scratch, int block, size_t size);

/* Gives blocks above 16 MiB back to the system. */
void wsl_image_scratch_trim(struct wsl_image_scratch *scratch);

#endif
