/* SPDX-License-Identifier: Apache-2.0
 *
 * A small data set of real JPEGs, some of them damaged on purpose, read by one and by several
 * loaders. Run it under ThreadSanitizer after any change to loader.c.
 */
#include "base/crc32c.h"
#include "base/file.h"
#include "base/rng.h"
#include "kernels/image/image.h"
#include "storage/dataset/dataset_info.h"
#include "storage/dataset/shard.h"
#include "storage/loader/loader.h"
#include "storage/sampling/order.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { TRAIN = 61, HELDOUT = 23, TAGS = 4, SIZE = 24, PICTURE = SIZE * SIZE * 3, BATCH = 10 };

/* What is done to a record of the test's data set. */
enum damage { SOUND, CUT, CHECKSUM };
typedef enum damage (*damage_fn)(uint64_t record);

struct fixture {
    char folder[64];
    struct wsl_dataset *dataset;
};

/* ---- making the data set ---- */

static struct wsl_buf jpeg_of(uint64_t record, int *ret_width, int *ret_height)
{
    int width = 40 + (int)(record * 7 % 60), height = 40 + (int)(record * 13 % 50);
    struct wsl_image image = {malloc((size_t)width * (size_t)height * 3), width, height};
    struct wsl_buf jpeg = {0};

    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            uint8_t *p = image.pixels + (y * width + x) * 3;

            p[0] = (uint8_t)(record * 37 + (uint64_t)x);
            p[1] = (uint8_t)(x * y / 16);
            p[2] = (uint8_t)((uint64_t)y * (record % 5 + 1));
        }
    assert_int_equal(wsl_image_encode_jpeg(&image, 85, &jpeg, NULL), 0);
    wsl_image_free(&image);
    *ret_width = width;
    *ret_height = height;
    return jpeg;
}

/* Tag 0 is on all pictures, tag 3 on one in 20. */
static size_t tags_of(uint64_t record, uint32_t tags[TAGS])
{
    size_t n = 0;

    tags[n++] = 0;
    if (record % 2 == 0)
        tags[n++] = 1;
    if (record % 5 == 0)
        tags[n++] = 2;
    if (record % 20 == 0)
        tags[n++] = 3;
    return n;
}

static void add_record(struct wsl_shard_writer *w, uint64_t i, enum damage damage)
{
    Wsl__V1__ImageRecord record = WSL__V1__IMAGE_RECORD__INIT;
    uint32_t tags[TAGS];
    int width, height;
    struct wsl_buf jpeg = jpeg_of(i, &width, &height);
    char source[40];
    struct wsl_err err;

    snprintf(source, sizeof source, "picture-%llu.jpg", (unsigned long long)i);
    record.jpeg.data = jpeg.data;
    /* Within the tables: damage below a crop is not seen. */
    record.jpeg.len = damage == CUT ? 300 : jpeg.size;
    record.crc32c = wsl_crc32c(0, jpeg.data, record.jpeg.len) + (damage == CHECKSUM);
    record.width = (uint32_t)width;
    record.height = (uint32_t)height;
    record.n_tags = tags_of(i, tags);
    record.tags = tags;
    record.source = source;
    if (wsl_shard_writer_add(w, &record, &err) < 0)
        fail_msg("%s", err.text);
    wsl_buf_free(&jpeg);
}

static void add_shard(struct fixture *f, struct wsl_split_info *split, const char *file,
                      uint64_t count, damage_fn damage)
{
    struct wsl_shard_writer *w;
    struct wsl_err err;

    if (wsl_shard_writer_open(&w, f->folder, file, 1 << 20, &err) < 0)
        fail_msg("%s", err.text);
    for (uint64_t i = split->images; i < split->images + count; i++)
        add_record(w, i, damage(i));
    split->shards = realloc(split->shards, (split->shard_count + 1) * sizeof *split->shards);
    if (wsl_shard_writer_seal(w, &split->shards[split->shard_count++], &err) < 0)
        fail_msg("%s", err.text);
    wsl_shard_writer_close(w);
    split->images += count;
}

