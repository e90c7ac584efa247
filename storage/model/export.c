/* SPDX-License-Identifier: Apache-2.0
 *
 * A checkpoint's weights as a file of their own. They are torchvision's tensors already: what is
 * left is to be sure of them, and to copy them all or not at all. */
#include "base/file.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/model/model_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Is the file the model that the checkpoint says it is? */
static int check_source(const char *path, const struct wsl_checkpoint_info *info,
                        struct wsl_model_file_info *ret, struct wsl_err *err)
{
    int rc = wsl_model_file_check(path, ret, NULL, NULL, err);
    const struct wsl_net_config *c = &ret->config;

    if (rc < 0)
        return rc;
    if (c->stages != info->stages || c->groups != info->groups || c->width != info->width ||
        c->classes != info->classes ||
        memcmp(c->depths, info->depths, (size_t)c->stages * sizeof c->depths[0]) != 0)
        return wsl_fail(err, WSL_ECORRUPT, "%s is of another model than its manifest says", path);
    ret->config.image_size = info->image_size;
    return 0;
}

/* All bytes of one file into another; 0 or -1 with errno, ECANCELED when told to stop. */
static int copy_bytes(int from, int to, off_t size, const atomic_bool *cancel)
{
    enum { PART = 8 << 20 };

    /* A full disk shows now. Not every file system can. */
    if (fallocate(to, 0, 0, size) < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
        return -1;
    while (size > 0) {
        ssize_t n;

        if (cancel && atomic_load(cancel)) {
            errno = ECANCELED;
            return -1;
        }
        n = copy_file_range(from, NULL, to, NULL, size < PART ? (size_t)size : (size_t)PART, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EIO; /* shorter than it was */
        if (n <= 0)
            return -1;
        size -= n;
    }
    return 0;
}

static int copy_into(int from, int to, const char *into, const atomic_bool *cancel,
                     struct wsl_err *err)
{
    struct stat st;

    if (fstat(from, &st) < 0 || copy_bytes(from, to, st.st_size, cancel) < 0 ||
        fchmod(to, 0644) < 0 || fsync(to) < 0) {
        if (errno == ECANCELED)
            return wsl_fail(err, WSL_ECANCELLED, "%s was not written", into);
        return wsl_fail_errno(err, "cannot write %s", into);
    }
    return 0;
}

/* Gives the file its name, unless something has it by now. */
static int publish_file(const char *temporary, const char *into, struct wsl_err *err)
{
    int rc = renameat2(AT_FDCWD, temporary, AT_FDCWD, into, RENAME_NOREPLACE);

    if (rc < 0 && (errno == EINVAL || errno == ENOSYS)) /* a file system that cannot */
        rc = rename(temporary, into);
    return rc < 0 ? wsl_fail_errno(err, "cannot write %s", into) : wsl_file_sync_parent(into, err);
}

/* A new file beside it, then its name; never over a file that is there. */
static int copy_file(const char *from, const char *into, const atomic_bool *cancel,
                     struct wsl_err *err)
{
    char temporary[4096];
    int source, target, rc;

    if ((size_t)snprintf(temporary, sizeof temporary, "%s.XXXXXX", into) >= sizeof temporary)
        return wsl_fail(err, WSL_ELIMIT, "%.200s...: path too long", into);
    source = open(from, O_RDONLY | O_CLOEXEC);
    if (source < 0)
        return wsl_fail_errno(err, "cannot open %s", from);
    target = mkostemp(temporary, O_CLOEXEC);
    if (target < 0) {
        rc = wsl_fail_errno(err, "cannot create %s", into);
        close(source);
        return rc;
    }
    rc = copy_into(source, target, into, cancel, err);
    close(source);
    if (close(target) < 0 && rc == 0)
        rc = wsl_fail_errno(err, "cannot write %s", into);
    if (rc == 0)
        rc = publish_file(temporary, into, err);
    if (rc < 0)
        unlink(temporary);
    return rc;
}

static int export(const char *directory, const char *into, const atomic_bool *cancel,
                  struct wsl_model_file_info *ret, struct wsl_err *err)
{
    struct wsl_checkpoint_info info = {0};
    char path[4096];
    int rc;

    if (wsl_file_join(path, sizeof path, directory, "model.safetensors") < 0)
        return wsl_fail(err, WSL_ELIMIT, "%.200s...: path too long", directory);
    rc = wsl_checkpoint_verify(directory, err);
    if (rc == 0)
        rc = wsl_checkpoint_read_info(directory, &info, err);
    if (rc < 0)
        return rc;
    rc = check_source(path, &info, ret, err);
    wsl_checkpoint_info_free(&info);
    return rc < 0 ? rc : copy_file(path, into, cancel, err);
}

int wsl_model_file_export(const char *checkpoint, const char *into, const atomic_bool *cancel,
                          struct wsl_model_file_info *ret, char ret_directory[4096],
                          struct wsl_err *err)
{
    struct stat st;
    int rc;

    /* Said before gigabytes are compared. */
    if (lstat(into, &st) == 0)
        return wsl_fail(err, WSL_EEXIST, "%s exists; remove it, or give another name", into);
    rc = wsl_checkpoint_find(checkpoint, ret_directory, err);
    return rc < 0 ? rc : export(ret_directory, into, cancel, ret, err);
}
