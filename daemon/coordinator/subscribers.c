/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams to users: Watch, Logs, Metrics. Each subscriber has cursors into what it follows and is
 * poked when that may have grown; it sends until the transport has enough (its queue is short), and
 * goes on when that drains. Nothing is queued here: a slow reader costs no memory, and Watch skips
 * what was overtaken. Files are read from the page cache, up to the size that is durable, in pieces
 * of READ_MAX: a turn of the loop reads at most the queue's length of them for a subscriber, and
 * TAIL_MAX of each file when it looks for the last lines.
 */
#include "daemon/coordinator/coordinator.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    READ_MAX = 32 << 10,
    METRICS_READ_MAX = CHUNK_MAX,
    POINTS_MAX = 64,
    AFTER_MAX = 16384,    /* positions of a Logs request */
    TAIL_MAX = 8 << 20,   /* how far back from a file's end the last lines are looked for */
    LAST_BYTES_MS = 5000, /* after a job's end: how long its trainers' last bytes may take */
};

enum subscriber_kind { FOLLOW_WATCH, FOLLOW_LOGS, FOLLOW_METRICS };

struct cursor {
    uint32_t generation, rank;
    uint64_t offset;
};

struct subscriber {
    struct subscriber *next;
    struct wsl_coordinator *co;
    struct wsl_rpc_call *call;
    enum subscriber_kind kind;
    uint64_t job;
    bool finished;
    bool follow;
    uint64_t version;    /* WATCH: last one sent; 0: none */
    uint64_t next_event; /* WATCH: sequence */
    bool one_rank;       /* LOGS */
    uint32_t rank;
    uint32_t tail_lines;
    struct cursor *after; /* LOGS: where an earlier stream broke off */
    size_t after_count;
    struct cursor *cursors; /* LOGS, METRICS: in the order of generations and ranks */
    size_t cursor_count;
    uint32_t generations; /* that have cursors */
};

/* ---- life ---- */

static struct subscriber *add_subscriber(struct wsl_coordinator *co, struct wsl_rpc_call *call,
                                         enum subscriber_kind kind, const char *name)
{
    const Wsl__V1__Job *job = name[0] ? wsl_cluster_find(co->cluster, name) : NULL;
    struct subscriber *f;
    char text[200];

    if (!job) {
        snprintf(text, sizeof text, "there is no job '%.100s'", name);
        wsl_rpc_finish(call, name[0] ? WSL_RPC_NOT_FOUND : WSL_RPC_INVALID_ARGUMENT,
                       name[0] ? text : "job: must be a name or an id, is empty");
        return NULL;
    }
    if (co->subscriber_count >= SUBSCRIBERS_MAX || !(f = calloc(1, sizeof *f))) {
        wsl_rpc_finish(call, WSL_RPC_RESOURCE_EXHAUSTED,
                       "too many clients follow jobs already; try again later");
        return NULL;
    }
    *f = (struct subscriber){
        .next = co->subscribers, .co = co, .call = call, .kind = kind, .job = job->id};
    co->subscribers = f;
    co->subscriber_count++;
    wsl_rpc_call_set_data(call, f);
    return f;
}

void wsl_subscribers_on_closed(struct wsl_rpc_call *call, void *context)
{
    struct wsl_coordinator *co = context;
    struct subscriber *f = wsl_rpc_call_data(call);

    if (!f)
        return;
    for (struct subscriber **at = &co->subscribers; *at; at = &(*at)->next) {
        if (*at == f) {
            *at = f->next;
            break;
        }
    }
    co->subscriber_count--;
    free(f->after);
    free(f->cursors);
    free(f);
}

static void finish(struct subscriber *f, enum wsl_rpc_status status, const char *text)
{
    f->finished = true;
    wsl_rpc_finish(f->call, status, text);
}

/* ---- watch ---- */

