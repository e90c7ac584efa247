/* SPDX-License-Identifier: Apache-2.0
 *
 * What becomes a record, with which tags, in which split and at which place. Nothing is read or
 * written.
 */
#include "storage/import/internal.h"

#include "base/rng.h"
#include "storage/dataset/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Two uses of one seed must not be related. */
#define ORDER_SALT 0x6f72646572ull /* "order" */
#define SPLIT_SALT 0x73706c6974ull /* "split" */

enum wsl_split wsl_import_split(const struct import *im, const struct item *item)
{
    uint64_t draw = wsl_mix64(wsl_mix64(im->setup->seed, SPLIT_SALT), item->pixel_hash);

    if (item->split != SOURCE_BY_HASH)
        return item->split == SOURCE_HELDOUT ? WSL_SPLIT_HELDOUT : WSL_SPLIT_TRAIN;
    return (double)(draw >> 11) * 0x1p-53 < im->setup->heldout ? WSL_SPLIT_HELDOUT
                                                               : WSL_SPLIT_TRAIN;
}

static int by_key(const void *a, const void *b)
{
    const struct place_key *x = a, *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->item < y->item ? -1 : x->item > y->item;
}

static void sort_good(struct import *im)
{
    uint64_t seed = wsl_mix64(im->setup->seed, ORDER_SALT);

    for (uint32_t i = 0; i < im->item_count; i++) {
        const struct item *item = wsl_import_item(im, i);
        uint64_t hash = item->pixel_hash;

        if (item->state == ITEM_GOOD)
            im->order[im->order_count++] = (struct place_key){wsl_mix64(seed, hash), hash, i};
    }
    qsort(im->order, im->order_count, sizeof *im->order, by_key);
}

/* The first in the order of the source stands for all. */
static void merge_one(struct import *im, const struct item *first, struct item *other)
{
    uint32_t a = im->tags.values[first->first_tag], b = im->tags.values[other->first_tag];
    char detail[300];

    if (im->labels && a != b) {
        snprintf(detail, sizeof detail, "as %.250s", wsl_import_path(im, first));
        wsl_import_quarantine(other, WSL_QUARANTINE_CONFLICT, detail);
    } else {
        other->state = ITEM_DUPLICATE;
        im->result->duplicates++;
    }
}

static int push_concepts(struct import *im, struct numbers *concepts, const struct item *item)
{
    for (uint32_t i = 0; i < item->tag_count; i++) {
        uint32_t spelling = im->tags.values[item->first_tag + i];
        uint32_t concept = wsl_vocabulary_builder_concept(im->vocabulary, spelling);

        if (concept != WSL_NO_CONCEPT && wsl_numbers_push(concepts, concept) < 0)
            return WSL_ENOMEM;
    }
    return 0;
}

/* Images with equal pixels become one record with the concepts of all. */
static int merge_equal(struct import *im, struct numbers *concepts)
{
    uint32_t kept = 0, end;

    for (uint32_t i = 0; i < im->order_count; i = end) {
        struct item *first = wsl_import_item(im, im->order[i].item);
        uint64_t start = concepts->count;

        if (push_concepts(im, concepts, first) < 0)
            return WSL_ENOMEM;
        for (end = i + 1; end < im->order_count && im->order[end].hash == im->order[i].hash;
             end++) {
            struct item *other = wsl_import_item(im, im->order[end].item);

            merge_one(im, first, other);
            if (other->state == ITEM_DUPLICATE && push_concepts(im, concepts, other) < 0)
                return WSL_ENOMEM;
        }
        first->first_tag = start;
        first->tag_count =
            wsl_record_sort_tags(concepts->values + start, (uint32_t)(concepts->count - start));
        concepts->count = start + first->tag_count;
        for (uint32_t t = 0; t < first->tag_count; t++)
            wsl_vocabulary_builder_count(im->vocabulary, concepts->values[start + t],
                                         wsl_import_split(im, first));
        im->order[kept++] = im->order[i];
    }
    im->order_count = kept;
    return 0;
}

/* Concepts become ids. Of more than a record holds, the rarest stay: they say most. */
static void give_ids(struct import *im, struct item *item)
{
    uint32_t *tags = im->tags.values + item->first_tag, n = 0;

    for (uint32_t i = 0; i < item->tag_count; i++) {
        uint32_t id = wsl_vocabulary_builder_id(im->vocabulary, tags[i]);

        if (id != WSL_NO_CONCEPT)
            tags[n++] = id;
    }
    n = wsl_record_sort_tags(tags, n);
    if (n > WSL_RECORD_TAGS_MAX) {
        memmove(tags, tags + n - WSL_RECORD_TAGS_MAX, WSL_RECORD_TAGS_MAX * sizeof *tags);
        n = WSL_RECORD_TAGS_MAX;
    }
    item->tag_count = n;
}

