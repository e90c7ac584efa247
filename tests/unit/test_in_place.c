/* SPDX-License-Identifier: Apache-2.0
 *
 * Data sets whose pictures stay in an LMDB of Caffe's or in a tar file.
 */
#include "caffe_world.h"
#include "import_world.h"
#include "tar_world.h"

#include "base/file.h"
#include "storage/dataset/dataset_info.h"
#include "storage/dataset/shard.h"
#include "storage/dataset/verify.h"
#include "storage/derive/view.h"
#include "storage/loader/loader.h"
#include "tests/unit/checked_set.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DATUMS = 24, SIZE = 16, BATCH = 7, TRIES = 12 };

struct world {
    struct fixture *f;
    char source[128], file[160], other[96]; /* the LMDB's folder, its file, an ordinary import */
};

/* Most are noisy: a value of many pages. Every fifth fits into a leaf. */
static void jpeg_of(int i, struct wsl_buf *ret)
{
    struct wsl_image image = draw(i % 5 ? 160 : 24, i % 5 ? 120 : 24, (uint64_t)i, i % 5 != 0);

    wsl_buf_clear(ret);
    assert_int_equal(wsl_image_encode_jpeg(&image, 90, ret, NULL), 0);
    wsl_image_free(&image);
}

static void put_datum(MDB_txn *txn, MDB_dbi dbi, const char *key, const struct wsl_buf *picture,
                      int label)
{
    struct wsl_buf value = {0};

    add_bytes(&value, 4, picture->data, picture->size);
    add_number(&value, 5, (uint64_t)label);
    add_number(&value, 7, 1);
    put_value(txn, dbi, key, &value);
    wsl_buf_free(&value);
}

/* JPEGs, of which the last is the first again; `odd`: what cannot be used as it is, too. */
static void put_datums(const struct fixture *f, bool odd)
{
    struct wsl_buf jpeg = {0}, value = {0};
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_env *env = open_lmdb(f, "db", &txn, &dbi);
    char key[32];

    for (int i = 0; i <= DATUMS; i++) {
        snprintf(key, sizeof key, "%08d", i);
        jpeg_of(i % DATUMS, &jpeg);
        put_datum(txn, dbi, key, &jpeg, i % DATUMS % 2);
    }
    if (odd) {
        put_png(f, "odd.png", draw(40, 30, 500, false));
        wsl_buf_clear(&jpeg);
        assert_int_equal(wsl_file_read(path_in(f, "odd.png"), 1 << 20, &jpeg, NULL), 0);
        put_datum(txn, dbi, "90000000", &jpeg, 0);
        wsl_buf_clear(&jpeg);
        wsl_buf_add_text(&jpeg, "\xff\xd8 is no JPEG");
        put_datum(txn, dbi, "90000001", &jpeg, 0);
        add_number(&value, 1, 1);
        add_number(&value, 2, 2);
        add_number(&value, 3, 2);
        add_bytes(&value, 4, "abcd", 4);
        add_number(&value, 5, 1);
        put_value(txn, dbi, "90000002", &value);
    }
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    wsl_buf_free(&jpeg);
    wsl_buf_free(&value);
}

static void begin(struct world *w, void **state, bool odd)
{
    struct fixture *f = w->f = *state;

    put_datums(f, odd);
    snprintf(w->source, sizeof w->source, "%s/db", f->folder);
    snprintf(w->file, sizeof w->file, "%s/data.mdb", w->source);
    snprintf(w->other, sizeof w->other, "%s/other", f->folder);
    f->setup.kind = WSL_IMPORT_LMDB;
    f->setup.source = w->source;
    f->setup.heldout = 0.3;
    f->setup.in_place = true;
}

static struct wsl_dataset *open_at(const char *folder)
{
    struct wsl_dataset *ds = NULL;
    struct wsl_err err;

    if (wsl_dataset_open(&ds, folder, &err) < 0)
        fail_msg("%s", err.text);
    return ds;
}

