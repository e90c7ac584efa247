/* SPDX-License-Identifier: Apache-2.0
 *
 * logs: what trainers wrote, each line with its rank; and why there is nothing.
 */
#include "client/wslctl/wslctl.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { POLL_MS = 200, RANKS_SHOWN_MAX = 16 };

/* "0| ", and "0.2| " from the second generation on. */
static int add_lines(struct wsl_buf *out, const Wsl__V1__LogsResponse *part, bool prefixed)
{
    const char *text = (const char *)part->text.data;
    size_t left = part->text.len;
    char prefix[32] = "";
    int r = 0;

    if (prefixed && part->generation > 1)
        snprintf(prefix, sizeof prefix, "%u.%u| ", part->rank, part->generation);
    else if (prefixed)
        snprintf(prefix, sizeof prefix, "%u| ", part->rank);
    while (left > 0 && r == 0) {
        const char *end = memchr(text, '\n', left);
        size_t n = end ? (size_t)(end - text) : left;

        r = wsl_buf_add_text(out, prefix);
        if (r == 0)
            r = wsl_buf_add(out, text, n);
        if (r == 0)
            r = wsl_buf_add_text(out, "\n");
        n += end != NULL;
        text += n;
        left -= n;
    }
    return r;
}

static int add_json(struct wsl_buf *out, const Wsl__V1__LogsResponse *part)
{
    size_t n = part->text.len;
    json_t *text;

    if (n > 0 && part->text.data[n - 1] == '\n')
        n--;
    text = wsl_ctl_json_text((const char *)part->text.data, n);
    return wsl_ctl_json_print(wsl_ctl_json_document("generation", json_integer(part->generation),
                                                    "rank", json_integer(part->rank), "text", text,
                                                    NULL),
                              true, out);
}

struct reading {
    struct wsl_ctl *ctl;
    bool prefixed;
    bool printed;                    /* something came */
    bool output_failed;              /* and it was said */
    uint64_t retry_ms;               /* with -f: how long the coordinator may be away */
    uint64_t lost_ns;                /* since when it is; 0: it is there */
    Wsl__V1__LogPosition *positions; /* how far each log was printed */
    size_t count, capacity;
};

/* Where the stream would go on after this piece. */
static int note_position(struct reading *reading, const Wsl__V1__LogsResponse *part)
{
    Wsl__V1__LogPosition *p = reading->positions;
    size_t i = reading->count;

    while (i > 0 && (p[i - 1].generation != part->generation || p[i - 1].rank != part->rank))
        i--;
    if (i == 0 && reading->count == reading->capacity) {
        size_t capacity = reading->capacity ? 2 * reading->capacity : 64;

        p = realloc(p, capacity * sizeof *p);
        if (!p)
            return WSL_ENOMEM;
        reading->positions = p;
        reading->capacity = capacity;
    }
    if (i == 0) {
        i = ++reading->count;
        wsl__v1__log_position__init(&p[i - 1]);
        p[i - 1].generation = part->generation;
        p[i - 1].rank = part->rank;
    }
    p[i - 1].offset = part->offset + part->text.len;
    return 0;
}

static int print_part(struct reading *reading, const Wsl__V1__LogsResponse *part,
                      struct wsl_err *err)
{
    struct wsl_buf out = {0};
    int r = note_position(reading, part);

    if (r == 0)
        r = reading->ctl->format != WSL_CTL_TABLE ? add_json(&out, part)
                                                  : add_lines(&out, part, reading->prefixed);
    reading->printed = true;
    reading->output_failed = wsl_ctl_put(&out, r, WSL_CTL_DONE) != WSL_CTL_DONE;
    return reading->output_failed ? wsl_fail(err, WSL_EIO, "the output ended") : 0;
}

static void say_back(struct reading *reading)
{
    if (reading->lost_ns)
        wsl_ctl_note(reading->ctl, "the coordinator is back");
    reading->lost_ns = 0;
}

static int read_all(struct reading *reading, struct wsl_client_stream *stream, struct wsl_err *err)
{
    for (;;) {
        ProtobufCMessage *message = NULL;
        int r;

        if (wsl_ctl_interrupted())
            return wsl_fail(err, WSL_ECANCELLED, "interrupted; the job continues");
        r = wsl_client_stream_next(stream, POLL_MS, &message, err);
        if (r == WSL_ETIMEOUT)
            continue;
        if (r < 0)
            return r;
        say_back(reading);
        if (r == WSL_CLIENT_END)
            return r;
        r = print_part(reading, (const Wsl__V1__LogsResponse *)message, err);
        protobuf_c_message_free_unpacked(message, NULL);
        if (r < 0)
            return r;
    }
}

