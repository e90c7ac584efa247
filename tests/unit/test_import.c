/* SPDX-License-Identifier: Apache-2.0 */
#include "base/file.h"
#include "base/rng.h"
#include "kernels/image/image.h"
#include "storage/dataset/dataset.h"
#include "storage/dataset/import.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <png.h>

#include <cmocka.h>

enum { PICTURES = 60 };

struct stopper {
    enum wsl_import_phase phase;
    atomic_bool cancel;
};

struct fixture {
    struct stopper stopper;
    char folder[64], manifest[96], output[96];
    struct wsl_buf lines;
    struct wsl_import_setup setup;
    struct wsl_import_result result;
    struct wsl_err err;
};

static const char *path_in(const struct fixture *f, const char *name)
{
    static char path[4][256];
    static int next;

    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", f->folder, name);
    return path[next];
}

static int make(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    strcpy(f->folder, "/tmp/wsl-test-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->manifest, sizeof f->manifest, "%s/list.tsv", f->folder);
    snprintf(f->output, sizeof f->output, "%s/made/set", f->folder);
    wsl_import_defaults(&f->setup);
    f->setup.source = f->manifest;
    f->setup.output = f->output;
    f->setup.threads = 2;
    *state = f;
    return 0;
}

static int clear(void **state)
{
    struct fixture *f = *state;

    wsl_file_remove_tree(f->folder, NULL);
    wsl_buf_free(&f->lines);
    free(f);
    return 0;
}

/* ---- pictures ---- */

/* Blocks of colours that follow from `number`; noise besides when `noisy`, so that it packs badly.
 */
static struct wsl_image draw(int width, int height, uint64_t number, bool noisy)
{
    struct wsl_image image = {malloc((size_t)width * (size_t)height * 3), width, height};
    struct wsl_rng rng;

    wsl_rng_start(&rng, 99, number);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++) {
                uint64_t block =
                    wsl_mix64(number, (uint64_t)(y / 8 * 1000 + x / 8) * 3 + (uint64_t)c);

                image.pixels[(y * width + x) * 3 + c] =
                    noisy ? (uint8_t)wsl_rng_u32(&rng) : (uint8_t)block;
            }
    return image;
}

static void put_bytes(const struct fixture *f, const char *name, const void *bytes, size_t size)
{
    assert_int_equal(wsl_file_write_atomic(path_in(f, name), bytes, size, NULL), 0);
}

static void put_jpeg(const struct fixture *f, const char *name, struct wsl_image image)
{
    struct wsl_buf jpeg = {0};

    assert_int_equal(wsl_image_encode_jpeg(&image, 95, &jpeg, NULL), 0);
    put_bytes(f, name, jpeg.data, jpeg.size);
    wsl_buf_free(&jpeg);
    wsl_image_free(&image);
}

/* The left half opaque, the right half a transparent black. */
static void put_png(const struct fixture *f, const char *name, struct wsl_image image)
{
    png_image png = {.version = PNG_IMAGE_VERSION,
                     .width = (png_uint_32)image.width,
                     .height = (png_uint_32)image.height,
                     .format = PNG_FORMAT_RGBA};
    size_t pixels = (size_t)image.width * (size_t)image.height;
    uint8_t *rgba = calloc(pixels, 4);

    for (size_t i = 0; i < pixels; i++) {
        if (i % (size_t)image.width >= (size_t)image.width / 2)
            continue;
        memcpy(rgba + 4 * i, image.pixels + 3 * i, 3);
        rgba[4 * i + 3] = 255;
    }
    assert_int_equal(png_image_write_to_file(&png, path_in(f, name), 0, rgba, 0, NULL), 1);
    free(rgba);
    wsl_image_free(&image);
}

static void add_line(struct fixture *f, const char *path, const char *tags)
{
    assert_int_equal(wsl_buf_add_format(&f->lines, "%s\t%s\n", path, tags), 0);
}

