/* SPDX-License-Identifier: Apache-2.0
 *
 * Ranks that are processes, on the memory of a backend: sums are right, behind the compute stream,
 * and repeat bit by bit; an abort ends a sum within 100 ms; a rank is killed, the others learn
 * which, and a new one takes its place in the next generation. With more ranks than GPUs, ranks
 * share one (NCCL is told that they are on different machines). Exit status 77 when it cannot run
 * here.
 *
 * The parent only forks and judges: it never touches a GPU.
 */
#include "base/args.h"
#include "base/clock.h"
#include "base/file.h"
#include "kernels/collective/collective.h"
#include "kernels/ops.h"
#include "tests/unit/file_exchange.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COUNT     (8 << 20) /* floats of a sum */
#define WORLD_MAX 16
#define LIMIT_MS  60000

struct options {
    const char *backend, *gradient_dtype;
    uint64_t world, gpus;
};

/* One rank's process. */
struct rank {
    const struct options *o;
    const char *directory;
    int rank;
    const struct wsl_ops *ops;
    struct wsl_device *dev;
    float *block; /* COUNT floats of the backend */
    float *host;  /* the same here */
    struct file_exchange exchange;
    struct wsl_collective *c;
};

static double ms_since(uint64_t ns)
{
    return (double)(wsl_clock_ns() - ns) / 1e6;
}

static void die(const struct rank *r, const struct wsl_err *err, const char *what)
{
    fprintf(stderr, "gpu_ranks: rank %d: %s: %s\n", r->rank, what, err->text);
    _exit(err->code == WSL_EUNAVAILABLE || err->code == WSL_EUNSUPPORTED ? 77 : 1);
}

static void require(const struct rank *r, bool so, const char *what)
{
    if (so)
        return;
    fprintf(stderr, "gpu_ranks: rank %d: not so: %s\n", r->rank, what);
    _exit(1);
}

/* ---- opening ---- */

static void choose_gpu(const struct rank *r)
{
    char text[32];

    if (strcmp(r->o->backend, "cuda") != 0)
        return;
    snprintf(text, sizeof text, "%d", r->rank % (int)r->o->gpus);
    setenv("CUDA_VISIBLE_DEVICES", text, 1);
    if (r->o->world > r->o->gpus) { /* NCCL refuses a GPU twice, but only on one machine */
        snprintf(text, sizeof text, "machine-of-rank-%d", r->rank);
        setenv("NCCL_HOSTID", text, 1);
    }
}

static void open_device(struct rank *r)
{
    struct wsl_device_setup setup = {.batch = 1, .threads = 1};
    struct wsl_err err = {0};
    void *block = NULL;

    choose_gpu(r);
    if (wsl_ops_find(r->o->backend, &r->ops, &err) < 0 || r->ops->open(&r->dev, &setup, &err) < 0 ||
        r->ops->alloc(r->dev, COUNT * sizeof(float), "the block", &block, &err) < 0 ||
        r->ops->prepare(r->dev, &err) < 0)
        die(r, &err, "open");
    r->block = block;
    r->host = malloc(COUNT * sizeof(float));
    require(r, r->host != NULL, "memory");
}

static void open_generation(struct rank *r, int generation)
{
    struct wsl_collective_setup setup = {
        .implementation = wsl_collective_for(r->o->backend),
        .rank = r->rank,
        .world = (int)r->o->world,
        .timeout_ms = LIMIT_MS,
        .exchange = file_exchange_of(&r->exchange),
    };
    struct wsl_err err = {0};
    uint64_t before = wsl_clock_ns();

    if (wsl_reduce_dtype_by_name(r->o->gradient_dtype, &setup.gradient_dtype, &err) < 0)
        die(r, &err, "--gradient-dtype");
    r->exchange = (struct file_exchange){
        .directory = r->directory, .generation = generation, .rank = r->rank, .world = setup.world};
    if (wsl_collective_open(&r->c, &setup, &err) < 0 || wsl_collective_wait(r->c, &err) < 0)
        die(r, &err, "join");
    if (r->rank == 0)
        printf("generation %d stands after %.0f ms\n", generation, ms_since(before));
}

/* ---- sums ---- */

static float value_of(int rank, size_t i)
{
    return (float)((i * 2654435761u + (size_t)rank * 40503u) % 100003) / 1000.0f - 50.0f;
}

#define DELAY 300 /* operations that keep the device busy while the sum is started */

/* Fills the block, doubles it by the last of many operations that are only enqueued, and sums it: a
 * sum that does not stay behind them is wrong. */
