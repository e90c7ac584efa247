/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing: each shard is planned by the sizes of its records, written by one thread and sealed;
 * then come the files beside the shards.
 */
#include "storage/import/internal.h"

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/file.h"
#include "base/utf8.h"
#include "storage/dataset/record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <limits.h>
#include <xxhash.h>

/* What goes into one shard: a run of the order. Known before the first is written, so that threads
 * share them out and a later import knows which are done. */
struct shard_plan {
    char file[32];
    uint32_t first, count;
    uint64_t hash; /* over the records without their images */
    bool done;
    struct wsl_shard_entry entry;
};

struct output {
    struct thread_pool threads;
    struct import *im;
    struct place_key *order; /* of both splits, one after the other; owned */
    struct shard_plan *shards;
    size_t shard_count, split_at; /* shards of the training split come first */
    atomic_size_t next;
    atomic_uint_fast64_t done, bytes;
};

/* What a thread has for itself. */
struct writer_scratch {
    struct wsl_buf jpeg; /* of the current record */
    struct import_reader reader;
};

/* ---- the plan ---- */

/* Its source as a record has it: cut within no character. */
static void take_source(const struct import *im, const struct item *item, char source[256])
{
    size_t length;

    snprintf(source, 256, "%s", wsl_import_path(im, item));
    for (length = strlen(source); !wsl_utf8_is_clean(source, length); length--)
        source[length - 1] = '\0';
}

/* All but the bytes of the JPEG. */
static void fill_record(const struct import *im, const struct item *item, char source[256],
                        Wsl__V1__ImageRecord *record)
{
    wsl__v1__image_record__init(record);
    take_source(im, item, source);
    record->crc32c = item->crc32c;
    record->width = item->width;
    record->height = item->height;
    record->n_tags = item->tag_count;
    record->tags = im->tags.values + item->first_tag;
    record->source = source;
    record->pixel_hash = item->pixel_hash;
    if (im->setup->in_place) {
        record->file = item->container - 1;
        record->offset = item->offset;
        record->size = item->jpeg_size;
    } else {
        record->jpeg.len = item->jpeg_size;
    }
}

static uint64_t hash_record(const Wsl__V1__ImageRecord *record, uint64_t before)
{
    uint64_t numbers[] = {record->crc32c,   record->width, record->height, record->pixel_hash,
                          record->jpeg.len, record->file,  record->offset, record->size};
    uint64_t h = XXH3_64bits_withSeed(numbers, sizeof numbers, before);

    h = XXH3_64bits_withSeed(record->tags, record->n_tags * sizeof *record->tags, h);
    return XXH3_64bits_withSeed(record->source, strlen(record->source), h);
}

static int begin_shard(struct output *out, uint32_t first, struct wsl_err *err)
{
    struct shard_plan *more = realloc(out->shards, (out->shard_count + 1) * sizeof *more);
    struct shard_plan *shard;

    if (!more)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the list of shards");
    out->shards = more;
    shard = &more[out->shard_count];
    *shard = (struct shard_plan){.first = first};
    snprintf(shard->file, sizeof shard->file, "shard-%05zu.lmdb", out->shard_count++);
    return 0;
}

/* A shard is full by the size of its records, so that the plan needs no file. */
static int plan_split(struct output *out, enum wsl_split which, uint32_t *at, struct wsl_err *err)
{
    const struct import *im = out->im;
    uint64_t bytes = im->setup->shard_bytes;
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < im->order_count; i++) {
        const struct item *item = wsl_import_item(im, im->order[i].item);
        Wsl__V1__ImageRecord record;
        struct shard_plan *shard;
        char source[256];

        if (wsl_import_split(im, item) != which)
            continue;
        if (bytes >= im->setup->shard_bytes) {
            r = begin_shard(out, *at, err);
            bytes = 0;
        }
        if (r < 0)
            return r;
        fill_record(im, item, source, &record);
        bytes += wsl__v1__image_record__get_packed_size(&record) + 40; /* its share of the tree */
        shard = &out->shards[out->shard_count - 1];
        shard->hash = hash_record(&record, shard->hash);
        shard->count++;
        out->order[(*at)++] = im->order[i];
    }
    return r;
}

