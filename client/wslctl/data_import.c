/* SPDX-License-Identifier: Apache-2.0
 *
 * data import: pictures and their tags into a sealed data set.
 */
#include "client/wslctl/progress.h"
#include "client/wslctl/wslctl.h"

#include "base/clock.h"
#include "storage/import/import.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- progress, on standard error ---- */

struct bar {
    const struct wsl_ctl *ctl;
    int width; /* of the terminal; 0: a line for each tenth */
    int phase; /* shown last, -1 none */
    int tenth;
    uint64_t begin_ns; /* of the phase */
};

static const char *phase_name(enum wsl_import_phase phase)
{
    switch (phase) {
    case WSL_IMPORT_LIST:
        return "listing";
    case WSL_IMPORT_DECODE:
        return "decoding";
    case WSL_IMPORT_WRITE:
        return "writing";
    }
    return "importing";
}

static void draw(const struct bar *bar, const struct wsl_import_progress *p)
{
    const struct wsl_ctl_progress progress = {
        .what = phase_name(p->phase),
        .seconds = (double)(wsl_clock_ns() - bar->begin_ns) / 1e9,
        .done = p->done,
        .total = p->total,
        .resumed = p->resumed,
        .bytes = p->bytes,
        .quarantined = p->quarantined,
    };
    char line[WSL_CTL_PROGRESS_LINE];

    wsl_ctl_progress_line(&progress, bar->width, line);
    fprintf(stderr, "\r\033[K%s", line);
    fflush(stderr);
}

static void on_progress(void *context, const struct wsl_import_progress *p)
{
    struct bar *bar = context;
    double share = p->total ? (double)p->done / (double)p->total : 0;
    int tenth = (int)(share * 10 + 1e-9);

    if (bar->phase != (int)p->phase) {
        if (bar->phase >= 0 && bar->width > 0)
            fputc('\n', stderr);
        bar->phase = (int)p->phase;
        bar->tenth = -1;
        bar->begin_ns = wsl_clock_ns();
    }
    if (bar->width > 0) {
        draw(bar, p);
    } else if (p->total > 0 && tenth != bar->tenth) {
        fprintf(stderr, "%-9s %3d %%\n", phase_name(p->phase), tenth * 10);
        bar->tenth = tenth;
    }
}

/* ---- result ---- */

static void add_count(struct wsl_buf *out, const char *label, uint64_t n, const char *what)
{
    char text[WSL_CTL_TEXT];

    wsl_ctl_count(n, text);
    wsl_buf_add_format(out, "  %-12s %10s  %s\n", label, text, what);
}

static uint64_t quarantined(const struct wsl_import_result *result)
{
    uint64_t sum = 0;

    for (int i = 0; i < WSL_QUARANTINE_REASONS; i++)
        sum += result->quarantined[i];
    return sum;
}

static void add_faults(struct wsl_buf *out, const struct wsl_import_result *result)
{
    for (int i = 0; i < WSL_QUARANTINE_REASONS; i++)
        if (result->quarantined[i] > 0)
            add_count(out, "", result->quarantined[i],
                      wsl_quarantine_reason_name((enum wsl_quarantine_reason)i));
}

static uint64_t skipped(const struct wsl_import_result *result)
{
    uint64_t sum = 0;

    for (int i = 0; i < WSL_IMPORT_SKIPS; i++)
        sum += result->skipped[i];
    return sum;
}

/* Each kind with an example, of which as much is shown as fits into 80 columns. */
static void add_skips(struct wsl_buf *out, const struct wsl_import_result *result)
{
    enum { ROOM = 80 - 27 };

    for (int i = 0; i < WSL_IMPORT_SKIPS; i++) {
        const char *word = wsl_import_skip_name((enum wsl_import_skip)i);
        const char *first = result->skipped_first[i];
        int room = ROOM - (int)strlen(word) - (int)strlen(": ");
        char line[2 * ROOM];

        if (result->skipped[i] == 0)
            continue;
        if ((int)strlen(first) <= room)
            snprintf(line, sizeof line, "%s: %s", word, first);
        else
            snprintf(line, sizeof line, "%s: ...%s", word,
                     first + strlen(first) - (size_t)room + 3);
        add_count(out, "", result->skipped[i], line);
    }
}

