/* SPDX-License-Identifier: Apache-2.0
 *
 * data stats, sample: what the pictures of a data set are like.
 */
#include "client/wslctl/tags.h"

#include "base/file.h"
#include "base/rng.h"
#include "storage/export/contact_sheet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- stats ---- */

enum { MEASURES = 5, KEPT_MAX = 1 << 20 };

static const char *const measure_words[MEASURES] = {"bytes", "width", "height", "aspect", "tags"};

/* Values of each measure, sorted in the end: all records, or every n-th where there are more than
 * KEPT_MAX. */
struct measured {
    double *values[MEASURES];
    uint64_t count, stride;
    double mean[MEASURES];
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static int measure(struct wsl_dataset *ds, enum wsl_split split, struct measured *m,
                   struct wsl_err *err)
{
    uint64_t records = wsl_dataset_count(ds, split);

    m->stride = records / KEPT_MAX + 1;
    for (int k = 0; k < MEASURES; k++) {
        m->values[k] = calloc(records / m->stride + 1, sizeof(double));
        if (!m->values[k])
            return wsl_fail(err, WSL_ENOMEM, "no memory for the sizes of images");
    }
    for (uint64_t i = 0; i < records; i += m->stride, m->count++) {
        struct wsl_record r;
        int code = wsl_dataset_read(ds, split, i, &r, err);

        if (code < 0)
            return code;
        m->values[0][m->count] = (double)r.jpeg_size;
        m->values[1][m->count] = r.width;
        m->values[2][m->count] = r.height;
        m->values[3][m->count] = (double)r.width / r.height;
        m->values[4][m->count] = r.tag_count;
        for (int k = 0; k < MEASURES; k++)
            m->mean[k] += m->values[k][m->count];
    }
    for (int k = 0; k < MEASURES; k++) {
        m->mean[k] /= m->count ? (double)m->count : 1;
        qsort(m->values[k], m->count, sizeof(double), by_value);
    }
    return 0;
}

static double quantile(const struct measured *m, int measure, double share)
{
    return m->count ? m->values[measure][(uint64_t)(share * (double)(m->count - 1) + 0.5)] : 0;
}

static const struct {
    const char *name;
    double share;
} quantiles[] = {{"min", 0}, {"p10", 0.1}, {"median", 0.5}, {"p90", 0.9}, {"max", 1}};
enum { QUANTILES = sizeof quantiles / sizeof quantiles[0] };

static json_t *measured_json(const struct measured *m, uint64_t images)
{
    json_t *object =
        json_pack("{s:I, s:I}", "images", (json_int_t)images, "measured", (json_int_t)m->count);

    for (int k = 0; k < MEASURES; k++) {
        json_t *one = json_pack("{s:o}", "mean", wsl_json_real(m->mean[k]));

        for (int q = 0; q < QUANTILES; q++)
            json_object_set_new(one, quantiles[q].name,
                                wsl_json_real(quantile(m, k, quantiles[q].share)));
        json_object_set_new(object, measure_words[k], one);
    }
    return object;
}

static int add_measured(struct wsl_buf *out, const struct measured *m, const char *title,
                        uint64_t images)
{
    static const struct wsl_ctl_column columns[] = {{"", false},      {"MIN", true}, {"P10", true},
                                                    {"MEDIAN", true}, {"P90", true}, {"MAX", true},
                                                    {"MEAN", true}};
    struct wsl_ctl_table table = {.columns = columns, .column_count = 7, .indent = 2};
    char text[WSL_CTL_TEXT];
    int r;

    wsl_ctl_count(images, text);
    wsl_buf_add_format(out, "%s: %s images", title, text);
    if (m->stride > 1)
        wsl_buf_add_format(out, ", 1 in %llu measured", (unsigned long long)m->stride);
    wsl_buf_add_text(out, "\n");
    if (m->count == 0)
        return 0;
    for (int k = 0; k < MEASURES; k++) {
        wsl_ctl_cell(&table, "%s", measure_words[k]);
        for (int q = 0; q < QUANTILES; q++)
            wsl_ctl_cell(&table, k == 3 ? "%.2f" : "%.0f", quantile(m, k, quantiles[q].share));
        wsl_ctl_cell(&table, k >= 3 ? "%.2f" : "%.0f", m->mean[k]);
    }
    r = wsl_ctl_table_print(&table, out);
    wsl_ctl_table_free(&table);
    return r;
}

int wsl_ctl_data_stats(struct wsl_ctl *ctl, int argc, char **argv)
{
    struct measured m[2] = {0};
    struct wsl_dataset *ds;
    struct wsl_buf out = {0};
    struct wsl_err err = {0};
    int r = 0, code;

    if (!wsl_ctl_parse(ctl, NULL, 0, argc, argv) || !wsl_ctl_open_data(ctl, &ds))
        return ctl->exit_code;
    for (int s = 0; s < 2 && r == 0; s++)
        r = measure(ds, (enum wsl_split)s, &m[s], &err);
    if (r < 0) {
        code = wsl_ctl_fail(ctl, &err);
    } else if (ctl->format == WSL_CTL_JSON) {
        code = wsl_ctl_put_json(
            wsl_ctl_json_document(
                "train", measured_json(&m[0], wsl_dataset_count(ds, WSL_SPLIT_TRAIN)), "heldout",
                measured_json(&m[1], wsl_dataset_count(ds, WSL_SPLIT_HELDOUT)), NULL),
            WSL_CTL_DONE);
    } else {
        r = add_measured(&out, &m[0], "Train", wsl_dataset_count(ds, WSL_SPLIT_TRAIN));
        if (r == 0)
            r = add_measured(&out, &m[1], "Held out", wsl_dataset_count(ds, WSL_SPLIT_HELDOUT));
        code = wsl_ctl_put(&out, r, WSL_CTL_DONE);
    }
    for (int s = 0; s < 2; s++)
        for (int k = 0; k < MEASURES; k++)
            free(m[s].values[k]);
    wsl_dataset_close(ds);
    return code;
}

/* ---- sample ---- */

struct sampling {
    struct wsl_dataset *ds;
    enum wsl_split split;
    const char *into, *tag;
    uint64_t count, columns, side, seed, quality;
    bool heldout;
    uint64_t records[1024];
    size_t found;
};

static bool carries(const struct sampling *s, uint64_t index, uint32_t tag)
{
    uint32_t tags[64];
    int count;

    if (wsl_dataset_read_tags(s->ds, s->split, index, tags, &count, NULL) < 0)
        return false;
    for (int i = 0; i < count; i++)
        if (tags[i] == tag)
            return true;
    return false;
}

/* A random choice without doubles: the first that fit of a random order of all records. */
static int choose(struct wsl_ctl *ctl, struct sampling *s)
{
    uint64_t records = wsl_dataset_count(s->ds, s->split);
    size_t tag = 0, tags = wsl_dataset_tag_count(s->ds);

    while (s->tag && tag < tags && strcmp(wsl_dataset_tag(s->ds, tag)->name, s->tag) != 0)
        tag++;
    if (s->tag && tag == tags)
        return wsl_ctl_usage(ctl, "--tag %s: the data set has no such tag", s->tag);
    for (uint64_t i = 0; i < records && s->found < s->count; i++) {
        uint64_t record = wsl_permute(wsl_mix64(s->seed, records), records, i);

        if (!s->tag || carries(s, record, (uint32_t)tag))
            s->records[s->found++] = record;
    }
    if (s->found > 0)
        return WSL_CTL_DONE;
    wsl_ctl_say("the %s split of %s has no such image", s->heldout ? "held-out" : "training",
                ctl->words[0]);
    return WSL_CTL_FAILED;
}

static int write_sheet(struct wsl_ctl *ctl, struct sampling *s)
{
    struct wsl_contact_sheet_setup setup = {.dataset = s->ds,
                                            .split = s->split,
                                            .records = s->records,
                                            .count = s->found,
                                            .columns = (int)s->columns,
                                            .side = (int)s->side,
                                            .quality = (int)s->quality};
    struct wsl_buf page = {0};
    struct wsl_err err = {0};
    int r = wsl_contact_sheet_make(&setup, &page, &err);

    if (r == 0)
        r = wsl_file_write_atomic(s->into, page.data, page.size, &err);
    wsl_buf_free(&page);
    if (r < 0)
        return wsl_ctl_fail(ctl, &err);
    if (ctl->format == WSL_CTL_JSON) {
        json_t *list = json_array();

        for (size_t i = 0; i < s->found; i++)
            json_array_append_new(list, json_integer((json_int_t)s->records[i]));
        return wsl_ctl_put_json(
            wsl_ctl_json_document("file", wsl_ctl_json_text(s->into, strlen(s->into)), "split",
                                  json_string(s->heldout ? "heldout" : "train"), "records", list,
                                  NULL),
            WSL_CTL_DONE);
    }
    if (!ctl->quiet)
        printf("%s: %zu images with their record numbers and tags\n", s->into, s->found);
    return WSL_CTL_DONE;
}

/* The sheet was a JPEG once: a page under such a name would only be taken for a damaged one. */
static bool is_image_name(const char *name)
{
    const char *dot = strrchr(name, '.');

    return dot && (strcasecmp(dot, ".jpg") == 0 || strcasecmp(dot, ".jpeg") == 0 ||
                   strcasecmp(dot, ".png") == 0);
}

int wsl_ctl_data_sample(struct wsl_ctl *ctl, int argc, char **argv)
{
    struct sampling *s = calloc(1, sizeof *s);
    int code;

    if (!s)
        return WSL_CTL_FAILED;
    *s = (struct sampling){.count = 24, .columns = 6, .side = 160, .quality = 90};
    const struct wsl_arg rows[] = {
        {"into", 0, WSL_ARG_TEXT, &s->into, 0, 0, "FILE",
         "the HTML page to write; replaced if it exists"},
        {"count", 'n', WSL_ARG_UINT, &s->count, 1, 1024, "N", "number of images (default: 24)"},
        {"tag", 't', WSL_ARG_TEXT, &s->tag, 0, 0, "TAG", "only images with this tag"},
        {"heldout", 0, WSL_ARG_FLAG, &s->heldout, 0, 0, NULL,
         "sample the held-out split instead of the training split"},
        {"seed", 0, WSL_ARG_UINT, &s->seed, 0, 0, "N", "seed of the random choice (default: 0)"},
        {"columns", 0, WSL_ARG_UINT, &s->columns, 1, 64, "N", "images per row (default: 6)"},
        {"side", 0, WSL_ARG_UINT, &s->side, 32, 1024, "PIXELS",
         "longer side of an image on the page (default: 160)"},
        {"quality", 0, WSL_ARG_UINT, &s->quality, 1, 100, "N",
         "quality of the images (default: 90)"},
    };
    if (!wsl_ctl_parse(ctl, rows, 8, argc, argv)) {
        code = ctl->exit_code;
    } else if (!s->into) {
        code = wsl_ctl_usage(ctl, "needs --into FILE");
    } else if (is_image_name(s->into)) {
        code =
            wsl_ctl_usage(ctl, "--into %s: the sheet is an HTML page: call it sheet.html", s->into);
    } else if (!wsl_ctl_open_data(ctl, &s->ds)) {
        code = ctl->exit_code;
    } else {
        s->split = s->heldout ? WSL_SPLIT_HELDOUT : WSL_SPLIT_TRAIN;
        code = choose(ctl, s);
        if (code == WSL_CTL_DONE)
            code = write_sheet(ctl, s);
        wsl_dataset_close(s->ds);
    }
    free(s);
    return code;
}
