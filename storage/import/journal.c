/* SPDX-License-Identifier: Apache-2.0
 *
 * What a killed import has done, one note after the other, each with a CRC. The first says with
 * which settings. A torn note at the end is cut off. Notes are as the machine has them in memory:
 * the file does not outlive the import.
 */
#include "storage/import/internal.h"

#include "base/crc32c.h"
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAGIC = 0x314a5357, NOTE_LIMIT = 1 << 20 }; /* "WSJ1" */
enum note_kind { NOTE_SETTINGS = 1, NOTE_IMAGE, NOTE_SHARD };

struct note_head {
    uint32_t magic, kind, size; /* of what follows */
    uint32_t crc32c;            /* of kind, size and what follows */
};

struct shard_note {
    uint64_t plan;
    struct wsl_shard_entry entry;
};

struct journal {
    const char *directory; /* of the import */
    int fd;
    pthread_mutex_t lock;
    struct image_note *images;
    size_t image_count, image_capacity;
    uint32_t *table; /* image number + 1, by key; open addressing */
    size_t table_size;
    struct shard_note *shards;
    size_t shard_count;
    struct wsl_buf details; /* NUL-terminated texts; the first byte is not used */
    bool has_work;
};

/* ---- settings as text ---- */

static int add_texts(struct wsl_buf *b, const char *key, const char *const *texts, size_t count)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < count; i++)
        r = wsl_buf_add_format(b, "%s %s\n", key, texts[i]);
    return r;
}

/* A line for each setting that changes the result. */
static int describe(const struct import *im, struct wsl_buf *b)
{
    const struct wsl_import_setup *s = im->setup;
    int r = wsl_buf_add_format(
        b,
        "layout %s\nsource %s\nname %s\nwordnet %s\nonly-nouns %d\nlabel-names %s\nheldout %.17g\n"
        "seed %llu\nmin-images %llu\nmax-tags %llu\nmax-side %d\nquality %d\ntranscode %d\n"
        "headers-only %d\nin-place %d\nshard-bytes %llu\n",
        wsl_import_kind_name(s->kind), s->source, im->info.name, s->wordnet ? s->wordnet : "",
        s->only_nouns, s->label_names ? s->label_names : "", s->heldout,
        (unsigned long long)s->seed, (unsigned long long)s->min_images,
        (unsigned long long)s->max_tags, s->side_max, s->quality, s->transcode, s->headers_only,
        s->in_place, (unsigned long long)s->shard_bytes);

    if (r == 0)
        r = add_texts(b, "exclude-tag", s->exclude_tags, s->exclude_tag_count);
    if (r == 0)
        r = add_texts(b, "exclude-path", s->exclude_paths, s->exclude_path_count);
    if (r == 0)
        r = add_texts(b, "ignore-tag", s->ignore_tags, s->ignore_tag_count);
    return r;
}

/* Names the first line that differs. */
static int fail_other(const struct import *im, const char *before, const char *now,
                      struct wsl_err *err)
{
    size_t a, b;

    while ((a = strcspn(before, "\n")) == (b = strcspn(now, "\n")) && a > 0 &&
           memcmp(before, now, a) == 0) {
        before += a + 1;
        now += b + 1;
    }
    return wsl_fail(err, WSL_EEXIST,
                    "%.150s holds an import that was interrupted and had '%.*s', not '%.*s': "
                    "repeat its command to resume it, or remove the directory",
                    im->staging.directory, (int)(a < 60 ? a : 60), a ? before : "nothing more",
                    (int)(b < 60 ? b : 60), b ? now : "nothing more");
}

/* ---- reading ---- */

static size_t find_slot(const struct journal *j, uint64_t key)
{
    size_t slot = (size_t)key & (j->table_size - 1);

    while (j->table[slot] && j->images[j->table[slot] - 1].key != key)
        slot = (slot + 1) & (j->table_size - 1);
    return slot;
}

static int grow_table(struct journal *j)
{
    size_t size = j->table_size ? 2 * j->table_size : 4096;
    uint32_t *table = calloc(size, sizeof *table);

    if (!table)
        return WSL_ENOMEM;
    free(j->table);
    j->table = table;
    j->table_size = size;
    for (size_t i = 0; i < j->image_count; i++)
        j->table[find_slot(j, j->images[i].key)] = (uint32_t)i + 1;
    return 0;
}

