/* SPDX-License-Identifier: Apache-2.0
 *
 * tags curve, why, audit: what sampling does, to the tags, to one picture, and in an epoch.
 */
#include "client/wslctl/tags.h"

#include "base/number.h"

#include "storage/sampling/curve.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TAGS_MAX = 64, KINDS = 3 };

struct options {
    const char *sampling;
    double threshold, max_repeat;
    uint64_t length, shown, seed, epoch, window;
    bool heldout;
};

/* Rows that several verbs have. */
#define THRESHOLD_ROW(o)                                                                           \
    {                                                                                              \
        "threshold", 't', WSL_ARG_REAL, &(o).threshold, 1e-6, 1e15, "T",                           \
            "t, a number of images (default: largest count of a tag / 4)"                          \
    }
#define MAX_REPEAT_ROW(o)                                                                          \
    {                                                                                              \
        "max-repeat", 0, WSL_ARG_REAL, &(o).max_repeat, 1, 1e6, "N",                               \
            "maximum draws of one image per epoch (default: 20)"                                   \
    }

/* ---- curve ---- */

struct row {
    struct wsl_sampling_rule rule;
    struct wsl_curve curve;
};

static json_t *row_json(const struct wsl_dataset *ds, const struct row *row, const uint32_t *ids,
                        size_t shown)
{
    json_t *tags = json_array();
    bool natural = row->rule.kind == WSL_SAMPLING_NATURAL;

    for (size_t i = 0; i < shown; i++)
        json_array_append_new(tags, json_pack("{s:s, s:I, s:o}", "name",
                                              wsl_dataset_tag(ds, ids[i])->name, "train",
                                              (json_int_t)wsl_dataset_tag(ds, ids[i])->train,
                                              "draws", wsl_json_real(row->curve.draws[ids[i]])));
    return json_pack("{s:s, s:o, s:I, s:I, s:o, s:o, s:o}", "sampling",
                     wsl_ctl_sampling_word(row->rule.kind), "threshold",
                     natural ? json_null() : wsl_json_real(row->rule.threshold), "length",
                     (json_int_t)row->curve.length, "repeated", (json_int_t)row->curve.repeated,
                     "most_repeats", wsl_json_real(row->curve.max_repeats), "effective_tags",
                     wsl_json_real(row->curve.effective), "tags", tags);
}

static int put_rows_json(const struct wsl_dataset *ds, const struct row *rows, const uint32_t *ids,
                         size_t shown)
{
    json_t *list = json_array();

    for (int i = 0; i < KINDS; i++)
        json_array_append_new(list, row_json(ds, &rows[i], ids, shown));
    return wsl_ctl_put_json(
        wsl_ctl_json_document("images",
                              json_integer((json_int_t)wsl_dataset_count(ds, WSL_SPLIT_TRAIN)),
                              "curves", list, NULL),
        WSL_CTL_DONE);
}

static int add_lengths(struct wsl_buf *out, const struct wsl_dataset *ds, const struct row *rows)
{
    static const struct wsl_ctl_column columns[] = {
        {"SAMPLING", false}, {"T", true},          {"DRAWS AN EPOCH", true}, {"TIMES", true},
        {"REPEATED", true},  {"MOST OFTEN", true}, {"EFFECTIVE TAGS", true}};
    struct wsl_ctl_table table = {.columns = columns, .column_count = 7};
    uint64_t images = wsl_dataset_count(ds, WSL_SPLIT_TRAIN);
    int r;

    for (int i = 0; i < KINDS; i++) {
        const struct row *row = &rows[i];
        char text[WSL_CTL_TEXT];

        wsl_ctl_cell(&table, "%s", wsl_ctl_sampling_word(row->rule.kind));
        wsl_ctl_cell(&table, row->rule.kind == WSL_SAMPLING_NATURAL ? "-" : "%.6g",
                     row->rule.threshold);
        wsl_ctl_count(row->curve.length, text);
        wsl_ctl_cell(&table, "%s", text);
        wsl_ctl_cell(&table, "%.2f", images ? (double)row->curve.length / (double)images : 0);
        wsl_ctl_count(row->curve.repeated, text);
        wsl_ctl_cell(&table, "%s", text);
        wsl_ctl_cell(&table, "%.2f", row->curve.max_repeats);
        wsl_ctl_cell(&table, "%.1f", row->curve.effective);
    }
    r = wsl_ctl_table_print(&table, out);
    wsl_ctl_table_free(&table);
    return r;
}

