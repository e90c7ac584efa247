/* SPDX-License-Identifier: Apache-2.0
 *
 * What a user of the coordinator waits for: durable submissions a second, one a call with 1 to 256
 * calls in flight on one connection and in batches, with an empty and a long queue; list and get
 * beside a long queue; the start after kill -9. control_plane [--state DIR] [--queue JOBS]
 * [--many JOBS] [--submissions N]. The coordinator is a process of its own, pinned to core 0, this
 * client to core 1; CPU time is of all threads of each. A submission counts when its answer came:
 * it is on the disk then, so --state names a directory on a real disk (the one to measure), not on
 * tmpfs.
 */
#include "base/args.h"
#include "base/clock.h"
#include "tests/bench/coordinator_process.h"
#include "tests/bench/submissions.h"
#include "wsl/v1/job.pb-c.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { LOOKS = 500, LOOK_MS = 60000, SYNCS = 30, BATCH = 250 };

struct options {
    const char *state, *program;
    uint64_t queue, many, submissions;
};

/* ---- submitting ---- */

static void print_head(void)
{
    printf("%-10s %-10s %14s %8s %8s %14s %8s\n", "queued", "in flight", "submissions/s", "p50 ms",
           "p99 ms", "CPU us: coord.", "client");
}

/* One row: `count` submissions, `in_flight` calls at a time with `batch` of them in each. */
static void measure(struct coordinator_process *c, uint64_t queued, struct submissions s)
{
    double wall, cpu = coordinator_cpu_seconds(c), own = bench_own_cpu_seconds();
    char how[24];

    wall = (double)wsl_clock_ns() * 1e-9;
    submit(c, &s);
    wall = (double)wsl_clock_ns() * 1e-9 - wall;
    cpu = coordinator_cpu_seconds(c) - cpu;
    own = bench_own_cpu_seconds() - own;
    snprintf(how, sizeof how, s.batch ? "%zu x %zu" : "%zu", s.in_flight, s.batch);
    printf("%-10llu %-10s %14.0f %8.2f %8.2f %14.1f %8.1f\n", (unsigned long long)queued, how,
           (double)s.count / wall, bench_percentile(s.latency, s.answers, 0.5) * 1e3,
           bench_percentile(s.latency, s.answers, 0.99) * 1e3, cpu / (double)s.count * 1e6,
           own / (double)s.count * 1e6);
    fflush(stdout);
    free(s.latency);
}

static void start_empty(struct coordinator_process *c)
{
    coordinator_kill(c);
    coordinator_wipe(c);
    coordinator_start(c);
}

static void measure_submissions(struct coordinator_process *c, const struct options *o, bool full)
{
    const struct submissions rows[] = {
        {.count = o->submissions / 10, .in_flight = 1},
        {.count = o->submissions, .in_flight = 16},
        {.count = o->submissions, .in_flight = 64},
        {.count = o->submissions, .in_flight = 256},
        {.count = o->submissions * 2, .in_flight = 1, .batch = BATCH},
        {.count = o->submissions * 2, .in_flight = 4, .batch = BATCH},
    };

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!full)
            start_empty(c);
        measure(c, full ? o->queue : 0, rows[i]);
    }
}

static void fill_queue(struct coordinator_process *c, uint64_t count)
{
    struct submissions s = {.count = count, .in_flight = 4, .batch = BATCH};

    submit(c, &s);
    free(s.latency);
}

/* ---- looking ---- */

static void look(struct coordinator_process *c, const char *what, const char *path,
                 const ProtobufCMessage *request, const ProtobufCMessageDescriptor *response)
{
    double latency[LOOKS];
    double cpu = coordinator_cpu_seconds(c);

    for (size_t i = 0; i < LOOKS; i++) {
        uint64_t begin = wsl_clock_ns();
        ProtobufCMessage *answer = NULL;
        struct wsl_err err = {0};

        if (wsl_client_call(c->client, &(struct wsl_client_method){path, response}, request,
                            LOOK_MS, &answer, &err) < 0)
            bench_die("%s", err.text);
        protobuf_c_message_free_unpacked(answer, NULL);
        latency[i] = (double)(wsl_clock_ns() - begin) * 1e-9;
    }
    cpu = coordinator_cpu_seconds(c) - cpu;
    printf("%-28s p50 %7.2f ms  p99 %7.2f ms  CPU %7.2f ms\n", what,
           bench_percentile(latency, LOOKS, 0.5) * 1e3,
           bench_percentile(latency, LOOKS, 0.99) * 1e3, cpu / LOOKS * 1e3);
    fflush(stdout);
}

static void measure_looks(struct coordinator_process *c, const struct options *o)
{
    Wsl__V1__ListJobsRequest list = WSL__V1__LIST_JOBS_REQUEST__INIT;
    Wsl__V1__GetJobRequest get = WSL__V1__GET_JOB_REQUEST__INIT;
    Wsl__V1__JobState running = WSL__V1__JOB_STATE__RUNNING;
    char id[24];

    printf("\nwith %llu queued:\n", (unsigned long long)o->queue);
    look(c, "list, the newest 100", "/wsl.v1.JobService/List", &list.base,
         &wsl__v1__list_jobs_response__descriptor);
    list.before_id = o->queue / 2;
    look(c, "list, 100 from the middle", "/wsl.v1.JobService/List", &list.base,
         &wsl__v1__list_jobs_response__descriptor);
    list.before_id = 0;
    list.states = &running;
    list.n_states = 1;
    look(c, "list, those that run", "/wsl.v1.JobService/List", &list.base,
         &wsl__v1__list_jobs_response__descriptor);
    snprintf(id, sizeof id, "%llu", (unsigned long long)o->queue / 3);
    get.job = id;
    look(c, "get by id", "/wsl.v1.JobService/Get", &get.base,
         &wsl__v1__get_job_response__descriptor);
}