static void make_dataset(struct fixture *f, damage_fn damage)
{
    struct wsl_dataset_info info = {.kind = "tags"};
    json_t *source = json_pack("{ss}", "path", "made for a test");
    struct wsl_err err;

    strcpy(f->folder, "/tmp/wsl-test-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    info.name = strdup("trial");
    info.created = strdup("2018-05-02T10:11:12.345Z");
    info.tags = calloc(TAGS, sizeof *info.tags);
    info.tag_count = TAGS;
    for (uint32_t t = 0; t < TAGS; t++)
        info.tags[t] = (struct wsl_tag){.name = strndup(&"abcd"[t], 1), .synset = strdup("")};
    for (uint64_t i = 0; i < TRAIN; i++) {
        uint32_t tags[TAGS];
        size_t n = tags_of(i, tags);

        for (size_t k = 0; k < n; k++) {
            info.tags[tags[k]].train++;
            info.tags[tags[k]].heldout += i < HELDOUT;
        }
    }
    add_shard(f, &info.splits[WSL_SPLIT_TRAIN], "shard-00000.lmdb", 40, damage);
    add_shard(f, &info.splits[WSL_SPLIT_TRAIN], "shard-00001.lmdb", TRAIN - 40, damage);
    add_shard(f, &info.splits[WSL_SPLIT_HELDOUT], "shard-00002.lmdb", HELDOUT, damage);
    assert_int_equal(wsl_dataset_info_save(&info, f->folder, source, NULL), 0);
    wsl_dataset_info_free(&info);
    json_decref(source);
    if (wsl_dataset_open(&f->dataset, f->folder, &err) < 0)
        fail_msg("%s", err.text);
}

static enum damage all_sound(uint64_t record)
{
    (void)record;
    return SOUND;
}

static enum damage some_bad(uint64_t record)
{
    return record % 9 == 2 ? CUT : record == 22 ? CHECKSUM : SOUND;
}

static enum damage all_bad(uint64_t record)
{
    return record % 2 ? CUT : CHECKSUM;
}

static int make_sound(void **state)
{
    *state = calloc(1, sizeof(struct fixture));
    make_dataset(*state, all_sound);
    return 0;
}

static int make_some_bad(void **state)
{
    *state = calloc(1, sizeof(struct fixture));
    make_dataset(*state, some_bad);
    return 0;
}

static int make_all_bad(void **state)
{
    *state = calloc(1, sizeof(struct fixture));
    make_dataset(*state, all_bad);
    return 0;
}

static int clear(void **state)
{
    struct fixture *f = *state;

    wsl_dataset_close(f->dataset);
    wsl_file_remove_tree(f->folder, NULL);
    free(f);
    return 0;
}

/* ---- reading it ---- */

static struct wsl_loader_setup setup_of(const struct fixture *f)
{
    return (struct wsl_loader_setup){.dataset = f->dataset,
                                     .seed = 11,
                                     .image_size = SIZE,
                                     .augment = true,
                                     .batch = BATCH,
                                     .slots = BATCH,
                                     .threads = 3};
}

static struct wsl_loader *open_loader(const struct wsl_loader_setup *setup)
{
    struct wsl_loader *loader;
    struct wsl_err err;

    if (wsl_loader_open(&loader, setup, &err) < 0)
        fail_msg("%s", err.text);
    return loader;
}

static struct wsl_batch next(struct wsl_loader *loader)
{
    struct wsl_batch batch;
    struct wsl_err err = {0};
    int r = wsl_loader_next(loader, &batch, &err);

    if (r != 0)
        fail_msg("next: %d %s", r, err.text);
    return batch;
}

/* `part` is the pictures from `first` of `whole`. */
static void check_same(const struct wsl_batch *whole, uint32_t first, const struct wsl_batch *part)
{
    assert_int_equal(whole->step, part->step);
    assert_memory_equal(whole->pixels + first * PICTURE, part->pixels, part->count * PICTURE);
    assert_memory_equal(whole->records + first, part->records, part->count * sizeof(uint64_t));
    for (uint32_t i = 0; i < part->count; i++) {
        uint32_t n = part->tag_begin[i + 1] - part->tag_begin[i];

        assert_int_equal(whole->tag_begin[first + i + 1] - whole->tag_begin[first + i], n);
        assert_memory_equal(whole->tags + whole->tag_begin[first + i],
                            part->tags + part->tag_begin[i], n * sizeof(uint32_t));
    }
}

static void ranks_see_together_what_one_sees(void **state)
{
    static const uint32_t cuts[] = {0, 5, 7, 10}; /* unequal shares: 5, 2, 3 */
    enum { RANKS = 3, STEPS = 14 };               /* over two ends of an epoch */
    struct wsl_loader_setup setup = setup_of(*state);
    struct wsl_loader *one = open_loader(&setup), *ranks[RANKS];

    for (int r = 0; r < RANKS; r++) {
        setup.first_slot = cuts[r];
        setup.slots = cuts[r + 1] - cuts[r];
        setup.threads = r + 1;
        setup.prefetch_batches = 1 + r;
        ranks[r] = open_loader(&setup);
    }
    for (uint64_t step = 0; step < STEPS; step++) {
        struct wsl_batch whole = next(one);

        assert_int_equal(whole.step, step);
        assert_int_equal(whole.count, BATCH);
        for (int r = 0; r < RANKS; r++) {
            struct wsl_batch part = next(ranks[r]);

            assert_int_equal(part.count, cuts[r + 1] - cuts[r]);
            check_same(&whole, cuts[r], &part);
        }
    }
    for (int r = 0; r < RANKS; r++)
        wsl_loader_close(ranks[r]);
    wsl_loader_close(one);
}

static void a_run_resumed_at_a_step_goes_on_the_same(void **state)
{
    static const uint64_t starts[] = {1, 5, 6, 13};
    struct wsl_loader_setup setup = setup_of(*state);

    setup.sampling = WSL_SAMPLING_SQUARE_ROOT;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        struct wsl_loader *first, *resumed;

        setup.start_step = 0;
        setup.threads = 4;
        first = open_loader(&setup);
        setup.start_step = starts[i];
        setup.threads = 1;
        resumed = open_loader(&setup);
        for (uint64_t step = 0; step < starts[i]; step++)
            next(first);
        for (int k = 0; k < 4; k++) {
            struct wsl_batch a = next(first), b = next(resumed);

            assert_int_equal(b.step, starts[i] + (uint64_t)k);
            check_same(&a, 0, &b);
        }
        wsl_loader_close(first);
        wsl_loader_close(resumed);
    }
}

