/* SPDX-License-Identifier: Apache-2.0
 *
 * data export, merge, split: data sets out of data sets.
 */
#include "client/wslctl/progress.h"
#include "client/wslctl/tags.h"

#include "base/clock.h"
#include "storage/derive/merge.h"
#include "storage/export/export.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { SETS_MAX = 64 };

/* ---- progress, on standard error ---- */

struct bar {
    const char *what;
    int percent; /* shown last; -1: nothing yet */
    uint64_t begin_ns;
};

static struct bar new_bar(const char *what)
{
    return (struct bar){.what = what, .percent = -1, .begin_ns = wsl_clock_ns()};
}

static void on_progress(void *context, uint64_t done, uint64_t total)
{
    struct bar *bar = context;
    int percent = total ? (int)(100 * (double)done / (double)total) : 100;
    const struct wsl_ctl_progress progress = {
        .what = bar->what,
        .seconds = (double)(wsl_clock_ns() - bar->begin_ns) / 1e9,
        .done = done,
        .total = total,
    };
    char line[WSL_CTL_PROGRESS_LINE];

    if (percent == bar->percent)
        return;
    bar->percent = percent;
    wsl_ctl_progress_line(&progress, wsl_ctl_width(STDERR_FILENO), line);
    fprintf(stderr, "\r\033[K%s", line);
    fflush(stderr);
}

static bool wants_bar(const struct wsl_ctl *ctl)
{
    return !ctl->quiet && wsl_ctl_width(STDERR_FILENO) > 0;
}

static void end_bar(const struct bar *bar)
{
    if (bar->percent >= 0)
        fputc('\n', stderr);
}

/* ---- export ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n > m && strcmp(text + n - m, end) == 0;
}

/* Bits of the splits that a word means; 0: none. */
static int splits_of(const char *word, bool tar)
{
    if (!word)
        return tar ? 1 << WSL_SPLIT_TRAIN : 1 << WSL_SPLIT_TRAIN | 1 << WSL_SPLIT_HELDOUT;
    if (strcmp(word, "train") == 0)
        return 1 << WSL_SPLIT_TRAIN;
    if (strcmp(word, "heldout") == 0)
        return 1 << WSL_SPLIT_HELDOUT;
    return strcmp(word, "all") == 0 && !tar ? 1 << WSL_SPLIT_TRAIN | 1 << WSL_SPLIT_HELDOUT : 0;
}

static int put_export(const struct wsl_ctl *ctl, const char *to, const struct wsl_export_result *x)
{
    char count[WSL_CTL_TEXT], bytes[WSL_CTL_TEXT];
    struct wsl_buf out = {0};

    if (ctl->format == WSL_CTL_JSON)
        return wsl_ctl_put_json(
            wsl_ctl_json_document("export",
                                  json_pack("{s:o, s:I, s:I}", "to",
                                            wsl_ctl_json_text(to, strlen(to)), "pictures",
                                            (json_int_t)x->images, "bytes", (json_int_t)x->bytes),
                                  NULL),
            WSL_CTL_DONE);
    if (ctl->quiet)
        return WSL_CTL_DONE;
    wsl_ctl_count(x->images, count);
    wsl_ctl_bytes(x->bytes, bytes);
    return wsl_ctl_put(&out, wsl_buf_add_format(&out, "%s: %s images, %s\n", to, count, bytes),
                       WSL_CTL_DONE);
}

