/* SPDX-License-Identifier: Apache-2.0
 *
 * Scores over the held-out split, shared among the ranks: single centre crop, running statistics.
 * Beside hit@1 and hit@5 stands what always answering the 1 (5) most frequent training tags would
 * score on the same images. A loss that is not finite is no failure: the weights are numbers (that
 * is checked when they are saved), but what they give with the running statistics is not. Step
 * thread; blocks for a pass over the split.
 */
#ifndef WSL_DAEMON_TRAINER_EVALUATE_H
#define WSL_DAEMON_TRAINER_EVALUATE_H

#include "base/err.h"
#include "kernels/collective/collective.h"
#include "kernels/model/net.h"
#include "storage/dataset/dataset.h"
#include "wsl/v1/job.pb-c.h"

struct wsl_evaluate_setup {
    struct wsl_net *net;
    struct wsl_collective *collective;
    struct wsl_dataset *dataset;
    int image_size;
    uint32_t rank, world, slots; /* slots: images per call and rank */
    int threads;                 /* that decode */
};

/* Every rank calls it and gets the totals (step and epoch stay as they are). images = 0 when the
 * split is empty. */
int wsl_evaluate(const struct wsl_evaluate_setup *setup, Wsl__V1__Evaluation *ret,
                 struct wsl_err *err);

/* The `n` tags that most training images carry, most frequent first (ties: the smaller id); returns
 * how many there are, at most n. Pure. */
int wsl_most_frequent_tags(const struct wsl_dataset *dataset, int n, uint32_t *ret_tags);

#endif
