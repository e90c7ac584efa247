/* SPDX-License-Identifier: Apache-2.0
 *
 * File format: struct MDB_meta, MDB_page and MDB_node of LMDB 0.9's mdb.c, as in shard.c.
 */
#include "storage/import/lmdb_file.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE_BRANCH = 0x01, PAGE_LEAF = 0x02, PAGE_META = 0x08, PAGE_DIRTY = 0x10 };
enum { NODE_BIG = 0x01 };
enum { PAGE_HEADER = 16, NODE_HEADER = 8, META_END = 152, DEPTH_MAX = 32, PAGE_MAX = 32768 };

struct level {
    uint8_t *page;
    uint64_t at; /* of the page in the file */
    uint32_t nodes, next;
};

struct lmdb_file {
    int fd;
    char path[PATH_MAX];
    uint64_t bytes, page_size, pages, records;
    uint64_t visited;
    struct level levels[DEPTH_MAX];
    int depth; /* levels in use; 0: at the end */
    bool failed;
};

static uint64_t number_at(const uint8_t *p, int size)
{
    uint64_t v = 0;

    for (int i = size - 1; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static int read_at(struct lmdb_file *f, void *to, size_t size, uint64_t at, struct wsl_err *err)
{
    size_t done = 0;

    while (done < size) {
        ssize_t n = pread(f->fd, (uint8_t *)to + done, size - done, (off_t)(at + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return wsl_fail_errno(err, "cannot read at byte %llu", (unsigned long long)at);
        if (n == 0)
            return wsl_fail(err, WSL_ECORRUPT, "it ends early, at byte %llu",
                            (unsigned long long)(at + done));
        done += (size_t)n;
    }
    return 0;
}

static int corrupt(struct lmdb_file *f, struct wsl_err *err, uint64_t at, const char *what)
{
    f->failed = true;
    return wsl_fail(err, WSL_ECORRUPT, "%s, at byte %llu", what, (unsigned long long)at);
}

/* ---- the two heads ---- */

static int take_meta(struct lmdb_file *f, uint64_t at, uint64_t *transaction, uint64_t *root,
                     struct wsl_err *err)
{
    uint8_t meta[META_END];
    uint64_t page;
    int r = read_at(f, meta, sizeof meta, at, err);

    if (r < 0)
        return r;
    page = number_at(meta + 40, 4);
    if (number_at(meta + 16, 4) != 0xBEEFC0DE || (number_at(meta + 10, 2) & PAGE_META) == 0)
        return corrupt(f, err, at, "it is not an LMDB file");
    if (number_at(meta + 20, 4) != 1)
        return corrupt(f, err, at, "it is of another LMDB version");
    if (page < 512 || page > PAGE_MAX || (page & (page - 1)) != 0)
        return corrupt(f, err, at, "its page size is impossible");
    /* Duplicates (0x04) have values in trees of their own. */
    if (number_at(meta + 92, 2) & 0x04)
        return corrupt(f, err, at, "its keys have several values each");
    if (number_at(meta + 144, 8) < *transaction)
        return 0;
    if (number_at(meta + 136, 8) >= f->bytes / page)
        return corrupt(f, err, at, "it ends before its last page");
    *transaction = number_at(meta + 144, 8);
    *root = number_at(meta + 128, 8);
    f->records = number_at(meta + 120, 8);
    f->page_size = page;
    f->pages = f->bytes / page;
    return 0;
}

/* ---- pages ---- */

static int enter(struct lmdb_file *f, uint64_t number, struct wsl_err *err)
{
    uint64_t at = number * f->page_size, lower;
    struct level *level;
    uint16_t flags;
    int r;

    if (number >= f->pages || f->depth == DEPTH_MAX || f->visited++ == f->pages)
        return corrupt(f, err, at, "its tree leads out of the file");
    level = &f->levels[f->depth];
    if (!level->page && !(level->page = malloc(f->page_size)))
        return wsl_fail(err, WSL_ENOMEM, "no memory for a page");
    r = read_at(f, level->page, f->page_size, at, err);
    if (r < 0)
        return r;
    flags = (uint16_t)number_at(level->page + 10, 2);
    lower = number_at(level->page + 12, 2);
    if ((flags & ~PAGE_DIRTY) != PAGE_BRANCH && (flags & ~PAGE_DIRTY) != PAGE_LEAF)
        return corrupt(f, err, at, "a page of its tree is of an odd kind");
    if (lower <= PAGE_HEADER || lower > f->page_size)
        return corrupt(f, err, at, "a page of its tree is damaged");
    level->nodes = (uint32_t)(lower - PAGE_HEADER) / 2;
    level->next = 0;
    level->at = at;
    f->depth++;
    return 0;
}

static int take_record(struct lmdb_file *f, const struct level *level, uint64_t node,
                       struct lmdb_place *ret, struct wsl_err *err)
{
    const uint8_t *page = level->page;
    uint64_t page_at = level->at;
    uint64_t key_size = number_at(page + node + 6, 2);
    uint64_t flags = number_at(page + node + 4, 2), at;

    ret->size = number_at(page + node, 2) | number_at(page + node + 2, 2) << 16;
    at = node + NODE_HEADER + key_size;
    if (key_size < 1 || key_size > LMDB_KEY || at > f->page_size)
        return corrupt(f, err, page_at, "a key outside of its page");
    if (flags & ~(uint64_t)NODE_BIG)
        return corrupt(f, err, page_at, "a record with a database of its own");
    memcpy(ret->key, page + node + NODE_HEADER, key_size);
    ret->key_size = key_size;
    if (flags & NODE_BIG) {
        if (at + 8 > f->page_size || number_at(page + at, 8) >= f->pages)
            return corrupt(f, err, page_at, "a value outside of the file");
        ret->offset = number_at(page + at, 8) * f->page_size + PAGE_HEADER;
    } else {
        if (ret->size > f->page_size - at)
            return corrupt(f, err, page_at, "a value outside of its page");
        ret->offset = page_at + at;
    }
    if (ret->offset > f->bytes || ret->size > f->bytes - ret->offset)
        return corrupt(f, err, page_at, "a value outside of the file");
    return 1;
}

int wsl_lmdb_file_next(struct lmdb_file *f, struct lmdb_place *ret, struct wsl_err *err)
{
    while (f->depth > 0 && !f->failed) {
        struct level *level = &f->levels[f->depth - 1];
        uint64_t node;
        int r;

        if (level->next == level->nodes) {
            f->depth--;
            continue;
        }
        node = number_at(level->page + PAGE_HEADER + 2 * level->next++, 2);
        if (node < PAGE_HEADER + 2 * (uint64_t)level->nodes || node + NODE_HEADER > f->page_size)
            return corrupt(f, err, level->at, "a node outside of its page");
        if (number_at(level->page + 10, 2) & PAGE_LEAF)
            return take_record(f, level, node, ret, err);
        r = enter(f, number_at(level->page + node, 6), err);
        if (r < 0) {
            f->failed = true;
            return r;
        }
    }
    return 0;
}

/* ---- open and close ---- */

static int open_file(struct lmdb_file *f, const char *path, struct wsl_err *err)
{
    uint64_t transaction = 0, root = UINT64_MAX;
    struct stat st;
    int r = 0;

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        r = wsl_file_join(f->path, sizeof f->path, path, "data.mdb");
    else
        r = (size_t)snprintf(f->path, sizeof f->path, "%s", path) < sizeof f->path ? 0 : WSL_ELIMIT;
    if (r < 0)
        return wsl_fail(err, r, "path too long: %s", path);
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (f->fd < 0 || fstat(f->fd, &st) < 0)
        return wsl_fail_errno(err, "cannot open %s", f->path);
    if (!S_ISREG(st.st_mode))
        return wsl_fail(err, WSL_EINVAL, "%s is not a file", f->path);
    f->bytes = (uint64_t)st.st_size;
    r = take_meta(f, 0, &transaction, &root, err);
    if (r == 0)
        r = take_meta(f, f->page_size, &transaction, &root, err);
    if (r == 0 && root != UINT64_MAX) /* all ones: an empty tree */
        r = enter(f, root, err);
    return r < 0 ? wsl_err_prefix(err, "%s", f->path) : 0;
}

int wsl_lmdb_file_open(struct lmdb_file **ret, const char *path, struct wsl_err *err)
{
    struct lmdb_file *f = calloc(1, sizeof *f);
    struct wsl_err mine;
    int r;

    if (!f)
        return wsl_fail(err, WSL_ENOMEM, "no memory for %s", path);
    f->fd = -1;
    r = open_file(f, path, &mine);
    if (r < 0) {
        if (err)
            *err = mine;
        wsl_lmdb_file_close(f);
        return r;
    }
    *ret = f;
    return 0;
}

void wsl_lmdb_file_close(struct lmdb_file *f)
{
    if (!f)
        return;
    for (int i = 0; i < DEPTH_MAX; i++)
        free(f->levels[i].page);
    if (f->fd >= 0)
        close(f->fd);
    free(f);
}

const char *wsl_lmdb_file_path(const struct lmdb_file *f)
{
    return f->path;
}

int wsl_lmdb_file_descriptor(const struct lmdb_file *f)
{
    return f->fd;
}

uint64_t wsl_lmdb_file_count(const struct lmdb_file *f)
{
    return f->records;
}
