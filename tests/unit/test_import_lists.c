/* SPDX-License-Identifier: Apache-2.0
 *
 * Lists and trees that an import reads, as people and other systems leave them.
 */
#include "import_world.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- lists ---- */

static void json_lines_are_read(void **state)
{
    struct fixture *f = *state;
    char line[128];
    struct wsl_dataset *ds;
    struct wsl_record record;

    for (int i = 0; i < 20; i++) {
        snprintf(line, sizeof line, "p%d.jpg", i);
        put_jpeg(f, line, draw(32, 32, (uint64_t)i, false));
        wsl_buf_add_format(&f->lines,
                           "{\"path\": \"p%d.jpg\", \"tags\": [\"%s\", \"Big, Small\"]}\n", i,
                           i % 2 ? "dog" : "cat");
    }
    wsl_buf_add_text(&f->lines, "{\"path\": \"p0.jpg\", \"tags\": \"bird,cat\"}\n"
                                "{\"path\": \"p1.jpg\" \"tags\": []}\n"
                                "[1]\n"
                                "{\"path\": \"p1.jpg\", \"tags\": [1]}\n"
                                "{\"path\": \"p1.jpg\", \"label\": \"x\"}\n"
                                "{\"path\": \"\", \"tags\": [\"x\"]}\n"
                                "{\"path\": \"p1.jpg\", \"path\": \"p2.jpg\", \"tags\": [\"x\"]}\n"
                                "{\"path\": \"p\\u0000.jpg\", \"tags\": [\"x\"]}\n"
                                "{\"path\": \"p1.jpg\", \"tags\": [], \"split\": \"test\"}\n"
                                "{\"path\": \"p1.jpg\", \"tags\": []}\n");
    import_from(f, WSL_IMPORT_JSONL, f->manifest);
    import_well(f);
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_LINE], 8);
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_NO_TAGS], 1);
    snprintf(line, sizeof line, "\nline 23\t%td\tbad line: no JSON object\n",
             strstr((char *)f->lines.data, "[1]\n") - (char *)f->lines.data);
    must_have_text(f, "quarantine.tsv", line);
    must_have_text(f, "quarantine.tsv", "line 22\t");
    must_have_text(f, "quarantine.tsv", "bad line: \"split\" is neither \"train\" nor \"heldout\"");
    ds = open_made(f);
    assert_true(find_record(ds, "p0.jpg", &record));
    assert_int_equal(record.tag_count, 3);
    assert_true(has_tag(ds, &record, "big, small") && has_tag(ds, &record, "bird"));
    wsl_dataset_close(ds);
}

static void json_labels_and_splits(void **state)
{
    struct fixture *f = *state;
    char name[32];

    for (int i = 0; i < 12; i++) {
        snprintf(name, sizeof name, "p%d.jpg", i);
        put_jpeg(f, name, draw(32, 32, (uint64_t)i, false));
        wsl_buf_add_format(&f->lines, "{\"path\": \"p%d.jpg\", \"label\": %s, \"split\": \"%s\"}\n",
                           i, i % 2 ? "7" : "\"Grün\"", i < 4 ? "heldout" : "train");
    }
    import_from(f, WSL_IMPORT_JSONL, f->manifest);
    import_well(f);
    assert_int_equal(f->result.heldout, 4);
    must_be_in(f, "p1.jpg", WSL_SPLIT_HELDOUT, "7");
    must_be_in(f, "p4.jpg", WSL_SPLIT_TRAIN, "Grün");
    f->setup.wordnet = f->folder;
    assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    put_text(f, "index.noun", "dog n 1 1 @ 1 1 02084071  \n");
    put_text(f, "noun.exc", "oxen ox\n");
    must_fail(f, WSL_EINVAL, "has labels");
}