/* What a process that is killed in mid-run leaves: the checksums of its batches, in a pipe. */
static void run_until_killed(const struct wsl_loader_setup *setup, int pipe_end)
{
    struct wsl_loader *loader;
    struct wsl_batch batch;

    if (wsl_loader_open(&loader, setup, NULL) < 0)
        _exit(1);
    while (wsl_loader_next(loader, &batch, NULL) == 0) {
        uint32_t crc = wsl_crc32c(0, batch.pixels, batch.count * PICTURE);

        if (write(pipe_end, &crc, sizeof crc) != (ssize_t)sizeof crc)
            _exit(1);
    }
    _exit(1);
}

/* kill -9 at any moment, then another world: each step's bytes are those of an undisturbed run. */
static void a_killed_run_goes_on_the_same_in_another_world(void **state)
{
    enum { BEFORE = 9, AFTER = 9, SLOTS = 4 };
    struct wsl_loader_setup setup = setup_of(*state);
    struct wsl_loader *whole, *part;
    int ends[2], status;
    uint32_t crc;
    pid_t child;

    setup.sampling = WSL_SAMPLING_SQUARE_ROOT;
    setup.threshold = 50;
    setup.window = 16;
    assert_int_equal(pipe(ends), 0);
    child = fork(); /* while there are no threads */
    assert_true(child >= 0);
    if (child == 0)
        run_until_killed(&setup, ends[1]);
    whole = open_loader(&setup);
    for (int step = 0; step < BEFORE; step++) {
        struct wsl_batch batch = next(whole);

        assert_int_equal(read(ends[0], &crc, sizeof crc), sizeof crc);
        assert_int_equal(crc, wsl_crc32c(0, batch.pixels, batch.count * PICTURE));
    }
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    close(ends[0]);
    close(ends[1]);
    setup.start_step = BEFORE;
    setup.first_slot = BATCH - SLOTS;
    setup.slots = SLOTS;
    setup.threads = 1;
    part = open_loader(&setup);
    for (int step = 0; step < AFTER; step++) {
        struct wsl_batch batch = next(whole), rest = next(part);

        check_same(&batch, BATCH - SLOTS, &rest);
    }
    wsl_loader_close(whole);
    wsl_loader_close(part);
}