int wsl_ctl_data_export(struct wsl_ctl *ctl, int argc, char **argv)
{
    const char *to = NULL, *split = NULL;
    struct bar bar = new_bar("exporting");
    struct wsl_export_setup setup = {.context = &bar};
    struct wsl_export_result result;
    struct wsl_err err = {0};
    int code;
    const struct wsl_arg rows[] = {
        {"to", 0, WSL_ARG_TEXT, &to, 0, 0, "DIR|FILE.tar",
         "the new directory or tar file; it appears only when complete"},
        {"split", 0, WSL_ARG_TEXT, &split, 0, 0, "WORD",
         "split to export: train, heldout or all (default: all; for a tar file: train)"},
    };

    if (!wsl_ctl_parse(ctl, rows, 2, argc, argv))
        return ctl->exit_code;
    if (!to)
        return wsl_ctl_usage(ctl, "needs --to DIR or --to FILE.tar");
    setup.form = ends_with(to, ".tar") ? WSL_EXPORT_TAR : WSL_EXPORT_DIRECTORY;
    setup.output = to;
    setup.splits = splits_of(split, setup.form == WSL_EXPORT_TAR);
    if (!setup.splits)
        return wsl_ctl_usage(ctl, "--split %s: must be train or heldout%s", split,
                             setup.form == WSL_EXPORT_TAR ? "; a tar holds one" : ", or all");
    struct wsl_dataset *ds;
    if (!wsl_ctl_open_data(ctl, &ds))
        return ctl->exit_code;
    setup.dataset = ds;
    setup.progress = wants_bar(ctl) ? on_progress : NULL;
    wsl_ctl_catch_interrupt();
    setup.cancel = wsl_ctl_interrupt_flag();
    code = wsl_export(&setup, &result, &err);
    end_bar(&bar);
    wsl_dataset_close(ds);
    code = wsl_ctl_made(ctl, code, to, &err);
    return code == WSL_CTL_DONE ? put_export(ctl, to, &result) : code;
}

/* ---- merge, and split --heldout ---- */

static void add_count(struct wsl_buf *out, uint64_t n, const char *what)
{
    char text[WSL_CTL_TEXT];

    if (n == 0)
        return;
    wsl_ctl_count(n, text);
    wsl_buf_add_format(out, "  %10s  %s\n", text, what);
}

static int put_merge(const struct wsl_ctl *ctl, const char *into, const struct wsl_merge_result *j)
{
    struct wsl_buf out = {0};

    if (ctl->format == WSL_CTL_JSON)
        return wsl_ctl_put_json(
            wsl_ctl_json_document("dataset",
                                  json_pack("{s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
                                            "folder", wsl_ctl_json_text(into, strlen(into)),
                                            "fingerprint", j->fingerprint, "train",
                                            (json_int_t)j->train, "heldout", (json_int_t)j->heldout,
                                            "duplicates", (json_int_t)j->duplicates, "moved",
                                            (json_int_t)j->moved_to_heldout, "clashes",
                                            (json_int_t)j->label_conflicts, "cut",
                                            (json_int_t)j->cut, "tags", (json_int_t)j->tags),
                                  NULL),
            WSL_CTL_DONE);
    if (ctl->quiet)
        return WSL_CTL_DONE;
    wsl_buf_add_format(&out, "%s: fingerprint %s\n", into, j->fingerprint);
    add_count(&out, j->train, "images for training");
    add_count(&out, j->heldout, "images held out");
    add_count(&out, j->duplicates,
              "had the same pixels as another: merged into one record with all tags");
    add_count(&out, j->moved_to_heldout,
              "of them were for training in one data set and held out in another: held out");
    add_count(&out, j->label_conflicts, "of them had different labels: the first is kept");
    add_count(&out, j->cut, "had more than 64 tags: the rarest are kept");
    add_count(&out, j->tags, "tags");
    return wsl_ctl_put(&out, 0, WSL_CTL_DONE);
}

static int merge(struct wsl_ctl *ctl, struct wsl_merge_setup *setup, const char *what)
{
    struct wsl_dataset *sets[SETS_MAX] = {0};
    struct bar bar = new_bar(what);
    struct wsl_merge_result result;
    struct wsl_err err = {0};
    int code = 0;

    for (int i = 0; i < ctl->word_count && code == 0; i++)
        code = wsl_dataset_open(&sets[i], ctl->words[i], &err);
    setup->datasets = sets;
    setup->count = (size_t)ctl->word_count;
    setup->progress = wants_bar(ctl) ? on_progress : NULL;
    setup->context = &bar;
    wsl_ctl_catch_interrupt();
    setup->cancel = wsl_ctl_interrupt_flag();
    if (code == 0)
        code = wsl_merge(setup, &result, &err);
    end_bar(&bar);
    for (int i = 0; i < ctl->word_count; i++)
        wsl_dataset_close(sets[i]);
    code = wsl_ctl_made(ctl, code, setup->output, &err);
    return code == WSL_CTL_DONE ? put_merge(ctl, setup->output, &result) : code;
}

