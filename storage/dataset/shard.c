/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads LMDB 0.9's file format (struct MDB_page, MDB_node and MDB_meta of its mdb.c) with every
 * number checked: LMDB itself trusts its pages, and a damaged shard would take the process with it.
 * Little-endian 64-bit machines only, as LMDB writes what the machine has.
 */
#include "storage/dataset/shard.h"

#include "base/file.h"
#include "storage/dataset/sigbus_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && sizeof(void *) == 8,
               "shards are read on little-endian 64-bit machines");

enum { PAGE_BRANCH = 0x01, PAGE_LEAF = 0x02, PAGE_META = 0x08 };
enum { NODE_BIG = 0x01 }; /* the value has pages of its own */
enum { PAGE_HEADER = 16, NODE_HEADER = 8, META_END = 152, DEPTH_MAX = 32 };

struct wsl_shard {
    const uint8_t *map;
    uint64_t bytes;
    uint64_t images;
    uint64_t *places; /* offset in the map << 24 | size, so 1 TiB and 16 MiB at most */
    char file[64];
};

/* The walk over the tree, at open. */
struct walk {
    struct wsl_shard *shard;
    uint64_t page_size;
    uint64_t pages; /* of the file */
    uint64_t visited;
    uint64_t count; /* records found good */
    const char *fault;
};

