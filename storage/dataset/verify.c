/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads everything once, shard after shard, and continues after what is damaged: the report is to be
 * complete.
 */
#include "storage/dataset/verify.h"

#include "base/crc32c.h"
#include "storage/dataset/dataset.h"
#include "storage/dataset/dataset_info.h"
#include "storage/dataset/external_file.h"
#include "storage/dataset/sigbus_guard.h"
#include "storage/dataset/tag_table.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <xxhash.h>

struct verify {
    const struct wsl_verify_setup *setup;
    struct wsl_dataset_info info;
    struct wsl_external_files *external_files; /* in place, or NULL */
    XXH3_state_t *state;
    const struct wsl_shard_entry *entry; /* of the current shard */
    uint64_t done, total, shard_faults;
    struct wsl_verify_result *result;
};

/* One value, read under the guard. */
struct value {
    const struct verify *verify;
    const uint8_t *bytes;
    size_t size;
    struct wsl_record record;
    const char *fault;
    uint32_t crc32c;
};

static void look_at(void *context)
{
    struct value *v = context;
    uint8_t head[8];

    for (int i = 0; i < 8; i++)
        head[i] = (uint8_t)((uint64_t)v->size >> (8 * i));
    XXH3_128bits_update(v->verify->state, head, sizeof head);
    XXH3_128bits_update(v->verify->state, v->bytes, v->size);
    v->fault = wsl_external_files_parse_record(v->verify->external_files, v->bytes, v->size,
                                               v->verify->info.tag_count, &v->record);
    if (!v->fault)
        v->crc32c = wsl_crc32c(0, v->record.jpeg, v->record.jpeg_size);
}

static void report_fault(struct verify *v, uint64_t record, const char *source, const char *reason)
{
    const struct wsl_verify_fault fault = {v->entry->file, record, source, reason};

    v->shard_faults++;
    v->result->bad++;
    if (v->setup->on_fault)
        v->setup->on_fault(v->setup->context, &fault);
}

static void verify_record(struct verify *v, const struct wsl_shard *shard, uint64_t index)
{
    struct value value = {.verify = v};
    bool done;
    char reason[400];

    value.bytes = wsl_shard_value(shard, index, &value.size);
    v->result->bytes += value.size;
    done = wsl_sigbus_guard_run(look_at, &value);
    if (!done && value.record.external_file) {
        snprintf(reason, sizeof reason, "%.300s shrank, or the disk cannot read it",
                 value.record.external_file);
        report_fault(v, index, value.record.source, reason);
    } else if (!done) {
        report_fault(v, index, "", "the shard shrank, or the disk cannot read it");
    } else if (value.fault) {
        report_fault(v, index, "", value.fault);
    } else if (value.crc32c != value.record.crc32c) {
        snprintf(reason, sizeof reason, "its image has CRC %08x, the record says %08x",
                 value.crc32c, value.record.crc32c);
        report_fault(v, index, value.record.source, reason);
    }
    v->result->bytes += value.record.external_file ? value.record.jpeg_size : 0;
    v->done++;
    if (v->setup->progress && (v->done % 256 == 0 || v->done == v->total))
        v->setup->progress(v->setup->context, v->done, v->total);
}

/* A shard whose tree cannot be walked is one fault: which record is where is not known then. */
static int verify_shard(struct verify *v, const char *directory, struct wsl_err *err)
{
    struct wsl_shard *shard = NULL;
    struct wsl_err mine;
    XXH128_hash_t digest;
    char text[33];
    int r = wsl_shard_open(&shard, directory, v->entry, &mine);

    v->shard_faults = 0;
    if (r == WSL_ENOMEM)
        return wsl_fail(err, r, "%s", mine.text);
    if (r < 0) {
        report_fault(v, WSL_VERIFY_SHARD, "", mine.text);
        v->done += v->entry->images;
        return 0;
    }
    XXH3_128bits_reset(v->state);
    for (uint64_t i = 0; i < v->entry->images; i++)
        verify_record(v, shard, i);
    wsl_shard_close(shard);
    digest = XXH3_128bits_digest(v->state);
    snprintf(text, sizeof text, "%016llx%016llx", (unsigned long long)digest.high64,
             (unsigned long long)digest.low64);
    if (v->shard_faults == 0 && strcmp(text, v->entry->fingerprint) != 0)
        report_fault(v, WSL_VERIFY_SHARD, "",
                     "its images are whole, but tags, sizes or names were changed: its fingerprint "
                     "is not what dataset.json says");
    return 0;
}

static int verify_table(struct verify *v, const char *directory, struct wsl_err *err)
{
    struct wsl_tag_table *table = NULL;
    struct wsl_err mine;
    int r = wsl_tag_table_open(&table, directory, v->entry, &mine);

    if (r == 0)
        r = wsl_tag_table_verify(table, &mine);
    wsl_tag_table_close(table);
    if (r == WSL_ENOMEM)
        return wsl_fail(err, r, "%s", mine.text);
    if (r < 0)
        report_fault(v, WSL_VERIFY_SHARD, "", mine.text);
    return 0;
}

/* A view's own tables, then what it refers to. */
static int verify_view(struct verify *v, const char *directory, struct wsl_err *err)
{
    struct wsl_verify_result tables;
    struct wsl_dataset *ds = NULL;
    int r = 0;

    for (int s = 0; s < 2; s++)
        for (size_t i = 0; r == 0 && i < v->info.splits[s].shard_count; i++) {
            v->entry = &v->info.splits[s].shards[i];
            r = verify_table(v, directory, err);
        }
    tables = *v->result;
    if (r == 0 && tables.bad == 0) /* else it would not open */
        r = wsl_dataset_open(&ds, directory, err);
    wsl_dataset_close(ds);
    if (r == 0)
        r = wsl_dataset_verify_all(v->info.base, v->setup, v->result, err);
    v->result->bad += tables.bad;
    return r;
}

static int verify_shards(struct verify *v, const char *directory, struct wsl_err *err)
{
    int r = 0;

    v->state = XXH3_createState();
    if (!v->state)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a fingerprint");
    v->total = v->info.splits[0].images + v->info.splits[1].images;
    for (int s = 0; s < 2; s++)
        for (size_t i = 0; r == 0 && i < v->info.splits[s].shard_count; i++) {
            v->entry = &v->info.splits[s].shards[i];
            r = verify_shard(v, directory, err);
        }
    v->result->records = v->total;
    XXH3_freeState(v->state);
    return r;
}

int wsl_dataset_verify_all(const char *directory, const struct wsl_verify_setup *setup,
                           struct wsl_verify_result *ret, struct wsl_err *err)
{
    struct verify v = {.setup = setup, .result = ret};
    int r = wsl_dataset_info_load(&v.info, directory, err);

    *ret = (struct wsl_verify_result){0};
    if (r < 0)
        return r;
    wsl_sigbus_guard_install();
    if (v.info.external_file_count > 0)
        r = wsl_external_files_open(&v.external_files, v.info.external_files,
                                    v.info.external_file_count, err);
    if (r == 0)
        r = v.info.base ? verify_view(&v, directory, err) : verify_shards(&v, directory, err);
    wsl_external_files_close(v.external_files);
    wsl_dataset_info_free(&v.info);
    return r;
}