static void must_not_open(const struct fixture *f, int code, const char *file, const char *word)
{
    struct wsl_verify_setup setup = {0};
    struct wsl_verify_result result;
    struct wsl_dataset *ds;
    struct wsl_err err = {0};

    assert_int_equal(wsl_dataset_open(&ds, f->output, &err), code);
    if (!strstr(err.text, file) || !strstr(err.text, word))
        fail_msg("%s", err.text);
    assert_int_equal(wsl_dataset_verify_all(f->output, &setup, &result, &err), code);
    assert_non_null(strstr(err.text, file));
}

/* ---- the same as an ordinary import ---- */

static void must_be_equal(struct wsl_dataset *a, struct wsl_dataset *b, const char *file)
{
    static uint8_t bytes[2][1 << 16];

    assert_int_equal(wsl_dataset_tag_count(a), wsl_dataset_tag_count(b));
    for (int s = 0; s < 2; s++) {
        enum wsl_split split = (enum wsl_split)s;

        assert_int_equal(wsl_dataset_count(a, split), wsl_dataset_count(b, split));
        for (uint64_t i = 0; i < wsl_dataset_count(a, split); i++) {
            struct wsl_record x, y;

            wsl_dataset_prefetch(b, split, i);
            assert_int_equal(wsl_dataset_read(a, split, i, &x, NULL), 0);
            assert_int_equal(wsl_dataset_read(b, split, i, &y, NULL), 0);
            assert_null(x.external_file);
            assert_string_equal(y.external_file, file);
            assert_string_equal(x.source, y.source);
            assert_int_equal(x.width, y.width);
            assert_int_equal(x.height, y.height);
            assert_int_equal(x.pixel_hash, y.pixel_hash);
            assert_int_equal(x.tag_count, y.tag_count);
            assert_memory_equal(x.tags, y.tags, (size_t)x.tag_count * sizeof *x.tags);
            assert_int_equal(x.jpeg_size, y.jpeg_size);
            assert_int_equal(wsl_record_copy(&x, bytes[0], NULL), 0);
            assert_int_equal(wsl_record_copy(&y, bytes[1], NULL), 0);
            assert_memory_equal(bytes[0], bytes[1], x.jpeg_size);
        }
    }
}

static struct wsl_loader *open_loader(struct wsl_dataset *ds)
{
    struct wsl_loader_setup setup = {.dataset = ds,
                                     .split = WSL_SPLIT_TRAIN,
                                     .image_size = SIZE,
                                     .batch = BATCH,
                                     .slots = BATCH,
                                     .single_pass = true,
                                     .threads = 2};
    struct wsl_loader *loader = NULL;
    struct wsl_err err;

    if (wsl_loader_open(&loader, &setup, &err) < 0)
        fail_msg("%s", err.text);
    return loader;
}

static void batches_must_be_equal(struct wsl_dataset *a, struct wsl_dataset *b)
{
    struct wsl_loader *x = open_loader(a), *y = open_loader(b);
    struct wsl_batch from_x, from_y;
    uint64_t pictures = 0;
    int r;

    while ((r = wsl_loader_next(x, &from_x, NULL)) == 0) {
        assert_int_equal(wsl_loader_next(y, &from_y, NULL), 0);
        assert_int_equal(from_x.count, from_y.count);
        assert_int_equal(from_x.bad + from_y.bad, 0);
        assert_memory_equal(from_x.pixels, from_y.pixels, (size_t)from_x.count * SIZE * SIZE * 3);
        assert_memory_equal(from_x.records, from_y.records, from_x.count * sizeof *from_x.records);
        assert_int_equal(from_x.tag_begin[from_x.count], from_y.tag_begin[from_y.count]);
        assert_memory_equal(from_x.tags, from_y.tags,
                            from_x.tag_begin[from_x.count] * sizeof *from_x.tags);
        pictures += from_x.count;
    }
    assert_int_equal(r, WSL_LOADER_END);
    assert_int_equal(wsl_loader_next(y, &from_y, NULL), WSL_LOADER_END);
    assert_int_equal(pictures, wsl_dataset_count(a, WSL_SPLIT_TRAIN));
    wsl_loader_close(x);
    wsl_loader_close(y);
}

