/* SPDX-License-Identifier: Apache-2.0
 *
 * Checkpoint directories: written whole or not at all, the newest whole one found, old ones
 * removed.
 */
#include "base/clock.h"
#include "base/dirlock.h"
#include "base/file.h"
#include "storage/checkpoint/internal.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEP_PREFIX "step-"
#define STEP_DIGITS 12
#define STEP_MAX    999999999999ull
#define NO_STEP     UINT64_MAX

/* ---- names ---- */

static bool step_of_name(const char *name, uint64_t *ret_step)
{
    const char *digits = name + strlen(STEP_PREFIX);

    if (strncmp(name, STEP_PREFIX, strlen(STEP_PREFIX)) != 0 ||
        strspn(digits, "0123456789") != STEP_DIGITS || digits[STEP_DIGITS] != '\0')
        return false;
    *ret_step = strtoull(digits, NULL, 10);
    return true;
}

/* A directory (no link) that has a manifest: what we may take for ours. */
static bool is_checkpoint(const char *root, const char *name)
{
    char path[4096];
    struct stat st;

    if (wsl_file_join(path, sizeof path, root, name) < 0 || lstat(path, &st) < 0 ||
        !S_ISDIR(st.st_mode))
        return false;
    return (size_t)snprintf(path, sizeof path, "%s/%s/%s", root, name, WSL_CHECKPOINT_MANIFEST) <
               sizeof path &&
           lstat(path, &st) == 0 && S_ISREG(st.st_mode);
}

static int newest_first(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? 1 : x > y ? -1 : 0;
}

/* The steps of all checkpoints of `root`, newest first; *ret is freed by the caller. */
static int list_steps(const char *root, uint64_t **ret, size_t *ret_count, struct wsl_err *err)
{
    DIR *dir = opendir(root);
    uint64_t *steps = NULL, step;
    size_t count = 0, room = 0;
    const struct dirent *entry;

    if (!dir)
        return wsl_fail_errno(err, "cannot open the checkpoint directory %s", root);
    while ((entry = readdir(dir))) {
        if (!step_of_name(entry->d_name, &step) || !is_checkpoint(root, entry->d_name))
            continue;
        if (count == room) {
            uint64_t *more = realloc(steps, (room = room * 2 + 16) * sizeof *steps);

            if (!more) {
                free(steps);
                closedir(dir);
                return wsl_fail(err, WSL_ENOMEM, "cannot list %s: out of memory", root);
            }
            steps = more;
        }
        steps[count++] = step;
    }
    closedir(dir);
    if (count > 0)
        qsort(steps, count, sizeof *steps, newest_first);
    *ret = steps;
    *ret_count = count;
    return 0;
}

static int step_path(const char *root, uint64_t step, char path[4096], struct wsl_err *err)
{
    if ((size_t)snprintf(path, 4096, "%s/" STEP_PREFIX "%0*llu", root, STEP_DIGITS,
                         (unsigned long long)step) >= 4096 - 64)
        return wsl_fail(err, WSL_EINVAL, "path too long: %s", root);
    return 0;
}

/* ---- verifying ---- */

static int hash_file(const char *path, struct wsl_checkpoint_file *ret, struct wsl_err *err)
{
    enum { PART = 1 << 20 };
    uint8_t *part = malloc(PART);
    XXH3_state_t *hash = XXH3_createState();
    int fd = -1, r = 0;

    ret->bytes = 0;
    if (!part || !hash || XXH3_128bits_reset(hash) != XXH_OK)
        r = wsl_fail(err, WSL_ENOMEM, "cannot check %s: out of memory", path);
    else if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        r = wsl_fail_errno(err, "cannot open %s", path);
    while (r == 0) {
        ssize_t n = read(fd, part, PART);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            r = wsl_fail_errno(err, "cannot read %s", path);
        if (n <= 0)
            break;
        XXH3_128bits_update(hash, part, (size_t)n);
        ret->bytes += (uint64_t)n;
    }
    if (r == 0)
        ret->hash = XXH3_128bits_digest(hash);
    if (fd >= 0)
        close(fd);
    XXH3_freeState(hash);
    free(part);
    return r;
}

