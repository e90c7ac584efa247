/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes a sealed data set (dataset.h) from images with tags. Blocks; uses `threads` threads of
 * its own; memory is a few images per thread plus about 200 bytes per file of the source.
 *
 * The output directory appears whole or not at all: everything is written into "<output>.partial",
 * synced, then renamed. Images that are stored as they came are copied once, from the source into
 * a shard; those re-encoded, and those of a stream that cannot be read twice, lie in "<output>
 * .partial" until they are in a shard. The same source, settings and seed give the same records in
 * the same order and the same fingerprint, whatever the number of threads.
 *
 * An import that was killed, cancelled or ran out of disk space leaves "<output>.partial" with a
 * journal; the same call again resumes from there, does no image and no finished shard twice, and
 * makes what an undisturbed one would have made. A file that changed in the meantime is read again.
 *
 * A file or line that cannot be used never stops an import: it goes to quarantine.tsv in the output
 * directory, "<path or manifest line>\t<byte offset>\t<reason>", in the order of the source. The
 * offset is where the image or the line begins in the file that holds it: 0 for a file of its
 * own. What is passed over because it is no image (another kind of file, a link, a hidden
 * directory) is counted by kind and listed likewise in skipped.tsv, which is there when anything
 * is.
 */
#ifndef WSL_STORAGE_IMPORT_IMPORT_H
#define WSL_STORAGE_IMPORT_IMPORT_H

#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wsl_import_kind {
    /* A text file, one image a line: path TAB tag,tag,... Relative paths start at the manifest's
     * directory. Empty lines and lines that start with '#' are skipped. Tags of 128 bytes and more
     * are left out. */
    WSL_IMPORT_MANIFEST,
    /* A directory tree: the first directory below `source` is the label, everything below it
     * belongs to it. Takes *.png, *.jpg, *.jpeg in any case; hidden and system files and
     * directories are skipped at any depth. Links are followed, those to directories once
     * (source_tree.h). */
    WSL_IMPORT_DIRECTORIES,
    /* A text file, one JSON object a line: "path", and "tags" (a list of texts, or one text with
     * commas) or "label" (a text or a whole number), and "split" ("train" or "heldout") if the file
     * decides it. Without "tags" and "label", the hashtags of "caption" are the tags (hashtag.h).
     * Null is as if it were not there. The first line says which of tags and label it is. */
    WSL_IMPORT_JSONL,
    /* ILSVRC's train/WNID/ and val/: val/WNID/ or, with images in val/ itself, val.txt ("file
     * number") or LOC_val_solution.csv says which. synset_words.txt or LOC_synset_mapping.txt gives
     * the order of the numbers. Labels are the WNIDs. */
    WSL_IMPORT_IMAGENET,
    /* CUB-200-2011: images.txt, image_class_labels.txt, classes.txt, train_test_split.txt. */
    WSL_IMPORT_CUB200,
    /* Places365: places365_train_standard.txt and places365_val.txt with categories_places365.txt;
     * images in data_256, data_large (or those with _standard), val_256, val_large. */
    WSL_IMPORT_PLACES365,
    /* WebDataset: a tar file, plain or compressed (gzip, bzip2, xz, zstd, lz4: told by its bytes),
     * a directory of them (*.tar, *.tar.gz, *.tgz, ..., by name), or "-" for standard input.
     * Members next to each other with one name up to the first dot of its last part are a sample:
     * an image (.jpg, .jpeg, .jpe, .jfif, .png) and its texts. Labels: .cls, or "label" of .json.
     * Tags: .tags (tag,tag), else "tags" of .json (as in a line of WSL_IMPORT_JSONL), else the
     * hashtags of .txt or .caption, else those of "caption" in the .json. Null is as if it were not
     * there. The first image that has any says which of the two it is. Of several images in a
     * sample one is taken, unless each has a text of its own ("v2.0.cls" of "v2.0.jpg");
     * tar_sample.h has the rule. */
    WSL_IMPORT_TAR,
    /* LMDB as Caffe (Datum) and Caffe2 (TensorProtos) write it: the file, or the directory with
     * data.mdb. Values are told apart by their first byte. A number alone is the label; where one
     * of the first 4,096 records has several, numbers are tags. */
    WSL_IMPORT_LMDB,
};

/* Whether the sets of a layout bring their own split: then `heldout` has no say. */
bool wsl_import_has_split(enum wsl_import_kind kind);

/* The layout of a directory by its own list files; WSL_IMPORT_DIRECTORIES when it has none. */
enum wsl_import_kind wsl_import_detect(const char *directory);