static void no_fault(void *context, const struct wsl_verify_fault *fault)
{
    (void)context;
    fail_msg("%s %s: %s", fault->file, fault->source, fault->reason);
}

static void it_is_what_an_import_makes(void **state)
{
    struct wsl_verify_setup verify = {.on_fault = no_fault};
    struct wsl_verify_result checked;
    struct wsl_import_result ordinary;
    struct wsl_dataset *a, *b;
    struct world w;
    char first[40];

    begin(&w, state, false);
    w.f->setup.in_place = false;
    w.f->setup.output = w.other;
    import_well(w.f);
    ordinary = w.f->result;
    w.f->setup.in_place = true;
    w.f->setup.output = w.f->output;
    import_well(w.f);
    assert_int_equal(w.f->result.train, ordinary.train);
    assert_int_equal(w.f->result.heldout, ordinary.heldout);
    assert_int_equal(w.f->result.duplicates, 1);
    assert_int_equal(w.f->result.kept_jpegs, DATUMS);
    a = open_at(w.other);
    b = open_made(w.f); /* which verifies it */
    assert_null(wsl_dataset_external_file(a));
    assert_string_equal(wsl_dataset_external_file(b), w.file);
    assert_string_not_equal(wsl_dataset_fingerprint(a), wsl_dataset_fingerprint(b));
    must_be_equal(a, b, w.file);
    batches_must_be_equal(a, b);
    wsl_dataset_close(a);
    wsl_dataset_close(b);
    assert_int_equal(wsl_dataset_verify_all(w.f->output, &verify, &checked, NULL), 0);
    assert_int_equal(checked.records, DATUMS);
    assert_in_range(checked.bytes, 200 << 10, 2 << 20); /* with the pictures */
    strcpy(first, w.f->result.fingerprint);
    assert_int_equal(wsl_file_remove_tree(w.f->output, NULL), 0);
    w.f->setup.threads = 1;
    import_well(w.f);
    assert_string_equal(w.f->result.fingerprint, first);
}

static void a_view_of_it_is_read(void **state)
{
    struct wsl_view_setup setup = {0};
    struct wsl_view_result result;
    struct wsl_dataset *ds, *view;
    struct wsl_record record;
    struct world w;
    char folder[128];

    begin(&w, state, false);
    import_well(w.f);
    ds = open_made(w.f);
    snprintf(folder, sizeof folder, "%s/view", w.f->folder);
    setup.dataset = ds;
    setup.directory = w.f->output;
    setup.output = folder;
    assert_int_equal(wsl_view_subset(&setup, 0.5, false, 0, &result, NULL), 0);
    wsl_dataset_close(ds);
    view = open_at(folder);
    assert_string_equal(wsl_dataset_external_file(view), w.file);
    assert_int_equal(check_set(folder).bad, 0);
    assert_in_range(wsl_dataset_count(view, WSL_SPLIT_TRAIN), 1, DATUMS - 1);
    assert_int_equal(wsl_dataset_read(view, WSL_SPLIT_TRAIN, 0, &record, NULL), 0);
    assert_int_equal(wsl_record_check(&record, NULL), 0);
    wsl_dataset_close(view);
}