/* Tags from the most frequent to the rarest, evenly spaced. */
static int add_draws(struct wsl_buf *out, const struct wsl_dataset *ds, const struct row *rows,
                     const uint32_t *ids, size_t shown)
{
    static const struct wsl_ctl_column columns[] = {{"TAG", false},
                                                    {"IMAGES", true},
                                                    {"NATURAL", true},
                                                    {"SQUARE-ROOT", true},
                                                    {"UNIFORM", true}};
    struct wsl_ctl_table table = {.columns = columns, .column_count = 5};
    size_t count = wsl_dataset_tag_count(ds);
    int r;

    for (size_t i = 0; i < shown; i++) {
        uint32_t id = ids[shown > 1 ? i * (count - 1) / (shown - 1) : 0];
        char text[WSL_CTL_TEXT];

        wsl_ctl_cell(&table, "%s", wsl_dataset_tag(ds, id)->name);
        wsl_ctl_count(wsl_dataset_tag(ds, id)->train, text);
        wsl_ctl_cell(&table, "%s", text);
        for (int k = 0; k < KINDS; k++)
            wsl_ctl_cell(&table, "%.3f %%",
                         100 * rows[k].curve.draws[id] / (double)rows[k].curve.length);
    }
    r = wsl_ctl_table_print(&table, out);
    wsl_ctl_table_free(&table);
    return r;
}

static int put_rows(const struct wsl_dataset *ds, const struct row *rows, const uint32_t *ids,
                    size_t shown)
{
    struct wsl_buf out = {0};
    int r = add_lengths(&out, ds, rows);

    if (r == 0 && shown > 0) {
        wsl_buf_add_text(&out, "\nShare of an epoch's draws that carry the tag:\n");
        r = add_draws(&out, ds, rows, ids, shown);
    }
    return wsl_ctl_put(&out, r, WSL_CTL_DONE);
}

static int make_rows(struct wsl_dataset *ds, const struct options *o, struct row *rows,
                     struct wsl_err *err)
{
    int r = 0;

    for (int i = 0; i < KINDS && r == 0; i++) {
        rows[i].rule = (struct wsl_sampling_rule){
            .kind = (enum wsl_sampling)i, .threshold = o->threshold, .max_repeat = o->max_repeat};
        if (o->length > 0 && i > 0)
            r = wsl_curve_threshold(ds, &rows[i].rule, o->length, err);
        if (r == 0)
            r = wsl_curve_open(&rows[i].curve, ds, &rows[i].rule, err);
    }
    return r;
}

int wsl_ctl_tags_curve(struct wsl_ctl *ctl, int argc, char **argv)
{
    struct options o = {.shown = UINT64_MAX};
    struct row rows[KINDS] = {0};
    struct wsl_dataset *ds;
    struct wsl_err err = {0};
    const uint32_t *ids;
    int code = WSL_CTL_FAILED;
    const struct wsl_arg args[] = {
        THRESHOLD_ROW(o),
        MAX_REPEAT_ROW(o),
        {"length", 0, WSL_ARG_UINT, &o.length, 1, 1e15, "DRAWS",
         "find the t that gives an epoch of this many draws"},
        {"tags", 0, WSL_ARG_UINT, &o.shown, 0, 1e9, "N",
         "number of tags to show, from the most frequent to the rarest (default: 8; -o json: all)"},
    };

    if (!wsl_ctl_parse(ctl, args, 4, argc, argv))
        return ctl->exit_code;
    if (o.length && o.threshold > 0)
        return wsl_ctl_usage(ctl, "give either --threshold or --length");
    if (!wsl_ctl_open_data(ctl, &ds))
        return ctl->exit_code;
    if (o.shown == UINT64_MAX && ctl->format != WSL_CTL_JSON)
        o.shown = 8;
    if (o.shown > wsl_dataset_tag_count(ds))
        o.shown = wsl_dataset_tag_count(ds);
    ids = wsl_ctl_rank_tags(ds);
    if (make_rows(ds, &o, rows, &err) < 0)
        code = wsl_ctl_fail(ctl, &err);
    else if (ids)
        code = ctl->format == WSL_CTL_JSON ? put_rows_json(ds, rows, ids, o.shown)
                                           : put_rows(ds, rows, ids, o.shown);
    for (int i = 0; i < KINDS; i++)
        wsl_curve_close(&rows[i].curve);
    free((void *)ids);
    wsl_dataset_close(ds);
    return code;
}

