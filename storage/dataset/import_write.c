/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/dataset/import_work.h"

#include "base/clock.h"
#include "base/file.h"
#include "storage/dataset/record.h"
#include "storage/dataset/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <limits.h>

/* Shards of one split are written one after the other; numbers go on through both splits. */
struct output {
    struct import *im;
    struct wsl_shard_writer *writer;
    struct wsl_split_info *split;
    size_t shards; /* of both splits */
    uint64_t done;
    uint8_t *jpeg; /* WSL_RECORD_JPEG bytes */
};

static int seal(struct output *out, struct wsl_err *err)
{
    struct wsl_split_info *split = out->split;
    struct wsl_shard_entry *more, entry;
    int r;

    if (!out->writer)
        return 0;
    r = wsl_shard_writer_seal(out->writer, &entry, err);
    wsl_shard_writer_close(out->writer);
    out->writer = NULL;
    if (r < 0)
        return r;
    more = realloc(split->shards, (split->shard_count + 1) * sizeof *more);
    if (!more)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the list of shards");
    split->shards = more;
    more[split->shard_count++] = entry;
    out->im->result->shards++;
    out->im->result->bytes += entry.bytes;
    return 0;
}

static int open_next(struct output *out, struct wsl_err *err)
{
    char file[64];

    snprintf(file, sizeof file, "shard-%05zu.lmdb", out->shards++);
    return wsl_shard_writer_open(&out->writer, out->im->folder, file, out->im->setup->shard_bytes,
                                 err);
}