/* ---- what there is to say besides ---- */

/* The ranks that --rank may name. False after saying that this is none of them. */
static bool check_rank(const Wsl__V1__Job *job, uint64_t rank)
{
    uint32_t world = job->spec && job->spec->world ? job->spec->world : 1;
    char title[128];

    if (rank < world)
        return true;
    wsl_ctl_job_title(job, title, sizeof title);
    if (world == 1)
        wsl_ctl_say("job %s has no rank %llu: it has rank 0 only", title, (unsigned long long)rank);
    else
        wsl_ctl_say("job %s has no rank %llu: its ranks are 0 to %u", title,
                    (unsigned long long)rank, world - 1);
    return false;
}

/* Why nothing was printed, and how to have what comes. */
static void explain_silence(const struct wsl_ctl *ctl, const Wsl__V1__Job *job)
{
    char title[128], state[WSL_CTL_TEXT];
    const char *colon = job->reason[0] ? ": " : "";

    wsl_ctl_job_title(job, title, sizeof title);
    wsl_ctl_word(&wsl__v1__job_state__descriptor, (int)job->state, state);
    if (wsl_ctl_job_ended(job))
        wsl_ctl_note(ctl,
                     "job %s ended (%s) without a log%s%s; 'wslctl describe %llu' shows its "
                     "events",
                     title, state, colon, job->reason, (unsigned long long)job->id);
    else
        wsl_ctl_note(ctl,
                     "job %s is %s and has no log yet%s%s; 'wslctl logs -f %llu' prints it "
                     "from its start",
                     title, state, colon, job->reason, (unsigned long long)job->id);
}

/* With -f: what is being waited for. */
static void say_waiting(const struct wsl_ctl *ctl, const Wsl__V1__Job *job)
{
    char title[128];

    if (job->state != WSL__V1__JOB_STATE__QUEUED)
        return;
    wsl_ctl_job_title(job, title, sizeof title);
    wsl_ctl_note(ctl, "job %s is queued%s%s; its log is printed once it starts", title,
                 job->reason[0] ? ": " : "", wsl_ctl_job_detail(job));
}

/* ---- the verb ---- */

static int print_once(struct reading *reading, Wsl__V1__LogsRequest *request, struct wsl_err *err)
{
    struct wsl_client_stream *stream = NULL;
    Wsl__V1__LogPosition **after = calloc(reading->count + 1, sizeof(*after));
    int r = after ? wsl_ctl_connect(reading->ctl, err) : WSL_ENOMEM;

    for (size_t i = 0; after && i < reading->count; i++)
        after[i] = &reading->positions[i];
    request->after = after;
    request->n_after = after ? reading->count : 0;
    if (r == 0)
        r = wsl_client_stream_open(&stream, reading->ctl->client, "/wsl.v1.JobService/Logs",
                                   &request->base, &wsl__v1__logs_response__descriptor, err);
    if (r == 0)
        r = read_all(reading, stream, err);
    wsl_client_stream_close(stream);
    free(after);
    return r;
}

/* With -f a coordinator that is started again is waited for. False: it has been away for too long,
 * or the failure is of another kind. */
static bool wait_for_coordinator(struct reading *reading, int code)
{
    const struct timespec pause = {0, POLL_MS * 1000000L};
    char patience[WSL_CTL_TEXT];

    if (wsl_ctl_interrupted() || reading->output_failed || reading->retry_ms == 0 ||
        (code != WSL_EUNAVAILABLE && code != WSL_EPEER && code != WSL_EINTERNAL &&
         code != WSL_ECANCELLED && code != WSL_EAGAIN))
        return false;
    if (!reading->lost_ns) {
        reading->lost_ns = wsl_clock_ns();
        wsl_ctl_duration((double)reading->retry_ms / 1000, patience);
        wsl_ctl_note(reading->ctl,
                     "lost the coordinator at %s; retrying for %s (the job continues)",
                     reading->ctl->server, patience);
    }
    if (wsl_clock_ns() - reading->lost_ns > reading->retry_ms * 1000000)
        return false;
    wsl_ctl_disconnect(reading->ctl); /* a channel that failed waits longer and longer */
    nanosleep(&pause, NULL);
    return true;
}