static void tar_files_are_read(void **state)
{
    struct fixture *f = *state;
    char source[128], name[64], line[400];
    struct wsl_buf jpeg = {0};
    struct wsl_dataset *a, *b;
    char other[96];

    assert_int_equal(wsl_file_make_directories(path_in(f, "s"), NULL), 0);
    for (int i = 0; i < DATUMS; i++) {
        jpeg_of(i, &jpeg);
        snprintf(name, sizeof name, "s/p%02d.jpg", i);
        put_bytes(f, name, jpeg.data, jpeg.size);
        snprintf(name, sizeof name, "s/p%02d.cls", i);
        put_bytes(f, name, i % 2 ? "1" : "0", 1);
    }
    snprintf(line, sizeof line,
             "cd %s && mkdir tars && tar --sort=name -cf tars/0.tar s/p0* && "
             "tar --sort=name -cf tars/1.tar s/p1* && tar --sort=name -czf tars/2.tgz s/p2*",
             f->folder);
    assert_int_equal(system(line), 0);
    snprintf(source, sizeof source, "%s/tars/1.tar", f->folder);
    snprintf(other, sizeof other, "%s/other", f->folder);
    f->setup.kind = WSL_IMPORT_TAR;
    f->setup.source = source;
    f->setup.output = other;
    import_well(f);
    f->setup.output = f->output;
    f->setup.in_place = true;
    import_well(f);
    a = open_at(other);
    b = open_made(f);
    must_be_equal(a, b, source);
    wsl_dataset_close(a);
    wsl_dataset_close(b);
    /* Several files, of which one is compressed. */
    assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    snprintf(source, sizeof source, "%s/tars", f->folder);
    import_well(f);
    assert_int_equal(f->result.train + f->result.heldout, 20);
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_NOT_IN_PLACE], DATUMS - 20);
    must_have_text(f, "quarantine.tsv", "\tnot usable in place: in a compressed file: unpack it\n");
    wsl_dataset_close(open_made(f));
    wsl_buf_free(&jpeg);
}

/* Sparse members have no run of bytes that could stay; pax records and one whole part are no harm.
 */
static void tar_files_of_any_format_are_read(void **state)
{
    static uint8_t fork[100 << 10];
    struct fixture *f = *state;
    struct wsl_buf tar = {0}, jpeg = {0}, records = {0};
    struct tar_part parts[2] = {0};
    char source[128], other[96], name[32];
    struct wsl_dataset *a, *b;

    for (int i = 0; i < DATUMS; i++) {
        jpeg_of(i, &jpeg);
        snprintf(name, sizeof name, "v2.%02d.jpg", i);
        wsl_buf_clear(&records);
        tar_record(&records, "LIBARCHIVE.xattr.fork", fork, sizeof fork);
        parts[0] = (struct tar_part){0, jpeg.size};
        if (i % 3 == 0)
            tar_extra(&tar, 'x', &records);
        if (i % 3 == 1)
            tar_sparse(&tar, (enum tar_sparse)(i % TAR_SPARSES), name, &jpeg, parts, 1);
        else
            tar_member(&tar, name, jpeg.data, jpeg.size);
        snprintf(name, sizeof name, "v2.%02d.cls", i);
        tar_text(&tar, name, i % 2 ? "1" : "0");
    }
    tar_end(&tar);
    put_bytes(f, "t.tar", tar.data, tar.size);
    snprintf(source, sizeof source, "%s/t.tar", f->folder);
    snprintf(other, sizeof other, "%s/other", f->folder);
    f->setup.kind = WSL_IMPORT_TAR;
    f->setup.source = source;
    f->setup.output = other;
    import_well(f);
    f->setup.output = f->output;
    f->setup.in_place = true;
    import_well(f);
    assert_int_equal(f->result.train + f->result.heldout, DATUMS);
    a = open_at(other);
    b = open_made(f);
    must_be_equal(a, b, source);
    wsl_dataset_close(a);
    wsl_dataset_close(b);
    /* Behind the picture, a hole. */
    tar.size -= 2 * TAR_WORLD_BLOCK;
    jpeg_of(DATUMS, &jpeg);
    parts[0].size = jpeg.size;
    wsl_buf_add(&jpeg, fork, sizeof fork);
    parts[1] = (struct tar_part){jpeg.size, 0};
    tar_sparse(&tar, TAR_SPARSE_1_0, "hole.jpg", &jpeg, parts, 2);
    tar_text(&tar, "hole.cls", "1");
    tar_end(&tar);
    put_bytes(f, "t.tar", tar.data, tar.size);
    assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    import_well(f);
    assert_int_equal(f->result.train + f->result.heldout, DATUMS);
    must_have_text(f, "quarantine.tsv", "hole.jpg\t");
    must_have_text(f, "quarantine.tsv",
                   "\tnot usable in place: a sparse file: pack it without --sparse\n");
    wsl_dataset_close(open_made(f));
    wsl_buf_free(&tar);
    wsl_buf_free(&jpeg);
    wsl_buf_free(&records);
}