static void null_is_absent(void **state)
{
    struct fixture *f = *state;
    char name[32];

    for (int i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "p%d.jpg", i);
        put_jpeg(f, name, draw(32, 32, (uint64_t)i, false));
        wsl_buf_add_format(&f->lines,
                           "{\"path\": \"p%d.jpg\", \"tags\": null, \"split\": null, "
                           "\"label\": \"%s\"}\n",
                           i, i % 2 ? "hen" : "owl");
    }
    wsl_buf_add_text(&f->lines, "{\"path\": null, \"label\": \"owl\"}\n"
                                "{\"path\": \"p0.jpg\", \"label\": null}\n");
    import_from(f, WSL_IMPORT_JSONL, f->manifest);
    import_well(f);
    assert_int_equal(f->result.train + f->result.heldout, 6);
    must_have_text(f, "quarantine.tsv", "line 7\t");
    must_have_text(f, "quarantine.tsv", "bad line: no \"label\"");
    wsl_buf_clear(&f->lines);
    wsl_buf_add_text(
        &f->lines, "{\"path\": \"p0.jpg\", \"label\": null, \"tags\": [\"owl\", null, \"hen\"]}\n");
    again(f);
    assert_int_equal(f->result.train + f->result.heldout, 1);
    must_have_text(f, "dataset.json", "\"owl\"");
}

static void captions_have_hashtags(void **state)
{
    struct fixture *f = *state;
    struct wsl_dataset *ds;
    struct wsl_record record;

    for (int i = 0; i < 3; i++) {
        char name[32];

        snprintf(name, sizeof name, "p%d.jpg", i);
        put_jpeg(f, name, draw(32, 32, (uint64_t)i, false));
    }
    wsl_buf_add_text(
        &f->lines, "{\"path\": \"p0.jpg\", \"caption\": \"A #Hen&#39;s nest #1 #\\u2600\\ufe0f\"}\n"
                   "{\"path\": \"p1.jpg\", \"caption\": \"#hen\", \"tags\": [\"Owl\"]}\n"
                   "{\"path\": \"p2.jpg\", \"caption\": \"owl.org/#owl #\\uff28\\uff25\\uff2e\", "
                   "\"tags\": null}\n"
                   "{\"path\": \"p2.jpg\", \"caption\": \"none\"}\n"
                   "{\"path\": \"p2.jpg\", \"caption\": 7}\n");
    import_from(f, WSL_IMPORT_JSONL, f->manifest);
    import_well(f);
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_NO_TAGS], 1);
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_LINE], 1);
    ds = open_made(f);
    assert_true(find_record(ds, "p0.jpg", &record));
    assert_int_equal(record.tag_count, 2);
    assert_true(has_tag(ds, &record, "hen") && has_tag(ds, &record, "\u2600"));
    assert_true(find_record(ds, "p1.jpg", &record));
    assert_true(record.tag_count == 1 && has_tag(ds, &record, "owl"));
    assert_true(find_record(ds, "p2.jpg", &record));
    assert_true(record.tag_count == 1 && has_tag(ds, &record, "hen"));
    wsl_dataset_close(ds);
}

/* `text` with a byte order mark, CRLF and no end of its last line; as UTF-16 when `wide`. */
static void put_windows_text(const struct fixture *f, const char *name, const char *text, bool wide)
{
    struct wsl_buf out = {0};

    assert_int_equal(wsl_buf_add(&out, wide ? "\xff\xfe" : "\xef\xbb\xbf", wide ? 2 : 3), 0);
    for (; text[0] && !(text[0] == '\n' && text[1] == '\0'); text++) {
        char crlf[] = {'\r', 0, '\n', 0}, one[] = {*text, 0};

        if (*text == '\n' && wide)
            wsl_buf_add(&out, crlf, 4);
        else if (*text == '\n')
            wsl_buf_add_text(&out, "\r\n");
        else
            wsl_buf_add(&out, one, wide ? 2 : 1);
    }
    put_bytes(f, name, out.data, out.size);
    wsl_buf_free(&out);
}

