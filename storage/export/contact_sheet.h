/* SPDX-License-Identifier: Apache-2.0
 *
 * Images of a data set with their tags on one sheet, for people to look at. Blocks on the
 * caller's thread and reads the records that it shows.
 */
#ifndef WSL_STORAGE_EXPORT_CONTACT_SHEET_H
#define WSL_STORAGE_EXPORT_CONTACT_SHEET_H

#include "base/buf.h"
#include "storage/dataset/dataset.h"

struct wsl_contact_sheet_setup {
    struct wsl_dataset *dataset;
    enum wsl_split split;
    const uint64_t *records; /* to show, in this order */
    size_t count;            /* 1 to 1024 */
    int columns;             /* 1 to 64 */
    int side;                /* of an image's cell in pixels, 32 to 1024 */
    int quality;             /* of the JPEG */
};

/* Appends one JPEG: the images in a grid, fitted into squares, with their number and tags below.
 * An image that cannot be read is a grey square with the number. WSL_ELIMIT above 2^28 pixels. */
int wsl_contact_sheet_make(const struct wsl_contact_sheet_setup *setup, struct wsl_buf *out,
                           struct wsl_err *err);

#endif