static void pump_watch(struct subscriber *f, const Wsl__V1__Job *job)
{
    Wsl__V1__WatchJobResponse response = WSL__V1__WATCH_JOB_RESPONSE__INIT;
    uint64_t version = wsl_cluster_version(f->co->cluster, f->job);
    const Wsl__V1__Event *const *events;
    size_t count, first = 0;

    /* One at a time: what changes while it is under way goes into the next. */
    if (version == f->version || wsl_rpc_send_waiting(f->call) > 0)
        return;
    /* An end is told when it is on the disk: nobody must hear of one that a crash takes back. */
    if (wsl_cluster_ended(job->state) && wsl_committer_is_unsaved(f->co, f->job))
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

static void name_of(const struct subscriber *f, const struct cursor *c, char name[64])
{
    wsl_trainer_file_name(f->kind == FOLLOW_LOGS ? TRAINER_LOG : TRAINER_METRICS, c->generation,
                          c->rank, name);
}

static uint64_t size_of(const struct subscriber *f, const struct cursor *c)
{
    char name[64];

    name_of(f, c, name);
    return wsl_state_file_size(f->co->state, f->job, name);
}

static void open_name(const struct subscriber *f, const struct cursor *c, char path[PATH_MAX])
{
    char name[64];

    name_of(f, c, name);
    wsl_state_file_path(f->co->state, f->job, name, path, PATH_MAX);
}

/* Bytes at the cursor, at most `size`; 0 when there are none (yet), or no file. */
static size_t read_at(const struct subscriber *f, const struct cursor *c, uint8_t *bytes,
                      size_t size)
{
    char path[PATH_MAX];
    uint64_t durable = size_of(f, c);
    ssize_t n;
    int fd;

    if (c->offset >= durable)
        return 0;
    if (size > durable - c->offset)
        size = (size_t)(durable - c->offset);
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

/* Where the last `lines` lines of a file begin, or TAIL_MAX before its end. */
static uint64_t tail_offset(const struct subscriber *f, struct cursor c, uint32_t lines)
{
    uint8_t bytes[READ_MAX];
    uint64_t end = size_of(f, &c), at = end;
    uint32_t seen = 0;

    while (at > 0 && end - at < TAIL_MAX) {
        size_t size = at < READ_MAX ? (size_t)at : READ_MAX;

        c.offset = at -= size;
        if (read_at(f, &c, bytes, size) < size)
            break;
        for (size_t i = size; i-- > 0;) {
            bool last_byte = at + i + 1 == end; /* ends the last line, begins none */

            if (bytes[i] == '\n' && !last_byte && ++seen == lines)
                return at + i + 1;
        }
    }
    return at;
}

/* Of a stream that goes on: generations before the first that it had seen are not wanted. */
static bool resume_cursor(const struct subscriber *f, struct cursor *c)
{
    uint32_t first = UINT32_MAX;

    for (size_t i = 0; i < f->after_count; i++) {
        const struct cursor *a = &f->after[i];

        first = a->generation < first ? a->generation : first;
        if (a->generation == c->generation && a->rank == c->rank)
            c->offset = a->offset;
    }
    return f->after_count == 0 || c->generation >= first;
}

/* Cursors for generations that have come since; a subscriber of the newest lines begins there in the
 * newest one. */
static void extend_cursors(struct subscriber *f, const Wsl__V1__Job *job)
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

            if ((f->one_rank && rank != f->rank) || !resume_cursor(f, &c))
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
static int send_log(struct subscriber *f, struct cursor *c, bool ended)
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
    response.offset = c->offset;
    r = wsl_rpc_send(f->call, &response.base);
    if (r < 0)
        return r;
    c->offset += whole;
    return 1;
}

/* Metrics of which the bytes are given; how far they were read is in *at. */
static size_t read_points(const struct cursor *c, const uint8_t *bytes, size_t n,
                          Wsl__V1__TrainerMetric **metrics, Wsl__V1__MetricPoint *points,
                          size_t *at)
{
    Wsl__V1__TrainerMetric *m;
    size_t count = 0;
    bool bad = false;

    while (count < POINTS_MAX && (m = wsl_trainer_file_next_metric(bytes, n, at, &bad))) {
        if (m->body_case != WSL__V1__TRAINER_METRIC__BODY_PROGRESS) {
            wsl__v1__trainer_metric__free_unpacked(m, NULL);
            continue;
        }
        wsl__v1__metric_point__init(&points[count]);
        points[count].time_ms = m->time_ms;
        points[count].generation = c->generation;
        points[count].progress = m->progress;
        metrics[count++] = m;
    }
    if (bad) /* no message can be told from another behind it */
        *at = n;
    return count;
}

static int send_metrics(struct subscriber *f, struct cursor *c)
{
    Wsl__V1__MetricsResponse response = WSL__V1__METRICS_RESPONSE__INIT;
    Wsl__V1__MetricPoint points[POINTS_MAX], *pointers[POINTS_MAX];
    Wsl__V1__TrainerMetric *metrics[POINTS_MAX];
    uint8_t *bytes;
    size_t n, at = 0;
    int r = 0;

    if (c->offset >= size_of(f, c))
        return 0;
    bytes = malloc(METRICS_READ_MAX);
    if (!bytes)
        return WSL_ENOMEM;
    n = read_at(f, c, bytes, METRICS_READ_MAX);
    response.n_points = read_points(c, bytes, n, metrics, points, &at);
    response.points = pointers;
    for (size_t i = 0; i < response.n_points; i++)
        pointers[i] = &points[i];
    if (response.n_points > 0)
        r = wsl_rpc_send(f->call, &response.base);
    if (r == 0)
        c->offset += at;
    for (size_t i = 0; i < response.n_points; i++)
        wsl__v1__trainer_metric__free_unpacked(metrics[i], NULL);
    free(bytes);
    return r < 0 ? r : at > 0;
}

/* Nothing more will come: the job has ended, and what its trainers wrote is here, or late beyond
 * patience. */
static bool is_complete(const struct subscriber *f, const Wsl__V1__Job *job)
{
    if (!wsl_cluster_ended(job->state) || wsl_committer_is_unsaved(f->co, f->job))
        return false;
    return !wsl_streams_awaited(f->co, f->job) || f->co->now() - job->ended_ms >= LAST_BYTES_MS;
}

static void pump_files(struct subscriber *f, const Wsl__V1__Job *job)
{
    bool complete = !f->follow || is_complete(f, job);

    extend_cursors(f, job);
    for (size_t i = 0; i < f->cursor_count; i++) {
        /* A trainer of an older generation writes no more. */
        bool last = complete || f->cursors[i].generation < job->generation;
        int r = 1;

        while (r > 0)
            r = f->kind == FOLLOW_LOGS ? send_log(f, &f->cursors[i], last)
                                       : send_metrics(f, &f->cursors[i]);
        if (r < 0)
            return; /* enough for now: on_writable goes on */
    }
    if (complete)
        finish(f, WSL_RPC_OK, "");
}

/* ---- calls ---- */

static void pump(struct subscriber *f)
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

void wsl_subscribers_notify(struct wsl_coordinator *co, uint64_t job)
{
    struct subscriber *next;

    for (struct subscriber *f = co->subscribers; f; f = next) {
        next = f->next;
        if (f->job == job)
            pump(f);
    }
}

void wsl_subscribers_notify_waiting(struct wsl_coordinator *co)
{
    struct subscriber *next;

    for (struct subscriber *f = co->subscribers; f; f = next) {
        const Wsl__V1__Job *job = wsl_cluster_job(co->cluster, f->job);

        next = f->next;
        if (!f->finished && (!job || wsl_cluster_ended(job->state)))
            pump(f);
    }
}

void wsl_subscribers_on_writable(struct wsl_rpc_call *call, void *context)
{
    struct subscriber *f = wsl_rpc_call_data(call);

    (void)context;
    if (f)
        pump(f);
}

void wsl_subscribers_on_watch(struct wsl_rpc_call *call, void *context,
                              const ProtobufCMessage *message)
{
    const Wsl__V1__WatchJobRequest *request = (const void *)message;
    struct subscriber *f = add_subscriber(context, call, FOLLOW_WATCH, request->job);

    if (f)
        pump(f);
}

static bool keep_positions(struct subscriber *f, const Wsl__V1__LogsRequest *request)
{
    if (request->n_after > AFTER_MAX) {
        finish(f, WSL_RPC_INVALID_ARGUMENT, "after: at most 16384 positions");
        return false;
    }
    f->after = calloc(request->n_after + 1, sizeof *f->after);
    if (!f->after)
        abort();
    for (size_t i = 0; i < request->n_after; i++) {
        const Wsl__V1__LogPosition *p = request->after[i];

        f->after[f->after_count++] =
            (struct cursor){.generation = p->generation, .rank = p->rank, .offset = p->offset};
    }
    return true;
}

void wsl_subscribers_on_logs(struct wsl_rpc_call *call, void *context,
                             const ProtobufCMessage *message)
{
    const Wsl__V1__LogsRequest *request = (const void *)message;
    struct subscriber *f = add_subscriber(context, call, FOLLOW_LOGS, request->job);
    char text[120];
    uint32_t world;

    if (!f)
        return;
    f->follow = request->follow;
    f->one_rank = request->one_rank;
    f->rank = request->rank;
    f->tail_lines = request->n_after > 0 ? 0 : request->tail_lines;
    if (!keep_positions(f, request))
        return;
    world = wsl_cluster_job(f->co->cluster, f->job)->spec->world;
    if (f->one_rank && f->rank >= world) {
        snprintf(text, sizeof text, "rank: the job has ranks 0 to %u, %u is none of them",
                 world - 1, f->rank);
        finish(f, WSL_RPC_INVALID_ARGUMENT, text);
        return;
    }
    pump(f);
}

void wsl_subscribers_on_metrics(struct wsl_rpc_call *call, void *context,
                                const ProtobufCMessage *message)
{
    const Wsl__V1__MetricsRequest *request = (const void *)message;
    struct subscriber *f = add_subscriber(context, call, FOLLOW_METRICS, request->job);

    if (!f)
        return;
    f->follow = request->follow;
    pump(f);
}
