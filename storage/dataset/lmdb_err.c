/* SPDX-License-Identifier: Apache-2.0
 *
 * LMDB names the failed call, not the cause: this finds out whether the disk was full.
 */
#include "storage/dataset/lmdb_err.h"

#include <errno.h>
#include <lmdb.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* LMDB reports a short write, which is what a full disk or a limit (ulimit -f) gives first, as an
 * input/output error. */
static bool is_full(const char *path)
{
    static const uint64_t slack = 1 << 20;
    struct statvfs fs;
    struct rlimit limit;
    struct stat st;

    if (statvfs(path, &fs) == 0 && (uint64_t)fs.f_bavail * fs.f_frsize < slack)
        return true;
    return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY &&
           stat(path, &st) == 0 && (uint64_t)st.st_size + slack > limit.rlim_cur;
}

static int map_code(int lmdb_code)
{
    switch (lmdb_code) {
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_VERSION_MISMATCH:
    case MDB_INCOMPATIBLE:
    case MDB_CURSOR_FULL:
    case MDB_PANIC:
        return WSL_ECORRUPT;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
    case MDB_PAGE_FULL:
        return WSL_ELIMIT;
    default:
        return lmdb_code > 0 ? wsl_err_from_errno(lmdb_code) : WSL_EINTERNAL;
    }
}

int wsl_lmdb_fail(struct wsl_err *err, int lmdb_code, const char *verb, const char *path)
{
    if (lmdb_code == EFBIG || lmdb_code == ENOSPC || (lmdb_code == EIO && is_full(path)))
        return wsl_fail(err, WSL_ENOSPC, "cannot %s %s: the disk or the file size limit is full",
                        verb, path);
    return wsl_fail(err, map_code(lmdb_code), "cannot %s %s: %s", verb, path,
                    mdb_strerror(lmdb_code));
}
