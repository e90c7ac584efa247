/* SPDX-License-Identifier: Apache-2.0
 *
 * Directories that come with lists of their own: ImageNet's, CUB-200-2011's and Places365's. All
 * three are read as runs ("parts") of one kind each: a list of "file number", or a tree of labels.
 *
 * Formats: the README of CUB_200_2011; the development kit of places365; Caffe's ILSVRC12 lists and
 * Kaggle's "ImageNet Object Localization Challenge" for ImageNet.
 */
#include "base/file.h"
#include "base/number.h"
#include "base/utf8.h"
#include "storage/import/source_tree.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ID_LIMIT = 1 << 24 };

/* A list gives a file and a number (or a name) in each line; the images lie in `directory`. A tree
 * has no list: its directories are the labels. */
struct part {
    char list[PATH_MAX]; /* "" : a tree */
    char directory[PATH_MAX];
    enum source_split split;
    bool csv;   /* "file,name ..." after a line of heads */
    bool by_id; /* CUB: "id file" */
};

struct layout {
    struct part parts[2];
    int part_count, part;
    struct source_lines lines;
    struct source_tree *tree;
    struct source_names names;
    uint32_t *label_of; /* CUB: by id; 0: none */
    uint8_t *split_of;  /* CUB: by id: enum source_split */
};

static bool find(const char *directory, const char *name, char path[PATH_MAX])
{
    return wsl_file_join(path, PATH_MAX, directory, name) == 0 && wsl_file_exists(path);
}

static int lay_out(struct source *s, struct wsl_err *err)
{
    s->labels = true;
    s->state = calloc(1, sizeof(struct layout));
    return s->state ? 0 : wsl_fail(err, WSL_ENOMEM, "no memory for a layout");
}

static struct part *add_part(struct layout *l, enum source_split split)
{
    struct part *part = &l->parts[l->part_count++];

    part->split = split;
    return part;
}

/* Splits "a b" at its last (or first) blank. */
static char *cut(char *line, bool last)
{
    char *blank = last ? strrchr(line, ' ') : strchr(line, ' ');

    if (!blank || blank == line || blank[1] == '\0')
        return NULL;
    *blank = '\0';
    return blank + 1;
}

/* Runs `take` over the lines of a list that must be whole; it returns what is wrong or NULL. */
static int read_list(const char *path, const char *(*take)(struct layout *l, char *line),
                     struct layout *l, struct wsl_err *err)
{
    struct source_lines lines = {0};
    const char *fault = NULL;
    size_t size;
    int r = wsl_source_lines_open(&lines, path, err);

    while (r >= 0 && !fault && (r = wsl_source_lines_next(&lines, path, &size, err)) == 1) {
        if (size > 0)
            fault = size > SOURCE_LINE_MAX || !wsl_utf8_is_clean(lines.line, size)
                        ? "too long, or not UTF-8"
                        : take(l, lines.line);
        if (fault)
            r = wsl_fail(err, WSL_ECORRUPT, "%s:%llu (byte %llu): %s", path,
                         (unsigned long long)lines.number, (unsigned long long)lines.offset, fault);
    }
    wsl_source_lines_close(&lines);
    return r < 0 ? r : 0;
}

static bool parse_id(const char *text, uint64_t *ret)
{
    return wsl_number_parse_u64(text, ret) == 0 && *ret < ID_LIMIT;
}

/* ---- ImageNet ---- */

static const char *take_wnid(struct layout *l, char *line)
{
    char *blank = strchr(line, ' ');
    size_t size = blank ? (size_t)(blank - line) : strlen(line);

    if (size == 0 || size > 255)
        return "it does not begin with a WNID";
    return wsl_source_names_add(&l->names, line, size) < 0 ? "no memory" : NULL;
}

