/* SPDX-License-Identifier: Apache-2.0
 *
 * Records read in random order from a cold disk: cold_reads [--folder DIR] [--records N] [--size
 * BYTES] [--read N]. A plain LMDB cursor, with the kernel's read-ahead and without, beside our
 * reader as the loader uses it; every byte of a record is touched. Before each the file is put out
 * of the page cache (posix_fadvise), so DIR must be on a disk, and nothing else may hold the pages.
 * What the host of a virtual disk keeps in its memory is out of reach: such figures flatter all
 * sides.
 */
#include "base/args.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/file.h"
#include "base/rng.h"
#include "storage/dataset/dataset.h"
#include "storage/dataset/dataset_info.h"
#include "storage/dataset/record.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lmdb.h>

enum { ASK_AHEAD = 192, ASK_AT_ONCE = 64 }; /* as storage/loader */

struct options {
    const char *folder;
    uint64_t records, size, read;
};

struct rate {
    double records, megabytes; /* per second */
};

static uint64_t key_of(uint64_t records, uint64_t i)
{
    return wsl_permute(7, records, i % records);
}

static int fail_lmdb(int code, struct wsl_err *err)
{
    return wsl_fail(err, WSL_EIO, "LMDB: %s", mdb_strerror(code));
}

/* Sizes from half to one and a half of the mean: as photographs have them. */
static int write_records(struct wsl_shard_writer *writer, const struct options *o,
                         struct wsl_err *err)
{
    uint8_t *bytes = malloc(2 * o->size);
    char source[] = "a record";
    uint32_t tag = 0;
    int r = bytes ? 0 : wsl_fail(err, WSL_ENOMEM, "no memory for a record");

    for (uint64_t i = 0; r == 0 && i < o->records; i++) {
        Wsl__V1__ImageRecord record = WSL__V1__IMAGE_RECORD__INIT;

        record.jpeg.len = o->size / 2 + wsl_mix64(i, 3) % o->size;
        for (size_t k = 0; k + 8 <= record.jpeg.len; k += 8) {
            uint64_t word = wsl_mix64(i, k);

            memcpy(bytes + k, &word, 8);
        }
        record.jpeg.data = bytes;
        record.crc32c = wsl_crc32c(0, bytes, record.jpeg.len);
        record.width = record.height = 1;
        record.n_tags = 1;
        record.tags = &tag;
        record.source = source;
        r = wsl_shard_writer_add(writer, &record, err);
    }
    free(bytes);
    return r;
}

static int make_dataset(const struct options *o, const char *folder, struct wsl_err *err)
{
    struct wsl_shard_entry shard = {0};
    struct wsl_tag tag = {.name = strdup("a"), .synset = strdup(""), .train = o->records};
    struct wsl_dataset_info info = {.kind = "tags", .tag_count = 1};
    struct wsl_shard_writer *writer;
    json_t *source = json_object();
    int r = wsl_shard_writer_open(&writer, folder, "shard-00000.lmdb",
                                  2 * o->records * (o->size + 8192), err);

    if (r < 0)
        return r;
    r = write_records(writer, o, err);
    if (r == 0)
        r = wsl_shard_writer_seal(writer, &shard, err);
    wsl_shard_writer_close(writer);
    info.name = strdup("cold");
    info.created = strdup("2018-05-02T10:11:12.345Z");
    info.tags = malloc(sizeof tag);
    info.splits[0].shards = malloc(sizeof shard);
    *info.tags = tag;
    *info.splits[0].shards = shard;
    info.splits[0].images = shard.images;
    info.splits[0].shard_count = 1;
    if (r == 0)
        r = wsl_dataset_info_save(&info, folder, source, err);
    wsl_dataset_info_free(&info);
    json_decref(source);
    return r;
}

static int evict(const char *folder, struct wsl_err *err)
{
    char path[4096];
    int fd, r;

    snprintf(path, sizeof path, "%s/shard-00000.lmdb", folder);
    fd = open(path, O_RDONLY);
    if (fd < 0)
        return wsl_fail_errno(err, "cannot open %s", path);
    fdatasync(fd);
    r = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    close(fd);
    return r ? wsl_fail(err, WSL_EIO, "cannot put %s out of the page cache", path) : 0;
}

static struct rate rate_of(uint64_t records, uint64_t bytes, uint64_t since)
{
    double seconds = (double)(wsl_clock_ns() - since) * 1e-9;

    return (struct rate){(double)records / seconds, (double)bytes * 1e-6 / seconds};
}

static int read_with_cursor(const struct options *o, const char *folder, unsigned flags,
                            struct rate *ret, struct wsl_err *err)
{
    MDB_env *env;
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_dbi dbi;
    uint64_t begin, bytes = 0;
    uint32_t crc = 0;
    char path[4096];
    int r = evict(folder, err), code;

