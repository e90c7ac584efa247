/* SPDX-License-Identifier: Apache-2.0
 *
 * WebDatasets as people have them: names, texts beside an image, tar formats of all programs,
 * compressed, damaged; and that what is not used is said.
 */
#include "import_world.h"
#include "tar_world.h"

#include "base/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SAMPLES = 6, BIG = 200 << 10 };

static void jpeg_of(int number, struct wsl_buf *ret)
{
    struct wsl_image image = draw(32, 32, (uint64_t)number, false);

    wsl_buf_clear(ret);
    assert_int_equal(wsl_image_encode_jpeg(&image, 90, ret, NULL), 0);
    wsl_image_free(&image);
}

static void add_image(struct wsl_buf *tar, const char *name, int number)
{
    struct wsl_buf jpeg = {0};

    jpeg_of(number, &jpeg);
    tar_member(tar, name, jpeg.data, jpeg.size);
    wsl_buf_free(&jpeg);
}

static void add_pair(struct wsl_buf *tar, const char *stem, int number)
{
    char name[128];

    snprintf(name, sizeof name, "%s.jpg", stem);
    add_image(tar, name, number);
    snprintf(name, sizeof name, "%s.cls", stem);
    tar_text(tar, name, number % 2 ? "1" : "0");
}

/* Samples from, from + 1, ... up to `end`; nothing behind the last. */
static void add_samples(struct wsl_buf *tar, int from, int end)
{
    char stem[16];

    for (int i = from; i < end; i++) {
        snprintf(stem, sizeof stem, "%03d", i);
        add_pair(tar, stem, i);
    }
}

static void put_and_import(struct fixture *f, const char *name, const struct wsl_buf *file,
                           bool well)
{
    static char source[128];

    snprintf(source, sizeof source, "%s/%s", f->folder, name);
    put_bytes(f, name, file->data, file->size);
    f->setup.kind = WSL_IMPORT_TAR;
    f->setup.source = source;
    f->setup.heldout = 0;
    wsl_file_remove_tree(f->output, NULL);
    if (well)
        import_well(f);
}

/* Ends the tar file, imports it, and empties the buffer for the next. */
static void import_tar(struct fixture *f, struct wsl_buf *tar)
{
    tar_end(tar);
    put_and_import(f, "t.tar", tar, true);
    wsl_buf_clear(tar);
}

/* That many records, faults, skipped entries. */
static void must_count(const struct fixture *f, uint64_t train, uint64_t bad, uint64_t skipped)
{
    const struct wsl_import_result *n = &f->result;
    uint64_t sum = 0;

    for (int i = 0; i < WSL_IMPORT_SKIPS; i++)
        sum += n->skipped[i];
    if (n->train != train || bad_count(n) != bad || sum != skipped)
        fail_msg("%llu records, %llu bad, %llu skipped; not %llu, %llu, %llu",
                 (unsigned long long)n->train, (unsigned long long)bad_count(n),
                 (unsigned long long)sum, (unsigned long long)train, (unsigned long long)bad,
                 (unsigned long long)skipped);
}

/* The record's tags, with commas between, in the order of their ids' names given here. */
static void must_have_tags(const struct fixture *f, const char *source, const char *tags)
{
    struct wsl_dataset *ds = open_made(f);
    struct wsl_record record;
    char copy[256], *save = NULL;
    int count = 0;

    if (!find_record(ds, source, &record))
        fail_msg("no record of %s", source);
    snprintf(copy, sizeof copy, "%s", tags);
    for (char *tag = strtok_r(copy, ",", &save); tag; tag = strtok_r(NULL, ",", &save), count++)
        if (!has_tag(ds, &record, tag))
            fail_msg("%s does not have the tag %s", source, tag);
    assert_int_equal(record.tag_count, count);
    wsl_dataset_close(ds);
}

/* The fingerprint of the samples 0 to SAMPLES as an ordinary tar has them. */
static void plain_fingerprint(struct fixture *f, char ret[40])
{
    struct wsl_buf tar = {0};

    add_samples(&tar, 0, SAMPLES);
    import_tar(f, &tar);
    must_count(f, SAMPLES, 0, 0);
    strcpy(ret, f->result.fingerprint);
    wsl_buf_free(&tar);
}

