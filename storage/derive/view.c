/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes any view in two passes over the records' tags: the first counts, which ranks the tags; the
 * second writes the tables.
 */
#include "storage/derive/internal.h"

#include "storage/dataset/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TAGS_MAX = 64, CHECK_EVERY = 1024 };

struct work {
    const struct view_plan *plan;
    struct wsl_dataset_writer writer;
    uint64_t *counts[2]; /* by split, of each tag before ranking */
    uint32_t *id;        /* of each tag in the view; UINT32_MAX: none */
};

/* Tags of record->split and ->index in the view, before ranking; how many, or a failure. */
static int rewrite(struct work *w, struct view_record *record, uint32_t ret_tags[TAGS_MAX],
                   struct wsl_err *err)
{
    const struct view_plan *plan = w->plan;
    int r;

    if (record->index % CHECK_EVERY == 0 && plan->setup->cancel && atomic_load(plan->setup->cancel))
        return wsl_fail(err, WSL_ECANCELLED, "the view %s was cancelled", plan->setup->output);
    r = wsl_dataset_read_tags(plan->setup->dataset, record->split, record->index, record->tags,
                              &record->count, err);
    return r < 0 ? r : plan->rewrite(plan->context, record, ret_tags);
}

static int count_split(struct work *w, enum wsl_split split, struct wsl_err *err)
{
    for (uint64_t i = 0; i < wsl_dataset_count(w->plan->setup->dataset, split); i++) {
        struct view_record record = {.split = split, .index = i, .counting = true};
        uint32_t tags[TAGS_MAX];
        int count = rewrite(w, &record, tags, err);

        if (count < 0)
            return count;
        for (int k = 0; k < count; k++)
            w->counts[split][tags[k]]++;
    }
    return 0;
}

struct rank {
    uint64_t images;
    const char *name;
    uint32_t tag;
};

static int by_images(const void *a, const void *b)
{
    const struct rank *x = a, *y = b;

    if (x->images != y->images)
        return x->images > y->images ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Gives ids and fills in the vocabulary of the view. */
static int rank_tags(struct work *w, struct wsl_err *err)
{
    const struct view_plan *plan = w->plan;
    struct wsl_dataset_info *info = &w->writer.info;
    struct rank *ranks = calloc(plan->tag_count + 1, sizeof *ranks);
    size_t n = 0;

    info->tags = calloc(plan->tag_count + 1, sizeof *info->tags);
    if (!ranks || !info->tags) {
        free(ranks);
        return wsl_fail(err, WSL_ENOMEM, "no memory for the vocabulary");
    }
    for (uint32_t t = 0; t < plan->tag_count; t++) {
        w->id[t] = UINT32_MAX;
        if (plan->keep_order || w->counts[WSL_SPLIT_TRAIN][t] > 0)
            ranks[n++] = (struct rank){w->counts[WSL_SPLIT_TRAIN][t], plan->tags[t].name, t};
    }
    if (!plan->keep_order)
        qsort(ranks, n, sizeof *ranks, by_images);
    for (uint32_t i = 0; i < n; i++) {
        const struct wsl_tag *tag = &plan->tags[ranks[i].tag];

        w->id[ranks[i].tag] = i;
        info->tags[i] = (struct wsl_tag){.name = strdup(tag->name), .synset = strdup(tag->synset)};
        info->tag_count = i + 1;
        if (!info->tags[i].name || !info->tags[i].synset) {
            free(ranks);
            return wsl_fail(err, WSL_ENOMEM, "no memory for the vocabulary");
        }
        info->tags[i].train = w->counts[WSL_SPLIT_TRAIN][ranks[i].tag];
        info->tags[i].heldout = w->counts[WSL_SPLIT_HELDOUT][ranks[i].tag];
    }
    free(ranks);
    return 0;
}

static int give_ids(const struct work *w, uint32_t *tags, int count)
{
    int n = 0;

    for (int i = 0; i < count; i++)
        if (w->id[tags[i]] != UINT32_MAX)
            tags[n++] = w->id[tags[i]];
    return (int)wsl_record_sort_tags(tags, (uint32_t)n);
}

static int write_split(struct work *w, enum wsl_split split, struct wsl_err *err)
{
    const uint64_t records = wsl_dataset_count(w->plan->setup->dataset, split);
    struct wsl_tag_table_builder table = {0};
    int r = 0;

    for (uint64_t i = 0; i < records && r == 0; i++) {
        struct view_record record = {.split = split, .index = i};
        uint32_t tags[TAGS_MAX];
        int count = rewrite(w, &record, tags, err);

        r = count < 0 ? count : 0;
        count = r == 0 ? give_ids(w, tags, count) : 0;
        if (count > 0)
            r = wsl_tag_table_add(&table, i, tags, count, err);
        else
            w->plan->result->dropped += r == 0;
    }
    if (r == 0 && table.records > 0)
        r = wsl_dataset_writer_add_table(&w->writer, split, &table, records, err);
    *(split == WSL_SPLIT_TRAIN ? &w->plan->result->train : &w->plan->result->heldout) =
        table.records;
    wsl_tag_table_builder_free(&table);
    return r;
}

static int set_base(struct work *w, struct wsl_err *err)
{
    const struct wsl_view_setup *s = w->plan->setup;

    w->writer.info.base = realpath(s->directory, NULL);
    if (!w->writer.info.base)
        return wsl_fail_errno(err, "cannot find %s", s->directory);
    snprintf(w->writer.info.base_fingerprint, sizeof w->writer.info.base_fingerprint, "%s",
             wsl_dataset_fingerprint(s->dataset));
    return 0;
}

static int run(struct work *w, json_t *source, struct wsl_err *err)
{
    struct wsl_view_result *result = w->plan->result;
    int r = set_base(w, err);

    for (int s = 0; r == 0 && s < 2; s++)
        r = count_split(w, (enum wsl_split)s, err);
    if (r == 0)
        r = rank_tags(w, err);
    for (int s = 0; r == 0 && s < 2; s++)
        r = write_split(w, (enum wsl_split)s, err);
    if (r < 0)
        return r;
    result->tags = w->writer.info.tag_count;
    if (result->train == 0)
        return wsl_fail(err, WSL_EINVAL,
                        "no image to train on has a tag that is left: of %zu tags none is on one",
                        w->plan->tag_count);
    r = wsl_dataset_writer_finish(&w->writer, source, err);
    memcpy(result->fingerprint, w->writer.info.fingerprint, sizeof result->fingerprint);
    return r;
}

int wsl_view_make(const struct view_plan *plan, json_t *source, struct wsl_err *err)
{
    const struct wsl_view_setup *s = plan->setup;
    struct work w = {.plan = plan};
    int r = wsl_dataset_writer_open(&w.writer, s->output, s->name, plan->kind, err);

    if (r == 0) {
        for (int k = 0; k < 2; k++)
            w.counts[k] = calloc(plan->tag_count + 1, sizeof *w.counts[k]);
        w.id = calloc(plan->tag_count + 1, sizeof *w.id);
        r = w.counts[0] && w.counts[1] && w.id ? run(&w, source, err)
                                               : wsl_fail(err, WSL_ENOMEM, "no memory for a view");
        wsl_dataset_writer_close(&w.writer);
    }
    free(w.counts[0]);
    free(w.counts[1]);
    free(w.id);
    json_decref(source);
    return r;
}
