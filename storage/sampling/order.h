/* SPDX-License-Identifier: Apache-2.0
 *
 * Which record is at a position: record = F(fingerprint, seed, position), without a list that would
 * have to be shuffled, kept or saved. Pure after opening; any number of threads.
 *
 * Positions go on indefinitely; epoch e is positions e * length .. (e + 1) * length - 1, each epoch
 * in an order of its own (a keyed permutation, base/rng.h). Under natural sampling length is the
 * number of records and every epoch has each once. The state of a run is the position alone.
 *
 * Resampling (Mahajan et al. 2018, section 2.2; the same rule as Gupta et al. 2019, "LVIS"): a tag
 * on f images is wanted max(1, phi(t / f)) times, phi the square root or the identity, and a
 * image as often as its most wanted, that is rarest, tag. So all images with the same rarest
 * tag are wanted equally often: a run. r is fractional; in each epoch a record has floor(r) or
 * ceil(r) copies, r on average, by systematic sampling: with the running sums C of r over the runs
 * and a phase u of the epoch, copy d belongs to the first record whose C is at least d + 1 - u. So
 * that every epoch has the same length, and the averages stay exact, all r are stretched by the
 * factor (at most 1 + 1 / records) that makes their sum a whole number: that is the length. r >= 1
 * stays so: each record comes at least once per epoch. Costs 24 bytes a run, and the table that
 * says which records a run has.
 *
 * Windows: for disks that are slow at random reads. The epoch's draws are cut into pieces of
 * neighbours; the pieces are permuted, and 8 of them at a time make a window whose draws are
 * permuted among themselves. Where the cuts fall is another place in each epoch. A batch then
 * comes from 8 places of the data set instead of from everywhere; as an import spreads images by
 * hash, each of them is an unbiased sample.
 */
#ifndef WSL_STORAGE_SAMPLING_ORDER_H
#define WSL_STORAGE_SAMPLING_ORDER_H

#include "base/err.h"

#include <stddef.h>
#include <stdint.h>

enum wsl_sampling { WSL_SAMPLING_NATURAL, WSL_SAMPLING_SQUARE_ROOT, WSL_SAMPLING_UNIFORM };

enum { WSL_ORDER_BITS = 20, WSL_ORDER_WINDOW_PIECES = 8 };

/* `records` records, each drawn `repeat` >= 1 times per epoch on average. */
struct wsl_order_run {
    uint64_t records;
    float repeat;
};

struct wsl_order_setup {
    const char *fingerprint;
    uint64_t seed;
    uint64_t records;
    /* Resampling: runs whose records add up to `records`; NULL: natural. Copied. */
    const struct wsl_order_run *runs;
    size_t run_count;
    /* The record at each place of the runs, one run after the other; NULL: records lie in that
     * order themselves. Borrowed for the order's life. */
    const uint32_t *table;
    uint64_t window; /* records of a window, at least WSL_ORDER_WINDOW_PIECES; 0: the whole epoch */
};

struct wsl_order {
    uint64_t records;
    uint64_t length; /* draws per epoch */
    uint64_t key;
    uint64_t total;               /* sum of all repeats, fixed point with WSL_ORDER_BITS */
    struct wsl_order_start *runs; /* owned; NULL: natural sampling */
    size_t run_count;
    const uint32_t *table;
    uint64_t piece, pieces; /* draws of a piece, whole pieces of an epoch; 0: no windows */
};

/* WSL_EINVAL for an empty split, runs that do not add up, repeats below 1 or a window that is too
 * small; WSL_ENOMEM. O(run_count), whatever the number of records. */
int wsl_order_open(struct wsl_order *order, const struct wsl_order_setup *setup,
                   struct wsl_err *err);
void wsl_order_close(struct wsl_order *order); /* zeroed is fine */

uint64_t wsl_order_record(const struct wsl_order *order, uint64_t position);

/* The record that stands in at a position whose own, and attempt - 1 earlier substitutes, cannot be
 * read. attempt >= 1. */
uint64_t wsl_order_substitute(const struct wsl_order *order, uint64_t position, uint32_t attempt);

/* Key of the augmentation's draws; the position is their stream. */
uint64_t wsl_order_augment_key(const struct wsl_order *order);

/* How often an image whose rarest tag is on `rarest` images is drawn per epoch, on average. rarest
 * 0 counts as 1. */
float wsl_order_repeat(enum wsl_sampling sampling, double threshold, double max_repeat,
                       uint64_t rarest);

#endif
