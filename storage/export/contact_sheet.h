/* SPDX-License-Identifier: Apache-2.0
 *
 * Images of a data set with their tags on one page, for people to look at in a browser. Blocks on
 * the caller's thread and reads the records that it shows.
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
    int side;                /* longer side of an image on the page in pixels, 32 to 1024 */
    int quality;             /* of JPEGs that are made smaller, 1 to 100 */
};

/* Appends one HTML page with the images in it (data: URLs; nothing is loaded from elsewhere): each
 * with its number and tags, and its source as the tooltip. Names are shown as they are, whatever
 * they contain. An image that cannot be read is a grey square that says why. WSL_EINVAL for a setup
 * out of range, or a record that the split does not have; WSL_ENOMEM; WSL_ELIMIT when `out` may not
 * hold that much. *out is undefined after a failure. */
int wsl_contact_sheet_make(const struct wsl_contact_sheet_setup *setup, struct wsl_buf *out,
                           struct wsl_err *err);

#endif