static int put_text(const struct wsl_import_setup *setup, const struct wsl_import_result *result)
{
    struct wsl_buf out = {0};
    char bytes[WSL_CTL_TEXT], took[WSL_CTL_TEXT];

    wsl_ctl_bytes(result->bytes, bytes);
    wsl_ctl_duration((double)result->elapsed_ns / 1e9, took);
    wsl_buf_add_format(&out, "%s: %s in %llu shard%s, made in %s\n", setup->output, bytes,
                       (unsigned long long)result->shards, result->shards == 1 ? "" : "s", took);
    if (setup->in_place)
        wsl_buf_add_format(&out, "  in place     the images stay in %s: keep it unchanged\n",
                           setup->source);
    add_count(&out, "images", result->seen, "found");
    if (result->resumed)
        add_count(&out, "", result->resumed, "images and shards kept from the interrupted import");
    add_count(&out, "train", result->train, "for training");
    add_count(&out, "held out", result->heldout, "for evaluation");
    if (result->duplicates)
        add_count(&out, "duplicates", result->duplicates,
                  "same pixels as another image; their tags are merged");
    if (result->untagged)
        add_count(&out, "untagged", result->untagged, "without any of the tags that were kept");
    if (result->excluded)
        add_count(&out, "excluded", result->excluded, "by --exclude-tag, --exclude-path");
    if (quarantined(result)) {
        add_count(&out, "quarantine", quarantined(result), "listed in quarantine.tsv:");
        add_faults(&out, result);
    }
    if (skipped(result)) {
        add_count(&out, "skipped", skipped(result), "listed in skipped.tsv, for example:");
        add_skips(&out, result);
    }
    add_count(&out, "tags", result->tags, "kept");
    if (result->tags_unknown)
        add_count(&out, "", result->tags_unknown,
                  setup->only_nouns ? "spellings that are not a WordNet noun, dropped"
                                    : "spellings that are not a WordNet noun, kept as they are");
    if (result->tags_merged)
        add_count(&out, "", result->tags_merged, "spellings merged with another of the same noun");
    if (result->tags_rare)
        add_count(&out, "", result->tags_rare, "dropped as too rare");
    return wsl_ctl_put(&out, wsl_buf_add_format(&out, "  fingerprint  %s\n", result->fingerprint),
                       WSL_CTL_DONE);
}

static int set_u64(json_t *object, const char *key, uint64_t value)
{
    return json_object_set_new(object, key, json_integer((json_int_t)value));
}

static int put_json(const struct wsl_import_setup *setup, const struct wsl_import_result *result)
{
    json_t *object = json_object(), *faults = json_object(), *skips = json_object();
    const struct {
        const char *key;
        uint64_t value;
    } counts[] = {
        {"seen", result->seen},
        {"excluded", result->excluded},
        {"duplicates", result->duplicates},
        {"untagged", result->untagged},
        {"train", result->train},
        {"heldout", result->heldout},
        {"tags_before", result->tags_before},
        {"tags_unknown", result->tags_unknown},
        {"tags_merged", result->tags_merged},
        {"tags_rare", result->tags_rare},
        {"tags", result->tags},
        {"shards", result->shards},
        {"bytes", result->bytes},
        {"read_bytes", result->read_bytes},
        {"kept_jpegs", result->kept_jpegs},
        {"transcoded", result->transcoded},
        {"resumed", result->resumed},
        {"elapsed_ms", result->elapsed_ns / 1000000},
        {"quarantined", quarantined(result)},
        {"skipped", skipped(result)},
    };

    json_object_set_new(object, "folder", wsl_ctl_json_text(setup->output, strlen(setup->output)));
    json_object_set_new(object, "fingerprint", json_string(result->fingerprint));
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        set_u64(object, counts[i].key, counts[i].value);
    for (int i = 0; i < WSL_QUARANTINE_REASONS; i++)
        if (result->quarantined[i] > 0)
            set_u64(faults, wsl_quarantine_reason_name((enum wsl_quarantine_reason)i),
                    result->quarantined[i]);
    json_object_set_new(object, "quarantined_by_reason", faults);
    for (int i = 0; i < WSL_IMPORT_SKIPS; i++)
        if (result->skipped[i] > 0)
            set_u64(skips, wsl_import_skip_name((enum wsl_import_skip)i), result->skipped[i]);
    json_object_set_new(object, "skipped_by_reason", skips);
    return wsl_ctl_put_json(wsl_ctl_json_document("import", object, NULL), WSL_CTL_DONE);
}

