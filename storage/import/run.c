/* SPDX-License-Identifier: Apache-2.0
 *
 * An import from its settings to the published directory: checks, the stages in order, and what
 * remains after a failure.
 */
#include "storage/import/import.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/utf8.h"
#include "storage/dataset/staging_dir.h"
#include "storage/import/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(PATH_MAX <= 4096, "paths of struct import");

#define SET "set" /* in the staging directory: what becomes the output */

/* ---- settings ---- */

void wsl_import_defaults(struct wsl_import_setup *setup)
{
    *setup = (struct wsl_import_setup){
        .heldout = 0.1, .min_images = 1, .quality = 90, .shard_bytes = (uint64_t)1 << 30};
}

static int check_in_place(const struct wsl_import_setup *s, struct wsl_err *err)
{
    if (!s->in_place)
        return 0;
    if ((s->kind != WSL_IMPORT_LMDB && s->kind != WSL_IMPORT_TAR) || strcmp(s->source, "-") == 0)
        return wsl_fail(err, WSL_EINVAL,
                        "in place: images can stay in an LMDB or in tar files, not in %s",
                        s->source);
    if (s->transcode)
        return wsl_fail(err, WSL_EINVAL, "in place: images stay as they are, without transcode");
    return 0;
}

static int check_setup(const struct wsl_import_setup *s, struct wsl_err *err)
{
    if (!s->source || !*s->source)
        return wsl_fail(err, WSL_EINVAL, "source: give a file or a directory");
    if (!s->output || !*s->output)
        return wsl_fail(err, WSL_EINVAL, "output: give a directory to make");
    if ((unsigned)s->kind > WSL_IMPORT_LMDB)
        return wsl_fail(err, WSL_EINVAL, "kind: %d is not a layout", (int)s->kind);
    if (!(s->heldout >= 0 && s->heldout <= 0.9))
        return wsl_fail(err, WSL_EINVAL, "heldout: %g is not between 0 and 0.9", s->heldout);
    if (s->side_max != 0 && (s->side_max < 8 || s->side_max > 65500))
        return wsl_fail(err, WSL_EINVAL, "side_max: %d is neither 0 nor between 8 and 65500",
                        s->side_max);
    if (s->quality < 1 || s->quality > 100)
        return wsl_fail(err, WSL_EINVAL, "quality: %d is not between 1 and 100", s->quality);
    if (s->threads < 0 || s->threads > 256)
        return wsl_fail(err, WSL_EINVAL, "threads: %d is not between 0 and 256", s->threads);
    if (s->shard_bytes < (uint64_t)1 << 20 || s->shard_bytes > (uint64_t)64 << 30)
        return wsl_fail(err, WSL_EINVAL, "shard_bytes: %llu is not between 1 MiB and 64 GiB",
                        (unsigned long long)s->shard_bytes);
    return check_in_place(s, err);
}

static bool is_list(enum wsl_import_kind kind)
{
    return kind == WSL_IMPORT_MANIFEST || kind == WSL_IMPORT_JSONL;
}

/* Relative paths start at the manifest's directory, or at the source when that is a directory. */
static int find_base(struct import *im, struct wsl_err *err)
{
    const char *source = im->setup->source;
    enum wsl_import_kind kind = im->setup->kind;
    size_t n = strlen(source);
    struct stat st;

    if (kind == WSL_IMPORT_TAR && strcmp(source, "-") == 0)
        return 0;
    if (stat(source, &st) < 0)
        return wsl_fail_errno(err, "cannot read %s", source);
    if (n >= sizeof im->base)
        return wsl_fail(err, WSL_EINVAL, "path too long: %s", source);
    if (kind == WSL_IMPORT_TAR || kind == WSL_IMPORT_LMDB)
        return 0;
    memcpy(im->base, source, n + 1);
    if (!is_list(kind)) {
        while (n > 1 && im->base[n - 1] == '/')
            im->base[--n] = '\0';
        return S_ISDIR(st.st_mode)
                   ? 0
                   : wsl_fail(err, WSL_EINVAL, "%s is not a directory: for a manifest, say so",
                              source);
    }
    if (S_ISDIR(st.st_mode))
        return wsl_fail(err, WSL_EINVAL, "%s is a directory, not a manifest file", source);
    while (n > 0 && im->base[n - 1] != '/')
        n--;
    if (n == 0)
        strcpy(im->base, ".");
    else
        im->base[n] = '\0';
    return 0;
}

/* ---- the directory ---- */

/* The journal decides: without one that fits, whatever else lies there is of no use. */
static int open_work(struct import *im, struct wsl_err *err)
{
    char path[PATH_MAX];
    int r = wsl_import_journal_open(im, err);

    if (r == 0 && !wsl_import_journal_has_work(im->journal))
        r = wsl_staging_dir_clear(&im->staging, "journal", err);
    if (r == 0)
        r = wsl_file_make_directories(im->set, err);
    if (r < 0)
        return r;
    r = wsl_file_join(path, sizeof path, im->staging.directory, "spool");
    if (r < 0)
        return wsl_fail(err, r, "path too long: %s/spool", im->staging.directory);
    im->spool = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return im->spool < 0 ? wsl_fail_errno(err, "cannot make %s", path) : 0;
}

/* Whether a name belongs to the finished set. */
static bool is_wanted(const struct import *im, const char *name)
{
    unsigned long long number;
    int end = 0;

    if (strcmp(name, WSL_DATASET_FILE) == 0 || strcmp(name, "quarantine.tsv") == 0 ||
        strcmp(name, IMPORT_SKIPS_FILE) == 0)
        return true;
    return sscanf(name, "shard-%llu.lmdb%n", &number, &end) == 1 && end > 0 && !name[end] &&
           number < im->result->shards;
}