/* ---- texts beside an image ---- */

static void json_without_tags_hides_nothing(void **state)
{
    struct fixture *f = *state;
    struct wsl_buf tar = {0}, long_json = {0};

    wsl_buf_add_text(&long_json, "{\"exif\": \"");
    while (long_json.size < BIG)
        wsl_buf_add_text(&long_json, "0123456789abcdef");
    wsl_buf_add_text(&long_json, "\"}");
    add_image(&tar, "a.jpg", 0);
    tar_text(&tar, "a.json",
             "{\"caption\": \"a #red one\", \"url\": \"x\", \"error_message\": null}");
    tar_text(&tar, "a.txt", "one that is #red"); /* no other member's text follows */
    tar_text(&tar, "a.seg.json", "der");
    add_image(&tar, "b.jpg", 1);
    tar_text(&tar, "b.json", "{\"tags\": null, \"label\": null, \"caption\": null, \"s\": NaN}");
    tar_text(&tar, "b.txt", "\xef\xbb\xbf#blue");
    add_image(&tar, "c.jpg", 2);
    tar_text(
        &tar, "c.json",
        "\xef\xbb\xbf{\"tags\": [\"red\", \"green\"], \"x\": -Infinity, \"y\": \"NaN \\\" NaN\"}");
    tar_text(&tar, "c.txt", "#blue");
    add_image(&tar, "d.jpg", 3);
    tar_text(&tar, "d.json", "{\"caption\": \"#blue alone\"}");
    add_image(&tar, "e.jpg", 4);
    tar_member(&tar, "e.json", long_json.data, long_json.size);
    tar_text(&tar, "e.caption", "so #green");
    add_image(&tar, "f.jpg", 5);
    tar_text(&tar, "f.json", "{\"tags\": [\"blue\"]}");
    tar_text(&tar, "f.tags", "red,green");
    import_tar(f, &tar);
    must_count(f, 6, 0, 1);
    must_have_tags(f, "a.jpg", "red");
    must_have_tags(f, "b.jpg", "blue");
    must_have_tags(f, "c.jpg", "red,green");
    must_have_tags(f, "d.jpg", "blue");
    must_have_tags(f, "e.jpg", "green");
    must_have_tags(f, "f.jpg", "red,green");
    wsl_buf_free(&tar);
    wsl_buf_free(&long_json);
}

static void texts_that_cannot_be_read_are_said(void **state)
{
    struct fixture *f = *state;
    struct wsl_buf tar = {0};

    add_image(&tar, "a.jpg", 0);
    tar_text(&tar, "a.txt", "#red #blue");
    add_image(&tar, "b.jpg", 1);
    tar_text(&tar, "b.json", "{broken");
    tar_text(&tar, "b.txt", "#blue");
    add_image(&tar, "c.jpg", 2);
    tar_text(&tar, "c.json", "{\"tags\": [\"red\"], \"tags\": [\"blue\"]}");
    add_image(&tar, "d.jpg", 3);
    tar_member(&tar, "d.txt", "\xff\xfe#\0r\0", 6);
    add_image(&tar, "e.jpg", 4);
    tar_text(&tar, "e.json", "{\"tags\": {\"red\": 1}}");
    add_image(&tar, "f.jpg", 5);
    tar_text(&tar, "f.json", "[1]");
    import_tar(f, &tar);
    must_count(f, 2, 4, 1);
    must_have_tags(f, "b.jpg", "blue");
    assert_string_equal(f->result.skipped_first[WSL_IMPORT_SKIP_TEXT], "b.json");
    must_have_text(f, "quarantine.tsv",
                   "\tno tags: its .json is no JSON object: duplicate object key");
    must_have_text(f, "quarantine.tsv", "\tno tags: its .txt is UTF-16, not UTF-8\n");
    must_have_text(f, "quarantine.tsv", "\tno tags: \"tags\" is neither a list nor a text\n");
    must_have_text(f, "quarantine.tsv", "\tno tags: its .json is no JSON object\n");
    wsl_buf_free(&tar);
}