/* ---- the command ---- */

struct options {
    const char *manifest, *directory, *tar, *lmdb, *layout;
    struct wsl_arg_list exclude_tags, exclude_paths;
    uint64_t min_tag_images, min_label_images;
    uint64_t side_max, quality, threads, shard_mib;
};

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

/* The source and its layout, from whichever of the four options was given. */
static int choose_source(struct wsl_ctl *ctl, struct wsl_import_setup *setup,
                         const struct options *o)
{
    bool lines;

    if (!!o->manifest + !!o->directory + !!o->tar + !!o->lmdb != 1)
        return wsl_ctl_usage(ctl, "give one of --manifest FILE, --directory DIR, --tar FILE and "
                                  "--lmdb DIR");
    lines = o->manifest && (ends_with(o->manifest, ".jsonl") || ends_with(o->manifest, ".ndjson"));
    setup->source = o->manifest    ? o->manifest
                    : o->directory ? o->directory
                    : o->tar       ? o->tar
                                   : o->lmdb;
    setup->kind = o->manifest    ? (lines ? WSL_IMPORT_JSONL : WSL_IMPORT_MANIFEST)
                  : o->directory ? wsl_import_detect(o->directory)
                  : o->tar       ? WSL_IMPORT_TAR
                                 : WSL_IMPORT_LMDB;
    if (o->layout && !wsl_import_kind_find(o->layout, &setup->kind))
        return wsl_ctl_usage(ctl, "--layout is one of manifest, jsonl, folders, imagenet, cub200, "
                                  "places365, webdataset, lmdb");
    return 0;
}

static bool always_labels(enum wsl_import_kind kind)
{
    return kind == WSL_IMPORT_DIRECTORIES || wsl_import_has_split(kind);
}

static int check_options(struct wsl_ctl *ctl, struct wsl_import_setup *setup,
                         const struct options *o)
{
    int code = choose_source(ctl, setup, o);

    if (code != 0)
        return code;
    if (!setup->output)
        return wsl_ctl_usage(ctl, "needs --into DIR");
    if (setup->in_place && setup->kind != WSL_IMPORT_LMDB && setup->kind != WSL_IMPORT_TAR)
        return wsl_ctl_usage(ctl, "--in-place is only for --lmdb and --tar");
    if (setup->in_place && setup->transcode)
        return wsl_ctl_usage(
            ctl, "--in-place keeps images as they are; it cannot be used with --transcode");
    if (setup->wordnet && always_labels(setup->kind))
        return wsl_ctl_usage(
            ctl, "--wordnet is only for --manifest: directory names are labels as they are");
    if (setup->kind == WSL_IMPORT_MANIFEST && o->min_label_images)
        return wsl_ctl_usage(ctl,
                             "--min-label-images is only for --directory; see --min-tag-images");
    if (always_labels(setup->kind) && o->min_tag_images)
        return wsl_ctl_usage(ctl,
                             "--min-tag-images is only for --manifest; see --min-label-images");
    if (o->min_tag_images + o->min_label_images > 0)
        setup->min_images = o->min_tag_images + o->min_label_images;
    setup->exclude_tags = o->exclude_tags.items;
    setup->exclude_tag_count = (size_t)o->exclude_tags.count;
    setup->exclude_paths = o->exclude_paths.items;
    setup->exclude_path_count = (size_t)o->exclude_paths.count;
    if (o->side_max)
        setup->side_max = (int)o->side_max;
    if (o->quality)
        setup->quality = (int)o->quality;
    setup->threads = (int)o->threads;
    if (o->shard_mib)
        setup->shard_bytes = o->shard_mib << 20;
    return 0;
}

