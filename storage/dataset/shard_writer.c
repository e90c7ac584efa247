/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes a shard with LMDB itself, without its locks and syncs until the end: nobody else can see
 * the file before it is sealed.
 */
#include "storage/dataset/shard.h"

#include "base/file.h"
#include "storage/dataset/lmdb_err.h"
#include "storage/dataset/record.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

/* LMDB keeps the pages of an open transaction in memory. */
enum { BATCH_RECORDS = 2048, BATCH_BYTES = 4 << 20 };

struct wsl_shard_writer {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    XXH3_state_t *hash;
    uint64_t limit_bytes;
    uint64_t images;
    uint64_t file_bytes; /* as of now, by pages */
    int batch_records;
    size_t batch_bytes;
    char file[64];
    char path[PATH_MAX];
};

static int begin(struct wsl_shard_writer *w, struct wsl_err *err)
{
    int code = mdb_txn_begin(w->env, NULL, 0, &w->txn);

    if (code == 0)
        code = mdb_dbi_open(w->txn, NULL, 0, &w->dbi);
    if (code != 0)
        return wsl_lmdb_fail(err, code, "write shard", w->path);
    w->batch_records = 0;
    w->batch_bytes = 0;
    return 0;
}

static int commit(struct wsl_shard_writer *w, struct wsl_err *err)
{
    MDB_txn *txn = w->txn;
    int code, fd;

    w->txn = NULL; /* gone, whatever the outcome */
    code = mdb_txn_commit(txn);
    if (code == 0)
        code = mdb_env_get_fd(w->env, &fd);
    if (code != 0)
        return wsl_lmdb_fail(err, code, "write shard", w->path);
    /* The disk begins now, not when the shard is sealed. */
    sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    return 0;
}

static int open_env(struct wsl_shard_writer *w, struct wsl_err *err)
{
    int code = mdb_env_create(&w->env);

    /* A ceiling, not an allocation; values of a little over 2 KiB waste half a page. */
    if (code == 0)
        code = mdb_env_set_mapsize(w->env, 2 * w->limit_bytes + ((size_t)256 << 20));
    if (code == 0)
        code = mdb_env_open(w->env, w->path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC, 0644);
    return code == 0 ? begin(w, err) : wsl_lmdb_fail(err, code, "make shard", w->path);
}

int wsl_shard_writer_open(struct wsl_shard_writer **ret, const char *directory, const char *file,
                          uint64_t limit_bytes, struct wsl_err *err)
{
    struct wsl_shard_writer *w = calloc(1, sizeof *w);
    int r;

    if (!w)
        return wsl_fail(err, WSL_ENOMEM, "no memory for shard %s", file);
    snprintf(w->file, sizeof w->file, "%s", file);
    w->limit_bytes = limit_bytes;
    w->hash = XXH3_createState();
    r = w->hash ? wsl_file_join(w->path, sizeof w->path, directory, file) : WSL_ENOMEM;
    if (r < 0)
        wsl_fail(err, r, "cannot make shard %s in %s: %s", file, directory, wsl_err_name(r));
    else if (wsl_file_exists(w->path))
        r = wsl_fail(err, WSL_EEXIST, "shard %s exists", w->path);
    else
        r = open_env(w, err);
    if (r < 0) {
        wsl_shard_writer_close(w);
        return r;
    }
    XXH3_128bits_reset(w->hash);
    *ret = w;
    return 0;
}

static void add_hash(struct wsl_shard_writer *w, const uint8_t *bytes, size_t size)
{
    uint8_t head[8];

    for (int i = 0; i < 8; i++)
        head[i] = (uint8_t)((uint64_t)size >> (8 * i));
    XXH3_128bits_update(w->hash, head, sizeof head);
    XXH3_128bits_update(w->hash, bytes, size);
}

int wsl_shard_writer_add(struct wsl_shard_writer *w, const Wsl__V1__ImageRecord *record,
                         struct wsl_err *err)
{
    size_t size = wsl__v1__image_record__get_packed_size(record);
    MDB_val value = {.mv_size = size};
    uint8_t bytes[8];
    MDB_val key = {.mv_size = sizeof bytes, .mv_data = bytes};
    int code;

    assert(size <= WSL_RECORD_SIZE_MAX);
    if (!w->txn) {
        int r = begin(w, err);

        if (r < 0)
            return r;
    }
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(w->images >> (56 - 8 * i));
    code = mdb_put(w->txn, w->dbi, &key, &value, MDB_APPEND | MDB_RESERVE);
    if (code != 0)
        return wsl_lmdb_fail(err, code, "write shard", w->path);
    wsl__v1__image_record__pack(record, value.mv_data);
    add_hash(w, value.mv_data, size);
    w->images++;
    w->batch_records++;
    w->batch_bytes += size;
    w->file_bytes += size + 40; /* a little under what pages make of it */
    if (w->batch_records < BATCH_RECORDS && w->batch_bytes < BATCH_BYTES)
        return 0;
    return commit(w, err);
}

int wsl_shard_writer_is_full(const struct wsl_shard_writer *w)
{
    return w->file_bytes >= w->limit_bytes;
}

/* LMDB does not write pages at the end that a transaction took and gave back; a reader wants every
 * page it counts. */
static int pad(const struct wsl_shard_writer *w, uint64_t bytes, uint64_t *ret_bytes,
               struct wsl_err *err)
{
    int fd = open(w->path, O_RDWR | O_CLOEXEC);
    struct stat st;
    int r = 0;

    if (fd < 0)
        return wsl_fail_errno(err, "cannot open shard %s", w->path);
    if (fstat(fd, &st) < 0 || ((uint64_t)st.st_size < bytes && ftruncate(fd, (off_t)bytes) < 0) ||
        fsync(fd) < 0)
        r = wsl_fail_errno(err, "cannot write shard %s", w->path);
    close(fd);
    *ret_bytes = (uint64_t)st.st_size > bytes ? (uint64_t)st.st_size : bytes;
    return r;
}

int wsl_shard_writer_seal(struct wsl_shard_writer *w, struct wsl_shard_entry *ret,
                          struct wsl_err *err)
{
    XXH128_hash_t digest;
    MDB_envinfo info;
    MDB_stat stat;
    int code, r;

    r = w->txn ? commit(w, err) : 0;
    if (r < 0)
        return r;
    code = mdb_env_info(w->env, &info);
    if (code == 0)
        code = mdb_env_stat(w->env, &stat);
    if (code != 0)
        return wsl_lmdb_fail(err, code, "write shard", w->path);
    memset(ret, 0, sizeof *ret);
    r = pad(w, (info.me_last_pgno + 1) * stat.ms_psize, &ret->bytes, err);
    if (r < 0)
        return r;
    digest = XXH3_128bits_digest(w->hash);
    snprintf(ret->file, sizeof ret->file, "%s", w->file);
    snprintf(ret->fingerprint, sizeof ret->fingerprint, "%016llx%016llx",
             (unsigned long long)digest.high64, (unsigned long long)digest.low64);
    ret->images = w->images;
    return 0;
}

void wsl_shard_writer_close(struct wsl_shard_writer *w)
{
    if (!w)
        return;
    if (w->txn)
        mdb_txn_abort(w->txn);
    if (w->env)
        mdb_env_close(w->env);
    XXH3_freeState(w->hash);
    free(w);
}
