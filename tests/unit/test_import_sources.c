/* SPDX-License-Identifier: Apache-2.0
 *
 * The layouts that an import reads, whole and damaged.
 */
#include "caffe_world.h"
#include "import_world.h"

#include "base/file.h"
#include "base/rng.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SAMPLES = 12, SPOILT = 100 };

static void read_all(const struct fixture *f, const char *name, struct wsl_buf *ret)
{
    assert_int_equal(wsl_file_read(path_in(f, name), 16 << 20, ret, NULL), 0);
}

/* ---- layouts ---- */

static void imagenet_is_read(void **state)
{
    struct fixture *f = *state;
    char root[128];

    make_folder(f, "in/train/n01440764");
    make_folder(f, "in/train/n01443537");
    make_folder(f, "in/val");
    put_labelled(f, "in/train/n01440764/n01440764_%d.JPEG", 0, 5);
    put_labelled(f, "in/train/n01443537/n01443537_%d.JPEG", 10, 5);
    put_labelled(f, "in/val/ILSVRC2012_val_%08d.JPEG", 20, 3);
    make_folder(f, "in/train/.ipynb_checkpoints");
    put_labelled(f, "in/train/.ipynb_checkpoints/n01440764_%d.JPEG", 40, 2);
    put_text(f, "in/synset_words.txt",
             "n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n");
    put_text(f, "in/val.txt",
             "ILSVRC2012_val_00000020.JPEG 1\nval/ILSVRC2012_val_00000021.JPEG 0\n"
             "ILSVRC2012_val_00000022.JPEG 2\n../secret.JPEG 1\nnothing\n"
             "ILSVRC2012_val_00000029.JPEG 1\n");
    snprintf(root, sizeof root, "%s/in", f->folder);
    assert_int_equal(wsl_import_detect(root), WSL_IMPORT_IMAGENET);
    import_from(f, WSL_IMPORT_IMAGENET, root);
    import_well(f);
    assert_int_equal(f->result.train, 10);
    assert_int_equal(f->result.heldout, 2);
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_MISSING], 1);
    must_have_text(f, "quarantine.tsv", "val.txt line 3\t66\tbad line: the number of no class\n");
    must_have_text(f, "quarantine.tsv", "val.txt line 4\t97\tbad line: a file name");
    must_be_in(f, "val/ILSVRC2012_val_00000020.JPEG", WSL_SPLIT_HELDOUT, "n01443537");
    must_be_in(f, "train/n01440764/n01440764_3.JPEG", WSL_SPLIT_TRAIN, "n01440764");
    put_text(f, "in/LOC_val_solution.csv",
             "ImageId,PredictionString\nILSVRC2012_val_00000020,n01443537 1 2 3 4 \n"
             "ILSVRC2012_val_00000022,n01440764 1 2 3 4 \n");
    again(f);
    assert_int_equal(f->result.heldout, 2);
    must_be_in(f, "val/ILSVRC2012_val_00000022.JPEG", WSL_SPLIT_HELDOUT, "n01440764");
    unlink(path_in(f, "in/LOC_val_solution.csv"));
    unlink(path_in(f, "in/val.txt"));
    make_folder(f, "in/val/n01440764");
    put_labelled(f, "in/val/n01440764/ILSVRC2012_val_%08d.JPEG", 30, 2);
    again(f);
    assert_int_equal(f->result.heldout, 2);
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_NO_TAGS], 3); /* those without */
    put_text(f, "in/val.txt", "ILSVRC2012_val_00000020.JPEG 1\n");
    unlink(path_in(f, "in/synset_words.txt"));
    assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    must_fail(f, WSL_ENOENT, "synset_words.txt is missing");
}