static int plan_shards(struct output *out, struct wsl_err *err)
{
    uint32_t at = 0;
    int r;

    out->order = malloc(((size_t)out->im->order_count + 1) * sizeof *out->order);
    if (!out->order)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the order of the images");
    r = plan_split(out, WSL_SPLIT_TRAIN, &at, err);
    out->split_at = out->shard_count;
    return r < 0 ? r : plan_split(out, WSL_SPLIT_HELDOUT, &at, err);
}

/* A shard that an interrupted import finished is taken as it is. */
static void adopt(struct output *out)
{
    struct import *im = out->im;

    for (size_t i = 0; i < out->shard_count; i++) {
        struct shard_plan *shard = &out->shards[i];
        const struct wsl_shard_entry *entry =
            wsl_import_journal_find_shard(im->journal, shard->file, shard->hash);
        char path[PATH_MAX];
        struct stat st;

        if (!entry || entry->images != shard->count ||
            wsl_file_join(path, sizeof path, im->set, shard->file) < 0 || stat(path, &st) < 0 ||
            (uint64_t)st.st_size != entry->bytes)
            continue;
        shard->entry = *entry;
        shard->done = true;
        atomic_fetch_add(&out->done, shard->count);
        im->result->resumed++;
    }
}

/* ---- one shard ---- */

static int read_spool(const struct import *im, const struct item *item, struct wsl_buf *jpeg,
                      struct wsl_err *err)
{
    wsl_buf_clear(jpeg);
    if (wsl_buf_reserve(jpeg, item->jpeg_size) < 0)
        return wsl_fail(err, WSL_ENOMEM, "no memory for an image");
    while (jpeg->size < item->jpeg_size) {
        ssize_t n = pread(im->spool, jpeg->data + jpeg->size, item->jpeg_size - jpeg->size,
                          (off_t)(item->spool_at + jpeg->size));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return wsl_fail_errno(err, "cannot read images back from %s", im->staging.directory);
        if (n == 0)
            return wsl_fail(err, WSL_EIO, "the images in %s were cut: remove it",
                            im->staging.directory);
        jpeg->size += (size_t)n;
    }
    return 0;
}

static int read_jpeg(struct writer_scratch *writer_scratch, const struct import *im,
                     const struct item *item, struct wsl_err *err)
{
    struct wsl_buf *jpeg = &writer_scratch->jpeg;
    struct item copy = *item;
    uint64_t stamp;
    int r = 0;

    copy.detail = NULL;
    if (item->spooled)
        r = read_spool(im, item, jpeg, err);
    else if (wsl_import_read_source(&writer_scratch->reader, im, &copy, false, &stamp, jpeg) != 1)
        r = wsl_fail(err, WSL_EIO, "%s cannot be read any more: %s%s%s", wsl_import_path(im, item),
                     wsl_quarantine_reason_name((enum wsl_quarantine_reason)copy.reason),
                     copy.detail ? ": " : "", copy.detail ? copy.detail : "");
    free(copy.detail);
    if (r == 0 &&
        (jpeg->size != item->jpeg_size || wsl_crc32c(0, jpeg->data, jpeg->size) != item->crc32c))
        r = wsl_fail(err, WSL_EIO, "%s changed during the import: repeat the command",
                     item->spooled ? im->staging.directory : wsl_import_path(im, item));
    return r;
}

static int write_records(struct output *out, const struct shard_plan *shard,
                         struct wsl_shard_writer *writer, struct writer_scratch *writer_scratch,
                         struct wsl_err *err)
{
    const struct import *im = out->im;
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < shard->count; i++) {
        const struct item *item = wsl_import_item(im, out->order[shard->first + i].item);
        Wsl__V1__ImageRecord record;
        char source[256];

        if (atomic_load(&out->threads.stop))
            return wsl_fail(err, WSL_ECANCELLED, "stopped");
        if (!im->setup->in_place)
            r = read_jpeg(writer_scratch, im, item, err);
        if (r < 0)
            return r;
        fill_record(im, item, source, &record);
        record.jpeg.data = writer_scratch->jpeg.data;
        r = wsl_shard_writer_add(writer, &record, err);
        atomic_fetch_add(&out->done, 1);
        atomic_fetch_add(&out->bytes, record.jpeg.len);
    }
    return r;
}

static int write_shard(struct output *out, struct shard_plan *shard,
                       struct writer_scratch *writer_scratch, struct wsl_err *err)
{
    struct import *im = out->im;
    struct wsl_shard_writer *writer = NULL;
    char path[PATH_MAX];
    int r = wsl_file_join(path, sizeof path, im->set, shard->file);

