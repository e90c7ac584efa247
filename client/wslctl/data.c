/* SPDX-License-Identifier: Apache-2.0
 *
 * data: its verbs; data show: what is in a data set.
 */
#include "client/wslctl/wslctl.h"

#include "storage/dataset/dataset.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct wsl_ctl_verb verbs[] = {
    {"import", NULL, "", 0, 0, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Make a data set from a manifest, a directory tree, tar files or an LMDB.",
     "Images are PNG or JPEG. Those that cannot be used never stop an import: quarantine.tsv in "
     "the output directory lists each with its place and the reason. Run the same command again "
     "to resume an interrupted import.\n"
     "JPEGs are kept byte for byte, except those that must be rotated (Exif), scaled or converted "
     "to RGB.",
     "  wslctl data import --directory photos/ --into /data/p --min-label-images 20\n"
     "  curl URL | wslctl data import --tar - --into /data/shards --transcode\n"
     "  wslctl data import --lmdb ilsvrc12_train_lmdb --label-names synsets.txt --into /data/in\n"
     "  wslctl data import --manifest clipart.tsv --wordnet /usr/share/wordnet --into "
     "/data/clipart",
     wsl_ctl_data_import},
    {"show", NULL, "DIR...", 1, -1, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Show the size of data sets and their most frequent tags.",
     "Nothing is printed when one of several data sets cannot be opened. -o json prints a list, "
     "'datasets', and for a single one 'dataset' too.",
     "  wslctl data show /data/clipart --tags 20\n"
     "  wslctl data show /data/clipart /data/photos",
     wsl_ctl_data_show},
    {"stats", NULL, "DIR", 1, 1, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Show the distribution of image sizes, in bytes and pixels, and of tags per image.", NULL,
     "  wslctl data stats /data/clipart", wsl_ctl_data_stats},
    {"sample", NULL, "DIR", 1, 1, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Make a contact sheet, an HTML page, of images chosen at random, with their record numbers "
     "and tags.",
     "Look at it before you train. 'wslctl tags why DIR NUMBER' says more about one image.",
     "  wslctl data sample /data/clipart --into sheet.html\n"
     "  wslctl data sample /data/clipart --tag cat --count 60 --into cats.html",
     wsl_ctl_data_sample},
    {"export", NULL, "DIR", 1, 1, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Write the images and tags as files, or as a tar file that WebDataset reads.",
     "The directory can be imported again: with tags it has manifests, with labels a subdirectory "
     "per label.",
     "  wslctl data export /data/clipart --to /tmp/clipart\n"
     "  wslctl data export /data/clipart --split heldout --to heldout.tar",
     wsl_ctl_data_export},
    {"merge", NULL, "DIR...", 1, -1, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Merge several data sets into a new one.",
     "Tags are the same when their synsets are, or their names. Images with equal pixels become "
     "one record, which is held out if it was in any of the data sets.",
     "  wslctl data merge /data/a /data/b --into /data/ab", wsl_ctl_data_merge},
    {"split", NULL, "DIR", 1, 1, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Take a fraction of the training images, or hold out another fraction.",
     "--share makes views, which a job's data may name: with the same seed a smaller fraction is "
     "part of a larger one, and held-out images are in every view. --heldout copies the images.",
     "  wslctl data split /data/clipart --share 0.1 --into /data/clipart-10\n"
     "  wslctl data split /data/clipart --heldout 0.2 --into /data/clipart-80-20",
     wsl_ctl_data_split},
    {"verify", NULL, "DIR", 1, 1, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Read every record of a data set and list the damaged ones.",
     "Compares checksums and fingerprints. Exit code 1 when anything is damaged.",
     "  wslctl data verify /data/clipart", wsl_ctl_data_verify},
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

int wsl_ctl_data(struct wsl_ctl *ctl, int argc, char **argv)
{
    return wsl_ctl_group(ctl, verbs, VERBS, argc, argv);
}

/* ---- show ---- */

static int by_count(const void *a, const void *b)
{
    const struct wsl_tag *x = *(const struct wsl_tag *const *)a;
    const struct wsl_tag *y = *(const struct wsl_tag *const *)b;

    if (x->train != y->train)
        return x->train < y->train ? 1 : -1;
    return strcmp(x->name, y->name);
}