static void open_order(const struct fixture *f, uint64_t seed, struct wsl_order *ret)
{
    const struct wsl_order_setup setup = {
        .fingerprint = wsl_dataset_fingerprint(f->dataset), .seed = seed, .records = TRAIN};

    assert_int_equal(wsl_order_open(ret, &setup, NULL), 0);
}

/* The order, the crop, the decoder and the colours, put together by hand. */
static void pictures_are_what_the_parts_say(void **state)
{
    struct fixture *f = *state;
    struct wsl_loader_setup setup = setup_of(f);
    struct wsl_loader *loader;
    struct wsl_order order;
    int flips = 0;

    open_order(f, setup.seed, &order);
    setup.jitter = (struct wsl_colour_jitter){0.4, 0.3, 0.2, 0.1};
    loader = open_loader(&setup);
    for (uint64_t step = 0; step < 8; step++) {
        struct wsl_batch batch = next(loader);

        assert_int_equal(batch.bad, 0);
        for (uint32_t slot = 0; slot < BATCH; slot++) {
            uint64_t position = step * BATCH + slot, record = wsl_order_record(&order, position);
            uint8_t expected[PICTURE];
            uint32_t tags[TAGS], n = batch.tag_begin[slot + 1] - batch.tag_begin[slot];
            int width, height;
            struct wsl_buf jpeg = jpeg_of(record, &width, &height);
            bool flip;
            struct wsl_rect part = wsl_augment_crop(width, height, 0.08,
                                                    wsl_order_augment_key(&order), position, &flip);

            assert_int_equal(batch.records[slot], record);
            assert_int_equal(n, tags_of(record, tags));
            assert_memory_equal(batch.tags + batch.tag_begin[slot], tags, n * sizeof *tags);
            assert_int_equal(wsl_image_decode_crop(NULL, jpeg.data, jpeg.size,
                                                   &(struct wsl_image_crop){part, SIZE, SIZE, flip},
                                                   expected, NULL),
                             0);
            wsl_augment_colours(&setup.jitter, wsl_order_augment_key(&order), position, expected,
                                PICTURE / 3);
            assert_memory_equal(batch.pixels + slot * PICTURE, expected, PICTURE);
            flips += flip;
            wsl_buf_free(&jpeg);
        }
    }
    assert_in_range(flips, 20, 60);
    wsl_loader_close(loader);
}

