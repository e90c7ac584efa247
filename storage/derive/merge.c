/* SPDX-License-Identifier: Apache-2.0
 *
 * Union of the vocabularies, then all records in the order of a hash of their pixels: equal ones
 * stand beside each other.
 */
#include "storage/derive/merge.h"

#include "base/rng.h"
#include "storage/dataset/dataset_writer.h"
#include "storage/dataset/record.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

enum { SETS_MAX = 64, TAGS_MAX = 64, GROUP_TAGS = 4096 };

/* As of an import, so that merging imports of one seed keeps their divisions' nature. */
#define ORDER_SALT 0x6f72646572ull /* "order" */
#define SPLIT_SALT 0x73706c6974ull /* "split" */

/* A tag of the union before ranking. */
struct merged_tag {
    const char *name, *synset; /* of the first data set that has it */
    uint64_t counts[2];        /* by split */
    uint32_t id;
};

struct place {
    uint64_t key, hash, index;
    uint32_t set;
    uint8_t from, to; /* split, there and in the result; `to` of the first of its group */
};

struct merge {
    const struct wsl_merge_setup *setup;
    struct wsl_merge_result *result;
    struct wsl_dataset_writer writer;
    bool labels;
    struct merged_tag *tags;
    uint32_t tag_count;
    uint32_t *slots; /* by synset and by name: tag + 1, or 0 */
    uint32_t slot_mask;
    uint32_t *merged[SETS_MAX]; /* of each tag of a set: its tag in the union */
    struct place *places;
    uint64_t place_count;
};

/* ---- vocabularies ---- */

static uint32_t *find_slot(const struct merge *j, const char *text, bool synset)
{
    uint32_t at = (uint32_t)XXH3_64bits_withSeed(text, strlen(text), synset) & j->slot_mask;

    for (; j->slots[at]; at = (at + 1) & j->slot_mask) {
        const struct merged_tag *tag = &j->tags[j->slots[at] - 1];

        if (strcmp(synset ? tag->synset : tag->name, text) == 0)
            break;
    }
    return &j->slots[at];
}

/* Of a tag with a synset: the one with that synset, or that name and none. Of one without: the one
 * with that name. */
static uint32_t merge_tag(struct merge *j, const struct wsl_tag *tag)
{
    uint32_t *by_name = find_slot(j, tag->name, false), *by_synset = NULL, found = 0;

    if (tag->synset[0]) {
        by_synset = find_slot(j, tag->synset, true);
        found = *by_synset;
        if (!found && *by_name && !j->tags[*by_name - 1].synset[0]) {
            found = *by_name;
            j->tags[found - 1].synset = tag->synset;
        }
    } else {
        found = *by_name;
    }
    if (!found) {
        j->tags[j->tag_count] = (struct merged_tag){.name = tag->name, .synset = tag->synset};
        found = ++j->tag_count;
    }
    if (by_synset && !*by_synset)
        *by_synset = found;
    by_name = find_slot(j, tag->name, false); /* the table has moved on */
    if (!*by_name && strcmp(j->tags[found - 1].name, tag->name) == 0)
        *by_name = found;
    return found - 1;
}

static int merge_vocabularies(struct merge *j, struct wsl_err *err)
{
    size_t all = 0;
    uint32_t slots = 1024;

    for (size_t s = 0; s < j->setup->count; s++)
        all += wsl_dataset_tag_count(j->setup->datasets[s]);
    while (slots < 4 * all)
        slots *= 2;
    j->slot_mask = slots - 1;
    j->slots = calloc(slots, sizeof *j->slots);
    j->tags = calloc(all + 1, sizeof *j->tags);
    if (!j->slots || !j->tags)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the tags of %zu data sets",
                        j->setup->count);
    for (size_t s = 0; s < j->setup->count; s++) {
        size_t count = wsl_dataset_tag_count(j->setup->datasets[s]);

        j->merged[s] = calloc(count + 1, sizeof *j->merged[s]);
        if (!j->merged[s])
            return wsl_fail(err, WSL_ENOMEM, "no memory for the tags of %zu data sets",
                            j->setup->count);
        for (size_t t = 0; t < count; t++)
            j->merged[s][t] = merge_tag(j, wsl_dataset_tag(j->setup->datasets[s], t));
    }
    return 0;
}