static int load_image_note(struct import *im, struct journal *j, const uint8_t *bytes, size_t size)
{
    struct image_note note;
    uint64_t end;
    size_t slot;

    memcpy(&note, bytes, sizeof note);
    note.detail = 0;
    if (size > sizeof note) {
        note.detail = j->details.size;
        if (wsl_buf_add(&j->details, bytes + sizeof note, size - sizeof note) < 0 ||
            wsl_buf_add(&j->details, "", 1) < 0)
            return WSL_ENOMEM;
    }
    if (j->image_count == j->image_capacity) {
        size_t capacity = j->image_capacity ? 2 * j->image_capacity : 1024;
        struct image_note *more = realloc(j->images, capacity * sizeof *more);

        if (!more)
            return WSL_ENOMEM;
        j->images = more;
        j->image_capacity = capacity;
    }
    if (2 * j->image_count >= j->table_size && grow_table(j) < 0)
        return WSL_ENOMEM;
    /* The same file twice, or one that changed: the last note counts. */
    slot = find_slot(j, note.key);
    j->images[j->image_count++] = note;
    j->table[slot] = (uint32_t)j->image_count;
    end = note.spooled ? note.spool_at + note.jpeg_size : 0;
    if (end > atomic_load(&im->spool_end))
        atomic_store(&im->spool_end, end);
    return 0;
}

static int load_shard_note(struct journal *j, const uint8_t *bytes)
{
    struct shard_note *more = realloc(j->shards, (j->shard_count + 1) * sizeof *more);

    if (!more)
        return WSL_ENOMEM;
    j->shards = more;
    memcpy(&more[j->shard_count++], bytes, sizeof *more);
    return 0;
}

static uint32_t note_crc(const struct note_head *head, const uint8_t *bytes)
{
    return wsl_crc32c(wsl_crc32c(0, &head->kind, 2 * sizeof head->kind), bytes, head->size);
}

/* The note at `at`, or NULL when it is not whole. */
static const uint8_t *note_at(const struct wsl_buf *file, size_t at, struct note_head *head)
{
    const uint8_t *bytes = file->data + at + sizeof *head;

    if (file->size - at < sizeof *head)
        return NULL;
    memcpy(head, file->data + at, sizeof *head);
    if (head->magic != MAGIC || head->size > NOTE_LIMIT ||
        head->size > file->size - at - sizeof *head)
        return NULL;
    return note_crc(head, bytes) == head->crc32c ? bytes : NULL;
}

static int load_notes(struct import *im, struct journal *j, const struct wsl_buf *file,
                      size_t *ret_end, struct wsl_err *err)
{
    struct note_head head;
    const uint8_t *bytes;
    size_t at = *ret_end;
    int r = 0;

    while (r == 0 && (bytes = note_at(file, at, &head))) {
        if (head.kind == NOTE_IMAGE && head.size >= sizeof(struct image_note))
            r = load_image_note(im, j, bytes, head.size);
        else if (head.kind == NOTE_SHARD && head.size == sizeof(struct shard_note))
            r = load_shard_note(j, bytes);
        at += sizeof head + head.size;
        j->has_work = true;
    }
    *ret_end = at;
    return r < 0 ? wsl_fail(err, r, "no memory for the journal in %s", im->staging.directory) : 0;
}

/* ---- writing ---- */

static int add_note(struct journal *j, enum note_kind kind, const void *bytes, size_t size,
                    const char *more, struct wsl_err *err)
{
    uint8_t note[sizeof(struct note_head) + sizeof(struct image_note) + 512];
    struct note_head head = {.magic = MAGIC, .kind = kind};
    size_t more_size = more ? strlen(more) : 0, all = sizeof head + size + more_size;
    uint8_t *at = all <= sizeof note ? note : malloc(all);
    ssize_t n;

    if (!at)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the journal in %s", j->directory);
    memcpy(at + sizeof head, bytes, size);
    if (more)
        memcpy(at + sizeof head + size, more, more_size);
    head.size = (uint32_t)(size + more_size);
    head.crc32c = note_crc(&head, at + sizeof head);
    memcpy(at, &head, sizeof head);
    pthread_mutex_lock(&j->lock);
    do
        n = write(j->fd, at, all);
    while (n < 0 && errno == EINTR);
    /* Part of a note would hide those after it. */
    if (n >= 0 && (size_t)n < all) {
        off_t end = lseek(j->fd, 0, SEEK_CUR);

        errno = ftruncate(j->fd, end - n) < 0 ? errno : ENOSPC;
        lseek(j->fd, end - n, SEEK_SET);
        n = -1;
    }
    j->has_work |= n >= 0 && kind != NOTE_SETTINGS;
    pthread_mutex_unlock(&j->lock);
    if (at != note)
        free(at);
    if (n < 0)
        return wsl_fail_errno(err, "cannot write %s/journal", j->directory);
    return 0;
}

int wsl_import_journal_add_image(struct import *im, const struct item *item, uint64_t stamp,
                                 struct wsl_err *err)
{
    struct image_note note = {.key = item->key,
                              .stamp = stamp,
                              .pixel_hash = item->pixel_hash,
                              .spool_at = item->spool_at,
                              .jpeg_size = item->jpeg_size,
                              .crc32c = item->crc32c,
                              .width = item->width,
                              .height = item->height,
                              .state = item->state,
                              .reason = item->reason,
                              .kept = item->kept,
                              .transcoded = item->transcoded,
                              .spooled = item->spooled};

