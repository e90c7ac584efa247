/* SPDX-License-Identifier: Apache-2.0
 *
 * Folder trees: the first folder is the label.
 */
#include "storage/dataset/import_source.h"

#include <errno.h>
#include <fts.h>
#include <string.h>

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int open_folders(struct source *s, struct wsl_err *err)
{
    char *const roots[] = {(char *)s->base, NULL}; /* fts(3) does not change it */

    s->labels = true;
    s->state = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, by_name);
    return s->state ? 0 : wsl_fail_errno(err, "cannot read folder %s", s->base);
}

static void close_folders(struct source *s)
{
    if (s->state)
        fts_close(s->state);
}

/* 1 with an entry, 0: it is passed over. */
static int take_file(struct source *s, const char *path, struct source_entry *ret,
                     struct wsl_err *err)
{
    const char *slash = strchr(path, '/'), *name = slash ? strrchr(path, '/') + 1 : path;
    int r;

    if (!slash || !source_is_picture_name(name)) {
        source_skip(
            s, source_is_picture_name(name) ? WSL_IMPORT_SKIP_NO_LABEL : source_skip_kind(name),
            path, 0);
        return 0;
    }
    ret->path = path;
    r = source_add_word(s, path, (size_t)(slash - path), err);
    return r < 0 ? r : 1;
}

static int next_folders(struct source *s, struct source_entry *ret, struct wsl_err *err)
{
    size_t skip = strlen(s->base) + 1;
    FTSENT *entry;
    int r;

    while ((errno = 0, entry = fts_read(s->state))) {
        if (entry->fts_level == 0 && entry->fts_info != FTS_D && entry->fts_info != FTS_DP)
            return wsl_fail(err, WSL_EINVAL, "%s is not a folder that can be read", s->base);
        switch (entry->fts_info) {
        case FTS_F:
            r = take_file(s, entry->fts_path + skip, ret, err);
            if (r != 0)
                return r;
            break;
        case FTS_D:
        case FTS_DP:
            break;
        case FTS_DNR:
        case FTS_ERR:
        case FTS_NS:
            errno = entry->fts_errno;
            return wsl_fail_errno(err, "cannot read %s", entry->fts_path);
        case FTS_SL:
        case FTS_SLNONE:
            source_skip(s, WSL_IMPORT_SKIP_LINK, entry->fts_path + skip, 0);
            break;
        default:
            source_skip(s, WSL_IMPORT_SKIP_SPECIAL, entry->fts_path + skip, 0);
        }
    }
    return errno ? wsl_fail_errno(err, "cannot read folder %s", s->base) : 0;
}

const struct source_ops source_folders = {
    .word = "folders", .open = open_folders, .next = next_folders, .close = close_folders};