static int check_inputs(const struct wsl_ctl *ctl, const struct wsl_import_setup *setup,
                        const struct options *o)
{
    const struct {
        const char *option, *path;
    } inputs[] = {{"manifest", o->manifest},
                  {"directory", o->directory},
                  {"tar", o->tar},
                  {"lmdb", o->lmdb},
                  {"wordnet", setup->wordnet},
                  {"label-names", setup->label_names}};
    int code = WSL_CTL_DONE;

    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0] && code == WSL_CTL_DONE; i++)
        code = wsl_ctl_check_input(ctl, inputs[i].option, inputs[i].path);
    return code;
}

static bool parse(struct wsl_ctl *ctl, struct wsl_import_setup *setup, struct options *o, int argc,
                  char **argv)
{
    const struct wsl_arg rows[] = {
        {"manifest", 'm', WSL_ARG_TEXT, &o->manifest, 0, 0, "FILE",
         "a text file with a line per image: path, tab, tag,tag,...; *.jsonl: a JSON object per "
         "line"},
        {"directory", 'f', WSL_ARG_TEXT, &o->directory, 0, 0, "DIR",
         "a tree whose directory names are the labels; ImageNet, CUB-200 and Places365 are "
         "recognized by their list files"},
        {"folder", 0, WSL_ARG_TEXT, &o->directory, 0, 0, "DIR", NULL}, /* its name until 2026 */
        {"tar", 0, WSL_ARG_TEXT, &o->tar, 0, 0, "FILE",
         "WebDataset tar file, plain or compressed, or a directory of them; - is standard input"},
        {"lmdb", 0, WSL_ARG_TEXT, &o->lmdb, 0, 0, "DIR",
         "LMDB of Caffe (Datum) or Caffe2 (TensorProtos)"},
        {"layout", 0, WSL_ARG_TEXT, &o->layout, 0, 0, "NAME",
         "layout of the source, instead of detecting it: imagenet, cub200, places365, folders, "
         "manifest, jsonl, webdataset or lmdb"},
        {"label-names", 0, WSL_ARG_TEXT, &setup->label_names, 0, 0, "FILE",
         "names of the numeric labels of --tar and --lmdb: line i, from 0, names label i"},
        {"into", 0, WSL_ARG_TEXT, &setup->output, 0, 0, "DIR",
         "directory of the new data set; it appears only when complete"},
        {"name", 'n', WSL_ARG_TEXT, &setup->name, 0, 0, "NAME",
         "name of the data set (default: last part of --into)"},
        {"wordnet", 0, WSL_ARG_TEXT, &setup->wordnet, 0, 0, "DIR",
         "directory of WordNet: merge the spellings of one noun, e.g. /usr/share/wordnet"},
        {"only-nouns", 0, WSL_ARG_FLAG, &setup->only_nouns, 0, 0, NULL,
         "drop tags that are not a WordNet noun instead of keeping them"},
        {"heldout", 0, WSL_ARG_REAL, &setup->heldout, 0, 0.9, "SHARE",
         "fraction of the images to hold out for evaluation, chosen by a hash of their pixels "
         "(default: 0.1)"},
        {"seed", 0, WSL_ARG_UINT, &setup->seed, 0, 0, "N",
         "seed of the split and of the record order (default: 0)"},
        {"min-tag-images", 0, WSL_ARG_UINT, &o->min_tag_images, 1, 1e12, "N",
         "drop tags with fewer training images (default: 1)"},
        {"min-label-images", 0, WSL_ARG_UINT, &o->min_label_images, 1, 1e12, "N",
         "drop labels of --directory with fewer training images (default: 1)"},
        {"max-tags", 0, WSL_ARG_UINT, &setup->max_tags, 1, 1e9, "N",
         "keep only the N most frequent tags (default: all)"},
        {"exclude-tag", 0, WSL_ARG_LIST, &o->exclude_tags, 0, 0, "TAG",
         "leave out images with this tag; may be repeated"},
        {"exclude-path", 0, WSL_ARG_LIST, &o->exclude_paths, 0, 0, "GLOB",
         "leave out images whose path matches; may be repeated"},
        {"max-side", 0, WSL_ARG_UINT, &o->side_max, 8, 65500, "PIXELS",
         "scale images down whose longer side is larger (default: never)"},
        {"quality", 0, WSL_ARG_UINT, &o->quality, 1, 100, "N",
         "quality of re-encoded JPEGs (default: 90)"},
        {"transcode", 0, WSL_ARG_FLAG, &setup->transcode, 0, 0, NULL,
         "rewrite kept JPEGs losslessly as baseline with restart markers: faster to decode"},
        {"headers-only", 0, WSL_ARG_FLAG, &setup->headers_only, 0, 0, NULL,
         "do not decode JPEGs that are kept: faster, but finds less damage"},
        {"in-place", 0, WSL_ARG_FLAG, &setup->in_place, 0, 0, NULL,
         "do not copy the JPEGs of --lmdb or --tar, which must stay where it is, unchanged"},
        {"threads", 'j', WSL_ARG_UINT, &o->threads, 1, 256, "N",
         "decoding threads (default: one per CPU)"},
        {"shard-mib", 0, WSL_ARG_UINT, &o->shard_mib, 1, 65536, "MIB",
         "target size of a shard (default: 1024)"},
    };

    return wsl_ctl_parse(ctl, rows, (int)(sizeof rows / sizeof rows[0]), argc, argv);
}

