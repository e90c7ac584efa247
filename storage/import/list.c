/* SPDX-License-Identifier: Apache-2.0
 *
 * The source's entries become items, with their tags as numbers of spellings.
 */
#include "storage/import/internal.h"

#include "base/utf8.h"
#include "storage/dataset/record.h"
#include "storage/vocabulary/tag_text.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <xxhash.h>

static int no_memory(struct wsl_err *err)
{
    return wsl_fail(err, WSL_ENOMEM, "no memory for the list of images");
}

/* Where an image lies, in one number. */
static uint64_t item_key(const struct import *im, const struct source_entry *e)
{
    uint64_t at[3] = {0};

    if (e->container) {
        at[0] = im->source.containers[e->container].stamp;
        at[1] = e->offset;
        at[2] = e->size;
    }
    return XXH3_64bits_withSeed(e->path, strlen(e->path), XXH3_64bits(at, sizeof at));
}

static int add_item(struct import *im, const struct source_entry *e, struct item **ret,
                    struct wsl_err *err)
{
    struct item **block = &im->blocks[im->item_count / ITEM_BLOCK];
    struct item *item;

    if (im->item_count >= (uint32_t)1 << 31)
        return wsl_fail(err, WSL_ELIMIT, "%s has more than 2^31 images: split it",
                        im->setup->source);
    if (!*block && !(*block = malloc(ITEM_BLOCK * sizeof **block)))
        return no_memory(err);
    item = wsl_import_item(im, im->item_count);
    *item = (struct item){.path = im->paths.size,
                          .first_tag = im->tags.count,
                          .offset = e->offset,
                          .key = item_key(im, e),
                          .container = e->container,
                          .size = (uint32_t)e->size,
                          .width = (uint16_t)e->width,
                          .height = (uint16_t)e->height,
                          .form = (uint8_t)e->form,
                          .split = (uint8_t)e->split};
    if (wsl_buf_add(&im->paths, e->path, strlen(e->path) + 1) < 0)
        return no_memory(err);
    im->item_count++;
    *ret = item;
    return 0;
}

/* ---- rules ---- */

static bool path_is_excluded(const struct wsl_import_setup *setup, const char *path)
{
    for (size_t i = 0; i < setup->exclude_path_count; i++)
        if (fnmatch(setup->exclude_paths[i], path, 0) == 0)
            return true;
    return false;
}

/* Whether any rule is the same word (tag_text.h); `text` is clean. */
static bool tag_fits(const char *const *rules, size_t count, const char *text)
{
    char tag[WSL_TAG_SIZE] = "", rule[WSL_TAG_SIZE];
    size_t size = count > 0 ? wsl_text_fold_tag(text, strlen(text), tag) : 0;

    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(rules[i], text) == 0) /* also of labels that are too long for a tag */
            return true;
        if (size > 0 && wsl_utf8_is_clean(rules[i], strlen(rules[i])) &&
            wsl_text_fold_tag(rules[i], strlen(rules[i]), rule) == size && strcmp(rule, tag) == 0)
            return true;
    }
    return false;
}

/* ---- words ---- */

static int push_word(struct import *im, struct item *item, const char *word, struct wsl_err *err)
{
    uint32_t number;
    int r = wsl_vocabulary_builder_add(im->vocabulary, word, &number, err);

    if (r < 0)
        return r;
    if (wsl_numbers_push(&im->tags, number) < 0)
        return no_memory(err);
    item->tag_count++;
    return 0;
}

static int add_label(struct import *im, struct item *item, const struct source_entry *e,
                     struct wsl_err *err)
{
    const struct wsl_import_setup *setup = im->setup;

    if (e->word_count != 1 || !*e->words)
        return wsl_import_quarantine(item, WSL_QUARANTINE_NO_TAGS, NULL);
    if (strlen(e->words) > 255 || !wsl_utf8_is_clean(e->words, strlen(e->words)))
        return wsl_import_quarantine(
            item, WSL_QUARANTINE_LINE,
            "its label is not UTF-8, has control characters or over 255 bytes");
    if (tag_fits(setup->exclude_tags, setup->exclude_tag_count, e->words)) {
        item->state = ITEM_EXCLUDED;
        return 0;
    }
    return push_word(im, item, e->words, err);
}