static void cub200_is_read(void **state)
{
    struct fixture *f = *state;
    char root[128];

    make_folder(f, "cub/images/001.Albatross");
    make_folder(f, "cub/images/002.Auk");
    put_labelled(f, "cub/images/001.Albatross/a_%d.jpg", 0, 4);
    put_labelled(f, "cub/images/002.Auk/b_%d.jpg", 4, 4);
    put_text(f, "cub/classes.txt", "1 001.Albatross\n2 002.Auk\n");
    put_text(f, "cub/images.txt",
             "1 001.Albatross/a_0.jpg\n2 001.Albatross/a_1.jpg\n3 001.Albatross/a_2.jpg\n"
             "4 002.Auk/b_4.jpg\n5 002.Auk/b_5.jpg\n6 002.Auk/b_6.jpg\n99 002.Auk/b_7.jpg\n");
    put_text(f, "cub/image_class_labels.txt", "1 1\n2 1\n3 1\n4 2\n5 2\n6 2\n");
    put_text(f, "cub/train_test_split.txt", "1 1\n2 0\n3 1\n4 1\n5 0\n6 1\n");
    snprintf(root, sizeof root, "%s/cub", f->folder);
    assert_int_equal(wsl_import_detect(root), WSL_IMPORT_CUB200);
    import_from(f, WSL_IMPORT_CUB200, root);
    import_well(f);
    assert_int_equal(f->result.train, 4);
    assert_int_equal(f->result.heldout, 2);
    must_be_in(f, "images/002.Auk/b_5.jpg", WSL_SPLIT_HELDOUT, "002.Auk");
    must_have_text(f, "quarantine.tsv", "images.txt line 7\t");
    must_have_text(f, "quarantine.tsv", "image_class_labels.txt does not have it");
    assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    put_text(f, "cub/image_class_labels.txt", "1 1\n2 3\n");
    must_fail(f, WSL_ECORRUPT, "image_class_labels.txt:2 (byte 4)");
    put_text(f, "cub/classes.txt", "1 001.Albatross\n3 x\n");
    must_fail(f, WSL_ECORRUPT, "classes.txt:2");
    put_text(f, "cub/image_class_labels.txt", "1 1\n99999999999999999999 1\n");
    put_text(f, "cub/classes.txt", "1 001.Albatross\n2 x\n");
    must_fail(f, WSL_ECORRUPT, "image_class_labels.txt:2");
    unlink(path_in(f, "cub/train_test_split.txt"));
    put_text(f, "cub/image_class_labels.txt", "1 1\n");
    must_fail(f, WSL_ENOENT, "train_test_split.txt");
}

static void places365_is_read(void **state)
{
    struct fixture *f = *state;
    char root[128];

    make_folder(f, "pl/data_256/a/airfield");
    make_folder(f, "pl/data_256/a/arena/hockey");
    make_folder(f, "pl/val_256");
    put_labelled(f, "pl/data_256/a/airfield/%08d.jpg", 0, 4);
    put_labelled(f, "pl/data_256/a/arena/hockey/%08d.jpg", 4, 4);
    put_labelled(f, "pl/val_256/Places365_val_%08d.jpg", 8, 2);
    put_text(f, "pl/categories_places365.txt", "/a/airfield 0\n/a/arena/hockey 1\n");
    put_text(f, "pl/places365_train_standard.txt",
             "/a/airfield/00000000.jpg 0\n/a/airfield/00000001.jpg 0\n"
             "/a/arena/hockey/00000004.jpg 1\n/a/arena/hockey/00000005.jpg 1\n");
    put_text(f, "pl/places365_val.txt",
             "Places365_val_00000008.jpg 1\nPlaces365_val_00000009.jpg 0\n");
    snprintf(root, sizeof root, "%s/pl", f->folder);
    assert_int_equal(wsl_import_detect(root), WSL_IMPORT_PLACES365);
    import_from(f, WSL_IMPORT_PLACES365, root);
    import_well(f);
    assert_int_equal(f->result.train, 4);
    assert_int_equal(f->result.heldout, 2);
    must_be_in(f, "val_256/Places365_val_00000008.jpg", WSL_SPLIT_HELDOUT, "arena/hockey");
    must_be_in(f, "data_256/a/airfield/00000001.jpg", WSL_SPLIT_TRAIN, "airfield");
    assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    put_text(f, "pl/categories_places365.txt", "/a/airfield 1\n");
    must_fail(f, WSL_ECORRUPT, "categories_places365.txt:1");
}

/* ---- tar ---- */

/* Samples as WebDataset has them, packed by Debian's tar. */
static void put_samples(const struct fixture *f, const char *folder)
{
    char name[256];

    make_folder(f, folder);
    for (int i = 0; i < SAMPLES; i++) {
        snprintf(name, sizeof name, "%s/s%03d.jpg", folder, i);
        put_jpeg(f, name, draw(32, 32, (uint64_t)i, false));
        snprintf(name, sizeof name, "%s/s%03d.cls", folder, i);
        put_text(f, name, i % 2 ? "1\n" : "0\n");
        snprintf(name, sizeof name, "%s/s%03d.seg.png", folder, i);
        put_text(f, name, "not looked at");
    }
}

