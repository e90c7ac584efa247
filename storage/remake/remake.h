/* SPDX-License-Identifier: Apache-2.0
 *
 * Data sets out of data sets, and out of the system again: joined, divided anew, exported, looked
 * at. All block on the caller's thread and read every record (a sheet: those it shows). Outputs
 * appear whole or not at all. Texts stay the caller's.
 */
#ifndef WSL_STORAGE_REMAKE_H
#define WSL_STORAGE_REMAKE_H

#include "base/buf.h"
#include "storage/dataset/dataset.h"

#include <stdatomic.h>

/* ---- joining, dividing anew ---- */

struct wsl_join_setup {
    struct wsl_dataset *const *datasets; /* 1 to 64, open */
    size_t count;
    const char *output, *name; /* as of wsl_making_open() */
    uint64_t seed;             /* of the records' order, and of the division */
    double heldout;            /* share to divide anew, by pixels; below 0: as they were */
    uint64_t shard_bytes;      /* 0: 1 GiB */
    void (*progress)(void *context, uint64_t done, uint64_t total); /* per record; may be NULL */
    void *context;
    const atomic_bool *cancel; /* looked at between records; NULL: never */
};

struct wsl_join_result {
    uint64_t train, heldout; /* records written */
    uint64_t duplicates;     /* records with the same pixels as another: tags joined */
    uint64_t moved;   /* of the duplicates: training pictures that another set holds out, so that
                         the joined one does too */
    uint64_t clashes; /* of the duplicates, labels only: another label; the first stays */
    uint64_t cut;     /* records with more than 64 tags: the rarest stay */
    uint64_t tags;
    char fingerprint[33];
};

/* One data set with the records of all. Tags are the same when their synsets are, or, where one has
 * none, their names. The records' order is a hash of (seed, pixels), as an import's, so every shard
 * is an unbiased sample; 40 bytes a record. It is of labels when all are. WSL_EINVAL, WSL_EEXIST,
 * WSL_ECORRUPT (a damaged picture), WSL_ENOSPC, WSL_ECANCELLED. */
int wsl_join(const struct wsl_join_setup *setup, struct wsl_join_result *ret, struct wsl_err *err);

/* ---- export ---- */

enum wsl_export_form {
    /* A folder that an import takes back. Of tags: OUTPUT/train/00000017.jpg ... and
     * OUTPUT/train.tsv, a manifest; of labels: OUTPUT/train/LABEL/00000017.jpg. The same for
     * heldout. */
    WSL_EXPORT_FOLDER,
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
    uint64_t pictures;
    uint64_t bytes; /* of pictures */
};

/* Checks each picture's CRC. Commas in the names of tags become blanks in a manifest; slashes, and
 * a dot in front, underscores in folders. */
int wsl_export(const struct wsl_export_setup *setup, struct wsl_export_result *ret,
               struct wsl_err *err);

/* ---- contact sheet ---- */

struct wsl_sheet_setup {
    struct wsl_dataset *dataset;
    enum wsl_split split;
    const uint64_t *records; /* to show, in this order */
    size_t count;            /* 1 to 1024 */
    int columns;             /* 1 to 64 */
    int side;                /* of a picture's cell in pixels, 32 to 1024 */
    int quality;             /* of the JPEG */
};

/* Appends one JPEG: the pictures in a grid, fitted into squares, with their number and tags below.
 * A picture that cannot be read is a grey square with the number. WSL_ELIMIT above 2^28 pixels. */
int wsl_sheet_make(const struct wsl_sheet_setup *setup, struct wsl_buf *out, struct wsl_err *err);

#endif
