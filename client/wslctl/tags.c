/* SPDX-License-Identifier: Apache-2.0
 *
 * tags: its verbs, what they share, and tags count.
 */
#include "client/wslctl/tags.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct wsl_ctl_verb verbs[] = {
    {"count", NULL, "DATA", 1, 1, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Count a data set's tags: images per tag, and the shape of the long tail.", NULL,
     "  wslctl tags count /data/clipart --top 30", wsl_ctl_tags_count},
    {"vocabulary", NULL, "DATA", 1, 1, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Make a vocabulary: which tags there are, and which spellings mean them.",
     "With --wordnet, the spellings of one noun (synonyms, plurals, words run together) become "
     "one tag.\n"
     "--match keeps only tags that mean a class of the target task. Its file has a line per class: "
     "the synset (n02084071) if it has one, then the class's names, separated by commas.\n"
     "The vocabulary is a text file that can be edited.",
     "  wslctl tags vocabulary /data/raw --wordnet /usr/share/wordnet --only-nouns --top 17000 "
     "--into 17k.tsv\n"
     "  wslctl tags vocabulary /data/raw --wordnet /usr/share/wordnet --match classes.txt "
     "--into matched.tsv",
     wsl_ctl_tags_vocabulary},
    {"segment", NULL, "TAG...", 1, -1, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Split run-together hashtags into words, and show how likely each is.",
     "WordNet's nouns are not split. 'wslctl tags vocabulary --segment' uses the same rule.",
     "  wslctl tags segment goldenretrieverpuppy catlovers", wsl_ctl_tags_segment},
    {"map", NULL, "DATA", 1, 1, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Make a view of a data set with the tags of a vocabulary; no image is copied.",
     "A view is a small directory that a job file's data may name. It refers to the data set, "
     "which must stay where it is. Images that are left without a tag are not part of the view.",
     "  wslctl tags map /data/raw --vocabulary 17k.tsv --into /data/raw-17k", wsl_ctl_tags_map},
    {"noise", NULL, "DATA", 1, 1, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Make a view in which training tags are replaced at random, as in the paper's experiment.",
     "Each tag is replaced with probability --p by one drawn from the distribution of all tags. "
     "The same seed gives the same view. Held-out images keep their tags.",
     "  wslctl tags noise /data/raw-17k --p 0.1 --into /data/raw-17k-noise10", wsl_ctl_tags_noise},
    {"curve", NULL, "DATA", 1, 1, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Show how natural, square-root and uniform sampling change the distribution of tags.",
     "An image is drawn max(1, sqrt(t / f)) times per epoch with square-root sampling, max(1, "
     "t / f) times with uniform sampling, where f is the count of its rarest tag. --length finds "
     "the t that gives an epoch of that many draws.",
     "  wslctl tags curve /data/clipart --threshold 300\n"
     "  wslctl tags curve /data/clipart --length 10000",
     wsl_ctl_tags_curve},
    {"why", NULL, "DATA RECORD", 2, 2, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Show an image's tags and which of them decides how often it is drawn.",
     "RECORD is its number in the split, or the source name it was imported with.",
     "  wslctl tags why /data/clipart 17\n  wslctl tags why /data/clipart animals/cat.png",
     wsl_ctl_tags_why},
    {"audit", NULL, "DATA", 1, 1, WSL_CTL_TABLE | WSL_CTL_JSON,
     "Draw a whole epoch as a job does, and compare it with what its sampling promises.",
     "Give the job's seed and sampling: the draws are exactly those of the job in that epoch, "
     "except for unreadable images. Exit code 1 when a record is missing or drawn too often.",
     "  wslctl tags audit /data/clipart --sampling square-root --seed 1 --epoch 3",
     wsl_ctl_tags_audit},
};
enum { VERBS = sizeof verbs / sizeof verbs[0] };

int wsl_ctl_tags(struct wsl_ctl *ctl, int argc, char **argv)
{
    return wsl_ctl_group(ctl, verbs, VERBS, argc, argv);
}

/* ---- shared ---- */

bool wsl_ctl_open_data(struct wsl_ctl *ctl, struct wsl_dataset **ret)
{
    struct wsl_err err = {0};

    if (wsl_dataset_open(ret, ctl->words[0], &err) == 0)
        return true;
    ctl->exit_code = wsl_ctl_fail(ctl, &err);
    return false;
}

static const char *const sampling_words[] = {
    [WSL_SAMPLING_NATURAL] = "natural",
    [WSL_SAMPLING_SQUARE_ROOT] = "square-root",
    [WSL_SAMPLING_UNIFORM] = "uniform",
};

const char *wsl_ctl_sampling_word(enum wsl_sampling sampling)
{
    return sampling_words[sampling];
}

