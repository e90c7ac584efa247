/* SPDX-License-Identifier: Apache-2.0 */
#include "import_world.h"

#include "base/file.h"
#include "kernels/image/meta.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* Puts a segment behind the first two bytes of a JPEG of the folder. */
static void add_segment(const struct fixture *f, const char *name, const char *to,
                        const uint8_t *segment, size_t size)
{
    struct wsl_buf file = {0}, out = {0};

    assert_int_equal(wsl_file_read(path_in(f, name), 1 << 20, &file, NULL), 0);
    wsl_buf_add(&out, file.data, 2);
    wsl_buf_add(&out, segment, size);
    wsl_buf_add(&out, file.data + 2, file.size - 2);
    put_bytes(f, to, out.data, out.size);
    wsl_buf_free(&file);
    wsl_buf_free(&out);
}

static void copy_data(const struct fixture *f, const char *name)
{
    struct wsl_buf file = {0};
    char path[512];

    snprintf(path, sizeof path, "%s/%s", WSL_TEST_DATA, name);
    assert_int_equal(wsl_file_read(path, 1 << 22, &file, NULL), 0);
    put_bytes(f, name, file.data, file.size);
    wsl_buf_free(&file);
}

static void pictures_are_stored_as_seen(void **state)
{
    /* Exif: turn by a quarter. A comment, which changes nothing. */
    static const uint8_t exif[] = "\xff\xe1\0\x22"
                                  "Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0";
    static const uint8_t comment[] = "\xff\xfe\0\4hi";
    struct fixture *f = *state;
    struct wsl_dataset *ds;
    struct wsl_record record;
    struct wsl_jpeg_header look;

    put_set(f, 20);
    put_jpeg(f, "a.jpg", draw(48, 32, 950, false));
    put_jpeg(f, "b.jpg", draw(48, 32, 951, false));
    add_segment(f, "a.jpg", "turned.jpg", exif, sizeof exif - 1);
    add_segment(f, "b.jpg", "commented.jpg", comment, sizeof comment - 1);
    copy_data(f, "cmyk.jpg");
    copy_data(f, "progressive.jpg");
    add_line(f, "turned.jpg", "dog");
    add_line(f, "commented.jpg", "dog");
    add_line(f, "cmyk.jpg", "dog");
    add_line(f, "progressive.jpg", "dog");
    import_well(f);
    assert_int_equal(f->result.kept_jpegs, 22);
    ds = open_made(f);
    assert_true(find_record(ds, "turned.jpg", &record));
    assert_int_equal(record.width, 32);
    assert_int_equal(record.height, 48);
    assert_int_equal(wsl_jpeg_header(record.jpeg, record.jpeg_size, &look, NULL), 0);
    assert_int_equal(look.orientation, 1);
    assert_true(find_record(ds, "cmyk.jpg", &record));
    assert_int_equal(wsl_jpeg_header(record.jpeg, record.jpeg_size, &look, NULL), 0);
    assert_int_equal(look.components, 3);
    assert_true(find_record(ds, "progressive.jpg", &record));
    assert_int_equal(wsl_jpeg_header(record.jpeg, record.jpeg_size, &look, NULL), 0);
    assert_true(look.progressive); /* kept */
    wsl_dataset_close(ds);
    assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    f->setup.transcode = true;
    import_well(f);
    assert_int_equal(f->result.kept_jpegs, 22);
    assert_int_equal(f->result.transcoded, 22);
    ds = open_made(f);
    assert_true(find_record(ds, "progressive.jpg", &record));
    assert_int_equal(wsl_jpeg_header(record.jpeg, record.jpeg_size, &look, NULL), 0);
    assert_false(look.progressive);
    wsl_dataset_close(ds);
}