/* "manifest", "folders", ... and back: a static string; false when there is no such kind. */
const char *wsl_import_kind_name(enum wsl_import_kind kind);
bool wsl_import_kind_find(const char *word, enum wsl_import_kind *ret);

enum wsl_import_phase { WSL_IMPORT_LIST, WSL_IMPORT_DECODE, WSL_IMPORT_WRITE };

struct wsl_import_progress {
    enum wsl_import_phase phase;
    uint64_t done, total; /* images of this phase; total 0 while not known (LIST, a stream) */
    uint64_t quarantined; /* so far */
    uint64_t bytes;       /* of images, read or written in this phase */
    uint64_t resumed;     /* of `done`: taken over from an interrupted import */
};

/* Start with wsl_import_defaults(). Texts stay the caller's and must live until the call returns.
 */
struct wsl_import_setup {
    enum wsl_import_kind kind;
    const char *source;  /* manifest file, directory, tar file, LMDB; "-": standard input */
    const char *output;  /* must not exist; its parent is made when missing */
    const char *name;    /* of the data set; NULL: last part of `output` */
    const char *wordnet; /* directory with index.noun, data.noun and noun.exc: spellings of one noun
                            are merged; NULL: tags are kept as they are. For tags, not for labels */
    bool only_nouns;     /* with wordnet: tags that are no noun are dropped, as in the 2018 paper,
                            instead of being kept as they are */

    const char *label_names; /* a text file whose line i (from 0) names label or tag number i, for
                                sources that have numbers; NULL: the numbers are the names */

    double heldout; /* share of the images, 0 to 0.9, chosen by hash of the pixels: 0.1 */
    uint64_t seed;  /* of the split and of the record order: 0 */

    uint64_t min_images; /* tags (or labels) with fewer training images are dropped: 1 */
    uint64_t max_tags;   /* keep only so many, the most frequent; 0: all */

    /* What to leave out. An image with any of these tags (or this label) in any spelling of the
     * same word (tag_text.h); an image whose path, as in the manifest or below the directory, fits
     * any of these fnmatch(3) patterns ('*' also matches '/'). */
    const char *const *exclude_tags;
    size_t exclude_tag_count;
    const char *const *exclude_paths;
    size_t exclude_path_count;
    /* Tags that say nothing about the image ("unsorted"): as if it did not have them. For
     * tags only. */
    const char *const *ignore_tags;
    size_t ignore_tag_count;

    /* A JPEG that can be shown as it is stays byte for byte. Re-encoded: PNGs, CMYK, images
     * to be rotated (Exif), colour profiles other than sRGB, and what is larger than side_max. */
    int side_max;   /* longer side of stored images in pixels, 8 to 65500; 0: as they are */
    int quality;    /* of re-encoded JPEGs, 1 to 100: 90 */
    bool transcode; /* losslessly make JPEGs that are kept baseline, with tables of their own and a
                       restart marker per row of blocks: smaller, and parts are decoded faster */
    /* Look at the structure of JPEGs that are kept and do not decode them: at the disk's speed, but
     * damage within their pixels is found only in training, and equal images are known by equal
     * bytes, not by equal pixels. */
    bool headers_only;
    /* For LMDBs and tar files that are not compressed: leave the images where they are; the
     * shards only say where. What cannot stay byte for byte goes to quarantine. Records, order and
     * split are those of an ordinary import. The data set names its source by absolute path, and
     * needs it unchanged (dataset.h). Not with transcode. */
    bool in_place;
    int threads;          /* 1 to 256; 0: one per CPU */
    uint64_t shard_bytes; /* a shard is closed when it is this large, 1 MiB to 64 GiB: 1 GiB */

    /* Called about ten times a second and at the end of each phase, on the calling thread; may be
     * NULL. */
    void (*progress)(void *context, const struct wsl_import_progress *progress);
    void *context;
    const atomic_bool *cancel; /* looked at between images; NULL: never. May be set by a signal
                                  handler */
};

/* Why images were put in quarantine: name, text for people. */
#define WSL_QUARANTINE_REASON_MAP(X)                                                               \
    X(LINE, "bad line")   /* over 64 KiB, no tab, not UTF-8, control characters */                 \
    X(NO_TAGS, "no tags") /* empty tag list */                                                     \
    X(MISSING, "missing file")                                                                     \
    X(UNREADABLE, "unreadable file") /* not a regular file, no permission, I/O error */            \
    X(DAMAGED, "damaged picture")    /* truncated, broken */                                       \
    X(UNSUPPORTED, "unknown format") /* neither PNG nor JPEG, or an odd kind of them */            \
    X(TOO_LARGE, "too large")        /* file over 256 MiB, or more pixels than decoders take */    \
    X(CONFLICT, "same pixels as another with another label") /* labels only */                     \
    X(CONTAINER, "damaged container")      /* a tar file or an LMDB that cannot be read further */ \
    X(NOT_IN_PLACE, "not usable in place") /* in_place: what an ordinary import re-encodes */