static void pack(const struct fixture *f, const char *command)
{
    char line[512];

    snprintf(line, sizeof line, "cd %s && %s", f->folder, command);
    assert_int_equal(system(line), 0);
}

static void shards_are_read_through_links(void **state)
{
    struct fixture *f = *state;
    char source[128];

    put_samples(f, "s");
    make_folder(f, "shards");
    pack(f, "tar cf one.tar s && ln -s ../one.tar shards/0.tar && ln -s gone shards/1.tar && "
            "ln -s shards link");
    snprintf(source, sizeof source, "%s/link", f->folder);
    import_from(f, WSL_IMPORT_TAR, source);
    import_well(f);
    assert_int_equal(f->result.train + f->result.heldout, SAMPLES);
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_CONTAINER], 1);
    must_have_text(f, "quarantine.tsv", "/link/1.tar\t0\tdamaged container: cannot open ");
}

static void tar_files_of_all_kinds_are_equal(void **state)
{
    static const char *const files[] = {"gnu.tar", "pax.tar", "ustar.tar", "packed.tar.gz", "dir"};
    struct fixture *f = *state;
    char first[40] = "", source[128], name[512];
    int input = dup(STDIN_FILENO), file;

    put_samples(f, "s");
    /* A name that no ustar header holds. */
    memset(name, 'x', sizeof name);
    memcpy(name, "s/y", 3);
    strcpy(name + 200, ".jpg");
    put_jpeg(f, name, draw(32, 32, 900, false));
    strcpy(name + 200, ".cls");
    put_text(f, name, "1");
    pack(f, "tar --sort=name --format=gnu -cf gnu.tar s && tar --sort=name --format=pax -cf "
            "pax.tar s && gzip -c gnu.tar > packed.tar.gz");
    unlink(path_in(f, name));
    strcpy(name + 200, ".jpg");
    rename(path_in(f, name), path_in(f, "s/y.jpg"));
    put_text(f, "s/y.cls", "1");
    pack(f, "tar --sort=name --format=ustar -cf ustar.tar s && mkdir dir && cd s && "
            "tar -cf ../dir/0.tar s00* && tar -czf ../dir/1.tgz s01* y*");
    put_text(f, "names", "cat\nred dog\n");
    f->setup.label_names = path_in(f, "names");
    for (size_t i = 0; i < 5; i++) {
        snprintf(source, sizeof source, "%s/%s", f->folder, files[i]);
        snprintf(name, sizeof name, "%s/names", f->folder);
        f->setup.label_names = name;
        import_from(f, WSL_IMPORT_TAR, source);
        import_well(f);
        assert_int_equal(f->result.train + f->result.heldout, SAMPLES + 1);
        assert_int_equal(bad_count(&f->result), 0);
        if (i == 0)
            strcpy(first, f->result.fingerprint);
        if (i == 1 || i == 3) /* the same names */
            assert_string_equal(f->result.fingerprint, first);
        assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    }
    file = open(path_in(f, "packed.tar.gz"), O_RDONLY);
    dup2(file, STDIN_FILENO);
    import_from(f, WSL_IMPORT_TAR, "-");
    import_well(f);
    assert_string_equal(f->result.fingerprint, first);
    must_be_in(f, "s/s003.jpg", f->result.heldout == 0 ? WSL_SPLIT_TRAIN : WSL_SPLIT_TRAIN,
               "red dog");
    dup2(input, STDIN_FILENO);
    close(input);
    close(file);
}