/* Without decoding: cuts are found, equal files joined, what has to be converted still is. */
static void headers_are_enough(void **state)
{
    static const uint8_t comment[] = "\xff\xfe\0\4hi";
    struct fixture *f = *state;
    struct wsl_buf file = {0};

    put_set(f, 30);
    add_segment(f, "p001.jpg", "again.jpg", comment, sizeof comment - 1);
    assert_int_equal(wsl_file_read(path_in(f, "p002.jpg"), 1 << 20, &file, NULL), 0);
    put_bytes(f, "cut.jpg", file.data, file.size - 2);
    wsl_buf_free(&file);
    put_png(f, "c.png", draw(64, 64, 960, false));
    add_line(f, "again.jpg", "bird");
    add_line(f, "cut.jpg", "dog");
    add_line(f, "c.png", "dog");
    f->setup.headers_only = true;
    import_well(f);
    assert_int_equal(f->result.duplicates, 1);
    assert_int_equal(f->result.kept_jpegs, 30);
    assert_int_equal(f->result.train + f->result.heldout, 31);
    must_have_text(f, "quarantine.tsv", "cut.jpg\t0\tdamaged picture: bad JPEG at byte ");
    must_have_text(f, "quarantine.tsv", ": it ends within the pixels\n");
    wsl_dataset_close(open_made(f));
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
        assert_int_equal(wsl_file_make_directories(path_in(f, name), NULL), 0);
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
    f->setup.kind = WSL_IMPORT_DIRECTORIES;
    f->setup.source = path_in(f, "tree/");
    f->setup.exclude_tags = exclude;
    f->setup.exclude_tag_count = 1;
    f->setup.min_images = 3;
    import_well(f);
    assert_int_equal(f->result.seen, 4 * 12 + 2 + 3);
    assert_int_equal(f->result.skipped[WSL_IMPORT_SKIP_NOT_IMAGE], 1);
    assert_int_equal(f->result.skipped[WSL_IMPORT_SKIP_NO_LABEL], 1);
    assert_int_equal(f->result.skipped[WSL_IMPORT_SKIP_LINK_AGAIN], 1);
    assert_string_equal(f->result.skipped_first[WSL_IMPORT_SKIP_LINK_AGAIN], "apple/link");
    must_have_text(f, "skipped.tsv", "apple/words.txt\t0\tnot an image by its name\n");
    must_have_text(f, "skipped.tsv", "loose.png\t0\tin no directory of a label\n");
    assert_int_equal(f->result.excluded, 12);
    assert_int_equal(f->result.untagged, 2);
    assert_int_equal(f->result.duplicates, 1);
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_CONFLICT], 1);
    assert_int_equal(bad_count(&f->result), 2);
    must_have_text(f, "quarantine.tsv",
                   "boat/twin.png\t0\tsame pixels as another with another label: "
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
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_DAMAGED], 3);
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_UNSUPPORTED], 1);
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_UNREADABLE], 2);
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_MISSING], 3);
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_NO_TAGS], 1);
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_LINE], 5);
    assert_int_equal(f->result.duplicates, 2);
    assert_int_equal(f->result.train + f->result.heldout, 20);
    must_have_text(f, "quarantine.tsv", "\ncut.png\t0\tdamaged picture: ");
    must_have_text(f, "quarantine.tsv", "\ntext.jpg\t0\tunknown format: ");
    must_have_text(f, "quarantine.tsv", "\nempty.jpg\t0\tdamaged picture: the file is empty\n");
    must_have_text(f, "quarantine.tsv", "\npipe.jpg\t0\tunreadable file: not a regular file\n");
    must_have_text(f, "quarantine.tsv", "\ngone.jpg\t0\tmissing file\n");
    must_have_text(f, "quarantine.tsv", "\np002.jpg\t0\tno tags\n");
    snprintf(longest, 70000, "\nline 33\t%td\tbad line: no tab between path and tags\n",
             strstr((char *)f->lines.data, "no tab\n") - (char *)f->lines.data);
    must_have_text(f, "quarantine.tsv", longest);
    must_have_text(f, "quarantine.tsv", "\tbad line: not UTF-8");
    must_have_text(f, "quarantine.tsv", "\tbad line: longer than 65536 bytes\n");
    free(longest);
}