    return add_note(im->journal, NOTE_IMAGE, &note, sizeof note, item->detail, err);
}

int wsl_import_journal_add_shard(struct import *im, uint64_t plan,
                                 const struct wsl_shard_entry *entry, struct wsl_err *err)
{
    struct shard_note note = {.plan = plan, .entry = *entry};

    return add_note(im->journal, NOTE_SHARD, &note, sizeof note, NULL, err);
}

/* ---- looking up ---- */

bool wsl_import_journal_has_work(const struct journal *j)
{
    return j && j->has_work;
}

const struct image_note *wsl_import_journal_find(const struct journal *j, uint64_t key)
{
    uint32_t number = j->table_size ? j->table[find_slot(j, key)] : 0;

    return number ? &j->images[number - 1] : NULL;
}

const char *wsl_import_journal_detail(const struct journal *j, const struct image_note *note)
{
    return note->detail ? (const char *)j->details.data + note->detail : NULL;
}

const struct wsl_shard_entry *wsl_import_journal_find_shard(const struct journal *j,
                                                            const char *file, uint64_t plan)
{
    for (size_t i = j->shard_count; i-- > 0;)
        if (j->shards[i].plan == plan && strcmp(j->shards[i].entry.file, file) == 0)
            return &j->shards[i].entry;
    return NULL;
}

/* ---- open and close ---- */

/* Whole notes are taken over; the file is cut behind them. */
static int resume(struct import *im, struct journal *j, const struct wsl_buf *file,
                  const struct wsl_buf *settings, struct wsl_err *err)
{
    struct note_head head;
    const uint8_t *bytes = note_at(file, 0, &head);
    size_t end = sizeof head + head.size;
    int r;

    if (head.size != settings->size || memcmp(bytes, settings->data, settings->size) != 0) {
        char *before = strndup((const char *)bytes, head.size);

        r = fail_other(im, before ? before : "", (const char *)settings->data, err);
        free(before);
        return r;
    }
    r = load_notes(im, j, file, &end, err);
    if (r == 0 && (ftruncate(j->fd, (off_t)end) < 0 || lseek(j->fd, (off_t)end, SEEK_SET) < 0))
        r = wsl_fail_errno(err, "cannot write %s/journal", im->staging.directory);
    return r;
}

static int open_journal(struct import *im, struct journal *j, struct wsl_err *err)
{
    struct wsl_buf file = {.limit = (size_t)1 << 40}, settings = {0};
    struct note_head head;
    char path[PATH_MAX];
    int r = wsl_file_join(path, sizeof path, im->staging.directory, "journal");

    if (r == 0)
        r = describe(im, &settings);
    if (r == 0 && wsl_buf_add(&j->details, "", 1) < 0)
        r = WSL_ENOMEM;
    if (r < 0)
        r = wsl_fail(err, r, "cannot begin the journal in %s: %s", im->staging.directory,
                     wsl_err_name(r));
    else if (wsl_file_exists(path))
        r = wsl_file_read(path, file.limit, &file, err);
    if (r == 0) {
        j->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (j->fd < 0)
            r = wsl_fail_errno(err, "cannot open %s", path);
    }
    if (r == 0 && file.size > 0 && note_at(&file, 0, &head) && head.kind == NOTE_SETTINGS)
        r = resume(im, j, &file, &settings, err);
    else if (r == 0 && ftruncate(j->fd, 0) < 0)
        r = wsl_fail_errno(err, "cannot write %s", path);
    else if (r == 0)
        r = add_note(j, NOTE_SETTINGS, settings.data, settings.size, NULL, err);
    wsl_buf_free(&file);
    wsl_buf_free(&settings);
    return r;
}

int wsl_import_journal_open(struct import *im, struct wsl_err *err)
{
    struct journal *j = calloc(1, sizeof *j);
    int r;

    if (!j)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a journal");
    j->directory = im->staging.directory;
    j->fd = -1;
    j->details.limit = (size_t)1 << 40;
    pthread_mutex_init(&j->lock, NULL);
    r = open_journal(im, j, err);
    if (r < 0)
        wsl_import_journal_close(j);
    else
        im->journal = j;
    return r;
}

void wsl_import_journal_close(struct journal *j)
{
    if (!j)
        return;
    if (j->fd >= 0)
        close(j->fd);
    pthread_mutex_destroy(&j->lock);
    free(j->images);
    free(j->table);
    free(j->shards);
    wsl_buf_free(&j->details);
    free(j);
}
