/* SPDX-License-Identifier: Apache-2.0
 *
 * WebDataset: tar files, member after member; tar_sample.h says which of them belong together.
 */
#include "storage/import/source.h"
#include "storage/import/tar_sample.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

struct tars {
    char **files; /* in the order of their names; "-" : standard input */
    size_t file_count, file;
    struct tar_file *tar; /* of `file`, or NULL */
    uint32_t container;
    struct tar_member member;
    bool have_member;      /* `member` was read but does not belong to the sample */
    struct wsl_err failed; /* why the file cannot be read further; code 0: it can */
    struct tar_sample sample;
};

static int no_memory(struct wsl_err *err)
{
    return wsl_fail(err, WSL_ENOMEM, "no memory for the members of a tar file");
}

/* ---- the files ---- */

/* For a directory of them; what they are shows when they are read. */
static bool is_tar_name(const char *name)
{
    static const char *const endings[] = {".tar",     ".tar.gz", ".tgz",     ".tar.bz2", ".tbz2",
                                          ".tbz",     ".tar.xz", ".txz",     ".tar.zst", ".tzst",
                                          ".tar.lz4", ".tar.z",  ".tar.lzma"};
    size_t n = strlen(name);

    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        size_t m = strlen(endings[i]);

        if (name[0] != '.' && n > m && strcasecmp(name + n - m, endings[i]) == 0)
            return true;
    }
    return false;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_file(struct tars *t, const char *path, struct wsl_err *err)
{
    char **more = realloc(t->files, (t->file_count + 1) * sizeof *more);

    if (!more)
        return no_memory(err);
    t->files = more;
    more[t->file_count] = strdup(path);
    return more[t->file_count++] ? 0 : no_memory(err);
}

static int list_files(struct source *s, struct tars *t, const char *directory, struct wsl_err *err)
{
    DIR *dir = opendir(directory);
    struct dirent *entry;
    char path[PATH_MAX];
    int r = 0;

    if (!dir)
        return wsl_fail_errno(err, "cannot read directory %s", directory);
    while (r == 0 && (errno = 0, entry = readdir(dir))) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (!is_tar_name(entry->d_name)) {
            wsl_source_skip(s, WSL_IMPORT_SKIP_NOT_TAR, entry->d_name, 0);
            continue;
        }
        r = wsl_file_join(path, sizeof path, directory, entry->d_name);
        r = r < 0 ? wsl_fail(err, r, "path too long: %s/%s", directory, entry->d_name)
                  : add_file(t, path, err);
    }
    if (r == 0 && errno)
        r = wsl_fail_errno(err, "cannot read directory %s", directory);
    closedir(dir);
    if (r == 0 && t->file_count == 0)
        r = wsl_fail(err, WSL_EINVAL, "%s has no *.tar, nor *.tar.gz, .bz2, .xz, .zst, .lz4",
                     directory);
    if (t->file_count > 0)
        qsort(t->files, t->file_count, sizeof *t->files, by_text);
    return r;
}

static int open_tars(struct source *s, struct wsl_err *err)
{
    struct tars *t = s->state = calloc(1, sizeof *t);
    const char *source = s->setup->source;
    struct stat st;
    int r;

    if (!t)
        return no_memory(err);
    r = wsl_source_names_load(&t->sample.label_names, s->setup, err);
    if (r < 0)
        return r;
    if (strcmp(source, "-") != 0 && stat(source, &st) == 0 && S_ISDIR(st.st_mode))
        return list_files(s, t, source, err);
    return add_file(t, source, err);
}

static void close_tars(struct source *s)
{
    struct tars *t = s->state;

    if (!t)
        return;
    wsl_tar_file_close(t->tar);
    for (size_t i = 0; i < t->file_count; i++)
        free(t->files[i]);
    free(t->files);
    wsl_tar_sample_free(&t->sample);
    free(t);
}

/* ---- members ---- */

static int open_next(struct source *s, struct tars *t, struct wsl_err *err)
{
    const char *path = t->files[t->file];
    int r = wsl_tar_file_open(&t->tar, path, &t->failed);

    if ((r == WSL_EUNSUPPORTED || r == WSL_ENOENT || r == WSL_EDENIED) && t->file_count > 1)
        return 0; /* one of many that is something else, or a dangling link: said as damage is */
    if (r < 0)
        return wsl_fail(err, r, "%s", t->failed.text);
    return wsl_source_add_container(
        s, path, strcmp(path, "-") ? wsl_tar_file_descriptor(t->tar) : -1, &t->container, err);
}