/* ---- records ---- */

static int check_cancel(const struct merge *j, struct wsl_err *err)
{
    if (j->setup->cancel && atomic_load(j->setup->cancel))
        return wsl_fail(err, WSL_ECANCELLED, "making %s was cancelled", j->setup->output);
    return 0;
}

static int list_set(struct merge *j, uint32_t set, struct wsl_err *err)
{
    struct wsl_dataset *ds = j->setup->datasets[set];
    uint64_t seed = wsl_mix64(j->setup->seed, ORDER_SALT);

    for (int s = 0; s < 2; s++)
        for (uint64_t i = 0; i < wsl_dataset_count(ds, (enum wsl_split)s); i++) {
            struct wsl_record record;
            int r = wsl_dataset_read(ds, (enum wsl_split)s, i, &record, err);

            if (r == 0)
                r = check_cancel(j, err);
            if (r < 0)
                return r;
            j->places[j->place_count++] = (struct place){.key = wsl_mix64(seed, record.pixel_hash),
                                                         .hash = record.pixel_hash,
                                                         .index = i,
                                                         .set = set,
                                                         .from = (uint8_t)s};
        }
    return 0;
}

static int by_key(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    if (x->set != y->set)
        return x->set < y->set ? -1 : 1;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

static int list_all(struct merge *j, struct wsl_err *err)
{
    uint64_t all = 0;
    int r = 0;

    for (size_t s = 0; s < j->setup->count; s++)
        all += wsl_dataset_count(j->setup->datasets[s], WSL_SPLIT_TRAIN) +
               wsl_dataset_count(j->setup->datasets[s], WSL_SPLIT_HELDOUT);
    j->places = calloc(all + 1, sizeof *j->places);
    if (!j->places)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the order of %llu records",
                        (unsigned long long)all);
    for (uint32_t s = 0; r == 0 && s < j->setup->count; s++)
        r = list_set(j, s, err);
    if (r == 0)
        qsort(j->places, j->place_count, sizeof *j->places, by_key);
    return r;
}

static uint64_t group_end(const struct merge *j, uint64_t first)
{
    uint64_t end = first + 1;

    while (end < j->place_count && j->places[end].hash == j->places[first].hash)
        end++;
    return end;
}

/* The split that a group of equal pixels goes to: never trained on where any set holds it out. */
static void divide(struct merge *j)
{
    uint64_t seed = wsl_mix64(j->setup->seed, SPLIT_SALT);

    for (uint64_t first = 0, end; first < j->place_count; first = end) {
        struct place *place = &j->places[first];
        uint64_t held = 0;

        end = group_end(j, first);
        for (uint64_t i = first; i < end; i++)
            held += j->places[i].from == WSL_SPLIT_HELDOUT;
        j->result->duplicates += end - first - 1;
        if (held > 0 && j->setup->heldout < 0)
            j->result->moved_to_heldout += end - first - held;
        place->to = held > 0 ? WSL_SPLIT_HELDOUT : WSL_SPLIT_TRAIN;
        if (j->setup->heldout >= 0)
            place->to = (double)(wsl_mix64(seed, place->hash) >> 11) * 0x1p-53 < j->setup->heldout
                            ? WSL_SPLIT_HELDOUT
                            : WSL_SPLIT_TRAIN;
    }
}

/* The tags of a group, as tags of the union or as ids of the result: at most GROUP_TAGS. An image
 * has one label only: the first's. */
static int group_tags(struct merge *j, uint64_t first, bool ids, uint32_t ret[GROUP_TAGS],
                      int *ret_count, struct wsl_err *err)
{
    uint64_t end = group_end(j, first);
    int n = 0;

    for (uint64_t i = first; i < end && n <= GROUP_TAGS - TAGS_MAX; i++) {
        const struct place *place = &j->places[i];
        uint32_t tags[TAGS_MAX];
        int count,
            r = wsl_dataset_read_tags(j->setup->datasets[place->set], (enum wsl_split)place->from,
                                      place->index, tags, &count, err);

        if (r < 0)
            return r;
        for (int k = 0; k < count; k++) {
            uint32_t tag = j->merged[place->set][tags[k]];

            ret[n++] = ids ? j->tags[tag].id : tag;
        }
        n = (int)wsl_record_sort_tags(ret, (uint32_t)n);
    }
    *ret_count = n;
    return 0;
}