/* A set that can be imported: two tags, alternating, of which every fifth picture has both. */
static void put_set(struct fixture *f, int count)
{
    for (int i = 0; i < count; i++) {
        char name[32];

        snprintf(name, sizeof name, "p%03d.jpg", i);
        put_jpeg(f, name, draw(40, 30, (uint64_t)i, false));
        add_line(f, name, i % 5 == 0 ? "dog,cat" : i % 2 ? "dog" : "cat");
    }
}

/* ---- the import and what it made ---- */

static int import(struct fixture *f)
{
    if (f->setup.kind == WSL_IMPORT_MANIFEST && f->lines.size > 0)
        put_bytes(f, "list.tsv", f->lines.data, f->lines.size);
    memset(&f->err, 0, sizeof f->err);
    return wsl_import_run(&f->setup, &f->result, &f->err);
}

static uint64_t bad_count(const struct wsl_import_result *n)
{
    uint64_t sum = 0;

    for (int i = 0; i < WSL_IMPORT_FAULTS; i++)
        sum += n->quarantined[i];
    return sum;
}

static void import_well(struct fixture *f)
{
    const struct wsl_import_result *n = &f->result;

    if (import(f) < 0)
        fail_msg("%s", f->err.text);
    assert_int_equal(n->seen, n->excluded + bad_count(n) + n->duplicates + n->untagged + n->train +
                                  n->heldout);
}

static void nothing_is_left(const struct fixture *f)
{
    char partial[128];

    snprintf(partial, sizeof partial, "%s.partial", f->output);
    assert_false(wsl_file_exists(f->output));
    assert_false(wsl_file_exists(partial));
}

static void must_fail(struct fixture *f, int code, const char *word)
{
    int r = import(f);

    if (r != code || !strstr(f->err.text, word))
        fail_msg("%d, not %d with \"%s\": %s", r, code, word, f->err.text);
    nothing_is_left(f);
}

static struct wsl_dataset *open_made(const struct fixture *f)
{
    struct wsl_dataset *ds = NULL;
    struct wsl_err err;

    if (wsl_dataset_open(&ds, f->output, &err) < 0 || wsl_dataset_verify(ds, NULL, NULL, &err) < 0)
        fail_msg("%s", err.text);
    return ds;
}

/* The record of a source, in whichever split. */
static bool find_record(struct wsl_dataset *ds, const char *source, struct wsl_record *ret)
{
    for (int s = 0; s < 2; s++)
        for (uint64_t i = 0; i < wsl_dataset_count(ds, (enum wsl_split)s); i++) {
            assert_int_equal(wsl_dataset_read(ds, (enum wsl_split)s, i, ret, NULL), 0);
            if (strcmp(ret->source, source) == 0)
                return true;
        }
    return false;
}

static bool has_tag(struct wsl_dataset *ds, const struct wsl_record *record, const char *name)
{
    for (int i = 0; i < record->tag_count; i++)
        if (strcmp(wsl_dataset_tag(ds, record->tags[i])->name, name) == 0)
            return true;
    return false;
}

static void must_have_text(const struct fixture *f, const char *file, const char *text)
{
    struct wsl_buf b = {0};
    char path[160];

    snprintf(path, sizeof path, "%s/%s", f->output, file);
    assert_int_equal(wsl_file_read(path, 1 << 20, &b, NULL), 0);
    if (b.size == 0 || !strstr((char *)b.data, text))
        fail_msg("no \"%s\" in %s:\n%s", text, file, b.size ? (char *)b.data : "");
    wsl_buf_free(&b);
}

/* ---- the good cases ---- */

