/* SPDX-License-Identifier: Apache-2.0
 *
 * How many pictures per second the loader reads, checks, decodes, crops and resizes: loader
 * [--data FOLDER] [--size PIXELS] [--stored PIXELS] [--seconds S] [--threads N]. Without --data it
 * imports the photographs of Debian's tuxpaint-stamps-default into a temporary folder first (exit
 * 77 when they are not installed). One line per number of threads, 1 to all cores or the one given;
 * images/s per core is against CPU time.
 */
#include "storage/loader/loader.h"
#include "base/args.h"
#include "base/clock.h"
#include "base/file.h"
#include "storage/import/import.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define STAMPS "/usr/share/tuxpaint/stamps"

struct options {
    const char *data;
    uint64_t size, stored, threads;
    double seconds;
};

static double cpu_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

static int import_stamps(const char *folder, int side_max, struct wsl_err *err)
{
    struct wsl_import_setup setup;
    struct wsl_import_result result = {0};

    wsl_import_defaults(&setup);
    setup.kind = WSL_IMPORT_DIRECTORIES;
    setup.source = STAMPS;
    setup.output = folder;
    setup.side_max = side_max;
    return wsl_import_run(&setup, &result, err);
}

static int measure(struct wsl_dataset *dataset, const struct options *o, int threads,
                   struct wsl_err *err)
{
    struct wsl_loader_setup setup = {.dataset = dataset,
                                     .image_size = (int)o->size,
                                     .augment = true,
                                     .batch = 64,
                                     .slots = 64,
                                     .threads = threads};
    struct wsl_loader *loader;
    struct wsl_batch batch;
    uint64_t pictures = 0, begin;
    double cpu, wall;
    int r = wsl_loader_open(&loader, &setup, err);

    if (r < 0)
        return r;
    for (int i = 0; i < 4 && r == 0; i++) /* warm up: pages, memory */
        r = wsl_loader_next(loader, &batch, err);
    begin = wsl_clock_ns();
    cpu = cpu_seconds();
    while (r == 0 && (double)(wsl_clock_ns() - begin) * 1e-9 < o->seconds) {
        r = wsl_loader_next(loader, &batch, err);
        pictures += batch.count;
    }
    wall = (double)(wsl_clock_ns() - begin) * 1e-9;
    cpu = cpu_seconds() - cpu;
    wsl_loader_close(loader);
    if (r == 0)
        printf("pixels=%d threads=%d images_per_second=%.0f per_core=%.0f\n", setup.image_size,
               threads, (double)pictures / wall, (double)pictures / cpu);
    return r;
}

static int run(const struct options *o, struct wsl_err *err)
{
    uint64_t bytes, images;
    struct wsl_dataset *dataset;
    int r = wsl_dataset_open(&dataset, o->data, err);

    if (r < 0)
        return r;
    bytes = wsl_dataset_bytes(dataset, WSL_SPLIT_TRAIN);
    images = wsl_dataset_count(dataset, WSL_SPLIT_TRAIN);
    printf("%llu pictures, %.1f KB each\n", (unsigned long long)images,
           (double)bytes / 1000 / (double)images);
    if (o->threads > 0)
        r = measure(dataset, o, (int)o->threads, err);
    for (int threads = 1; r == 0 && o->threads == 0 && threads <= sysconf(_SC_NPROCESSORS_ONLN);
         threads *= 2)
        r = measure(dataset, o, threads, err);
    wsl_dataset_close(dataset);
    return r;
}

static int parse(int argc, char **argv, struct options *o, struct wsl_err *err)
{
    const struct wsl_arg rows[] = {
        {"data", 0, WSL_ARG_TEXT, &o->data, 0, 0, "FOLDER", "a data set, instead of the stamps"},
        {"size", 0, WSL_ARG_UINT, &o->size, 1, 4096, "PIXELS", "side of the batches' pictures"},
        {"stored", 0, WSL_ARG_UINT, &o->stored, 8, 4096, "PIXELS", "longer side of the stamps"},
        {"seconds", 0, WSL_ARG_REAL, &o->seconds, 0.1, 600, "S", "how long each row takes"},
        {"threads", 0, WSL_ARG_UINT, &o->threads, 1, 64, "N", "only this number of them"},
    };
    const struct wsl_args args = {"loader [options]", "Measures the loader.", rows, 5};
    int words;

    return wsl_args_parse(&args, argc, argv, &words, err);
}

int main(int argc, char **argv)
{
    struct options o = {.size = 64, .stored = 96, .seconds = 3};
    char folder[] = "/tmp/wsl-bench-XXXXXX", output[64];
    struct wsl_err err = {0};
    int r = parse(argc, argv, &o, &err);

    if (r == WSL_ARGS_HELP)
        return 0;
    if (r == 0 && !o.data) {
        if (!wsl_file_exists(STAMPS)) {
            fprintf(stderr, "%s is missing: install tuxpaint-stamps-default or give --data\n",
                    STAMPS);
            return 77;
        }
        if (!mkdtemp(folder))
            return 1;
        snprintf(output, sizeof output, "%s/stamps", folder);
        o.data = output;
        r = import_stamps(output, (int)o.stored, &err);
        if (r == 0)
            r = run(&o, &err);
        wsl_file_remove_tree(folder, NULL);
    } else if (r == 0) {
        r = run(&o, &err);
    }
    if (r < 0)
        fprintf(stderr, "loader: %s\n", err.text);
    return r < 0;
}
