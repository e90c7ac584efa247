/* SPDX-License-Identifier: Apache-2.0
 *
 * A folder with pictures, and an import of them: what the tests of imports share.
 */
#ifndef WSL_TESTS_UNIT_IMPORT_WORLD_H
#define WSL_TESTS_UNIT_IMPORT_WORLD_H

#include "base/buf.h"
#include "kernels/image/image.h"
#include "storage/dataset/dataset.h"
#include "storage/import/import.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

enum { PICTURES = 60 };

struct stopper {
    enum wsl_import_phase phase;
    atomic_bool cancel;
};

struct fixture {
    struct stopper stopper;
    char folder[64], manifest[96], output[96];
    struct wsl_buf lines;
    struct wsl_import_setup setup;
    struct wsl_import_result result;
    struct wsl_err err;
};

const char *path_in(const struct fixture *f, const char *name); /* good for the next three calls */
int make(void **state);
int clear(void **state);

/* ---- pictures ---- */

/* Blocks of colours that follow from `number`; noise besides when `noisy`, so that it packs badly.
 */
struct wsl_image draw(int width, int height, uint64_t number, bool noisy);
void put_bytes(const struct fixture *f, const char *name, const void *bytes, size_t size);
void put_jpeg(const struct fixture *f, const char *name, struct wsl_image image);
/* The left half opaque, the right half a transparent black. */
void put_png(const struct fixture *f, const char *name, struct wsl_image image);
void add_line(struct fixture *f, const char *path, const char *tags);
/* A set that can be imported: two tags, alternating, of which every fifth picture has both. */
void put_set(struct fixture *f, int count);

/* ---- the import and what it made ---- */

int import(struct fixture *f);
uint64_t bad_count(const struct wsl_import_result *n);
void import_well(struct fixture *f);
void nothing_is_left(const struct fixture *f);
void must_fail(struct fixture *f, int code, const char *word);  /* and leave nothing */
void must_pause(struct fixture *f, int code, const char *word); /* and leave what was done */
struct wsl_dataset *open_made(const struct fixture *f);
/* The record of a source, in whichever split. */
bool find_record(struct wsl_dataset *ds, const char *source, struct wsl_record *ret);
bool has_tag(struct wsl_dataset *ds, const struct wsl_record *record, const char *name);
void must_have_text(const struct fixture *f, const char *file, const char *text);

/* ---- sources ---- */

void put_text(const struct fixture *f, const char *name, const char *text);
void make_folder(const struct fixture *f, const char *name); /* and those above it */
/* Pictures "a/%d.jpg" of the numbers from .. from + count - 1. */
void put_labelled(const struct fixture *f, const char *format, int from, int count);
void import_from(struct fixture *f, enum wsl_import_kind kind, const char *source);
void again(struct fixture *f); /* imports once more, into the same place */
/* The record's split, and its only tag. */
void must_be_in(const struct fixture *f, const char *source, enum wsl_split split,
                const char *label);

#endif