static int add_tags(struct import *im, struct item *item, const struct source_entry *e,
                    struct wsl_err *err)
{
    const struct wsl_import_setup *setup = im->setup;
    const char *word = e->words;
    bool any = false;
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < e->word_count; i++, word += strlen(word) + 1) {
        char tag[WSL_TAG_SIZE];

        if (!wsl_utf8_is_clean(word, strlen(word)))
            return wsl_import_quarantine(item, WSL_QUARANTINE_LINE,
                                         "a tag is not UTF-8, or has control characters");
        if (wsl_text_fold_tag(word, strlen(word), tag) == 0)
            continue;
        any = true;
        if (tag_fits(setup->exclude_tags, setup->exclude_tag_count, tag)) {
            item->state = ITEM_EXCLUDED;
            return 0;
        }
        if (!tag_fits(setup->ignore_tags, setup->ignore_tag_count, tag))
            r = push_word(im, item, tag, err);
    }
    return r == 0 && !any ? wsl_import_quarantine(item, WSL_QUARANTINE_NO_TAGS, NULL) : r;
}

/* Counts the item's spellings and takes it out when none has a meaning. */
static void use_tags(struct import *im, struct item *item)
{
    uint32_t *tags = im->tags.values + item->first_tag;
    bool known = false;

    item->tag_count = wsl_record_sort_tags(tags, item->tag_count);
    im->tags.count = item->first_tag + item->tag_count;
    for (uint32_t i = 0; i < item->tag_count; i++) {
        wsl_vocabulary_builder_use(im->vocabulary, tags[i]);
        known |= wsl_vocabulary_builder_concept(im->vocabulary, tags[i]) != WSL_NO_CONCEPT;
    }
    if (!known)
        item->state = ITEM_UNTAGGED;
}

/* ---- entries ---- */

static int fill_item(struct import *im, struct item *item, const struct source_entry *e,
                     struct wsl_err *err)
{
    int r;

    if (e->bad)
        return wsl_import_quarantine(item, e->reason, e->detail);
    if (!wsl_utf8_is_clean(e->path, strlen(e->path)))
        return wsl_import_quarantine(item, WSL_QUARANTINE_LINE,
                                     "its name is not UTF-8, or has control characters");
    if (path_is_excluded(im->setup, e->path)) {
        item->state = ITEM_EXCLUDED;
        return 0;
    }
    r = im->labels ? add_label(im, item, e, err) : add_tags(im, item, e, err);
    if (r < 0 || item->state != ITEM_READY) {
        im->tags.count = item->first_tag;
        item->tag_count = 0;
        return r;
    }
    use_tags(im, item);
    return 0;
}

/* What kind it is shows with the first good entry. */
static int set_kind(struct import *im, struct wsl_err *err)
{
    im->labels = im->source.labels;
    if (im->labels && im->setup->wordnet)
        return wsl_fail(err, WSL_EINVAL, "wordnet: labels keep their names, and %.200s has labels",
                        im->setup->source);
    return 0;
}

static int add_entry(struct import *im, const struct source_entry *e,
                     struct decode_pool **decode_pool, struct wsl_err *err)
{
    struct item *item = NULL;
    int r;

    r = set_kind(im, err);
    if (r == 0)
        r = add_item(im, e, &item, err);
    if (r == 0)
        r = fill_item(im, item, e, err);
    if (r < 0 || item->state != ITEM_READY || !e->bytes)
        return r;
    if (wsl_import_resume_item(im, item, 0)) {
        im->result->resumed++;
        return 0;
    }
    if (!*decode_pool)
        r = wsl_decode_pool_open(decode_pool, im, err);
    return r == 0 ? wsl_decode_pool_put(*decode_pool, im->item_count - 1, 1, e->bytes, e->size, err)
                  : r;
}

int wsl_import_list(struct import *im, struct wsl_err *err)
{
    struct wsl_import_progress progress = {.phase = WSL_IMPORT_LIST};
    struct decode_pool *decode_pool = NULL;
    struct source_entry entry;
    int r;

    im->blocks = calloc(ITEM_BLOCKS, sizeof(*im->blocks));
    if (!im->blocks)
        return no_memory(err);
    r = wsl_import_skips_open(&im->skips, im->set, im->result, err);
    if (r == 0)
        r = wsl_source_open(&im->source, im->setup, im->base, &im->skips, err);
    while (r >= 0 && (r = wsl_source_next(&im->source, &entry, err)) == 1) {
        r = add_entry(im, &entry, &decode_pool, err);
        if (r == 0)
            r = wsl_import_check(im, err);
        progress.done = im->item_count;
        if (!decode_pool)
            wsl_import_report_progress(im, &progress, false);
    }
    r = wsl_decode_pool_close(decode_pool, r, err);
    if (r == 0)
        r = wsl_import_skips_close(&im->skips, err);
    if (r < 0)
        return r;
    im->info.kind = im->labels ? "labels" : "tags";
    progress.total = im->item_count;
    wsl_import_report_progress(im, &progress, true);
    return 0;
}
