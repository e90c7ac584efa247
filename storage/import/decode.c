/* SPDX-License-Identifier: Apache-2.0
 *
 * Decoding: threads take items from a ring, look at what each image is, re-encode what is not kept,
 * and write down what they know in the journal.
 */
#include "storage/import/internal.h"

#include "base/crc32c.h"
#include "kernels/image/image.h"
#include "kernels/image/meta.h"
#include "storage/dataset/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>

enum { BUFFER_KEEP = 16 << 20, BATCH = 16, JOBS_PER_THREAD = 2 };
#define QUEUE_BYTES ((size_t)256 << 20)

/* Items to be decoded; one that comes with its bytes is alone. */
struct job {
    uint32_t first, count;
    bool has_bytes;
    struct wsl_buf bytes;
};

/* Jobs wait in a ring; a thread swaps its buffer with the job's, so that nothing is copied twice.
 */
struct decode_pool {
    struct thread_pool threads;
    struct job *jobs;
    size_t size, head, count; /* of the ring; under the threads' lock */
    size_t bytes;             /* waiting in it */
    bool closed;
    atomic_uint_fast64_t done, bad, read_bytes, resumed;
    uint64_t total; /* 0: not known */
};

struct worker {
    struct decode_pool *decode_pool;
    struct import *im;
    struct wsl_buf file, jpeg, again, profile;
    struct wsl_image_scratch scratch;
    struct import_reader reader;
    uint64_t srgb_profile; /* hash of the last profile that was as good as sRGB */
};

static void trim(struct wsl_buf *b)
{
    if (b->capacity > BUFFER_KEEP)
        wsl_buf_free(b);
    else
        wsl_buf_clear(b);
}

/* ---- one image ---- */

static enum wsl_quarantine_reason map_reason(int code)
{
    switch (code) {
    case WSL_EUNSUPPORTED:
        return WSL_QUARANTINE_UNSUPPORTED;
    case WSL_ELIMIT:
    case WSL_ENOMEM:
        return WSL_QUARANTINE_TOO_LARGE;
    default:
        return WSL_QUARANTINE_DAMAGED;
    }
}

/* Nearly all profiles are sRGB's, and the same over and over. */
static bool profile_is_srgb(struct worker *w, const struct wsl_jpeg_header *header)
{
    uint64_t hash;

    if (header->profile_bytes == 0)
        return true;
    wsl_buf_clear(&w->profile);
    if (wsl_jpeg_profile(w->file.data, w->file.size, &w->profile, NULL) < 0)
        return false;
    hash = XXH3_64bits_withSeed(w->profile.data, w->profile.size, (uint64_t)header->components);
    if (hash == w->srgb_profile)
        return true;
    if (!wsl_profile_is_srgb(w->profile.data, w->profile.size, header->components))
        return false;
    w->srgb_profile = hash;
    return true;
}

/* NULL: a JPEG that shows what is meant when it is simply decoded, and is not too large. Otherwise
 * why it is re-encoded. */
static const char *why_reencode(struct worker *w, const struct wsl_jpeg_header *header)
{
    const struct import *im = w->im;
    int side_max = im->setup->side_max, longer = header->width;

    if (header->height > longer)
        longer = header->height;
    if (w->file.size > WSL_RECORD_JPEG_MAX)
        return "over 16 MiB";
    if (side_max != 0 && longer > side_max)
        return "larger than the side asked for";
    if (header->components != 1 && header->components != 3)
        return "CMYK";
    if (header->orientation != 1)
        return "rotated by its Exif orientation";
    return profile_is_srgb(w, header) ? NULL : "a colour profile other than sRGB";
}

static int refuse_in_place(struct item *item, const char *why)
{
    char detail[120];

    snprintf(detail, sizeof detail, "%s: an import that is not in place makes a JPEG of it", why);
    return wsl_import_quarantine(item, WSL_QUARANTINE_NOT_IN_PLACE, detail);
}

