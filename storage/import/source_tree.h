/* SPDX-License-Identifier: Apache-2.0
 *
 * Walks a directory tree for images, in the order of names. Internal to the import.
 *
 * Links are followed, as torchvision's ImageFolder does, and an image belongs to the directory
 * whose name leads to it: those to files always, those to directories outside the tree once each. A
 * link to a directory that is read elsewhere (within the tree, or by another link) is skipped, so a
 * loop ends. Hidden and system files and directories (wsl_source_is_hidden()) are skipped at any
 * depth, but the root may have any name. Each skip is counted and listed (wsl_source_skip()).
 */
#ifndef WSL_STORAGE_IMPORT_SOURCE_TREE_H
#define WSL_STORAGE_IMPORT_SOURCE_TREE_H

#include "storage/import/source.h"

struct source_tree;

/* `root` is s->base or lies in it. WSL_EINVAL when it is no directory. Blocks. */
int wsl_source_tree_open(struct source_tree **ret, const char *root, struct wsl_err *err);
void wsl_source_tree_close(struct source_tree *tree); /* NULL is fine */

/* A file with the name of an image. The texts live until the next call. */
struct source_tree_file {
    const char *path;   /* below s->base */
    const char *parent; /* name of the directory that it lies in */
    const char *first;  /* name of the directory below the root that leads to it; "": none */
    int depth;          /* 1: in the root itself */
};

/* Returns 1 with a file, 2 with *ret filled as a bad entry (a link that leads nowhere), 0 at the
 * end, or an error: a directory that cannot be read. Blocks. */
int wsl_source_tree_next(struct source_tree *tree, struct source *s,
                         struct source_tree_file *ret_file, struct source_entry *ret,
                         struct wsl_err *err);

#endif
