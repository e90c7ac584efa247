/* SPDX-License-Identifier: Apache-2.0
 *
 * One pass over the held-out split: each rank scores its share, the totals are all-reduced.
 */
#include "daemon/trainer/evaluate.h"

#include "storage/loader/loader.h"

#include <math.h>

enum { LOSS, HIT1, HIT5, BASE1, BASE5, IMAGES, TOTALS };

int wsl_most_frequent_tags(const struct wsl_dataset *dataset, int n, uint32_t *ret_tags)
{
    size_t count = wsl_dataset_tag_count(dataset);
    int found = 0;

    for (size_t id = 0; id < count; id++) {
        uint64_t images = wsl_dataset_tag(dataset, id)->train;
        int at = found;

        while (at > 0 && wsl_dataset_tag(dataset, ret_tags[at - 1])->train < images)
            at--;
        if (at == n)
            continue;
        if (found < n)
            found++;
        for (int i = found - 1; i > at; i--)
            ret_tags[i] = ret_tags[i - 1];
        ret_tags[at] = (uint32_t)id;
    }
    return found;
}

/* One of image i's tags is among the `n` answers. */
static bool hits(const struct wsl_batch *batch, uint32_t i, const uint32_t *answers, int n)
{
    for (uint32_t t = batch->tag_begin[i]; t < batch->tag_begin[i + 1]; t++)
        for (int k = 0; k < n; k++)
            if (batch->tags[t] == answers[k])
                return true;
    return false;
}

static int add_batch(const struct wsl_evaluate_setup *setup, const struct wsl_batch *batch,
                     double totals[TOTALS], struct wsl_err *err)
{
    struct wsl_targets targets = {.begin = batch->tag_begin, .tags = batch->tags};
    struct wsl_step_result result;
    uint32_t frequent[5];
    int n = wsl_most_frequent_tags(setup->dataset, 5, frequent);
    int r;

    if (batch->count == 0)
        return 0;
    r = wsl_net_evaluate(setup->net,
                         &(struct wsl_net_batch){batch->pixels, targets, (int)batch->count}, NULL,
                         &result, err);
    if (r < 0)
        return r;
    totals[LOSS] += result.loss;
    totals[HIT1] += result.hit1;
    totals[HIT5] += result.hit5;
    totals[IMAGES] += batch->count;
    for (uint32_t i = 0; i < batch->count; i++) {
        totals[BASE1] += hits(batch, i, frequent, n < 1 ? n : 1);
        totals[BASE5] += hits(batch, i, frequent, n);
    }
    return 0;
}

static int run_pass(const struct wsl_evaluate_setup *setup, double totals[TOTALS],
                    struct wsl_err *err)
{
    struct wsl_loader_setup load = {
        .dataset = setup->dataset,
        .split = WSL_SPLIT_HELDOUT,
        .image_size = setup->image_size,
        .batch = setup->slots * setup->world,
        .first_slot = setup->slots * setup->rank,
        .slots = setup->slots,
        .single_pass = true,
        .threads = setup->threads,
    };
    struct wsl_loader *loader;
    struct wsl_batch batch;
    int r = wsl_loader_open(&loader, &load, err);

    if (r < 0)
        return r;
    while ((r = wsl_loader_next(loader, &batch, err)) == 0) {
        r = add_batch(setup, &batch, totals, err);
        if (r < 0)
            break;
    }
    wsl_loader_close(loader);
    return r == WSL_LOADER_END ? 0 : r;
}

int wsl_evaluate(const struct wsl_evaluate_setup *setup, Wsl__V1__Evaluation *ret,
                 struct wsl_err *err)
{
    double totals[TOTALS] = {0};
    double images;
    int r = 0;

    if (wsl_dataset_count(setup->dataset, WSL_SPLIT_HELDOUT) > 0)
        r = run_pass(setup, totals, err);
    if (r == 0)
        r = wsl_collective_all_reduce_f64(setup->collective, totals, TOTALS, err);
    if (r == 0)
        r = wsl_collective_wait(setup->collective, err);
    if (r < 0)
        return r;
    images = totals[IMAGES] > 0 ? totals[IMAGES] : 1;
    ret->images = (uint64_t)totals[IMAGES];
    ret->loss = totals[LOSS] / images;
    ret->hit1 = totals[HIT1] / images;
    ret->hit5 = totals[HIT5] / images;
    ret->baseline_hit1 = totals[BASE1] / images;
    ret->baseline_hit5 = totals[BASE5] / images;
    ret->not_finite = !isfinite(ret->loss);
    return 0;
}