static void labels_come_in_many_ways(void **state)
{
    static const char *const labels[] = {"{\"label\": 1, \"tags\": null}", "{\"label\": 0.0}",
                                         "{\"label\": \"cat\"}", "{\"label\": null}",
                                         "{\"label\": NaN}"};
    struct fixture *f = *state;
    struct wsl_buf tar = {0};
    char name[24], names[96];

    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "%d.jpg", i);
        add_image(&tar, name, i);
        snprintf(name, sizeof name, "%d.json", i);
        tar_text(&tar, name, labels[i]);
    }
    add_image(&tar, "5.jpg", 5);
    tar_text(&tar, "5.cls", "\xef\xbb\xbf 1 \r\n");
    put_bytes(f, "names", "dog\nhen\n", 8);
    snprintf(names, sizeof names, "%s/names", f->folder);
    f->setup.label_names = names;
    import_tar(f, &tar);
    must_count(f, 4, 2, 0);
    must_have_tags(f, "0.jpg", "hen");
    must_have_tags(f, "1.jpg", "dog");
    must_have_tags(f, "2.jpg", "cat");
    must_have_tags(f, "5.jpg", "hen");
    /* As our own export writes them: a number, and what it stands for. */
    f->setup.label_names = NULL;
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%d.jpg", i);
        add_image(&tar, name, i);
        snprintf(name, sizeof name, "%d.json", i);
        tar_text(&tar, name,
                 i % 2 ? "{\"tags\": [\"cat 2.0\"], \"label\": \"cat 2.0\"}"
                       : "{\"tags\": [\"dog\"], \"label\": \"dog\"}");
        snprintf(name, sizeof name, "%d.cls", i);
        tar_text(&tar, name, i % 2 ? "1" : "0");
    }
    import_tar(f, &tar);
    must_count(f, 4, 0, 0);
    must_have_tags(f, "3.jpg", "cat 2.0");
    wsl_buf_free(&tar);
}

/* ---- names ---- */

static void names_of_all_kinds_are_taken(void **state)
{
    struct fixture *f = *state;
    struct wsl_buf tar = {0};
    char name[64];

    add_pair(&tar, "v1.5/data.d/000", 0);
    add_image(&tar, "X.JPG", 1);
    tar_text(&tar, "X.CLS", "1");
    add_pair(&tar, "0 Track 2.0", 2); /* both have the key "0 Track 2" */
    add_pair(&tar, "0 Track 2.1", 3);
    add_image(&tar, "y.jfif", 4);
    tar_text(&tar, "y.jfif.cls", "0");
    import_tar(f, &tar);
    must_count(f, 5, 0, 0);
    must_have_tags(f, "0 Track 2.0.jpg", "0");
    must_have_tags(f, "0 Track 2.1.jpg", "1");
    must_have_tags(f, "y.jfif", "0");
    /* Hundreds that share one key. */
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "frame.%05d", i);
        add_pair(&tar, name, i);
    }
    import_tar(f, &tar);
    must_count(f, 300, 0, 0);
    must_have_tags(f, "frame.00063.jpg", "1");
    must_have_tags(f, "frame.00299.jpg", "1");
    wsl_buf_free(&tar);
}

/* One image of a sample; its masks are counted. */
static void masks_do_not_become_records(void **state)
{
    struct fixture *f = *state;
    struct wsl_buf tar = {0};
    char name[32];

    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "%d.cls", i);
        tar_text(&tar, name, i % 2 ? "1" : "0");
        snprintf(name, sizeof name, i < 2 ? "%d.depth.jpg" : "%d.png", i);
        add_image(&tar, name, 50 + i);
        snprintf(name, sizeof name, i < 2 ? "%d.image.jpg" : "%d.jpg", i);
        add_image(&tar, name, i);
    }
    import_tar(f, &tar);
    must_count(f, 4, 0, 4);
    assert_int_equal(f->result.skipped[WSL_IMPORT_SKIP_SECOND_IMAGE], 4);
    must_have_tags(f, "0.image.jpg", "0");
    must_have_tags(f, "3.jpg", "1");
    must_have_text(f, "skipped.tsv", "1.depth.jpg\t");
    /* The same name again is the next sample: shards that were joined. */
    add_samples(&tar, 0, 1);
    add_image(&tar, "000.jpg", 7);
    tar_text(&tar, "000.cls", "1");
    import_tar(f, &tar);
    must_count(f, 2, 0, 0);
    wsl_buf_free(&tar);
}

