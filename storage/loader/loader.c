/* SPDX-License-Identifier: Apache-2.0
 *
 * Decode threads take work items - image j of batch b - in order and write into a ring of
 * `prefetch_batches` batches and one more; next() delivers the oldest once all its images are
 * there. One lock guards work items, ring and statistics; decoding runs outside it. What a thread
 * writes depends on the work item alone, so the content does not depend on which thread got it.
 */
#include "storage/loader/loader.h"

#include "base/clock.h"
#include "base/rng.h"
#include "kernels/image/image.h"
#include "storage/dataset/sigbus_guard.h"
#include "storage/sampling/order.h"
#include "storage/sampling/sampling.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    THREADS_MAX = 64,
    PREFETCH_BATCHES_DEFAULT = 3,
    PREFETCH_BATCHES_MAX = 64,
    TAGS_MAX = 64,
    SUBSTITUTES_MAX = 16
};

/* Records prefetched from the disk before those being decoded, and how many at once: enough that a
 * disk has always something to do, and no more pages waiting than a few tens of megabytes. */
enum { PREFETCH_RECORDS = 192, PREFETCH_AT_ONCE = 64 };

/* One batch being made or delivered. */
struct batch_buffer {
    uint8_t *pixels; /* slots images */
    /* Per slot; 0: left out (a bad record of a single pass, or past the end). */
    uint32_t *tag_count;
    uint32_t *slot_tags; /* slots x TAGS_MAX */
    uint64_t *records;
    uint32_t *tag_begin; /* slots + 1, filled when delivered */
    uint32_t *tags;      /* likewise */
    uint32_t done;       /* images finished */
    uint32_t bad;
    int failed; /* first failure of an image, 0: none */
    struct wsl_err err;
};

struct wsl_loader {
    struct wsl_loader_setup setup;
    struct wsl_sampling_table sampling;
    struct wsl_order order;
    uint64_t augment_key;
    size_t image_bytes;
    uint64_t batches; /* to deliver in all; UINT64_MAX: no end */
    int ring;         /* buffers in use: the batches ahead, and the one delivered */
    struct batch_buffer buffers[PREFETCH_BATCHES_MAX + 1];

    pthread_mutex_t lock;       /* guards all below, and buffer.done, .bad, .failed, .err */
    pthread_cond_t batch_ready; /* a batch may be complete */
    pthread_cond_t space;       /* a buffer was released, or closing */
    uint64_t next_item;         /* of the next image: batch n / slots, slot n % slots */
    uint64_t prefetched;        /* work items whose records were prefetched */
    uint64_t delivered;         /* batches delivered and released */
    bool lent;                  /* batch `delivered` is with the caller */
    bool closing;
    struct wsl_loader_stats stats;

    pthread_t threads[THREADS_MAX];
    int thread_count;
};

/* A thread's own memory: one record's JPEG, and the decoder's. */
struct scratch {
    uint8_t *jpeg;
    size_t capacity;
    struct wsl_image_scratch image;
    struct wsl_record record; /* the one read last */
};

static int load_record(struct wsl_loader *l, uint64_t record, uint64_t position, uint8_t *out,
                       struct scratch *scratch, struct wsl_err *err)
{
    struct wsl_record *rec = &scratch->record;
    const struct wsl_loader_setup *s = &l->setup;
    struct wsl_image_crop crop = {.width = s->image_size, .height = s->image_size};
    int width, height;
    int r = wsl_dataset_read(s->dataset, s->split, record, rec, err);