static void drop_untagged(struct import *im)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < im->order_count; i++) {
        struct item *item = wsl_import_item(im, im->order[i].item);
        enum wsl_split split = wsl_import_split(im, item);

        give_ids(im, item);
        if (item->tag_count == 0) {
            item->state = ITEM_UNTAGGED;
            continue;
        }
        for (uint32_t t = 0; t < item->tag_count; t++) {
            struct wsl_tag *tag = &im->info.tags[im->tags.values[item->first_tag + t]];

            tag->train += split == WSL_SPLIT_TRAIN;
            tag->heldout += split == WSL_SPLIT_HELDOUT;
        }
        im->info.splits[split].images++;
        im->order[kept++] = im->order[i];
    }
    im->order_count = kept;
}

static void count_states(struct import *im)
{
    struct wsl_import_result *result = im->result;
    struct wsl_vocabulary_builder_stats stats;

    for (uint32_t i = 0; i < im->item_count; i++) {
        const struct item *item = wsl_import_item(im, i);

        result->excluded += item->state == ITEM_EXCLUDED;
        result->untagged += item->state == ITEM_UNTAGGED;
        if (item->state == ITEM_QUARANTINED)
            result->quarantined[item->reason]++;
    }
    result->seen = im->item_count;
    result->train = im->info.splits[WSL_SPLIT_TRAIN].images;
    result->heldout = im->info.splits[WSL_SPLIT_HELDOUT].images;
    wsl_vocabulary_builder_stats(im->vocabulary, &stats);
    result->tags_before = stats.spellings;
    result->tags_unknown = stats.unknown;
    result->tags_merged = stats.merged;
    result->tags_rare = stats.rare;
    result->tags = stats.tags;
}

/* Not one image, but other things: the kind that there is most of. */
static int fail_skipped(const struct import *im, struct wsl_err *err)
{
    const struct wsl_import_result *n = im->result;
    uint64_t sum = 0;
    int largest = 0;

    for (int i = 0; i < WSL_IMPORT_SKIPS; i++) {
        sum += n->skipped[i];
        largest = n->skipped[i] > n->skipped[largest] ? i : largest;
    }
    if (sum == 0)
        return wsl_fail(err, WSL_EINVAL, "%.200s has no images", im->setup->source);
    return wsl_fail(err, WSL_EINVAL,
                    "no images in %.150s: %llu entries were passed over, such as %.100s: %s",
                    im->setup->source, (unsigned long long)sum, n->skipped_first[largest],
                    wsl_import_skip_name((enum wsl_import_skip)largest));
}

static int fail_empty(const struct import *im, struct wsl_err *err)
{
    const struct wsl_import_result *n = im->result;
    uint64_t bad = 0;

    if (n->seen == 0)
        return fail_skipped(im, err);
    for (int i = 0; i < WSL_QUARANTINE_REASONS; i++)
        bad += n->quarantined[i];
    for (uint32_t i = 0; i < im->item_count; i++) {
        const struct item *item = wsl_import_item(im, i);

        if (item->state == ITEM_QUARANTINED && n->train == 0)
            return wsl_fail(
                err, WSL_EINVAL,
                "nothing to train on in %.100s: of %llu images %llu cannot be used, the "
                "first is %.60s: %s%s%.60s",
                im->setup->source, (unsigned long long)n->seen, (unsigned long long)bad,
                wsl_import_path(im, item),
                wsl_quarantine_reason_name((enum wsl_quarantine_reason)item->reason),
                item->detail ? ": " : "", item->detail ? item->detail : "");
    }
    return wsl_fail(err, WSL_EINVAL,
                    "%.100s gives %llu training images with %llu tags, training needs at least 2 "
                    "tags: of %llu images %llu are excluded, %llu cannot be used, %llu have no tag "
                    "that is a known word and frequent enough",
                    im->setup->source, (unsigned long long)n->train, (unsigned long long)n->tags,
                    (unsigned long long)n->seen, (unsigned long long)n->excluded,
                    (unsigned long long)bad, (unsigned long long)n->untagged);
}

int wsl_import_plan(struct import *im, struct wsl_err *err)
{
    const struct wsl_import_setup *setup = im->setup;
    struct numbers concepts = {0};
    int r;

    im->order = malloc(((size_t)im->item_count + 1) * sizeof *im->order);
    if (!im->order)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the order of the images");
    sort_good(im);
    if (merge_equal(im, &concepts) < 0) {
        free(concepts.values);
        return wsl_fail(err, WSL_ENOMEM, "no memory for the tags of the images");
    }
    free(im->tags.values);
    im->tags = concepts;
    r = wsl_vocabulary_builder_select(im->vocabulary, setup->min_images, setup->max_tags, err);
    if (r == 0)
        r = wsl_vocabulary_builder_tags(im->vocabulary, &im->info.tags, &im->info.tag_count, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < im->info.tag_count; i++)
        im->info.tags[i].train = im->info.tags[i].heldout = 0;
    drop_untagged(im);
    count_states(im);
    if (im->result->train == 0 || im->result->tags < 2)
        return fail_empty(im, err);
    return 0;
}
