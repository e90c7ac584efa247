/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/dataset/import_work.h"

#include "base/clock.h"
#include "base/crc32c.h"
#include "base/file.h"
#include "kernels/image/image.h"
#include "storage/dataset/record.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { FILE_LIMIT = 256 << 20, BUFFER_KEEP = 16 << 20, TICK_MS = 50 };

/* Threads take the next item by number, so at most `threads` pictures are in memory. */
struct pool {
    struct import *im;
    atomic_uint next;
    atomic_uint_fast64_t done, bad, read_bytes, spool_end;
    atomic_bool stop;
    pthread_mutex_t lock; /* live, r, err */
    pthread_cond_t ended;
    int live;
    int r; /* of the first thread that could not go on */
    struct wsl_err err;
};

struct worker {
    struct pool *pool;
    struct wsl_buf file, jpeg;
};

static void trim(struct wsl_buf *b)
{
    if (b->capacity > BUFFER_KEEP)
        wsl_buf_free(b);
    else
        wsl_buf_clear(b);
}

static enum wsl_import_fault fault_of(int code)
{
    switch (code) {
    case WSL_EUNSUPPORTED:
        return WSL_IMPORT_FAULT_UNSUPPORTED;
    case WSL_ELIMIT:
    case WSL_ENOMEM:
        return WSL_IMPORT_FAULT_TOO_LARGE;
    default:
        return WSL_IMPORT_FAULT_DAMAGED;
    }
}

/* Returns 1 with the bytes in w->file, or 0 after putting the item in quarantine. */
static int read_file(struct worker *w, struct item *item)
{
    const struct import *im = w->pool->im;
    char path[PATH_MAX];
    struct wsl_err err;
    struct stat st;
    int r;

    if (wsl_file_join(path, sizeof path, im->base, import_path(im, item)) < 0)
        return import_set_bad(item, WSL_IMPORT_FAULT_UNREADABLE, "path too long");
    if (stat(path, &st) < 0 && (errno == ENOENT || errno == ENOTDIR))
        return import_set_bad(item, WSL_IMPORT_FAULT_MISSING, NULL);
    if (stat(path, &st) < 0)
        return import_set_bad(item, WSL_IMPORT_FAULT_UNREADABLE, strerrordesc_np(errno));
    if (!S_ISREG(st.st_mode))
        return import_set_bad(item, WSL_IMPORT_FAULT_UNREADABLE, "not a regular file");
    wsl_buf_clear(&w->file);
    r = wsl_file_read(path, FILE_LIMIT, &w->file, &err);
    if (r == WSL_ELIMIT)
        return import_set_bad(item, WSL_IMPORT_FAULT_TOO_LARGE, "over 256 MiB");
    if (r < 0)
        return import_set_bad(item, WSL_IMPORT_FAULT_UNREADABLE, err.text);
    if (w->file.size == 0)
        return import_set_bad(item, WSL_IMPORT_FAULT_DAMAGED, "the file is empty");
    atomic_fetch_add(&w->pool->read_bytes, w->file.size);
    return 1;
}

/* A JPEG of the right size is kept byte for byte, unless much of it is something else than the
 * picture (previews, colour profiles). */
static bool can_keep(const struct wsl_buf *file, const struct wsl_image *image)
{
    uint64_t pixels = (uint64_t)image->width * (uint64_t)image->height;
    int width, height;

    return file->size > 2 && file->data[0] == 0xff && file->data[1] == 0xd8 &&
           file->size <= WSL_RECORD_JPEG && file->size <= pixels * 3 / 2 + 4096 &&
           wsl_image_size(file->data, file->size, &width, &height, NULL) == 0 &&
           width == image->width && height == image->height;
}

/* Returns 1 with the JPEG to store in *ret, or 0 after putting the item in quarantine. */
static int make_jpeg(struct worker *w, struct item *item, const struct wsl_buf **ret)
{
    const struct wsl_import_setup *setup = w->pool->im->setup;
    const struct wsl_image_limits limits = {.side_max = setup->side_max};
    struct wsl_image image = {0};
    struct wsl_err err = {0};
    int r = wsl_image_decode(w->file.data, w->file.size, &limits, &image, &err);

    if (r < 0)
        return import_set_bad(item, fault_of(r), err.text);
    item->width = (uint16_t)image.width;
    item->height = (uint16_t)image.height;
    item->pixel_hash = wsl_image_pixel_hash(&image);
    item->kept = can_keep(&w->file, &image);
    *ret = &w->file;
    if (!item->kept) {
        wsl_buf_clear(&w->jpeg);
        r = wsl_image_encode_jpeg(&image, setup->quality, &w->jpeg, &err);
        *ret = &w->jpeg;
    }
    wsl_image_free(&image);
    if (r < 0)
        return import_set_bad(item, fault_of(r), err.text);
    if ((*ret)->size > WSL_RECORD_JPEG)
        return import_set_bad(item, WSL_IMPORT_FAULT_TOO_LARGE, "over 16 MiB as a JPEG");
    return 1;
}