    if (r < 0)
        return r;
    if (rec->jpeg_size > scratch->capacity) {
        uint8_t *more = realloc(scratch->jpeg, rec->jpeg_size);

        if (!more)
            return wsl_fail(err, WSL_ENOMEM, "no memory for an image of %zu bytes", rec->jpeg_size);
        scratch->jpeg = more;
        scratch->capacity = rec->jpeg_size;
    }
    r = wsl_record_copy(rec, scratch->jpeg, err);
    if (r == 0)
        r = wsl_image_size(scratch->jpeg, rec->jpeg_size, &width, &height, err);
    if (r < 0)
        return r;
    if (s->augment)
        crop.area =
            wsl_augment_crop(width, height, s->min_area, l->augment_key, position, &crop.flip);
    else
        crop.area = wsl_augment_centre(width, height);
    crop.flip = crop.flip && !s->no_flip;
    r = wsl_image_decode_crop(&scratch->image, scratch->jpeg, rec->jpeg_size, &crop, out, err);
    if (r == 0 && s->augment)
        wsl_augment_colours(&s->jitter, l->augment_key, position, out, l->image_bytes / 3);
    return r;
}

/* `source`: the image's name at import; "" when not even that could be read. */
static void count_bad(struct wsl_loader *l, struct batch_buffer *buffer, uint64_t record,
                      const char *source, const struct wsl_err *why)
{
    pthread_mutex_lock(&l->lock);
    buffer->bad++;
    l->stats.bad++;
    if (l->stats.bad_line_count < 8)
        snprintf(l->stats.bad_lines[l->stats.bad_line_count++], sizeof l->stats.bad_lines[0],
                 "record %llu of %s%s%.60s%s: %.100s", (unsigned long long)record,
                 l->setup.split == WSL_SPLIT_TRAIN ? "train" : "heldout", source[0] ? " (" : "",
                 source, source[0] ? ")" : "", why->text);
    pthread_mutex_unlock(&l->lock);
}

struct lookup {
    const struct wsl_order *order;
    uint64_t position, record;
};

static void look_up(void *context)
{
    struct lookup *lookup = context;

    lookup->record = wsl_order_record(lookup->order, lookup->position);
}

/* Guarded: the order of a resampled view reads the view's map. */
static int find_record(struct wsl_loader *l, uint64_t position, uint64_t *ret, struct wsl_err *err)
{
    struct lookup lookup = {&l->order, position, position};

    if (!l->setup.single_pass && !wsl_sigbus_guard_run(look_up, &lookup))
        return wsl_fail(err, WSL_EIO, "a table of the view shrank, or the disk cannot read it");
    *ret = lookup.record;
    return 0;
}

/* `why` becomes a line that has the last record's reason in it. */
static int fail_too_many_bad(uint64_t record, struct wsl_err *why)
{
    struct wsl_err last = *why;

    return wsl_fail(why, WSL_ECORRUPT,
                    "%d records in a row cannot be read, the last is %llu (%.80s); check the data "
                    "set with 'wslctl data verify'",
                    SUBSTITUTES_MAX + 1, (unsigned long long)record, last.text);
}

/* Puts the image of `position` into slot `slot`. */
static int fill_slot(struct wsl_loader *l, struct batch_buffer *buffer, uint32_t slot,
                     uint64_t position, struct scratch *scratch, struct wsl_err *err)
{
    uint8_t *out = buffer->pixels + slot * l->image_bytes;
    struct wsl_record *rec = &scratch->record;
    uint64_t record = position;
    int r = find_record(l, position, &record, err);

    if (r < 0)
        return r;
    for (uint32_t attempt = 1;; attempt++) {
        rec->source[0] = '\0';
        r = load_record(l, record, position, out, scratch, err);
        if (r == 0 && rec->tag_count > 0)
            break;
        if (r == WSL_ENOMEM)
            return r;
        if (r == 0)
            wsl_fail(err, WSL_ECORRUPT, "it has no tags");
        count_bad(l, buffer, record, rec->source, err);
        if (l->setup.single_pass)
            return 0;
        if (attempt > SUBSTITUTES_MAX)
            return fail_too_many_bad(record, err);
        record = wsl_order_substitute(&l->order, position, attempt);
    }
    buffer->records[slot] = record;
    buffer->tag_count[slot] = (uint32_t)rec->tag_count;
    memcpy(buffer->slot_tags + (size_t)slot * TAGS_MAX, rec->tags,
           (size_t)rec->tag_count * sizeof *rec->tags);
    return 0;
}

