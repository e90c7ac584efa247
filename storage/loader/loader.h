/* SPDX-License-Identifier: Apache-2.0
 *
 * Batches for a trainer: order -> record -> decode -> crop, flip, resize -> u8 pixels and tag
 * lists.
 *
 * What is at a position is a function of (data set fingerprint, seed, epoch, position) alone: any
 * rank of any world at any time reads the same image with the same crop there. Batch slot j of
 * step t is position t * batch + j; the loader of a rank is given the slots it serves. Nothing has
 * to be saved to resume.
 */
#ifndef WSL_STORAGE_LOADER_LOADER_H
#define WSL_STORAGE_LOADER_LOADER_H

#include "base/err.h"
#include "kernels/image/image.h"
#include "storage/dataset/dataset.h"
#include "storage/sampling/order.h"

#include <stdbool.h>
#include <stdint.h>

struct wsl_loader_setup {
    struct wsl_dataset *dataset; /* stays open for the loader's life */
    enum wsl_split split;
    uint64_t seed;
    enum wsl_sampling sampling;
    double threshold;  /* of the resampling, in images; 0: the largest tag's count / 4 */
    double max_repeat; /* 0: 20 */
    uint64_t window;   /* records that are shuffled among themselves (order.h); 0: all of them */
    int image_size;    /* batches are image_size x image_size */
    bool augment;      /* random resized crop + flip; false: centre crop (evaluation) */
    double min_area;   /* 0: 0.08 */
    bool no_flip;
    struct wsl_colour_jitter jitter; /* with `augment` only; zeros: none */
    uint32_t batch;                  /* global batch: slots per step over all ranks */
    uint32_t first_slot; /* this rank's slots: first_slot .. first_slot + slots - 1 of each step */
    uint32_t slots;
    uint64_t start_step; /* first batch delivered is this step's */
    uint64_t end_step;   /* one past the last; 0: no end. Of a single pass: from the split's size */
    bool single_pass; /* in record order, no resampling; the last batch may be short (evaluation) */
    int threads;      /* decode threads, 1 to 64 */
    int prefetch_batches; /* batches made ahead; 0: 3 */
};

struct wsl_batch {
    uint64_t step;
    uint32_t count;            /* images in it: `slots`, fewer only at the end of a single pass */
    const uint8_t *pixels;     /* count x image_size x image_size x 3 (NHWC, RGB) */
    const uint32_t *tag_begin; /* count + 1 offsets into tags: image i has tags[tag_begin[i] ..
                                  tag_begin[i+1]-1] */
    const uint32_t *tags;
    const uint64_t *records; /* count record indexes, for reports */
    uint32_t bad;            /* records of this batch that were unreadable and substituted */
};

struct wsl_loader;

int wsl_loader_open(struct wsl_loader **ret, const struct wsl_loader_setup *setup,
                    struct wsl_err *err);

/* The next batch; blocks until it is made. Valid until the next call of next or close. One thread.
 * Returns 0, WSL_LOADER_END after the last, or a failure. An unreadable record is replaced by
 * another one chosen by hash of (position, attempt), the same on every machine; when 16 substitutes
 * in a row are bad it fails. */
enum { WSL_LOADER_END = 1 };
int wsl_loader_next(struct wsl_loader *loader, struct wsl_batch *ret, struct wsl_err *err);

/* Draws of one epoch (the split's size under natural sampling; longer under resampling). */
uint64_t wsl_loader_epoch_length(const struct wsl_loader *loader);

/* Totals since open, and the first few unreadable records in words ("record 17 of train: ..."), for
 * the job's report. Any thread. */
struct wsl_loader_stats {
    uint64_t images;
    uint64_t bad;
    uint64_t waited_ns; /* time next() waited: the loader was the bottleneck */
    char bad_lines[8][200];
    int bad_line_count;
};
void wsl_loader_stats(struct wsl_loader *loader, struct wsl_loader_stats *ret);

/* Stops the threads; NULL is fine. */
void wsl_loader_close(struct wsl_loader *loader);

#endif
