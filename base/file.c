/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole files, durable replacement, directories and locks, with the path in every error.
 */
#include "base/file.h"

#include "base/dirlock.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_all(int fd, size_t limit, struct wsl_buf *out)
{
    size_t start = out->size;

    for (;;) {
        ssize_t n;
        int r = wsl_buf_reserve(out, 65536);

        if (r < 0)
            return r;
        n = read(fd, out->data + out->size, 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return WSL_EIO;
        out->size += (size_t)n;
        out->data[out->size] = 0;
        if (out->size - start > limit)
            return WSL_ELIMIT;
        if (n == 0)
            return 0;
    }
}

int wsl_file_read(const char *path, size_t limit, struct wsl_buf *out, struct wsl_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t before = out->size;
    int r;

    if (fd < 0)
        return wsl_fail_errno(err, "cannot open %s", path);
    r = read_all(fd, limit, out);
    if (r == WSL_EIO)
        r = wsl_fail_errno(err, "cannot read %s", path);
    else if (r == WSL_ELIMIT)
        r = wsl_fail(err, r, "%s is larger than the %zu bytes allowed", path, limit);
    else if (r < 0)
        r = wsl_fail(err, r, "cannot read %s: %s", path, wsl_err_name(r));
    if (r < 0)
        out->size = before;
    if (r < 0 && before == 0)
        wsl_buf_free(out);
    close(fd);
    return r;
}

static int write_all(int fd, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, bytes, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        bytes += n;
        size -= (size_t)n;
    }
    return 0;
}

static void parent_of(const char *path, char directory[PATH_MAX])
{
    char *slash;

    snprintf(directory, PATH_MAX, "%s", path);
    slash = strrchr(directory, '/');
    if (!slash)
        snprintf(directory, PATH_MAX, ".");
    else if (slash == directory)
        directory[1] = '\0';
    else
        *slash = '\0';
}

int wsl_file_write_atomic(const char *path, const void *bytes, size_t size, struct wsl_err *err)
{
    char temporary[PATH_MAX];
    int fd, r = 0;

    if ((size_t)snprintf(temporary, sizeof temporary, "%s.XXXXXX", path) >= sizeof temporary)
        return wsl_fail(err, WSL_EINVAL, "path too long: %s", path);
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return wsl_fail_errno(err, "cannot create a file beside %s", path);
    if (write_all(fd, bytes, size) < 0 || fchmod(fd, 0644) < 0 || fsync(fd) < 0)
        r = wsl_fail_errno(err, "cannot write %s", path);
    if (close(fd) < 0 && r == 0)
        r = wsl_fail_errno(err, "cannot write %s", path);
    if (r == 0 && rename(temporary, path) < 0)
        r = wsl_fail_errno(err, "cannot rename to %s", path);
    if (r < 0) {
        unlink(temporary);
        return r;
    }
    return wsl_file_sync_parent(path, err);
}

int wsl_file_sync_directory(const char *path, struct wsl_err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int r = 0;

    if (fd < 0)
        return wsl_fail_errno(err, "cannot open directory %s", path);
    if (fsync(fd) < 0)
        r = wsl_fail_errno(err, "cannot sync directory %s", path);
    close(fd);
    return r;
}

int wsl_file_sync_parent(const char *path, struct wsl_err *err)
{
    char directory[PATH_MAX];

    parent_of(path, directory);
    return wsl_file_sync_directory(directory, err);
}

int wsl_file_make_directories(const char *path, struct wsl_err *err)
{
    char part[PATH_MAX];
    struct stat st;

    if ((size_t)snprintf(part, sizeof part, "%s", path) >= sizeof part)
        return wsl_fail(err, WSL_EINVAL, "path too long: %s", path);
    for (char *p = part + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return wsl_fail_errno(err, "cannot make directory %s", part);
        *p = '/';
    }
    if (mkdir(part, 0755) < 0 && errno != EEXIST)
        return wsl_fail_errno(err, "cannot make directory %s", path);
    if (stat(path, &st) < 0)
        return wsl_fail_errno(err, "cannot use directory %s", path);
    if (!S_ISDIR(st.st_mode))
        return wsl_fail(err, WSL_EEXIST, "%s exists and is not a directory", path);
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int wsl_file_remove_tree(const char *path, struct wsl_err *err)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : wsl_fail_errno(err, "cannot remove %s", path);
    if (nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS) != 0)
        return wsl_fail_errno(err, "cannot remove %s", path);
    return 0;
}

bool wsl_file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

int wsl_file_join(char *ret_path, size_t size, const char *directory, const char *name)
{
    int n;

    if (name[0] == '/')
        n = snprintf(ret_path, size, "%s", name);
    else
        n = snprintf(ret_path, size, "%s/%s", directory, name);
    return n < 0 || (size_t)n >= size ? WSL_ELIMIT : 0;
}

int wsl_file_lock(const char *path, int *ret_fd, struct wsl_err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    int r;

    if (fd < 0)
        return wsl_fail_errno(err, "cannot open %s", path);
    r = wsl_dirlock_lock(fd, path, err);
    if (r < 0)
        close(fd);
    else
        *ret_fd = fd;
    return r;
}