/* Waits for a work item whose buffer is free; false when there is nothing more to do. Lock held. */
static bool take_item(struct wsl_loader *l, uint64_t *ret_batch, uint32_t *ret_slot)
{
    for (;;) {
        uint64_t batch = l->next_item / l->setup.slots;

        if (l->closing || batch >= l->batches)
            return false;
        if (batch < l->delivered + (uint64_t)l->ring) {
            *ret_batch = batch;
            *ret_slot = (uint32_t)(l->next_item++ % l->setup.slots);
            return true;
        }
        pthread_cond_wait(&l->space, &l->lock);
    }
}

static uint64_t item_position(const struct wsl_loader *l, uint64_t item)
{
    return (l->setup.start_step + item / l->setup.slots) * l->setup.batch + l->setup.first_slot +
           item % l->setup.slots;
}

/* The work items whose records are to be prefetched now: from *ret_first up to the result. Lock
 * held. */
static uint64_t next_prefetch(struct wsl_loader *l, uint64_t *ret_first)
{
    uint64_t end = l->next_item + PREFETCH_RECORDS;

    if (l->batches < UINT64_MAX / l->setup.slots && end > l->batches * l->setup.slots)
        end = l->batches * l->setup.slots;
    *ret_first = l->prefetched;
    if (end < l->prefetched + PREFETCH_AT_ONCE)
        return l->prefetched;
    l->prefetched = end;
    return end;
}

static void prefetch(struct wsl_loader *l, uint64_t first, uint64_t end)
{
    for (uint64_t item = first; item < end; item++) {
        uint64_t record = 0;

        if (find_record(l, item_position(l, item), &record, NULL) == 0)
            wsl_dataset_prefetch(l->setup.dataset, l->setup.split, record);
    }
}

static void *decode_images(void *argument)
{
    struct wsl_loader *l = argument;
    struct scratch scratch = {0};
    uint64_t batch;
    uint32_t slot;

    pthread_setname_np(pthread_self(), "loader");
    pthread_mutex_lock(&l->lock);
    while (take_item(l, &batch, &slot)) {
        struct batch_buffer *buffer = &l->buffers[batch % (uint64_t)l->ring];
        uint64_t position = item_position(l, batch * l->setup.slots + slot);
        uint64_t prefetch_first, prefetch_end = next_prefetch(l, &prefetch_first);
        struct wsl_err err = {0};
        int r = 0;

        pthread_mutex_unlock(&l->lock);
        prefetch(l, prefetch_first, prefetch_end);
        buffer->tag_count[slot] = 0;
        if (!l->setup.single_pass || position < l->order.records)
            r = fill_slot(l, buffer, slot, position, &scratch, &err);
        pthread_mutex_lock(&l->lock);
        if (r < 0 && buffer->failed == 0) {
            buffer->failed = r;
            buffer->err = err;
        }
        if (buffer->tag_count[slot] > 0)
            l->stats.images++;
        if (++buffer->done == l->setup.slots)
            pthread_cond_signal(&l->batch_ready);
    }
    pthread_mutex_unlock(&l->lock);
    free(scratch.jpeg);
    wsl_image_scratch_free(&scratch.image);
    return NULL;
}

/* Closes the gaps of left-out slots and makes the tag lists. */
static uint32_t compact_buffer(struct wsl_loader *l, struct batch_buffer *buffer)
{
    uint32_t count = 0, tags = 0;

    for (uint32_t slot = 0; slot < l->setup.slots; slot++) {
        uint32_t n = buffer->tag_count[slot];

        if (n == 0)
            continue;
        if (slot != count) {
            memmove(buffer->pixels + count * l->image_bytes, buffer->pixels + slot * l->image_bytes,
                    l->image_bytes);
            buffer->records[count] = buffer->records[slot];
        }
        buffer->tag_begin[count++] = tags;
        memcpy(buffer->tags + tags, buffer->slot_tags + (size_t)slot * TAGS_MAX,
               n * sizeof *buffer->tags);
        tags += n;
    }
    buffer->tag_begin[count] = tags;
    return count;
}

