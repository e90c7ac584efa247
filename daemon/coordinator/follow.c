/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams to users: Watch, Logs, Metrics. Each follower has cursors into what it follows and is
 * poked when that may have grown; it sends until the transport has enough, and goes on when that
 * drains. Nothing is queued here: a slow reader costs no memory, and Watch skips what was
 * overtaken. Files are read from the page cache in pieces of READ_MAX, so a turn of the loop stays
 * short.
 */
#include "daemon/coordinator/coordinator.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ_MAX = 32 << 10, POINTS_MAX = 64, SENDS_PER_TURN = 8 };

enum follower_kind { FOLLOW_WATCH, FOLLOW_LOGS, FOLLOW_METRICS };

struct cursor {
    uint32_t generation, rank;
    uint64_t offset;
};

struct follower {
    struct follower *next;
    struct wsl_coordinator *co;
    struct wsl_rpc_call *call;
    enum follower_kind kind;
    uint64_t job;
    bool finished;
    bool follow;
    uint64_t version;    /* WATCH: last one sent; 0: none */
    uint64_t next_event; /* WATCH: sequence */
    bool one_rank;       /* LOGS */
    uint32_t rank;
    uint32_t tail_lines;
    struct cursor *cursors; /* LOGS, METRICS: in the order of generations and ranks */
    size_t cursor_count;
    uint32_t generations; /* that have cursors */
};

/* ---- life ---- */

static struct follower *add_follower(struct wsl_coordinator *co, struct wsl_rpc_call *call,
                                     enum follower_kind kind, const char *name)
{
    const Wsl__V1__Job *job = name[0] ? wsl_cluster_find(co->cluster, name) : NULL;
    struct follower *f;
    char text[200];

    if (!job) {
        snprintf(text, sizeof text,
                 name[0] ? "there is no job '%.100s'" : "job: must be a name or an id, is empty",
                 name);
        wsl_rpc_finish(call, name[0] ? WSL_RPC_NOT_FOUND : WSL_RPC_INVALID_ARGUMENT, text);
        return NULL;
    }
    if (co->follower_count >= FOLLOWERS_MAX || !(f = calloc(1, sizeof *f))) {
        wsl_rpc_finish(call, WSL_RPC_RESOURCE_EXHAUSTED,
                       "too many clients follow jobs already; try again later");
        return NULL;
    }
    *f = (struct follower){
        .next = co->followers, .co = co, .call = call, .kind = kind, .job = job->id};
    co->followers = f;
    co->follower_count++;
    wsl_rpc_call_set_data(call, f);
    return f;
}

void follower_closed(struct wsl_rpc_call *call, void *context)
{
    struct wsl_coordinator *co = context;
    struct follower *f = wsl_rpc_call_data(call);

    if (!f)
        return;
    for (struct follower **at = &co->followers; *at; at = &(*at)->next) {
        if (*at == f) {
            *at = f->next;
            break;
        }
    }
    co->follower_count--;
    free(f->cursors);
    free(f);
}

static void finish(struct follower *f, enum wsl_rpc_status status, const char *text)
{
    f->finished = true;
    wsl_rpc_finish(f->call, status, text);
}

/* ---- watch ---- */

static void pump_watch(struct follower *f, const Wsl__V1__Job *job)
{
    Wsl__V1__WatchJobResponse response = WSL__V1__WATCH_JOB_RESPONSE__INIT;
    uint64_t version = wsl_cluster_version(f->co->cluster, f->job);
    const Wsl__V1__Event *const *events;
    size_t count, first = 0;

    /* One at a time: what changes while it is under way goes into the next. */
    if (version == f->version || wsl_rpc_send_waiting(f->call) > 0)
        return;
    events = wsl_cluster_events(f->co->cluster, f->job, &count);
    while (first < count && events[first]->sequence < f->next_event)
        first++;
    response.job = (Wsl__V1__Job *)job;
    response.new_events = (Wsl__V1__Event **)events + first;
    response.n_new_events = count - first;
    if (wsl_rpc_send(f->call, &response.base) < 0)
        return;
    f->version = version;
    if (count > 0)
        f->next_event = events[count - 1]->sequence + 1;
    if (wsl_cluster_ended(job->state))
        finish(f, WSL_RPC_OK, "");
}

