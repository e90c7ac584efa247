/* SPDX-License-Identifier: Apache-2.0
 *
 * One draw a record, by its index, decides in which of the two parts it is.
 */
#include "base/rng.h"
#include "storage/derive/internal.h"

#include <stdlib.h>
#include <string.h>

#define SUBSET_SALT 0x7368617265ull /* "share" */

struct subset {
    double fraction;
    bool rest;
    uint64_t key;
};

static int select_record(void *context, const struct view_record *record, uint32_t ret_tags[64])
{
    const struct subset *s = context;
    struct wsl_rng rng;

    wsl_rng_start(&rng, s->key, record->index);
    if (record->split == WSL_SPLIT_TRAIN && (wsl_rng_unit(&rng) < s->fraction) == s->rest)
        return 0;
    memcpy(ret_tags, record->tags, (size_t)record->count * sizeof *ret_tags);
    return record->count;
}

int wsl_view_subset(const struct wsl_view_setup *setup, double fraction, bool rest, uint64_t seed,
                    struct wsl_view_result *ret, struct wsl_err *err)
{
    struct wsl_dataset *ds = setup->dataset;
    struct subset s = {fraction, rest, wsl_mix64(seed, SUBSET_SALT)};
    size_t count = wsl_dataset_tag_count(ds);
    struct wsl_tag *tags = calloc(count + 1, sizeof *tags);
    struct view_plan plan = {.setup = setup,
                             .result = ret,
                             .tags = tags,
                             .tag_count = count,
                             .keep_order = true,
                             .kind = strcmp(wsl_dataset_kind(ds), "tags") == 0 ? "tags" : "labels",
                             .rewrite = select_record,
                             .context = &s};
    int r;

    memset(ret, 0, sizeof *ret);
    if (!(fraction >= 0 && fraction <= 1)) {
        r = wsl_fail(err, WSL_EINVAL, "a share of %g is not between 0 and 1", fraction);
    } else if (!tags) {
        r = wsl_fail(err, WSL_ENOMEM, "no memory for the vocabulary");
    } else {
        for (size_t t = 0; t < count; t++)
            tags[t] = *wsl_dataset_tag(ds, t);
        r = wsl_view_make(&plan,
                          json_pack("{ss sf sb sI}", "made_by", "data split", "share", fraction,
                                    "rest", rest, "seed", (json_int_t)seed),
                          err);
    }
    free(tags);
    return r;
}