static void texts_of_windows_are_read(void **state)
{
    struct fixture *f = *state;
    char root[128];

    for (int i = 0; i < 4; i++) {
        snprintf(root, sizeof root, "p%d.jpg", i);
        put_jpeg(f, root, draw(32, 32, (uint64_t)i, false));
    }
    import_from(f, WSL_IMPORT_MANIFEST, f->manifest);
    put_windows_text(f, "list.tsv", "p0.jpg\towl\np1.jpg\then\n\np2.jpg\towl\np3.jpg\then\n",
                     false);
    import_well(f);
    assert_int_equal(f->result.train + f->result.heldout, 4);
    assert_int_equal(f->result.tags, 2);
    assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    put_windows_text(f, "list.tsv", "p0.jpg\towl\n", true);
    must_fail(f, WSL_ECORRUPT, "list.tsv is UTF-16; save it as UTF-8");
    import_from(f, WSL_IMPORT_JSONL, f->manifest);
    must_fail(f, WSL_ECORRUPT, "list.tsv is UTF-16; save it as UTF-8");
    put_windows_text(f, "list.tsv",
                     "{\"path\": \"p0.jpg\", \"tags\": \"owl,hen\"}\n"
                     "{\"path\": \"p1.jpg\", \"tags\": \"h\xe9n\"}\n"
                     "{\"path\": \"p2.jpg\", \"tags\": \"owl\"}\n",
                     false);
    import_well(f);
    assert_int_equal(f->result.train + f->result.heldout, 2);
    must_have_text(f, "quarantine.tsv", "line 2\t42\tbad line:");
    make_folder(f, "in/train/n01440764");
    make_folder(f, "in/train/n01443537");
    make_folder(f, "in/val");
    put_jpeg(f, "in/train/n01443537/c.JPEG", draw(32, 32, 12, false));
    put_jpeg(f, "in/train/n01440764/a.JPEG", draw(32, 32, 10, false));
    put_jpeg(f, "in/val/b.JPEG", draw(32, 32, 11, false));
    put_windows_text(f, "in/synset_words.txt", "n01440764 tench\nn01443537 goldfish\n", false);
    put_windows_text(f, "in/val.txt", "b.JPEG 0\n", false);
    snprintf(root, sizeof root, "%s/in", f->folder);
    import_from(f, WSL_IMPORT_IMAGENET, root);
    again(f);
    assert_int_equal(f->result.heldout, 1);
    assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    put_windows_text(f, "in/synset_words.txt", "n01440764 tench\n", true);
    must_fail(f, WSL_ECORRUPT, "synset_words.txt is UTF-16");
}

/* ---- trees ---- */

static void put_link(const struct fixture *f, const char *target, const char *name)
{
    assert_int_equal(symlink(target, path_in(f, name)), 0);
}

static void must_have_tags(const struct fixture *f, size_t count, const char *const *names)
{
    struct wsl_dataset *ds = open_made(f);

    assert_int_equal(wsl_dataset_tag_count(ds), count);
    for (size_t i = 0; i < count; i++) {
        size_t t = 0;

        while (t < count && strcmp(wsl_dataset_tag(ds, t)->name, names[i]) != 0)
            t++;
        if (t == count)
            fail_msg("no tag %s", names[i]);
    }
    wsl_dataset_close(ds);
}

static void hidden_and_system_files_are_skipped(void **state)
{
    static const char *const labels[] = {"hen", "owl"};
    static const char *const hidden[] = {".git",       ".Trash-0",   "@eaDir",        "__MACOSX",
                                         "lost+found", "hen/.cache", "hen/x/@eaDir/y"};
    struct fixture *f = *state;
    char root[128], name[64];

    make_folder(f, ".set/hen/x");
    make_folder(f, ".set/owl");
    make_folder(f, ".set/swan/none");
    put_labelled(f, ".set/hen/%d.jpg", 0, 2);
    put_labelled(f, ".set/hen/x/%d.jpg", 2, 1);
    put_labelled(f, ".set/owl/%d.jpg", 3, 3);
    put_labelled(f, ".set/owl/._%d.jpg", 3, 2);
    for (int i = 0; i < 7; i++) {
        snprintf(name, sizeof name, ".set/%s/deep", hidden[i]);
        make_folder(f, name);
        snprintf(name, sizeof name, ".set/%s/deep/%%d.jpg", hidden[i]);
        put_labelled(f, name, 10 + i, 1);
    }
    put_text(f, ".set/owl/Thumbs.db", "x");
    put_text(f, ".set/owl/notes.txt", "x");
    chmod(path_in(f, ".set/lost+found"), 0);
    snprintf(root, sizeof root, "%s/.set", f->folder);
    import_from(f, WSL_IMPORT_DIRECTORIES, root);
    import_well(f);
    assert_int_equal(f->result.seen, 6);
    assert_int_equal(f->result.train + f->result.heldout, 6);
    must_have_tags(f, 2, labels);
    assert_int_equal(f->result.skipped[WSL_IMPORT_SKIP_HIDDEN], 7 + 2 + 1);
    assert_int_equal(f->result.skipped[WSL_IMPORT_SKIP_NOT_IMAGE], 1);
    assert_int_equal(f->result.skipped[WSL_IMPORT_SKIP_EMPTY], 1);
    assert_string_equal(f->result.skipped_first[WSL_IMPORT_SKIP_EMPTY], "swan");
    must_have_text(f, "skipped.tsv", "hen/x/@eaDir\t0\thidden or system file\n");
    must_have_text(f, "skipped.tsv", "swan\t0\tdirectory without an image\n");
    chmod(path_in(f, ".set/lost+found"), 0755);
}

