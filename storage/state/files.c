/* SPDX-License-Identifier: Apache-2.0
 *
 * The disk side of the store: LMDB's tables, append-only files, and what a crash may have left of
 * both.
 */
#include "base/file.h"
#include "storage/state/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { FORMAT = 2, KEY_SIZE = 16, NAME_MAX_BYTES = 63, FULL_BYTES = 1 << 20 };

/* ---- names ---- */

void wsl_files_path(const struct wsl_files *f, uint64_t job, const char *name, char *ret_path,
                    size_t size)
{
    snprintf(ret_path, size, "%s/jobs/%llu/%s", f->directory, (unsigned long long)job, name);
}

/* ---- LMDB ---- */

static int lmdb_fail(struct wsl_err *err, int code, const char *what)
{
    switch (code) {
    case MDB_MAP_FULL:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
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
    if (!r)
        r = mdb_dbi_open(f->txn, "files", MDB_CREATE, &f->files);
    if (!r)
        r = mdb_dbi_open(f->txn, "nodes", MDB_CREATE, &f->nodes);
    if (r)
        mdb_txn_abort(f->txn);
    else
        r = mdb_txn_commit(f->txn);
    f->txn = NULL;
    return r;
}

/* The format is a file of its own, so that an older program can say what it found without reading
 * the store. */
static int check_format(const char *directory, struct wsl_err *err)
{
    char path[PATH_MAX], text[32];
    struct wsl_buf buf = {0};
    int r, version = 0;

    snprintf(path, sizeof path, "%s/format", directory);
    r = wsl_file_read(path, sizeof text, &buf, err);
    if (r == WSL_ENOENT) {
        snprintf(text, sizeof text, "%d\n", FORMAT);
        r = wsl_file_write_atomic(path, text, strlen(text), err);
    } else if (r == 0 && (sscanf((const char *)buf.data, "%d", &version) != 1 || version < 1)) {
        r = wsl_fail(err, WSL_ECORRUPT, "%s does not hold a format number", path);
    } else if (r == 0 && version != FORMAT) {
        r = wsl_fail(err, WSL_EUNSUPPORTED,
                     "the state in %s has format %d, this program uses format %d; use the program "
                     "that made it, or another directory",
                     directory, version, FORMAT);
    }
    wsl_buf_free(&buf);
    return r;
}

static int open_env(struct wsl_files *f, struct wsl_err *err)
{
    char path[PATH_MAX];
    int r = mdb_env_create(&f->env);

    if (r)
        return lmdb_fail(err, r, "create");
    if (wsl_file_join(path, sizeof path, f->directory, "store.mdb") < 0)
        return wsl_fail(err, WSL_EINVAL, "the path %s is too long", f->directory);
    mdb_env_set_maxdbs(f->env, 4);
    mdb_env_set_mapsize(f->env, f->map_bytes);
    /* The directory's lock keeps others out, and LMDB's own keeps the loop's reader and the writer
     * apart; read-ahead would read the whole file at start. */
    r = mdb_env_open(f->env, path, MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD, 0644);
    if (!r)
        r = open_tables(f);
    return r ? lmdb_fail(err, r, path) : 0;
}

int wsl_files_open(struct wsl_files *f, const char *directory, uint64_t map_bytes,
                   struct wsl_err *err)
{
    char path[PATH_MAX];
    int r;

    if ((size_t)snprintf(f->directory, sizeof f->directory, "%s", directory) >=
        sizeof f->directory - 200)
        return wsl_fail(err, WSL_EINVAL, "the path %s is too long", directory);
    f->map_bytes = map_bytes;
    r = check_format(directory, err);
    if (r < 0)
        return r;
    snprintf(path, sizeof path, "%s/jobs", directory);
    r = wsl_file_make_directories(path, err);
    if (r == 0)
        r = open_env(f, err);
    return r == 0 ? wsl_file_sync_directory(directory, err) : r;
}

void wsl_files_close(struct wsl_files *f)
{
    if (f->reader)
        mdb_txn_abort(f->reader);
    f->reader = NULL;
    if (f->env)
        mdb_env_close(f->env);
    f->env = NULL;
}

void wsl_files_fini(struct wsl_files *f)
{
    wsl_files_close(f);
    pthread_mutex_destroy(&f->lock);
}

/* LMDB gave it up: the loop's reader must not be in it meanwhile. */
static int reopen_env(struct wsl_files *f, struct wsl_err *err)
{
    int r;

    pthread_mutex_lock(&f->lock);
    wsl_files_close(f);
    r = open_env(f, err);
    f->broken = r < 0;
    pthread_mutex_unlock(&f->lock);
    return r;
}

int wsl_files_begin(struct wsl_files *f, struct wsl_err *err)
{
    int r;

    if (f->broken || !f->env) {
        r = reopen_env(f, err);
        if (r < 0)
            return r;
    }
    r = mdb_txn_begin(f->env, NULL, 0, &f->txn);
    if (!r)
        return 0;
    f->txn = NULL;
    f->broken = r == MDB_PANIC; /* a write of the last commit's root failed */
    return lmdb_fail(err, r, "begin");
}

/* All records of a table whose key begins with this job. */
static int remove_all(struct wsl_files *f, MDB_dbi table, uint64_t job)
{
    uint8_t key_bytes[8];
    MDB_val key = {sizeof key_bytes, key_bytes}, value;
    MDB_cursor *cursor;
    int r = mdb_cursor_open(f->txn, table, &cursor);

    if (r)
        return r;
    put_be64(key_bytes, job);
    for (r = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); !r;
         r = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        if (key.mv_size < 8 || get_be64(key.mv_data) != job)
            break;
        r = mdb_cursor_del(cursor, 0);
        if (r)
            break;
    }
    mdb_cursor_close(cursor);
    return r == MDB_NOTFOUND ? 0 : r;
}

