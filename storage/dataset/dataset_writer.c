/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/dataset/dataset_writer.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/utf8.h"
#include "storage/dataset/staging_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the folder ---- */

static int trim_output(struct wsl_making *m, const char *output, struct wsl_err *err)
{
    size_t n = strlen(output);
    const char *last;

    while (n > 1 && output[n - 1] == '/')
        n--;
    if (n == 0 || n + sizeof ".partial" > sizeof m->output)
        return wsl_fail(err, WSL_EINVAL, "'%.80s' cannot be the name of a folder to make", output);
    memcpy(m->output, output, n);
    m->output[n] = '\0';
    last = strrchr(m->output, '/') ? strrchr(m->output, '/') + 1 : m->output;
    if (!*last || strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
        return wsl_fail(err, WSL_EINVAL, "'%.80s' cannot be the name of a folder to make", output);
    strcpy(stpcpy(m->folder, m->output), ".partial");
    return 0;
}

static int set_name(struct wsl_making *m, const char *name, struct wsl_err *err)
{
    const char *last = strrchr(m->output, '/');

    if (!name || !*name)
        name = last ? last + 1 : m->output;
    if (!wsl_utf8_is_clean(name, strlen(name)) || strlen(name) > 255)
        return wsl_fail(err, WSL_EINVAL,
                        "name: must be UTF-8 without control characters, of at most 255 bytes");
    m->info.name = strdup(name);
    return m->info.name ? 0 : wsl_fail(err, WSL_ENOMEM, "no memory for a name");
}

int wsl_making_open(struct wsl_making *m, const char *output, const char *name, const char *kind,
                    struct wsl_err *err)
{
    struct stat st;
    int r;

    memset(m, 0, sizeof *m);
    m->lock = -1;
    m->shard_bytes = (uint64_t)1 << 30;
    m->info.kind = kind;
    r = trim_output(m, output, err);
    if (r == 0 && lstat(m->output, &st) == 0)
        r = wsl_fail(err, WSL_EEXIST, "%s exists: remove it or choose another name", m->output);
    if (r == 0)
        r = set_name(m, name, err);
    if (r == 0)
        r = wsl_work_folder_lock(m->folder, "process", &m->lock, err);
    if (r == 0) /* what a killed maker left */
        r = wsl_work_folder_empty(m->folder, NULL, err);
    if (r < 0)
        wsl_making_close(m);
    return r;
}

/* ---- contents ---- */

static int keep_entry(struct wsl_making *m, enum wsl_split split,
                      const struct wsl_shard_entry *entry, struct wsl_err *err)
{
    struct wsl_split_info *info = &m->info.splits[split];
    struct wsl_shard_entry *more =
        realloc(info->shards, (info->shard_count + 1) * sizeof *info->shards);

    if (!more)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the list of shards");
    info->shards = more;
    more[info->shard_count++] = *entry;
    info->images += entry->images;
    return 0;
}

static int seal(struct wsl_making *m, struct wsl_err *err)
{
    struct wsl_shard_entry entry;
    int r;

    if (!m->writer)
        return 0;
    r = wsl_shard_writer_seal(m->writer, &entry, err);
    wsl_shard_writer_close(m->writer);
    m->writer = NULL;
    return r < 0 ? r : keep_entry(m, (enum wsl_split)m->split, &entry, err);
}

static int open_writer(struct wsl_making *m, enum wsl_split split, struct wsl_err *err)
{
    char file[64];
    int r = 0;

    if (m->writer && (m->split != (int)split || wsl_shard_writer_is_full(m->writer)))
        r = seal(m, err);
    if (r < 0 || m->writer)
        return r;
    snprintf(file, sizeof file, "shard-%05zu.lmdb", m->shards++);
    m->split = (int)split;
    return wsl_shard_writer_open(&m->writer, m->folder, file, m->shard_bytes, err);
}

int wsl_making_add(struct wsl_making *m, enum wsl_split split, const struct wsl_record *from,
                   const uint32_t *tags, int count, struct wsl_err *err)
{
    Wsl__V1__ImageRecord record = WSL__V1__IMAGE_RECORD__INIT;
    uint8_t *copy = malloc(from->jpeg_size);
    int r = copy ? wsl_record_copy(from, copy, err)
                 : wsl_fail(err, WSL_ENOMEM, "no memory for a picture");

    if (r == 0)
        r = open_writer(m, split, err);
    record.crc32c = from->crc32c;
    record.width = (uint32_t)from->width;
    record.height = (uint32_t)from->height;
    record.n_tags = (size_t)count;
    record.tags = (uint32_t *)tags; /* packing only reads */
    record.source = (char *)from->source;
    record.pixel_hash = from->pixel_hash;
    record.jpeg.data = copy;
    record.jpeg.len = from->jpeg_size;
    if (r == 0)
        r = wsl_shard_writer_add(m->writer, &record, err);
    free(copy);
    return r;
}

int wsl_making_table(struct wsl_making *m, enum wsl_split split,
                     const struct wsl_tag_table_maker *table, uint64_t base, struct wsl_err *err)
{
    uint64_t *images = calloc(m->info.tag_count + 1, sizeof *images);
    struct wsl_shard_entry entry;
    int r;

    if (!images)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the tags");
    for (size_t t = 0; t < m->info.tag_count; t++)
        images[t] = m->info.tags[t].train;
    r = wsl_tag_table_write(table, m->folder,
                            split == WSL_SPLIT_TRAIN ? "train.tags" : "heldout.tags", base, images,
                            m->info.tag_count, &entry, err);
    free(images);
    return r < 0 ? r : keep_entry(m, split, &entry, err);
}

/* ---- the end ---- */

static int publish(struct wsl_making *m, struct wsl_err *err)
{
    int r = wsl_file_sync_directory(m->folder, err);

    if (r < 0)
        return r;
    r = renameat2(AT_FDCWD, m->folder, AT_FDCWD, m->output, RENAME_NOREPLACE);
    if (r < 0 && (errno == EINVAL || errno == ENOSYS)) /* a file system without that flag */
        r = rename(m->folder, m->output);
    if (r < 0)
        return wsl_fail_errno(err, "cannot rename %s to %s", m->folder, m->output);
    close(m->lock);
    m->lock = -1;
    return wsl_file_sync_parent(m->output, err);
}

int wsl_making_finish(struct wsl_making *m, json_t *source, struct wsl_err *err)
{
    char now[WSL_CLOCK_TEXT_SIZE];
    int r = seal(m, err);

    if (r < 0)
        return r;
    wsl_clock_text(wsl_clock_wall_ms(), now);
    m->info.created = strdup(now);
    if (!m->info.created || !source)
        return wsl_fail(err, WSL_ENOMEM, "no memory for " WSL_DATASET_FILE);
    r = wsl_dataset_info_save(&m->info, m->folder, source, err);
    return r < 0 ? r : publish(m, err);
}

void wsl_making_close(struct wsl_making *m)
{
    wsl_shard_writer_close(m->writer);
    if (m->output[0] && m->lock >= 0) {
        wsl_file_remove_tree(m->folder, NULL);
        close(m->lock);
    }
    wsl_dataset_info_free(&m->info);
    memset(m, 0, sizeof *m);
    m->lock = -1;
}