static void tar_texts_become_tags(void **state)
{
    struct fixture *f = *state;
    struct wsl_dataset *ds;
    struct wsl_record record;
    char source[128];

    make_folder(f, "s");
    put_labelled(f, "s/p%d.jpg", 0, 9);
    put_text(f, "s/p0.json", "{\"tags\": [\"Dog\", \"cat\"]}");
    put_text(f, "s/p1.txt", "My #Dog, and a #red_ball! 100%");
    put_text(f, "s/p2.tags", "cat, bird");
    put_text(f, "s/p3.json", "{\"tags\": ");
    put_text(f, "s/p4.cls", "3");
    put_text(f, "s/p5.txt", "no words");
    put_text(f, "s/p7.txt", "#cat");
    put_text(f, "s/p8.jpeg", "junk"); /* a second picture of that name: on its own */
    pack(f, "tar --sort=name -cf t.tar s && tar -cf empty.tar -T /dev/null");
    snprintf(source, sizeof source, "%s/t.tar", f->folder);
    import_from(f, WSL_IMPORT_TAR, source);
    f->setup.heldout = 0;
    import_well(f);
    assert_int_equal(f->result.train, 4);
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_NO_TAGS], 6);
    must_have_text(f, "quarantine.tsv", "\tno tags: its .json is no JSON object: ");
    ds = open_made(f);
    assert_true(find_record(ds, "s/p1.jpg", &record));
    assert_true(has_tag(ds, &record, "dog") && has_tag(ds, &record, "red ball"));
    assert_int_equal(record.tag_count, 2);
    wsl_dataset_close(ds);
    assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    snprintf(source, sizeof source, "%s/empty.tar", f->folder);
    must_fail(f, WSL_EINVAL, "has no images");
    must_fail(f, WSL_EINVAL, "has no images");
    snprintf(source, sizeof source, "%s/none.tar", f->folder);
    must_fail(f, WSL_ENOENT, "none.tar");
    make_folder(f, "nothing");
    snprintf(source, sizeof source, "%s/nothing", f->folder);
    must_fail(f, WSL_EINVAL, "no *.tar");
}

/* What is wrong with a container never ends an import that has something to go on with, and never
 * the process. */
static void import_spoilt(struct fixture *f)
{
    const struct wsl_import_result *n = &f->result;
    int r = import(f);

    if (r == 0) {
        assert_int_equal(n->seen, n->excluded + bad_count(n) + n->duplicates + n->untagged +
                                      n->train + n->heldout);
        wsl_dataset_close(open_made(f));
        assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    } else if (r != WSL_EINVAL && r != WSL_ECORRUPT && r != WSL_EIO) {
        fail_msg("%d: %s", r, f->err.text);
    } else {
        nothing_is_left(f);
    }
}

static void spoil(struct wsl_buf *b, uint64_t seed)
{
    struct wsl_rng rng;
    uint32_t how;

    wsl_rng_start(&rng, 7, seed);
    how = wsl_rng_u32(&rng) % 4;
    if (how == 0)
        b->size = wsl_rng_u32(&rng) % b->size;
    for (uint32_t i = 0; how > 0 && i < 1u << 2 * how; i++) {
        size_t at = wsl_rng_u32(&rng) % b->size;

        /* Headers more often than pixels. */
        if (how == 3)
            at = at / 512 * 512 + wsl_rng_u32(&rng) % 160;
        if (at < b->size)
            b->data[at] = (uint8_t)(wsl_rng_u32(&rng) % 3 ? wsl_rng_u32(&rng) : 0xff);
    }
}

static void spoil_all(struct fixture *f, const char *good, const char *spoilt)
{
    struct wsl_buf whole = {0}, b = {0};

    read_all(f, good, &whole);
    for (uint64_t seed = 0; seed < SPOILT; seed++) {
        wsl_buf_clear(&b);
        wsl_buf_add(&b, whole.data, whole.size);
        spoil(&b, seed);
        put_bytes(f, spoilt, b.data, b.size);
        import_spoilt(f);
    }
    wsl_buf_free(&whole);
    wsl_buf_free(&b);
}

/* Bytes up to the middle of the padding behind the last .cls of the first half. */
static size_t cut_in_padding(const struct wsl_buf *tar)
{
    size_t at = tar->size / 2 / 512 * 512;

    while (!strstr((const char *)tar->data + at, ".cls") || tar->data[at + 156] != '0' ||
           strlen((const char *)tar->data + at) > 99)
        at -= 512;
    return at + 512 + 160;
}