static uint16_t u16_at(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t u32_at(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static uint64_t u64_at(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

/* Offsets of struct MDB_meta behind the page header: magic 16, version 20, free list's MDB_db 40
 * (page size first), main MDB_db 88 (flags 92, root 128), last page 136, transaction 144. */
static bool take_meta(struct walk *walk, const uint8_t *meta, uint64_t *transaction, uint64_t *root)
{
    uint32_t page = u32_at(meta + 40);

    if (u32_at(meta + 16) != 0xBEEFC0DE || (u16_at(meta + 10) & PAGE_META) == 0)
        walk->fault = "it is not an LMDB file";
    else if (u32_at(meta + 20) != 1)
        walk->fault = "it is of another LMDB version";
    else if (page < 512 || page > 32768 || (page & (page - 1)) != 0)
        walk->fault = "its page size is impossible";
    else if (u16_at(meta + 92) != 0)
        walk->fault = "its flags are not a shard's";
    else if (u64_at(meta + 136) >= walk->shard->bytes / page)
        walk->fault = "it ends before its last page";
    if (walk->fault)
        return false;
    if (u64_at(meta + 144) >= *transaction) {
        *transaction = u64_at(meta + 144);
        *root = u64_at(meta + 128);
    }
    walk->page_size = page;
    walk->pages = walk->shard->bytes / page;
    return true;
}

/* A node's key must be the next number, its value inside of the file. */
static const char *note_record(struct walk *walk, const uint8_t *page, uint64_t node)
{
    struct wsl_shard *shard = walk->shard;
    uint64_t start = (uint64_t)(page - shard->map), number = 0, at, size;

    if (walk->count == shard->images)
        return "it has more records than dataset.json says";
    if (u16_at(page + node + 6) != 8 || node + NODE_HEADER + 8 > walk->page_size)
        return "a key that is not 8 bytes";
    for (int i = 0; i < 8; i++)
        number = number << 8 | page[node + NODE_HEADER + i];
    if (number != walk->count)
        return "keys that do not count up from 0";
    size = u16_at(page + node) | (uint64_t)u16_at(page + node + 2) << 16;
    at = start + node + NODE_HEADER + 8;
    if (u16_at(page + node + 4) & NODE_BIG) {
        uint64_t first;

        if (node + NODE_HEADER + 16 > walk->page_size)
            return "a value outside of its page";
        first = u64_at(shard->map + at);
        if (first >= walk->pages)
            return "a value outside of the file";
        at = first * walk->page_size + PAGE_HEADER;
    } else if (size > start + walk->page_size - at) {
        return "a value outside of its page";
    }
    if (size >= 1 << 24 || size > shard->bytes - at)
        return "a value outside of the file";
    shard->places[walk->count++] = at << 24 | size;
    return NULL;
}

/* No page is needed twice: with that bound, links that were damaged into a ring end. */
static const char *walk_page(struct walk *walk, uint64_t number, int depth)
{
    const char *fault = NULL;
    const uint8_t *page;
    uint64_t nodes, lower;
    uint16_t flags;

    if (number >= walk->pages || depth == DEPTH_MAX || walk->visited++ == walk->pages)
        return "its tree leads out of the file";
    page = walk->shard->map + number * walk->page_size;
    flags = u16_at(page + 10);
    lower = u16_at(page + 12);
    if ((flags & ~0x10) != PAGE_BRANCH && (flags & ~0x10) != PAGE_LEAF) /* 0x10: was dirty */
        return "a page of its tree is of an odd kind";
    if (lower <= PAGE_HEADER || lower > walk->page_size)
        return "a page of its tree is damaged";
    nodes = (lower - PAGE_HEADER) / 2;
    for (uint64_t i = 0; !fault && i < nodes; i++) {
        uint64_t node = u16_at(page + PAGE_HEADER + 2 * i);

        if (node < lower || node + NODE_HEADER > walk->page_size)
            fault = "a node outside of its page";
        else if (flags & PAGE_LEAF)
            fault = note_record(walk, page, node);
        else
            fault = walk_page(walk,
                              u16_at(page + node) | (uint64_t)u16_at(page + node + 2) << 16 |
                                  (uint64_t)u16_at(page + node + 4) << 32,
                              depth + 1);
    }
    return fault;
}

static void walk_shard(void *context)
{
    struct walk *walk = context;
    uint64_t transaction = 0, root = UINT64_MAX;
    const uint8_t *map = walk->shard->map;

    if (walk->shard->bytes < META_END || !take_meta(walk, map, &transaction, &root)) {
        walk->fault = walk->fault ? walk->fault : "it is too short";
        return;
    }
    if (walk->page_size + META_END > walk->shard->bytes) {
        walk->fault = "it is too short";
        return;
    }
    if (!take_meta(walk, map + walk->page_size, &transaction, &root))
        return;
    if (root != UINT64_MAX) /* all ones: an empty tree */
        walk->fault = walk_page(walk, root, 0);
}

static int map_file(struct wsl_shard *shard, const char *path, struct wsl_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    void *map;

    if (fd < 0)
        return errno == ENOENT ? wsl_fail(err, WSL_ENOENT, "shard %s is missing", path)
                               : wsl_fail_errno(err, "cannot open shard %s", path);
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != shard->bytes ||
        shard->bytes == 0) {
        close(fd);
        return wsl_fail(err, WSL_ECORRUPT,
                        "shard %s has %lld bytes, dataset.json says %llu: it was cut or changed",
                        path, (long long)st.st_size, (unsigned long long)shard->bytes);
    }
    map = mmap(NULL, shard->bytes, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED)
        return wsl_fail_errno(err, "cannot map shard %s", path);
    shard->map = map;
    madvise(map, shard->bytes, MADV_RANDOM); /* advice only; records are asked for one by one */
    return 0;
}

static int index_records(struct wsl_shard *shard, const char *path, struct wsl_err *err)
{
    struct walk walk = {.shard = shard};

    /* A record takes 16 bytes of a leaf at the least: a count beyond that is not worth memory. */
    if (shard->images > shard->bytes / 16)
        return wsl_fail(err, WSL_ECORRUPT, "shard %s cannot hold the %llu records of dataset.json",
                        path, (unsigned long long)shard->images);
    shard->places = calloc(shard->images ? shard->images : 1, sizeof *shard->places);
    if (!shard->places)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the index of shard %s", path);
    wsl_sigbus_guard_install();
    if (!wsl_sigbus_guard_run(walk_shard, &walk))
        return wsl_fail(err, WSL_EIO, "shard %s shrank, or cannot be read, while it was opened",
                        path);
    if (walk.fault)
        return wsl_fail(err, WSL_ECORRUPT, "shard %s is damaged: %s", path, walk.fault);
    if (walk.count != shard->images)
        return wsl_fail(err, WSL_ECORRUPT, "shard %s has %llu records, dataset.json says %llu",
                        path, (unsigned long long)walk.count, (unsigned long long)shard->images);
    return 0;
}

int wsl_shard_open(struct wsl_shard **ret, const char *directory,
                   const struct wsl_shard_entry *entry, struct wsl_err *err)
{
    struct wsl_shard *shard = calloc(1, sizeof *shard);
    char path[PATH_MAX];
    int r;

    if (!shard)
        return wsl_fail(err, WSL_ENOMEM, "no memory for shard %s", entry->file);
    snprintf(shard->file, sizeof shard->file, "%s", entry->file);
    shard->bytes = entry->bytes;
    shard->images = entry->images;
    r = wsl_file_join(path, sizeof path, directory, entry->file);
    if (r < 0)
        wsl_fail(err, r, "path too long: %s/%s", directory, entry->file);
    if (r == 0)
        r = map_file(shard, path, err);
    if (r == 0)
        r = index_records(shard, path, err);
    if (r < 0) {
        wsl_shard_close(shard);
        return r;
    }
    *ret = shard;
    return 0;
}

void wsl_shard_close(struct wsl_shard *shard)
{
    if (!shard)
        return;
    if (shard->map)
        munmap((void *)shard->map, shard->bytes);
    free(shard->places);
    free(shard);
}

const char *wsl_shard_file(const struct wsl_shard *shard)
{
    return shard->file;
}

const uint8_t *wsl_shard_value(const struct wsl_shard *shard, uint64_t index, size_t *ret_size)
{
    uint64_t place = shard->places[index];

    *ret_size = place & 0xffffff;
    return shard->map + (place >> 24);
}