static void tags_become_records(void **state)
{
    struct fixture *f = *state;
    struct wsl_buf file = {0};
    struct wsl_dataset *ds;
    struct wsl_record record;
    uint64_t with_dog = 0;

    put_set(f, PICTURES);
    f->setup.name = "pets";
    import_well(f);
    assert_int_equal(f->result.train + f->result.heldout, PICTURES);
    assert_int_equal(f->result.kept_jpegs, PICTURES);
    ds = open_made(f);
    assert_string_equal(wsl_dataset_name(ds), "pets");
    assert_string_equal(wsl_dataset_kind(ds), "tags");
    assert_string_equal(wsl_dataset_fingerprint(ds), f->result.fingerprint);
    assert_int_equal(wsl_dataset_count(ds, WSL_SPLIT_TRAIN), f->result.train);
    assert_in_range(f->result.heldout, 1, 20); /* 6 expected; the hash is fixed */
    assert_int_equal(wsl_dataset_tag_count(ds), 2);
    for (size_t t = 0; t < 2; t++) {
        const struct wsl_tag *tag = wsl_dataset_tag(ds, t);

        with_dog += strcmp(tag->name, "dog") == 0 ? tag->train + tag->heldout : 0;
    }
    assert_int_equal(with_dog, 36); /* 30 odd ones, and 6 even ones that have both */
    /* A small JPEG is kept byte for byte. */
    assert_true(find_record(ds, "p010.jpg", &record));
    assert_true(has_tag(ds, &record, "dog") && has_tag(ds, &record, "cat"));
    assert_int_equal(record.width, 40);
    assert_int_equal(wsl_file_read(path_in(f, "p010.jpg"), 1 << 20, &file, NULL), 0);
    assert_int_equal(record.jpeg_size, file.size);
    assert_memory_equal(record.jpeg, file.data, file.size);
    wsl_buf_free(&file);
    wsl_dataset_close(ds);
    must_have_text(f, "dataset.json", "\"seen\": 60");
}

static void pictures_are_converted(void **state)
{
    struct fixture *f = *state;
    struct wsl_image_limits limits = {0};
    struct wsl_dataset *ds;
    struct wsl_record record;
    struct wsl_image image;

    put_set(f, 20);
    put_png(f, "alpha.png", draw(64, 64, 500, false));
    put_png(f, "wide.png", draw(1000, 100, 501, false));
    put_jpeg(f, "large.jpg", draw(600, 300, 502, false));
    add_line(f, "alpha.png", "cat");
    add_line(f, "wide.png", "cat");
    add_line(f, path_in(f, "large.jpg"), "dog"); /* absolute paths work too */
    f->setup.side_max = 128;
    import_well(f);
    assert_int_equal(f->result.kept_jpegs, 20);
    ds = open_made(f);
    assert_true(find_record(ds, "alpha.png", &record));
    assert_int_equal(wsl_image_decode(record.jpeg, record.jpeg_size, &limits, &image, NULL), 0);
    assert_int_equal(image.width, 64);
    for (int y = 4; y < 60; y++) /* away from the border, where JPEG rings */
        for (int x = 44; x < 60; x++)
            assert_in_range(image.pixels[(y * 64 + x) * 3], 250, 255); /* laid on white */
    wsl_image_free(&image);
    assert_true(find_record(ds, "wide.png", &record));
    assert_int_equal(record.width, 128);
    assert_in_range(record.height, 12, 13);
    assert_true(find_record(ds, path_in(f, "large.jpg"), &record));
    assert_int_equal(record.width, 128);
    assert_int_equal(record.height, 64);
    wsl_dataset_close(ds);
}

static void equal_pixels_become_one_record(void **state)
{
    struct fixture *f = *state;
    struct wsl_dataset *ds;
    struct wsl_record record;

    put_set(f, 20);
    for (int i = 0; i < 3; i++) {
        const char *names[] = {"a.png", "b.png", "c.png"},
                   *tags[] = {"cat", "dog", "cat,Dog , bird"};

        put_png(f, names[i], draw(32, 32, 700, false));
        add_line(f, names[i], tags[i]);
    }
    add_line(f, "p003.jpg", "cat"); /* the same file twice */
    import_well(f);
    assert_int_equal(f->result.duplicates, 3);
    ds = open_made(f);
    assert_true(find_record(ds, "a.png", &record));
    assert_int_equal(record.tag_count, 3);
    assert_false(find_record(ds, "b.png", &record));
    assert_true(find_record(ds, "p003.jpg", &record));
    assert_true(has_tag(ds, &record, "dog") && has_tag(ds, &record, "cat"));
    wsl_dataset_close(ds);
}