    if (r < 0)
        return r;
    snprintf(path, sizeof path, "%s/shard-00000.lmdb", folder);
    mdb_env_create(&env);
    code = mdb_env_open(env, path, MDB_RDONLY | MDB_NOSUBDIR | MDB_NOLOCK | flags, 0);
    if (code == 0)
        code = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
    if (code == 0)
        code = mdb_dbi_open(txn, NULL, 0, &dbi);
    if (code == 0)
        code = mdb_cursor_open(txn, dbi, &cursor);
    begin = wsl_clock_ns();
    for (uint64_t i = 0; code == 0 && i < o->read; i++) {
        uint64_t big = __builtin_bswap64(key_of(o->records, i));
        MDB_val key = {sizeof big, &big}, value;

        code = mdb_cursor_get(cursor, &key, &value, MDB_SET_KEY);
        if (code == 0) {
            crc = wsl_crc32c(crc, value.mv_data, value.mv_size);
            bytes += value.mv_size;
        }
    }
    *ret = rate_of(o->read, bytes, begin);
    if (cursor)
        mdb_cursor_close(cursor);
    if (txn)
        mdb_txn_abort(txn);
    mdb_env_close(env);
    return code == 0 ? 0 : fail_lmdb(code, err);
}

static int read_with_ours(const struct options *o, const char *folder, struct rate *ret,
                          struct wsl_err *err)
{
    struct wsl_dataset *dataset;
    uint64_t begin, bytes = 0, asked = 0;
    int r = wsl_dataset_open(&dataset, folder, err);

    if (r < 0)
        return r;
    r = evict(folder, err);
    begin = wsl_clock_ns();
    for (uint64_t i = 0; r == 0 && i < o->read; i++) {
        struct wsl_record record;

        if (asked < i + ASK_AHEAD - ASK_AT_ONCE)
            for (; asked < i + ASK_AHEAD && asked < o->read; asked++)
                wsl_dataset_prefetch(dataset, WSL_SPLIT_TRAIN, key_of(o->records, asked));
        r = wsl_dataset_read(dataset, WSL_SPLIT_TRAIN, key_of(o->records, i), &record, err);
        if (r == 0)
            r = wsl_record_check(&record, err);
        bytes += record.jpeg_size;
    }
    *ret = rate_of(o->read, bytes, begin);
    wsl_dataset_close(dataset);
    return r;
}

static int run(const struct options *o, const char *folder, struct wsl_err *err)
{
    struct rate plain = {0}, no_ahead = {0}, ours = {0};
    int r = make_dataset(o, folder, err);

    if (r == 0)
        r = read_with_cursor(o, folder, 0, &plain, err);
    if (r == 0)
        r = read_with_cursor(o, folder, MDB_NORDAHEAD, &no_ahead, err);
    if (r == 0)
        r = read_with_ours(o, folder, &ours, err);
    if (r < 0)
        return r;
    printf("%llu of %llu records of %llu bytes on average, in random order, cold\n",
           (unsigned long long)o->read, (unsigned long long)o->records,
           (unsigned long long)o->size);
    printf("LMDB cursor:                %8.0f records/s %7.1f MB/s\n", plain.records,
           plain.megabytes);
    printf("LMDB cursor, MDB_NORDAHEAD: %8.0f records/s %7.1f MB/s\n", no_ahead.records,
           no_ahead.megabytes);
    printf("ours:                       %8.0f records/s %7.1f MB/s: %.1f times and %.1f times\n",
           ours.records, ours.megabytes, ours.records / plain.records,
           ours.records / no_ahead.records);
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = {.folder = "/var/tmp", .records = 20000, .size = 90000, .read = 1000};
    const struct wsl_arg rows[] = {
        {"folder", 0, WSL_ARG_TEXT, &o.folder, 0, 0, "DIR", "on the disk to measure"},
        {"records", 0, WSL_ARG_UINT, &o.records, 16, 100000000, "N", "of the data set"},
        {"size", 0, WSL_ARG_UINT, &o.size, 64, 8000000, "BYTES", "of a record, on average"},
        {"read", 0, WSL_ARG_UINT, &o.read, 1, 100000000, "N", "records read on each way"},
    };
    const struct wsl_args args = {"cold_reads [options]", "Measures cold random reads.", rows, 4};
    struct wsl_err err = {0};
    char folder[4000];
    int words, r = wsl_args_parse(&args, argc, argv, &words, &err);

    if (r == WSL_ARGS_HELP)
        return 0;
    if (r == 0) {
        snprintf(folder, sizeof folder, "%s/wsl-bench-XXXXXX", o.folder);
        o.read = o.read < o.records ? o.read : o.records;
        r = mkdtemp(folder) ? run(&o, folder, &err)
                            : wsl_fail_errno(&err, "cannot make a folder in %s", o.folder);
        wsl_file_remove_tree(folder, NULL);
    }
    if (r < 0)
        fprintf(stderr, "cold_reads: %s\n", err.text);
    return r < 0;
}