/* ---- what cannot be used ---- */

static void what_has_to_be_made_anew_is_refused(void **state)
{
    struct world w;

    begin(&w, state, true);
    import_well(w.f);
    assert_int_equal(w.f->result.quarantined[WSL_QUARANTINE_NOT_IN_PLACE], 2);
    assert_int_equal(w.f->result.quarantined[WSL_QUARANTINE_DAMAGED], 1);
    must_have_text(w.f, "quarantine.tsv",
                   "\tnot usable in place: not a JPEG: an import that is not in place makes a JPEG "
                   "of it\n");
    must_have_text(w.f, "quarantine.tsv", "not usable in place: pixels without a format: ");
    must_have_text(w.f, "quarantine.tsv", "90000001\t");
    assert_int_equal(wsl_file_remove_tree(w.f->output, NULL), 0);
    w.f->setup.side_max = 50;
    w.f->setup.heldout = 0;
    import_well(w.f);
    must_have_text(w.f, "quarantine.tsv", "larger than the side asked for: ");
    assert_int_equal(w.f->result.train, (DATUMS + 4) / 5);
    assert_int_equal(wsl_file_remove_tree(w.f->output, NULL), 0);
    w.f->setup.side_max = 0;
    w.f->setup.transcode = true;
    must_fail(w.f, WSL_EINVAL, "without transcode");
    w.f->setup.transcode = false;
    w.f->setup.kind = WSL_IMPORT_DIRECTORIES;
    must_fail(w.f, WSL_EINVAL, "in an LMDB or in tar files");
    w.f->setup.kind = WSL_IMPORT_TAR;
    w.f->setup.source = "-";
    must_fail(w.f, WSL_EINVAL, "in an LMDB or in tar files");
}

/* ---- a source that is not as it was ---- */

struct faults {
    int count;
    char reason[200];
};

static void count_fault(void *context, const struct wsl_verify_fault *fault)
{
    struct faults *faults = context;

    faults->count++;
    snprintf(faults->reason, sizeof faults->reason, "%s", fault->reason);
}

/* One picture may lie at two places. */
static void turn_bit(const struct wsl_buf *whole, const uint8_t *jpeg, size_t size)
{
    uint8_t *at = memmem(whole->data, whole->size, jpeg, size);

    assert_non_null(at);
    for (uint8_t *next; at; at = next) {
        next = memmem(at + size, (size_t)(whole->data + whole->size - at) - size, jpeg, size);
        at[size / 2] ^= 1;
    }
}

/* The bytes of the file with one bit of a picture turned. Whether opening finds it (a sample) or
 * only the picture's CRC: returns true for the latter. */
static bool is_found_by_crc(const struct world *w, const struct wsl_buf *whole, uint64_t index)
{
    struct wsl_buf spoilt = {0};
    struct faults faults = {0};
    struct wsl_verify_setup verify = {.on_fault = count_fault, .context = &faults};
    struct wsl_verify_result checked;
    struct wsl_dataset *ds = NULL;
    struct wsl_record record;
    struct wsl_err err = {0};
    uint8_t jpeg[1 << 16];
    int r;

    put_bytes(w->f, "db/data.mdb", whole->data, whole->size);
    ds = open_at(w->f->output);
    assert_int_equal(wsl_dataset_read(ds, WSL_SPLIT_TRAIN, index, &record, NULL), 0);
    assert_int_equal(wsl_record_copy(&record, jpeg, NULL), 0);
    wsl_dataset_close(ds);
    wsl_buf_clear(&spoilt);
    wsl_buf_add(&spoilt, whole->data, whole->size);
    turn_bit(&spoilt, jpeg, record.jpeg_size);
    put_bytes(w->f, "db/data.mdb", spoilt.data, spoilt.size);
    wsl_buf_free(&spoilt);
    r = wsl_dataset_open(&ds, w->f->output, &err);
    if (r < 0) {
        assert_int_equal(r, WSL_ECORRUPT);
        assert_non_null(strstr(err.text, "changed since"));
        return false;
    }
    assert_int_equal(wsl_dataset_read(ds, WSL_SPLIT_TRAIN, index, &record, NULL), 0);
    assert_int_equal(wsl_record_check(&record, &err), WSL_ECORRUPT);
    assert_non_null(strstr(err.text, w->file));
    assert_non_null(strstr(err.text, record.source));
    wsl_dataset_close(ds);
    assert_int_equal(wsl_dataset_verify_all(w->f->output, &verify, &checked, NULL), 0);
    assert_int_equal(faults.count, 1);
    assert_non_null(strstr(faults.reason, "its image has CRC"));
    return true;
}