static void threads_do_not_change_the_result(void **state)
{
    struct fixture *f = *state;
    char first[40] = "";
    uint64_t train = 0;

    put_set(f, PICTURES);
    add_line(f, "gone.jpg", "dog");
    for (int threads = 1; threads <= 5; threads += 2) {
        f->setup.threads = threads;
        import_well(f);
        if (!*first) {
            strcpy(first, f->result.fingerprint);
            train = f->result.train;
        }
        assert_string_equal(f->result.fingerprint, first);
        assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    }
    f->setup.seed = 1;
    f->setup.heldout = 0.5;
    import_well(f);
    assert_string_not_equal(f->result.fingerprint, first);
    assert_in_range(f->result.train, 15, 45);
    assert_true(f->result.train < train);
}

static void words_are_chosen(void **state)
{
    static const char *const exclude[] = {"Magick"}, *const ignore[] = {"unsorted"};
    static const char *const paths[] = {"skip/*"};
    struct fixture *f = *state;
    struct wsl_dataset *ds;

    put_set(f, 30);
    mkdir(path_in(f, "skip"), 0755);
    put_jpeg(f, "skip/a.jpg", draw(20, 20, 800, false));
    put_jpeg(f, "m.jpg", draw(20, 20, 801, false));
    put_jpeg(f, "rare.jpg", draw(20, 20, 802, false));
    put_jpeg(f, "only.jpg", draw(20, 20, 803, false));
    add_line(f, "skip/a.jpg", "dog");
    add_line(f, "m.jpg", "dog, MAGICK");
    add_line(f, "rare.jpg", "yak");
    add_line(f, "only.jpg", "Unsorted");
    f->setup.exclude_tags = exclude;
    f->setup.exclude_tag_count = 1;
    f->setup.ignore_tags = ignore;
    f->setup.ignore_tag_count = 1;
    f->setup.exclude_paths = paths;
    f->setup.exclude_path_count = 1;
    f->setup.min_images = 2;
    import_well(f);
    assert_int_equal(f->result.excluded, 2);
    assert_int_equal(f->result.untagged, 2);
    assert_int_equal(f->result.tags, 2);
    assert_int_equal(f->result.tags_rare, 1);
    assert_int_equal(f->result.train + f->result.heldout, 30);
    ds = open_made(f);
    assert_int_equal(wsl_dataset_tag_count(ds), 2);
    wsl_dataset_close(ds);
}

static void many_tags_and_small_shards(void **state)
{
    struct fixture *f = *state;
    struct wsl_buf tags = {0};
    struct wsl_dataset *ds;
    struct wsl_record record;

    for (int i = 0; i < 200; i++)
        wsl_buf_add_format(&tags, "tag%03d,", i);
    for (int i = 0; i < 50; i++) {
        char name[32];

        snprintf(name, sizeof name, "n%d.jpg", i);
        put_jpeg(f, name, draw(200, 200, (uint64_t)i, true));
        add_line(f, name, i == 0 ? (char *)tags.data : "tag000,tag001");
    }
    f->setup.shard_bytes = 1 << 20;
    f->setup.heldout = 0;
    import_well(f);
    assert_int_equal(f->result.heldout, 0);
    assert_in_range(f->result.shards, 2, 8);
    ds = open_made(f);
    assert_int_equal(wsl_dataset_shard_count(ds, WSL_SPLIT_TRAIN), f->result.shards);
    assert_int_equal(wsl_dataset_bytes(ds, WSL_SPLIT_TRAIN), f->result.bytes);
    assert_true(find_record(ds, "n0.jpg", &record));
    assert_int_equal(record.tag_count, 64); /* the rarest of its 200 */
    assert_false(has_tag(ds, &record, "tag000"));
    /* Its other tags were left out, so they count no pictures. */
    assert_int_equal(wsl_dataset_tag(ds, 0)->train, 49);
    wsl_buf_free(&tags);
    wsl_dataset_close(ds);
}