static int open_imagenet(struct source *s, struct wsl_err *err)
{
    static const char *const mappings[] = {"synset_words.txt", "LOC_synset_mapping.txt"};
    char root[PATH_MAX], path[PATH_MAX];
    struct part *train, *val;
    struct layout *l;
    int r = lay_out(s, err);

    if (r < 0)
        return r;
    l = s->state;
    if (!find(s->base, "train", path) && find(s->base, "ILSVRC/Data/CLS-LOC", root))
        snprintf(path, sizeof path, "ILSVRC/Data/CLS-LOC/");
    else
        path[0] = '\0';
    train = add_part(l, SOURCE_TRAIN);
    val = add_part(l, SOURCE_HELDOUT);
    snprintf(train->directory, sizeof train->directory, "%.4000strain", path);
    snprintf(val->directory, sizeof val->directory, "%.4000sval", path);
    if (!find(s->base, train->directory, root))
        return wsl_fail(err, WSL_ENOENT,
                        "%s has no directory train: it is not laid out as ImageNet", s->base);
    for (size_t i = 0; r == 0 && i < 2 && l->names.count == 0; i++)
        if (find(s->base, mappings[i], path))
            r = read_list(path, take_wnid, l, err);
    val->csv = find(s->base, "LOC_val_solution.csv", val->list);
    if (!val->csv && !find(s->base, "val.txt", val->list))
        val->list[0] = '\0';
    if (r == 0 && !find(s->base, val->directory, path))
        l->part_count = 1;
    else if (r == 0 && val->list[0] && !val->csv && l->names.count == 0)
        r = wsl_fail(err, WSL_ENOENT,
                     "%s/synset_words.txt is missing: val.txt has numbers of its lines", s->base);
    return r;
}

/* ---- CUB-200-2011 ---- */

static const char *take_class(struct layout *l, char *line)
{
    char *name = cut(line, false);
    uint64_t id;

    if (!name || !parse_id(line, &id) || id != l->names.count + 1 || strlen(name) > 255)
        return "not the next class number and its name";
    return wsl_source_names_add(&l->names, name, strlen(name)) < 0 ? "no memory" : NULL;
}

static const char *take_image_class(struct layout *l, char *line)
{
    char *text = cut(line, false);
    uint64_t id, class;

    if (!text || !parse_id(line, &id) || !parse_id(text, &class) || class < 1 ||
        class > l->names.count)
        return "not an image number and the number of a class";
    l->label_of[id] = (uint32_t) class;
    return NULL;
}

static const char *take_image_split(struct layout *l, char *line)
{
    char *text = cut(line, false);
    uint64_t id, train;

    if (!text || !parse_id(line, &id) || !parse_id(text, &train) || train > 1)
        return "not an image number and 0 or 1";
    l->split_of[id] = train ? SOURCE_TRAIN : SOURCE_HELDOUT;
    return NULL;
}

static int open_cub200(struct source *s, struct wsl_err *err)
{
    static const struct {
        const char *name;
        const char *(*take)(struct layout *l, char *line);
    } lists[] = {{"classes.txt", take_class},
                 {"image_class_labels.txt", take_image_class},
                 {"train_test_split.txt", take_image_split}};
    char path[PATH_MAX];
    struct part *part;
    struct layout *l;
    int r = lay_out(s, err);

    if (r < 0)
        return r;
    l = s->state;
    part = add_part(l, SOURCE_BY_HASH);
    part->by_id = true;
    l->label_of = calloc(ID_LIMIT, sizeof *l->label_of);
    l->split_of = calloc(ID_LIMIT, sizeof *l->split_of);
    if (!l->label_of || !l->split_of)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the lists of %s", s->base);
    for (size_t i = 0; r == 0 && i < sizeof lists / sizeof lists[0]; i++) {
        if (!find(s->base, lists[i].name, path))
            return wsl_fail(err, WSL_ENOENT, "%s has no %s: it is not laid out as CUB-200-2011",
                            s->base, lists[i].name);
        r = read_list(path, lists[i].take, l, err);
    }
    snprintf(part->directory, sizeof part->directory, "images");
    if (r == 0 && !find(s->base, "images.txt", part->list))
        r = wsl_fail(err, WSL_ENOENT, "%s has no images.txt: it is not laid out as CUB-200-2011",
                     s->base);
    return r;
}

/* ---- Places365 ---- */

static const char *take_category(struct layout *l, char *line)
{
    char *text = cut(line, true);
    uint64_t number;

    if (!text || line[0] != '/' || strlen(line) < 4 || strlen(line) > 255 ||
        !parse_id(text, &number) || number != l->names.count)
        return "not a category (/a/airfield) and the next number";
    return wsl_source_names_add(&l->names, line + 3, strlen(line + 3)) < 0 ? "no memory" : NULL;
}

