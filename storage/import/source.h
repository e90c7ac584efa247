/* SPDX-License-Identifier: Apache-2.0
 *
 * Where images come from: one table of functions per layout, which yields one image after the
 * other in the order of the source, with its place, its tags and its fault. Internal to the import.
 *
 * An image lies in a file of its own, or as a run of bytes in a container (a tar file, an LMDB),
 * or it passes by once (a stream) and comes with its bytes. What a source cannot use it yields as
 * bad; it fails only when nothing more can be read at all.
 */
#ifndef WSL_STORAGE_IMPORT_SOURCE_H
#define WSL_STORAGE_IMPORT_SOURCE_H

#include "base/buf.h"
#include "base/text_input.h"
#include "storage/import/import.h"
#include "storage/import/skips.h"

#include <limits.h>

enum {
    SOURCE_LINE_MAX = 64 << 10,   /* bytes of a line of text, or of a small file of a tar */
    SOURCE_IMAGE_MAX = 256 << 20, /* bytes of an image */
    SOURCE_WORDS_MAX = 4096,      /* tags of an image that are looked at */
};

/* What the bytes of an image are. Those without a format of their own have 8-bit channels. */
enum source_form {
    SOURCE_FILE,       /* as a file: JPEG or PNG */
    SOURCE_PLANES_BGR, /* all blue, then all green, then all red */
    SOURCE_PIXELS_BGR, /* blue, green, red of one pixel after the other */
    SOURCE_PIXELS_GREY,
};

enum source_split { SOURCE_BY_HASH, SOURCE_TRAIN, SOURCE_HELDOUT };

/* One image, or one fault. Everything it points to is the source's and lives until the next call.
 */
struct source_entry {
    const char *path;   /* its name: the file, a member, "line 7", a key; any bytes but 0 */
    uint32_t container; /* number in source.containers; 0: `path` is the file */
    uint64_t offset;    /* where the image, or the bad line, begins in the container */
    uint64_t size;      /* of the image there */
    enum source_form form;
    uint32_t width, height; /* of those without a format; 1 to 65,500 */
    const uint8_t *bytes;   /* of a stream: the `size` bytes themselves */
    const char *words;      /* tags, or the label: `word_count` NUL-terminated texts in a row */
    uint32_t word_count;
    enum source_split split;
    bool bad;
    enum wsl_quarantine_reason reason;
    const char *detail; /* of a bad one, or NULL */
};

/* A file that holds many images; [0] is not used. */
struct source_container {
    char *path;     /* owned */
    uint64_t stamp; /* hash of path, size and time of change; a stream has 0 */
};

struct source {
    const struct source_ops *ops;
    const struct wsl_import_setup *setup;
    const char *base; /* the directory of the source, without a slash at its end */
    bool labels;      /* each image has one word, its label; final with the first good entry */
    struct source_container *containers;
    uint32_t container_count;
    struct import_skips *skips; /* NULL: nobody counts */
    struct wsl_buf words;       /* of the current entry */
    uint32_t word_count;
    char path[PATH_MAX]; /* of the current entry, where a source has to make one */
    char detail[200];
    void *state; /* of the layout */
};

struct source_ops {
    const char *word; /* "manifest" */
    bool has_split;
    /* Sets state, and labels where it is known. Blocks. On failure close() is called too. */
    int (*open)(struct source *s, struct wsl_err *err);
    /* Fills the zeroed *ret. Returns 1, 0 at the end, or an error. Blocks. */
    int (*next)(struct source *s, struct source_entry *ret, struct wsl_err *err);
    void (*close)(struct source *s);
};

extern const struct source_ops wsl_source_manifest, wsl_source_jsonl, wsl_source_directories,
    wsl_source_imagenet, wsl_source_cub200, wsl_source_places365, wsl_source_tar, wsl_source_lmdb;

/* `skips` may be NULL. */
int wsl_source_open(struct source *s, const struct wsl_import_setup *setup, const char *base,
                    struct import_skips *skips, struct wsl_err *err);
int wsl_source_next(struct source *s, struct source_entry *ret, struct wsl_err *err);
void wsl_source_close(struct source *s); /* zeroed is fine */

/* ---- for the layouts ---- */