/* ---- why ---- */

/* The record that a word names: a number, or a source. */
static int find_record(struct wsl_dataset *ds, enum wsl_split split, const char *word,
                       uint64_t *ret, struct wsl_record *record, struct wsl_err *err)
{
    uint64_t count = wsl_dataset_count(ds, split);

    if (wsl_number_parse_u64(word, ret) == 0)
        return wsl_dataset_read(ds, split, *ret, record, err);
    for (*ret = 0; *ret < count; ++*ret) {
        int r = wsl_dataset_read(ds, split, *ret, record, err);

        if (r < 0)
            return r;
        if (strcmp(record->source, word) == 0)
            return 0;
    }
    return wsl_fail(err, WSL_ENOENT, "no record of the %s split has the source %s",
                    split == WSL_SPLIT_TRAIN ? "training" : "held-out", word);
}

struct why {
    struct wsl_dataset *ds;
    const struct wsl_record *record;
    uint64_t index;
    bool heldout;
    int rarest; /* index into the tags, or -1 */
    struct wsl_sampling_rule rules[KINDS];
};

static double repeat_of(const struct why *w, int kind, int tag)
{
    const struct wsl_sampling_rule *rule = &w->rules[kind];

    return tag < 0 ? 1
                   : wsl_order_repeat(rule->kind, rule->threshold, rule->max_repeat,
                                      wsl_dataset_tag(w->ds, w->record->tags[tag])->train);
}

static int put_why_json(const struct why *w)
{
    json_t *tags = json_array(), *repeats = json_object();

    for (int i = 0; i < w->record->tag_count; i++) {
        const struct wsl_tag *tag = wsl_dataset_tag(w->ds, w->record->tags[i]);

        json_array_append_new(tags,
                              json_pack("{s:s, s:I, s:b, s:o, s:o}", "name", tag->name, "train",
                                        (json_int_t)tag->train, "decides", i == w->rarest,
                                        "square-root", wsl_json_real(repeat_of(w, 1, i)), "uniform",
                                        wsl_json_real(repeat_of(w, 2, i))));
    }
    for (int k = 0; k < KINDS; k++)
        json_object_set_new(repeats, wsl_ctl_sampling_word(w->rules[k].kind),
                            wsl_json_real(repeat_of(w, k, w->rarest)));
    return wsl_ctl_put_json(
        wsl_ctl_json_document(
            "record",
            json_pack("{s:I, s:s, s:s, s:i, s:i, s:I, s:o, s:o, s:o}", "index",
                      (json_int_t)w->index, "split", w->heldout ? "heldout" : "train", "source",
                      w->record->source, "width", w->record->width, "height", w->record->height,
                      "bytes", (json_int_t)w->record->jpeg_size, "tags", tags, "repeats", repeats,
                      "threshold", wsl_json_real(w->rules[1].threshold)),
            NULL),
        WSL_CTL_DONE);
}

static int put_why(const struct why *w)
{
    static const struct wsl_ctl_column columns[] = {
        {"TAG", false}, {"IMAGES", true}, {"SQUARE-ROOT", true}, {"UNIFORM", true}, {"", false}};
    struct wsl_ctl_table table = {.columns = columns, .column_count = 5, .indent = 2};
    struct wsl_buf out = {0};
    int r;

    wsl_buf_add_format(&out, "Record %llu of %s: %s, %d x %d, %zu bytes\n",
                       (unsigned long long)w->index, w->heldout ? "heldout" : "train",
                       w->record->source, w->record->width, w->record->height,
                       w->record->jpeg_size);
    for (int i = 0; i < w->record->tag_count; i++) {
        const struct wsl_tag *tag = wsl_dataset_tag(w->ds, w->record->tags[i]);
        char text[WSL_CTL_TEXT];

        wsl_ctl_cell(&table, "%s", tag->name);
        wsl_ctl_count(tag->train, text);
        wsl_ctl_cell(&table, "%s", text);
        wsl_ctl_cell(&table, "%.3f", repeat_of(w, 1, i));
        wsl_ctl_cell(&table, "%.3f", repeat_of(w, 2, i));
        wsl_ctl_cell(&table, "%s", i == w->rarest ? "the rarest: it decides" : " ");
    }
    r = wsl_ctl_table_print(&table, &out);
    wsl_ctl_table_free(&table);
    if (w->heldout)
        wsl_buf_add_text(&out, "Held out: it is scored once, and never trained on.\n");
    else
        wsl_buf_add_format(
            &out,
            "Drawn once an epoch under natural sampling, %.3f times on average under "
            "square-root, %.3f under uniform (t %.6g).\n",
            repeat_of(w, 1, w->rarest), repeat_of(w, 2, w->rarest), w->rules[1].threshold);
    return wsl_ctl_put(&out, r, WSL_CTL_DONE);
}

