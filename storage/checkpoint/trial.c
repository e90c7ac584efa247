/* SPDX-License-Identifier: Apache-2.0
 *
 * Can a checkpoint be written there? Asked before hours of training depend on it.
 */
#include "base/file.h"
#include "storage/checkpoint/internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int fail_room(const char *root, uint64_t largest, uint64_t bytes, struct wsl_err *err)
{
    struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
    struct statvfs fs;

    getrlimit(RLIMIT_FSIZE, &limit);
    if (limit.rlim_cur < largest)
        return wsl_fail(err, WSL_ENOSPC,
                        "%s: a file of a checkpoint has %.2f MB, the limit on file sizes (ulimit "
                        "-f) is %.2f MB",
                        root, (double)largest / 1e6, (double)limit.rlim_cur / 1e6);
    if (statvfs(root, &fs) < 0)
        return wsl_fail_errno(err, "cannot use the checkpoint directory %s", root);
    return wsl_fail(err, WSL_ENOSPC, "%s: a checkpoint takes %.2f MB, and %.2f MB are free", root,
                    (double)bytes / 1e6, (double)fs.f_bavail * (double)fs.f_frsize / 1e6);
}

/* Room for a file; where a file system cannot reserve any, a written block must do. 0, or -1 with
 * errno. */
static int try_file(const char *path, uint64_t bytes)
{
    static const char block[4096];
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644), r, saved;
    struct statvfs fs;

    if (fd < 0)
        return -1;
    r = fallocate(fd, 0, 0, (off_t)bytes);
    if (r < 0 && errno != ENOSPC && errno != EDQUOT && errno != EFBIG) {
        r = write(fd, block, sizeof block) == (ssize_t)sizeof block ? fsync(fd) : -1;
        if (r == 0 && fstatvfs(fd, &fs) == 0 &&
            (double)fs.f_bavail * (double)fs.f_frsize < (double)bytes) {
            errno = ENOSPC;
            r = -1;
        }
    }
    saved = errno;
    close(fd);
    errno = saved;
    return r;
}

static int try_locked(const char *root, const uint64_t bytes[2], struct wsl_err *err)
{
    static const char *const names[] = {WSL_CHECKPOINT_MODEL, WSL_CHECKPOINT_OPTIMIZER};
    char directory[4096 - 64], path[4096];
    int r = 0;

    if (wsl_file_join(directory, sizeof directory, root, WSL_CHECKPOINT_WRITING "trial") < 0)
        return wsl_fail(err, WSL_EINVAL, "path too long: %s", root);
    wsl_checkpoint_remove_leftovers(root);
    if (mkdir(directory, 0755) < 0)
        return wsl_fail_errno(err, "cannot write to the checkpoint directory %s", root);
    for (int i = 0; i < 2 && r == 0; i++) {
        r = wsl_file_join(path, sizeof path, directory, names[i]);
        assert(r == 0); /* `directory` left room */
        if (try_file(path, bytes[i]) == 0)
            continue;
        r = errno == ENOSPC || errno == EDQUOT || errno == EFBIG
                ? fail_room(root, bytes[i], bytes[0] + bytes[1], err)
                : wsl_fail_errno(err, "cannot write to the checkpoint directory %s", root);
    }
    wsl_file_remove_tree(directory, NULL);
    return r;
}

int wsl_checkpoint_try(const char *root, const char *uid, uint64_t model_bytes,
                       uint64_t optimizer_bytes, struct wsl_err *err)
{
    const uint64_t bytes[] = {model_bytes, optimizer_bytes};
    int fd, r = wsl_checkpoint_open_root(root, &fd, err);

    if (r < 0)
        return r;
    r = wsl_checkpoint_check_owner(root, uid, err);
    if (r == 0)
        r = try_locked(root, bytes, err);
    wsl_checkpoint_close_root(fd);
    return r;
}
