/* SPDX-License-Identifier: Apache-2.0
 *
 * Each tag of the data set is looked up in the vocabulary once, each record's tags in that table.
 */
#include "storage/derive/internal.h"

#include "storage/dataset/record.h"

#include <stdlib.h>
#include <string.h>

enum { TAGS_MAX = 64 };

struct meaning {
    uint32_t tags[WSL_VOCABULARY_MEANINGS_MAX];
    int count;
};

struct mapping {
    struct meaning *meanings; /* of each tag of the data set */
    const struct wsl_vocabulary *vocabulary;
    struct wsl_view_result *result;
};

static int map_record(void *context, const struct view_record *record, uint32_t ret_tags[TAGS_MAX])
{
    struct mapping *m = context;
    uint32_t all[TAGS_MAX * WSL_VOCABULARY_MEANINGS_MAX];
    int n = 0;

    for (int i = 0; i < record->count; i++)
        for (int k = 0; k < m->meanings[record->tags[i]].count; k++)
            all[n++] = m->meanings[record->tags[i]].tags[k];
    n = (int)wsl_record_sort_tags(all, (uint32_t)n);
    if (n > TAGS_MAX) { /* a vocabulary lists the rarest last: they say most */
        memmove(all, all + n - TAGS_MAX, TAGS_MAX * sizeof *all);
        n = TAGS_MAX;
        m->result->cut += record->counting;
    }
    memcpy(ret_tags, all, (size_t)n * sizeof *all);
    return n;
}

static struct wsl_tag *copy_tags(const struct wsl_vocabulary *vocabulary)
{
    struct wsl_tag *tags = calloc(vocabulary->tag_count + 1, sizeof *tags);

    for (size_t i = 0; tags && i < vocabulary->tag_count; i++)
        tags[i] = (struct wsl_tag){.name = vocabulary->tags[i].name,
                                   .synset = vocabulary->tags[i].synset};
    return tags;
}

int wsl_view_map(const struct wsl_view_setup *setup, const struct wsl_vocabulary *vocabulary,
                 struct wsl_view_result *ret, struct wsl_err *err)
{
    const size_t count = wsl_dataset_tag_count(setup->dataset);
    struct mapping m = {calloc(count + 1, sizeof *m.meanings), vocabulary, ret};
    struct wsl_tag *tags = copy_tags(vocabulary);
    struct view_plan plan = {.setup = setup,
                             .result = ret,
                             .tags = tags,
                             .tag_count = vocabulary->tag_count,
                             .kind = "tags",
                             .rewrite = map_record,
                             .context = &m};
    int r;

    memset(ret, 0, sizeof *ret);
    if (!m.meanings || !tags) {
        r = wsl_fail(err, WSL_ENOMEM, "no memory for the vocabulary");
    } else {
        for (size_t t = 0; t < count; t++) {
            const char *name = wsl_dataset_tag(setup->dataset, t)->name;

            m.meanings[t].count = wsl_vocabulary_find(vocabulary, name, m.meanings[t].tags);
            ret->unmapped += m.meanings[t].count == 0;
        }
        r = wsl_view_make(&plan,
                          json_pack("{ss si}", "made_by", "tags map", "vocabulary_tags",
                                    (int)vocabulary->tag_count),
                          err);
    }
    free(m.meanings);
    free(tags);
    return r;
}
