/* SPDX-License-Identifier: Apache-2.0
 *
 * Lock, sync, rename without replacing, sync of the parent: in that order, so that at no moment
 * there is half an output under its name.
 */
#include "storage/dataset/staging_dir.h"

#include "base/dirlock.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char ending[] = ".partial";

/* Descriptor 0 is a lock only where there is a directory: a zeroed one is closed. */
static bool is_open(const struct wsl_staging_dir *s)
{
    return s->directory[0] && s->lock >= 0;
}

int wsl_staging_dir_set(struct wsl_staging_dir *s, const char *output, struct wsl_err *err)
{
    size_t n = strlen(output);
    const char *name;

    s->lock = -1;
    while (n > 1 && output[n - 1] == '/')
        n--;
    if (n + sizeof ending + WSL_STAGING_NAMES_MAX > sizeof s->output)
        return wsl_fail(err, WSL_EINVAL, "output: path too long: %.100s", output);
    memcpy(s->output, output, n);
    s->output[n] = '\0';
    name = wsl_staging_dir_name(s);
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return wsl_fail(err, WSL_EINVAL, "output: '%.80s' is not a usable name", output);
    strcpy(stpcpy(s->directory, s->output), ending);
    return 0;
}

const char *wsl_staging_dir_name(const struct wsl_staging_dir *s)
{
    const char *slash = strrchr(s->output, '/');

    return slash ? slash + 1 : s->output;
}

static int fail_exists(const struct wsl_staging_dir *s, struct wsl_err *err)
{
    return wsl_fail(err, WSL_EEXIST, "%s exists: remove it or choose another name", s->output);
}

int wsl_staging_dir_check(const struct wsl_staging_dir *s, struct wsl_err *err)
{
    struct stat st;

    return lstat(s->output, &st) == 0 ? fail_exists(s, err) : 0;
}

int wsl_staging_dir_open(struct wsl_staging_dir *s, const char *who, struct wsl_err *err)
{
    int r = wsl_staging_dir_check(s, err);

    if (r == 0)
        r = wsl_file_make_directories(s->directory, err);
    if (r < 0)
        return r;
    r = wsl_dirlock_take(s->directory, &s->lock, err);
    if (r == WSL_EEXIST)
        return wsl_fail(err, r, "another %s writes %s: wait for it", who, s->directory);
    if (r == 0) /* another may just have published it */
        r = wsl_staging_dir_check(s, err);
    if (r < 0)
        wsl_staging_dir_close(s);
    return r;
}

void wsl_staging_dir_remove_published(struct wsl_staging_dir *s, const char *name)
{
    char path[PATH_MAX];

    if (wsl_file_join(path, sizeof path, s->directory, name) == 0 && !wsl_file_exists(path) &&
        wsl_file_exists(s->output) && wsl_dirlock_take(s->directory, &s->lock, NULL) == 0)
        wsl_staging_dir_discard(s);
}

int wsl_staging_dir_clear(const struct wsl_staging_dir *s, const char *but, struct wsl_err *err)
{
    DIR *dir = opendir(s->directory);
    struct dirent *entry;
    int r = 0;

    if (!dir)
        return wsl_fail_errno(err, "cannot read directory %s", s->directory);
    while (r == 0 && (entry = readdir(dir))) {
        char path[PATH_MAX];

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            (but && strcmp(entry->d_name, but) == 0))
            continue;
        r = wsl_file_join(path, sizeof path, s->directory, entry->d_name);
        if (r < 0)
            wsl_fail(err, r, "path too long: %s/%s", s->directory, entry->d_name);
        else
            r = wsl_file_remove_tree(path, err);
    }
    closedir(dir);
    return r;
}

int wsl_staging_dir_sync(const struct wsl_staging_dir *s, struct wsl_err *err)
{
    return syncfs(s->lock) < 0 ? wsl_fail_errno(err, "cannot write %s", s->directory) : 0;
}

static int rename_new(const char *from, const char *to)
{
    int r = renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);

    if (r < 0 && (errno == EINVAL || errno == ENOSYS)) /* a file system without that flag */
        r = rename(from, to);
    return r;
}

int wsl_staging_dir_publish(struct wsl_staging_dir *s, const char *name, struct wsl_err *err)
{
    const char *from = s->directory;
    char path[PATH_MAX];
    int r = 0;

    if (name) {
        r = wsl_file_join(path, sizeof path, s->directory, name);
        if (r < 0)
            return wsl_fail(err, r, "path too long: %s/%s", s->directory, name);
        from = path;
    } else {
        r = wsl_file_sync_directory(s->directory, err);
    }
    if (r < 0)
        return r;
    if (rename_new(from, s->output) < 0)
        return errno == EEXIST ? fail_exists(s, err)
                               : wsl_fail_errno(err, "cannot rename %s to %s", from, s->output);
    if (!name) /* the locked directory is the output now */
        wsl_staging_dir_close(s);
    r = wsl_file_sync_parent(s->output, err);
    if (r < 0)
        wsl_file_remove_tree(s->output, NULL);
    return r;
}

void wsl_staging_dir_discard(struct wsl_staging_dir *s)
{
    if (is_open(s))
        wsl_file_remove_tree(s->directory, NULL);
    wsl_staging_dir_close(s);
}

void wsl_staging_dir_close(struct wsl_staging_dir *s)
{
    if (is_open(s))
        close(s->lock);
    s->lock = -1;
}