int wsl_ctl_data_merge(struct wsl_ctl *ctl, int argc, char **argv)
{
    struct wsl_merge_setup setup = {.heldout = -1};
    uint64_t shard_mib = 0;
    const struct wsl_arg rows[] = {
        {"into", 0, WSL_ARG_TEXT, &setup.output, 0, 0, "DIR",
         "directory of the new data set; it appears only when complete"},
        {"name", 'n', WSL_ARG_TEXT, &setup.name, 0, 0, "NAME",
         "name of the data set (default: last part of --into)"},
        {"seed", 0, WSL_ARG_UINT, &setup.seed, 0, 0, "N", "seed of the record order (default: 0)"},
        {"shard-mib", 0, WSL_ARG_UINT, &shard_mib, 1, 65536, "MIB",
         "target size of a shard (default: 1024)"},
    };

    if (!wsl_ctl_parse(ctl, rows, 4, argc, argv))
        return ctl->exit_code;
    if (!setup.output)
        return wsl_ctl_usage(ctl, "needs --into DIR");
    if (ctl->word_count > SETS_MAX)
        return wsl_ctl_usage(ctl, "merge takes at most %d data sets", SETS_MAX);
    setup.shard_bytes = shard_mib << 20;
    return merge(ctl, &setup, "merging");
}

/* ---- split ---- */

static int share(struct wsl_ctl *ctl, double part, uint64_t seed, const char *into,
                 const char *rest)
{
    const char *outputs[] = {into, rest};
    struct wsl_dataset *ds;
    int code = WSL_CTL_DONE;

    if (!wsl_ctl_open_data(ctl, &ds))
        return ctl->exit_code;
    wsl_ctl_catch_interrupt();
    for (int i = 0; i < 2 && outputs[i] && code == WSL_CTL_DONE; i++) {
        struct wsl_view_setup setup = {ds, ctl->words[0], outputs[i], NULL,
                                       wsl_ctl_interrupt_flag()};
        struct wsl_view_result result;
        struct wsl_err err = {0};

        code = wsl_view_subset(&setup, part, i == 1, seed, &result, &err);
        code = wsl_ctl_made(ctl, code, outputs[i], &err);
        if (code == WSL_CTL_DONE)
            code = wsl_ctl_put_view(ctl, outputs[i], &result, "");
    }
    wsl_dataset_close(ds);
    return code;
}

int wsl_ctl_data_split(struct wsl_ctl *ctl, int argc, char **argv)
{
    const char *into = NULL, *rest = NULL;
    double part = -1, heldout = -1;
    uint64_t seed = 0;
    const struct wsl_arg rows[] = {
        {"share", 0, WSL_ARG_REAL, &part, 0, 1, "SHARE",
         "fraction of the training images: makes a view, no image is copied"},
        {"rest", 0, WSL_ARG_TEXT, &rest, 0, 0, "DIR",
         "with --share: also make a view of the other images"},
        {"heldout", 0, WSL_ARG_REAL, &heldout, 0, 0.9, "SHARE",
         "fraction of all images to hold out instead: makes a new data set"},
        {"seed", 0, WSL_ARG_UINT, &seed, 0, 0, "N", "seed of the random choice (default: 0)"},
        {"into", 0, WSL_ARG_TEXT, &into, 0, 0, "DIR",
         "the new directory; it appears only when complete"},
    };

    if (!wsl_ctl_parse(ctl, rows, 5, argc, argv))
        return ctl->exit_code;
    if ((part < 0) == (heldout < 0))
        return wsl_ctl_usage(ctl, "give either --share or --heldout");
    if (!into || (rest && part < 0))
        return wsl_ctl_usage(ctl, into ? "--rest goes with --share" : "needs --into DIR");
    if (part >= 0)
        return share(ctl, part, seed, into, rest);
    return merge(ctl, &(struct wsl_merge_setup){.output = into, .seed = seed, .heldout = heldout},
                 "splitting");
}