static void print_memory(const struct coordinator_process *c, uint64_t jobs, size_t empty)
{
    size_t memory = coordinator_memory(c), store = coordinator_store_bytes(c);

    printf("memory %.0f MB (%.0f bytes a job), store %.0f MB (%.0f bytes a job)\n",
           (double)memory / 1e6, ((double)memory - (double)empty) / (double)jobs,
           (double)store / 1e6, (double)store / (double)jobs);
}

static void measure_restart(struct coordinator_process *c, const char *jobs)
{
    double seconds;

    coordinator_kill(c);
    seconds = coordinator_start(c);
    printf("serves after kill -9 with %s in %.2f s, memory %.0f MB\n", jobs, seconds,
           (double)coordinator_memory(c) / 1e6);
    fflush(stdout);
}

/* A queue and a history as long as they may be. */
static void measure_many(struct coordinator_process *c, const struct options *o, size_t empty)
{
    struct submissions fill = {.count = o->many, .in_flight = 4, .batch = BATCH};
    char text[64];

    if (o->many == 0)
        return;
    start_empty(c);
    printf("\n");
    print_head();
    measure(c, 0, fill);
    print_memory(c, o->many, empty);
    snprintf(text, sizeof text, "%llu jobs queued", (unsigned long long)o->many);
    measure_restart(c, text);
    coordinator_kill(c);
    end_all_jobs(c->state, o->many);
    snprintf(text, sizeof text, "%llu jobs of history", (unsigned long long)o->many);
    measure_restart(c, text);
}

/* ---- the disk ---- */

static void print_disk(const struct options *o)
{
    double seconds[SYNCS];
    char path[PATH_MAX], page[4096] = {0};
    struct statfs fs;
    int fd;

    snprintf(path, sizeof path, "%s/sync-test", o->state);
    fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0644);
    if (fd < 0 || fstatfs(fd, &fs) < 0)
        bench_die("cannot write in %s", o->state);
    for (size_t i = 0; i < SYNCS; i++) {
        uint64_t begin = wsl_clock_ns();

        if (write(fd, page, sizeof page) != sizeof page || fdatasync(fd) < 0)
            bench_die("cannot write in %s", o->state);
        seconds[i] = (double)(wsl_clock_ns() - begin) * 1e-9;
    }
    close(fd);
    unlink(path);
    printf("store in %s (file system type %#lx%s), fdatasync of 4 KiB: median %.2f ms\n", o->state,
           (unsigned long)fs.f_type, fs.f_type == 0x01021994 ? ": tmpfs, NOT DURABLE" : "",
           bench_percentile(seconds, SYNCS, 0.5) * 1e3);
}

int main(int argc, char **argv)
{
    struct options o = {
        .state = "bench-control-plane", .queue = 100000, .many = 1000000, .submissions = 20000};
    const struct wsl_arg rows[] = {
        {"state", 's', WSL_ARG_TEXT, &o.state, 0, 0, "DIR",
         "state directory, emptied (bench-control-plane)"},
        {"coordinator", 'c', WSL_ARG_TEXT, &o.program, 0, 0, "FILE", "wsl-coordinator"},
        {"queue", 'q', WSL_ARG_UINT, &o.queue, 1, 1000000, "JOBS", "length of the long queue"},
        {"many", 'm', WSL_ARG_UINT, &o.many, 0, 1000000, "JOBS",
         "jobs that are queued, and then ended, for the restarts; 0: leave it out"},
        {"submissions", 'n', WSL_ARG_UINT, &o.submissions, 10, 1000000, "N",
         "submissions of a row; a tenth of them with one in flight"},
    };
    const struct wsl_args args = {.usage = "control_plane [options]",
                                  .about = "Measures the coordinator as its users see it.",
                                  .rows = rows,
                                  .row_count = sizeof rows / sizeof *rows};
    struct coordinator_process c = {.core = 0};
    struct wsl_err err = {0};
    size_t empty;
    int words, r = wsl_args_parse(&args, argc, argv, &words, &err);

    if (r == WSL_ARGS_HELP)
        return 0;
    if (r < 0)
        bench_die("%s", err.text);
    c.program = o.program ? o.program : WSL_COORDINATOR;
    c.state = o.state;
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
        c.core = -1;
    bench_pin(c.core < 0 ? -1 : 1);
    coordinator_wipe(&c);
    print_disk(&o);
    coordinator_start(&c);
    empty = coordinator_memory(&c);
    print_head();
    measure_submissions(&c, &o, false);
    start_empty(&c);
    fill_queue(&c, o.queue);
    print_memory(&c, o.queue, empty);
    print_head();
    measure_submissions(&c, &o, true);
    measure_looks(&c, &o);
    measure_many(&c, &o, empty);
    coordinator_kill(&c);
    coordinator_wipe(&c);
    return 0;
}