/* Channels without a format of their own become an image as a decoder gives it. */
static int copy_raw(const struct item *item, const struct wsl_buf *bytes, struct wsl_image *ret,
                    struct wsl_err *err)
{
    size_t pixels = (size_t)item->width * item->height;
    const uint8_t *from = bytes->data;

    ret->width = item->width;
    ret->height = item->height;
    ret->pixels = malloc(3 * pixels);
    if (!ret->pixels)
        return wsl_fail(err, WSL_ENOMEM, "no memory for an image of %d x %d", item->width,
                        item->height);
    for (size_t i = 0; i < pixels; i++)
        for (size_t c = 0; c < 3; c++)
            ret->pixels[3 * i + c] = item->form == SOURCE_PIXELS_GREY  ? from[i]
                                     : item->form == SOURCE_PLANES_BGR ? from[(2 - c) * pixels + i]
                                                                       : from[3 * i + 2 - c];
    return 0;
}

static int shrink(const struct import *im, struct wsl_image *image, struct wsl_err *err)
{
    int side_max = im->setup->side_max;
    int longer = image->width > image->height ? image->width : image->height;
    struct wsl_rect all = {0, 0, image->width, image->height};
    struct wsl_image small = {0};
    int r;

    if (side_max == 0 || longer <= side_max)
        return 0;
    small.width = (int)(((int64_t)image->width * side_max + longer / 2) / longer);
    small.height = (int)(((int64_t)image->height * side_max + longer / 2) / longer);
    small.width += small.width == 0;
    small.height += small.height == 0;
    small.pixels = malloc((size_t)small.width * (size_t)small.height * 3);
    r = small.pixels
            ? wsl_image_resize(image,
                               &(struct wsl_image_crop){all, small.width, small.height, false},
                               small.pixels, err)
            : wsl_fail(err, WSL_ENOMEM, "no memory for a smaller image");
    wsl_image_free(r == 0 ? image : &small);
    if (r == 0)
        *image = small;
    return r;
}

static int decode(const struct import *im, const struct item *item, const struct wsl_buf *file,
                  struct wsl_image *image, struct wsl_err *err)
{
    const struct wsl_image_limits limits = {.side_max = im->setup->side_max,
                                            .apply_exif_and_icc = true};
    int r;

    if (item->form == SOURCE_FILE)
        return wsl_image_decode(file->data, file->size, &limits, image, err);
    r = copy_raw(item, file, image, err);
    return r == 0 ? shrink(im, image, err) : r;
}

static void keep(struct worker *w, struct item *item, const struct wsl_jpeg_header *header)
{
    item->width = (uint16_t)header->width;
    item->height = (uint16_t)header->height;
    item->kept = true;
    if (!w->im->setup->transcode)
        return;
    wsl_buf_clear(&w->again);
    /* What baseline cannot hold stays as it is. */
    item->transcoded = wsl_jpeg_transcode(w->file.data, w->file.size, &w->again, NULL) == 0 &&
                       w->again.size <= WSL_RECORD_JPEG_MAX;
}

/* A kept JPEG shows as it is stored: nothing turns it or changes its colours. */
static int check_kept(struct worker *w, struct item *item, struct wsl_err *err)
{
    struct wsl_image_info info;
    int r = wsl_image_check(&w->scratch, w->file.data, w->file.size, &info, err);

    if (r == 0)
        item->pixel_hash = info.pixel_hash;
    return r;
}

static int make_jpeg(struct worker *w, struct item *item, struct wsl_err *err)
{
    const struct import *im = w->im;
    struct wsl_image image = {0};
    int r = decode(im, item, &w->file, &image, err);

    if (r < 0)
        return r;
    item->width = (uint16_t)image.width;
    item->height = (uint16_t)image.height;
    item->pixel_hash = wsl_image_pixel_hash(&image);
    wsl_buf_clear(&w->jpeg);
    if (image.width > 65500 || image.height > 65500)
        r = wsl_fail(err, WSL_ELIMIT, "%d x %d pixels, a JPEG has at most 65500 on a side",
                     image.width, image.height);
    else
        r = wsl_image_encode_jpeg(&image, im->setup->quality, &w->jpeg, err);
    wsl_image_free(&image);
    if (r == 0 && w->jpeg.size > WSL_RECORD_JPEG_MAX)
        r = wsl_fail(err, WSL_ELIMIT, "over 16 MiB as a JPEG");
    return r;
}