static void nothing_usable_is_a_clear_failure(void **state)
{
    struct fixture *f = *state;

    add_line(f, "gone1.jpg", "dog");
    add_line(f, "gone2.jpg", "cat");
    must_fail(f, WSL_EINVAL, "of 2 images 2 cannot be used, the first is gone1.jpg: missing file");
    wsl_buf_clear(&f->lines);
    wsl_buf_add_text(&f->lines, "# nothing\n");
    must_fail(f, WSL_EINVAL, "has no images");
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
    WRONG(kind, WSL_IMPORT_DIRECTORIES, "not a directory");
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
    assert_int_equal(wsl_file_make_directories(partial, NULL), 0);
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
    /* One killed between its last two steps leaves the folder of its work; it is swept then. */
    assert_int_equal(wsl_file_make_directories(partial, NULL), 0);
    assert_int_equal(import(f), WSL_EEXIST);
    assert_false(wsl_file_exists(partial));
}

static void stop_at(void *context, const struct wsl_import_progress *progress)
{
    struct stopper *stopper = context;

    if (progress->phase == stopper->phase)
        atomic_store(&stopper->cancel, true);
}

static void a_cancel_is_gone_on_with(void **state)
{
    struct fixture *f = *state;
    char undisturbed[40];

    put_set(f, PICTURES);
    import_well(f);
    strcpy(undisturbed, f->result.fingerprint);
    assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    atomic_init(&f->stopper.cancel, true);
    f->setup.cancel = &f->stopper.cancel;
    must_fail(f, WSL_ECANCELLED, "cancelled"); /* before it began */
    f->setup.progress = stop_at;
    f->setup.context = &f->stopper;
    for (int phase = WSL_IMPORT_LIST; phase <= WSL_IMPORT_WRITE; phase++) {
        f->stopper.phase = (enum wsl_import_phase)phase;
        atomic_store(&f->stopper.cancel, false);
        if (phase == WSL_IMPORT_LIST)
            must_fail(f, WSL_ECANCELLED, "cancelled");
        else
            must_pause(f, WSL_ECANCELLED, "cancelled");
    }
    f->setup.cancel = NULL;
    import_well(f);
    assert_string_equal(f->result.fingerprint, undisturbed);
    assert_in_range(f->result.resumed, PICTURES, PICTURES + 2); /* all of them, and shards */
}

static void a_file_limit_is_gone_on_from(void **state)
{
    struct fixture *f = *state;
    struct rlimit before, small = {100000, 100000};

    for (int i = 0; i < 40; i++) {
        char name[32];

        snprintf(name, sizeof name, "n%d.png", i);
        put_png(f, name, draw(100, 100, (uint64_t)i, true));
        add_line(f, name, i % 2 ? "dog" : "cat");
    }
    put_bytes(f, "list.tsv", f->lines.data, f->lines.size);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    setrlimit(RLIMIT_FSIZE, &small);
    must_pause(f, WSL_ENOSPC, "made/set.partial");
    assert_non_null(strstr(f->err.text, "repeat the command"));
    setrlimit(RLIMIT_FSIZE, &before);
    import_well(f);
    assert_in_range(f->result.resumed, 5, 39);
}