/* All tags, the most frequent first; the caller frees the list. */
static const struct wsl_tag **sorted_tags(const struct wsl_dataset *ds, size_t count)
{
    const struct wsl_tag **tags = calloc(count + 1, sizeof(*tags));

    for (size_t i = 0; i < count && tags; i++)
        tags[i] = wsl_dataset_tag(ds, i);
    if (tags)
        qsort(tags, count, sizeof(*tags), by_count);
    return tags;
}

static void add_split(struct wsl_buf *out, const struct wsl_dataset *ds, enum wsl_split split,
                      const char *label)
{
    char images[WSL_CTL_TEXT], bytes[WSL_CTL_TEXT];

    wsl_ctl_count(wsl_dataset_count(ds, split), images);
    wsl_ctl_bytes(wsl_dataset_bytes(ds, split), bytes);
    wsl_buf_add_format(out, "%-12s %s images in %zu shard%s, %s\n", label, images,
                       wsl_dataset_shard_count(ds, split),
                       wsl_dataset_shard_count(ds, split) == 1 ? "" : "s", bytes);
}

static int add_tags(struct wsl_buf *out, const struct wsl_tag *const *tags, size_t count)
{
    static const struct wsl_ctl_column columns[] = {
        {"TAG", false}, {"TRAIN", true}, {"HELD OUT", true}, {"SHARE", false}, {"SYNSET", false}};
    struct wsl_ctl_table table = {.columns = columns, .column_count = 5, .indent = 2};
    int r;

    for (size_t i = 0; i < count; i++) {
        char text[WSL_CTL_TEXT];
        int length = tags[0]->train ? (int)(24 * tags[i]->train / tags[0]->train) : 0;

        wsl_ctl_cell(&table, "%s", tags[i]->name);
        wsl_ctl_count(tags[i]->train, text);
        wsl_ctl_cell(&table, "%s", text);
        wsl_ctl_count(tags[i]->heldout, text);
        wsl_ctl_cell(&table, "%s", text);
        wsl_ctl_cell(&table, "%.*s", length > 0 ? length : 1, "########################");
        wsl_ctl_cell(&table, "%s", tags[i]->synset);
    }
    r = wsl_ctl_table_print(&table, out);
    wsl_ctl_table_free(&table);
    return r;
}

static int add_text(struct wsl_buf *out, const char *directory, const struct wsl_dataset *ds,
                    const struct wsl_tag *const *tags, size_t shown)
{
    size_t count = wsl_dataset_tag_count(ds);
    int r;

    wsl_buf_add_format(out, "%-12s %s (%s)\n%-12s %s\n", "Name:", wsl_dataset_name(ds),
                       wsl_dataset_kind(ds), "Directory:", directory);
    wsl_buf_add_format(out, "%-12s %s\n%-12s %s\n", "Created:", wsl_dataset_created(ds),
                       "Fingerprint:", wsl_dataset_fingerprint(ds));
    if (wsl_dataset_base(ds))
        wsl_buf_add_format(out, "%-12s %s\n", "View of:", wsl_dataset_base(ds));
    if (wsl_dataset_external_file(ds))
        wsl_buf_add_format(out, "%-12s %s\n", "Images in:", wsl_dataset_external_file(ds));
    add_split(out, ds, WSL_SPLIT_TRAIN, "Train:");
    add_split(out, ds, WSL_SPLIT_HELDOUT, "Held out:");
    r = wsl_buf_add_format(out, "%-12s %zu%s\n", "Tags:", count,
                           shown < count ? ", the most frequent:" : "");
    return r == 0 && shown > 0 ? add_tags(out, tags, shown) : r;
}

static json_t *split_json(const struct wsl_dataset *ds, enum wsl_split split)
{
    return json_pack("{s:I, s:I, s:I}", "images", (json_int_t)wsl_dataset_count(ds, split),
                     "shards", (json_int_t)wsl_dataset_shard_count(ds, split), "bytes",
                     (json_int_t)wsl_dataset_bytes(ds, split));
}

static json_t *tags_json(const struct wsl_tag *const *tags, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count && list; i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:I, s:I}", "name", tags[i]->name, "synset",
                                        tags[i]->synset, "train", (json_int_t)tags[i]->train,
                                        "heldout", (json_int_t)tags[i]->heldout));
    return list;
}