static void release_batch(struct wsl_loader *l)
{
    struct batch_buffer *buffer = &l->buffers[l->delivered % (uint64_t)l->ring];

    buffer->done = 0;
    buffer->bad = 0;
    buffer->failed = 0;
    l->delivered++;
    l->lent = false;
    pthread_cond_broadcast(&l->space);
}

int wsl_loader_next(struct wsl_loader *l, struct wsl_batch *ret, struct wsl_err *err)
{
    struct batch_buffer *buffer;
    uint64_t begin;

    pthread_mutex_lock(&l->lock);
    if (l->lent)
        release_batch(l);
    if (l->delivered >= l->batches) {
        pthread_mutex_unlock(&l->lock);
        return WSL_LOADER_END;
    }
    buffer = &l->buffers[l->delivered % (uint64_t)l->ring];
    begin = wsl_clock_ns();
    while (buffer->done < l->setup.slots)
        pthread_cond_wait(&l->batch_ready, &l->lock);
    l->stats.waited_ns += wsl_clock_ns() - begin;
    l->lent = true;
    pthread_mutex_unlock(&l->lock);
    /* All its images are done: no thread touches the buffer until it is released. */
    if (buffer->failed < 0) {
        if (err)
            *err = buffer->err;
        return buffer->failed;
    }
    *ret = (struct wsl_batch){.step = l->setup.start_step + l->delivered,
                              .pixels = buffer->pixels,
                              .tag_begin = buffer->tag_begin,
                              .tags = buffer->tags,
                              .records = buffer->records,
                              .bad = buffer->bad};
    ret->count = compact_buffer(l, buffer);
    return 0;
}

uint64_t wsl_loader_epoch_length(const struct wsl_loader *l)
{
    return l->order.length;
}

void wsl_loader_stats(struct wsl_loader *l, struct wsl_loader_stats *ret)
{
    pthread_mutex_lock(&l->lock);
    *ret = l->stats;
    pthread_mutex_unlock(&l->lock);
}

/* ---- opening and closing ---- */

static int open_order(struct wsl_loader *l, struct wsl_err *err)
{
    const struct wsl_loader_setup *s = &l->setup;
    const struct wsl_sampling_rule rule = {s->single_pass ? WSL_SAMPLING_NATURAL : s->sampling,
                                           s->threshold, s->max_repeat, s->window};
    struct wsl_order_setup order = {.fingerprint = wsl_dataset_fingerprint(s->dataset),
                                    .seed = s->seed,
                                    .records = wsl_dataset_count(s->dataset, s->split),
                                    .window = s->window};
    int r = wsl_sampling_open(&l->sampling, s->dataset, s->split, &rule, err);

    if (r < 0)
        return r;
    order.runs = l->sampling.runs;
    order.run_count = l->sampling.run_count;
    order.table = l->sampling.table;
    return wsl_order_open(&l->order, &order, err);
}

static int open_buffers(struct wsl_loader *l, struct wsl_err *err)
{
    size_t slots = l->setup.slots;

    for (int i = 0; i < l->ring; i++) {
        struct batch_buffer *c = &l->buffers[i];

        c->pixels = malloc(slots * l->image_bytes);
        c->tag_count = calloc(slots, sizeof *c->tag_count);
        c->slot_tags = malloc(slots * TAGS_MAX * sizeof *c->slot_tags);
        c->records = calloc(slots, sizeof *c->records);
        c->tag_begin = calloc(slots + 1, sizeof *c->tag_begin);
        c->tags = malloc(slots * TAGS_MAX * sizeof *c->tags);
        if (!c->pixels || !c->tag_count || !c->slot_tags || !c->records || !c->tag_begin ||
            !c->tags)
            return wsl_fail(err, WSL_ENOMEM, "no memory for %d batches of %zu images of %d x %d",
                            l->ring, slots, l->setup.image_size, l->setup.image_size);
    }
    return 0;
}

