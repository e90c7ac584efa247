/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/dataset/import.h"

#include "base/clock.h"
#include "base/file.h"
#include "storage/dataset/import_work.h"
#include "storage/dataset/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(PATH_MAX <= 4096, "paths of struct import");

/* ---- used by the stages ---- */

int import_check(const struct import *im, struct wsl_err *err)
{
    const atomic_bool *cancel = im->setup->cancel;

    if (cancel && atomic_load(cancel))
        return wsl_fail(err, WSL_ECANCELLED, "the import of %s was cancelled", im->setup->source);
    return 0;
}

void import_tell(struct import *im, enum wsl_import_phase phase, uint64_t done, uint64_t total,
                 uint64_t quarantined, bool end)
{
    struct wsl_import_progress progress = {phase, done, total, quarantined};
    uint64_t now;

    if (!im->setup->progress)
        return;
    now = wsl_clock_ns();
    if (!end && now - im->told_ns < 100000000)
        return;
    im->told_ns = now;
    im->setup->progress(im->setup->context, &progress);
}

int import_set_bad(struct item *item, enum wsl_import_fault fault, const char *reason)
{
    item->state = ITEM_BAD;
    item->fault = (uint8_t)fault;
    item->reason = reason && *reason ? strndup(reason, 300) : NULL;
    for (char *p = item->reason; p && *p; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p == 0x7f)
            *p = '?';
    return 0;
}