static int open_places365(struct source *s, struct wsl_err *err)
{
    static const struct {
        const char *list;
        enum source_split split;
        const char *directories[4];
    } runs[] = {{"places365_train_standard.txt",
                 SOURCE_TRAIN,
                 {"data_256", "data_256_standard", "data_large", "data_large_standard"}},
                {"places365_val.txt", SOURCE_HELDOUT, {"val_256", "val_large", "val", "val_256"}}};
    char path[PATH_MAX];
    struct layout *l;
    int r = lay_out(s, err);

    if (r < 0)
        return r;
    l = s->state;
    if (!find(s->base, "categories_places365.txt", path))
        return wsl_fail(err, WSL_ENOENT,
                        "%s has no categories_places365.txt: it is not laid out as Places365",
                        s->base);
    r = read_list(path, take_category, l, err);
    for (size_t i = 0; r == 0 && i < 2; i++) {
        struct part *part = &l->parts[l->part_count];

        if (!find(s->base, runs[i].list, part->list))
            continue;
        for (size_t f = 0; f < 4 && !part->directory[0]; f++)
            if (find(s->base, runs[i].directories[f], path))
                snprintf(part->directory, sizeof part->directory, "%s", runs[i].directories[f]);
        if (part->directory[0])
            add_part(l, runs[i].split);
        else
            r = wsl_fail(err, WSL_ENOENT, "%s has %s but no directory %s with the images", s->base,
                         runs[i].list, runs[i].directories[0]);
    }
    if (r == 0 && l->part_count == 0)
        r = wsl_fail(err, WSL_ENOENT,
                     "%s has neither places365_train_standard.txt nor places365_val.txt", s->base);
    return r;
}

/* ---- one image after the other ---- */

static void close_layout(struct source *s)
{
    struct layout *l = s->state;

    if (!l)
        return;
    wsl_source_lines_close(&l->lines);
    wsl_source_tree_close(l->tree);
    wsl_source_names_free(&l->names);
    free(l->label_of);
    free(l->split_of);
    free(l);
}

/* Takes "file number" (or "id file", or "file,name ...") apart. Returns NULL, or what is wrong. */
static const char *take_apart(struct layout *l, const struct part *part, char *line, char **file,
                              const char **label, enum source_split *split)
{
    uint64_t id;
    char *text;

    *split = part->split;
    *file = line;
    if (part->csv) {
        text = strchr(line, ',');
        if (!text || text == line || text[1] == '\0')
            return "no comma between file and label";
        *text++ = '\0';
        text[strcspn(text, " ")] = '\0';
        *label = text;
        return NULL;
    }
    text = cut(line, !part->by_id);
    if (!text)
        return "no blank between file and number";
    if (!parse_id(part->by_id ? line : text, &id))
        return "a number that is none, or too large";
    if (part->by_id) {
        if (l->label_of[id] == 0)
            return "image_class_labels.txt does not have it";
        *file = text;
        *split = (enum source_split)l->split_of[id];
        id = l->label_of[id] - 1;
    }
    if (id >= l->names.count)
        return "the number of no class";
    *label = (const char *)l->names.texts.data + l->names.starts[id];
    return NULL;
}

static int take_line(struct source *s, struct layout *l, const struct part *part, size_t size,
                     struct source_entry *ret, struct wsl_err *err)
{
    const char *label = NULL, *fault = NULL, *list = strrchr(part->list, '/') + 1;
    char *line = l->lines.line, *file = line;
    const char *ending = part->csv ? ".JPEG" : "";
    int r;

    if (size > SOURCE_LINE_MAX)
        fault = "too long";
    else if (!wsl_utf8_is_clean(line, size))
        fault = "not UTF-8, or with control characters";
    else
        fault = take_apart(l, part, line, &file, &label, &ret->split);
    while (!fault && *file == '/')
        file++;
    if (!fault &&
        (strlen(file) + strlen(part->directory) + 8 > sizeof s->path || strstr(file, "..")))
        fault = "a file name that cannot be used";
    if (fault) {
        snprintf(s->path, sizeof s->path, "%.200s line %llu", list,
                 (unsigned long long)l->lines.number);
        ret->offset = l->lines.offset;
        return wsl_source_quarantine(s, ret, WSL_QUARANTINE_LINE, "%s", fault);
    }
    /* A list may name the directory itself ("val/x.JPEG"). */
    if (strncmp(file, part->directory, strlen(part->directory)) == 0 &&
        file[strlen(part->directory)] == '/')
        file += strlen(part->directory) + 1;
    strcpy(stpcpy(stpcpy(stpcpy(s->path, part->directory), "/"), file), ending);
    r = wsl_source_add_word(s, label, strlen(label), err);
    return r < 0 ? r : 1;
}

