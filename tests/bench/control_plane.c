/* SPDX-License-Identifier: Apache-2.0
 *
 * What a user of the coordinator waits for: durable submissions a second with 1 to 256 calls in
 * flight on one connection, with an empty and a long queue; list and get beside a long queue; the
 * start after kill -9 with a long queue. control_plane [--state DIR] [--queue JOBS]
 * [--submissions N]. The coordinator is a process of its own, pinned to core 0, this client to core
 * 1; CPU time is of all threads of each. A submission counts when its answer came: it is on the
 * disk then, so --state names a directory on a real disk (the one to measure), not on tmpfs.
 */
#include "base/args.h"
#include "base/clock.h"
#include "tests/bench/coordinator_process.h"
#include "wsl/v1/job.pb-c.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#define SUBMIT "/wsl.v1.JobService/Submit"

enum { IN_FLIGHT_MAX = 256, CALL_MS = 60000, LOOKS = 500, SYNCS = 30 };

struct options {
    const char *state, *program;
    uint64_t queue, submissions;
    bool one_core;
};

/* A job file as a sweep has it. */
struct job_request {
    Wsl__V1__SubmitRequest submit;
    Wsl__V1__JobSpec spec;
    Wsl__V1__Model model;
    Wsl__V1__Optimizer optimizer;
    Wsl__V1__Schedule schedule;
    uint32_t depths[4];
    char name[32];
};

static void job_request_init(struct job_request *j)
{
    static const uint32_t depths[4] = {3, 4, 6, 3};

    wsl__v1__submit_request__init(&j->submit);
    wsl__v1__job_spec__init(&j->spec);
    wsl__v1__model__init(&j->model);
    wsl__v1__optimizer__init(&j->optimizer);
    wsl__v1__schedule__init(&j->schedule);
    memcpy(j->depths, depths, sizeof depths);
    j->model.n_depths = 4;
    j->model.depths = j->depths;
    j->model.groups = 32;
    j->model.width = 4;
    j->model.image_size = 224;
    j->optimizer.learning_rate = 0.1;
    j->optimizer.momentum = 0.9;
    j->optimizer.weight_decay = 1e-4;
    j->schedule.kind = WSL__V1__SCHEDULE_KIND__COSINE;
    j->schedule.warmup_epochs = 5;
    j->spec.kind = WSL__V1__JOB_KIND__PRETRAIN;
    j->spec.data = (char *)"/data/hashtags-17k";
    j->spec.world = 8;
    j->spec.batch = 256;
    j->spec.epochs = 90;
    j->spec.seed = 1;
    j->spec.model = &j->model;
    j->spec.optimizer = &j->optimizer;
    j->spec.schedule = &j->schedule;
    j->spec.name = j->name;
    j->submit.spec = &j->spec;
}

/* ---- submitting ---- */

static uint64_t next_name = 1; /* of all runs: names are unique among queued jobs */

struct submitting {
    struct wsl_client_calls *calls;
    struct job_request request;
    uint64_t started[IN_FLIGHT_MAX]; /* by slot: when its call began */
    double *latency;                 /* seconds, by order of answers */
    size_t answered;
};

static void start_submit(struct submitting *s, size_t slot)
{
    struct wsl_err err = {0};

    snprintf(s->request.name, sizeof s->request.name, "sweep-%09llu",
             (unsigned long long)next_name++);
    s->started[slot] = wsl_clock_ns();
    if (wsl_client_calls_start(s->calls, &s->request.submit.base, CALL_MS, &s->started[slot],
                               &err) < 0)
        bench_die("%s", err.text);
}

static void finish_submit(struct submitting *s, size_t *ret_slot)
{
    ProtobufCMessage *answer = NULL;
    struct wsl_err err = {0};
    void *context;

    if (wsl_client_calls_next(s->calls, &context, &answer, &err) != 0)
        bench_die("Submit: %s", err.text);
    protobuf_c_message_free_unpacked(answer, NULL);
    *ret_slot = (size_t)((uint64_t *)context - s->started);
    s->latency[s->answered++] = (double)(wsl_clock_ns() - s->started[*ret_slot]) * 1e-9;
}