static void folders_become_labels(void **state)
{
    static const char *const labels[] = {"apple", "boat", "Cat", "few", "out"};
    static const char *const exclude[] = {"out"};
    struct fixture *f = *state;
    struct wsl_dataset *ds;
    struct wsl_record record;
    char name[64];

    mkdir(path_in(f, "tree"), 0755);
    for (int l = 0; l < 5; l++) {
        snprintf(name, sizeof name, "tree/%s/deep/er", labels[l]);
        assert_int_equal(wsl_file_make_folders(path_in(f, name), NULL), 0);
        for (int i = 0; i < (l == 3 ? 2 : 12); i++) {
            snprintf(name, sizeof name, "tree/%s/%s%d.PNG", labels[l], i % 2 ? "deep/er/" : "", i);
            put_png(f, name, draw(24, 24, (uint64_t)(l * 100 + i), false));
        }
    }
    put_bytes(f, "tree/apple/words.txt", "apple", 5);
    put_bytes(f, "tree/loose.png", "no label", 8);
    put_bytes(f, "tree/boat/rubbish.jpg", "rubbish", 7);
    put_png(f, "tree/boat/twin.png", draw(24, 24, 2, false));    /* an apple's pixels */
    put_png(f, "tree/boat/twice.png", draw(24, 24, 100, false)); /* a boat's */
    assert_int_equal(symlink("../boat", path_in(f, "tree/apple/link")), 0);
    f->setup.kind = WSL_IMPORT_FOLDERS;
    f->setup.source = path_in(f, "tree/");
    f->setup.exclude_tags = exclude;
    f->setup.exclude_tag_count = 1;
    f->setup.min_images = 3;
    import_well(f);
    assert_int_equal(f->result.seen, 4 * 12 + 2 + 3);
    assert_int_equal(f->result.other, 3); /* the text, the loose one, the link */
    assert_int_equal(f->result.excluded, 12);
    assert_int_equal(f->result.untagged, 2);
    assert_int_equal(f->result.duplicates, 1);
    assert_int_equal(f->result.quarantined[WSL_IMPORT_FAULT_CONFLICT], 1);
    assert_int_equal(bad_count(&f->result), 2);
    must_have_text(f, "quarantine.tsv",
                   "boat/twin.png\tsame pixels as another with another label: "
                   "as apple/2.PNG");
    ds = open_made(f);
    assert_string_equal(wsl_dataset_kind(ds), "labels");
    assert_int_equal(wsl_dataset_tag_count(ds), 3);
    assert_true(find_record(ds, "Cat/0.PNG", &record));
    assert_int_equal(record.tag_count, 1);
    assert_true(has_tag(ds, &record, "Cat"));
    wsl_dataset_close(ds);
    assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    f->setup.max_tags = 2;
    f->setup.heldout = 0;
    import_well(f);
    assert_int_equal(f->result.tags, 2);
    assert_int_equal(f->result.train, 24);
}

static void wordnet_joins_spellings(void **state)
{
    static const char index[] = "canine n 1 1 @ 1 1 02083346  \ndog n 1 1 @ 1 1 02084071  \n"
                                "cat n 1 1 @ 1 1 02121620  \ndomestic_dog n 1 1 @ 1 1 02084071  \n";
    struct fixture *f = *state;
    struct wsl_dataset *ds;

    put_set(f, 30);
    put_jpeg(f, "x.jpg", draw(20, 20, 900, false));
    put_jpeg(f, "y.jpg", draw(20, 20, 901, false));
    add_line(f, "x.jpg", "#DomesticDogs,qwertz");
    add_line(f, "y.jpg", "qwertz");
    put_bytes(f, "index.noun", index, strlen(index));
    put_bytes(f, "noun.exc", "oxen ox\n", 8);
    f->setup.wordnet = f->folder;
    f->setup.only_nouns = true;
    f->setup.heldout = 0;
    import_well(f);
    assert_int_equal(f->result.tags_before, 4);
    assert_int_equal(f->result.tags_unknown, 1);
    assert_int_equal(f->result.tags_merged, 1);
    assert_int_equal(f->result.untagged, 1);
    ds = open_made(f);
    assert_int_equal(wsl_dataset_tag_count(ds), 2);
    assert_string_equal(wsl_dataset_tag(ds, 0)->name, "dog");
    assert_string_equal(wsl_dataset_tag(ds, 0)->synset, "n02084071");
    assert_int_equal(wsl_dataset_tag(ds, 0)->train, 19);
    wsl_dataset_close(ds);
    assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    put_bytes(f, "index.noun", "dog n x\n", 8);
    must_fail(f, WSL_ECORRUPT, "index.noun:1");
    f->setup.wordnet = "/nonexistent";
    must_fail(f, WSL_ENOENT, "/nonexistent/index.noun");
}

