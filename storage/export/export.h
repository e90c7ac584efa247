/* SPDX-License-Identifier: Apache-2.0
 *
 * A data set as a directory or a tar that other programs read. Blocks on the caller's thread and
 * reads every record; the output appears whole or not at all. Texts stay the caller's.
 */
#ifndef WSL_STORAGE_EXPORT_EXPORT_H
#define WSL_STORAGE_EXPORT_EXPORT_H

#include "storage/dataset/dataset.h"

#include <stdatomic.h>

enum wsl_export_form {
    /* A directory that an import takes back. Of tags: OUTPUT/train/00000017.jpg ... and
     * OUTPUT/train.tsv, a manifest; of labels: OUTPUT/train/LABEL/00000017.jpg. The same for
     * heldout. */
    WSL_EXPORT_DIRECTORY,
    /* A POSIX tar (ustar) as WebDataset reads it: 00000017.jpg, then 00000017.json with "tags" (or
     * "label"), "ids", "source", "width", "height"; of labels also 00000017.cls, the id. One split
     * only. Bytes depend on the data set alone. */
    WSL_EXPORT_TAR,
};

struct wsl_export_setup {
    struct wsl_dataset *dataset;
    enum wsl_export_form form;
    const char *output;
    int splits; /* bits: 1 << enum wsl_split */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
    const atomic_bool *cancel;
};

struct wsl_export_result {
    uint64_t images;
    uint64_t bytes; /* of images */
};

/* Checks each image's CRC. Commas in the names of tags become blanks in a manifest; slashes, and
 * a dot in front, underscores in directories. */
int wsl_export(const struct wsl_export_setup *setup, struct wsl_export_result *ret,
               struct wsl_err *err);

#endif
