/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "storage/state/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FORMAT = 1, KEY_SIZE = 16 };

/* ---- names ---- */

void wsl_files_path(const struct wsl_files *f, uint64_t job, const char *name, char *ret_path,
                    size_t size)
{
    snprintf(ret_path, size, "%s/jobs/%llu/%s", f->folder, (unsigned long long)job, name);
}

uint64_t wsl_files_size(const struct wsl_files *f, uint64_t job, const char *name)
{
    char path[PATH_MAX];
    struct stat st;

    wsl_files_path(f, job, name, path, sizeof path);
    return stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* ---- LMDB ---- */

static int lmdb_fail(struct wsl_err *err, int code, const char *what)
{
    switch (code) {
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
        return wsl_fail(err, WSL_ENOSPC,
                        "the store is full (%s): free disk space, or remove old jobs", what);
    case ENOMEM:
        return wsl_fail(err, WSL_ENOMEM, "no memory for the store (%s)", what);
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
        return wsl_fail(err, WSL_ECORRUPT, "the store is damaged (%s: %s)", what,
                        mdb_strerror(code));
    case EACCES:
    case EPERM:
    case EROFS:
        return wsl_fail(err, WSL_EDENIED, "the store cannot be written (%s: %s)", what,
                        mdb_strerror(code));
    default:
        return wsl_fail(err, WSL_EIO, "the store failed (%s: %s)", what, mdb_strerror(code));
    }
}

static void put_be64(uint8_t *to, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        to[i] = (uint8_t)(value >> (56 - 8 * i));
}

static uint64_t get_be64(const uint8_t *from)
{
    uint64_t value = 0;

    for (int i = 0; i < 8; i++)
        value = value << 8 | from[i];
    return value;
}

static int open_tables(struct wsl_files *f)
{
    int r = mdb_txn_begin(f->env, NULL, 0, &f->txn);

    if (r)
        return r;
    r = mdb_dbi_open(f->txn, "jobs", MDB_CREATE, &f->jobs);
    if (!r)
        r = mdb_dbi_open(f->txn, "events", MDB_CREATE, &f->events);
    if (r)
        mdb_txn_abort(f->txn);
    else
        r = mdb_txn_commit(f->txn);
    f->txn = NULL;
    return r;
}

/* The format is a file of its own, so that an older program can say what it found without reading
 * the store. */
static int check_format(const char *folder, struct wsl_err *err)
{
    char path[PATH_MAX], text[32];
    struct wsl_buf buf = {0};
    int r, version = 0;

    snprintf(path, sizeof path, "%s/format", folder);
    r = wsl_file_read(path, sizeof text, &buf, err);
    if (r == WSL_ENOENT) {
        snprintf(text, sizeof text, "%d\n", FORMAT);
        r = wsl_file_write_atomic(path, text, strlen(text), err);
    } else if (r == 0 && (sscanf((const char *)buf.data, "%d", &version) != 1 || version < 1)) {
        r = wsl_fail(err, WSL_ECORRUPT, "%s does not hold a format number", path);
    } else if (r == 0 && version > FORMAT) {
        r = wsl_fail(err, WSL_EUNSUPPORTED,
                     "the state in %s has format %d; this program knows formats up to %d", folder,
                     version, FORMAT);
    }
    wsl_buf_free(&buf);
    return r;
}

int wsl_files_open(struct wsl_files *f, const char *folder, uint64_t map_bytes, struct wsl_err *err)
{
    char path[PATH_MAX];
    int r;

    if ((size_t)snprintf(f->folder, sizeof f->folder, "%s", folder) >= sizeof f->folder - 200)
        return wsl_fail(err, WSL_EINVAL, "the path %s is too long", folder);
    r = check_format(folder, err);
    if (r < 0)
        return r;
    snprintf(path, sizeof path, "%s/jobs", folder);
    r = wsl_file_make_folders(path, err);
    if (r < 0)
        return r;
    r = mdb_env_create(&f->env);
    if (r)
        return lmdb_fail(err, r, "create");
    snprintf(path, sizeof path, "%s/store.mdb", folder);
    mdb_env_set_maxdbs(f->env, 4);
    mdb_env_set_mapsize(f->env, map_bytes);
    /* The folder's lock keeps others out; read-ahead would read the whole file at start. */
    r = mdb_env_open(f->env, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NORDAHEAD, 0644);
    if (!r)
        r = open_tables(f);
    return r ? lmdb_fail(err, r, path) : 0;
}

void wsl_files_close(struct wsl_files *f)
{
    if (f->env)
        mdb_env_close(f->env);
    f->env = NULL;
}

int wsl_files_begin(struct wsl_files *f, struct wsl_err *err)
{
    int r = mdb_txn_begin(f->env, NULL, 0, &f->txn);

    if (!r)
        return 0;
    f->txn = NULL;
    return lmdb_fail(err, r, "begin");
}

static int remove_events(struct wsl_files *f, uint64_t job)
{
    uint8_t key_bytes[KEY_SIZE];
    MDB_val key = {KEY_SIZE, key_bytes}, value;
    MDB_cursor *cursor;
    int r = mdb_cursor_open(f->txn, f->events, &cursor);

    if (r)
        return r;
    put_be64(key_bytes, job);
    put_be64(key_bytes + 8, 0);
    for (r = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); !r;
         r = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        if (key.mv_size != KEY_SIZE || get_be64(key.mv_data) != job)
            break;
        r = mdb_cursor_del(cursor, 0);
        if (r)
            break;
    }
    mdb_cursor_close(cursor);
    return r == MDB_NOTFOUND ? 0 : r;
}

