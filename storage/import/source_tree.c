/* SPDX-License-Identifier: Apache-2.0
 *
 * A stack of open directories, each read whole and sorted, so that the order is the same
 * everywhere.
 */
#include "storage/import/source_tree.h"

#include <errno.h>
#include <fts.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Which directory it is, whatever leads to it. */
struct directory_id {
    dev_t device;
    ino_t inode;
};

struct source_tree {
    FTS *fts;
    size_t root_size;         /* bytes of the root's path */
    char real[PATH_MAX];      /* the root without links */
    void *followed;           /* tsearch(3): directories outside that links led to */
    uint64_t images;          /* in the current directory of depth 1 */
    char first[NAME_MAX + 1]; /* its name */
};

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int by_id(const void *a, const void *b)
{
    const struct directory_id *x = a, *y = b;

    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    return (x->inode > y->inode) - (x->inode < y->inode);
}

int wsl_source_tree_open(struct source_tree **ret, const char *root, struct wsl_err *err)
{
    char *const roots[] = {(char *)root, NULL}; /* fts(3) does not change it */
    struct source_tree *tree = calloc(1, sizeof *tree);

    if (!tree)
        return wsl_fail(err, WSL_ENOMEM, "no memory to read %s", root);
    tree->root_size = strlen(root);
    if (!realpath(root, tree->real) ||
        !(tree->fts = fts_open(roots, FTS_PHYSICAL | FTS_COMFOLLOW | FTS_NOCHDIR, by_name))) {
        int r = wsl_fail_errno(err, "cannot read directory %s", root);

        free(tree);
        return r;
    }
    *ret = tree;
    return 0;
}

void wsl_source_tree_close(struct source_tree *tree)
{
    if (!tree)
        return;
    fts_close(tree->fts);
    tdestroy(tree->followed, free);
    free(tree);
}

/* ---- links ---- */

static bool is_in_tree(const struct source_tree *tree, const char *real)
{
    size_t n = strlen(tree->real);

    if (n == 1) /* "/" */
        return true;
    return strncmp(real, tree->real, n) == 0 && (real[n] == '/' || real[n] == '\0');
}

/* Whether the directory is read elsewhere already; else it is noted. WSL_ENOMEM. */
static int is_followed(struct source_tree *tree, const struct stat *st)
{
    struct directory_id *id = malloc(sizeof *id), **found;

    if (!id)
        return WSL_ENOMEM;
    *id = (struct directory_id){st->st_dev, st->st_ino};
    found = tsearch(id, &tree->followed, by_id);
    if (!found || *found != id)
        free(id);
    return !found ? WSL_ENOMEM : *found != id;
}

/* A link that leads nowhere, or to what may not be looked at. */
static int bad_link(struct source *s, struct source_entry *ret, const char *link, const char *path,
                    int why)
{
    char target[120];
    ssize_t n = readlink(link, target, sizeof target);

    ret->path = path;
    wsl_source_quarantine(s, ret, WSL_QUARANTINE_MISSING, "a link to %.*s: %s", n < 0 ? 0 : (int)n,
                          target, strerror(why));
    return 2;
}

/* Decides about a link: fts(3) gives it again as what it leads to when it is to be followed.
 * Returns 0, 2 with a bad entry, or an error. */
static int take_link(struct source_tree *tree, struct source *s, FTSENT *entry, const char *path,
                     struct source_entry *ret, struct wsl_err *err)
{
    char real[PATH_MAX];
    struct stat st;
    int r = 0;

    if (stat(entry->fts_accpath, &st) < 0)
        return bad_link(s, ret, entry->fts_accpath, path, errno);
    if (!S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) {
        wsl_source_skip(s, WSL_IMPORT_SKIP_SPECIAL, path, 0);
        return 0;
    }
    if (S_ISDIR(st.st_mode)) {
        if (!realpath(entry->fts_accpath, real))
            return bad_link(s, ret, entry->fts_accpath, path, errno);
        r = is_in_tree(tree, real) ? 1 : is_followed(tree, &st);
    }
    if (r < 0)
        return wsl_fail(err, r, "no memory to read %s", s->base);
    if (r > 0)
        wsl_source_skip(s, WSL_IMPORT_SKIP_LINK_AGAIN, path, 0);
    else
        fts_set(tree->fts, entry, FTS_FOLLOW);
    return 0;
}

/* ---- entries ---- */

static int take_file(struct source_tree *tree, struct source *s, const FTSENT *entry,
                     const char *path, struct source_tree_file *ret)
{
    if (!wsl_source_is_image_name(entry->fts_name)) {
        wsl_source_skip(s, wsl_source_skip_kind(entry->fts_name), path, 0);
        return 0;
    }
    tree->images++;
    *ret = (struct source_tree_file){.path = path,
                                     .parent = entry->fts_parent->fts_name,
                                     .first = entry->fts_level > 1 ? tree->first : "",
                                     .depth = entry->fts_level};
    return 1;
}

/* Begins or ends a directory right below the root, a class. */
static void note_class(struct source_tree *tree, struct source *s, const FTSENT *entry,
                       const char *path)
{
    if (entry->fts_level != 1)
        return;
    if (entry->fts_info == FTS_DP && tree->images == 0)
        wsl_source_skip(s, WSL_IMPORT_SKIP_EMPTY, path, 0);
    tree->images = 0;
    snprintf(tree->first, sizeof tree->first, "%s", entry->fts_name);
}

static int add_entry(struct source_tree *tree, struct source *s, FTSENT *entry,
                     struct source_tree_file *ret_file, struct source_entry *ret,
                     struct wsl_err *err)
{
    const char *path =
        entry->fts_path + strlen(s->base) + (entry->fts_path[strlen(s->base)] == '/');

    if (entry->fts_level > 0 && wsl_source_is_hidden(entry->fts_name)) {
        if (entry->fts_info != FTS_DP)
            wsl_source_skip(s, WSL_IMPORT_SKIP_HIDDEN, path, 0);
        fts_set(tree->fts, entry, FTS_SKIP);
        return 0;
    }
    switch (entry->fts_info) {
    case FTS_F:
        return take_file(tree, s, entry, path, ret_file);
    case FTS_D:
    case FTS_DP:
        note_class(tree, s, entry, path);
        return 0;
    case FTS_SL:
    case FTS_SLNONE:
        return take_link(tree, s, entry, path, ret, err);
    case FTS_DC: /* a link to what is above the root led back to it */
        wsl_source_skip(s, WSL_IMPORT_SKIP_LINK_AGAIN, path, 0);
        return 0;
    case FTS_DNR:
    case FTS_ERR:
    case FTS_NS:
        errno = entry->fts_errno;
        return wsl_fail_errno(err, "cannot read %s", entry->fts_path);
    default:
        wsl_source_skip(s, WSL_IMPORT_SKIP_SPECIAL, path, 0);
        return 0;
    }
}

int wsl_source_tree_next(struct source_tree *tree, struct source *s,
                         struct source_tree_file *ret_file, struct source_entry *ret,
                         struct wsl_err *err)
{
    FTSENT *entry;
    int r = 0;

    while (r == 0 && (errno = 0, entry = fts_read(tree->fts))) {
        if (entry->fts_level == 0 && entry->fts_info != FTS_D && entry->fts_info != FTS_DP)
            return wsl_fail(err, WSL_EINVAL, "%s is not a directory that can be read",
                            entry->fts_path);
        r = add_entry(tree, s, entry, ret_file, ret, err);
    }
    if (r == 0 && errno)
        return wsl_fail_errno(err, "cannot read directory %s", s->base);
    return r;
}