static void what_is_passed_over_is_counted_and_named(void **state)
{
    struct fixture *f = *state;
    struct wsl_buf tar = {0};
    uint8_t *link;

    add_samples(&tar, 0, 2);
    tar_text(&tar, "./._000.jpg", "AppleDouble");
    tar_text(&tar, "a/.hidden/x.jpg", "x");
    tar_text(&tar, "__MACOSX/x.jpg", "x");
    tar_text(&tar, "PaxHeaders.77/001.jpg", "11 mtime=1\n");
    tar_text(&tar, "no extension", "x");
    tar_text(&tar, "000.npy", "x");
    tar_text(&tar, "004.webp", "x");
    tar_text(&tar, "lone.cls", "1");
    link = tar_header(&tar, "soft.jpg", '2', 0);
    strcpy((char *)link + 157, "000.jpg");
    tar_seal(link);
    tar_header(&tar, "hard.jpg", '1', 0);
    tar_header(&tar, "pipe.jpg", '6', 0);
    tar_header(&tar, "directory.jpg", '5', 0);
    import_tar(f, &tar);
    must_count(f, 2, 0, 11);
    assert_int_equal(f->result.skipped[WSL_IMPORT_SKIP_HIDDEN], 4);
    assert_int_equal(f->result.skipped[WSL_IMPORT_SKIP_NOT_IMAGE], 2);
    assert_int_equal(f->result.skipped[WSL_IMPORT_SKIP_FORMAT], 1);
    assert_int_equal(f->result.skipped[WSL_IMPORT_SKIP_NO_IMAGE], 1);
    assert_int_equal(f->result.skipped[WSL_IMPORT_SKIP_LINK], 2);
    assert_int_equal(f->result.skipped[WSL_IMPORT_SKIP_SPECIAL], 1);
    must_have_text(f, "skipped.tsv", "soft.jpg\t");
    must_have_text(f, "skipped.tsv", "hard.jpg\t");
    must_have_text(f, "skipped.tsv", "lone.cls\t");
    tar_text(&tar, "0.webp", "x");
    tar_text(&tar, "0.cls", "0");
    tar_end(&tar);
    put_and_import(f, "t.tar", &tar, false);
    must_fail(f, WSL_EINVAL,
              "2 entries were passed over, such as 0.webp: image format that is not");
    wsl_buf_free(&tar);
}

/* ---- formats of tar ---- */

static void headers_of_all_programs_are_read(void **state)
{
    struct fixture *f = *state;
    struct wsl_buf tar = {0}, whole = {0};
    char plain[40];

    plain_fingerprint(f, plain);
    add_samples(&whole, 0, SAMPLES);
    for (int way = 0; way < 4; way++) {
        wsl_buf_clear(&tar);
        wsl_buf_add(&tar, whole.data, whole.size);
        for (size_t at = 0; at < tar.size;) {
            uint8_t *h = tar.data + at;
            size_t size = strtoul((char *)h + 124, NULL, 8);
            unsigned sum = 8 * ' ';

            if (way == 0) { /* v7: no magic, no type */
                h[156] = 0;
                memset(h + 257, 0, 255);
            } else if (way == 1) { /* GNU's magic and a size in base 256 */
                memcpy(h + 257, "ustar  ", 8);
                memset(h + 124, 0, 12);
                h[124] = 0x80;
                h[134] = (uint8_t)(size >> 8);
                h[135] = (uint8_t)size;
            } else if (way == 2) { /* star's: times behind a shorter prefix */
                memcpy(h + 345 + 131, "00000000000 00000000000 ", 24);
                memcpy(h + 508, "tar", 4);
            } else { /* an owner beyond ASCII, and a sum of signed bytes */
                memcpy(h + 265, "J\xf6rg", 4);
            }
            tar_seal(h);
            for (int i = 0; i < TAR_WORLD_BLOCK; i++)
                sum += i >= 148 && i < 156 ? 0u : (unsigned)(int8_t)h[i];
            if (way == 3)
                snprintf((char *)h + 148, 8, "%06o", sum);
            at += TAR_WORLD_BLOCK + (size + 511) / 512 * 512;
        }
        import_tar(f, &tar);
        must_count(f, SAMPLES, 0, 0);
        assert_string_equal(f->result.fingerprint, plain);
    }
    wsl_buf_free(&tar);
    wsl_buf_free(&whole);
}