static int append_one(struct wsl_files *f, const struct op *op, struct wsl_err *err);

static int remove_job(struct wsl_files *f, MDB_val *key, uint64_t job)
{
    int r = mdb_del(f->txn, f->jobs, key, NULL);

    if (!r || r == MDB_NOTFOUND)
        r = remove_all(f, f->events, job);
    return r ? r : remove_all(f, f->files, job);
}

/* A key behind all others fills its pages, where any other would leave half of each empty. What
 * looked new is tried as such; LMDB says when it was not. */
static int put_behind(struct wsl_files *f, MDB_dbi table, MDB_val *key, MDB_val *value,
                      uint64_t *last)
{
    uint64_t job = get_be64(key->mv_data);
    MDB_val copy = *value;
    int r = MDB_KEYEXIST;

    if (job > *last) {
        *last = job;
        r = mdb_put(f->txn, table, key, &copy, MDB_APPEND);
    }
    return r == MDB_KEYEXIST ? mdb_put(f->txn, table, key, value, 0) : r;
}

static int put_one(struct wsl_files *f, const struct op *op, struct wsl_err *err)
{
    uint8_t key_bytes[KEY_SIZE];
    bool event = op->kind == OP_EVENT || op->kind == OP_REMOVE_EVENT;
    MDB_val key = {event ? 16 : 8, key_bytes};
    MDB_val value = {op->size, (void *)op->bytes};
    int r = EINVAL;

    put_be64(key_bytes, op->job);
    put_be64(key_bytes + 8, op->number);
    switch (op->kind) {
    case OP_JOB:
        r = put_behind(f, f->jobs, &key, &value, &f->last_job);
        break;
    case OP_EVENT:
        r = put_behind(f, f->events, &key, &value, &f->last_event_job);
        break;
    case OP_REMOVE_EVENT:
        r = mdb_del(f->txn, f->events, &key, NULL);
        r = r == MDB_NOTFOUND ? 0 : r;
        break;
    case OP_REMOVE:
        r = remove_job(f, &key, op->job);
        break;
    case OP_APPEND:
        return append_one(f, op, err);
    case OP_NODE:
        key = (MDB_val){strlen(op->name), (void *)op->name};
        r = mdb_put(f->txn, f->nodes, &key, &value, 0);
        break;
    case OP_REMOVE_NODE:
        key = (MDB_val){strlen(op->name), (void *)op->name};
        r = mdb_del(f->txn, f->nodes, &key, NULL);
        r = r == MDB_NOTFOUND ? 0 : r;
        break;
    }
    return r ? lmdb_fail(err, r, "put") : 0;
}