static int sum_block(struct rank *r, struct wsl_err *err)
{
    int rc;

    for (size_t i = 0; i < COUNT; i++)
        r->host[i] = value_of(r->rank, i);
    r->ops->floats_write(r->dev, r->host, COUNT, r->block);
    r->ops->begin_pass(r->dev, 1);
    for (int i = 0; i < (r->ops == &wsl_ops_cuda ? DELAY : 1); i++)
        r->ops->scale(r->dev, r->block, COUNT, 1.0f);
    r->ops->scale(r->dev, r->block, COUNT, 2.0f);
    r->ops->fence(r->dev);
    rc = wsl_collective_all_reduce_gradients(r->c, r->block, COUNT, err);
    if (rc == 0)
        rc = wsl_collective_wait(r->c, err);
    if (rc == 0)
        r->ops->floats_read(r->dev, r->block, COUNT, r->host);
    return rc;
}

static void check_sum(const struct rank *r)
{
    for (size_t i = 0; i < COUNT; i += 997) {
        double want = 0, size = 0, most = 1e-2;

        for (int k = 0; k < (int)r->o->world; k++) {
            want += 2 * (double)value_of(k, i);
            size += fabs(2 * (double)value_of(k, i));
        }
        if (strcmp(r->o->gradient_dtype, "bf16") ==
            0) /* each number and each sum of two is rounded */
            most += 0x1p-8 * 1.02 * (double)r->o->world * size;
        require(r, fabs((double)r->host[i] - want) < most, "the sum is right");
    }
}

static void sums(struct rank *r)
{
    float *first = malloc(COUNT * sizeof(float));
    double totals[2] = {r->rank + 1, 0.5};
    struct wsl_err err = {0};
    uint64_t before;

    require(r, first != NULL, "memory");
    for (int i = 0; i < 2; i++) {
        if (sum_block(r, &err) < 0)
            die(r, &err, "sum");
        check_sum(r);
        if (i == 0)
            memcpy(first, r->host, COUNT * sizeof(float));
    }
    require(r, memcmp(first, r->host, COUNT * sizeof(float)) == 0, "two sums have the same bits");
    free(first);
    if (wsl_collective_all_reduce_f64(r->c, totals, 2, &err) < 0 ||
        wsl_collective_wait(r->c, &err) < 0)
        die(r, &err, "sum of doubles on the host");
    require(r,
            totals[0] == (double)(r->o->world * (r->o->world + 1) / 2) &&
                totals[1] == 0.5 * (double)r->o->world,
            "the sum of doubles is right");
    before = wsl_clock_ns();
    for (int i = 0; i < 10; i++)
        if (wsl_collective_all_reduce_gradients(r->c, r->block, COUNT, &err) < 0)
            die(r, &err, "sum");
    if (wsl_collective_wait(r->c, &err) < 0)
        die(r, &err, "sum");
    if (r->rank == 0)
        printf("sums are right and repeat; %.2f GB/s\n",
               10.0 * COUNT * sizeof(float) / 1e6 / ms_since(before));
}

/* ---- ends ---- */

static void *abort_soon(void *context)
{
    struct rank *r = context;

    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    *(uint64_t *)r->host = wsl_clock_ns();
    wsl_collective_abort(r->c);
    return NULL;
}

/* The last rank does not take part; rank 0 aborts, the others learn of it. */
static void aborted(struct rank *r)
{
    struct wsl_err err = {0};
    pthread_t thread;
    int rc;

    if (r->rank == (int)r->o->world - 1) {
        nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    } else {
        if (r->rank == 0)
            require(r, pthread_create(&thread, NULL, abort_soon, r) == 0, "a thread");
        rc = wsl_collective_all_reduce_gradients(r->c, r->block, COUNT, &err);
        if (rc == 0)
            rc = wsl_collective_wait(r->c, &err);
        if (r->rank == 0) {
            uint64_t now = wsl_clock_ns();
            double ms;

            pthread_join(thread, NULL);
            ms = (double)(now - *(uint64_t *)r->host) / 1e6;
            printf("an aborted sum ended after %.1f ms\n", ms);
            require(r, rc == WSL_ECANCELLED, "the sum was cancelled");
            require(r, ms < 100, "within 100 ms");
        } else {
            require(r, rc == WSL_EPEER, "the others learn of an abort");
        }
    }
    wsl_collective_close(r->c);
}

