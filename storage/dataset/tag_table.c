/* SPDX-License-Identifier: Apache-2.0
 *
 * The file is mapped as it is and checked where it is read. It is written from memory in one go: a
 * counting sort puts the records in the order of their rarest tags.
 */
#include "storage/dataset/tag_table.h"

#include "base/file.h"
#include "storage/dataset/record.h"
#include "storage/dataset/sigbus_guard.h"

#include <assert.h>
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

#include <xxhash.h>

enum { BLOCK = 64, HEAD_WORDS = 8 };

static const char magic[8] = "wsltags1";

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the file is mapped as it is");

struct head {
    char magic[8];
    uint64_t records, base, tags, limit, id_size;
    uint64_t hash[2]; /* low, high */
};
_Static_assert(sizeof(struct head) == HEAD_WORDS * sizeof(uint64_t), "as in the file");

/* Offsets of the parts. */
struct layout {
    uint64_t rare, begin, record, by_rarest, count, ids, end;
};

struct wsl_tag_table {
    const uint8_t *map;
    struct head head;
    struct layout at;
    char file[64];
};

static uint64_t padded(uint64_t bytes)
{
    return (bytes + 7) & ~(uint64_t)7;
}

static struct layout lay_out(const struct head *h)
{
    struct layout at = {.rare = sizeof *h};

    at.begin = at.rare + 8 * h->limit;
    at.record = at.begin + 8 * ((h->records + BLOCK - 1) / BLOCK + 1);
    at.by_rarest = at.record + padded(4 * h->records);
    at.count = at.by_rarest + padded(4 * h->records);
    at.ids = at.count + padded(h->records);
    at.end = at.ids + padded(h->id_size * h->tags);
    return at;
}

static bool head_is_sane(const struct head *h)
{
    return memcmp(h->magic, magic, sizeof magic) == 0 && h->records <= UINT32_MAX &&
           h->base <= UINT32_MAX && h->records <= h->base &&
           h->tags <= h->records * WSL_RECORD_TAGS_MAX && h->tags >= h->records &&
           h->limit <= (uint64_t)1 << 20 &&
           (h->id_size == sizeof(uint16_t) || h->id_size == sizeof(uint32_t));
}

/* ---- opening ---- */

static int map_file(struct wsl_tag_table *t, int fd, const char *path,
                    const struct wsl_shard_entry *entry, struct wsl_err *err)
{
    struct stat st;
    void *map;

    if (fstat(fd, &st) < 0)
        return wsl_fail_errno(err, "cannot look at %s", path);
    if ((uint64_t)st.st_size != entry->bytes || entry->bytes < sizeof t->head)
        return wsl_fail(err, WSL_ECORRUPT, "%s has %lld bytes, dataset.json says %llu", path,
                        (long long)st.st_size, (unsigned long long)entry->bytes);
    if (pread(fd, &t->head, sizeof t->head, 0) != (ssize_t)sizeof t->head)
        return wsl_fail_errno(err, "cannot read %s", path);
    if (!head_is_sane(&t->head) || t->head.records != entry->images)
        return wsl_fail(err, WSL_ECORRUPT, "%s is no table of the tags of %llu records", path,
                        (unsigned long long)entry->images);
    t->at = lay_out(&t->head);
    if (t->at.end != entry->bytes)
        return wsl_fail(err, WSL_ECORRUPT, "%s has %llu bytes, its head says %llu", path,
                        (unsigned long long)entry->bytes, (unsigned long long)t->at.end);
    map = mmap(NULL, entry->bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED)
        return wsl_fail_errno(err, "cannot map %s", path);
    t->map = map;
    return 0;
}