/* ---- bad input ---- */

static void cut_file(const struct fixture *f, const char *from, const char *to)
{
    struct wsl_buf b = {0};

    assert_int_equal(wsl_file_read(path_in(f, from), 1 << 20, &b, NULL), 0);
    put_bytes(f, to, b.data, b.size / 2);
    wsl_buf_free(&b);
}

static void bad_lines_go_to_quarantine(void **state)
{
    struct fixture *f = *state;
    char *longest = malloc(70000);

    put_set(f, 20);
    put_png(f, "good.png", draw(64, 64, 600, true));
    cut_file(f, "p001.jpg", "cut.jpg");
    cut_file(f, "good.png", "cut.png");
    put_bytes(f, "text.jpg", "this is no picture\n", 19);
    put_bytes(f, "empty.jpg", "", 0);
    mkdir(path_in(f, "folder.jpg"), 0755);
    mkfifo(path_in(f, "pipe.jpg"), 0644);
    symlink("nowhere", path_in(f, "dangling.jpg"));
    memset(longest, 'x', 69999);
    longest[69999] = '\0';
    wsl_buf_add_text(&f->lines, "# a comment\n\n"); /* lines 21 and 22 */
    add_line(f, "cut.jpg", "dog");
    add_line(f, "cut.png", "dog");
    add_line(f, "text.jpg", "dog");
    add_line(f, "empty.jpg", "dog");
    add_line(f, "folder.jpg", "dog");
    add_line(f, "pipe.jpg", "dog");
    add_line(f, "dangling.jpg", "dog");
    add_line(f, "gone.jpg", "dog");
    add_line(f, "p001.jpg/below", "dog");
    add_line(f, "p002.jpg", " , #,_");       /* 32 */
    wsl_buf_add_text(&f->lines, "no tab\n"); /* 33 */
    add_line(f, "", "dog");
    add_line(f, "p003.jpg", "caf\xe9");
    wsl_buf_add(&f->lines, "p0\0.jpg\tdog\n", 12);
    wsl_buf_add_format(&f->lines, "%s\tdog\n", longest);      /* 37 */
    wsl_buf_add_format(&f->lines, "p004.jpg\t%s\r\n", "dog"); /* a good one, from Windows */
    wsl_buf_add_text(&f->lines, "p005.jpg\tdog");             /* and one without an end */
    import_well(f);
    assert_int_equal(f->result.quarantined[WSL_IMPORT_FAULT_DAMAGED], 3);
    assert_int_equal(f->result.quarantined[WSL_IMPORT_FAULT_UNSUPPORTED], 1);
    assert_int_equal(f->result.quarantined[WSL_IMPORT_FAULT_UNREADABLE], 2);
    assert_int_equal(f->result.quarantined[WSL_IMPORT_FAULT_MISSING], 3);
    assert_int_equal(f->result.quarantined[WSL_IMPORT_FAULT_NO_TAGS], 1);
    assert_int_equal(f->result.quarantined[WSL_IMPORT_FAULT_LINE], 5);
    assert_int_equal(f->result.duplicates, 2);
    assert_int_equal(f->result.train + f->result.heldout, 20);
    must_have_text(f, "quarantine.tsv", "\ncut.png\tdamaged picture: ");
    must_have_text(f, "quarantine.tsv", "\ntext.jpg\tunknown format: ");
    must_have_text(f, "quarantine.tsv", "\nempty.jpg\tdamaged picture: the file is empty\n");
    must_have_text(f, "quarantine.tsv", "\npipe.jpg\tunreadable file: not a regular file\n");
    must_have_text(f, "quarantine.tsv", "\ngone.jpg\tmissing file\n");
    must_have_text(f, "quarantine.tsv", "\np002.jpg\tno tags\n");
    must_have_text(f, "quarantine.tsv", "\nline 33\tbad line: no tab between path and tags\n");
    must_have_text(f, "quarantine.tsv", "\nline 35\tbad line: not UTF-8");
    must_have_text(f, "quarantine.tsv", "\nline 37\tbad line: longer than 65536 bytes\n");
    free(longest);
}