static int check_setup(const struct wsl_loader_setup *s, struct wsl_err *err)
{
    if (s->image_size < 1 || s->image_size > 4096 || s->batch < 1 || s->slots < 1 ||
        (uint64_t)s->first_slot + s->slots > s->batch)
        return wsl_fail(err, WSL_EINVAL,
                        "a loader of %u slots from %u of a batch of %u, images of %d pixels",
                        s->slots, s->first_slot, s->batch, s->image_size);
    if (s->threads < 1 || s->threads > THREADS_MAX || s->prefetch_batches < 0 ||
        s->prefetch_batches > PREFETCH_BATCHES_MAX)
        return wsl_fail(err, WSL_EINVAL,
                        "loader threads must be 1 to %d and batches ahead at most %d", THREADS_MAX,
                        PREFETCH_BATCHES_MAX);
    return 0;
}

static int start_threads(struct wsl_loader *l, struct wsl_err *err)
{
    for (; l->thread_count < l->setup.threads; l->thread_count++)
        if (pthread_create(&l->threads[l->thread_count], NULL, decode_images, l) != 0)
            return wsl_fail(err, WSL_ELIMIT, "cannot start a decode thread");
    return 0;
}

static uint64_t count_batches(const struct wsl_loader *l)
{
    const struct wsl_loader_setup *s = &l->setup;

    if (s->single_pass)
        return (l->order.records + s->batch - 1) / s->batch;
    if (s->end_step == 0)
        return UINT64_MAX;
    return s->end_step > s->start_step ? s->end_step - s->start_step : 0;
}

int wsl_loader_open(struct wsl_loader **ret, const struct wsl_loader_setup *setup,
                    struct wsl_err *err)
{
    struct wsl_loader *l;
    int r = check_setup(setup, err);

    if (r < 0)
        return r;
    l = calloc(1, sizeof *l);
    if (!l)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a loader");
    l->setup = *setup;
    l->setup.min_area = setup->min_area > 0 ? setup->min_area : 0.08;
    if (setup->single_pass)
        l->setup.start_step = 0;
    l->image_bytes = (size_t)setup->image_size * (size_t)setup->image_size * 3;
    l->ring = 1 + (setup->prefetch_batches ? setup->prefetch_batches : PREFETCH_BATCHES_DEFAULT);
    /* A library may have taken the signal since the data set was opened. */
    wsl_sigbus_guard_install();
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->batch_ready, NULL);
    pthread_cond_init(&l->space, NULL);
    r = open_order(l, err);
    if (r == 0)
        r = open_buffers(l, err);
    if (r == 0) {
        l->augment_key = wsl_order_augment_key(&l->order);
        l->batches = count_batches(l);
        r = start_threads(l, err);
    }
    if (r < 0) {
        wsl_loader_close(l);
        return r;
    }
    *ret = l;
    return 0;
}

void wsl_loader_close(struct wsl_loader *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->closing = true;
    pthread_cond_broadcast(&l->space);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->thread_count; i++)
        pthread_join(l->threads[i], NULL);
    for (int i = 0; i < l->ring; i++) {
        struct batch_buffer *c = &l->buffers[i];

        free(c->pixels);
        free(c->tag_count);
        free(c->slot_tags);
        free(c->records);
        free(c->tag_begin);
        free(c->tags);
    }
    wsl_order_close(&l->order);
    wsl_sampling_close(&l->sampling);
    pthread_cond_destroy(&l->space);
    pthread_cond_destroy(&l->batch_ready);
    pthread_mutex_destroy(&l->lock);
    free(l);
}