/* Nothing but the set: a killed import may have left a file half written, or a shard too many. */
static int remove_leftovers(const struct import *im, struct wsl_err *err)
{
    DIR *dir = opendir(im->set);
    struct dirent *entry;
    int r = 0;

    if (!dir)
        return wsl_fail_errno(err, "cannot read directory %s", im->set);
    while (r == 0 && (entry = readdir(dir))) {
        char path[PATH_MAX];

        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            is_wanted(im, entry->d_name))
            continue;
        r = wsl_file_join(path, sizeof path, im->set, entry->d_name);
        r = r < 0 ? wsl_fail(err, r, "path too long: %s/%s", im->set, entry->d_name)
                  : wsl_file_remove_tree(path, err);
    }
    closedir(dir);
    return r;
}

/* From here on the data set is there: whole, and on the disk. */
static int publish(struct import *im, struct wsl_err *err)
{
    int r = remove_leftovers(im, err);

    if (r == 0)
        r = wsl_file_sync_directory(im->set, err);
    return r < 0 ? r : wsl_staging_dir_publish(&im->staging, SET, err);
}

/* ---- the whole ---- */

static int prepare(struct import *im, struct wsl_err *err)
{
    const struct wsl_import_setup *setup = im->setup;
    const char *name = wsl_staging_dir_name(&im->staging);
    int r = 0;

    im->info.name = strdup(setup->name && *setup->name ? setup->name : name);
    if (!im->info.name)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a name");
    if (!wsl_utf8_is_clean(im->info.name, strlen(im->info.name)) || strlen(im->info.name) > 255)
        return wsl_fail(err, WSL_EINVAL,
                        "name: must be UTF-8 without control characters, of at most 255 bytes");
    if (setup->wordnet)
        r = wsl_wordnet_open(&im->wordnet, setup->wordnet, err);
    if (r == 0)
        r = wsl_vocabulary_builder_open(&im->vocabulary, im->wordnet, setup->only_nouns, err);
    return r;
}

static void free_import(struct import *im)
{
    for (uint32_t i = 0; i < im->item_count; i++)
        free(wsl_import_item(im, i)->detail);
    for (size_t i = 0; im->blocks && i < ITEM_BLOCKS && im->blocks[i]; i++)
        free(im->blocks[i]);
    free(im->blocks);
    wsl_source_close(&im->source);
    wsl_import_skips_close(&im->skips, NULL);
    free(im->tags.values);
    free(im->order);
    wsl_buf_free(&im->paths);
    wsl_vocabulary_builder_close(im->vocabulary);
    wsl_wordnet_close(im->wordnet);
    wsl_dataset_info_free(&im->info);
    wsl_import_journal_close(im->journal);
    if (im->spool >= 0)
        close(im->spool);
}

static int run(struct import *im, struct wsl_err *err)
{
    int r = open_work(im, err);

    if (r == 0)
        r = wsl_import_list(im, err);
    if (r == 0)
        r = wsl_import_decode(im, err);
    if (r == 0)
        r = wsl_import_plan(im, err);
    if (r == 0)
        r = wsl_import_write(im, err);
    if (r == 0)
        r = wsl_import_check(im, err);
    return r;
}

/* Work that the same call would go on with is worth keeping; of what cannot become a data set
 * nothing is. A journal of other settings is not ours. */
static void clean_up(struct import *im, int r)
{
    bool others = r == WSL_EEXIST && !im->journal;
    bool useful = r < 0 && r != WSL_EINVAL && wsl_import_journal_has_work(im->journal);

    if (others || useful)
        wsl_staging_dir_close(&im->staging);
    else
        wsl_staging_dir_discard(&im->staging);
}

static void add_remedy(int r, struct wsl_err *err)
{
    size_t n = err ? strlen(err->text) : 0;

    if (r == WSL_ENOSPC && err && n + 70 < sizeof err->text)
        strcpy(err->text + n, "; free some space and repeat the command: it resumes from here");
}

static int run_staged(struct import *im, struct wsl_err *err)
{
    int r = wsl_staging_dir_open(&im->staging, "import", err);

    if (r < 0)
        return r;
    r = run(im, err);
    if (r == 0)
        r = publish(im, err);
    clean_up(im, r);
    add_remedy(r, err);
    return r;
}

int wsl_import_run(const struct wsl_import_setup *setup, struct wsl_import_result *ret,
                   struct wsl_err *err)
{
    struct import im = {.setup = setup, .result = ret, .spool = -1};
    uint64_t start = wsl_clock_ns();
    int r;

    memset(ret, 0, sizeof *ret);
    im.paths.limit = (size_t)1 << 40;
    r = check_setup(setup, err);
    if (r == 0)
        r = wsl_staging_dir_set(&im.staging, setup->output, err);
    if (r == 0)
        r = find_base(&im, err);
    if (r < 0)
        return r;
    strcpy(stpcpy(im.set, im.staging.directory), "/" SET); /* staging left room */
    r = wsl_staging_dir_check(&im.staging, err);
    if (r < 0) {
        wsl_staging_dir_remove_published(&im.staging, SET);
        return r;
    }
    r = prepare(&im, err);
    if (r == 0)
        r = run_staged(&im, err);
    free_import(&im);
    ret->elapsed_ns = wsl_clock_ns() - start;
    return r;
}