static void nothing_usable_is_a_clear_failure(void **state)
{
    struct fixture *f = *state;

    add_line(f, "gone1.jpg", "dog");
    add_line(f, "gone2.jpg", "cat");
    must_fail(f, WSL_EINVAL,
              "of 2 pictures 2 cannot be used, the first is gone1.jpg: missing file");
    wsl_buf_clear(&f->lines);
    wsl_buf_add_text(&f->lines, "# nothing\n");
    must_fail(f, WSL_EINVAL, "0 pictures");
    wsl_buf_clear(&f->lines);
    put_jpeg(f, "a.jpg", draw(20, 20, 1, false));
    put_jpeg(f, "b.jpg", draw(20, 20, 2, false));
    add_line(f, "a.jpg", "dog");
    add_line(f, "b.jpg", "dog");
    f->setup.heldout = 0;
    must_fail(f, WSL_EINVAL, "at least 2 tags");
    f->setup.min_images = 3;
    must_fail(f, WSL_EINVAL, "2 have no tag");
}

static void settings_are_checked(void **state)
{
    struct fixture *f = *state;
    struct wsl_import_setup good = f->setup;

    put_set(f, 2);
#define WRONG(field, value, word)                                                                  \
    f->setup = good;                                                                               \
    f->setup.field = value;                                                                        \
    must_fail(f, WSL_EINVAL, word)
    WRONG(source, NULL, "source:");
    WRONG(output, "", "output:");
    WRONG(output, "/tmp/..", "output:");
    WRONG(heldout, 0.0 / 0.0, "heldout:");
    WRONG(heldout, 0.95, "heldout:");
    WRONG(side_max, 7, "side_max:");
    WRONG(quality, 101, "quality:");
    WRONG(threads, -1, "threads:");
    WRONG(shard_bytes, 1, "shard_bytes:");
    WRONG(name, "a\nb", "name:");
    WRONG(kind, WSL_IMPORT_FOLDERS, "not a folder");
    WRONG(source, f->folder, "not a manifest");
    f->setup = good;
    f->setup.source = "/nonexistent/list.tsv";
    must_fail(f, WSL_ENOENT, "/nonexistent/list.tsv");
    f->setup = good;
    f->setup.output = path_in(f, "p000.jpg");
    assert_int_equal(import(f), WSL_EEXIST); /* and the file is still there */
    assert_true(wsl_file_exists(f->setup.output));
}

