/* SPDX-License-Identifier: Apache-2.0
 *
 * Directory trees: the first directory is the label.
 */
#include "storage/import/source_tree.h"

#include <string.h>

static int open_directories(struct source *s, struct wsl_err *err)
{
    s->labels = true;
    return wsl_source_tree_open((struct source_tree **)&s->state, s->base, err);
}

static void close_directories(struct source *s)
{
    wsl_source_tree_close(s->state);
}

static int next_directories(struct source *s, struct source_entry *ret, struct wsl_err *err)
{
    struct source_tree_file file;
    int r;

    while ((r = wsl_source_tree_next(s->state, s, &file, ret, err)) == 1 && !*file.first)
        wsl_source_skip(s, WSL_IMPORT_SKIP_NO_LABEL, file.path, 0);
    if (r != 1)
        return r == 2 ? 1 : r;
    ret->path = file.path;
    r = wsl_source_add_word(s, file.first, strlen(file.first), err);
    return r < 0 ? r : 1;
}

const struct source_ops wsl_source_directories = {.word = "folders",
                                                  .open = open_directories,
                                                  .next = next_directories,
                                                  .close = close_directories};