/* `count` submissions, `in_flight` of them at a time; latencies in *latency. */
static void submit_jobs(struct coordinator_process *c, size_t count, size_t in_flight,
                        double *latency)
{
    struct submitting s = {.latency = latency};
    struct wsl_err err = {0};
    size_t started = 0, slot;

    job_request_init(&s.request);
    if (wsl_client_calls_open(&s.calls, c->client, SUBMIT, &wsl__v1__submit_response__descriptor,
                              &err) < 0)
        bench_die("%s", err.text);
    for (; started < count && started < in_flight; started++)
        start_submit(&s, started);
    while (s.answered < count) {
        finish_submit(&s, &slot);
        if (started < count) {
            start_submit(&s, slot);
            started++;
        }
    }
    wsl_client_calls_close(s.calls);
}

static void print_rate(const char *what, size_t in_flight, struct coordinator_process *c,
                       size_t count)
{
    double *latency = calloc(count, sizeof *latency);
    double cpu, own, wall;

    if (!latency)
        bench_die("no memory");
    cpu = coordinator_cpu_seconds(c);
    own = bench_own_cpu_seconds();
    wall = (double)wsl_clock_ns() * 1e-9;
    submit_jobs(c, count, in_flight, latency);
    wall = (double)wsl_clock_ns() * 1e-9 - wall;
    cpu = coordinator_cpu_seconds(c) - cpu;
    own = bench_own_cpu_seconds() - own;
    printf("%10s %9zu %13.0f %9.2f %9.2f %12.1f %9.1f\n", what, in_flight, (double)count / wall,
           bench_percentile(latency, count, 0.5) * 1e3,
           bench_percentile(latency, count, 0.99) * 1e3, cpu / (double)count * 1e6,
           own / (double)count * 1e6);
    fflush(stdout);
    free(latency);
}

static void fill_queue(struct coordinator_process *c, size_t count)
{
    double *latency = calloc(count, sizeof *latency);

    if (!latency)
        bench_die("no memory");
    submit_jobs(c, count, IN_FLIGHT_MAX, latency);
    free(latency);
}

static void measure_submissions(struct coordinator_process *c, const struct options *o)
{
    static const size_t in_flight[] = {1, 16, 64, 256};
    char queued[24];

    printf("%10s %9s %13s %9s %9s %12s %9s\n", "queued", "in flight", "submissions/s", "p50 ms",
           "p99 ms", "CPU us: coord", "client");
    for (size_t i = 0; i < 4; i++) {
        coordinator_kill(c);
        coordinator_wipe(c);
        coordinator_start(c);
        print_rate("0", in_flight[i], c, in_flight[i] == 1 ? o->submissions / 10 : o->submissions);
    }
    snprintf(queued, sizeof queued, "%llu", (unsigned long long)o->queue);
    coordinator_kill(c);
    coordinator_wipe(c);
    coordinator_start(c);
    fill_queue(c, o->queue);
    for (size_t i = 0; i < 4; i++)
        print_rate(queued, in_flight[i], c,
                   in_flight[i] == 1 ? o->submissions / 10 : o->submissions);
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

        if (wsl_client_call(c->client, path, request, response, CALL_MS, &answer, &err) < 0)
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

static void measure_restart(struct coordinator_process *c, size_t empty)
{
    size_t jobs = (size_t)(next_name - 1), memory = coordinator_memory(c);

    (void)jobs;
    printf("\nmemory %.0f MB beside %.0f MB when empty, store %.0f MB\n", (double)memory / 1e6,
           (double)empty / 1e6, (double)coordinator_store_bytes(c) / 1e6);
    coordinator_kill(c);
    printf("serves again after kill -9 in %.2f s, memory %.0f MB\n", coordinator_start(c),
           (double)coordinator_memory(c) / 1e6);
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
    struct options o = {.state = "bench-control-plane", .queue = 100000, .submissions = 20000};
    const struct wsl_arg rows[] = {
        {"state", 's', WSL_ARG_TEXT, &o.state, 0, 0, "DIR",
         "state directory, emptied (bench-control-plane)"},
        {"coordinator", 'c', WSL_ARG_TEXT, &o.program, 0, 0, "FILE", "wsl-coordinator"},
        {"queue", 'q', WSL_ARG_UINT, &o.queue, 1, 1000000, "JOBS", "length of the long queue"},
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
    measure_submissions(&c, &o);
    measure_looks(&c, &o);
    measure_restart(&c, empty);
    coordinator_kill(&c);
    coordinator_wipe(&c);
    return 0;
}