/* Returns 1 with the JPEG to store in *ret, or 0 after putting the item in quarantine. */
static int convert(struct worker *w, struct item *item, const struct wsl_buf **ret)
{
    const struct import *im = w->im;
    const char *why = item->form == SOURCE_FILE ? "not a JPEG" : "pixels without a format";
    struct wsl_jpeg_header header;
    struct wsl_err err = {0};
    bool jpeg = item->form == SOURCE_FILE && w->file.size > 1 && w->file.data[0] == 0xff &&
                w->file.data[1] == 0xd8;
    int r = jpeg ? wsl_jpeg_header(w->file.data, w->file.size, &header, &err) : 0;

    item->kept = item->transcoded = false;
    if (r < 0 && (im->setup->headers_only || im->setup->in_place))
        return wsl_import_quarantine(item, map_reason(r), err.text);
    if (r == 0 && jpeg)
        why = why_reencode(w, &header);
    if (im->setup->in_place && why)
        return refuse_in_place(item, why);
    if (r == 0 && jpeg && !why) {
        keep(w, item, &header);
        item->pixel_hash = header.hash;
    }
    if (!item->kept)
        r = make_jpeg(w, item, &err);
    else if (!im->setup->headers_only)
        r = check_kept(w, item, &err);
    if (r < 0)
        return wsl_import_quarantine(item, map_reason(r), err.text);
    *ret = !item->kept ? &w->jpeg : item->transcoded ? &w->again : &w->file;
    return 1;
}

static int spool(struct import *im, struct item *item, const struct wsl_buf *jpeg,
                 struct wsl_err *err)
{
    uint64_t at = atomic_fetch_add(&im->spool_end, jpeg->size);