int wsl_ctl_data_import(struct wsl_ctl *ctl, int argc, char **argv)
{
    struct wsl_import_setup setup;
    struct wsl_import_result result = {0};
    struct options options = {0};
    struct bar bar = {.ctl = ctl, .phase = -1, .width = wsl_ctl_width(STDERR_FILENO)};
    struct wsl_err err = {0};
    int code;

    wsl_import_defaults(&setup);
    if (!parse(ctl, &setup, &options, argc, argv))
        return ctl->exit_code;
    code = check_options(ctl, &setup, &options);
    if (code == 0)
        code = check_inputs(ctl, &setup, &options);
    if (code != 0)
        return code;
    if (wsl_import_has_split(setup.kind))
        wsl_ctl_note(ctl, "%s: read as %s, with its own split instead of --heldout", setup.source,
                     wsl_import_kind_name(setup.kind));
    if (!ctl->quiet)
        setup.progress = on_progress;
    setup.context = &bar;
    wsl_ctl_catch_interrupt();
    setup.cancel = wsl_ctl_interrupt_flag();
    code = wsl_import_run(&setup, &result, &err);
    if (bar.width > 0 && bar.phase >= 0)
        fputc('\n', stderr);
    if (code == WSL_ECANCELLED) {
        wsl_ctl_say("interrupted; run the same command again to resume from %s.partial",
                    setup.output);
        return WSL_CTL_INTERRUPTED;
    }
    if (code < 0)
        return wsl_ctl_fail(ctl, &err);
    if (ctl->format == WSL_CTL_JSON)
        return put_json(&setup, &result);
    return ctl->quiet ? WSL_CTL_DONE : put_text(&setup, &result);
}