    if (r < 0)
        return wsl_fail(err, r, "path too long: %s/%s", im->set, shard->file);
    if (unlink(path) < 0 && errno != ENOENT) /* what a killed import had begun */
        return wsl_fail_errno(err, "cannot remove %s", path);
    r = wsl_shard_writer_open(&writer, im->set, shard->file, im->setup->shard_bytes, err);
    if (r == 0)
        r = write_records(out, shard, writer, writer_scratch, err);
    if (r == 0)
        r = wsl_shard_writer_seal(writer, &shard->entry, err);
    wsl_shard_writer_close(writer);
    if (r == 0)
        r = wsl_import_journal_add_shard(im, shard->hash, &shard->entry, err);
    if (r < 0)
        unlink(path); /* room for those that are whole */
    shard->done = r == 0;
    return r;
}

static void *work(void *context)
{
    struct output *out = context;
    struct writer_scratch writer_scratch = {.jpeg.limit = SOURCE_IMAGE_MAX + (1 << 20)};
    struct wsl_err err = {0};
    int r = 0;

    pthread_setname_np(pthread_self(), "import");
    while (r == 0 && !atomic_load(&out->threads.stop)) {
        size_t i = atomic_fetch_add(&out->next, 1);

        if (i >= out->shard_count)
            break;
        if (!out->shards[i].done)
            r = write_shard(out, &out->shards[i], &writer_scratch, &err);
    }
    wsl_buf_free(&writer_scratch.jpeg);
    wsl_import_reader_close(&writer_scratch.reader);
    wsl_thread_pool_leave(&out->threads, r, &err);
    return NULL;
}

static void report(void *context)
{
    struct output *out = context;
    const struct wsl_import_progress progress = {.phase = WSL_IMPORT_WRITE,
                                                 .done = atomic_load(&out->done),
                                                 .total = out->im->order_count,
                                                 .bytes = atomic_load(&out->bytes)};

    wsl_import_report_progress(out->im, &progress, false);
}

static int record_shards(struct output *out, struct wsl_err *err)
{
    struct import *im = out->im;

    for (size_t i = 0; i < out->shard_count; i++) {
        struct wsl_split_info *split =
            &im->info.splits[i < out->split_at ? WSL_SPLIT_TRAIN : WSL_SPLIT_HELDOUT];
        struct wsl_shard_entry *more =
            realloc(split->shards, (split->shard_count + 1) * sizeof *more);

        if (!more)
            return wsl_fail(err, WSL_ENOMEM, "no memory for the list of shards");
        split->shards = more;
        more[split->shard_count++] = out->shards[i].entry;
        im->result->shards++;
        im->result->bytes += out->shards[i].entry.bytes;
    }
    for (uint32_t i = 0; i < im->order_count; i++) {
        const struct item *item = wsl_import_item(im, im->order[i].item);

        im->result->kept_jpegs += item->kept;
        im->result->transcoded += item->transcoded;
    }
    return 0;
}

static int write_shards(struct output *out, struct wsl_err *err)
{
    int count = wsl_import_thread_count(out->im), r = plan_shards(out, err);

    if (r < 0)
        return r;
    adopt(out);
    if ((size_t)count > out->shard_count)
        count = (int)out->shard_count;
    r = wsl_thread_pool_open(&out->threads, out->im, count, work, out, err);
    if (r == 0)
        r = wsl_thread_pool_close(&out->threads, report, out, err);
    return r == 0 ? record_shards(out, err) : r;
}

/* ---- images in place ---- */

static int add_external_file(struct import *im, const struct source_container *c,
                             struct wsl_err *err)
{
    struct wsl_external_file *entry = &im->info.external_files[im->info.external_file_count];
    int r = wsl_external_file_describe(entry, c->path, err), fd;

    if (r < 0)
        return r;
    im->info.external_file_count++;
    fd = open(c->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || wsl_source_stamp(c->path, fd) != c->stamp)
        r = wsl_fail(err, WSL_EIO, "%s changed during the import: repeat the command", c->path);
    if (fd >= 0)
        close(fd);
    return r;
}