static int verify_file(const char *directory, const char *name,
                       const struct wsl_checkpoint_file *should, struct wsl_err *err)
{
    struct wsl_checkpoint_file is;
    char path[4096];
    struct stat st;
    int r;

    if (wsl_file_join(path, sizeof path, directory, name) < 0)
        return wsl_fail(err, WSL_EINVAL, "path too long: %s", directory);
    if (stat(path, &st) < 0)
        return wsl_fail_errno(err, "cannot open %s", path);
    if ((uint64_t)st.st_size != should->bytes)
        return wsl_fail(err, WSL_ECORRUPT, "%s has %lld bytes, its manifest says %llu", path,
                        (long long)st.st_size, (unsigned long long)should->bytes);
    r = hash_file(path, &is, err);
    if (r < 0)
        return r;
    if (is.bytes != should->bytes || !XXH128_isEqual(is.hash, should->hash))
        return wsl_fail(err, WSL_ECORRUPT, "%s is damaged (its hash differs from the manifest's)",
                        path);
    return 0;
}

int wsl_checkpoint_verify(const char *directory, struct wsl_err *err)
{
    struct wsl_checkpoint_manifest manifest;
    int r = wsl_checkpoint_manifest_read(directory, &manifest, err);

    if (r < 0)
        return r;
    r = verify_file(directory, WSL_CHECKPOINT_MODEL, &manifest.model, err);
    if (r == 0)
        r = verify_file(directory, WSL_CHECKPOINT_OPTIMIZER, &manifest.optimizer, err);
    wsl_checkpoint_info_free(&manifest.info);
    return r;
}

/* ---- whose it is ---- */

int wsl_checkpoint_check_job(const char *directory, const char *uid, struct wsl_err *err)
{
    struct wsl_checkpoint_info is = {0};
    int r = wsl_checkpoint_read_info(directory, &is, err);

    if (r == 0 && is.job_uid[0] && strcmp(is.job_uid, uid) != 0)
        r = wsl_fail(err, WSL_EEXIST,
                     "%s is of another job: %llu '%s', identity %s, not %s (does another cluster "
                     "keep its checkpoints in the same place?)",
                     directory, (unsigned long long)is.job, is.job_name, is.job_uid,
                     uid[0] ? uid : "none");
    wsl_checkpoint_info_free(&is);
    return r;
}

/* Written by this very job: what it may remove. */
static bool is_own(const char *directory, const char *uid)
{
    struct wsl_checkpoint_info is = {0};
    bool own = wsl_checkpoint_read_info(directory, &is, NULL) == 0 && strcmp(is.job_uid, uid) == 0;

    wsl_checkpoint_info_free(&is);
    return own;
}

int wsl_checkpoint_check_owner(const char *root, const char *uid, struct wsl_err *err)
{
    uint64_t *steps = NULL;
    size_t count = 0;
    char directory[4096];
    int r = list_steps(root, &steps, &count, err);

    for (size_t i = 0; i < count && r == 0; i++) {
        struct wsl_err why;

        r = step_path(root, steps[i], directory, err);
        if (r == 0 && wsl_checkpoint_check_job(directory, uid, &why) == WSL_EEXIST)
            r = wsl_fail(err, WSL_EEXIST, "%s", why.text);
    }
    free(steps);
    return r;
}

static int check_candidate(const char *directory, const char *uid, struct wsl_err *err)
{
    int r = uid ? wsl_checkpoint_check_job(directory, uid, err) : 0;

    return r < 0 ? r : wsl_checkpoint_verify(directory, err);
}

int wsl_checkpoint_newest(const char *root, const char *uid, char ret_directory[4096],
                          char *ret_note, struct wsl_err *err)
{
    uint64_t *steps = NULL;
    size_t count = 0, passed_over = 0;
    struct wsl_err why;
    char directory[4096];
    int r;

    if (ret_note)
        ret_note[0] = '\0';
    r = list_steps(root, &steps, &count, err);
    for (size_t i = 0; i < count && r == 0; i++) {
        r = step_path(root, steps[i], directory, err);
        if (r < 0)
            break;
        if (check_candidate(directory, uid, &why) == 0) {
            free(steps);
            memcpy(ret_directory, directory, strlen(directory) + 1);
            return 0;
        }
        if (ret_note && passed_over++ == 0)
            snprintf(ret_note, 400, "passed over: %.380s", why.text);
    }
    free(steps);
    if (r < 0)
        return r;
    return wsl_fail(err, WSL_ENOENT, "no whole checkpoint%s in %s (%zu damaged%s)",
                    uid ? " of the job" : "", root, count, uid ? " or of another job" : "");
}