static void every_change_is_found(void **state)
{
    struct wsl_buf whole = {0};
    struct world w;
    int by_crc = 0;

    begin(&w, state, false);
    import_well(w.f);
    assert_int_equal(wsl_file_read(w.file, 16 << 20, &whole, NULL), 0);
    for (uint64_t i = 0; i < TRIES; i++)
        by_crc += is_found_by_crc(&w, &whole, i);
    assert_in_range(by_crc, 1, TRIES);
    /* A commit, a cut, an end. */
    whole.data[144] ^= 1;
    put_bytes(w.f, "db/data.mdb", whole.data, whole.size);
    must_not_open(w.f, WSL_ECORRUPT, w.file, "changed since");
    put_bytes(w.f, "db/data.mdb", whole.data, whole.size / 2);
    must_not_open(w.f, WSL_ECORRUPT, w.file, "import anew");
    put_bytes(w.f, "db/data.mdb", "", 0);
    must_not_open(w.f, WSL_ECORRUPT, w.file, "has 0 bytes");
    unlink(w.file);
    must_not_open(w.f, WSL_ENOENT, w.file, "is missing");
    wsl_buf_free(&whole);
}

static void a_source_that_shrinks_is_named(void **state)
{
    const struct wsl_verify_setup verify = {0};
    struct wsl_verify_result checked;
    struct wsl_loader_stats stats;
    struct wsl_loader *loader;
    struct wsl_dataset *ds;
    struct wsl_record record;
    struct wsl_batch batch;
    struct wsl_err err = {0};
    struct world w;
    uint8_t copy[1 << 16];
    int r;

    begin(&w, state, false);
    import_well(w.f);
    ds = open_made(w.f);
    assert_int_equal(truncate(w.file, 0), 0);
    assert_int_equal(wsl_dataset_read(ds, WSL_SPLIT_TRAIN, 2, &record, NULL), 0);
    assert_int_equal(wsl_record_copy(&record, copy, &err), WSL_EIO);
    assert_non_null(strstr(err.text, w.file));
    assert_non_null(strstr(err.text, "shrank"));
    assert_int_equal(wsl_dataset_verify_all(w.f->output, &verify, &checked, &err), WSL_ECORRUPT);
    assert_non_null(strstr(err.text, w.file));
    loader = open_loader(ds);
    do
        r = wsl_loader_next(loader, &batch, &err);
    while (r == 0 && batch.bad == 0);
    wsl_loader_stats(loader, &stats);
    assert_in_range(stats.bad_line_count, 1, 8);
    assert_non_null(strstr(stats.bad_lines[0], "shrank"));
    assert_non_null(strstr(stats.bad_lines[0], w.file));
    wsl_loader_close(loader);
    wsl_dataset_close(ds);
}

static void touch(void *context, const struct wsl_import_progress *progress)
{
    const struct world *w = context;
    const struct timespec times[2] = {{0, UTIME_OMIT}, {1, 0}};

    if (progress->phase == WSL_IMPORT_DECODE && progress->done == progress->total)
        assert_int_equal(utimensat(AT_FDCWD, w->file, times, 0), 0);
}

/* The same command goes on: it looks at the pictures again, and takes over the finished shards. */
static void a_change_during_the_import_is_told(void **state)
{
    struct world w;
    char first[40];

    begin(&w, state, false);
    import_well(w.f);
    strcpy(first, w.f->result.fingerprint);
    assert_int_equal(wsl_file_remove_tree(w.f->output, NULL), 0);
    w.f->setup.progress = touch;
    w.f->setup.context = &w;
    must_pause(w.f, WSL_EIO, "data.mdb changed during the import");
    w.f->setup.progress = NULL;
    import_well(w.f);
    assert_int_equal(w.f->result.resumed, w.f->result.shards);
    assert_string_equal(w.f->result.fingerprint, first);
    wsl_dataset_close(open_made(w.f));
}

