/* SPDX-License-Identifier: Apache-2.0
 *
 * Submitting as fast as answers come; see the header.
 */
#include "tests/bench/submissions.h"

#include "base/clock.h"
#include "storage/state/state.h"
#include "wsl/v1/job.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IN_FLIGHT_MAX = 256, CALL_MS = 60000, COMMIT_JOBS = 1000, COMMITS = 16 };

/* ---- a job file as a sweep has it ---- */

struct job_request {
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
    static uint64_t number; /* of all runs: names are unique among queued jobs */

    wsl__v1__job_spec__init(&j->spec);
    wsl__v1__model__init(&j->model);
    wsl__v1__optimizer__init(&j->optimizer);
    wsl__v1__schedule__init(&j->schedule);
    memcpy(j->depths, depths, sizeof depths);
    snprintf(j->name, sizeof j->name, "sweep-%09llu", (unsigned long long)++number);
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
}

/* ---- calls ---- */

struct submitting {
    struct submissions *s;
    struct wsl_client_calls *calls;
    struct job_request *jobs; /* of one call */
    Wsl__V1__JobSpec **specs;
    size_t started;                /* submissions */
    uint64_t begun[IN_FLIGHT_MAX]; /* by slot: when its call began */
};

static void start_call(struct submitting *t, size_t slot)
{
    size_t n = t->s->batch ? t->s->batch : 1;
    Wsl__V1__SubmitRequest one = WSL__V1__SUBMIT_REQUEST__INIT;
    Wsl__V1__SubmitBatchRequest batch = WSL__V1__SUBMIT_BATCH_REQUEST__INIT;
    struct wsl_err err = {0};

    if (n > t->s->count - t->started)
        n = t->s->count - t->started;
    for (size_t i = 0; i < n; i++) {
        job_request_init(&t->jobs[i]);
        t->specs[i] = &t->jobs[i].spec;
    }
    one.spec = t->specs[0];
    batch.specs = t->specs;
    batch.n_specs = n;
    t->started += n;
    t->begun[slot] = wsl_clock_ns();
    if (wsl_client_calls_start(t->calls, t->s->batch ? &batch.base : &one.base, CALL_MS,
                               &t->begun[slot], &err) < 0)
        bench_die("%s", err.text);
}

static void check_batch(const Wsl__V1__SubmitBatchResponse *answer)
{
    for (size_t i = 0; i < answer->n_results; i++)
        if (answer->results[i]->id == 0)
            bench_die("SubmitBatch: %s", answer->results[i]->error);
}

static size_t finish_call(struct submitting *t)
{
    ProtobufCMessage *answer = NULL;
    struct wsl_err err = {0};
    void *context;
    size_t slot;

    if (wsl_client_calls_next(t->calls, &context, &answer, &err) != 0)
        bench_die("%s", err.text);
    slot = (size_t)((uint64_t *)context - t->begun);
    t->s->latency[t->s->answers++] = (double)(wsl_clock_ns() - t->begun[slot]) * 1e-9;
    if (t->s->batch)
        check_batch((const void *)answer);
    protobuf_c_message_free_unpacked(answer, NULL);
    return slot;
}

static void open_calls(struct submitting *t, struct coordinator_process *c)
{
    struct submissions *s = t->s;
    size_t n = s->batch ? s->batch : 1;
    struct wsl_err err = {0};

    s->latency = calloc(s->count + 1, sizeof *s->latency);
    t->jobs = calloc(n, sizeof *t->jobs);
    t->specs = calloc(n, sizeof(*t->specs));
    if (!s->latency || !t->jobs || !t->specs)
        bench_die("no memory");
    if (wsl_client_calls_open(&t->calls, c->client,
                              s->batch ? "/wsl.v1.JobService/SubmitBatch"
                                       : "/wsl.v1.JobService/Submit",
                              s->batch ? &wsl__v1__submit_batch_response__descriptor
                                       : &wsl__v1__submit_response__descriptor,
                              &err) < 0)
        bench_die("%s", err.text);
}

void submit(struct coordinator_process *c, struct submissions *s)
{
    struct submitting t = {.s = s};

    open_calls(&t, c);
    for (size_t slot = 0; t.started < s->count && slot < s->in_flight; slot++)
        start_call(&t, slot);
    while (wsl_client_calls_in_flight(t.calls) > 0) {
        size_t slot = finish_call(&t);

        if (t.started < s->count)
            start_call(&t, slot);
    }
    wsl_client_calls_close(t.calls);
    free(t.jobs);
    free(t.specs);
}

/* ---- history ---- */

static int take_job(void *ret, uint64_t id, const uint8_t *bytes, size_t size)
{
    Wsl__V1__Job **job = ret;

    (void)id;
    *job = wsl__v1__job__unpack(NULL, size, bytes);
    return *job ? 0 : WSL_ECORRUPT;
}

static void end_job(struct wsl_state *state, struct wsl_state_commit *commit, uint64_t id)
{
    Wsl__V1__Job *job = NULL;
    uint8_t *bytes;
    size_t size;

    if (wsl_state_read_job(state, id, take_job, &job) < 0)
        bench_die("job %llu is not in the store", (unsigned long long)id);
    job->state = WSL__V1__JOB_STATE__CANCELLED;
    job->ended_ms = job->submitted_ms + 1;
    size = wsl__v1__job__get_packed_size(job);
    bytes = malloc(size);
    if (!bytes)
        bench_die("no memory");
    wsl__v1__job__pack(job, bytes);
    wsl_state_put_job(commit, id, bytes, size);
    free(bytes);
    wsl__v1__job__free_unpacked(job, NULL);
}

static void on_ended(void *context, const struct wsl_err *err)
{
    (void)context;
    if (err)
        bench_die("%s", err->text);
}

void end_all_jobs(const char *path, size_t count)
{
    struct wsl_state_setup setup = {.directory = path};
    struct wsl_state *state;
    struct wsl_err err = {0};
    uv_loop_t loop;

    uv_loop_init(&loop);
    setup.loop = &loop;
    if (wsl_state_open(&state, &setup, &err) < 0)
        bench_die("%s", err.text);
    for (uint64_t id = 1; id <= count;) {
        struct wsl_state_commit *commit = wsl_state_begin(state);

        for (size_t i = 0; i < COMMIT_JOBS && id <= count; i++, id++)
            end_job(state, commit, id);
        wsl_state_end(commit, on_ended, NULL);
        while (wsl_state_waiting(state) >= COMMITS)
            uv_run(&loop, UV_RUN_ONCE);
    }
    wsl_state_close(state);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
}