int wsl_tag_table_open(struct wsl_tag_table **ret, const char *directory,
                       const struct wsl_shard_entry *entry, struct wsl_err *err)
{
    struct wsl_tag_table *t = calloc(1, sizeof *t);
    char path[PATH_MAX];
    int fd, r;

    if (!t)
        return wsl_fail(err, WSL_ENOMEM, "no memory for %s", entry->file);
    snprintf(t->file, sizeof t->file, "%s", entry->file);
    r = wsl_file_join(path, sizeof path, directory, entry->file);
    if (r < 0) {
        free(t);
        return wsl_fail(err, r, "path too long: %s", directory);
    }
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        r = wsl_fail_errno(err, "cannot open %s", path);
    else
        r = map_file(t, fd, path, entry, err);
    if (fd >= 0)
        close(fd);
    if (r < 0) {
        free(t);
        return r;
    }
    wsl_sigbus_guard_install();
    *ret = t;
    return 0;
}

void wsl_tag_table_close(struct wsl_tag_table *t)
{
    if (!t)
        return;
    munmap((void *)t->map, t->at.end);
    free(t);
}

uint64_t wsl_tag_table_base(const struct wsl_tag_table *t)
{
    return t->head.base;
}

uint64_t wsl_tag_table_limit(const struct wsl_tag_table *t)
{
    return t->head.limit;
}

const uint32_t *wsl_tag_table_by_rarest(const struct wsl_tag_table *t, const uint64_t **ret_counts)
{
    *ret_counts = (const uint64_t *)(t->map + t->at.rare);
    return (const uint32_t *)(t->map + t->at.by_rarest);
}

/* ---- reading ---- */

struct reading {
    const struct wsl_tag_table *table;
    uint64_t index;
    uint64_t record;
    uint32_t *tags;
    int count;
    bool sound;
};

static uint32_t id_at(const struct wsl_tag_table *t, uint64_t place)
{
    const uint8_t *ids = t->map + t->at.ids;

    return t->head.id_size == sizeof(uint16_t) ? ((const uint16_t *)ids)[place]
                                               : ((const uint32_t *)ids)[place];
}

/* Runs guarded: the file may be damaged in any way, or have shrunk. */
static void read_record(void *context)
{
    struct reading *r = context;
    const struct wsl_tag_table *t = r->table;
    const uint8_t *count = t->map + t->at.count;
    uint64_t first = r->index / BLOCK;
    uint64_t place = ((const uint64_t *)(t->map + t->at.begin))[first];

    r->record = ((const uint32_t *)(t->map + t->at.record))[r->index];
    for (uint64_t i = first * BLOCK; i < r->index; i++)
        place += count[i];
    r->count = count[r->index];
    r->sound = r->record < t->head.base && r->count >= 1 && r->count <= WSL_RECORD_TAGS_MAX &&
               place <= t->head.tags && t->head.tags - place >= (uint64_t)r->count;
    for (int i = 0; r->sound && i < r->count; i++) {
        r->tags[i] = id_at(t, place + (uint64_t)i);
        r->sound = r->tags[i] < t->head.limit && (i == 0 || r->tags[i] > r->tags[i - 1]);
    }
}

int wsl_tag_table_read(const struct wsl_tag_table *t, uint64_t index, uint64_t *ret_record,
                       uint32_t ret_tags[64], int *ret_count, struct wsl_err *err)
{
    uint32_t tags[WSL_RECORD_TAGS_MAX];
    struct reading r = {.table = t, .index = index, .tags = ret_tags ? ret_tags : tags};

    assert(index < t->head.records);
    if (!wsl_sigbus_guard_run(read_record, &r))
        return wsl_fail(err, WSL_EIO, "%s shrank, or the disk cannot read it: restore the file",
                        t->file);
    if (!r.sound)
        return wsl_fail(err, WSL_ECORRUPT, "%s, record %llu: impossible numbers", t->file,
                        (unsigned long long)index);
    if (ret_record)
        *ret_record = r.record;
    if (ret_count)
        *ret_count = r.count;
    return 0;
}

struct hashing {
    const struct wsl_tag_table *table;
    XXH128_hash_t digest;
};

static void hash_all(void *context)
{
    struct hashing *h = context;

    h->digest =
        XXH3_128bits(h->table->map + sizeof(struct head), h->table->at.end - sizeof(struct head));
}