/* Adds a word to the current entry. Beyond SOURCE_WORDS_MAX they are left out. */
int wsl_source_add_word(struct source *s, const char *word, size_t size, struct wsl_err *err);

/* Adds "a,b,c" as words. */
int wsl_source_add_list(struct source *s, const char *list, size_t size, struct wsl_err *err);

/* Adds the hashtags of a caption (hashtag.h). *ret_fault says what is wrong with it, or is left. */
int wsl_source_add_hashtags(struct source *s, const char *caption, size_t size,
                            const char **ret_fault, struct wsl_err *err);

/* Adds the words of a JSON object as WSL_IMPORT_JSONL has them ("tags", "caption" or "label",
 * "split"); null is as if it were not there. The first that has any decides over source.labels
 * unless `*decided`. Returns 1, 0 with what is wrong in *ret_fault (a static text), or an error. */
struct json_t; /* jansson.h */
int wsl_source_add_json(struct source *s, const struct json_t *object, bool *decided,
                        struct source_entry *entry, const char **ret_fault, struct wsl_err *err);

/* A container by its path: its number. `fd` gives size and time; -1: a stream. */
int wsl_source_add_container(struct source *s, const char *path, int fd, uint32_t *ret,
                             struct wsl_err *err);

/* Its stamp as it is now; `fd` as above. */
uint64_t wsl_source_stamp(const char *path, int fd);

/* Makes *entry a bad one; the reason is formatted into the source. Returns 1. */
int wsl_source_quarantine(struct source *s, struct source_entry *entry,
                          enum wsl_quarantine_reason reason, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Counts and lists what is passed over (skips.h), at once: no entry is made of it. Every
 * layout tells each thing that it does not yield; a directory that is not entered is one. */
void wsl_source_skip(struct source *s, enum wsl_import_skip kind, const char *name,
                     uint64_t offset);

/* *.png, *.jpg, *.jpeg, *.jpe, *.jfif in any case, not hidden; `name` has no directories. */
bool wsl_source_is_image_name(const char *name);

/* Why a file of that name is no image to import: FORMAT, HIDDEN or NOT_IMAGE. */
enum wsl_import_skip wsl_source_skip_kind(const char *name);

/* Whether a part of the path is hidden or not the user's: it begins with a dot, or is
 * what macOS, Windows, NAS and tar leave (__MACOSX, Thumbs.db, @eaDir, lost+found, PaxHeaders.*);
 * "." and ".." are not. */
bool wsl_source_is_hidden(const char *path);

/* ---- lines of text ---- */

struct source_lines {
    void *file;                          /* FILE */
    char *line;                          /* SOURCE_LINE_MAX + 1 bytes, NUL-terminated */
    uint64_t number;                     /* of the current line, from 1 */
    uint64_t offset;                     /* where it begins */
    uint64_t end;                        /* where the next one begins */
    uint8_t start[WSL_TEXT_INPUT_START]; /* what was read to know the encoding */
    size_t start_size, start_at;
};

/* Skips a byte order mark. WSL_ECORRUPT when the file is UTF-16 or UTF-32. */
int wsl_source_lines_open(struct source_lines *lines, const char *path, struct wsl_err *err);
/* The next line without its end; *ret_size is SOURCE_LINE_MAX + 1 for one that is too long, whose
 * rest is skipped. Returns 1, 0 at the end of the file, or an error that names `path`. */
int wsl_source_lines_next(struct source_lines *lines, const char *path, size_t *ret_size,
                          struct wsl_err *err);
void wsl_source_lines_close(struct source_lines *lines); /* zeroed is fine */

/* ---- names of numbers ---- */

/* Texts by number: the lines of a file. */
struct source_names {
    struct wsl_buf texts;
    size_t *starts;
    size_t count;
};

int wsl_source_names_add(struct source_names *names, const char *text, size_t size);
/* `names`[number], or the number itself in `buffer`. */
const char *wsl_source_names_get(const struct source_names *names, uint64_t number,
                                 char buffer[24]);
/* The lines of setup->label_names; nothing when that is NULL. WSL_ECORRUPT names a bad line. */
int wsl_source_names_load(struct source_names *names, const struct wsl_import_setup *setup,
                          struct wsl_err *err);
void wsl_source_names_free(struct source_names *names);

#endif