int import_push(struct numbers *numbers, uint32_t value)
{
    if (numbers->count == numbers->capacity) {
        uint64_t capacity = numbers->capacity ? 2 * numbers->capacity : 4096;
        uint32_t *values = realloc(numbers->values, capacity * sizeof *values);

        if (!values)
            return WSL_ENOMEM;
        numbers->values = values;
        numbers->capacity = capacity;
    }
    numbers->values[numbers->count++] = value;
    return 0;
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

uint32_t import_sort_unique(uint32_t *values, uint32_t count)
{
    uint32_t kept = 0;

    if (count == 0)
        return 0;
    qsort(values, count, sizeof *values, by_value);
    for (uint32_t i = 0; i < count; i++)
        if (kept == 0 || values[i] != values[kept - 1])
            values[kept++] = values[i];
    return kept;
}

/* ---- settings ---- */

void wsl_import_defaults(struct wsl_import_setup *setup)
{
    *setup = (struct wsl_import_setup){.heldout = 0.1,
                                       .min_images = 1,
                                       .side_max = 512,
                                       .quality = 90,
                                       .shard_bytes = (uint64_t)1 << 30};
}

const char *wsl_import_fault_word(enum wsl_import_fault fault)
{
    static const char *const words[] = {
#define X(name, word) word,
        WSL_IMPORT_FAULT_MAP(X)
#undef X
    };

    return (unsigned)fault < WSL_IMPORT_FAULTS ? words[fault] : "unknown fault";
}

static int check_setup(const struct wsl_import_setup *s, struct wsl_err *err)
{
    if (!s->source || !*s->source)
        return wsl_fail(err, WSL_EINVAL, "source: give a manifest file or a folder");
    if (!s->output || !*s->output)
        return wsl_fail(err, WSL_EINVAL, "output: give a folder to make");
    if (s->kind != WSL_IMPORT_MANIFEST && s->kind != WSL_IMPORT_FOLDERS)
        return wsl_fail(err, WSL_EINVAL, "kind: is neither a manifest nor a folder tree");
    if (s->wordnet && s->kind != WSL_IMPORT_MANIFEST)
        return wsl_fail(err, WSL_EINVAL, "wordnet: labels of a folder tree keep their names");
    if (!(s->heldout >= 0 && s->heldout <= 0.9))
        return wsl_fail(err, WSL_EINVAL, "heldout: %g is not between 0 and 0.9", s->heldout);
    if (s->side_max < 8 || s->side_max > 65500)
        return wsl_fail(err, WSL_EINVAL, "side_max: %d is not between 8 and 65500", s->side_max);
    if (s->quality < 1 || s->quality > 100)
        return wsl_fail(err, WSL_EINVAL, "quality: %d is not between 1 and 100", s->quality);
    if (s->threads < 0 || s->threads > 256)
        return wsl_fail(err, WSL_EINVAL, "threads: %d is not between 0 and 256", s->threads);
    if (s->shard_bytes < (uint64_t)1 << 20 || s->shard_bytes > (uint64_t)64 << 30)
        return wsl_fail(err, WSL_EINVAL, "shard_bytes: %llu is not between 1 MiB and 64 GiB",
                        (unsigned long long)s->shard_bytes);
    return 0;
}

/* `output` without slashes at its end; its last part in *ret_name, what is before that in
 * ret_parent. */
static int split_output(const char *output, char path[PATH_MAX], char ret_parent[PATH_MAX],
                        const char **ret_name, struct wsl_err *err)
{
    size_t n = strlen(output);
    char *slash;

    while (n > 1 && output[n - 1] == '/')
        n--;
    if (n + sizeof ".partial" > PATH_MAX)
        return wsl_fail(err, WSL_EINVAL, "path too long: %s", output);
    memcpy(path, output, n);
    path[n] = '\0';
    slash = strrchr(path, '/');
    *ret_name = slash ? slash + 1 : path;
    if (**ret_name == '\0' || strcmp(*ret_name, ".") == 0 || strcmp(*ret_name, "..") == 0)
        return wsl_fail(err, WSL_EINVAL, "output: %s is not the name of a new folder", output);
    if (!slash)
        strcpy(ret_parent, ".");
    else
        snprintf(ret_parent, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    return 0;
}

/* Relative paths of the source start at the tree itself, or at the manifest's folder. */
static int find_base(struct import *im, struct wsl_err *err)
{
    const char *source = im->setup->source;
    struct stat st;
    size_t n = strlen(source);

    if (stat(source, &st) < 0)
        return wsl_fail_errno(err, "cannot read %s", source);
    if (n >= sizeof im->base)
        return wsl_fail(err, WSL_EINVAL, "path too long: %s", source);
    memcpy(im->base, source, n + 1);
    if (im->setup->kind == WSL_IMPORT_FOLDERS) {
        while (n > 1 && im->base[n - 1] == '/')
            im->base[--n] = '\0';
        return S_ISDIR(st.st_mode) ? 0
                                   : wsl_fail(err, WSL_EINVAL,
                                              "%s is not a folder: for a manifest, say so", source);
    }
    if (S_ISDIR(st.st_mode))
        return wsl_fail(err, WSL_EINVAL, "%s is a folder, not a manifest file", source);
    while (n > 0 && im->base[n - 1] != '/')
        n--;
    if (n == 0)
        strcpy(im->base, ".");
    else
        im->base[n] = '\0';
    return 0;
}

/* ---- the folder ---- */

/* What a killed import left. The folder itself stays: its lock is ours. */
static int empty_folder(const char *folder, struct wsl_err *err)
{
    DIR *dir = opendir(folder);
    struct dirent *entry;
    int r = 0;

    if (!dir)
        return wsl_fail_errno(err, "cannot read folder %s", folder);
    while (r == 0 && (entry = readdir(dir))) {
        char path[PATH_MAX];

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        r = wsl_file_join(path, sizeof path, folder, entry->d_name);
        if (r < 0)
            wsl_fail(err, r, "path too long: %s/%s", folder, entry->d_name);
        else
            r = wsl_file_remove_tree(path, err);
    }
    closedir(dir);
    return r;
}

/* Makes "<output>.partial", locks it and empties it; the lock goes with the process. */
static int open_folder(const char *folder, int *ret_lock, struct wsl_err *err)
{
    struct stat mine, now;
    int lock, r;

    r = wsl_file_make_folders(folder, err);
    if (r < 0)
        return r;
    lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (lock < 0)
        return wsl_fail_errno(err, "cannot open %s", folder);
    /* The other import may end, and rename the folder, between open and lock. */
    if (flock(lock, LOCK_EX | LOCK_NB) < 0 || fstat(lock, &mine) < 0 || stat(folder, &now) < 0 ||
        mine.st_ino != now.st_ino)
        r = wsl_fail(err, WSL_EEXIST, "another import writes %s: wait for it", folder);
    else
        r = empty_folder(folder, err);
    if (r < 0)
        close(lock);
    else
        *ret_lock = lock;
    return r;
}

static int open_spool(struct import *im, struct wsl_err *err)
{
    im->spool = open(im->folder, O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
    if (im->spool < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT)) {
        char path[PATH_MAX + 16];

        snprintf(path, sizeof path, "%s/spool", im->folder);
        im->spool = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (im->spool >= 0)
            unlink(path);
    }
    return im->spool < 0 ? wsl_fail_errno(err, "cannot make a file in %s", im->folder) : 0;
}

/* From here on the data set is there: whole, and on the disk. */
static int publish(const struct import *im, const char *output, const char *parent,
                   struct wsl_err *err)
{
    int r = wsl_file_sync_folder(im->folder, err);

    if (r < 0)
        return r;
    r = renameat2(AT_FDCWD, im->folder, AT_FDCWD, output, RENAME_NOREPLACE);
    if (r < 0 && (errno == EINVAL || errno == ENOSYS)) /* a file system without that flag */
        r = rename(im->folder, output);
    if (r < 0)
        return wsl_fail_errno(err, "cannot rename %s to %s", im->folder, output);
    r = wsl_file_sync_folder(parent, err);
    if (r < 0)
        wsl_file_remove_tree(output, NULL);
    return r;
}

/* ---- the whole ---- */

static int prepare(struct import *im, const char *name, struct wsl_err *err)
{
    const struct wsl_import_setup *setup = im->setup;
    int r = open_spool(im, err);

    if (r == 0 && setup->wordnet)
        r = wsl_wordnet_open(&im->wordnet, setup->wordnet, err);
    if (r == 0)
        r = wsl_vocabulary_open(&im->vocabulary, im->wordnet, setup->only_nouns, err);
    if (r < 0)
        return r;
    im->info.kind = setup->kind == WSL_IMPORT_MANIFEST ? "tags" : "labels";
    im->info.name = strdup(setup->name && *setup->name ? setup->name : name);
    if (!im->info.name)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a name");
    if (!wsl_text_is_clean(im->info.name, strlen(im->info.name)) || strlen(im->info.name) > 255)
        return wsl_fail(err, WSL_EINVAL,
                        "name: must be UTF-8 without control characters, of at most 255 bytes");
    return 0;
}

static void free_import(struct import *im)
{
    for (uint32_t i = 0; i < im->item_count; i++)
        free(im->items[i].reason);
    free(im->items);
    free(im->tags.values);
    free(im->order);
    wsl_buf_free(&im->paths);
    wsl_vocabulary_close(im->vocabulary);
    wsl_wordnet_close(im->wordnet);
    wsl_dataset_info_free(&im->info);
    if (im->spool >= 0)
        close(im->spool);
}

static int run(struct import *im, const char *name, struct wsl_err *err)
{
    int r = prepare(im, name, err);

    if (r == 0)
        r = import_list(im, err);
    if (r == 0)
        r = import_decode(im, err);
    if (r == 0)
        r = import_plan(im, err);
    if (r == 0)
        r = import_write(im, err);
    if (r == 0)
        r = import_check(im, err);
    return r;
}

int wsl_import_run(const struct wsl_import_setup *setup, struct wsl_import_result *ret,
                   struct wsl_err *err)
{
    struct import im = {.setup = setup, .result = ret, .spool = -1};
    char output[PATH_MAX], parent[PATH_MAX];
    uint64_t start = wsl_clock_ns();
    const char *name = NULL;
    struct stat st;
    int lock = -1, r;

    memset(ret, 0, sizeof *ret);
    im.paths.limit = (size_t)1 << 40;
    r = check_setup(setup, err);
    if (r == 0)
        r = split_output(setup->output, output, parent, &name, err);
    if (r == 0)
        r = find_base(&im, err);
    if (r == 0 && lstat(output, &st) == 0)
        r = wsl_fail(err, WSL_EEXIST, "%s exists: remove it or choose another name", output);
    if (r < 0)
        return r;
    strcpy(stpcpy(im.folder, output), ".partial"); /* split_output() left room */
    r = open_folder(im.folder, &lock, err);
    if (r < 0)
        return r;
    r = run(&im, name, err);
    free_import(&im);
    if (r == 0)
        r = publish(&im, output, parent, err);
    if (r < 0)
        wsl_file_remove_tree(im.folder, NULL);
    close(lock);
    ret->elapsed_ns = wsl_clock_ns() - start;
    return r;
}
