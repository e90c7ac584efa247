/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes a sealed data set (dataset.h) from pictures with tags. Blocks; uses `threads` threads of
 * its own; memory is a few pictures per thread plus about 150 bytes per file of the source.
 *
 * The output folder appears whole or not at all: everything is written into "<output>.partial",
 * synced, then renamed. A left-over of a killed import is removed by the next one. While it runs it
 * needs about twice the disk space of the result. The same source, settings and seed give the same
 * records in the same order and the same fingerprint, whatever the number of threads.
 *
 * A file or line that cannot be used never stops an import: it goes to quarantine.tsv in the output
 * folder, "<path or manifest line>\t<reason>", in the order of the source.
 */
#ifndef WSL_STORAGE_IMPORT_H
#define WSL_STORAGE_IMPORT_H

#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wsl_import_kind {
    /* A text file, one picture a line: path TAB tag,tag,... Relative paths start at the manifest's
     * folder. Empty lines and lines that start with '#' are skipped. Tags of 128 bytes and more are
     * left out. */
    WSL_IMPORT_MANIFEST,
    /* A folder tree: the first folder below `source` is the label, everything below it belongs to
     * it. Takes *.png, *.jpg, *.jpeg in any case; other files are counted and left. Links are not
     * followed. */
    WSL_IMPORT_FOLDERS,
};

enum wsl_import_phase { WSL_IMPORT_LIST, WSL_IMPORT_DECODE, WSL_IMPORT_WRITE };

struct wsl_import_progress {
    enum wsl_import_phase phase;
    uint64_t done, total; /* pictures of this phase; total 0 while not known (LIST) */
    uint64_t quarantined; /* so far */
};

/* Start with wsl_import_defaults(). Texts stay the caller's and must live until the call returns.
 */
struct wsl_import_setup {
    enum wsl_import_kind kind;
    const char *source; /* manifest file, or folder */
    const char *output; /* must not exist; its parent is made when missing */
    const char *name;   /* of the data set; NULL: last part of `output` */
    const char
        *wordnet;    /* folder with index.noun, data.noun and noun.exc: spellings of one noun
                        are joined; NULL: tags are kept as they are. For WSL_IMPORT_MANIFEST only */
    bool only_nouns; /* with wordnet: tags that are no noun are dropped, as in the 2018 paper,
                        instead of being kept as they are */

    double heldout; /* share of the pictures, 0 to 0.9, chosen by hash of the pixels: 0.1 */
    uint64_t seed;  /* of that choice and of the records' order: 0 */

    uint64_t min_images; /* tags (or labels) with fewer training images are dropped: 1 */
    uint64_t max_tags;   /* keep only so many, the most frequent; 0: all */

    /* What to leave out. A picture with any of these tags (or this label) as spelled in the source,
     * but for case; a picture whose path, as in the manifest or below the folder, fits any of these
     * fnmatch(3) patterns ('*' also matches '/'). */
    const char *const *exclude_tags;
    size_t exclude_tag_count;
    const char *const *exclude_paths;
    size_t exclude_path_count;
    /* Tags that say nothing about the picture ("unsorted"): as if it did not have them. For
     * WSL_IMPORT_MANIFEST only. */
    const char *const *ignore_tags;
    size_t ignore_tag_count;

    int side_max; /* longer side of stored pictures in pixels, 8 to 65500: 512 */
    int quality;  /* of JPEGs that are made here, 1 to 100: 90. A sound JPEG within side_max is kept
                     as it is */
    int threads;  /* 1 to 256; 0: one per CPU */
    uint64_t shard_bytes; /* a shard is closed when it is this large, 1 MiB to 64 GiB: 1 GiB */

    /* Called about ten times a second and at the end of each phase, on the calling thread; may be
     * NULL. */
    void (*progress)(void *context, const struct wsl_import_progress *progress);
    void *context;
    const atomic_bool *cancel; /* looked at between pictures; NULL: never. May be set by a signal
                                  handler */
};

/* Why pictures were put in quarantine: name, word for people. */
#define WSL_IMPORT_FAULT_MAP(X)                                                                    \
    X(LINE, "bad line")   /* over 64 KiB, no tab, not UTF-8, control characters */                 \
    X(NO_TAGS, "no tags") /* empty tag list */                                                     \
    X(MISSING, "missing file")                                                                     \
    X(UNREADABLE, "unreadable file") /* not a regular file, no permission, I/O error */            \
    X(DAMAGED, "damaged picture")    /* truncated, broken */                                       \
    X(UNSUPPORTED, "unknown format") /* neither PNG nor JPEG, or an odd kind of them */            \
    X(TOO_LARGE, "too large")        /* file over 256 MiB, or more pixels than decoders take */    \
    X(CONFLICT, "same pixels as another with another label") /* WSL_IMPORT_FOLDERS only */

enum wsl_import_fault {
#define X(name, word) WSL_IMPORT_FAULT_##name,
    WSL_IMPORT_FAULT_MAP(X)
#undef X
        WSL_IMPORT_FAULTS
};

/* seen = excluded + the sum of quarantined + duplicates + untagged + train + heldout. */
struct wsl_import_result {
    uint64_t seen;     /* manifest lines, or picture files of the tree */
    uint64_t other;    /* files of the tree that are not pictures by name; not in `seen` */
    uint64_t excluded; /* by exclude_tags, exclude_paths */
    uint64_t quarantined[WSL_IMPORT_FAULTS];
    uint64_t duplicates; /* pictures with the same pixels as another: one record, the tags of all */
    uint64_t untagged;   /* lost all tags: outside WordNet, or dropped as too rare */
    uint64_t train, heldout; /* records written */
    uint64_t tags_before;    /* distinct spellings, of pictures that are not excluded */
    uint64_t tags_unknown;   /* of them: not a WordNet noun */
    uint64_t tags_merged;    /* of them: joined with another spelling of the same noun */
    uint64_t tags_rare;      /* tags dropped by min_images or max_tags */
    uint64_t tags;           /* kept */
    uint64_t shards, bytes;  /* files written, and their size together */
    uint64_t read_bytes;     /* of source files */
    uint64_t kept_jpegs;     /* records that hold the source's own JPEG */
    uint64_t elapsed_ns;
    char fingerprint[40];
};

void wsl_import_defaults(struct wsl_import_setup *setup);

/* The word of a fault ("missing file"). */
const char *wsl_import_fault_word(enum wsl_import_fault fault);

/* Errors: WSL_EINVAL (a setting; or nothing usable is left: the line has the counts), WSL_ENOENT
 * (source, WordNet), WSL_EEXIST (output exists, or another import writes it), WSL_ECORRUPT (WordNet
 * files), WSL_ENOSPC, WSL_EIO, WSL_ENOMEM, WSL_ELIMIT (over 2^31 files), WSL_ECANCELLED. After any
 * of them neither the output nor "<output>.partial" is left. *ret is filled as far as it got. */
int wsl_import_run(const struct wsl_import_setup *setup, struct wsl_import_result *ret,
                   struct wsl_err *err);

#endif
