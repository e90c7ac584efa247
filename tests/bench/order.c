/* SPDX-License-Identifier: Apache-2.0
 *
 * What the order costs at the size of the paper, 3.5e9 pictures and 17,000 tags by Zipf's law: the
 * time from nothing to the first batch of 8,064 records, nanoseconds of CPU a record after that,
 * memory. order [--records N] [--tags N]. The table by rarest tag is not made: places stand for
 * records.
 */
#include "storage/sampling/order.h"
#include "base/args.h"
#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum { BATCH = 8064, DRAWS = 2000000 };

struct options {
    uint64_t records, tags;
};

static struct wsl_order_run *make_runs(const struct options *o)
{
    struct wsl_order_run *runs = calloc(o->tags, sizeof *runs);
    uint64_t given = 0;
    double sum = 0;

    for (uint64_t i = 0; runs && i < o->tags; i++)
        sum += 1 / (double)(i + 1);
    for (uint64_t i = 0; runs && i < o->tags; i++) {
        runs[i].records = (uint64_t)((double)o->records / (double)(i + 1) / sum);
        given += runs[i].records;
    }
    if (runs)
        runs[0].records += o->records - given;
    for (uint64_t i = 0; runs && i < o->tags; i++)
        runs[i].repeat = wsl_order_repeat(WSL_SAMPLING_SQUARE_ROOT, (double)runs[0].records / 4, 20,
                                          runs[i].records);
    return runs;
}

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int measure(const char *what, const struct wsl_order_setup *setup, struct wsl_err *err)
{
    uint64_t begin = wsl_clock_ns(), first, sum = 0;
    double cpu;
    struct wsl_order order;
    struct rusage usage;
    int r = wsl_order_open(&order, setup, err);

    if (r < 0)
        return r;
    for (uint64_t i = 0; i < BATCH; i++)
        sum += wsl_order_record(&order, i);
    first = wsl_clock_ns();
    cpu = cpu_seconds();
    for (uint64_t i = 0; i < DRAWS; i++)
        sum += wsl_order_record(&order, BATCH + i);
    cpu = cpu_seconds() - cpu;
    getrusage(RUSAGE_SELF, &usage);
    printf("%-12s epoch of %llu draws: first batch after %.2f ms, then %.0f ns a record; %.1f MiB "
           "(%llx)\n",
           what, (unsigned long long)order.length, (double)(first - begin) * 1e-6,
           cpu * 1e9 / DRAWS, (double)usage.ru_maxrss / 1024, (unsigned long long)sum);
    wsl_order_close(&order);
    return 0;
}

int main(int argc, char **argv)
{
    struct options o = {.records = (uint64_t)3500000000u, .tags = 17000};
    const struct wsl_arg rows[] = {
        {"records", 0, WSL_ARG_UINT, &o.records, 1000, 1e12, "N", "pictures"},
        {"tags", 0, WSL_ARG_UINT, &o.tags, 1, 1e6, "N", "tags"},
    };
    const struct wsl_args args = {"order [options]", "Measures the order.", rows, 2};
    struct wsl_order_setup setup = {.fingerprint = "bench", .seed = 1};
    struct wsl_order_run *runs;
    struct wsl_err err = {0};
    int words, r = wsl_args_parse(&args, argc, argv, &words, &err);

    if (r == WSL_ARGS_HELP)
        return 0;
    runs = r < 0 ? NULL : make_runs(&o);
    if (!runs)
        return fprintf(stderr, "order: %s\n", r < 0 ? err.text : "no memory"), 1;
    setup.records = o.records;
    r = measure("natural", &setup, &err);
    setup.window = (uint64_t)1 << 21;
    if (r == 0)
        r = measure("windows", &setup, &err);
    setup.window = 0;
    setup.runs = runs;
    setup.run_count = o.tags;
    if (r == 0)
        r = measure("square-root", &setup, &err);
    if (r < 0)
        fprintf(stderr, "order: %s\n", err.text);
    free(runs);
    return r < 0;
}
