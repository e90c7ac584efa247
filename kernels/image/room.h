/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that a thread keeps between decodes (struct wsl_image_room of image.h). Internal to
 * kernels/image.
 */
#ifndef WSL_KERNELS_IMAGE_ROOM_H
#define WSL_KERNELS_IMAGE_ROOM_H

#include "kernels/image/image.h"

enum { WSL_ROOM_TABLES, WSL_ROOM_SAMPLES, WSL_ROOM_BYTES, WSL_ROOM_PIXELS };

/* At least `size` bytes of any content, the room's until the same block is taken again; NULL: no
 * memory. */
void *wsl_image_room_take(struct wsl_image_room *room, int block, size_t size);

#endif