/* The label of the first of a group alone. */
static int first_label(struct merge *j, uint64_t first, bool ids, uint32_t *ret,
                       struct wsl_err *err)
{
    const struct place *place = &j->places[first];
    uint32_t tags[TAGS_MAX];
    int count,
        r = wsl_dataset_read_tags(j->setup->datasets[place->set], (enum wsl_split)place->from,
                                  place->index, tags, &count, err);

    if (r == 0 && count > 0) {
        uint32_t tag = j->merged[place->set][tags[0]];

        *ret = ids ? j->tags[tag].id : tag;
    }
    return r;
}

static int group_tags_or_label(struct merge *j, uint64_t first, bool ids, uint32_t ret[GROUP_TAGS],
                               int *ret_count, struct wsl_err *err)
{
    int r = group_tags(j, first, ids, ret, ret_count, err);

    if (r < 0 || !j->labels || *ret_count <= 1)
        return r;
    j->result->label_conflicts += ids ? (uint64_t)*ret_count - 1 : 0;
    *ret_count = 1;
    return first_label(j, first, ids, ret, err);
}

static int count_tags(struct merge *j, struct wsl_err *err)
{
    for (uint64_t first = 0; first < j->place_count; first = group_end(j, first)) {
        uint32_t tags[GROUP_TAGS];
        int count, r = group_tags_or_label(j, first, false, tags, &count, err);

        if (r == 0)
            r = check_cancel(j, err);
        if (r < 0)
            return r;
        for (int k = 0; k < count; k++)
            j->tags[tags[k]].counts[j->places[first].to]++;
    }
    return 0;
}

/* ---- ids ---- */

static int by_images(const void *a, const void *b)
{
    const struct merged_tag *x = *(const struct merged_tag *const *)a,
                            *y = *(const struct merged_tag *const *)b;
    int r;

    if (x->counts[0] != y->counts[0])
        return x->counts[0] > y->counts[0] ? -1 : 1;
    r = strcmp(x->name, y->name);
    return r != 0 ? r : strcmp(x->synset, y->synset);
}

static int rank_tags(struct merge *j, struct wsl_err *err)
{
    struct wsl_dataset_info *info = &j->writer.info;
    struct merged_tag **ranked = calloc(j->tag_count + 1, sizeof(void *));
    int r = 0;

    info->tags = calloc(j->tag_count + 1, sizeof *info->tags);
    if (!ranked || !info->tags) {
        free(ranked);
        return wsl_fail(err, WSL_ENOMEM, "no memory for the vocabulary");
    }
    for (uint32_t t = 0; t < j->tag_count; t++)
        ranked[t] = &j->tags[t];
    qsort(ranked, j->tag_count, sizeof(void *), by_images);
    for (uint32_t i = 0; i < j->tag_count && r == 0; i++) {
        ranked[i]->id = i;
        info->tags[i] =
            (struct wsl_tag){.name = strdup(ranked[i]->name), .synset = strdup(ranked[i]->synset)};
        info->tag_count = i + 1;
        if (!info->tags[i].name || !info->tags[i].synset)
            r = wsl_fail(err, WSL_ENOMEM, "no memory for the vocabulary");
    }
    free(ranked);
    return r;
}

/* ---- writing ---- */

