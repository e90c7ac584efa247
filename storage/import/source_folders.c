/* SPDX-License-Identifier: Apache-2.0
 *
 * Directory trees: the first directory is the label.
 */
#include "storage/import/source_tree.h"

#include <string.h>

static int open_folders(struct source *s, struct wsl_err *err)
{
    s->labels = true;
    return source_tree_open((struct source_tree **)&s->state, s->base, err);
}

static void close_folders(struct source *s)
{
    source_tree_close(s->state);
}

static int next_folders(struct source *s, struct source_entry *ret, struct wsl_err *err)
{
    struct source_tree_file file;
    int r;

    while ((r = source_tree_next(s->state, s, &file, ret, err)) == 1 && !*file.first)
        source_skip(s, WSL_IMPORT_SKIP_NO_LABEL, file.path, 0);
    if (r != 1)
        return r == 2 ? 1 : r;
    ret->path = file.path;
    r = source_add_word(s, file.first, strlen(file.first), err);
    return r < 0 ? r : 1;
}

const struct source_ops source_folders = {
    .word = "folders", .open = open_folders, .next = next_folders, .close = close_folders};
