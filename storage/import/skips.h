/* SPDX-License-Identifier: Apache-2.0
 *
 * What an import passes over: neither an image nor a bad one, so in no other count. Each entry is
 * counted by its kind and written to skipped.tsv; the first name of a kind goes into the summary.
 * Used by the calling thread of an import alone. Internal to the import.
 */
#ifndef WSL_STORAGE_IMPORT_SKIPS_H
#define WSL_STORAGE_IMPORT_SKIPS_H

#include "storage/import/import.h"

#define IMPORT_SKIPS_FILE "skipped.tsv"

struct import_skips {
    struct wsl_import_result *result; /* its `skipped` and `skipped_first` */
    char path[4096];                  /* of skipped.tsv; it is made with the first entry */
    void *file;                       /* FILE */
    struct wsl_err failed;            /* the first failure to write */
};

/* `directory` is where skipped.tsv appears; one that an interrupted import left is removed. */
int wsl_import_skips_open(struct import_skips *skips, const char *directory,
                          struct wsl_import_result *result, struct wsl_err *err);

/* One more. `name`: a path, a member's name, "line 7"; any bytes but 0. `offset`: where it begins
 * in the file that holds it, 0 for a file of its own. A failure to write is kept for
 * wsl_import_skips_close(). */
void wsl_import_skips_add(struct import_skips *skips, enum wsl_import_skip kind, const char *name,
                          uint64_t offset);

/* Makes a name fit for a line of a table: one that is not UTF-8, or has control characters, keeps
 * its ASCII and gets '?' for the rest. */
void wsl_import_make_printable(char *text);

/* Returns what failed; the counts are right even so. Zeroed is fine. */
int wsl_import_skips_close(struct import_skips *skips, struct wsl_err *err);

#endif
