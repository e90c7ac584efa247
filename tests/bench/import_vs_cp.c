/* SPDX-License-Identifier: Apache-2.0
 *
 * How fast an import that converts nothing is, against `cp --sparse=never` of the same bytes:
 * import_vs_cp [--pictures N] [--rounds N] [--folder DIR] [--threads N]. The pictures are JPEGs of
 * 500 x 375 cut out of the photographs of Debian's tuxpaint-stamps-default (exit 77 when they are
 * not installed), as a tree of files and as one tar file. Each round runs all ways once; the median
 * of the rounds counts, and the last column is its ratio to cp's. "with sync" adds what it takes
 * until the copy is on the disk, which an import always waits for.
 */
#include "base/args.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "kernels/image/image.h"
#include "storage/import/import.h"

#include <fts.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define STAMPS "/usr/share/tuxpaint/stamps"
enum { WIDTH = 500, HEIGHT = 375, ROUNDS_MAX = 15 };

struct options {
    uint64_t pictures, rounds, threads;
    const char *folder;
};

struct world {
    const struct options *o;
    char root[PATH_MAX / 2], tree[PATH_MAX], tar[PATH_MAX], copy[PATH_MAX];
    uint64_t made, bytes;
    uint64_t pictures_a_stamp;
};

/* ---- pictures ---- */

static int put_crops(struct world *w, const char *path, struct wsl_err *err)
{
    struct wsl_buf file = {0}, jpeg = {0};
    struct wsl_image image = {0}, crop = {malloc(WIDTH * HEIGHT * 3), WIDTH, HEIGHT};
    int r = crop.pixels ? wsl_file_read(path, 64 << 20, &file, err) : WSL_ENOMEM;

    if (r == 0)
        r = wsl_image_decode(file.data, file.size, NULL, &image, err);
    for (uint64_t i = 0; r == 0 && i < w->pictures_a_stamp && w->made < w->o->pictures; i++) {
        char name[PATH_MAX + 64];
        bool flip;
        struct wsl_rect part = wsl_augment_crop(image.width, image.height, 0.2, 1, w->made, &flip);

        r = wsl_image_resize(&image, &(struct wsl_image_crop){part, WIDTH, HEIGHT, flip},
                             crop.pixels, err);
        wsl_buf_clear(&jpeg);
        if (r == 0)
            r = wsl_image_encode_jpeg(&crop, 95, &jpeg, err);
        snprintf(name, sizeof name, "%s/%03d/%06llu.jpg", w->tree, (int)(w->made % 200),
                 (unsigned long long)w->made);
        if (r == 0 && w->made < 200) {
            *strrchr(name, '/') = '\0';
            r = wsl_file_make_directories(name, err);
            name[strlen(name)] = '/';
        }
        if (r == 0) {
            FILE *out = fopen(name, "wb");

            if (!out || fwrite(jpeg.data, 1, jpeg.size, out) != jpeg.size || fclose(out) != 0)
                r = wsl_fail_errno(err, "cannot write %s", name);
        }
        w->bytes += jpeg.size;
        w->made++;
    }
    wsl_image_free(&image);
    wsl_image_free(&crop);
    wsl_buf_free(&file);
    wsl_buf_free(&jpeg);
    return r;
}

static int put_pictures(struct world *w, struct wsl_err *err)
{
    char *const roots[] = {(char *)STAMPS, NULL};
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
    FTSENT *entry;
    int r = 0;

    if (!tree)
        return wsl_fail_errno(err, "cannot read %s", STAMPS);
    w->pictures_a_stamp = w->o->pictures / 400 + 1;
    while (r == 0 && w->made < w->o->pictures && (entry = fts_read(tree)))
        if (entry->fts_info == FTS_F && strstr(entry->fts_name, ".png"))
            r = put_crops(w, entry->fts_path, err);
    fts_close(tree);
    return r;
}

/* ---- ways ---- */

static int run(const char *command)
{
    int status = system(command);

    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : WSL_EIO;
}

static int copy(struct world *w, const char *from, bool wait, struct wsl_err *err)
{
    char command[4 * PATH_MAX];

    snprintf(command, sizeof command, "cp -r --sparse=never '%s' '%s' && %s '%s'", from, w->copy,
             wait ? "sync" : ":", w->copy);
    return run(command) == 0 ? 0 : wsl_fail(err, WSL_EIO, "failed: %s", command);
}

static int import(struct world *w, const char *from, bool headers_only, struct wsl_err *err)
{
    struct wsl_import_setup setup;
    struct wsl_import_result result;
    uint64_t same;
    int r;

    wsl_import_defaults(&setup);
    setup.kind = from == w->tar ? WSL_IMPORT_TAR : WSL_IMPORT_DIRECTORIES;
    setup.source = from;
    setup.output = w->copy;
    setup.headers_only = headers_only;
    setup.threads = (int)w->o->threads;
    r = wsl_import_run(&setup, &result, err);
    /* A few crops are the same, plain white for instance; in two folders they have two labels. */
    same = result.duplicates + result.quarantined[WSL_QUARANTINE_CONFLICT];
    if (r == 0 && result.kept_jpegs + same != w->made)
        r = wsl_fail(err, WSL_EINTERNAL, "%llu of %llu pictures were kept, %llu are as others",
                     (unsigned long long)result.kept_jpegs, (unsigned long long)w->made,
                     (unsigned long long)same);
    return r;
}

