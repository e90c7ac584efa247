/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/dataset/staging_dir.h"

#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int wsl_staging_dir_lock(const char *directory, const char *who, int *ret_lock, struct wsl_err *err)
{
    struct stat mine, now;
    int lock, r = wsl_file_make_directories(directory, err);

    if (r < 0)
        return r;
    lock = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock < 0)
        return wsl_fail_errno(err, "cannot open %s", directory);
    /* The other may end, and rename or remove the directory, between open and lock. */
    if (flock(lock, LOCK_EX | LOCK_NB) < 0 || fstat(lock, &mine) < 0 || stat(directory, &now) < 0 ||
        mine.st_ino != now.st_ino) {
        r = wsl_fail(err, WSL_EEXIST, "another %s writes %s: wait for it", who, directory);
        close(lock);
        return r;
    }
    *ret_lock = lock;
    return 0;
}

int wsl_staging_dir_clear(const char *directory, const char *but, struct wsl_err *err)
{
    DIR *dir = opendir(directory);
    struct dirent *entry;
    int r = 0;

    if (!dir)
        return wsl_fail_errno(err, "cannot read directory %s", directory);
    while (r == 0 && (entry = readdir(dir))) {
        char path[PATH_MAX];

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            (but && strcmp(entry->d_name, but) == 0))
            continue;
        r = wsl_file_join(path, sizeof path, directory, entry->d_name);
        if (r < 0)
            wsl_fail(err, r, "path too long: %s/%s", directory, entry->d_name);
        else
            r = wsl_file_remove_tree(path, err);
    }
    closedir(dir);
    return r;
}
