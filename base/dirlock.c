/* SPDX-License-Identifier: Apache-2.0
 *
 * flock(2), with each of its failures told apart: held by another, not to be had at all, broken.
 */
#include "base/dirlock.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int wsl_dirlock_lock(int fd, const char *path, struct wsl_err *err)
{
    int r;

    do
        r = flock(fd, LOCK_EX | LOCK_NB);
    while (r < 0 && errno == EINTR);
    if (r == 0)
        return 0;
    switch (errno) {
    case EWOULDBLOCK:
        return wsl_fail(err, WSL_EEXIST, "%s is locked by another process", path);
    case EBADF: /* NFS: locks of its server want a descriptor to write by, which directories lack */
    case ENOLCK:
    case ENOSYS:
    case EOPNOTSUPP:
        return wsl_fail(err, WSL_EUNSUPPORTED,
                        "cannot lock %s: %s; use a file system that has locks", path,
                        strerror(errno));
    default:
        return wsl_fail_errno(err, "cannot lock %s", path);
    }
}

int wsl_dirlock_take(const char *directory, int *ret_fd, struct wsl_err *err)
{
    struct stat locked, now;
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

    if (fd < 0)
        return wsl_fail_errno(err, "cannot open %s", directory);
    r = wsl_dirlock_lock(fd, directory, err);
    if (r == 0 && fstat(fd, &locked) < 0)
        r = wsl_fail_errno(err, "cannot read %s", directory);
    /* Who held it may have renamed or removed it between open and lock. */
    if (r == 0 &&
        (stat(directory, &now) < 0 || locked.st_ino != now.st_ino || locked.st_dev != now.st_dev))
        r = wsl_fail(err, WSL_EEXIST, "%s was just renamed or removed by another process",
                     directory);
    if (r < 0) {
        close(fd);
        return r;
    }
    *ret_fd = fd;
    return 0;
}