static json_t *dataset_json(const char *directory, const struct wsl_dataset *ds,
                            const struct wsl_tag *const *tags, size_t shown)
{
    json_t *object =
        json_pack("{s:o, s:s, s:s, s:s, s:s, s:o, s:o, s:I, s:o}", "folder",
                  wsl_ctl_json_text(directory, strlen(directory)), "name", wsl_dataset_name(ds),
                  "kind", wsl_dataset_kind(ds), "created", wsl_dataset_created(ds), "fingerprint",
                  wsl_dataset_fingerprint(ds), "train", split_json(ds, WSL_SPLIT_TRAIN), "heldout",
                  split_json(ds, WSL_SPLIT_HELDOUT), "tag_count",
                  (json_int_t)wsl_dataset_tag_count(ds), "tags", tags_json(tags, shown));

    json_object_set_new(object, "base",
                        wsl_dataset_base(ds)
                            ? wsl_ctl_json_text(wsl_dataset_base(ds), strlen(wsl_dataset_base(ds)))
                            : json_null());
    json_object_set_new(object, "in_place",
                        wsl_dataset_external_file(ds)
                            ? wsl_ctl_json_text(wsl_dataset_external_file(ds),
                                                strlen(wsl_dataset_external_file(ds)))
                            : json_null());
    return object;
}

/* Appends one data set to the text or the list. Negative: `err` says why, or memory is used up. */
static int show_one(const struct wsl_ctl *ctl, const char *directory, uint64_t max_tags,
                    struct wsl_buf *text, json_t *list, struct wsl_err *err)
{
    struct wsl_dataset *ds = NULL;
    const struct wsl_tag **tags;
    size_t count, shown;
    int r = wsl_dataset_open(&ds, directory, err);

    if (r < 0)
        return r;
    count = wsl_dataset_tag_count(ds);
    shown = count < max_tags ? count : (size_t)max_tags;
    tags = sorted_tags(ds, count);
    if (!tags)
        r = wsl_fail(err, WSL_ENOMEM, "out of memory");
    else if (ctl->format == WSL_CTL_JSON)
        r = json_array_append_new(list, dataset_json(directory, ds, tags, shown)) == 0
                ? 0
                : wsl_fail(err, WSL_ENOMEM, "out of memory");
    else if (add_text(text, directory, ds, tags, shown) < 0)
        r = wsl_fail(err, WSL_ENOMEM, "out of memory");
    free(tags);
    wsl_dataset_close(ds);
    return r;
}

/* Takes the list. Scripts that ask about one data set read "dataset". */
static int put_list(json_t *list)
{
    json_t *only = json_array_size(list) == 1 ? json_incref(json_array_get(list, 0)) : NULL;

    if (only)
        return wsl_ctl_put_json(wsl_ctl_json_document("dataset", only, "datasets", list, NULL),
                                WSL_CTL_DONE);
    return wsl_ctl_put_json(wsl_ctl_json_document("datasets", list, NULL), WSL_CTL_DONE);
}

int wsl_ctl_data_show(struct wsl_ctl *ctl, int argc, char **argv)
{
    uint64_t max_tags = UINT64_MAX;
    struct wsl_buf text = {0};
    struct wsl_err err = {0};
    json_t *list;
    int r = 0;
    const struct wsl_arg rows[] = {
        {"tags", 0, WSL_ARG_UINT, &max_tags, 0, 1e9, "N",
         "number of tags to show (default: 10; -o json: all)"},
    };

    if (!wsl_ctl_parse(ctl, rows, 1, argc, argv))
        return ctl->exit_code;
    if (max_tags == UINT64_MAX && ctl->format != WSL_CTL_JSON)
        max_tags = 10;
    list = json_array();
    for (int i = 0; i < ctl->word_count && r == 0; i++) {
        if (i > 0 && ctl->format != WSL_CTL_JSON && wsl_buf_add_format(&text, "\n") < 0)
            r = wsl_fail(&err, WSL_ENOMEM, "out of memory");
        if (r == 0)
            r = show_one(ctl, ctl->words[i], max_tags, &text, list, &err);
    }
    if (r == 0 && ctl->format == WSL_CTL_JSON)
        return put_list(list);
    json_decref(list);
    if (r == 0)
        return wsl_ctl_put(&text, 0, WSL_CTL_DONE);
    wsl_buf_free(&text);
    return wsl_ctl_fail(ctl, &err);
}