struct ordering {
    const struct wsl_tag_table *table;
    bool sound;
};

/* by_rarest is used as it is, so it must be a permutation, and the counts must be its own. */
static void check_order(void *context)
{
    struct ordering *o = context;
    const uint64_t records = o->table->head.records, *rare;
    const uint32_t *by_rarest = wsl_tag_table_by_rarest(o->table, &rare);
    uint64_t sum = 0, mixed = 0;

    o->sound = true;
    for (uint64_t t = 0; t < o->table->head.limit; t++)
        sum += rare[t];
    for (uint64_t i = 0; i < records; i++) {
        o->sound = o->sound && by_rarest[i] < records;
        mixed += by_rarest[i];
    }
    o->sound =
        o->sound && sum == records && mixed == (records > 0 ? records * (records - 1) / 2 : 0);
}

int wsl_tag_table_verify(const struct wsl_tag_table *t, struct wsl_err *err)
{
    struct hashing hashing = {.table = t};
    struct ordering ordering = {.table = t};

    if (!wsl_sigbus_guard_run(hash_all, &hashing) || !wsl_sigbus_guard_run(check_order, &ordering))
        return wsl_fail(err, WSL_EIO, "%s shrank, or the disk cannot read it: restore the file",
                        t->file);
    if (hashing.digest.low64 != t->head.hash[0] || hashing.digest.high64 != t->head.hash[1])
        return wsl_fail(err, WSL_ECORRUPT, "%s was changed: its hash is another", t->file);
    if (!ordering.sound)
        return wsl_fail(err, WSL_ECORRUPT, "%s: the records by rarest tag are not its records",
                        t->file);
    for (uint64_t i = 0; i < t->head.records; i++) {
        int r = wsl_tag_table_read(t, i, NULL, NULL, NULL, err);

        if (r < 0)
            return r;
    }
    return 0;
}

/* ---- writing ---- */

static int reserve(struct wsl_tag_table_builder *m, int count)
{
    if (m->records == m->record_capacity) {
        uint64_t more = m->record_capacity ? 2 * m->record_capacity : 4096;
        uint32_t *record = realloc(m->record, more * sizeof *record);
        uint8_t *counts;

        if (!record)
            return WSL_ENOMEM;
        m->record = record;
        counts = realloc(m->count, more);
        if (!counts)
            return WSL_ENOMEM;
        m->count = counts;
        m->record_capacity = more;
    }
    if (m->tags + (uint64_t)count > m->tag_capacity) {
        uint64_t more = m->tag_capacity ? 2 * m->tag_capacity : 8192;
        uint32_t *ids = realloc(m->ids, more * sizeof *ids);

        if (!ids)
            return WSL_ENOMEM;
        m->ids = ids;
        m->tag_capacity = more;
    }
    return 0;
}

int wsl_tag_table_add(struct wsl_tag_table_builder *m, uint64_t record, const uint32_t *tags,
                      int count, struct wsl_err *err)
{
    assert(count >= 1 && count <= WSL_RECORD_TAGS_MAX);
    assert(m->records == 0 || record > m->record[m->records - 1]);
    if (record >= UINT32_MAX)
        return wsl_fail(err, WSL_ELIMIT, "a view takes at most 2^32 - 1 records of a split");
    if (reserve(m, count) < 0)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the tags of %llu records",
                        (unsigned long long)m->records);
    m->record[m->records] = (uint32_t)record;
    m->count[m->records++] = (uint8_t)count;
    memcpy(m->ids + m->tags, tags, (size_t)count * sizeof *tags);
    m->tags += (uint64_t)count;
    return 0;
}

static uint32_t rarest_tag(const uint32_t *ids, int count, const uint64_t *images)
{
    uint32_t rarest = ids[0];

    for (int i = 1; i < count; i++)
        if (images[ids[i]] <= images[rarest])
            rarest = ids[i];
    return rarest;
}