/* What is no part of a sample: counted, and nothing else. */
static bool pass_over(struct source *s, const struct tars *t)
{
    const struct tar_member *m = &t->member;
    const char *slash = strrchr(m->name, '/');
    enum wsl_import_skip kind;

    if (m->kind == TAR_DIRECTORY)
        return true;
    if (m->kind == TAR_TRAILER) {
        wsl_source_skip(s, WSL_IMPORT_SKIP_TRAILING, t->files[t->file], m->offset);
        return true;
    }
    if (m->kind == TAR_LINK)
        kind = WSL_IMPORT_SKIP_LINK;
    else if (m->kind == TAR_SPECIAL)
        kind = WSL_IMPORT_SKIP_SPECIAL;
    else if (wsl_source_is_hidden(m->name))
        kind = WSL_IMPORT_SKIP_HIDDEN;
    else if (wsl_tar_sample_part(m->name) == SAMPLE_OTHER)
        kind = wsl_source_skip_kind(slash ? slash + 1 : m->name);
    else
        return false;
    wsl_source_skip(s, kind, m->name, m->offset);
    return true;
}

/* Whether it is an image cannot be known. */
static int give_nameless(struct source *s, const struct tars *t, struct source_entry *ret)
{
    snprintf(s->path, sizeof s->path, "%s", t->member.name);
    ret->offset = t->member.offset;
    return wsl_source_quarantine(s, ret, WSL_QUARANTINE_DAMAGED, "%s", t->member.fault);
}

/* Bytes that are no header: whatever they were, they are one line of quarantine. */
static int give_gap(struct source *s, const struct tars *t, struct source_entry *ret)
{
    snprintf(s->path, sizeof s->path, "%s", t->files[t->file]);
    ret->offset = t->member.offset;
    return wsl_source_quarantine(s, ret, WSL_QUARANTINE_CONTAINER,
                                 "%s: %llu bytes were passed over to the next header",
                                 t->member.fault, (unsigned long long)t->member.size);
}

/* The file cannot be read further: said once, then the next one's turn. */
static int give_fault(struct source *s, struct tars *t, struct source_entry *ret)
{
    snprintf(s->path, sizeof s->path, "%s", t->files[t->file]);
    ret->offset = t->tar ? wsl_tar_file_offset(t->tar) : 0;
    return wsl_source_quarantine(s, ret, WSL_QUARANTINE_CONTAINER, "%.180s", t->failed.text);
}

static void end_file(struct tars *t)
{
    wsl_tar_file_close(t->tar);
    t->tar = NULL;
    t->failed = (struct wsl_err){0};
    t->file++;
}

/* Reads on until the sample is complete. Returns 1 with what can be in no sample in *ret, otherwise
 * 0: then the file may have failed. */
static int fill_sample(struct source *s, struct tars *t, struct source_entry *ret)
{
    while (!t->sample.complete && t->failed.code == 0) {
        int r = 1;

        if (!t->have_member)
            r = wsl_tar_file_next(t->tar, &t->member, &t->failed);
        if (r != 1)
            break;
        t->have_member = false;
        if (t->member.kind == TAR_GAP)
            return give_gap(s, t, ret);
        if (t->member.kind == TAR_FILE && t->member.name_is_cut)
            return give_nameless(s, t, ret);
        if (pass_over(s, t))
            continue;
        if (wsl_tar_sample_takes(&t->sample, t->member.name))
            wsl_tar_sample_add(&t->sample, t->tar, &t->member, &t->failed);
        else
            t->have_member = t->sample.complete = true;
    }
    t->sample.complete = true;
    return 0;
}

/* Goes on in the current file: 1 with an entry, 0 when it has no more. */
static int next_of_file(struct source *s, struct tars *t, struct source_entry *ret,
                        struct wsl_err *err)
{
    do {
        int r = t->tar ? fill_sample(s, t, ret) : 0;

        if (t->failed.code == WSL_ENOMEM)
            return wsl_fail(err, WSL_ENOMEM, "%s", t->failed.text);
        if (r == 0) {
            ret->container = t->container;
            r = wsl_tar_sample_next(&t->sample, s, ret, err);
        }
        if (r != 0)
            return r;
    } while (t->have_member);
    return 0;
}

static int next_tars(struct source *s, struct source_entry *ret, struct wsl_err *err)
{
    struct tars *t = s->state;

    while (t->file < t->file_count) {
        int r = t->tar || t->failed.code ? 0 : open_next(s, t, err);

        if (r == 0)
            r = next_of_file(s, t, ret, err);
        if (r != 0)
            return r;
        ret->container = 0;
        if (t->failed.code) {
            give_fault(s, t, ret);
            end_file(t);
            return 1;
        }
        end_file(t);
    }
    return 0;
}

const struct source_ops wsl_source_tar = {
    .word = "webdataset", .open = open_tars, .next = next_tars, .close = close_tars};