static void spoilt_tar_files_do_no_harm(void **state)
{
    struct fixture *f = *state;
    struct wsl_buf b = {0};
    char source[128], line[256];

    put_samples(f, "s");
    pack(f, "tar --sort=name --format=pax -cf good.tar s && gzip -c good.tar > good.tar.gz");
    snprintf(source, sizeof source, "%s/bad.tar", f->folder);
    import_from(f, WSL_IMPORT_TAR, source);
    spoil_all(f, "good.tar", "bad.tar");
    spoil_all(f, "good.tar.gz", "bad.tar");
    /* Cut in the middle: what was before is kept, and the place is named. */
    read_all(f, "good.tar.gz", &b);
    put_bytes(f, "bad.tar", b.data, b.size / 2);
    import_well(f);
    assert_in_range(f->result.train + f->result.heldout, 2, SAMPLES - 1);
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_CONTAINER], 1);
    snprintf(line, sizeof line, "%s\t", source);
    must_have_text(f, "quarantine.tsv", line);
    must_have_text(f, "quarantine.tsv", "\tdamaged container: the gzip data end early\n");
    /* Cut in the padding of a member whose bytes are all there: the second sample's label. */
    wsl_buf_clear(&b);
    read_all(f, "good.tar", &b);
    put_bytes(f, "bad.tar", b.data, cut_in_padding(&b));
    assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    import_well(f);
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_CONTAINER], 1);
    must_have_text(f, "quarantine.tsv", "\tdamaged container: it ends early\n");
    /* A size of 8 EiB, in base 256, with the right checksum: what follows is read all the same. */
    wsl_buf_clear(&b);
    read_all(f, "good.tar", &b);
    memset(b.data + 124, 0xff, 12);
    b.data[124] = 0x80;
    memset(b.data + 148, ' ', 8);
    for (unsigned sum = 0, i = 0; i < 512; i++) {
        sum += b.data[i];
        if (i == 511)
            snprintf((char *)b.data + 148, 8, "%06o", sum);
    }
    put_bytes(f, "bad.tar", b.data, b.size);
    assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    import_well(f);
    assert_int_equal(f->result.train + f->result.heldout, SAMPLES);
    must_have_text(f, "quarantine.tsv", "\tdamaged container: a header with a size that is none: ");
    wsl_buf_free(&b);
}

/* ---- LMDB ---- */

/* Pixels as Caffe stores them: planes, blue first. */
static void add_planes(struct wsl_buf *b, const struct wsl_image *image)
{
    size_t pixels = (size_t)image->width * (size_t)image->height;
    uint8_t *planes = malloc(3 * pixels);

    for (size_t i = 0; i < pixels; i++)
        for (size_t c = 0; c < 3; c++)
            planes[c * pixels + i] = image->pixels[3 * i + 2 - c];
    add_bytes(b, 4, planes, 3 * pixels);
    free(planes);
}

static void put_datums(const struct fixture *f, const char *folder)
{
    struct wsl_buf value = {0}, jpeg = {0};
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_env *env = open_lmdb(f, folder, &txn, &dbi);
    char key[64];

    for (int i = 0; i < 40; i++) {
        struct wsl_image image = draw(48, 32, (uint64_t)i, false);

        wsl_buf_clear(&value);
        wsl_buf_clear(&jpeg);
        add_number(&value, 1, 3);
        add_number(&value, 2, 32);
        add_number(&value, 3, 48);
        if (i % 4) {
            wsl_image_encode_jpeg(&image, 95, &jpeg, NULL);
            add_bytes(&value, 4, jpeg.data, jpeg.size);
        } else {
            add_planes(&value, &image);
        }
        add_number(&value, 5, (uint64_t)(i % 2));
        if (i % 4)
            add_number(&value, 7, 1);
        snprintf(key, sizeof key, "%08d_n0/x_%d.JPEG", i, i);
        put_value(txn, dbi, key, &value);
        wsl_image_free(&image);
    }
    wsl_buf_clear(&value);
    add_number(&value, 1, 3);
    add_bytes(&value, 4, "xyz", 3);
    put_value(txn, dbi, "99999990", &value);
    wsl_buf_clear(&value);
    wsl_buf_add_text(&value, "\x08\x03\x22\x7f short");
    put_value(txn, dbi, "99999991", &value);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    wsl_buf_free(&value);
    wsl_buf_free(&jpeg);
}

static void caffe_is_read(void **state)
{
    struct fixture *f = *state;
    struct wsl_image_limits limits = {0};
    struct wsl_image image, was = draw(48, 32, 4, false);
    struct wsl_dataset *ds;
    struct wsl_record record;
    char source[128];
    long difference = 0;

    put_datums(f, "db");
    snprintf(source, sizeof source, "%s/db", f->folder);
    import_from(f, WSL_IMPORT_LMDB, source);
    f->setup.quality = 100;
    import_well(f);
    assert_int_equal(f->result.train + f->result.heldout, 40);
    assert_int_equal(f->result.kept_jpegs, 30);
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_DAMAGED], 2);
    must_have_text(f, "quarantine.tsv", "99999990\t");
    must_have_text(f, "quarantine.tsv", "a raw image of an impossible size");
    must_have_text(f, "quarantine.tsv", "no Datum: its fields do not fit");
    ds = open_made(f);
    assert_string_equal(wsl_dataset_kind(ds), "labels");
    assert_true(find_record(ds, "00000004_n0/x_4.JPEG", &record));
    assert_true(has_tag(ds, &record, "0"));
    assert_int_equal(wsl_image_decode(record.jpeg, record.jpeg_size, &limits, &image, NULL), 0);
    assert_int_equal(image.width, 48);
    for (int i = 0; i < 48 * 32 * 3; i++)
        difference += labs((long)image.pixels[i] - was.pixels[i]);
    assert_in_range(difference / (48 * 32 * 3), 0, 60); /* colour at half size; swapped: over 80 */
    wsl_image_free(&image);
    wsl_image_free(&was);
    wsl_dataset_close(ds);
    /* The file itself instead of its folder. */
    strcat(source, "/data.mdb");
    again(f);
    assert_int_equal(f->result.train + f->result.heldout, 40);
}