/* ---- files ---- */

static void open_name(const struct follower *f, const struct cursor *c, char path[PATH_MAX])
{
    char name[64];

    trainer_file_name(f->kind == FOLLOW_LOGS ? TRAINER_LOG : TRAINER_METRICS, c->generation,
                      c->rank, name);
    wsl_state_file_path(f->co->state, f->job, name, path, PATH_MAX);
}

/* Bytes at the cursor, at most `size`; 0 when there are none (yet), or no file. */
static size_t read_at(const struct follower *f, const struct cursor *c, uint8_t *bytes, size_t size)
{
    char path[PATH_MAX];
    ssize_t n;
    int fd;

    open_name(f, c, path);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    do
        n = pread(fd, bytes, size, (off_t)c->offset);
    while (n < 0 && errno == EINTR);
    close(fd);
    return n > 0 ? (size_t)n : 0;
}

/* Where the last `lines` lines of a file begin. */
static uint64_t tail_offset(const struct follower *f, struct cursor c, uint32_t lines)
{
    uint8_t bytes[READ_MAX];
    char path[PATH_MAX], name[64];
    uint64_t end;
    uint32_t seen = 0;

    open_name(f, &c, path);
    trainer_file_name(TRAINER_LOG, c.generation, c.rank, name);
    end = wsl_state_file_size(f->co->state, f->job, name);
    for (uint64_t at = end; at > 0;) {
        size_t size = at < READ_MAX ? (size_t)at : READ_MAX;
        size_t n;

        c.offset = at - size;
        n = read_at(f, &c, bytes, size);
        for (size_t i = n; i-- > 0;) {
            bool last_byte = c.offset + i + 1 == end; /* ends the last line, begins none */

            if (bytes[i] == '\n' && !last_byte && ++seen == lines)
                return c.offset + i + 1;
        }
        if (n < size)
            break;
        at -= size;
    }
    return 0;
}

/* Cursors for generations that have come since; a follower of the newest lines begins there in the
 * newest one. */
static void extend_cursors(struct follower *f, const Wsl__V1__Job *job)
{
    uint32_t world = job->spec->world;
    bool first_time = f->cursor_count == 0;

    if (job->generation <= f->generations)
        return;
    f->cursors = realloc(f->cursors, (size_t)job->generation * world * sizeof *f->cursors);
    if (!f->cursors)
        abort();
    for (uint32_t g = f->generations + 1; g <= job->generation; g++) {
        for (uint32_t rank = 0; rank < world; rank++) {
            struct cursor c = {.generation = g, .rank = rank};

            if (f->one_rank && rank != f->rank)
                continue;
            if (f->tail_lines && first_time && g < job->generation)
                continue;
            if (f->tail_lines && first_time)
                c.offset = tail_offset(f, c, f->tail_lines);
            f->cursors[f->cursor_count++] = c;
        }
    }
    f->generations = job->generation;
}

/* Sends one piece of a log; 0: nothing to send, 1: sent, negative: the transport has enough. */
static int send_log(struct follower *f, struct cursor *c, bool ended)
{
    Wsl__V1__LogsResponse response = WSL__V1__LOGS_RESPONSE__INIT;
    uint8_t bytes[READ_MAX];
    size_t n = read_at(f, c, bytes, sizeof bytes), whole = n;
    int r;

    /* Whole lines, unless a line is longer than a piece or nothing will follow. */
    while (whole > 0 && bytes[whole - 1] != '\n')
        whole--;
    if (whole == 0 && (n == sizeof bytes || ended))
        whole = n;
    if (whole == 0)
        return 0;
    response.generation = c->generation;
    response.rank = c->rank;
    response.text.data = bytes;
    response.text.len = whole;
    r = wsl_rpc_send(f->call, &response.base);
    if (r < 0)
        return r;
    c->offset += whole;
    return 1;
}

