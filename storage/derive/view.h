/* SPDX-License-Identifier: Apache-2.0
 *
 * Views of a data set (dataset.h): the same images with other tags, or fewer images. Each call
 * makes a directory, whole or not at all, whose size is about 9 bytes a record and 2 a tag; while
 * it is made it takes up to 20 bytes of memory a record and 10 a tag. They read every record's tags
 * twice, and no image.
 *
 * The same input gives the same fingerprint.
 */
#ifndef WSL_STORAGE_DERIVE_VIEW_H
#define WSL_STORAGE_DERIVE_VIEW_H

#include "storage/dataset/dataset.h"
#include "storage/vocabulary/vocabulary.h"

#include <stdatomic.h>

/* Where a view is made, and of what. Texts stay the caller's. */
struct wsl_view_setup {
    struct wsl_dataset *dataset;
    const char *directory;     /* that it was opened from; the view keeps its absolute path */
    const char *output, *name; /* as of wsl_dataset_writer_open() */
    const atomic_bool *cancel; /* looked at now and then: WSL_ECANCELLED; NULL: never */
};

struct wsl_view_result {
    uint64_t train, heldout; /* records of the view */
    uint64_t dropped;        /* records of the data set that are not in it */
    uint64_t tags;           /* of its vocabulary */
    uint64_t unmapped;       /* map: tags of the data set that the vocabulary does not have */
    uint64_t cut;            /* map: records with more than 64 tags: the rarest stay */
    uint64_t kept, replaced; /* noise: tags of training records */
    char fingerprint[33];
};

/* Tags by a vocabulary: a tag becomes those that it means there; records without any are left out;
 * so are tags on no training image. Ids by the frequency in this data set. WSL_EINVAL when nothing
 * to train on is left. */
int wsl_view_map(const struct wsl_view_setup *setup, const struct wsl_vocabulary *vocabulary,
                 struct wsl_view_result *ret, struct wsl_err *err);

/* The label noise of Mahajan et al. 2018, section 3.1.2: each tag of a training record is replaced
 * with probability p by one drawn from the marginal distribution of the tags. What a record gets is
 * a function of (seed, index of the record). A draw that the record has already is drawn again, 32
 * times at most, then the tag stays: so records keep their number of tags. Held-out records and the
 * vocabulary's order stay as they are. */
int wsl_view_noise(const struct wsl_view_setup *setup, double p, uint64_t seed,
                   struct wsl_view_result *ret, struct wsl_err *err);

/* A share of the training records, for experiments with less data: those whose draw in [0, 1), a
 * function of (seed, index), is below `fraction`; with `rest` the others. So a smaller share lies
 * in a greater one. Held-out records and the vocabulary stay as they are. */
int wsl_view_subset(const struct wsl_view_setup *setup, double fraction, bool rest, uint64_t seed,
                    struct wsl_view_result *ret, struct wsl_err *err);

#endif