int wsl_ctl_tags_why(struct wsl_ctl *ctl, int argc, char **argv)
{
    struct options o = {0};
    struct wsl_record record;
    struct wsl_err err = {0};
    struct why w = {.record = &record};
    int code;
    const struct wsl_arg args[] = {
        THRESHOLD_ROW(o),
        MAX_REPEAT_ROW(o),
        {"heldout", 0, WSL_ARG_FLAG, &o.heldout, 0, 0, NULL,
         "RECORD is in the held-out split, not the training split"},
    };

    if (!wsl_ctl_parse(ctl, args, 3, argc, argv) || !wsl_ctl_open_data(ctl, &w.ds))
        return ctl->exit_code;
    w.heldout = o.heldout;
    if (find_record(w.ds, o.heldout ? WSL_SPLIT_HELDOUT : WSL_SPLIT_TRAIN, ctl->words[1], &w.index,
                    &record, &err) < 0) {
        wsl_dataset_close(w.ds);
        return wsl_ctl_fail(ctl, &err);
    }
    for (int k = 0; k < KINDS; k++) {
        w.rules[k] = (struct wsl_sampling_rule){
            .kind = (enum wsl_sampling)k, .threshold = o.threshold, .max_repeat = o.max_repeat};
        wsl_sampling_fill(&w.rules[k], w.ds);
    }
    w.rarest = wsl_sampling_rarest(w.ds, record.tags, record.tag_count);
    code = ctl->format == WSL_CTL_JSON ? put_why_json(&w) : put_why(&w);
    wsl_dataset_close(w.ds);
    return code;
}

/* ---- audit ---- */

struct auditing {
    struct wsl_dataset *ds;
    struct wsl_sampling_rule rule;
    const struct options *o;
    struct wsl_curve curve;
    struct wsl_audit audit;
    const uint32_t *ids;
};

static json_t *audited_tags(const struct auditing *a, size_t shown)
{
    json_t *list = json_array();

    for (size_t i = 0; i < shown; i++)
        json_array_append_new(list, json_pack("{s:s, s:o, s:I}", "name",
                                              wsl_dataset_tag(a->ds, a->ids[i])->name, "expected",
                                              wsl_json_real(a->curve.draws[a->ids[i]]), "drawn",
                                              (json_int_t)a->audit.drawn[a->ids[i]]));
    return list;
}

static int put_audit_json(const struct auditing *a, size_t shown, int code)
{
    return wsl_ctl_put_json(
        wsl_ctl_json_document(
            "audit",
            json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "sampling",
                      wsl_ctl_sampling_word(a->rule.kind), "seed", (json_int_t)a->o->seed, "epoch",
                      (json_int_t)a->o->epoch, "length", (json_int_t)a->audit.length, "missing",
                      (json_int_t)a->audit.missing, "off", (json_int_t)a->audit.unexpected,
                      "unreadable", (json_int_t)a->audit.substitutes, "chi_square",
                      wsl_json_real(a->audit.chi_square), "tags", audited_tags(a, shown)),
            NULL),
        code);
}