static void records_of_any_size_lose_nothing(void **state)
{
    struct fixture *f = *state;
    struct wsl_buf tar = {0}, big = {0}, records = {0};
    char plain[40];

    plain_fingerprint(f, plain);
    while (big.size < BIG)
        wsl_buf_add_text(&big, "LIBARCHIVE.xattr=\n12 path=no\n");
    tar_record(&records, "comment", big.data, big.size);
    tar_extra(&tar, 'g', &records);
    add_samples(&tar, 0, 2);
    wsl_buf_clear(&records);
    tar_record(&records, "LIBARCHIVE.xattr.com.apple.ResourceFork", big.data, big.size);
    tar_record(&records, "path", "002.jpg", 7);
    tar_record(&records, "SCHILY.xattr.user.x", big.data, big.size);
    tar_extra(&tar, 'x', &records);
    add_image(&tar, "not its name", 2);
    tar_extra(&tar, 'K', &big);
    /* The size of the record counts, not the header's. */
    wsl_buf_clear(&records);
    tar_record(&records, "size", "1", 1);
    tar_extra(&tar, 'X', &records);
    tar_header(&tar, "002.cls", '0', 0);
    tar_padded(&tar, "0", 1);
    add_samples(&tar, 3, SAMPLES);
    import_tar(f, &tar);
    must_count(f, SAMPLES, 0, 0);
    assert_string_equal(f->result.fingerprint, plain);
    wsl_buf_free(&tar);
    wsl_buf_free(&big);
    wsl_buf_free(&records);
}

/* ---- sparse members ---- */

/* A picture and behind its end 30 pieces of rubbish, each of a few bytes, with holes between. */
static size_t make_sparse(int number, struct wsl_buf *file, struct tar_part parts[32])
{
    static const uint8_t zeros[4096];
    size_t count = 0;

    jpeg_of(number, file);
    parts[count++] = (struct tar_part){0, file->size};
    for (int i = 0; i < 30; i++) {
        wsl_buf_add(file, zeros, sizeof zeros - (size_t)i);
        parts[count++] = (struct tar_part){file->size, 5};
        wsl_buf_add(file, "piece", 5);
    }
    wsl_buf_add(file, zeros, 100);
    parts[count++] = (struct tar_part){file->size, 0}; /* how GNU tar says where the file ends */
    return count;
}

static void holes_are_filled(void **state)
{
    struct fixture *f = *state;
    struct wsl_buf tar = {0}, file = {0};
    struct tar_part parts[32];
    size_t count = make_sparse(2, &file, parts);
    char plain[40];

    add_samples(&tar, 0, 2);
    tar_member(&tar, "002.jpg", file.data, file.size);
    tar_text(&tar, "002.cls", "0");
    add_samples(&tar, 3, SAMPLES);
    import_tar(f, &tar);
    must_count(f, SAMPLES, 0, 0);
    strcpy(plain, f->result.fingerprint);
    for (int format = 0; format < TAR_SPARSES; format++) {
        add_samples(&tar, 0, 2);
        tar_sparse(&tar, (enum tar_sparse)format, "002.jpg", &file, parts, count);
        tar_text(&tar, "002.cls", "0");
        add_samples(&tar, 3, SAMPLES);
        import_tar(f, &tar);
        must_count(f, SAMPLES, 0, 0);
        assert_string_equal(f->result.fingerprint, plain);
    }
    wsl_buf_free(&tar);
    wsl_buf_free(&file);
}