int wsl_files_put(struct wsl_files *f, const struct op *first, struct wsl_err *err)
{
    for (const struct op *op = first; op; op = op->next) {
        int r = put_one(f, op, err);

        if (r < 0)
            return r;
    }
    return 0;
}

/* LMDB calls a write that was cut short EIO; most often the disk had no more room. */
static bool disk_is_full(const struct wsl_files *f)
{
    struct statvfs st;

    return statvfs(f->directory, &st) == 0 && st.f_bavail * st.f_frsize < FULL_BYTES;
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
    if (r == EIO && disk_is_full(f))
        r = ENOSPC;
    return r ? lmdb_fail(err, r, "commit") : 0;
}

/* ---- reading ---- */

/* Of all records in the order of their keys. */
typedef int (*load_fn)(MDB_cursor *cursor, wsl_state_record_fn each, void *context,
                       struct wsl_err *err);

static int load_jobs(MDB_cursor *cursor, wsl_state_record_fn job, void *context,
                     struct wsl_err *err)
{
    MDB_val key, value;
    int r;

    while (!(r = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))) {
        int code;

        if (key.mv_size != 8)
            return wsl_fail(err, WSL_ECORRUPT, "the store holds a key of %zu bytes", key.mv_size);
        code = job(context, get_be64(key.mv_data), value.mv_data, value.mv_size);
        if (code < 0)
            return wsl_fail(err, code, "a record of the store cannot be read (job %llu)",
                            (unsigned long long)get_be64(key.mv_data));
    }
    return r == MDB_NOTFOUND ? 0 : lmdb_fail(err, r, "read");
}

static int load_nodes(MDB_cursor *cursor, wsl_state_record_fn node, void *context,
                      struct wsl_err *err)
{
    MDB_val key, value;
    int r;

    while (!(r = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))) {
        int code = node(context, 0, value.mv_data, value.mv_size);

        if (code < 0)
            return wsl_fail(err, code, "a record of the store cannot be read (worker %.*s)",
                            (int)key.mv_size, (const char *)key.mv_data);
    }
    return r == MDB_NOTFOUND ? 0 : lmdb_fail(err, r, "read");
}

static int load_table(struct wsl_files *f, MDB_dbi table, load_fn load, wsl_state_record_fn each,
                      void *context, struct wsl_err *err)
{
    MDB_cursor *cursor;
    MDB_txn *txn;
    int r = mdb_txn_begin(f->env, NULL, MDB_RDONLY, &txn);

    if (r)
        return lmdb_fail(err, r, "read");
    r = mdb_cursor_open(txn, table, &cursor);
    if (r) {
        r = lmdb_fail(err, r, "read");
    } else {
        r = load(cursor, each, context, err);
        mdb_cursor_close(cursor);
    }
    mdb_txn_abort(txn);
    return r;
}

int wsl_files_load(struct wsl_files *f, wsl_state_record_fn job, void *context, struct wsl_err *err)
{
    return load_table(f, f->jobs, load_jobs, job, context, err);
}

int wsl_files_load_nodes(struct wsl_files *f, wsl_state_record_fn node, void *context,
                         struct wsl_err *err)
{
    return load_table(f, f->nodes, load_nodes, node, context, err);
}

/* Locks; a success is followed by end_read(). */
static int begin_read(struct wsl_files *f)
{
    int r;

    pthread_mutex_lock(&f->lock);
    if (!f->env)
        r = EIO;
    else if (f->reader)
        r = mdb_txn_renew(f->reader);
    else
        r = mdb_txn_begin(f->env, NULL, MDB_RDONLY, &f->reader);
    if (!r)
        return 0;
    pthread_mutex_unlock(&f->lock);
    return lmdb_fail(NULL, r, "read");
}