static void links_are_followed(void **state)
{
    static const char *const labels[] = {"hen", "owl", "swan"};
    struct fixture *f = *state;
    char root[128];

    make_folder(f, "store/birds");
    make_folder(f, "store/swans");
    put_labelled(f, "store/birds/%d.jpg", 0, 4);
    put_labelled(f, "store/swans/%d.jpg", 4, 3);
    make_folder(f, "real/hen");
    make_folder(f, "real/owl");
    put_link(f, "../../store/birds/0.jpg", "real/hen/a.jpg");
    put_link(f, "../../store/birds/1.jpg", "real/hen/b.jpg");
    put_link(f, "../../store/birds/2.jpg", "real/owl/a.jpg");
    put_link(f, "../../store/birds/3.jpg", "real/owl/b.jpg");
    put_link(f, "../store/swans", "real/swan");
    put_link(f, "../store/swans", "real/twice"); /* the same again */
    put_link(f, "hen", "real/chicken");          /* within the tree */
    put_link(f, "..", "real/hen/loop");
    put_link(f, ".", "real/owl/self");
    put_link(f, "/nowhere/goose", "real/goose"); /* a class that is lost */
    put_link(f, "gone.jpg", "real/owl/gone.jpg");
    put_link(f, "ring.jpg", "real/owl/ring.jpg");
    put_link(f, "/dev/null", "real/owl/null.jpg");
    put_link(f, "real", "link");
    snprintf(root, sizeof root, "%s/link", f->folder);
    import_from(f, WSL_IMPORT_DIRECTORIES, root);
    import_well(f);
    assert_int_equal(f->result.train + f->result.heldout, 7);
    must_have_tags(f, 3, labels);
    assert_int_equal(f->result.skipped[WSL_IMPORT_SKIP_LINK_AGAIN], 4);
    assert_int_equal(f->result.skipped[WSL_IMPORT_SKIP_SPECIAL], 1);
    assert_int_equal(f->result.quarantined[WSL_QUARANTINE_MISSING], 3);
    must_have_text(f, "skipped.tsv", "twice\t0\tlink to a directory that is read elsewhere\n");
    must_have_text(f, "quarantine.tsv",
                   "goose\t0\tmissing file: a link to /nowhere/goose: No such");
    must_have_text(f, "quarantine.tsv", "owl/gone.jpg\t0\tmissing file: a link to gone.jpg");
    must_have_text(f, "quarantine.tsv",
                   "owl/ring.jpg\t0\tmissing file: a link to ring.jpg: Too many");
    unlink(path_in(f, "link"));
    put_link(f, "nowhere", "link");
    assert_int_equal(wsl_file_remove_tree(f->output, NULL), 0);
    must_fail(f, WSL_ENOENT, "cannot read");
}

/* A link above the tree leads back to it, and to what lies beside it. */
static void a_link_above_the_tree_ends(void **state)
{
    struct fixture *f = *state;
    char root[128];

    make_folder(f, "up/beside");
    make_folder(f, "up/tree/hen");
    make_folder(f, "up/tree/owl");
    put_labelled(f, "up/tree/hen/%d.jpg", 0, 2);
    put_labelled(f, "up/beside/%d.jpg", 2, 2);
    put_link(f, "../..", "up/tree/owl/up");
    snprintf(root, sizeof root, "%s/up/tree", f->folder);
    import_from(f, WSL_IMPORT_DIRECTORIES, root);
    import_well(f);
    assert_int_equal(f->result.train + f->result.heldout, 4);
    must_have_text(f, "dataset.json", "\"owl\"");
    assert_string_equal(f->result.skipped_first[WSL_IMPORT_SKIP_LINK_AGAIN], "owl/up/tree");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, make, clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(json_lines_are_read),
        CASE(json_labels_and_splits),
        CASE(null_is_absent),
        CASE(captions_have_hashtags),
        CASE(texts_of_windows_are_read),
        CASE(hidden_and_system_files_are_skipped),
        CASE(links_are_followed),
        CASE(a_link_above_the_tree_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