enum way { CP, CP_WAIT, HEADERS, WHOLE, WAYS };

static int go(struct world *w, enum way way, const char *from, double *ret_seconds,
              struct wsl_err *err)
{
    uint64_t begin = wsl_clock_ns();
    int r = way == CP || way == CP_WAIT ? copy(w, from, way == CP_WAIT, err)
                                        : import(w, from, way == HEADERS, err);

    *ret_seconds = (double)(wsl_clock_ns() - begin) / 1e9;
    if (r == 0)
        r = wsl_file_remove_tree(w->copy, err); /* and what was still to be written of it */
    return r;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static int compare(struct world *w, const char *from, const char *what, struct wsl_err *err)
{
    static const char *const words[WAYS] = {"cp --sparse=never", "cp, then fsync",
                                            "import --headers-only", "import (decodes to check)"};
    double seconds[WAYS][ROUNDS_MAX], cp;
    int r = 0;

    for (uint64_t i = 0; r == 0 && i < w->o->rounds; i++)
        for (int way = 0; r == 0 && way < WAYS; way++)
            if (way != CP_WAIT || from == w->tar)
                r = go(w, (enum way)way, from, &seconds[way][i], err);
    if (r < 0)
        return r;
    printf("%s, %llu JPEGs, %.1f MB\n", what, (unsigned long long)w->made, (double)w->bytes / 1e6);
    for (int way = 0; way < WAYS; way++)
        if (way != CP_WAIT || from == w->tar)
            qsort(seconds[way], w->o->rounds, sizeof **seconds, by_value);
    cp = seconds[CP][w->o->rounds / 2];
    for (int way = 0; way < WAYS; way++) {
        double median = seconds[way][w->o->rounds / 2];

        if (way == CP_WAIT && from != w->tar)
            continue;
        printf("  %-26s %8.1f MB/s   %5.2f of cp\n", words[way], (double)w->bytes / 1e6 / median,
               cp / median);
    }
    return 0;
}

static int run_all(struct world *w, struct wsl_err *err)
{
    char command[3 * PATH_MAX];
    int r;

    snprintf(w->root, sizeof w->root, "%s/wsl-bench-XXXXXX", w->o->folder);
    if (!mkdtemp(w->root))
        return wsl_fail_errno(err, "cannot make a folder in %s", w->o->folder);
    snprintf(w->tree, sizeof w->tree, "%s/tree", w->root);
    snprintf(w->tar, sizeof w->tar, "%s/all.tar", w->root);
    snprintf(w->copy, sizeof w->copy, "%s/copy", w->root);
    r = put_pictures(w, err);
    if (r == 0)
        r = compare(w, w->tree, "A tree of files", err);
    /* WebDataset: the label of NNNNNN.jpg in NNNNNN.cls. */
    snprintf(command, sizeof command,
             "cd '%s' && for d in ???; do (cd $d && for f in *.jpg; do echo $d >${f%%.jpg}.cls; "
             "done); done && tar --sort=name -cf ../all.tar *",
             w->tree);
    if (r == 0 && run(command) < 0)
        r = wsl_fail(err, WSL_EIO, "cannot make %s", w->tar);
    if (r == 0)
        r = compare(w, w->tar, "One tar file", err);
    wsl_file_remove_tree(w->root, NULL);
    return r;
}

int main(int argc, char **argv)
{
    struct options o = {.pictures = 4000, .rounds = 3, .folder = "/tmp"};
    const struct wsl_arg rows[] = {
        {"pictures", 0, WSL_ARG_UINT, &o.pictures, 400, 1e6, "N", "how many (default: 4000)"},
        {"rounds", 0, WSL_ARG_UINT, &o.rounds, 1, ROUNDS_MAX, "N", "default: 3"},
        {"folder", 0, WSL_ARG_TEXT, &o.folder, 0, 0, "DIR", "on the disk to try (default: /tmp)"},
        {"threads", 'j', WSL_ARG_UINT, &o.threads, 1, 256, "N", "default: one per CPU"},
    };
    const struct wsl_args args = {"import_vs_cp [options]", "Times imports against cp.", rows, 4};
    struct world w = {.o = &o};
    struct wsl_err err = {0};
    int words, r = wsl_args_parse(&args, argc, argv, &words, &err);

    if (r == WSL_ARGS_HELP)
        return 0;
    if (r == 0 && !wsl_file_exists(STAMPS)) {
        fprintf(stderr, "skipped: tuxpaint-stamps-default is not installed\n");
        return 77;
    }
    if (r == 0)
        r = run_all(&w, &err);
    if (r < 0)
        fprintf(stderr, "import_vs_cp: %s\n", err.text);
    return r < 0;
}