static void end_read(struct wsl_files *f)
{
    mdb_txn_reset(f->reader);
    pthread_mutex_unlock(&f->lock);
}

int wsl_files_read_job(struct wsl_files *f, uint64_t id, wsl_state_record_fn each, void *context)
{
    uint8_t key_bytes[8];
    MDB_val key = {sizeof key_bytes, key_bytes}, value;
    int r = begin_read(f);

    if (r < 0)
        return r;
    put_be64(key_bytes, id);
    r = mdb_get(f->reader, f->jobs, &key, &value);
    r = r == MDB_NOTFOUND ? WSL_ENOENT
        : r               ? lmdb_fail(NULL, r, "read")
                          : each(context, id, value.mv_data, value.mv_size);
    end_read(f);
    return r;
}

static int each_event(MDB_cursor *cursor, uint64_t job, wsl_state_record_fn each, void *context)
{
    uint8_t key_bytes[8];
    MDB_val key = {sizeof key_bytes, key_bytes}, value;
    int r, code = 0;

    put_be64(key_bytes, job);
    for (r = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE); !r && code == 0;
         r = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        if (key.mv_size != KEY_SIZE || get_be64(key.mv_data) != job)
            return 0;
        code =
            each(context, get_be64((const uint8_t *)key.mv_data + 8), value.mv_data, value.mv_size);
    }
    return code < 0 ? code : r && r != MDB_NOTFOUND ? lmdb_fail(NULL, r, "read") : 0;
}

