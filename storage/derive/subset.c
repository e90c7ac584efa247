/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "storage/derive/internal.h"

#include <stdlib.h>
#include <string.h>

#define SHARE_SALT 0x7368617265ull /* "share" */

struct sharing {
    double share;
    bool rest;
    uint64_t key;
};

static int choose(void *context, enum wsl_split split, uint64_t index, const uint32_t *tags,
                  int count, bool counting, uint32_t ret_tags[64])
{
    const struct sharing *s = context;
    struct wsl_rng rng;

    (void)counting;
    wsl_rng_start(&rng, s->key, index);
    if (split == WSL_SPLIT_TRAIN && (wsl_rng_unit(&rng) < s->share) == s->rest)
        return 0;
    memcpy(ret_tags, tags, (size_t)count * sizeof *tags);
    return count;
}

int wsl_view_share(const struct wsl_view_setup *setup, double share, bool rest, uint64_t seed,
                   struct wsl_view_result *ret, struct wsl_err *err)
{
    struct wsl_dataset *ds = setup->dataset;
    struct sharing s = {share, rest, wsl_mix64(seed, SHARE_SALT)};
    size_t count = wsl_dataset_tag_count(ds);
    struct wsl_tag *tags = calloc(count + 1, sizeof *tags);
    struct view_plan plan = {.setup = setup,
                             .result = ret,
                             .tags = tags,
                             .tag_count = count,
                             .keep_order = true,
                             .kind = strcmp(wsl_dataset_kind(ds), "tags") == 0 ? "tags" : "labels",
                             .rewrite = choose,
                             .context = &s};
    int r;

    memset(ret, 0, sizeof *ret);
    if (!(share >= 0 && share <= 1)) {
        r = wsl_fail(err, WSL_EINVAL, "a share of %g is not between 0 and 1", share);
    } else if (!tags) {
        r = wsl_fail(err, WSL_ENOMEM, "no memory for the vocabulary");
    } else {
        for (size_t t = 0; t < count; t++)
            tags[t] = *wsl_dataset_tag(ds, t);
        r = view_make(&plan,
                      json_pack("{ss sf sb sI}", "made_by", "data split", "share", share, "rest",
                                rest, "seed", (json_int_t)seed),
                      err);
    }
    free(tags);
    return r;
}