static int next_of_list(struct source *s, struct layout *l, const struct part *part,
                        struct source_entry *ret, struct wsl_err *err)
{
    size_t size;
    int r = l->lines.file ? 0 : wsl_source_lines_open(&l->lines, part->list, err);

    if (r < 0)
        return r;
    do
        r = wsl_source_lines_next(&l->lines, part->list, &size, err);
    while (r == 1 && (size == 0 || (part->csv && l->lines.number == 1)));
    if (r == 1)
        return take_line(s, l, part, size, ret, err);
    wsl_source_lines_close(&l->lines);
    return r;
}

static int open_tree(struct source *s, struct layout *l, const struct part *part,
                     struct wsl_err *err)
{
    char root[PATH_MAX];
    int r = wsl_file_join(root, sizeof root, s->base, part->directory);

    if (r < 0)
        return wsl_fail(err, r, "path too long: %s/%s", s->base, part->directory);
    return wsl_source_tree_open(&l->tree, root, err);
}

/* The directory that an image lies in is its label: train/n01440764/n01440764_10026.JPEG. */
static int next_of_tree(struct source *s, struct layout *l, const struct part *part,
                        struct source_entry *ret, struct wsl_err *err)
{
    struct source_tree_file file;
    int r = l->tree ? 0 : open_tree(s, l, part, err);

    if (r == 0)
        r = wsl_source_tree_next(l->tree, s, &file, ret, err);
    if (r == 0) {
        wsl_source_tree_close(l->tree);
        l->tree = NULL;
    }
    if (r != 1)
        return r == 2 ? 1 : r;
    ret->path = file.path;
    if (file.depth != 2)
        return wsl_source_quarantine(s, ret, WSL_QUARANTINE_NO_TAGS,
                                     "neither in a directory of its class nor in a list beside");
    ret->split = part->split;
    r = wsl_source_add_word(s, file.parent, strlen(file.parent), err);
    return r < 0 ? r : 1;
}

static int next_of_layout(struct source *s, struct source_entry *ret, struct wsl_err *err)
{
    struct layout *l = s->state;
    int r = 0;

    while (r == 0 && l->part < l->part_count) {
        const struct part *part = &l->parts[l->part];

        r = part->list[0] ? next_of_list(s, l, part, ret, err) : next_of_tree(s, l, part, ret, err);
        l->part += r == 0;
    }
    return r;
}

enum wsl_import_kind wsl_import_detect(const char *directory)
{
    char path[PATH_MAX];

    if (find(directory, "categories_places365.txt", path))
        return WSL_IMPORT_PLACES365;
    if (find(directory, "images.txt", path) && find(directory, "image_class_labels.txt", path) &&
        find(directory, "classes.txt", path))
        return WSL_IMPORT_CUB200;
    if ((find(directory, "synset_words.txt", path) ||
         find(directory, "LOC_synset_mapping.txt", path)) &&
        (find(directory, "train", path) || find(directory, "ILSVRC/Data/CLS-LOC/train", path)))
        return WSL_IMPORT_IMAGENET;
    return WSL_IMPORT_DIRECTORIES;
}

const struct source_ops wsl_source_imagenet = {.word = "imagenet",
                                               .has_split = true,
                                               .open = open_imagenet,
                                               .next = next_of_layout,
                                               .close = close_layout};
const struct source_ops wsl_source_cub200 = {.word = "cub200",
                                             .has_split = true,
                                             .open = open_cub200,
                                             .next = next_of_layout,
                                             .close = close_layout};
const struct source_ops wsl_source_places365 = {.word = "places365",
                                                .has_split = true,
                                                .open = open_places365,
                                                .next = next_of_layout,
                                                .close = close_layout};