static int put_audit(const struct auditing *a, size_t shown, int code)
{
    static const struct wsl_ctl_column columns[] = {
        {"TAG", false}, {"IMAGES", true}, {"EXPECTED", true}, {"DRAWN", true}, {"OFF BY", true}};
    struct wsl_ctl_table table = {.columns = columns, .column_count = 5};
    struct wsl_buf out = {0};
    int r;

    for (size_t i = 0; i < shown; i++) {
        uint32_t id = a->ids[i];
        char text[WSL_CTL_TEXT];

        wsl_ctl_cell(&table, "%s", wsl_dataset_tag(a->ds, id)->name);
        wsl_ctl_count(wsl_dataset_tag(a->ds, id)->train, text);
        wsl_ctl_cell(&table, "%s", text);
        wsl_ctl_cell(&table, "%.1f", a->curve.draws[id]);
        wsl_ctl_count(a->audit.drawn[id], text);
        wsl_ctl_cell(&table, "%s", text);
        wsl_ctl_cell(&table, "%+.1f", (double)a->audit.drawn[id] - a->curve.draws[id]);
    }
    r = wsl_ctl_table_print(&table, &out);
    wsl_ctl_table_free(&table);
    wsl_buf_add_format(&out,
                       "\nEpoch %llu of seed %llu, %s sampling: %llu draws of %llu records. %llu "
                       "records were not drawn, %llu more or less often than their repeats allow.\n"
                       "Chi-square over the tags %.2f: draws by chance would give about %zu.\n",
                       (unsigned long long)a->o->epoch, (unsigned long long)a->o->seed,
                       wsl_ctl_sampling_word(a->rule.kind), (unsigned long long)a->audit.length,
                       (unsigned long long)wsl_dataset_count(a->ds, WSL_SPLIT_TRAIN),
                       (unsigned long long)a->audit.missing,
                       (unsigned long long)a->audit.unexpected, a->audit.chi_square,
                       wsl_dataset_tag_count(a->ds));
    if (a->audit.substitutes)
        wsl_buf_add_format(&out, "%llu records cannot be read: others stand in for them.\n",
                           (unsigned long long)a->audit.substitutes);
    return wsl_ctl_put(&out, r, code);
}

static int run_audit(struct wsl_ctl *ctl, struct auditing *a)
{
    struct wsl_err err = {0};
    size_t shown = a->o->shown;
    const struct wsl_audit_setup setup = {.dataset = a->ds,
                                          .rule = &a->rule,
                                          .seed = a->o->seed,
                                          .epoch = a->o->epoch,
                                          .expected = &a->curve};
    int r = wsl_curve_open(&a->curve, a->ds, &a->rule, &err), code;

    if (r == 0)
        r = wsl_audit_run(&a->audit, &setup, &err);
    if (r < 0)
        return wsl_ctl_fail(ctl, &err);
    if (shown == UINT64_MAX && ctl->format != WSL_CTL_JSON)
        shown = 10;
    if (shown > wsl_dataset_tag_count(a->ds))
        shown = wsl_dataset_tag_count(a->ds);
    code = a->audit.missing || a->audit.unexpected ? WSL_CTL_FAILED : WSL_CTL_DONE;
    return ctl->format == WSL_CTL_JSON ? put_audit_json(a, shown, code) : put_audit(a, shown, code);
}

int wsl_ctl_tags_audit(struct wsl_ctl *ctl, int argc, char **argv)
{
    struct options o = {.sampling = "natural", .shown = UINT64_MAX};
    struct auditing a = {.o = &o};
    int code = WSL_CTL_FAILED;
    const struct wsl_arg args[] = {
        {"sampling", 's', WSL_ARG_TEXT, &o.sampling, 0, 0, "KIND",
         "the job's sampling: natural, square-root or uniform (default: natural)"},
        THRESHOLD_ROW(o),
        MAX_REPEAT_ROW(o),
        {"window", 0, WSL_ARG_UINT, &o.window, 8, 1e12, "RECORDS",
         "the job's shuffle window, in records (default: all)"},
        {"seed", 0, WSL_ARG_UINT, &o.seed, 0, 0, "N", "the job's seed (default: 0)"},
        {"epoch", 'e', WSL_ARG_UINT, &o.epoch, 0, 1e9, "N", "epoch, counted from 0 (default: 0)"},
        {"tags", 0, WSL_ARG_UINT, &o.shown, 0, 1e9, "N",
         "number of tags to show (default: 10; -o json: all)"},
    };

    if (!wsl_ctl_parse(ctl, args, 7, argc, argv) ||
        !wsl_ctl_sampling(ctl, o.sampling, &a.rule.kind) || !wsl_ctl_open_data(ctl, &a.ds))
        return ctl->exit_code;
    a.rule.threshold = o.threshold;
    a.rule.max_repeat = o.max_repeat;
    a.rule.window = o.window;
    a.ids = wsl_ctl_rank_tags(a.ds);
    if (a.ids)
        code = run_audit(ctl, &a);
    wsl_curve_close(&a.curve);
    wsl_audit_close(&a.audit);
    free((void *)a.ids);
    wsl_dataset_close(a.ds);
    return code;
}