static void an_epoch_has_each_record_and_the_next_differs(void **state)
{
    struct wsl_loader_setup setup = setup_of(*state);
    struct wsl_loader *loader;
    uint64_t records[2 * TRAIN];
    int same = 0;

    setup.batch = setup.slots = 1; /* so that epochs end with batches */
    setup.end_step = sizeof records / sizeof *records;
    loader = open_loader(&setup);
    assert_int_equal(wsl_loader_epoch_length(loader), TRAIN);
    for (size_t epoch = 0; epoch < 2; epoch++) {
        int times[TRAIN] = {0};

        for (size_t i = 0; i < TRAIN; i++) {
            records[epoch * TRAIN + i] = next(loader).records[0];
            times[records[epoch * TRAIN + i]]++;
        }
        for (int i = 0; i < TRAIN; i++)
            assert_int_equal(times[i], 1);
    }
    for (size_t i = 0; i < TRAIN; i++)
        same += records[i] == records[TRAIN + i];
    assert_true(same < 9);
    assert_int_equal(wsl_loader_next(loader, &(struct wsl_batch){0}, NULL), WSL_LOADER_END);
    assert_int_equal(wsl_loader_next(loader, &(struct wsl_batch){0}, NULL), WSL_LOADER_END);
    wsl_loader_close(loader);
}

static void rare_tags_come_more_often_when_resampled(void **state)
{
    enum { EPOCHS = 60 };
    struct wsl_loader_setup setup = setup_of(*state);
    struct wsl_loader *loader;
    double times[TRAIN] = {0}, sum = 0;
    uint64_t length;

    setup.sampling = WSL_SAMPLING_SQUARE_ROOT;
    setup.threshold = 50;
    setup.image_size = 1; /* only the records are looked at */
    loader = open_loader(&setup);
    length = wsl_loader_epoch_length(loader);
    for (uint64_t left = EPOCHS * length; left > 0;) {
        struct wsl_batch batch = next(loader);

        for (uint32_t i = 0; i < batch.count && left > 0; i++, left--)
            times[batch.records[i]]++;
    }
    for (uint64_t i = 0; i < TRAIN; i++) {
        /* Images of each tag: 61, 31, 13, 4. */
        double rarest = i % 20 == 0 ? 4 : i % 5 == 0 ? 13 : i % 2 == 0 ? 31 : 61;
        double r = fmax(1, sqrt(50 / rarest));

        sum += r;
        if (fabs(times[i] / EPOCHS - r) > 0.25)
            fail_msg("record %d: %g times an epoch, %g wanted", (int)i, times[i] / EPOCHS, r);
    }
    assert_int_equal(length, (uint64_t)ceil(sum));
    wsl_loader_close(loader);
}

/* ---- evaluation ---- */

static void an_evaluation_covers_each_record_once(void **state)
{
    enum { RANKS = 2 };
    struct wsl_loader_setup setup = setup_of(*state);
    int times[HELDOUT] = {0};
    uint32_t pictures = 0;

    setup.split = WSL_SPLIT_HELDOUT;
    setup.augment = false;
    setup.single_pass = true;
    setup.slots = BATCH / RANKS;
    for (uint32_t rank = 0; rank < RANKS; rank++) {
        struct wsl_loader *loader;
        struct wsl_batch batch;
        int batches = 0, r;

        setup.first_slot = rank * setup.slots;
        loader = open_loader(&setup);
        while ((r = wsl_loader_next(loader, &batch, NULL)) == 0) {
            for (uint32_t i = 0; i < batch.count; i++)
                times[batch.records[i]]++;
            pictures += batch.count;
            batches++;
        }
        assert_int_equal(r, WSL_LOADER_END);
        assert_int_equal(batches, 3); /* on every rank, so that they stay in step */
        wsl_loader_close(loader);
    }
    assert_int_equal(pictures, HELDOUT);
    for (int i = 0; i < HELDOUT; i++)
        assert_int_equal(times[i], 1);
}