int wsl_files_read_events(struct wsl_files *f, uint64_t job, wsl_state_record_fn each,
                          void *context)
{
    MDB_cursor *cursor;
    int r = begin_read(f);

    if (r < 0)
        return r;
    r = mdb_cursor_open(f->reader, f->events, &cursor);
    if (r) {
        r = lmdb_fail(NULL, r, "read");
    } else {
        r = each_event(cursor, job, each, context);
        mdb_cursor_close(cursor);
    }
    end_read(f);
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

/* Opens the file for writing; the names of new ones are durable when it returns. */
static int open_file(struct wsl_files *f, const struct op *op, char path[PATH_MAX],
                     struct wsl_err *err)
{
    char directory[PATH_MAX], jobs[PATH_MAX];
    int fd, r = 0;

    wsl_files_path(f, op->job, op->name, path, PATH_MAX);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        return fd;
    wsl_files_path(f, op->job, "", directory, sizeof directory);
    directory[strlen(directory) - 1] = '\0';
    if (mkdir(directory, 0755) == 0) {
        r = wsl_file_join(jobs, sizeof jobs, f->directory, "jobs");
        if (r == 0)
            r = wsl_file_sync_directory(jobs, err);
    } else if (errno != EEXIST) {
        return wsl_fail_errno(err, "cannot make directory %s", directory);
    }
    if (r < 0)
        return r;
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return wsl_fail_errno(err, "cannot open %s", path);
    r = wsl_file_sync_directory(directory, err);
    if (r == 0)
        return fd;
    close(fd);
    return r;
}

static size_t file_key(const struct op *op, uint8_t key[8 + NAME_MAX_BYTES + 1])
{
    size_t n = strnlen(op->name, NAME_MAX_BYTES);

    put_be64(key, op->job);
    memcpy(key + 8, op->name, n);
    return 8 + n;
}

static int get_size(struct wsl_files *f, MDB_val *key, uint64_t *ret, struct wsl_err *err)
{
    MDB_val value;
    int r = mdb_get(f->txn, f->files, key, &value);

    *ret = 0;
    if (r == MDB_NOTFOUND)
        return 0;
    if (r)
        return lmdb_fail(err, r, "read");
    if (value.mv_size != 8)
        return wsl_fail(err, WSL_ECORRUPT, "the store holds a size of %zu bytes", value.mv_size);
    *ret = get_be64(value.mv_data);
    return 0;
}

static int append_one(struct wsl_files *f, const struct op *op, struct wsl_err *err)
{
    uint8_t key_bytes[8 + NAME_MAX_BYTES + 1], size_bytes[8];
    MDB_val key = {file_key(op, key_bytes), key_bytes}, value = {8, size_bytes};
    char path[PATH_MAX];
    uint64_t have, end = op->number + op->size;
    int fd, r = get_size(f, &key, &have, err);

    if (r < 0 || end <= have) /* all of it is here already */
        return r;
    if (op->number > have)
        return wsl_fail(
            err, WSL_ESTATE, "%s of job %llu has %llu bytes, and bytes from %llu on came", op->name,
            (unsigned long long)op->job, (unsigned long long)have, (unsigned long long)op->number);
    fd = open_file(f, op, path, err);
    if (fd < 0)
        return fd;
    if (write_at(fd, op->bytes + (have - op->number), (size_t)(end - have), have) < 0 ||
        fdatasync(fd) < 0) {
        r = wsl_fail_errno(err, "cannot write %s", path);
        /* Gives the space back; should that fail, the size in the store is what counts. */
        if (ftruncate(fd, (off_t)have) < 0)
            r = r < 0 ? r : WSL_EIO;
    }
    close(fd);
    if (r < 0)
        return r;
    put_be64(size_bytes, end);
    r = mdb_put(f->txn, f->files, &key, &value, 0);
    return r ? lmdb_fail(err, r, "put") : 0;
}

/* ---- after a crash ---- */

static int mend_one(struct wsl_files *f, uint64_t job, const char *name, uint64_t size,
                    size_t *mended, struct wsl_err *err)
{
    struct op op = {.job = job};
    char path[PATH_MAX];
    struct stat st;
    int fd, r = 0;

    snprintf(op.name, sizeof op.name, "%s", name);
    wsl_files_path(f, job, name, path, sizeof path);
    if (stat(path, &st) == 0 && (uint64_t)st.st_size == size)
        return 0;
    ++*mended;
    fd = open_file(f, &op, path, err);
    if (fd < 0)
        return fd;
    if (ftruncate(fd, (off_t)size) < 0 || fsync(fd) < 0)
        r = wsl_fail_errno(err, "cannot mend %s", path);
    close(fd);
    return r;
}

int wsl_files_mend(struct wsl_files *f, wsl_files_size_fn each, void *context, size_t *ret_mended,
                   struct wsl_err *err)
{
    MDB_val key, value;
    MDB_cursor *cursor;
    MDB_txn *txn;
    int code = 0, r = mdb_txn_begin(f->env, NULL, MDB_RDONLY, &txn);

    *ret_mended = 0;
    if (r)
        return lmdb_fail(err, r, "read");
    r = mdb_cursor_open(txn, f->files, &cursor);
    if (r) {
        mdb_txn_abort(txn);
        return lmdb_fail(err, r, "read");
    }
    while (!r && code == 0 && !(r = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))) {
        char name[NAME_MAX_BYTES + 1] = "";

        if (key.mv_size <= 8 || key.mv_size > 8 + NAME_MAX_BYTES || value.mv_size != 8 ||
            memchr((char *)key.mv_data + 8, '/', key.mv_size - 8)) {
            code = wsl_fail(err, WSL_ECORRUPT, "the store holds a file name that is none");
            break;
        }
        memcpy(name, (char *)key.mv_data + 8, key.mv_size - 8);
        code = mend_one(f, get_be64(key.mv_data), name, get_be64(value.mv_data), ret_mended, err);
        if (code == 0)
            code = each(context, get_be64(key.mv_data), name, get_be64(value.mv_data));
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return code < 0 ? code : r && r != MDB_NOTFOUND ? lmdb_fail(err, r, "read") : 0;
}

void wsl_files_remove(struct wsl_files *f, uint64_t job)
{
    char path[PATH_MAX];

    wsl_files_path(f, job, "", path, sizeof path);
    path[strlen(path) - 1] = '\0';
    /* A leftover directory of a forgotten job does no harm. */
    (void)wsl_file_remove_tree(path, NULL);
}