/* A file system of 1 MiB in a mount namespace of our own: for root only. */
static void a_full_disk_is_gone_on_from(void **state)
{
    struct fixture *f = *state;
    char size[64], undisturbed[40];
    uint64_t whole;

    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        print_message("# no small file system to fill: may not mount\n");
        skip();
    }
    for (int i = 0; i < 120; i++) {
        char name[32];

        snprintf(name, sizeof name, "n%d.jpg", i);
        put_jpeg(f, name, draw(150, 150, (uint64_t)i, true));
        add_line(f, name, i % 2 ? "dog" : "cat");
    }
    f->setup.threads = 1;
    f->setup.shard_bytes = 1 << 20;
    import_well(f);
    strcpy(undisturbed, f->result.fingerprint);
    assert_in_range(f->result.shards, 3, 10);
    assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    whole = f->result.bytes;
    snprintf(size, sizeof size, "size=%llu", (unsigned long long)whole * 2 / 3);
    assert_int_equal(mount("none", path_in(f, "made"), "tmpfs", 0, size), 0);
    must_pause(f, WSL_ENOSPC, "repeat the command");
    snprintf(size, sizeof size, "size=%llu", (unsigned long long)whole * 2);
    assert_int_equal(mount("none", path_in(f, "made"), "tmpfs", MS_REMOUNT, size), 0);
    import_well(f);
    assert_string_equal(f->result.fingerprint, undisturbed);
    assert_in_range(f->result.resumed, 121, 130); /* all pictures, and a shard or more */
    wsl_dataset_close(open_made(f));
    assert_int_equal(umount(path_in(f, "made")), 0);
}

static void real_drawings(void **state)
{
    static const char folder[] = "/usr/share/openclipart/png/animals/mammals";
    struct fixture *f = *state;

    if (!wsl_file_exists(folder)) {
        print_message("# openclipart-png is not installed: no real drawings were imported\n");
        return;
    }
    f->setup.kind = WSL_IMPORT_DIRECTORIES;
    f->setup.source = "/usr/share/openclipart/png/animals";
    f->setup.side_max = 96;
    import_well(f);
    assert_in_range(f->result.train, 100, 1000);
    wsl_dataset_close(open_made(f));
}

static void spellings_of_a_word_are_one_tag(void **state)
{
    static const char *const spelled[][2] = {{"m\u00fcsli", "MU\u0308SLI"},
                                             {"\u0447\u0430\u0439", "\u0427\u0410\u0419"},
                                             {"\u03c6\u03c9\u03c2", "\u03a6\u03a9\u03a3"},
                                             {"ph\u1edf", "PHO\u031b\u0309"},
                                             {"gro\u00df", "GROSS"},
                                             {"\u2600", "\u2600\ufe0f"}};
    struct fixture *f = *state;

    for (int i = 0; i < 12; i++) {
        char name[32];

        snprintf(name, sizeof name, "p%02d.jpg", i);
        put_jpeg(f, name, draw(40, 30, (uint64_t)i, false));
        add_line(f, name, spelled[i / 2][i % 2]);
    }
    import_well(f);
    assert_int_equal(f->result.tags, 6);
    assert_int_equal(f->result.train + f->result.heldout, 12);
    f->setup.exclude_tags = (const char *const[]){"\u03a6\u03c9\u03c3", "Mu\u0308sli"};
    f->setup.exclude_tag_count = 2;
    assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    import_well(f);
    assert_int_equal(f->result.excluded, 4);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, make, clear)
    const struct CMUnitTest tests[] = {
        CASE(tags_become_records),
        CASE(pictures_are_converted),
        CASE(pictures_are_stored_as_seen),
        CASE(headers_are_enough),
        CASE(equal_pixels_become_one_record),
        CASE(threads_do_not_change_the_result),
        CASE(words_are_chosen),
        CASE(spellings_of_a_word_are_one_tag),
        CASE(many_tags_and_small_shards),
        CASE(folders_become_labels),
        CASE(wordnet_joins_spellings),
        CASE(bad_lines_go_to_quarantine),
        CASE(nothing_usable_is_a_clear_failure),
        CASE(settings_are_checked),
        CASE(one_import_at_a_time),
        CASE(a_cancel_is_gone_on_with),
        CASE(a_file_limit_is_gone_on_from),
        CASE(real_drawings),
        CASE(a_full_disk_is_gone_on_from), /* last: it changes the process's mounts */
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