/* Of a sparse member that makes no sense only that is lost, by its own name. */
static void a_wrong_map_costs_one_member(void **state)
{
    static const struct tar_part wrong[][2] = {
        {{100, 10}, {50, 10}}, {{0, 10}, {5, 10}}, {{0, 1 << 20}, {1 << 20, 0}}};
    struct fixture *f = *state;
    struct wsl_buf tar = {0}, file = {0};
    struct tar_part *many = calloc(70000, sizeof *many);

    assert_non_null(many);
    wsl_buf_add(&file, "short", 5);
    while (file.size < 1000)
        wsl_buf_add(&file, "and long", 8);
    for (int format = 0; format < TAR_SPARSES; format++)
        for (size_t i = 0; i < 3; i++) {
            struct wsl_buf all = {0};

            assert_int_equal(wsl_buf_reserve(&all, 2 << 20), 0);
            memset(all.data, 'x', 2 << 20);
            all.size = i == 2 ? 1000 : 2 << 20;
            add_samples(&tar, 0, 2);
            tar_sparse(&tar, (enum tar_sparse)format, "real name.jpg", &all, wrong[i], 2);
            add_samples(&tar, 3, SAMPLES);
            import_tar(f, &tar);
            must_count(f, SAMPLES - 1, 1, 0);
            must_have_text(f, "quarantine.tsv", "real name.jpg\t");
            must_have_text(f, "quarantine.tsv",
                           "\tdamaged picture: a sparse file whose parts do not fit\n");
            wsl_buf_free(&all);
        }
    for (int format = 0; format < TAR_SPARSES; format++) {
        add_samples(&tar, 0, 2);
        tar_sparse(&tar, (enum tar_sparse)format, "many.jpg", &file, many, 70000);
        add_samples(&tar, 3, SAMPLES);
        import_tar(f, &tar);
        must_count(f, SAMPLES - 1, 1, 0);
        must_have_text(f, "quarantine.tsv", "a sparse file of over 65536 parts\n");
    }
    free(many);
    wsl_buf_free(&tar);
    wsl_buf_free(&file);
}

/* ---- what is wrong ---- */

static void a_bad_member_costs_no_other(void **state)
{
    static const char *const records[] = {"12 path=", "xx path=a\n", "99 path=a\n", "9 path a\n",
                                          "11 size=1x\n"};
    struct fixture *f = *state;
    struct wsl_buf tar = {0}, bytes = {0};

    for (size_t i = 0; i < sizeof records / sizeof records[0]; i++) {
        wsl_buf_clear(&bytes);
        wsl_buf_add_text(&bytes, records[i]);
        add_samples(&tar, 0, 2);
        tar_extra(&tar, 'x', &bytes);
        add_image(&tar, "bad.jpg", 2);
        add_samples(&tar, 3, SAMPLES);
        import_tar(f, &tar);
        must_count(f, SAMPLES - 1, 1, 0);
        must_have_text(f, "quarantine.tsv", "bad.jpg\t");
        must_have_text(f, "quarantine.tsv", "\tdamaged picture: a pax header ");
    }
    /* A name that no file system takes: whether it was an image cannot be known. */
    wsl_buf_clear(&bytes);
    while (bytes.size < BIG)
        wsl_buf_add_text(&bytes, "directory/");
    wsl_buf_add_text(&bytes, "x.jpg");
    add_samples(&tar, 0, 2);
    tar_extra(&tar, 'L', &bytes);
    add_image(&tar, "bad.jpg", 2);
    add_samples(&tar, 3, SAMPLES);
    import_tar(f, &tar);
    must_count(f, SAMPLES - 1, 1, 0);
    must_have_text(f, "quarantine.tsv", "\tdamaged picture: a name of over 4095 bytes\n");
    wsl_buf_free(&tar);
    wsl_buf_free(&bytes);
}