static void an_evaluation_leaves_bad_records_out(void **state)
{
    struct wsl_loader_setup setup = setup_of(*state);
    struct wsl_loader *loader;
    struct wsl_batch batch;
    int times[HELDOUT] = {0}, bad = 0;

    setup.split = WSL_SPLIT_HELDOUT;
    setup.augment = false;
    setup.single_pass = true;
    loader = open_loader(&setup);
    while (wsl_loader_next(loader, &batch, NULL) == 0) {
        bad += (int)batch.bad;
        for (uint32_t i = 0; i < batch.count; i++) {
            int width, height;
            struct wsl_buf jpeg = jpeg_of(batch.records[i], &width, &height);
            uint8_t expected[PICTURE];

            times[batch.records[i]]++;
            assert_int_equal(
                wsl_image_decode_crop(
                    NULL, jpeg.data, jpeg.size,
                    &(struct wsl_image_crop){wsl_augment_centre(width, height), SIZE, SIZE, false},
                    expected, NULL),
                0);
            assert_memory_equal(batch.pixels + i * PICTURE, expected, PICTURE);
            wsl_buf_free(&jpeg);
        }
    }
    for (uint64_t i = 0; i < HELDOUT; i++)
        assert_int_equal(times[i], some_bad(i) == SOUND);
    assert_int_equal(bad, 4); /* 2, 11, 20 and 22 */
    wsl_loader_close(loader);
}

/* ---- bad records ---- */

static void bad_records_are_replaced_counted_and_named(void **state)
{
    enum { STEPS = 12 };
    struct fixture *f = *state;
    struct wsl_loader_setup setup = setup_of(f);
    struct wsl_loader *a, *b;
    struct wsl_loader_stats stats;
    struct wsl_order order;
    uint64_t bad = 0, replaced = 0;

    open_order(f, setup.seed, &order);
    setup.end_step = STEPS;
    a = open_loader(&setup);
    setup.threads = 1;
    b = open_loader(&setup);
    for (uint64_t step = 0; step < STEPS; step++) {
        struct wsl_batch batch = next(a), same = next(b);

        check_same(&batch, 0, &same);
        assert_int_equal(batch.count, BATCH);
        assert_int_equal(batch.bad, same.bad);
        bad += batch.bad;
        for (uint32_t i = 0; i < BATCH; i++) {
            uint64_t wanted = wsl_order_record(&order, step * BATCH + i);

            assert_int_equal(some_bad(batch.records[i]), SOUND);
            /* The places of all others stay. */
            if (some_bad(wanted) == SOUND)
                assert_int_equal(batch.records[i], wanted);
            else
                replaced++;
        }
    }
    wsl_loader_stats(a, &stats);
    assert_int_equal(stats.images, STEPS * BATCH);
    assert_int_equal(stats.bad, bad);
    assert_true(replaced > 8 && bad >= replaced); /* a substitute may be bad itself */
    assert_int_equal(stats.bad_line_count, 8);
    for (int i = 0; i < stats.bad_line_count; i++) {
        unsigned long long record, picture;

        if (sscanf(stats.bad_lines[i], "record %llu of train (picture-%llu.jpg): ", &record,
                   &picture) != 2)
            fail_msg("%s", stats.bad_lines[i]);
        assert_int_equal(record, picture);
        assert_int_not_equal(some_bad(record), SOUND);
    }
    wsl_loader_close(a);
    wsl_loader_close(b);
}

static void a_data_set_of_bad_records_fails(void **state)
{
    struct wsl_loader_setup setup = setup_of(*state);
    struct wsl_loader *loader = open_loader(&setup);
    struct wsl_batch batch;
    struct wsl_err err = {0};

    assert_int_equal(wsl_loader_next(loader, &batch, &err), WSL_ECORRUPT);
    if (!strstr(err.text, "17 records in a row cannot be read") ||
        !strstr(err.text, "wslctl data verify") || strchr(err.text, '\n'))
        fail_msg("%s", err.text);
    wsl_loader_close(loader);
}