static void killed(struct rank *r)
{
    struct wsl_err err = {0};
    uint64_t before = wsl_clock_ns();
    char name[32];
    int rc;

    if (r->rank == (int)r->o->world - 1) {
        sum_block(r, &err);
        raise(SIGKILL);
    }
    do {
        before = wsl_clock_ns();
        rc = sum_block(r, &err);
    } while (rc == 0);
    printf("rank %d, %.0f ms into a sum: %s\n", r->rank, ms_since(before), err.text);
    snprintf(name, sizeof name, "rank %d", (int)r->o->world - 1);
    require(r, rc == WSL_EPEER, "a killed rank ends the sum");
    require(r, r->o->world > 2 || strstr(err.text, name) != NULL, "it is named");
    require(r, ms_since(before) < 5000, "soon");
    wsl_collective_close(r->c);
}

static void goodbye(struct rank *r)
{
    double nothing = 0;
    struct wsl_err err;

    if (wsl_collective_all_reduce_f64(r->c, &nothing, 1, &err) == 0)
        wsl_collective_wait(r->c, &err);
    wsl_collective_close(r->c);
    r->ops->close(r->dev);
    free(r->host);
}

static void live(struct rank *r, bool replacement)
{
    struct wsl_err err = {0};

    alarm(3 * LIMIT_MS / 1000);
    open_device(r);
    if (!replacement) {
        open_generation(r, 1);
        sums(r);
        aborted(r);
        open_generation(r, 2);
        killed(r);
    }
    open_generation(r, 3);
    if (sum_block(r, &err) < 0)
        die(r, &err, "sum in the new generation");
    check_sum(r);
    if (r->rank == 0)
        printf("the new generation sums\n");
    goodbye(r);
}

/* ---- the parent ---- */

static pid_t start(const struct options *o, const char *directory, int rank, bool replacement)
{
    struct rank r = {.o = o, .directory = directory, .rank = rank};
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        setvbuf(stdout, NULL, _IOLBF, 0);
        live(&r, replacement);
        fflush(NULL);
        _exit(0);
    }
    return pid;
}

/* 0, 1 or 77; the rank that kills itself is replaced once. */
static int judge(const struct options *o, const char *directory, pid_t pids[WORLD_MAX])
{
    int last = (int)o->world - 1, left = (int)o->world, result = 0;
    bool replaced = false;

    while (left > 0) {
        int status, rank = 0;
        pid_t pid = waitpid(-1, &status, 0);

        while (rank <= last && pids[rank] != pid)
            rank++;
        if (rank == last && !replaced && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
            replaced = true;
            pids[rank] = start(o, directory, rank, true);
            continue;
        }
        left--;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            continue;
        if (result == 0) {
            result = WIFEXITED(status) && WEXITSTATUS(status) == 77 ? 77 : 1;
            for (int i = 0; i <= last; i++) /* the others would wait for it */
                if (i != rank)
                    kill(pids[i], SIGTERM);
        }
    }
    return result == 0 && !replaced ? 1 : result;
}

static int run(const struct options *o, struct wsl_err *err)
{
    char directory[] = "/tmp/wsl-gpu-ranks-XXXXXX";
    pid_t pids[WORLD_MAX];
    int result;

    if (!mkdtemp(directory))
        return wsl_fail_errno(err, "%s", directory);
    for (int i = 0; i < (int)o->world; i++)
        pids[i] = start(o, directory, i, false);
    result = judge(o, directory, pids);
    wsl_file_remove_tree(directory, err);
    return result;
}

int main(int argc, char **argv)
{
    struct options o = {.backend = "cuda", .gradient_dtype = "f32", .world = 2, .gpus = 1};
    const struct wsl_arg rows[] = {
        {"backend", 0, WSL_ARG_TEXT, &o.backend, 0, 0, "NAME", "whose memory is summed (cuda)"},
        {"gradient-dtype", 0, WSL_ARG_TEXT, &o.gradient_dtype, 0, 0, "NAME",
         "gradients are reduced as f32 or bf16 (f32)"},
        {"world", 0, WSL_ARG_UINT, &o.world, 2, WORLD_MAX, "N", "ranks (2)"},
        {"gpus", 0, WSL_ARG_UINT, &o.gpus, 1, WORLD_MAX, "N", "GPUs of this machine (1)"},
    };
    const struct wsl_args args = {"gpu_ranks [options]",
                                  "Ranks that sum, abort, die and come back.", rows,
                                  (int)(sizeof rows / sizeof rows[0])};
    struct wsl_err err = {0};
    int words, rc = wsl_args_parse(&args, argc, argv, &words, &err);

    if (rc == WSL_ARGS_HELP)
        return 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (rc == WSL_ARGS_RUN)
        rc = run(&o, &err);
    if (rc < 0)
        fprintf(stderr, "gpu_ranks: %s\n", err.text);
    return rc < 0 ? 1 : rc;
}