/* The parts of the file, made in memory. */
static void fill(const struct wsl_tag_table_builder *m, const struct head *h,
                 const struct layout *at, const uint64_t *images, uint8_t *out)
{
    uint64_t *rare = (uint64_t *)(out + at->rare), *begin = (uint64_t *)(out + at->begin);
    uint32_t *by_rarest = (uint32_t *)(out + at->by_rarest);
    uint64_t place = 0, sum = 0;

    memcpy(out + at->record, m->record, m->records * sizeof *m->record);
    memcpy(out + at->count, m->count, m->records);
    for (uint64_t i = 0; i < m->tags; i++) {
        if (h->id_size == sizeof(uint16_t))
            ((uint16_t *)(out + at->ids))[i] = (uint16_t)m->ids[i];
        else
            ((uint32_t *)(out + at->ids))[i] = m->ids[i];
    }
    for (uint64_t i = 0; i < m->records; place += m->count[i], i++) {
        if (i % BLOCK == 0)
            begin[i / BLOCK] = place;
        rare[rarest_tag(m->ids + place, m->count[i], images)]++;
    }
    begin[(m->records + BLOCK - 1) / BLOCK] = place;
    for (uint64_t t = 0; t < h->limit; t++) { /* counts become places, and counts again below */
        uint64_t n = rare[t];

        rare[t] = sum;
        sum += n;
    }
    for (uint64_t i = 0, first = 0; i < m->records; first += m->count[i], i++)
        by_rarest[rare[rarest_tag(m->ids + first, m->count[i], images)]++] = (uint32_t)i;
    for (uint64_t t = h->limit; t-- > 1;)
        rare[t] -= rare[t - 1];
}

static int write_new(const char *path, const uint8_t *bytes, uint64_t size, struct wsl_err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644), r = 0;

    if (fd < 0)
        return wsl_fail_errno(err, "cannot make %s", path);
    while (r == 0 && size > 0) {
        ssize_t n = write(fd, bytes, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            r = wsl_fail_errno(err, "cannot write %s", path);
        } else {
            bytes += n;
            size -= (uint64_t)n;
        }
    }
    if (r == 0 && fsync(fd) < 0)
        r = wsl_fail_errno(err, "cannot write %s", path);
    close(fd);
    return r;
}

int wsl_tag_table_write(const struct wsl_tag_table_builder *m,
                        const struct wsl_tag_table_target *target, struct wsl_shard_entry *ret,
                        struct wsl_err *err)
{
    struct head head = {.records = m->records,
                        .base = target->base,
                        .tags = m->tags,
                        .limit = target->limit,
                        .id_size =
                            target->limit <= UINT16_MAX ? sizeof(uint16_t) : sizeof(uint32_t)};
    struct layout at = lay_out(&head);
    char path[PATH_MAX];
    XXH128_hash_t digest;
    uint8_t *out;
    int r;

    if (wsl_file_join(path, sizeof path, target->directory, target->file) < 0)
        return wsl_fail(err, WSL_EINVAL, "path too long: %s", target->directory);
    out = calloc(1, at.end);
    if (!out)
        return wsl_fail(err, WSL_ENOMEM, "no memory for %s", path);
    fill(m, &head, &at, target->images, out);
    digest = XXH3_128bits(out + sizeof head, at.end - sizeof head);
    memcpy(head.magic, magic, sizeof magic);
    head.hash[0] = digest.low64;
    head.hash[1] = digest.high64;
    memcpy(out, &head, sizeof head);
    r = write_new(path, out, at.end, err);
    free(out);
    if (r < 0)
        return r;
    *ret = (struct wsl_shard_entry){.images = m->records, .bytes = at.end};
    snprintf(ret->file, sizeof ret->file, "%s", target->file);
    snprintf(ret->fingerprint, sizeof ret->fingerprint, "%016llx%016llx",
             (unsigned long long)digest.high64, (unsigned long long)digest.low64);
    return 0;
}

void wsl_tag_table_builder_free(struct wsl_tag_table_builder *m)
{
    free(m->record);
    free(m->count);
    free(m->ids);
    memset(m, 0, sizeof *m);
}