static void reading_goes_on_behind_damage_and_ends(void **state)
{
    struct fixture *f = *state;
    struct wsl_buf tar = {0};
    size_t at;
    char line[160];

    /* A header that was overwritten. */
    add_samples(&tar, 0, 2);
    at = tar.size;
    add_samples(&tar, 2, SAMPLES);
    memset(tar.data + at + 10, 0xee, 40);
    import_tar(f, &tar);
    must_count(f, SAMPLES - 1, 1, 1);
    snprintf(line, sizeof line, "t.tar\t%zu\tdamaged container: no tar header", at);
    must_have_text(f, "quarantine.tsv", line);
    must_have_text(f, "skipped.tsv", "002.cls\t");
    /* cat a.tar b.tar */
    add_samples(&tar, 0, 3);
    tar_end(&tar);
    tar_end(&tar);
    add_samples(&tar, 3, SAMPLES);
    import_tar(f, &tar);
    must_count(f, SAMPLES, 0, 0);
    /* Something else behind the end, of whole blocks and a rest. */
    add_samples(&tar, 0, SAMPLES);
    tar_end(&tar);
    wsl_buf_add_text(&tar, "rubbish");
    put_and_import(f, "t.tar", &tar, true);
    must_count(f, SAMPLES, 0, 0); /* less than a block: padding */
    for (int i = 0; i < 100; i++)
        wsl_buf_add_text(&tar, "rubbish");
    put_and_import(f, "t.tar", &tar, true);
    must_count(f, SAMPLES, 0, 1);
    assert_int_equal(f->result.skipped[WSL_IMPORT_SKIP_TRAILING], 1);
    /* No end at all. */
    wsl_buf_clear(&tar);
    add_samples(&tar, 0, SAMPLES);
    put_and_import(f, "t.tar", &tar, true);
    must_count(f, SAMPLES, 0, 0);
    /* A member is announced and does not come. */
    tar_text(&tar, "", "");
    tar.data[tar.size - TAR_WORLD_BLOCK + 156] = 'K';
    tar_seal(tar.data + tar.size - TAR_WORLD_BLOCK);
    put_and_import(f, "t.tar", &tar, true);
    must_count(f, SAMPLES, 1, 0);
    wsl_buf_free(&tar);
}

/* ---- compressed ---- */

static void import_from_stdin(struct fixture *f, const char *path)
{
    int input = dup(STDIN_FILENO), file = open(path, O_RDONLY);

    assert_true(input >= 0 && file >= 0);
    dup2(file, STDIN_FILENO);
    f->setup.source = "-";
    wsl_file_remove_tree(f->output, NULL);
    import_well(f);
    dup2(input, STDIN_FILENO);
    close(input);
    close(file);
}