static void add_tensor(struct wsl_buf *protos, const struct wsl_buf *tensor)
{
    add_bytes(protos, 1, tensor->data, tensor->size);
}

static void caffe2_is_read(void **state)
{
    struct fixture *f = *state;
    struct wsl_buf protos = {0}, tensor = {0}, jpeg = {0}, numbers = {0};
    struct wsl_dataset *ds;
    struct wsl_record record;
    char source[128], key[32];
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_env *env = open_lmdb(f, "db", &txn, &dbi);

    for (int i = 0; i < 20; i++) {
        struct wsl_image image = draw(48, 32, (uint64_t)i, false);

        wsl_buf_clear(&protos);
        wsl_buf_clear(&tensor);
        wsl_buf_clear(&jpeg);
        wsl_buf_clear(&numbers);
        add_number(&tensor, 2, i % 4 ? 4 : 3);
        if (i % 4) {
            wsl_image_encode_jpeg(&image, 95, &jpeg, NULL);
            add_bytes(&tensor, 6, jpeg.data, jpeg.size);
        } else {
            add_number(&tensor, 1, 32);
            add_number(&tensor, 1, 48);
            add_number(&tensor, 1, 3);
            add_bytes(&tensor, 5, image.pixels, 48 * 32 * 3);
        }
        add_tensor(&protos, &tensor);
        wsl_buf_clear(&tensor);
        add_number(&tensor, 2, 2);
        add_varint(&numbers, (uint64_t)(i % 3));
        if (i > 0)
            add_varint(&numbers, 7);
        add_bytes(&tensor, 4, numbers.data, numbers.size); /* packed */
        add_tensor(&protos, &tensor);
        snprintf(key, sizeof key, "%c%c%c", 1, 0x80 + i, 3);
        put_value(txn, dbi, key, &protos);
        wsl_image_free(&image);
    }
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    put_text(f, "names", "zero\none\ntwo\n");
    snprintf(source, sizeof source, "%s/db", f->folder);
    f->setup.label_names = path_in(f, "names");
    import_from(f, WSL_IMPORT_LMDB, source);
    import_well(f);
    assert_int_equal(f->result.train + f->result.heldout, 20);
    ds = open_made(f);
    assert_string_equal(wsl_dataset_kind(ds), "tags");
    assert_true(find_record(ds, "018403", &record)); /* the key in base 16 */
    assert_true(has_tag(ds, &record, "one") && has_tag(ds, &record, "7"));
    wsl_dataset_close(ds);
    wsl_buf_free(&protos);
    wsl_buf_free(&tensor);
    wsl_buf_free(&jpeg);
    wsl_buf_free(&numbers);
}

static void spoilt_databases_do_no_harm(void **state)
{
    struct fixture *f = *state;
    char source[128];

    put_datums(f, "db");
    snprintf(source, sizeof source, "%s/bad.mdb", f->folder);
    import_from(f, WSL_IMPORT_LMDB, source);
    spoil_all(f, "db/data.mdb", "bad.mdb");
    put_text(f, "bad.mdb", "not a database, but a text");
    must_fail(f, WSL_ECORRUPT, "bad.mdb");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, make, clear)
    const struct CMUnitTest tests[] = {
        CASE(imagenet_is_read),
        CASE(cub200_is_read),
        CASE(places365_is_read),
        CASE(shards_are_read_through_links),
        CASE(tar_files_of_all_kinds_are_equal),
        CASE(tar_texts_become_tags),
        CASE(spoilt_tar_files_do_no_harm),
        CASE(caffe_is_read),
        CASE(caffe2_is_read),
        CASE(spoilt_databases_do_no_harm),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