static int print_logs(struct wsl_ctl *ctl, struct reading *reading, Wsl__V1__LogsRequest *request)
{
    struct wsl_err err = {0};
    int r;

    do
        r = print_once(reading, request, &err);
    while (r < 0 && wait_for_coordinator(reading, r));
    free(reading->positions);
    if (r < 0 && reading->output_failed)
        return WSL_CTL_FAILED;
    return r < 0 ? wsl_ctl_fail(ctl, &err) : WSL_CTL_DONE;
}

/* Of hundreds of ranks the logs say nearly the same: rank 0's is printed, and which other one may
 * be worth a look is said. */
static void choose_ranks(const struct wsl_ctl *ctl, const Wsl__V1__Job *job,
                         Wsl__V1__LogsRequest *request)
{
    unsigned long long id = job->id;

    if (request->one_rank || job->n_ranks <= RANKS_SHOWN_MAX)
        return;
    request->one_rank = true;
    wsl_ctl_note(ctl,
                 "rank 0 of %zu; 'wslctl logs %llu --rank N' prints another one's log, "
                 "--all-ranks all of them",
                 job->n_ranks, id);
    for (size_t i = 1; i < job->n_ranks; i++)
        if (strcmp(job->ranks[i]->outcome, "user error") == 0 ||
            strcmp(job->ranks[i]->outcome, "machine error") == 0) {
            wsl_ctl_note(ctl, "rank %zu failed: 'wslctl logs %llu --rank %zu'", i, id, i);
            return;
        }
}

/* As the job is after its log has ended: it may have moved on meanwhile. */
static int after_silence(struct wsl_ctl *ctl)
{
    Wsl__V1__GetJobResponse *now = NULL;
    struct wsl_err err = {0};

    if (wsl_ctl_get_job(ctl, ctl->words[0], &now, &err) < 0)
        return wsl_ctl_fail(ctl, &err);
    explain_silence(ctl, now->job);
    wsl__v1__get_job_response__free_unpacked(now, NULL);
    return WSL_CTL_DONE;
}

int wsl_ctl_logs(struct wsl_ctl *ctl, int argc, char **argv)
{
    Wsl__V1__LogsRequest request = WSL__V1__LOGS_REQUEST__INIT;
    Wsl__V1__GetJobResponse *before = NULL;
    uint64_t rank = UINT64_MAX, tail = 0;
    struct reading reading = {.ctl = ctl};
    uint64_t retry = 60;
    bool follow = false, all_ranks = false;
    struct wsl_err err = {0};
    int code = WSL_CTL_FAILED;
    const struct wsl_arg rows[] = {
        {"follow", 'f', WSL_ARG_FLAG, &follow, 0, 0, NULL,
         "print new output as it comes until the job has ended; waits for a queued job to start"},
        {"rank", 'r', WSL_ARG_UINT, &rank, 0, 4095, "N", "only this rank, without the prefix"},
        {"all-ranks", 0, WSL_ARG_FLAG, &all_ranks, 0, 0, NULL,
         "all ranks, also of a job with more than 16"},
        {"retry", 0, WSL_ARG_UINT, &retry, 0, 86400, "SECONDS",
         "with -f: how long to wait while the coordinator cannot be reached (default: 60)"},
        {"tail", 'n', WSL_ARG_UINT, &tail, 1, 1000000, "N",
         "only the last N lines of each rank (default: all)"},
    };

    if (!wsl_ctl_parse(ctl, rows, sizeof rows / sizeof rows[0], argc, argv))
        return ctl->exit_code;
    request.job = ctl->words[0];
    request.follow = follow;
    request.one_rank = rank != UINT64_MAX;
    request.rank = request.one_rank ? (uint32_t)rank : 0;
    request.tail_lines = (uint32_t)tail;
    reading.prefixed = !request.one_rank;
    reading.retry_ms = follow ? retry * 1000 : 0;
    wsl_ctl_catch_interrupt();
    if (wsl_ctl_get_job(ctl, ctl->words[0], &before, &err) < 0)
        return wsl_ctl_fail_job(ctl, ctl->words[0], &err);
    if (request.one_rank && !check_rank(before->job, rank)) {
        code = WSL_CTL_USAGE;
    } else {
        if (!all_ranks)
            choose_ranks(ctl, before->job, &request);
        if (follow)
            say_waiting(ctl, before->job);
        code = print_logs(ctl, &reading, &request);
        if (code == WSL_CTL_DONE && !reading.printed)
            code = after_silence(ctl);
    }
    wsl__v1__get_job_response__free_unpacked(before, NULL);
    return code;
}