static void all_compressions_are_read(void **state)
{
    struct fixture *f = *state;
    struct wsl_buf tar = {0}, packed = {0};
    char plain[40], line[80];

    plain_fingerprint(f, plain);
    add_samples(&tar, 0, SAMPLES);
    tar_end(&tar);
    for (int c = 0; c < 5; c++) {
        size_t half = tar.size / 2;

        wsl_buf_clear(&packed);
        tar_pack(&packed, tar_codecs[c], tar.data, tar.size);
        put_and_import(f, "named.wrongly", &packed, true);
        assert_string_equal(f->result.fingerprint, plain);
        import_from_stdin(f, path_in(f, "named.wrongly"));
        assert_string_equal(f->result.fingerprint, plain);
        /* Frames in a row, cut anywhere, and padding. */
        wsl_buf_clear(&packed);
        tar_pack(&packed, tar_codecs[c], tar.data, half);
        tar_pack(&packed, tar_codecs[c], tar.data + half, tar.size - half);
        tar_end(&packed);
        put_and_import(f, "t.tar", &packed, true);
        must_count(f, SAMPLES, 0, 0);
        assert_string_equal(f->result.fingerprint, plain);
        /* The second is cut: what the first has is there. */
        wsl_buf_clear(&packed);
        tar_pack(&packed, tar_codecs[c], tar.data, half);
        tar_pack(&packed, tar_codecs[c], tar.data + half, tar.size - half);
        packed.size -= 9;
        put_and_import(f, "t.tar", &packed, true);
        assert_in_range(f->result.train, 2, SAMPLES);
        assert_int_equal(f->result.quarantined[WSL_QUARANTINE_CONTAINER], 1);
        snprintf(line, sizeof line, "\tdamaged container: the %s data end early\n", tar_codecs[c]);
        must_have_text(f, "quarantine.tsv", line);
        /* A bit of the checksum at the end of the second is wrong. */
        packed.size += 9;
        packed.data[packed.size - 3] ^= 1;
        put_and_import(f, "t.tar", &packed, true);
        assert_in_range(f->result.train, 2, SAMPLES);
        snprintf(line, sizeof line, "\tdamaged container: the %s data are damaged", tar_codecs[c]);
        must_have_text(f, "quarantine.tsv", line);
    }
    wsl_buf_free(&tar);
    wsl_buf_free(&packed);
}

static void what_is_no_tar_is_named(void **state)
{
    static const struct {
        const char *bytes;
        size_t size;
        const char *word;
    } cases[] = {{"\x1f\x9d\x90 and more", 12, "packed by compress (.Z)"},
                 {"PK\x03\x04 and more", 13, "a zip archive"},
                 {"7z\xbc\xaf\x27\x1c and more", 15, "a 7z archive"},
                 {"Rar!\x1a\x07 and more", 15, "a rar archive"},
                 {"LZIP\x01 and more", 14, "packed by lzip"}};
    struct fixture *f = *state;
    struct wsl_buf bytes = {0}, packed = {0};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wsl_buf_clear(&bytes);
        wsl_buf_add(&bytes, cases[i].bytes, cases[i].size);
        put_and_import(f, "t.tar", &bytes, false);
        must_fail(f, WSL_EUNSUPPORTED, cases[i].word);
    }
    /* One of many is a line of quarantine, and files that are none by name are counted. */
    assert_int_equal(wsl_file_make_directories(path_in(f, "shards"), NULL), 0);
    put_bytes(f, "shards/0.tar.Z", cases[0].bytes, cases[0].size);
    put_bytes(f, "shards/00000_stats.json", "{}", 2);
    wsl_buf_clear(&bytes);
    add_samples(&bytes, 0, 3);
    put_bytes(f, "shards/1.tar", bytes.data, bytes.size);
    wsl_buf_clear(&bytes);
    add_samples(&bytes, 3, SAMPLES);
    tar_pack(&packed, "zstd", bytes.data, bytes.size);
    put_bytes(f, "shards/2.tar.zst", packed.data, packed.size);
    f->setup.source = path_in(f, "shards");
    import_well(f);
    must_count(f, SAMPLES, 1, 1);
    must_have_text(f, "quarantine.tsv", "packed by compress (.Z)");
    assert_int_equal(f->result.skipped[WSL_IMPORT_SKIP_NOT_TAR], 1);
    wsl_buf_free(&bytes);
    wsl_buf_free(&packed);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, make, clear)
    const struct CMUnitTest tests[] = {
        CASE(json_without_tags_hides_nothing),
        CASE(texts_that_cannot_be_read_are_said),
        CASE(labels_come_in_many_ways),
        CASE(names_of_all_kinds_are_taken),
        CASE(masks_do_not_become_records),
        CASE(what_is_passed_over_is_counted_and_named),
        CASE(headers_of_all_programs_are_read),
        CASE(records_of_any_size_lose_nothing),
        CASE(holes_are_filled),
        CASE(a_wrong_map_costs_one_member),
        CASE(a_bad_member_costs_no_other),
        CASE(reading_goes_on_behind_damage_and_ends),
        CASE(all_compressions_are_read),
        CASE(what_is_no_tar_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