enum wsl_quarantine_reason {
#define X(name, word) WSL_QUARANTINE_##name,
    WSL_QUARANTINE_REASON_MAP(X)
#undef X
        WSL_QUARANTINE_REASONS
};

/* Kinds of what an import passes over because it is no image it could use: name, text for people.
 */
#define WSL_IMPORT_SKIP_MAP(X)                                                                     \
    X(NOT_IMAGE, "not an image by its name")                                                       \
    X(FORMAT, "image format that is not read") /* by its name: webp, gif, tiff, ... */             \
    X(HIDDEN, "hidden or system file")         /* .x, @eaDir, __MACOSX, lost+found, PaxHeader */   \
    X(LINK, "link")                            /* a member of a tar file */                        \
    X(LINK_AGAIN, "link to a directory that is read elsewhere")                                    \
    X(EMPTY, "directory without an image") /* one of a label */                                    \
    X(SPECIAL, "neither file nor directory")                                                       \
    X(NO_LABEL, "in no directory of a label")                                                      \
    X(COMMENT, "comment line")                                                                     \
    X(SECOND_IMAGE, "further image of one sample")                                                 \
    X(NO_IMAGE, "beside no image")           /* the label or tags of an image that is not there */ \
    X(TEXT, "unreadable, another text used") /* of several that could have had the tags */         \
    X(NOT_TAR, "not a tar file by its name")                                                       \
    X(TRAILING, "bytes behind the archive's end")

enum wsl_import_skip {
#define X(name, word) WSL_IMPORT_SKIP_##name,
    WSL_IMPORT_SKIP_MAP(X)
#undef X
        WSL_IMPORT_SKIPS
};

/* seen = excluded + the sum of quarantined + duplicates + untagged + train + heldout. */
struct wsl_import_result {
    uint64_t seen;     /* manifest lines, or images of the source */
    uint64_t excluded; /* by exclude_tags, exclude_paths */
    uint64_t quarantined[WSL_QUARANTINE_REASONS];
    uint64_t duplicates; /* images with the same pixels as another: one record, the tags of all */
    uint64_t untagged;   /* lost all tags: outside WordNet, or dropped as too rare */
    uint64_t train, heldout; /* records written */
    uint64_t tags_before;    /* distinct spellings, of images that are not excluded */
    uint64_t tags_unknown;   /* of them: not a WordNet noun */
    uint64_t tags_merged;    /* of them: joined with another spelling of the same noun */
    uint64_t tags_rare;      /* tags dropped by min_images or max_tags */
    uint64_t tags;           /* kept */
    uint64_t shards, bytes;  /* files written, and their size together */
    uint64_t read_bytes;     /* of source files */
    uint64_t kept_jpegs;     /* records that hold the source's own JPEG */
    uint64_t transcoded;     /* of them: losslessly transcoded */
    uint64_t resumed;        /* images and shards taken over from an interrupted import */
    uint64_t elapsed_ns;
    char fingerprint[40];
    uint64_t skipped[WSL_IMPORT_SKIPS]; /* passed over, listed in skipped.tsv; not in `seen` */
    char skipped_first[WSL_IMPORT_SKIPS][256]; /* the first name of each kind; "": none */
};

void wsl_import_defaults(struct wsl_import_setup *setup);

/* The text of a reason ("missing file"), of a kind of skipped entries: a static string. */
const char *wsl_quarantine_reason_name(enum wsl_quarantine_reason reason);
const char *wsl_import_skip_name(enum wsl_import_skip kind);

/* Errors: WSL_EINVAL (a setting; or nothing usable is left: the line has the counts), WSL_ENOENT
 * (source, WordNet), WSL_EEXIST (output exists, another import writes it, or an interrupted one
 * with other settings is there), WSL_ECORRUPT (WordNet files, list files), WSL_ENOSPC, WSL_EIO,
 * WSL_ENOMEM, WSL_ELIMIT (over 2^31 files), WSL_ECANCELLED. The output is not there after any of
 * them; "<output>.partial" is, when it holds work that the same call would go on with. *ret is
 * filled as far as it got. */
int wsl_import_run(const struct wsl_import_setup *setup, struct wsl_import_result *ret,
                   struct wsl_err *err);

#endif
