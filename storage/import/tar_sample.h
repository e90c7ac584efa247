/* SPDX-License-Identifier: Apache-2.0
 *
 * A sample of a WebDataset: the members that lie next to each other and share a key, their name up
 * to the first dot of the last part ("a.b/000" of "a.b/000.seg.png"). What is behind that dot is
 * the extension.
 *
 * Of which image a text is: "000.cls" of 000.jpg, and of the sample as a whole; "v2.0.cls", and
 * "v2.0.jpg.cls", of v2.0.jpg, though that shares its key with v2.1.jpg. A sample may so hold
 * several images with texts of their own. Where several share one text, one is the image and the
 * others (masks, thumbnails) are skipped: first of all the one that is just KEY.jpg, then
 * KEY.image.jpg or KEY.img.jpg, then any; JPEGs before PNGs; the first.
 *
 * The label of an image: .cls, else "label" of .json, which also comes before a .cls that is a
 * number without a name when it is a text. Its tags: .tags, else "tags" of .json, else the hashtags
 * of .txt or .caption, else those of "caption" in the .json. Null, or an empty file, is as if it
 * were not there. The first image that has any says whether the data set has labels or tags.
 */
#ifndef WSL_STORAGE_IMPORT_TAR_SAMPLE_H
#define WSL_STORAGE_IMPORT_TAR_SAMPLE_H

#include "base/buf.h"
#include "storage/import/source.h"
#include "storage/import/tar_file.h"

enum sample_part { SAMPLE_CLS, SAMPLE_TAGS, SAMPLE_JSON, SAMPLE_TEXT, SAMPLE_IMAGE, SAMPLE_OTHER };

struct sample_member {
    enum sample_part part;
    size_t name, stem_size; /* in tar_sample.names; the name without its last extension */
    uint64_t offset, size;
    size_t bytes; /* in tar_sample.bytes */
    bool has_bytes;
    bool scattered;                    /* as of a tar_member */
    bool used;                         /* a text that an image had */
    enum wsl_quarantine_reason reason; /* of an image, when `detail` says what is wrong */
    const char *detail;                /* it cannot be used; static, NULL: it can */
};

struct tar_sample {
    struct sample_member *members;
    size_t count, capacity;
    size_t key_size;
    struct wsl_buf names, bytes;
    size_t next;   /* image to give next */
    bool complete; /* nothing more is added: its images are being given */
    bool decided;  /* of all samples: labels or tags */
    struct source_names label_names;
    char detail[200];
};

void wsl_tar_sample_free(struct tar_sample *sample);

/* What a member of this name is in a sample; SAMPLE_OTHER: nothing. */
enum sample_part wsl_tar_sample_part(const char *name);

/* Whether a member, no SAMPLE_OTHER, is of the current sample; an empty one takes any. */
bool wsl_tar_sample_takes(const struct tar_sample *sample, const char *name);

/* Adds the member that `tar` is at, and reads its bytes where they cannot be read later. Returns 0,
 * or what wsl_tar_file_read() failed with: the image is then in the sample, with that as its fault.
 */
int wsl_tar_sample_add(struct tar_sample *sample, struct tar_file *tar,
                       const struct tar_member *member, struct wsl_err *err);

/* The next image of a complete sample, as source_ops.next(): 1, or 0 when there are no more; the
 * sample is then empty again. What is left over was skipped (wsl_source_skip()). */
int wsl_tar_sample_next(struct tar_sample *sample, struct source *s, struct source_entry *ret,
                        struct wsl_err *err);

#endif