/* Both shards of the split lose all behind their first page, under the loader's eyes. */
static void a_shard_that_shrinks_is_named(void **state)
{
    struct fixture *f = *state;
    struct wsl_loader_setup setup = setup_of(f);
    struct wsl_loader *loader = open_loader(&setup);
    struct wsl_loader_stats stats;
    struct wsl_err err = {0};
    struct wsl_batch batch;
    char path[128];
    int r;

    next(loader);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/shard-0000%d.lmdb", f->folder, i);
        assert_int_equal(truncate(path, 4096), 0);
    }
    for (int i = 0; (r = wsl_loader_next(loader, &batch, &err)) == 0 && i < 20; i++)
        ;
    assert_int_equal(r, WSL_ECORRUPT);
    if (!strstr(err.text, "records in a row cannot be read") ||
        !strstr(err.text, "shard shard-0000") || !strstr(err.text, "shrank"))
        fail_msg("%s", err.text);
    wsl_loader_stats(loader, &stats);
    assert_int_equal(stats.bad_line_count, 8);
    if (!strstr(stats.bad_lines[0], "shard shard-0000") || !strstr(stats.bad_lines[0], "shrank"))
        fail_msg("%s", stats.bad_lines[0]);
    wsl_loader_close(loader);
}

/* ---- stopping, bad settings ---- */

static void it_stops_at_any_moment(void **state)
{
    struct wsl_loader_setup setup = setup_of(*state);

    for (int round = 0; round < 60; round++) {
        struct wsl_loader *loader;

        setup.threads = 1 + round % 8;
        setup.prefetch_batches = 1 + round % 3;
        loader = open_loader(&setup);
        for (int k = 0; k < round % 5; k++)
            next(loader);
        wsl_loader_close(loader);
    }
    wsl_loader_close(NULL);
}

static void must_not_open(const struct wsl_loader_setup *setup)
{
    struct wsl_loader *loader = NULL;
    struct wsl_err err = {0};

    assert_int_equal(wsl_loader_open(&loader, setup, &err), WSL_EINVAL);
    assert_true(err.text[0] != '\0');
    assert_null(loader);
}

static void bad_settings_are_refused(void **state)
{
    struct wsl_loader_setup setup = setup_of(*state);

    setup.first_slot = 1;
    must_not_open(&setup);
    setup.first_slot = UINT32_MAX;
    setup.slots = 2;
    must_not_open(&setup);
    setup = setup_of(*state);
    setup.slots = 0;
    must_not_open(&setup);
    setup = setup_of(*state);
    setup.image_size = 0;
    must_not_open(&setup);
    setup = setup_of(*state);
    setup.threads = 65;
    must_not_open(&setup);
    setup.threads = 0;
    must_not_open(&setup);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(ranks_see_together_what_one_sees, make_sound, clear),
        cmocka_unit_test_setup_teardown(a_run_resumed_at_a_step_goes_on_the_same, make_some_bad,
                                        clear),
        cmocka_unit_test_setup_teardown(a_killed_run_goes_on_the_same_in_another_world,
                                        make_some_bad, clear),
        cmocka_unit_test_setup_teardown(pictures_are_what_the_parts_say, make_sound, clear),
        cmocka_unit_test_setup_teardown(an_epoch_has_each_record_and_the_next_differs, make_sound,
                                        clear),
        cmocka_unit_test_setup_teardown(rare_tags_come_more_often_when_resampled, make_sound,
                                        clear),
        cmocka_unit_test_setup_teardown(an_evaluation_covers_each_record_once, make_sound, clear),
        cmocka_unit_test_setup_teardown(an_evaluation_leaves_bad_records_out, make_some_bad, clear),
        cmocka_unit_test_setup_teardown(bad_records_are_replaced_counted_and_named, make_some_bad,
                                        clear),
        cmocka_unit_test_setup_teardown(a_data_set_of_bad_records_fails, make_all_bad, clear),
        cmocka_unit_test_setup_teardown(a_shard_that_shrinks_is_named, make_sound, clear),
        cmocka_unit_test_setup_teardown(it_stops_at_any_moment, make_sound, clear),
        cmocka_unit_test_setup_teardown(bad_settings_are_refused, make_sound, clear),
    };

    return cmocka_run_group_tests_name("loader", tests, NULL, NULL);
}