static void one_import_at_a_time(void **state)
{
    struct fixture *f = *state;
    char partial[128], stray[160];
    int lock;

    put_set(f, PICTURES);
    snprintf(partial, sizeof partial, "%s.partial", f->output);
    snprintf(stray, sizeof stray, "%s/shard-00007.lmdb", partial);
    assert_int_equal(wsl_file_make_folders(partial, NULL), 0);
    assert_int_equal(wsl_file_write_atomic(stray, "left over", 9, NULL), 0);
    lock = open(partial, O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(lock, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(import(f), WSL_EEXIST);
    assert_non_null(strstr(f->err.text, "another import"));
    assert_true(wsl_file_exists(stray)); /* not ours to remove */
    close(lock);
    import_well(f); /* the other one is dead: its files are swept away */
    assert_false(wsl_file_exists(partial));
    snprintf(stray, sizeof stray, "%s/shard-00007.lmdb", f->output);
    assert_false(wsl_file_exists(stray));
    assert_int_equal(import(f), WSL_EEXIST);
    assert_non_null(strstr(f->err.text, "exists"));
    wsl_dataset_close(open_made(f)); /* unharmed */
}

static void stop_at(void *context, const struct wsl_import_progress *progress)
{
    struct stopper *stopper = context;

    if (progress->phase == stopper->phase)
        atomic_store(&stopper->cancel, true);
}

static void a_cancel_leaves_nothing(void **state)
{
    struct fixture *f = *state;

    atomic_init(&f->stopper.cancel, true);
    put_set(f, PICTURES);
    f->setup.cancel = &f->stopper.cancel;
    must_fail(f, WSL_ECANCELLED, "cancelled"); /* before it began */
    f->setup.progress = stop_at;
    f->setup.context = &f->stopper;
    for (int phase = WSL_IMPORT_LIST; phase <= WSL_IMPORT_WRITE; phase++) {
        f->stopper.phase = (enum wsl_import_phase)phase;
        atomic_store(&f->stopper.cancel, false);
        must_fail(f, WSL_ECANCELLED, "cancelled");
    }
}

static void a_file_limit_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct rlimit before, small = {100000, 100000};

    for (int i = 0; i < 40; i++) {
        char name[32];

        snprintf(name, sizeof name, "n%d.jpg", i);
        put_jpeg(f, name, draw(100, 100, (uint64_t)i, true));
        add_line(f, name, i % 2 ? "dog" : "cat");
    }
    put_bytes(f, "list.tsv", f->lines.data, f->lines.size);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    must_fail(f, WSL_ENOSPC, "made/set.partial");
    setrlimit(RLIMIT_FSIZE, &before);
    import_well(f);
}

/* A file system of 1 MiB in a mount namespace of our own: for root only. */
static void a_full_disk_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t whole;
    char size[64];

    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        print_message("# may not mount: the full disk was not tried\n");
        return;
    }
    for (int i = 0; i < 60; i++) {
        char name[32];

        snprintf(name, sizeof name, "n%d.jpg", i);
        put_jpeg(f, name, draw(150, 150, (uint64_t)i, true));
        add_line(f, name, i % 2 ? "dog" : "cat");
    }
    import_well(f);
    assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    whole = f->result.bytes;
    /* Not even room for the spool; then for that, but not for the shards besides. */
    for (unsigned third = 2; third <= 4; third += 2) {
        snprintf(size, sizeof size, "size=%llu", (unsigned long long)whole * third / 3);
        assert_int_equal(mount("none", path_in(f, "made"), "tmpfs", 0, size), 0);
        must_fail(f, WSL_ENOSPC, third == 2 ? "No space left" : "is full");
        assert_int_equal(umount(path_in(f, "made")), 0);
    }
}

static void real_drawings(void **state)
{
    static const char folder[] = "/usr/share/openclipart/png/animals/mammals";
    struct fixture *f = *state;

    if (!wsl_file_exists(folder)) {
        print_message("# openclipart-png is not installed: no real drawings were imported\n");
        return;
    }
    f->setup.kind = WSL_IMPORT_FOLDERS;
    f->setup.source = "/usr/share/openclipart/png/animals";
    f->setup.side_max = 96;
    import_well(f);
    assert_in_range(f->result.train, 100, 1000);
    wsl_dataset_close(open_made(f));
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, make, clear)
    const struct CMUnitTest tests[] = {
        CASE(tags_become_records),
        CASE(pictures_are_converted),
        CASE(equal_pixels_become_one_record),
        CASE(threads_do_not_change_the_result),
        CASE(words_are_chosen),
        CASE(many_tags_and_small_shards),
        CASE(folders_become_labels),
        CASE(wordnet_joins_spellings),
        CASE(bad_lines_go_to_quarantine),
        CASE(nothing_usable_is_a_clear_failure),
        CASE(settings_are_checked),
        CASE(one_import_at_a_time),
        CASE(a_cancel_leaves_nothing),
        CASE(a_file_limit_leaves_nothing),
        CASE(real_drawings),
        CASE(a_full_disk_leaves_nothing), /* last: it changes the process's mounts */
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