    for (size_t done = 0; done < jpeg->size;) {
        ssize_t n = pwrite(im->spool, jpeg->data + done, jpeg->size - done, (off_t)(at + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return wsl_fail_errno(err, "cannot write images to %s", im->staging.directory);
        done += (size_t)n;
    }
    item->spool_at = at;
    item->spooled = true;
    return 0;
}

/* ---- what an interrupted import knows ---- */

static bool adopt(struct import *im, struct item *item, const struct image_note *note)
{
    if (note->state == ITEM_QUARANTINED) {
        wsl_import_quarantine(item, (enum wsl_quarantine_reason)note->reason,
                              wsl_import_journal_detail(im->journal, note));
        return true;
    }
    item->state = note->state;
    item->pixel_hash = note->pixel_hash;
    item->spool_at = note->spool_at;
    item->jpeg_size = note->jpeg_size;
    item->crc32c = note->crc32c;
    item->width = note->width;
    item->height = note->height;
    item->kept = note->kept;
    item->transcoded = note->transcoded;
    item->spooled = note->spooled;
    return true;
}

bool wsl_import_resume_item(struct import *im, struct item *item, uint64_t stamp)
{
    const struct image_note *note = wsl_import_journal_find(im->journal, item->key);

    return note && note->stamp == stamp && adopt(im, item, note);
}

/* ---- a thread ---- */

static int work_on(struct worker *w, struct item *item, bool has_bytes, struct wsl_err *err)
{
    struct import *im = w->im;
    const struct image_note *note =
        has_bytes ? NULL : wsl_import_journal_find(im->journal, item->key);
    const struct wsl_buf *jpeg = NULL;
    uint64_t stamp = note ? note->stamp : 0;
    int r = has_bytes
                ? 1
                : wsl_import_read_source(&w->reader, im, item, note != NULL, &stamp, &w->file);

    if (r == 2) {
        atomic_fetch_add(&w->decode_pool->resumed, adopt(im, item, note));
        r = 0;
    } else if (r == 1) {
        atomic_fetch_add(&w->decode_pool->read_bytes, w->file.size);
        r = 0;
        if (convert(w, item, &jpeg)) {
            item->jpeg_size = (uint32_t)jpeg->size;
            item->crc32c = wsl_crc32c(0, jpeg->data, jpeg->size);
            item->state = ITEM_GOOD;
            item->spooled = false;
            if (has_bytes || jpeg != &w->file)
                r = spool(im, item, jpeg, err);
        }
        if (r == 0)
            r = wsl_import_journal_add_image(im, item, stamp, err);
    }
    trim(&w->file);
    trim(&w->jpeg);
    trim(&w->again);
    if (item->state == ITEM_QUARANTINED)
        atomic_fetch_add(&w->decode_pool->bad, 1);
    atomic_fetch_add(&w->decode_pool->done, 1);
    return r;
}

/* The next job; its bytes come in w->file. False when there are no more. */
static bool take_job(struct worker *w, struct job *ret)
{
    struct decode_pool *p = w->decode_pool;
    bool more;

    pthread_mutex_lock(&p->threads.lock);
    while (p->count == 0 && !p->closed && !atomic_load(&p->threads.stop))
        pthread_cond_wait(&p->threads.changed, &p->threads.lock);
    more = p->count > 0 && !atomic_load(&p->threads.stop);
    if (more) {
        struct job *job = &p->jobs[p->head];

        *ret = *job;
        if (job->has_bytes) {
            struct wsl_buf empty = w->file;

            w->file = job->bytes;
            job->bytes = empty;
            p->bytes -= w->file.size;
        }
        p->head = (p->head + 1) % p->size;
        p->count--;
        pthread_cond_broadcast(&p->threads.changed);
    }
    pthread_mutex_unlock(&p->threads.lock);
    return more;
}

static void *work(void *context)
{
    struct decode_pool *decode_pool = context;
    struct worker w = {.decode_pool = decode_pool,
                       .im = decode_pool->threads.im,
                       .file.limit = SOURCE_IMAGE_MAX + (1 << 20)};
    struct wsl_err err = {0};
    struct job job;
    int r = 0;

    pthread_setname_np(pthread_self(), "import");
    while (r == 0 && take_job(&w, &job))
        for (uint32_t i = 0; r == 0 && i < job.count && !atomic_load(&decode_pool->threads.stop);
             i++) {
            struct item *item = wsl_import_item(w.im, job.first + i);

            if (item->state == ITEM_READY)
                r = work_on(&w, item, job.has_bytes, &err);
            else
                atomic_fetch_add(&decode_pool->done, 1);
        }
    wsl_buf_free(&w.file);
    wsl_buf_free(&w.jpeg);
    wsl_buf_free(&w.again);
    wsl_buf_free(&w.profile);
    wsl_image_scratch_free(&w.scratch);
    wsl_import_reader_close(&w.reader);
    wsl_thread_pool_leave(&decode_pool->threads, r, &err);
    return NULL;
}

/* ---- the pool ---- */

static void report(void *context)
{
    struct decode_pool *p = context;
    const struct wsl_import_progress progress = {.phase = WSL_IMPORT_DECODE,
                                                 .done = atomic_load(&p->done),
                                                 .total = p->total,
                                                 .quarantined = atomic_load(&p->bad),
                                                 .bytes = atomic_load(&p->read_bytes),
                                                 .resumed = atomic_load(&p->resumed)};

    wsl_import_report_progress(p->threads.im, &progress, false);
}

static void free_pool(struct decode_pool *decode_pool)
{
    for (size_t i = 0; decode_pool->jobs && i < decode_pool->size; i++)
        wsl_buf_free(&decode_pool->jobs[i].bytes);
    free(decode_pool->jobs);
    free(decode_pool);
}

int wsl_decode_pool_open(struct decode_pool **ret, struct import *im, struct wsl_err *err)
{
    int count = wsl_import_thread_count(im), r;
    struct decode_pool *decode_pool = calloc(1, sizeof *decode_pool);

    if (decode_pool) {
        decode_pool->size = (size_t)count * JOBS_PER_THREAD;
        decode_pool->jobs = calloc(decode_pool->size, sizeof *decode_pool->jobs);
    }
    if (!decode_pool || !decode_pool->jobs) {
        free(decode_pool);
        return wsl_fail(err, WSL_ENOMEM, "no memory to decode images");
    }
    for (size_t i = 0; i < decode_pool->size; i++)
        decode_pool->jobs[i].bytes.limit = SOURCE_IMAGE_MAX + (1 << 20);
    r = wsl_thread_pool_open(&decode_pool->threads, im, count, work, decode_pool, err);
    if (r < 0)
        free_pool(decode_pool);
    else
        *ret = decode_pool;
    return r;
}

int wsl_decode_pool_put(struct decode_pool *p, uint32_t first, uint32_t count, const uint8_t *bytes,
                        size_t size, struct wsl_err *err)
{
    struct job *job;
    int r = 0;

    pthread_mutex_lock(&p->threads.lock);
    while (r == 0 && (p->count == p->size || (p->count > 0 && p->bytes + size > QUEUE_BYTES))) {
        r = wsl_thread_pool_wait(&p->threads, err);
        pthread_mutex_unlock(&p->threads.lock);
        report(p);
        pthread_mutex_lock(&p->threads.lock);
    }
    job = &p->jobs[(p->head + p->count) % p->size];
    job->first = first;
    job->count = count;
    job->has_bytes = bytes != NULL;
    if (r == 0 && bytes) {
        trim(&job->bytes);
        if (wsl_buf_add(&job->bytes, bytes, size) < 0)
            r = wsl_fail(err, WSL_ENOMEM, "no memory for an image of %zu bytes", size);
    }
    if (r == 0) {
        p->bytes += bytes ? size : 0;
        p->count++;
        pthread_cond_broadcast(&p->threads.changed);
    }
    pthread_mutex_unlock(&p->threads.lock);
    return r;
}

int wsl_decode_pool_close(struct decode_pool *p, int r, struct wsl_err *err)
{
    struct wsl_import_result *result;
    struct import *im;
    int mine;

    if (!p)
        return r;
    im = p->threads.im;
    result = im->result;
    pthread_mutex_lock(&p->threads.lock);
    p->closed = true;
    if (r < 0)
        atomic_store(&p->threads.stop, true);
    pthread_cond_broadcast(&p->threads.changed);
    pthread_mutex_unlock(&p->threads.lock);
    mine = wsl_thread_pool_close(&p->threads, report, p, r < 0 ? NULL : err);
    r = r < 0 ? r : mine;
    result->read_bytes += atomic_load(&p->read_bytes);
    result->resumed += atomic_load(&p->resumed);
    if (r == 0) {
        const struct wsl_import_progress all = {.phase = WSL_IMPORT_DECODE,
                                                .done = im->item_count,
                                                .total = im->item_count,
                                                .quarantined = atomic_load(&p->bad),
                                                .bytes = atomic_load(&p->read_bytes),
                                                .resumed = atomic_load(&p->resumed)};

        wsl_import_report_progress(im, &all, true);
    }
    free_pool(p);
    return r;
}

/* What the list stage did not decode at once. */
int wsl_import_decode(struct import *im, struct wsl_err *err)
{
    struct decode_pool *decode_pool = NULL;
    int r = wsl_decode_pool_open(&decode_pool, im, err);

    if (r < 0)
        return r;
    decode_pool->total = im->item_count;
    for (uint32_t i = 0; r == 0 && i < im->item_count; i += BATCH)
        r = wsl_decode_pool_put(
            decode_pool, i, im->item_count - i < BATCH ? im->item_count - i : BATCH, NULL, 0, err);
    return wsl_decode_pool_close(decode_pool, r, err);
}