static int spool(struct pool *pool, struct item *item, const struct wsl_buf *jpeg,
                 struct wsl_err *err)
{
    uint64_t at = atomic_fetch_add(&pool->spool_end, jpeg->size);

    for (size_t done = 0; done < jpeg->size;) {
        ssize_t n =
            pwrite(pool->im->spool, jpeg->data + done, jpeg->size - done, (off_t)(at + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EFBIG)
            return wsl_fail(err, WSL_ENOSPC, "cannot write pictures to %s: the file size limit",
                            pool->im->folder);
        if (n < 0)
            return wsl_fail_errno(err, "cannot write pictures to %s", pool->im->folder);
        done += (size_t)n;
    }
    item->spool_at = at;
    item->jpeg_size = (uint32_t)jpeg->size;
    item->crc32c = wsl_crc32c(0, jpeg->data, jpeg->size);
    item->state = ITEM_GOOD;
    return 0;
}

static int work_on(struct worker *w, struct item *item, struct wsl_err *err)
{
    const struct wsl_buf *jpeg = NULL;
    int r = 0;

    if (read_file(w, item) && make_jpeg(w, item, &jpeg))
        r = spool(w->pool, item, jpeg, err);
    trim(&w->file);
    trim(&w->jpeg);
    if (item->state == ITEM_BAD)
        atomic_fetch_add(&w->pool->bad, 1);
    return r;
}

static void *work(void *context)
{
    struct pool *pool = context;
    struct worker w = {.pool = pool, .file.limit = FILE_LIMIT + (1 << 20)};
    struct wsl_err err = {0};
    int r = 0;

    pthread_setname_np(pthread_self(), "import");
    while (r == 0 && !atomic_load(&pool->stop)) {
        unsigned i = atomic_fetch_add(&pool->next, 1);

        if (i >= pool->im->item_count)
            break;
        if (pool->im->items[i].state == ITEM_READY)
            r = work_on(&w, &pool->im->items[i], &err);
        atomic_fetch_add(&pool->done, 1);
    }
    wsl_buf_free(&w.file);
    wsl_buf_free(&w.jpeg);
    pthread_mutex_lock(&pool->lock);
    if (r < 0 && pool->r == 0) {
        pool->r = r;
        pool->err = err;
        atomic_store(&pool->stop, true);
    }
    pool->live--;
    pthread_cond_signal(&pool->ended);
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

/* The calling thread waits, tells and looks for a cancel. */
static int watch(struct pool *pool, struct wsl_err *err)
{
    struct import *im = pool->im;
    int r = 0;

    pthread_mutex_lock(&pool->lock);
    while (pool->live > 0) {
        struct timespec until;

        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += TICK_MS * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        pthread_cond_timedwait(&pool->ended, &pool->lock, &until);
        pthread_mutex_unlock(&pool->lock);
        if (r == 0 && (r = import_check(im, err)) < 0)
            atomic_store(&pool->stop, true);
        import_tell(im, WSL_IMPORT_DECODE, atomic_load(&pool->done), im->item_count,
                    atomic_load(&pool->bad), false);
        pthread_mutex_lock(&pool->lock);
    }
    if (r == 0 && pool->r < 0) {
        r = pool->r;
        if (err)
            *err = pool->err;
    }
    pthread_mutex_unlock(&pool->lock);
    return r;
}

static int thread_count(const struct wsl_import_setup *setup)
{
    cpu_set_t cpus;

    if (setup->threads > 0)
        return setup->threads;
    if (sched_getaffinity(0, sizeof cpus, &cpus) < 0)
        return 1;
    return CPU_COUNT(&cpus) < 256 ? CPU_COUNT(&cpus) : 256;
}

static int run_pool(struct pool *pool, pthread_t *threads, int count, struct wsl_err *err)
{
    int started = 0, r;

    pthread_mutex_lock(&pool->lock);
    while (started < count && pthread_create(&threads[started], NULL, work, pool) == 0)
        started++;
    pool->live = started; /* threads that end before this wait for the lock */
    pthread_mutex_unlock(&pool->lock);
    if (started == 0)
        return wsl_fail(err, WSL_ENOMEM, "cannot start a thread to decode pictures");
    r = watch(pool, err);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    return r;
}

int import_decode(struct import *im, struct wsl_err *err)
{
    int count = thread_count(im->setup), r;
    pthread_t *threads = calloc((size_t)count, sizeof *threads);
    struct pool pool = {.im = im, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_condattr_t attributes;

    if (!threads)
        return wsl_fail(err, WSL_ENOMEM, "no memory for %d threads", count);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&pool.ended, &attributes);
    pthread_condattr_destroy(&attributes);
    r = run_pool(&pool, threads, count, err);
    pthread_cond_destroy(&pool.ended);
    pthread_mutex_destroy(&pool.lock);
    free(threads);
    im->result->read_bytes = atomic_load(&pool.read_bytes);
    if (r == 0)
        import_tell(im, WSL_IMPORT_DECODE, im->item_count, im->item_count, atomic_load(&pool.bad),
                    true);
    return r;
}
