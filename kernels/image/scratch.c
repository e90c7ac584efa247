/* SPDX-License-Identifier: Apache-2.0
 *
 * One block for each purpose; it grows and never shrinks between two trims.
 */
#include "kernels/image/scratch.h"

#include <assert.h>
#include <stdlib.h>

enum { KEEP_BYTES = 16 << 20 };

#define BLOCKS (sizeof((struct wsl_image_scratch *)0)->blocks / sizeof(struct wsl_image_block))

void *wsl_image_scratch_take(struct wsl_image_scratch *scratch, int block, size_t size)
{
    struct wsl_image_block *b = &scratch->blocks[block];

    assert(block >= 0 && (size_t)block < BLOCKS);
    if (size > b->size) {
        free(b->memory);
        b->memory = malloc(size);
        b->size = b->memory ? size : 0;
    }
    return b->memory;
}

static void keep_up_to(struct wsl_image_scratch *scratch, size_t bytes)
{
    for (size_t i = 0; i < BLOCKS; i++)
        if (scratch->blocks[i].size > bytes) {
            free(scratch->blocks[i].memory);
            scratch->blocks[i] = (struct wsl_image_block){0};
        }
}

void wsl_image_scratch_trim(struct wsl_image_scratch *scratch)
{
    keep_up_to(scratch, KEEP_BYTES);
}

void wsl_image_scratch_free(struct wsl_image_scratch *scratch)
{
    keep_up_to(scratch, 0);
}