bool wsl_ctl_sampling(struct wsl_ctl *ctl, const char *word, enum wsl_sampling *ret)
{
    for (int i = 0; i < 3; i++)
        if (strcmp(word, sampling_words[i]) == 0) {
            *ret = (enum wsl_sampling)i;
            return true;
        }
    ctl->exit_code =
        wsl_ctl_usage(ctl, "--sampling %s: must be natural, square-root or uniform", word);
    return false;
}

struct rank {
    const struct wsl_tag *tag;
    uint32_t id;
};

static int by_train(const void *a, const void *b)
{
    const struct rank *x = a, *y = b;

    if (x->tag->train != y->tag->train)
        return x->tag->train > y->tag->train ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

const uint32_t *wsl_ctl_rank_tags(const struct wsl_dataset *ds)
{
    size_t count = wsl_dataset_tag_count(ds);
    struct rank *ranks = calloc(count + 1, sizeof *ranks);
    uint32_t *ids = calloc(count + 1, sizeof *ids);

    for (uint32_t t = 0; ranks && t < count; t++)
        ranks[t] = (struct rank){wsl_dataset_tag(ds, t), t};
    if (ranks)
        qsort(ranks, count, sizeof *ranks, by_train);
    for (size_t i = 0; ranks && ids && i < count; i++)
        ids[i] = ranks[i].id;
    if (!ranks) {
        free(ids);
        ids = NULL;
    }
    free(ranks);
    return ids;
}

int wsl_ctl_made(const struct wsl_ctl *ctl, int r, const char *output, const struct wsl_err *err)
{
    if (r == 0)
        return WSL_CTL_DONE;
    if (r == WSL_ECANCELLED) {
        wsl_ctl_say("interrupted; nothing is left in %s", output);
        return WSL_CTL_INTERRUPTED;
    }
    return wsl_ctl_fail(ctl, err);
}

int wsl_ctl_put_view(const struct wsl_ctl *ctl, const char *output, const struct wsl_view_result *v,
                     const char *note)
{
    char train[WSL_CTL_TEXT], heldout[WSL_CTL_TEXT], dropped[WSL_CTL_TEXT], tags[WSL_CTL_TEXT];
    struct wsl_buf out = {0};
    int r;

    if (ctl->format == WSL_CTL_JSON)
        return wsl_ctl_put_json(
            wsl_ctl_json_document(
                "view",
                json_pack("{s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "folder",
                          wsl_ctl_json_text(output, strlen(output)), "fingerprint", v->fingerprint,
                          "train", (json_int_t)v->train, "heldout", (json_int_t)v->heldout,
                          "dropped", (json_int_t)v->dropped, "tags", (json_int_t)v->tags,
                          "unmapped", (json_int_t)v->unmapped, "cut", (json_int_t)v->cut,
                          "tags_kept", (json_int_t)v->kept, "tags_replaced",
                          (json_int_t)v->replaced),
                NULL),
            WSL_CTL_DONE);
    if (ctl->quiet)
        return WSL_CTL_DONE;
    wsl_ctl_count(v->train, train);
    wsl_ctl_count(v->heldout, heldout);
    wsl_ctl_count(v->dropped, dropped);
    wsl_ctl_count(v->tags, tags);
    r = wsl_buf_add_format(&out,
                           "%s: a view of %s images for training, %s held out, with %s tags%s\n"
                           "  left out     %s images\n"
                           "  fingerprint  %s\n",
                           output, train, heldout, tags, note, dropped, v->fingerprint);
    return wsl_ctl_put(&out, r, WSL_CTL_DONE);
}

/* ---- count ---- */

enum { TAGS_MAX = 64, TAIL_ROWS = 5 };

static const uint64_t tail_steps[TAIL_ROWS] = {1, 10, 100, 1000, 10000};

struct counts {
    uint64_t uses;                 /* tags of training images together */
    uint64_t images[TAGS_MAX + 1]; /* training images by number of tags */
    uint64_t tail[TAIL_ROWS];      /* tags on at least so many */
};

static int count_all(struct wsl_dataset *ds, struct counts *c, struct wsl_err *err)
{
    for (uint64_t i = 0; i < wsl_dataset_count(ds, WSL_SPLIT_TRAIN); i++) {
        uint32_t tags[TAGS_MAX];
        int count, r = wsl_dataset_read_tags(ds, WSL_SPLIT_TRAIN, i, tags, &count, err);

        if (r < 0)
            return r;
        c->images[count]++;
        c->uses += (uint64_t)count;
    }
    for (size_t t = 0; t < wsl_dataset_tag_count(ds); t++)
        for (int k = 0; k < TAIL_ROWS; k++)
            c->tail[k] += wsl_dataset_tag(ds, t)->train >= tail_steps[k];
    return 0;
}

static int put_counts_json(struct wsl_dataset *ds, const struct counts *c, const uint32_t *ids,
                           size_t shown)
{
    json_t *list = json_array(), *per_image = json_array(), *tail = json_object();

    for (size_t i = 0; i < shown; i++) {
        const struct wsl_tag *tag = wsl_dataset_tag(ds, ids[i]);

        json_array_append_new(list, json_pack("{s:I, s:s, s:s, s:I, s:I}", "id", (json_int_t)ids[i],
                                              "name", tag->name, "synset", tag->synset, "train",
                                              (json_int_t)tag->train, "heldout",
                                              (json_int_t)tag->heldout));
    }
    for (int n = 0; n <= TAGS_MAX; n++)
        json_array_append_new(per_image, json_integer((json_int_t)c->images[n]));
    for (int k = 0; k < TAIL_ROWS; k++) {
        char key[32];

        snprintf(key, sizeof key, "%llu", (unsigned long long)tail_steps[k]);
        json_object_set_new(tail, key, json_integer((json_int_t)c->tail[k]));
    }
    return wsl_ctl_put_json(
        wsl_ctl_json_document("tags", list, "tag_count",
                              json_integer((json_int_t)wsl_dataset_tag_count(ds)), "uses",
                              json_integer((json_int_t)c->uses), "images_by_tag_count", per_image,
                              "tags_with_at_least", tail, NULL),
        WSL_CTL_DONE);
}

static int put_counts(struct wsl_dataset *ds, const struct counts *c, const uint32_t *ids,
                      size_t shown)
{
    static const struct wsl_ctl_column columns[] = {{"TAG", false},     {"TRAIN", true},
                                                    {"HELD OUT", true}, {"OF IMAGES", true},
                                                    {"OF USES", true},  {"SYNSET", false}};
    struct wsl_ctl_table table = {.columns = columns, .column_count = 6};
    uint64_t images = wsl_dataset_count(ds, WSL_SPLIT_TRAIN), so_far = 0;
    struct wsl_buf out = {0};
    char text[WSL_CTL_TEXT];
    int r;

    for (size_t i = 0; i < shown; i++) {
        const struct wsl_tag *tag = wsl_dataset_tag(ds, ids[i]);

        so_far += tag->train;
        wsl_ctl_cell(&table, "%s", tag->name);
        wsl_ctl_count(tag->train, text);
        wsl_ctl_cell(&table, "%s", text);
        wsl_ctl_count(tag->heldout, text);
        wsl_ctl_cell(&table, "%s", text);
        wsl_ctl_cell(&table, "%.2f %%", images ? 100 * (double)tag->train / (double)images : 0);
        wsl_ctl_cell(&table, "%.1f %%", c->uses ? 100 * (double)so_far / (double)c->uses : 0);
        wsl_ctl_cell(&table, "%s", tag->synset);
    }
    r = wsl_ctl_table_print(&table, &out);
    wsl_ctl_table_free(&table);
    wsl_buf_add_format(&out, "\n%zu tags, used %llu times on %llu training images: %.2f an image\n",
                       wsl_dataset_tag_count(ds), (unsigned long long)c->uses,
                       (unsigned long long)images, images ? (double)c->uses / (double)images : 0);
    for (int k = 0; k < TAIL_ROWS && c->tail[k] > 0; k++) {
        wsl_ctl_count(tail_steps[k], text);
        wsl_buf_add_format(&out, "  on %6s images or more: %llu tags\n", text,
                           (unsigned long long)c->tail[k]);
    }
    return wsl_ctl_put(&out, r, WSL_CTL_DONE);
}

int wsl_ctl_tags_count(struct wsl_ctl *ctl, int argc, char **argv)
{
    uint64_t top = UINT64_MAX;
    struct counts *counts = calloc(1, sizeof *counts);
    struct wsl_dataset *ds;
    struct wsl_err err = {0};
    const uint32_t *ids = NULL;
    int code = WSL_CTL_FAILED;
    const struct wsl_arg rows[] = {
        {"top", 0, WSL_ARG_UINT, &top, 0, 1e9, "N",
         "number of tags to show (default: 20; -o json: all)"},
    };

    if (!counts)
        return WSL_CTL_FAILED;
    if (!wsl_ctl_parse(ctl, rows, 1, argc, argv) || !wsl_ctl_open_data(ctl, &ds)) {
        free(counts);
        return ctl->exit_code;
    }
    if (top == UINT64_MAX && ctl->format != WSL_CTL_JSON)
        top = 20;
    if (top > wsl_dataset_tag_count(ds))
        top = wsl_dataset_tag_count(ds);
    if (count_all(ds, counts, &err) < 0)
        code = wsl_ctl_fail(ctl, &err);
    else if ((ids = wsl_ctl_rank_tags(ds)))
        code = ctl->format == WSL_CTL_JSON ? put_counts_json(ds, counts, ids, top)
                                           : put_counts(ds, counts, ids, top);
    free((void *)ids);
    free(counts);
    wsl_dataset_close(ds);
    return code;
}