static int read_spool(struct output *out, const struct item *item, struct wsl_err *err)
{
    for (uint32_t done = 0; done < item->jpeg_size;) {
        ssize_t n = pread(out->im->spool, out->jpeg + done, item->jpeg_size - done,
                          (off_t)(item->spool_at + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return wsl_fail_errno(err, "cannot read pictures back from %s", out->im->folder);
        if (n == 0)
            return wsl_fail(err, WSL_EIO, "the pictures in %s were cut", out->im->folder);
        done += (uint32_t)n;
    }
    return 0;
}

static int add_record(struct output *out, const struct item *item, struct wsl_err *err)
{
    struct import *im = out->im;
    Wsl__V1__ImageRecord record = WSL__V1__IMAGE_RECORD__INIT;
    char source[256];
    size_t length;
    int r = read_spool(out, item, err);

    if (r < 0)
        return r;
    snprintf(source, sizeof source, "%s", import_path(im, item));
    for (length = strlen(source); !wsl_text_is_clean(source, length); length--)
        source[length - 1] = '\0'; /* cut within a character */
    record.crc32c = item->crc32c;
    record.width = item->width;
    record.height = item->height;
    record.n_tags = item->tag_count;
    record.tags = im->tags.values + item->first_tag;
    record.source = source;
    record.pixel_hash = item->pixel_hash;
    record.jpeg.data = out->jpeg;
    record.jpeg.len = item->jpeg_size;
    if (!out->writer)
        r = open_next(out, err);
    if (r == 0)
        r = wsl_shard_writer_add(out->writer, &record, err);
    im->result->kept_jpegs += item->kept;
    if (r == 0 && wsl_shard_writer_is_full(out->writer))
        r = seal(out, err);
    return r;
}

static int write_split(struct output *out, enum wsl_split which, struct wsl_err *err)
{
    struct import *im = out->im;
    int r = 0;

    out->split = &im->info.splits[which];
    for (uint32_t i = 0; r == 0 && i < im->order_count; i++) {
        const struct item *item = &im->items[im->order[i].item];

        if (import_split(im->setup, item->pixel_hash) != which)
            continue;
        r = import_check(im, err);
        if (r == 0)
            r = add_record(out, item, err);
        import_tell(im, WSL_IMPORT_WRITE, ++out->done, im->order_count, 0, false);
    }
    return r == 0 ? seal(out, err) : r;
}

/* ---- the files beside the shards ---- */

static void clean(char *text)
{
    if (wsl_text_is_clean(text, strlen(text)))
        return;
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7f)
            *text = '?';
}

static int write_quarantine(const struct import *im, struct wsl_err *err)
{
    struct wsl_buf text = {.limit = (size_t)1 << 36};
    char path[PATH_MAX], name[PATH_MAX];
    int r = wsl_file_join(path, sizeof path, im->folder, "quarantine.tsv");

    for (uint32_t i = 0; r == 0 && i < im->item_count; i++) {
        const struct item *item = &im->items[i];

        if (item->state != ITEM_BAD)
            continue;
        snprintf(name, sizeof name, "%s", import_path(im, item));
        clean(name);
        r = wsl_buf_add_format(&text, "%s\t%s%s%s\n", name,
                               wsl_import_fault_word((enum wsl_import_fault)item->fault),
                               item->reason ? ": " : "", item->reason ? item->reason : "");
    }
    if (r < 0)
        r = wsl_fail(err, r, "cannot write the quarantine of %s: %s", im->folder, wsl_err_word(r));
    else
        r = wsl_file_write_atomic(path, text.data ? text.data : (const uint8_t *)"", text.size,
                                  err);
    wsl_buf_free(&text);
    return r;
}

/* Where the data came from and how, for people; no part of the fingerprint. */
static json_t *describe_source(const struct import *im)
{
    const struct wsl_import_setup *setup = im->setup;
    const struct wsl_import_result *n = im->result;
    json_t *faults = json_object(), *rules = json_array();

    for (int i = 0; i < WSL_IMPORT_FAULTS; i++)
        if (n->quarantined[i])
            json_object_set_new(faults, wsl_import_fault_word((enum wsl_import_fault)i),
                                json_integer((json_int_t)n->quarantined[i]));
    for (size_t i = 0; i < setup->exclude_tag_count; i++)
        json_array_append_new(rules, json_sprintf("tag %s", setup->exclude_tags[i]));
    for (size_t i = 0; i < setup->exclude_path_count; i++)
        json_array_append_new(rules, json_sprintf("path %s", setup->exclude_paths[i]));
    for (size_t i = 0; i < setup->ignore_tag_count; i++)
        json_array_append_new(rules, json_sprintf("ignored tag %s", setup->ignore_tags[i]));
    return json_pack("{ss* ss ss sf sI sI sI si si so so sI sI sI sI}", "path", setup->source,
                     "kind", setup->kind == WSL_IMPORT_MANIFEST ? "manifest" : "folders", "wordnet",
                     setup->wordnet ? setup->wordnet : "", "heldout", setup->heldout, "seed",
                     (json_int_t)setup->seed, "min_images", (json_int_t)setup->min_images,
                     "max_tags", (json_int_t)setup->max_tags, "side_max", setup->side_max,
                     "quality", setup->quality, "rules", rules, "quarantined", faults, "seen",
                     (json_int_t)n->seen, "excluded", (json_int_t)n->excluded, "duplicates",
                     (json_int_t)n->duplicates, "untagged", (json_int_t)n->untagged);
}

static int write_info(struct import *im, struct wsl_err *err)
{
    char now[WSL_CLOCK_TEXT_SIZE];
    json_t *source = describe_source(im);
    int r;

    wsl_clock_text(wsl_clock_wall_ms(), now);
    im->info.created = strdup(now);
    if (!source || !im->info.created)
        r = wsl_fail(err, WSL_ENOMEM, "no memory for " WSL_DATASET_FILE);
    else
        r = wsl_dataset_info_save(&im->info, im->folder, source, err);
    json_decref(source);
    memcpy(im->result->fingerprint, im->info.fingerprint, sizeof im->info.fingerprint);
    return r;
}

int import_write(struct import *im, struct wsl_err *err)
{
    struct output out = {.im = im, .jpeg = malloc(WSL_RECORD_JPEG)};
    int r = 0;

    if (!out.jpeg)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a picture");
    for (int s = 0; r == 0 && s < 2; s++)
        r = write_split(&out, (enum wsl_split)s, err);
    wsl_shard_writer_close(out.writer);
    free(out.jpeg);
    if (r == 0)
        r = write_quarantine(im, err);
    if (r == 0)
        r = write_info(im, err);
    if (r == 0)
        import_tell(im, WSL_IMPORT_WRITE, im->order_count, im->order_count, 0, true);
    return r;
}