/* Records count the files as the source does, from 0. */
static int add_external_files(struct import *im, struct wsl_err *err)
{
    uint32_t count = im->source.container_count;
    int r = 0;

    if (!im->setup->in_place)
        return 0;
    if (count > WSL_EXTERNAL_FILES_MAX + 1)
        return wsl_fail(err, WSL_ELIMIT, "%s has %u files, images stay in at most %d",
                        im->setup->source, count - 1, WSL_EXTERNAL_FILES_MAX);
    im->info.external_files = calloc(count, sizeof *im->info.external_files);
    if (!im->info.external_files)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the list of files");
    for (uint32_t i = 1; r == 0 && i < count; i++)
        r = add_external_file(im, &im->source.containers[i], err);
    return r;
}

/* ---- the files beside the shards ---- */

static int write_quarantine(const struct import *im, struct wsl_err *err)
{
    struct wsl_buf text = {.limit = (size_t)1 << 36};
    char path[PATH_MAX], name[PATH_MAX];
    int r = wsl_file_join(path, sizeof path, im->set, "quarantine.tsv");

    for (uint32_t i = 0; r == 0 && i < im->item_count; i++) {
        const struct item *item = wsl_import_item(im, i);

        if (item->state != ITEM_QUARANTINED)
            continue;
        snprintf(name, sizeof name, "%s", wsl_import_path(im, item));
        wsl_import_make_printable(name);
        r = wsl_buf_add_format(&text, "%s\t%llu\t%s%s%s\n", name, (unsigned long long)item->offset,
                               wsl_quarantine_reason_name((enum wsl_quarantine_reason)item->reason),
                               item->detail ? ": " : "", item->detail ? item->detail : "");
    }
    if (r < 0)
        r = wsl_fail(err, r, "cannot write the quarantine of %s: %s", im->staging.directory,
                     wsl_err_name(r));
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
    json_t *faults = json_object(), *skips = json_object(), *rules = json_array();

    for (int i = 0; i < WSL_QUARANTINE_REASONS; i++)
        if (n->quarantined[i])
            json_object_set_new(faults, wsl_quarantine_reason_name((enum wsl_quarantine_reason)i),
                                json_integer((json_int_t)n->quarantined[i]));
    for (int i = 0; i < WSL_IMPORT_SKIPS; i++)
        if (n->skipped[i])
            json_object_set_new(skips, wsl_import_skip_name((enum wsl_import_skip)i),
                                json_integer((json_int_t)n->skipped[i]));
    for (size_t i = 0; i < setup->exclude_tag_count; i++)
        json_array_append_new(rules, json_sprintf("tag %s", setup->exclude_tags[i]));
    for (size_t i = 0; i < setup->exclude_path_count; i++)
        json_array_append_new(rules, json_sprintf("path %s", setup->exclude_paths[i]));
    for (size_t i = 0; i < setup->ignore_tag_count; i++)
        json_array_append_new(rules, json_sprintf("ignored tag %s", setup->ignore_tags[i]));
    return json_pack(
        "{ss* ss ss sf sI sI sI si si sb sb sb so so so sI sI sI sI}", "path", setup->source,
        "kind", wsl_import_kind_name(setup->kind), "wordnet", setup->wordnet ? setup->wordnet : "",
        "heldout", setup->heldout, "seed", (json_int_t)setup->seed, "min_images",
        (json_int_t)setup->min_images, "max_tags", (json_int_t)setup->max_tags, "side_max",
        setup->side_max, "quality", setup->quality, "transcode", setup->transcode, "headers_only",
        setup->headers_only, "in_place", setup->in_place, "rules", rules, "quarantined", faults,
        "skipped", skips, "seen", (json_int_t)n->seen, "excluded", (json_int_t)n->excluded,
        "duplicates", (json_int_t)n->duplicates, "untagged", (json_int_t)n->untagged);
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
        r = wsl_dataset_info_save(&im->info, im->set, source, err);
    json_decref(source);
    memcpy(im->result->fingerprint, im->info.fingerprint, sizeof im->info.fingerprint);
    return r;
}

int wsl_import_write(struct import *im, struct wsl_err *err)
{
    struct output out = {.im = im};
    int r = write_shards(&out, err);

    if (r == 0)
        r = add_external_files(im, err);
    if (r == 0)
        r = write_quarantine(im, err);
    if (r == 0)
        r = write_info(im, err);
    if (r == 0) {
        const struct wsl_import_progress all = {.phase = WSL_IMPORT_WRITE,
                                                .done = im->order_count,
                                                .total = im->order_count,
                                                .bytes = atomic_load(&out.bytes)};

        wsl_import_report_progress(im, &all, true);
    }
    free(out.order);
    free(out.shards);
    return r;
}
