/* SPDX-License-Identifier: Apache-2.0
 *
 * Describes files by size and samples, and maps them if they are still what was described.
 */
#include "storage/dataset/external_file.h"

#include "storage/dataset/record.h"
#include "storage/dataset/sigbus_guard.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

enum { END_BYTES = 64 << 10, SAMPLES = 16, SAMPLE_BYTES = 4 << 10 };

struct wsl_external_files {
    const struct wsl_external_file *entries;
    const uint8_t **maps;
    size_t count;
};

/* ---- what a file is like ---- */

/* Bytes at .. at + size, as far as the file goes. */
static int add_sample(XXH3_state_t *hash, int fd, uint64_t at, uint64_t size)
{
    uint8_t bytes[END_BYTES];
    uint64_t done = 0;

    while (done < size) {
        ssize_t n = pread(fd, bytes + done, size - done, (off_t)(at + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += (uint64_t)n;
    }
    XXH3_128bits_update(hash, bytes, done);
    return 0;
}

static int add_samples(XXH3_state_t *hash, int fd, uint64_t bytes)
{
    uint64_t end = bytes < END_BYTES ? bytes : END_BYTES;
    int r;

    XXH3_128bits_update(hash, &bytes, sizeof bytes);
    r = add_sample(hash, fd, 0, end);
    for (uint64_t i = 1; r == 0 && i <= SAMPLES; i++)
        r = add_sample(hash, fd, bytes / (SAMPLES + 1) * i, SAMPLE_BYTES);
    return r < 0 ? r : add_sample(hash, fd, bytes - end, end);
}

static int look_at(struct wsl_external_file *ret, int fd, const char *path, struct wsl_err *err)
{
    XXH3_state_t *hash;
    XXH128_hash_t digest;
    struct stat st;
    int r = 0;

    if (fstat(fd, &st) < 0)
        return wsl_fail_errno(err, "cannot read %s", path);
    if (!S_ISREG(st.st_mode))
        return wsl_fail(err, WSL_EUNSUPPORTED, "%s is not a regular file", path);
    hash = XXH3_createState();
    if (!hash)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a fingerprint");
    XXH3_128bits_reset(hash);
    ret->bytes = (uint64_t)st.st_size;
    if (add_samples(hash, fd, ret->bytes) < 0)
        r = wsl_fail_errno(err, "cannot read %s", path);
    digest = XXH3_128bits_digest(hash);
    XXH3_freeState(hash);
    snprintf(ret->fingerprint, sizeof ret->fingerprint, "%016llx%016llx",
             (unsigned long long)digest.high64, (unsigned long long)digest.low64);
    return r;
}

static int open_file(const char *path, struct wsl_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not make it wait */

    if (fd < 0 && errno == ENOENT)
        return wsl_fail(err, WSL_ENOENT,
                        "%s, which holds the images, is missing: put it back or import anew", path);
    return fd < 0 ? wsl_fail_errno(err, "cannot open %s, which holds the images", path) : fd;
}

int wsl_external_file_describe(struct wsl_external_file *ret, const char *path, struct wsl_err *err)
{
    struct wsl_external_file entry = {.path = realpath(path, NULL)};
    int fd = open_file(entry.path ? entry.path : path, err);
    int r = fd < 0 ? fd : look_at(&entry, fd, path, err);

    if (fd >= 0)
        close(fd);
    if (r == 0 && !entry.path)
        r = wsl_fail(err, WSL_ENOMEM, "no memory for the path of %s", path);
    if (r < 0)
        free(entry.path);
    else
        *ret = entry;
    return r;
}

/* ---- maps ---- */

static size_t map_size(const struct wsl_external_file *entry)
{
    return entry->bytes ? entry->bytes : 1;
}

static int map_file(const struct wsl_external_file *entry, const uint8_t **ret, struct wsl_err *err)
{
    struct wsl_external_file now = {0};
    int fd = open_file(entry->path, err), r;

    if (fd < 0)
        return fd;
    r = look_at(&now, fd, entry->path, err);
    if (r == 0 && now.bytes != entry->bytes)
        r = wsl_fail(err, WSL_ECORRUPT,
                     "%s has %llu bytes, it had %llu when its images were imported in place: put "
                     "it back or import anew",
                     entry->path, (unsigned long long)now.bytes, (unsigned long long)entry->bytes);
    else if (r == 0 && strcmp(now.fingerprint, entry->fingerprint) != 0)
        r = wsl_fail(err, WSL_ECORRUPT,
                     "%s changed since its images were imported in place: put it back or import "
                     "anew",
                     entry->path);
    if (r == 0) {
        void *map = mmap(NULL, map_size(entry), PROT_READ, MAP_SHARED, fd, 0);

        if (map == MAP_FAILED)
            r = wsl_fail_errno(err, "cannot map %s", entry->path);
        else
            madvise(map, map_size(entry), MADV_RANDOM); /* advice only, as for shards */
        *ret = r == 0 ? map : NULL;
    }
    close(fd);
    return r;
}

int wsl_external_files_open(struct wsl_external_files **ret,
                            const struct wsl_external_file *entries, size_t count,
                            struct wsl_err *err)
{
    struct wsl_external_files *p = calloc(1, sizeof *p);
    int r = 0;

    if (p) {
        p->entries = entries;
        p->maps = calloc(count ? count : 1, sizeof *p->maps);
    }
    if (!p || !p->maps)
        r = wsl_fail(err, WSL_ENOMEM, "no memory for the maps of images");
    wsl_sigbus_guard_install();
    for (size_t i = 0; r == 0 && i < count; i++) {
        r = map_file(&entries[i], &p->maps[i], err);
        p->count += r == 0;
    }
    if (r < 0)
        wsl_external_files_close(p);
    else
        *ret = p;
    return r;
}

void wsl_external_files_close(struct wsl_external_files *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->count; i++)
        munmap((void *)p->maps[i], map_size(&p->entries[i]));
    free(p->maps);
    free(p);
}

const char *wsl_external_files_parse_record(const struct wsl_external_files *p,
                                            const uint8_t *bytes, size_t size, size_t tag_limit,
                                            struct wsl_record *ret)
{
    struct wsl_record_place place;
    const char *fault = wsl_record_parse_place(bytes, size, tag_limit, ret, &place);

    if (fault || place.size == 0)
        return fault;
    if (!p || place.file >= p->count)
        return "an image in a file that dataset.json does not name";
    if (place.offset > p->entries[place.file].bytes ||
        place.size > p->entries[place.file].bytes - place.offset)
        return "an image outside of its file";
    ret->jpeg = p->maps[place.file] + place.offset;
    ret->jpeg_size = (size_t)place.size;
    ret->external_file = p->entries[place.file].path;
    return NULL;
}