static int put_one(struct wsl_files *f, const struct op *op)
{
    uint8_t key_bytes[KEY_SIZE];
    MDB_val key = {op->kind == OP_EVENT ? 16 : 8, key_bytes};
    MDB_val value = {op->size, (void *)op->bytes};
    int r;

    put_be64(key_bytes, op->job);
    put_be64(key_bytes + 8, op->number);
    switch (op->kind) {
    case OP_JOB:
        return mdb_put(f->txn, f->jobs, &key, &value, 0);
    case OP_EVENT:
        return mdb_put(f->txn, f->events, &key, &value, 0);
    case OP_REMOVE:
        r = mdb_del(f->txn, f->jobs, &key, NULL);
        return r && r != MDB_NOTFOUND ? r : remove_events(f, op->job);
    case OP_APPEND:
        return 0;
    }
    return EINVAL;
}

int wsl_files_put(struct wsl_files *f, const struct op *first, struct wsl_err *err)
{
    for (const struct op *op = first; op; op = op->next) {
        int r = put_one(f, op);

        if (r)
            return lmdb_fail(err, r, "put");
    }
    return 0;
}

int wsl_files_end(struct wsl_files *f, bool keep, struct wsl_err *err)
{
    int r;

    if (!f->txn)
        return 0;
    if (!keep) {
        mdb_txn_abort(f->txn);
        f->txn = NULL;
        return 0;
    }
    r = mdb_txn_commit(f->txn);
    f->txn = NULL;
    return r ? lmdb_fail(err, r, "commit") : 0;
}

static int load_table(MDB_txn *txn, MDB_dbi table, size_t key_size,
                      const struct wsl_state_load *load, struct wsl_err *err)
{
    MDB_val key, value;
    MDB_cursor *cursor;
    int r = mdb_cursor_open(txn, table, &cursor);

    if (r)
        return lmdb_fail(err, r, "read");
    while (!(r = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))) {
        const uint8_t *k = key.mv_data;
        int code;

        if (key.mv_size != key_size)
            code = wsl_fail(err, WSL_ECORRUPT, "the store holds a key of %zu bytes", key.mv_size);
        else if (key_size == 8)
            code = load->job(load->context, get_be64(k), value.mv_data, value.mv_size);
        else
            code = load->event(load->context, get_be64(k), get_be64(k + 8), value.mv_data,
                               value.mv_size);
        if (code < 0) {
            mdb_cursor_close(cursor);
            return key.mv_size != key_size
                       ? code
                       : wsl_fail(err, code, "a record of the store cannot be read (job %llu)",
                                  (unsigned long long)get_be64(k));
        }
    }
    mdb_cursor_close(cursor);
    return r == MDB_NOTFOUND ? 0 : lmdb_fail(err, r, "read");
}

int wsl_files_load(struct wsl_files *f, const struct wsl_state_load *load, struct wsl_err *err)
{
    MDB_txn *txn;
    int r = mdb_txn_begin(f->env, NULL, MDB_RDONLY, &txn);

    if (r)
        return lmdb_fail(err, r, "read");
    r = load_table(txn, f->jobs, 8, load, err);
    if (r == 0)
        r = load_table(txn, f->events, 16, load, err);
    mdb_txn_abort(txn);
    return r;
}

/* ---- append-only files ---- */

static int write_at(int fd, const uint8_t *bytes, size_t size, uint64_t offset)
{
    while (size > 0) {
        ssize_t n = pwrite(fd, bytes, size, (off_t)offset);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        bytes += n;
        size -= (size_t)n;
        offset += (uint64_t)n;
    }
    return 0;
}

static int append_open(struct wsl_files *f, const struct op *op, int fd, const char *path,
                       struct wsl_err *err)
{
    struct stat st;
    uint64_t have, skip;

    (void)f;
    if (fstat(fd, &st) < 0)
        return wsl_fail_errno(err, "cannot read the size of %s", path);
    have = (uint64_t)st.st_size;
    if (op->number > have)
        return wsl_fail(err, WSL_ESTATE, "%s has %llu bytes, and bytes from %llu on were sent",
                        path, (unsigned long long)have, (unsigned long long)op->number);
    skip = have - op->number;
    if (skip >= op->size)
        return 0;
    if (write_at(fd, op->bytes + skip, op->size - skip, have) == 0 && fdatasync(fd) == 0)
        return 0;
    wsl_fail_errno(err, "cannot write %s", path);
    /* What was written in part will be sent again. */
    if (ftruncate(fd, (off_t)have) < 0)
        return WSL_EIO;
    return err ? err->code : WSL_EIO;
}

static int append_one(struct wsl_files *f, const struct op *op, struct wsl_err *err)
{
    char path[PATH_MAX];
    int fd, r;

    wsl_files_path(f, op->job, "", path, sizeof path);
    path[strlen(path) - 1] = '\0';
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return wsl_fail_errno(err, "cannot make folder %s", path);
    wsl_files_path(f, op->job, op->name, path, sizeof path);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return wsl_fail_errno(err, "cannot open %s", path);
    r = append_open(f, op, fd, path, err);
    close(fd);
    return r;
}

int wsl_files_append(struct wsl_files *f, const struct op *first, struct wsl_err *err)
{
    for (const struct op *op = first; op; op = op->next) {
        int r = op->kind == OP_APPEND ? append_one(f, op, err) : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

void wsl_files_remove(struct wsl_files *f, uint64_t job)
{
    char path[PATH_MAX];

    wsl_files_path(f, job, "", path, sizeof path);
    path[strlen(path) - 1] = '\0';
    /* A leftover folder of a forgotten job does no harm. */
    (void)wsl_file_remove_tree(path, NULL);
}