static int send_metrics(struct follower *f, struct cursor *c)
{
    Wsl__V1__MetricsResponse response = WSL__V1__METRICS_RESPONSE__INIT;
    Wsl__V1__MetricPoint points[POINTS_MAX], *pointers[POINTS_MAX];
    Wsl__V1__TrainerMetric *metrics[POINTS_MAX], *m;
    uint8_t bytes[READ_MAX];
    size_t n = read_at(f, c, bytes, sizeof bytes), at = 0;
    bool bad = false;
    int r = 0;

    response.points = pointers;
    while (response.n_points < POINTS_MAX && (m = next_metric(bytes, n, &at, &bad))) {
        size_t i = response.n_points;

        if (m->body_case != WSL__V1__TRAINER_METRIC__BODY_PROGRESS) {
            wsl__v1__trainer_metric__free_unpacked(m, NULL);
            continue;
        }
        wsl__v1__metric_point__init(&points[i]);
        points[i].time_ms = m->time_ms;
        points[i].generation = c->generation;
        points[i].progress = m->progress;
        metrics[i] = m;
        pointers[response.n_points++] = &points[i];
    }
    if (response.n_points > 0)
        r = wsl_rpc_send(f->call, &response.base);
    if (r == 0)
        c->offset += bad ? n : at;
    for (size_t i = 0; i < response.n_points; i++)
        wsl__v1__trainer_metric__free_unpacked(metrics[i], NULL);
    return r < 0 ? r : at > 0 || (bad && n > 0);
}

static void pump_files(struct follower *f, const Wsl__V1__Job *job)
{
    bool ended = wsl_cluster_ended(job->state);
    int budget = SENDS_PER_TURN;

    extend_cursors(f, job);
    for (size_t i = 0; i < f->cursor_count; i++) {
        /* A trainer of an older generation writes no more. */
        bool last = ended || !f->follow || f->cursors[i].generation < job->generation;
        int r = 1;

        while (r > 0) {
            if (wsl_rpc_send_waiting(f->call) > 0 && budget-- <= 0)
                return; /* on_writable goes on */
            r = f->kind == FOLLOW_LOGS ? send_log(f, &f->cursors[i], last)
                                       : send_metrics(f, &f->cursors[i]);
        }
        if (r < 0)
            return;
    }
    if (!f->follow || (ended && wsl_cluster_version(f->co->cluster, f->job) == f->version))
        finish(f, WSL_RPC_OK, "");
    /* An ended job's last bytes may still be on their way from the worker: one more look at the
     * next change. */
    f->version = wsl_cluster_version(f->co->cluster, f->job);
}

/* ---- calls ---- */

static void pump(struct follower *f)
{
    const Wsl__V1__Job *job = wsl_cluster_job(f->co->cluster, f->job);

    if (f->finished)
        return;
    if (!job)
        finish(f, WSL_RPC_NOT_FOUND, "the job was removed from the history");
    else if (f->kind == FOLLOW_WATCH)
        pump_watch(f, job);
    else
        pump_files(f, job);
}

void poke_followers(struct wsl_coordinator *co, uint64_t job)
{
    struct follower *next;

    for (struct follower *f = co->followers; f; f = next) {
        next = f->next;
        if (job == 0 || f->job == job)
            pump(f);
    }
}

void follower_writable(struct wsl_rpc_call *call, void *context)
{
    struct follower *f = wsl_rpc_call_data(call);

    (void)context;
    if (f)
        pump(f);
}

void on_watch(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    const Wsl__V1__WatchJobRequest *request = (const void *)message;
    struct follower *f = add_follower(context, call, FOLLOW_WATCH, request->job);

    if (f)
        pump(f);
}

void on_logs(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    const Wsl__V1__LogsRequest *request = (const void *)message;
    struct follower *f = add_follower(context, call, FOLLOW_LOGS, request->job);

    if (!f)
        return;
    f->follow = request->follow;
    f->one_rank = request->one_rank;
    f->rank = request->rank;
    f->tail_lines = request->tail_lines;
    pump(f);
}

void on_metrics(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    const Wsl__V1__MetricsRequest *request = (const void *)message;
    struct follower *f = add_follower(context, call, FOLLOW_METRICS, request->job);

    if (!f)
        return;
    f->follow = request->follow;
    pump(f);
}
