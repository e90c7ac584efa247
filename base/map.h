/* SPDX-License-Identifier: Apache-2.0
 *
 * A hash table of entries that lie in their owners' structs: chained, growing, never shrinking. The
 * caller hashes, and compares what the hash stands for: several entries may have one hash. One
 * thread. Nothing is random: the same calls give the same order of entries.
 */
#ifndef WSL_BASE_MAP_H
#define WSL_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct wsl_map_entry {
    struct wsl_map_entry *next; /* in its bucket */
    uint64_t hash;              /* set by the caller before the entry is added */
};

/* All zero: empty. */
struct wsl_map {
    struct wsl_map_entry **buckets;
    size_t bucket_count; /* a power of two, or 0 */
    size_t count;
};

/* WSL_ENOMEM only while the map is empty; later on, without memory it grows slow, not full. */
int wsl_map_add(struct wsl_map *map, struct wsl_map_entry *entry);
void wsl_map_remove(struct wsl_map *map, struct wsl_map_entry *entry); /* it must be in there */

/* The entries of a hash, the one added last first; NULL at the end. */
struct wsl_map_entry *wsl_map_first(const struct wsl_map *map, uint64_t hash);
struct wsl_map_entry *wsl_map_next(const struct wsl_map_entry *entry);

void wsl_map_free(struct wsl_map *map); /* the table, not the entries */

/* FNV-1a, 64 bits. */
uint64_t wsl_hash_text(const char *text);

#endif
