/* SPDX-License-Identifier: Apache-2.0
 *
 * The hash table; see the header. A bucket's list holds newer entries before older ones, and
 * growing keeps that order.
 */
#include "base/map.h"

#include "base/err.h"

#include <assert.h>
#include <stdlib.h>

enum { BUCKETS_MIN = 64 };

/* Fibonacci hashing: the upper bits count, so that hashes in sequence spread. */
static struct wsl_map_entry **bucket_of(struct wsl_map_entry **buckets, size_t count, uint64_t hash)
{
    return &buckets[((hash * 0x9e3779b97f4a7c15u) >> 32) & (count - 1)];
}

static void move_all(const struct wsl_map *from, struct wsl_map_entry **to, size_t count)
{
    for (size_t i = 0; i < from->bucket_count; i++) {
        struct wsl_map_entry *reversed = NULL, *e = from->buckets[i];

        while (e) {
            struct wsl_map_entry *next = e->next;

            e->next = reversed;
            reversed = e;
            e = next;
        }
        for (e = reversed; e;) { /* oldest first, each to the front */
            struct wsl_map_entry *next = e->next, **at = bucket_of(to, count, e->hash);

            e->next = *at;
            *at = e;
            e = next;
        }
    }
}

static int grow(struct wsl_map *map)
{
    size_t count = map->bucket_count ? 2 * map->bucket_count : BUCKETS_MIN;
    struct wsl_map_entry **buckets = calloc(count, sizeof *buckets);

    if (!buckets)
        return WSL_ENOMEM;
    move_all(map, buckets, count);
    free(map->buckets);
    map->buckets = buckets;
    map->bucket_count = count;
    return 0;
}

int wsl_map_add(struct wsl_map *map, struct wsl_map_entry *entry)
{
    struct wsl_map_entry **at;

    if (map->count >= map->bucket_count && grow(map) < 0 && map->bucket_count == 0)
        return WSL_ENOMEM;
    at = bucket_of(map->buckets, map->bucket_count, entry->hash);
    entry->next = *at;
    *at = entry;
    map->count++;
    return 0;
}

void wsl_map_remove(struct wsl_map *map, struct wsl_map_entry *entry)
{
    struct wsl_map_entry **at = bucket_of(map->buckets, map->bucket_count, entry->hash);

    while (*at && *at != entry)
        at = &(*at)->next;
    assert(*at);
    *at = entry->next;
    map->count--;
}

struct wsl_map_entry *wsl_map_first(const struct wsl_map *map, uint64_t hash)
{
    struct wsl_map_entry *e;

    if (map->bucket_count == 0)
        return NULL;
    e = *bucket_of(map->buckets, map->bucket_count, hash);
    while (e && e->hash != hash)
        e = e->next;
    return e;
}

struct wsl_map_entry *wsl_map_next(const struct wsl_map_entry *entry)
{
    struct wsl_map_entry *e = entry->next;

    while (e && e->hash != entry->hash)
        e = e->next;
    return e;
}

void wsl_map_free(struct wsl_map *map)
{
    free(map->buckets);
    *map = (struct wsl_map){0};
}

uint64_t wsl_hash_text(const char *text)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    return hash;
}
