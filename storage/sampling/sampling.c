/* SPDX-License-Identifier: Apache-2.0
 *
 * Records sorted by rarest tag, counting sort: from the tags of each record, or as a view has it on
 * disk.
 */
#include "storage/sampling/sampling.h"

#include "storage/dataset/sigbus_guard.h"

#include <stdlib.h>
#include <string.h>

enum { TAGS_MAX = 64 };

void wsl_sampling_fill(struct wsl_sampling_rule *rule, const struct wsl_dataset *ds)
{
    uint64_t max_images = 0;

    for (size_t i = 0; i < wsl_dataset_tag_count(ds); i++)
        if (wsl_dataset_tag(ds, i)->train > max_images)
            max_images = wsl_dataset_tag(ds, i)->train;
    if (!(rule->threshold > 0))
        rule->threshold = (double)max_images / 4;
    if (!(rule->max_repeat > 0))
        rule->max_repeat = 20;
}

int wsl_sampling_rarest(const struct wsl_dataset *ds, const uint32_t *tags, int count)
{
    uint64_t min_images = UINT64_MAX;
    int rarest = -1;

    for (int i = 0; i < count; i++) {
        uint64_t images = wsl_dataset_tag(ds, tags[i])->train;

        if (images <= min_images) {
            min_images = images;
            rarest = i;
        }
    }
    return rarest;
}

/* What makes the table: records by (zone, rarest tag, index). A zone is a piece of a window, so
 * that neighbours in the table are neighbours in the shards; without windows there is one. */
struct table_input {
    struct wsl_dataset *dataset;
    enum wsl_split split;
    uint64_t records, zone;
    size_t groups;    /* the tags, and one for records without */
    uint32_t *group;  /* of each record */
    uint64_t *counts; /* of each group, in one zone */
};

static void read_groups(const struct table_input *m)
{
    for (uint64_t i = 0; i < m->records; i++) {
        uint32_t tags[TAGS_MAX];
        int count, rarest = -1;

        if (wsl_dataset_read_tags(m->dataset, m->split, i, tags, &count, NULL) == 0)
            rarest = wsl_sampling_rarest(m->dataset, tags, count);
        m->group[i] = rarest < 0 ? (uint32_t)(m->groups - 1) : tags[rarest];
    }
}

static float tag_repeat(const struct wsl_dataset *ds, const struct wsl_sampling_rule *rule,
                        size_t group)
{
    if (group >= wsl_dataset_tag_count(ds))
        return 1;
    return wsl_order_repeat(rule->kind, rule->threshold, rule->max_repeat,
                            wsl_dataset_tag(ds, group)->train);
}

static int append_run(struct wsl_sampling_table *t, size_t *capacity, uint64_t records,
                      float repeat)
{
    if (records == 0)
        return 0;
    if (t->run_count == *capacity) {
        size_t more = *capacity ? 2 * *capacity : 1024;
        struct wsl_order_run *runs = realloc(t->runs, more * sizeof *runs);

        if (!runs)
            return WSL_ENOMEM;
        t->runs = runs;
        *capacity = more;
    }
    t->runs[t->run_count++] = (struct wsl_order_run){records, repeat};
    return 0;
}

/* Counting sort of the records begin .. end - 1 by group, and their runs. */
static int sort_zone(struct wsl_sampling_table *t, size_t *capacity, const struct table_input *m,
                     const struct wsl_sampling_rule *rule, uint64_t begin)
{
    uint64_t end = m->records - begin < m->zone ? m->records : begin + m->zone, place = begin;

    for (size_t g = 0; g < m->groups; g++)
        m->counts[g] = 0;
    for (uint64_t i = begin; i < end; i++)
        m->counts[m->group[i]]++;
    for (size_t g = 0; g < m->groups; g++) {
        uint64_t count = m->counts[g];

        if (append_run(t, capacity, count, tag_repeat(m->dataset, rule, g)) < 0)
            return WSL_ENOMEM;
        m->counts[g] = place;
        place += count;
    }
    for (uint64_t i = begin; i < end; i++)
        t->owned[m->counts[m->group[i]]++] = (uint32_t)i;
    return 0;
}

static int make_table(struct wsl_sampling_table *t, struct table_input *m,
                      const struct wsl_sampling_rule *rule)
{
    size_t capacity = 0;
    int r = 0;

    m->group = malloc(m->records * sizeof *m->group);
    m->counts = malloc(m->groups * sizeof *m->counts);
    t->owned = malloc(m->records * sizeof *t->owned);
    t->table = t->owned;
    if (!m->group || !m->counts || !t->owned)
        return WSL_ENOMEM;
    read_groups(m);
    for (uint64_t begin = 0; r == 0 && begin < m->records; begin += m->zone)
        r = sort_zone(t, &capacity, m, rule, begin);
    return r;
}

struct counts {
    const uint64_t *from;
    uint64_t *to;
    size_t count;
};

static void copy_counts(void *context)
{
    const struct counts *c = context;

    memcpy(c->to, c->from, c->count * sizeof *c->to);
}

/* The table that a view keeps, by tag and then by record. */
static int map_table(struct wsl_sampling_table *t, const struct wsl_dataset *ds,
                     const uint64_t *mapped, const struct wsl_sampling_rule *rule)
{
    struct counts counts = {mapped, NULL, wsl_dataset_tag_count(ds)};
    size_t capacity = 0;
    int r = 0;

    counts.to = calloc(counts.count + 1, sizeof *counts.to);
    if (!counts.to)
        return WSL_ENOMEM;
    if (!wsl_sigbus_guard_run(copy_counts, &counts))
        r = WSL_EIO;
    for (size_t g = 0; r == 0 && g < counts.count; g++)
        r = append_run(t, &capacity, counts.to[g], tag_repeat(ds, rule, g));
    free(counts.to);
    return r;
}

int wsl_sampling_open(struct wsl_sampling_table *ret, struct wsl_dataset *ds, enum wsl_split split,
                      const struct wsl_sampling_rule *rule, struct wsl_err *err)
{
    struct table_input m = {.dataset = ds,
                            .split = split,
                            .records = wsl_dataset_count(ds, split),
                            .groups = wsl_dataset_tag_count(ds) + 1};
    struct wsl_sampling_rule filled = *rule;
    const uint64_t *counts;
    int r;

    *ret = (struct wsl_sampling_table){0};
    if (rule->kind == WSL_SAMPLING_NATURAL || m.records == 0)
        return 0;
    if (m.records > UINT32_MAX)
        return wsl_fail(err, WSL_ELIMIT, "resampling takes at most 2^32 - 1 records");
    wsl_sampling_fill(&filled, ds);
    m.zone = rule->window > 0 ? rule->window / WSL_ORDER_WINDOW_PIECES : m.records;
    m.zone = m.zone > 0 ? m.zone : 1;
    if (rule->window == 0)
        ret->table = wsl_dataset_by_rarest(ds, split, &counts);
    r = ret->table ? map_table(ret, ds, counts, &filled) : make_table(ret, &m, &filled);
    free(m.group);
    free(m.counts);
    if (r < 0) {
        wsl_sampling_close(ret);
        return wsl_fail(err, r, "cannot resample %llu records: %s", (unsigned long long)m.records,
                        wsl_err_name(r));
    }
    return 0;
}

void wsl_sampling_close(struct wsl_sampling_table *t)
{
    free(t->runs);
    free(t->owned);
    *t = (struct wsl_sampling_table){0};
}