int wsl_checkpoint_find(const char *path, char ret_directory[4096], struct wsl_err *err)
{
    char inside[4096];

    if (wsl_file_join(inside, sizeof inside, path, WSL_CHECKPOINT_MODEL) < 0)
        return wsl_fail(err, WSL_ELIMIT, "%.200s...: path too long", path);
    if (!wsl_file_exists(inside))
        return wsl_checkpoint_newest(path, NULL, ret_directory, NULL, err);
    memcpy(ret_directory, path, strlen(path) + 1); /* shorter than `inside` */
    return 0;
}

/* ---- writing ---- */

void wsl_checkpoint_close_root(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* One writer at a time: each removes temporary directories. Held until the descriptor is closed. */
static int lock_root(const char *root, int *ret_fd, struct wsl_err *err)
{
    struct wsl_err why;
    int r = wsl_dirlock_take(root, ret_fd, &why);

    if (r == WSL_EEXIST)
        return wsl_fail(err, WSL_EAGAIN, "another process writes checkpoints into %s", root);
    if (r == WSL_EUNSUPPORTED) { /* NFS without locks: the coordinator's word must do */
        *ret_fd = -1;
        return 0;
    }
    return r < 0 ? wsl_fail(err, r, "checkpoint directory: %s", why.text) : 0;
}

void wsl_checkpoint_remove_leftovers(const char *root)
{
    DIR *dir = opendir(root);
    const struct dirent *entry;
    char path[4096];

    if (!dir)
        return;
    while ((entry = readdir(dir)))
        if (strncmp(entry->d_name, WSL_CHECKPOINT_WRITING, strlen(WSL_CHECKPOINT_WRITING)) == 0 &&
            wsl_file_join(path, sizeof path, root, entry->d_name) == 0)
            wsl_file_remove_tree(path, NULL);
    closedir(dir);
}

/* Takes the name away first, so that no half-removed directory goes by a checkpoint's name. */
static void remove_checkpoint(const char *root, const char *directory)
{
    char removing[4096];

    if ((size_t)snprintf(removing, sizeof removing, "%s/" WSL_CHECKPOINT_WRITING "removing",
                         root) >= sizeof removing)
        return;
    wsl_file_remove_tree(removing, NULL);
    if (rename(directory, removing) == 0)
        wsl_file_remove_tree(removing, NULL);
}

/* Removes the job's oldest beyond `keep`; the one of step `written` counts and is spared. Failures
 * leave a checkpoint too many, which the next write removes. Returns how many are gone. */
static int keep_newest(const char *root, const char *uid, uint64_t written, int keep)
{
    uint64_t *steps = NULL;
    size_t count = 0, kept = written == NO_STEP ? 0 : 1;
    char directory[4096];
    int removed = 0;

    if (list_steps(root, &steps, &count, NULL) < 0)
        return 0;
    for (size_t i = 0; i < count; i++) {
        if (steps[i] == written || step_path(root, steps[i], directory, NULL) < 0 ||
            !is_own(directory, uid) || (int64_t)kept++ < keep)
            continue;
        remove_checkpoint(root, directory);
        removed++;
    }
    free(steps);
    return removed;
}

/* step_path() left room for the names of this directory. */
static void join_path(char path[4096], const char *directory, const char *name)
{
    int r = wsl_file_join(path, 4096, directory, name);

    assert(r == 0);
    (void)r;
}

static int fill_directory(const char *directory, const struct wsl_checkpoint_contents *c,
                          uint64_t *ret_bytes, struct wsl_err *err)
{
    struct wsl_checkpoint_manifest manifest = {.info = *c->info};
    struct wsl_buf text = {0};
    char path[4096];
    int r;

    if (manifest.info.written_ms == 0)
        manifest.info.written_ms = wsl_clock_wall_ms();
    join_path(path, directory, WSL_CHECKPOINT_MODEL);
    r = wsl_safetensors_write_new(path, c->model, c->model_count, &manifest.model, err);
    if (r < 0)
        return r;
    join_path(path, directory, WSL_CHECKPOINT_OPTIMIZER);
    r = wsl_safetensors_write_new(path, c->momentum, c->momentum_count, &manifest.optimizer, err);
    if (r < 0)
        return r;
    r = wsl_checkpoint_manifest_print(&manifest, &text, err);
    if (r == 0) {
        join_path(path, directory, WSL_CHECKPOINT_MANIFEST);
        r = wsl_file_write_atomic(path, text.data, text.size, err); /* syncs the directory too */
    }
    *ret_bytes = manifest.model.bytes + manifest.optimizer.bytes + text.size;
    wsl_buf_free(&text);
    return r;
}

/* Gives `temporary` its name. When a checkpoint of that step is there already (training went back
 * and came by again), the two are exchanged in one step: the name is never without a whole
 * directory. */
static int publish(const char *temporary, const char *directory, struct wsl_err *err)
{
    if (rename(temporary, directory) == 0)
        return 0;
    if (errno != EEXIST && errno != ENOTEMPTY)
        return wsl_fail_errno(err, "cannot rename to %s", directory);
    if (renameat2(AT_FDCWD, temporary, AT_FDCWD, directory, RENAME_EXCHANGE) < 0) {
        if (errno != EINVAL && errno != ENOSYS)
            return wsl_fail_errno(err, "cannot replace %s", directory);
        /* a file system that cannot: older checkpoints bridge the moment */
        if (wsl_file_remove_tree(directory, err) < 0)
            return wsl_err_prefix(err, "cannot replace %s", directory);
        if (rename(temporary, directory) < 0)
            return wsl_fail_errno(err, "cannot rename to %s", directory);
    }
    wsl_file_remove_tree(temporary, NULL);
    return 0;
}

static int write_once(const char *root, const struct wsl_checkpoint_contents *c,
                      const char *directory, uint64_t *ret_bytes, struct wsl_err *err)
{
    char temporary[4096];
    int r;

    snprintf(temporary, sizeof temporary, "%s/" WSL_CHECKPOINT_WRITING "%0*llu", root, STEP_DIGITS,
             (unsigned long long)c->info->step);
    wsl_checkpoint_remove_leftovers(root);
    if (mkdir(temporary, 0755) < 0)
        return wsl_fail_errno(err, "cannot make directory %s", temporary);
    r = fill_directory(temporary, c, ret_bytes, err);
    if (r == 0)
        r = publish(temporary, directory, err);
    if (r < 0)
        wsl_file_remove_tree(temporary, NULL);
    return r;
}

static int write_locked(const char *root, const struct wsl_checkpoint_contents *c,
                        char directory[4096], uint64_t *ret_bytes, struct wsl_err *err)
{
    char parent[4096];
    int r = wsl_checkpoint_check_owner(root, c->info->job_uid, err);

    if (r == 0)
        r = step_path(root, c->info->step, directory, err);
    if (r == 0)
        r = write_once(root, c, directory, ret_bytes, err);
    /* The newest one stays whatever happens; the others are worth less than this one. */
    if (r == WSL_ENOSPC && keep_newest(root, c->info->job_uid, NO_STEP, 1) > 0)
        r = write_once(root, c, directory, ret_bytes, err);
    if (r < 0)
        return r;
    r = wsl_file_sync_directory(root, err);
    join_path(parent, root, ".."); /* root itself may be new */
    return r < 0 ? r : wsl_file_sync_directory(parent, err);
}

int wsl_checkpoint_open_root(const char *root, int *ret_fd, struct wsl_err *err)
{
    struct wsl_err why = {0};
    int r = wsl_file_make_directories(root, &why);

    if (r < 0) /* a file in its place is the disk's matter: WSL_EEXIST means another job here */
        return wsl_fail(err, r == WSL_EEXIST ? WSL_EIO : r, "%s", why.text);
    return lock_root(root, ret_fd, err);
}

int wsl_checkpoint_write(const char *root, const struct wsl_checkpoint_contents *contents, int keep,
                         char ret_directory[4096], uint64_t *ret_bytes, struct wsl_err *err)
{
    const struct wsl_checkpoint_info *info = contents->info;
    char directory[4096];
    uint64_t bytes = 0;
    int fd = -1, r;

    if (info->step > STEP_MAX)
        return wsl_fail(err, WSL_EINVAL, "checkpoint: step %llu has more than %d digits",
                        (unsigned long long)info->step, STEP_DIGITS);
    r = wsl_checkpoint_open_root(root, &fd, err);
    if (r < 0)
        return r;
    r = write_locked(root, contents, directory, &bytes, err);
    if (r == 0) {
        keep_newest(root, info->job_uid, info->step, keep);
        memcpy(ret_directory, directory, strlen(directory) + 1);
        *ret_bytes = bytes;
    }
    wsl_checkpoint_close_root(fd);
    return r;
}
