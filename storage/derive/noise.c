/* SPDX-License-Identifier: Apache-2.0
 *
 * Draws from the marginal distribution by its running sums; a record's draws depend on its index
 * alone.
 */
#include "base/rng.h"
#include "storage/dataset/record.h"
#include "storage/derive/internal.h"

#include <stdlib.h>
#include <string.h>

enum { TAGS_MAX = 64, TRIES = 32 };

#define NOISE_SALT 0x6e6f697365ull /* "noise" */

struct noise {
    uint64_t *sums; /* running sums of the tags' training images */
    size_t tags;
    double p;
    uint64_t key;
    struct wsl_view_result *result;
};

static uint32_t draw_tag(const struct noise *n, struct wsl_rng *rng)
{
    uint64_t at = wsl_rng_below(rng, n->sums[n->tags - 1]);
    size_t low = 0, high = n->tags - 1;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (n->sums[middle] > at)
            high = middle;
        else
            low = middle + 1;
    }
    return (uint32_t)low;
}

static bool has(const uint32_t *tags, int count, int but, uint32_t tag)
{
    for (int i = 0; i < count; i++)
        if (i != but && tags[i] == tag)
            return true;
    return false;
}

static int add_noise(void *context, const struct view_record *record, uint32_t ret_tags[TAGS_MAX])
{
    const uint32_t *tags = record->tags;
    const int count = record->count;
    struct noise *n = context;
    struct wsl_rng rng;

    memcpy(ret_tags, tags, (size_t)count * sizeof *tags);
    if (record->split != WSL_SPLIT_TRAIN)
        return count;
    wsl_rng_start(&rng, n->key, record->index);
    for (int i = 0; i < count; i++) {
        bool replace = wsl_rng_unit(&rng) < n->p;
        uint32_t tag = tags[i];

        for (int k = 0; replace && k < TRIES; k++) {
            tag = draw_tag(n, &rng);
            if (!has(ret_tags, count, i, tag))
                break;
            tag = tags[i];
        }
        ret_tags[i] = tag;
        if (record->counting)
            (*(replace ? &n->result->replaced : &n->result->kept))++;
    }
    return (int)wsl_record_sort_tags(ret_tags, (uint32_t)count);
}

int wsl_view_noise(const struct wsl_view_setup *setup, double p, uint64_t seed,
                   struct wsl_view_result *ret, struct wsl_err *err)
{
    struct wsl_dataset *ds = setup->dataset;
    struct noise n = {.tags = wsl_dataset_tag_count(ds),
                      .p = p,
                      .key = wsl_mix64(seed, NOISE_SALT),
                      .result = ret};
    struct wsl_tag *tags = calloc(n.tags + 1, sizeof *tags);
    struct view_plan plan = {.setup = setup,
                             .result = ret,
                             .tags = tags,
                             .tag_count = n.tags,
                             .keep_order = true,
                             .kind = strcmp(wsl_dataset_kind(ds), "tags") == 0 ? "tags" : "labels",
                             .rewrite = add_noise,
                             .context = &n};
    uint64_t sum = 0;
    int r;

    memset(ret, 0, sizeof *ret);
    n.sums = calloc(n.tags + 1, sizeof *n.sums);
    if (!(p >= 0 && p <= 1)) {
        r = wsl_fail(err, WSL_EINVAL, "a probability of %g is not between 0 and 1", p);
    } else if (!tags || !n.sums) {
        r = wsl_fail(err, WSL_ENOMEM, "no memory for the vocabulary");
    } else {
        for (size_t t = 0; t < n.tags; t++) {
            tags[t] = *wsl_dataset_tag(ds, t);
            n.sums[t] = sum += tags[t].train;
        }
        r = sum > 0 ? wsl_view_make(&plan,
                                    json_pack("{ss sf sI}", "made_by", "tags noise", "p", p, "seed",
                                              (json_int_t)seed),
                                    err)
                    : wsl_fail(err, WSL_EINVAL, "the data set has no tags to draw from");
    }
    free(tags);
    free(n.sums);
    return r;
}