/* ---- shards that say what is not so ---- */

static void places_outside_are_refused(void **state)
{
    static const struct {
        uint64_t offset;
        uint32_t file, size;
        const char *fault;
    } cases[] = {
        {0, 0, 100, NULL},
        {99, 0, 1, NULL},
        {100, 0, 1, "outside of its file"},
        {99, 0, 2, "outside of its file"},
        {UINT64_MAX, 0, 2, "outside of its file"},
        {0, 0, UINT32_MAX, "outside of its file"},
        {0, 1, 1, "does not name"},
        {0, UINT32_MAX, 1, "does not name"},
        {5, 0, 0, "no image"},
    };
    struct fixture *f = *state;
    struct wsl_dataset_info info = {.kind = "labels"};
    struct wsl_split_info *split = &info.splits[WSL_SPLIT_TRAIN];
    json_t *source = json_object();
    struct wsl_shard_writer *writer;
    struct wsl_dataset *ds;
    struct wsl_record record;
    uint8_t bytes[100] = {0};
    uint32_t tag = 0;

    put_bytes(f, "file", bytes, sizeof bytes);
    info.name = strdup("placed");
    info.created = strdup("now");
    info.tags = calloc(1, sizeof *info.tags);
    info.tags[0] = (struct wsl_tag){strdup("x"), strdup(""), 1, 0};
    info.tag_count = 1;
    info.external_files = calloc(1, sizeof *info.external_files);
    assert_int_equal(wsl_external_file_describe(info.external_files, path_in(f, "file"), NULL), 0);
    info.external_file_count = 1;
    split->shards = calloc(1, sizeof *split->shards);
    split->shard_count = 1;
    split->images = sizeof cases / sizeof cases[0];
    assert_int_equal(wsl_shard_writer_open(&writer, f->folder, "shard-00000.lmdb", 1 << 20, NULL),
                     0);
    for (size_t i = 0; i < split->images; i++) {
        Wsl__V1__ImageRecord packed = WSL__V1__IMAGE_RECORD__INIT;

        packed.width = packed.height = 8;
        packed.n_tags = 1;
        packed.tags = &tag;
        packed.file = cases[i].file;
        packed.offset = cases[i].offset;
        packed.size = cases[i].size;
        assert_int_equal(wsl_shard_writer_add(writer, &packed, NULL), 0);
    }
    assert_int_equal(wsl_shard_writer_seal(writer, split->shards, NULL), 0);
    wsl_shard_writer_close(writer);
    assert_int_equal(wsl_dataset_info_save(&info, f->folder, source, NULL), 0);
    json_decref(source);
    ds = open_at(f->folder);
    for (size_t i = 0; i < split->images; i++) {
        struct wsl_err err = {0};
        int r = wsl_dataset_read(ds, WSL_SPLIT_TRAIN, i, &record, &err);

        wsl_dataset_prefetch(ds, WSL_SPLIT_TRAIN, i);
        assert_int_equal(r, cases[i].fault ? WSL_ECORRUPT : 0);
        if (cases[i].fault && !strstr(err.text, cases[i].fault))
            fail_msg("%zu: %s", i, err.text);
    }
    wsl_dataset_close(ds);
    wsl_dataset_info_free(&info);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, make, clear)
    const struct CMUnitTest tests[] = {
        CASE(it_is_what_an_import_makes),
        CASE(a_view_of_it_is_read),
        CASE(tar_files_are_read),
        CASE(tar_files_of_any_format_are_read),
        CASE(what_has_to_be_made_anew_is_refused),
        CASE(every_change_is_found),
        CASE(a_source_that_shrinks_is_named),
        CASE(a_change_during_the_import_is_told),
        CASE(places_outside_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