static int write_group(struct merge *j, uint64_t first, struct wsl_err *err)
{
    const struct place *place = &j->places[first];
    enum wsl_split to = (enum wsl_split)place->to;
    uint32_t all[GROUP_TAGS], *tags = all;
    struct wsl_record record;
    int count, r = group_tags_or_label(j, first, true, all, &count, err);

    if (r == 0)
        r = check_cancel(j, err);
    if (r == 0)
        r = wsl_dataset_read(j->setup->datasets[place->set], (enum wsl_split)place->from,
                             place->index, &record, err);
    if (r < 0)
        return r;
    if (count > TAGS_MAX) { /* the rarest stay: they say most */
        tags += count - TAGS_MAX;
        count = TAGS_MAX;
        j->result->cut++;
    }
    for (int k = 0; k < count; k++) {
        struct wsl_tag *tag = &j->writer.info.tags[tags[k]];

        (*(to == WSL_SPLIT_TRAIN ? &tag->train : &tag->heldout))++;
    }
    (*(to == WSL_SPLIT_TRAIN ? &j->result->train : &j->result->heldout))++;
    return wsl_dataset_writer_add(&j->writer, to, &record, tags, count, err);
}

static int write_all(struct merge *j, struct wsl_err *err)
{
    uint64_t done = 0;

    for (int split = 0; split < 2; split++)
        for (uint64_t first = 0, end; first < j->place_count; first = end) {
            int r;

            end = group_end(j, first);
            if (j->places[first].to != split)
                continue;
            r = write_group(j, first, err);
            if (r < 0)
                return r;
            done += end - first;
            if (j->setup->progress)
                j->setup->progress(j->setup->context, done, j->place_count);
        }
    return 0;
}

/* ---- the whole ---- */

static json_t *describe(const struct merge *j)
{
    json_t *list = json_array();

    for (size_t s = 0; s < j->setup->count; s++)
        json_array_append_new(
            list, json_pack("{ss ss}", "name", wsl_dataset_name(j->setup->datasets[s]),
                            "fingerprint", wsl_dataset_fingerprint(j->setup->datasets[s])));
    return json_pack("{ss so sI sf sI sI}", "made_by", "data merge", "data_sets", list, "seed",
                     (json_int_t)j->setup->seed, "heldout", j->setup->heldout, "duplicates",
                     (json_int_t)j->result->duplicates, "clashes",
                     (json_int_t)j->result->label_conflicts);
}

static int run(struct merge *j, struct wsl_err *err)
{
    json_t *source;
    int r = merge_vocabularies(j, err);

    if (r == 0)
        r = list_all(j, err);
    if (r < 0)
        return r;
    divide(j);
    r = count_tags(j, err);
    if (r == 0)
        r = rank_tags(j, err);
    if (r == 0)
        r = write_all(j, err);
    if (r < 0)
        return r;
    if (j->result->train == 0)
        return wsl_fail(err, WSL_EINVAL, "no image to train on is left");
    j->result->tags = j->tag_count;
    source = describe(j);
    r = wsl_dataset_writer_finish(&j->writer, source, err);
    json_decref(source);
    memcpy(j->result->fingerprint, j->writer.info.fingerprint, sizeof j->result->fingerprint);
    return r;
}

int wsl_merge(const struct wsl_merge_setup *setup, struct wsl_merge_result *ret,
              struct wsl_err *err)
{
    struct merge j = {.setup = setup, .result = ret, .labels = true};
    int r;

    memset(ret, 0, sizeof *ret);
    if (setup->count < 1 || setup->count > SETS_MAX)
        return wsl_fail(err, WSL_EINVAL, "give 1 to %d data sets", SETS_MAX);
    if (setup->heldout > 0.9)
        return wsl_fail(err, WSL_EINVAL, "a held-out share of %g is not between 0 and 0.9",
                        setup->heldout);
    for (size_t s = 0; s < setup->count; s++)
        j.labels = j.labels && strcmp(wsl_dataset_kind(setup->datasets[s]), "labels") == 0;
    r = wsl_dataset_writer_open(&j.writer, setup->output, setup->name, j.labels ? "labels" : "tags",
                                err);
    if (r < 0)
        return r;
    if (setup->shard_bytes)
        j.writer.shard_bytes = setup->shard_bytes;
    r = run(&j, err);
    wsl_dataset_writer_close(&j.writer);
    for (size_t s = 0; s < setup->count; s++)
        free(j.merged[s]);
    free(j.tags);
    free(j.slots);
    free(j.places);
    return r;
}
