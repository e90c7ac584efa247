/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists that grow by one: room doubles, and nobody keeps how much there is.
 */
#ifndef WSL_STORAGE_VOCABULARY_GROW_H
#define WSL_STORAGE_VOCABULARY_GROW_H

#include <stddef.h>
#include <stdlib.h>

/* A list of `count` elements with room for one more; NULL: no memory, and the old one stays. */
static inline void *wsl_grow(void *list, size_t count, size_t size)
{
    if (count < 16 ? count > 0 : (count & (count - 1)) != 0)
        return list;
    return realloc(list, (count < 16 ? 16 : 2 * count) * size);
}

#endif
