/* SPDX-License-Identifier: Apache-2.0
 *
 * logs: what trainers wrote, each line with its rank; and why there is nothing.
 */
#include "client/wslctl/wslctl.h"

#include <stdio.h>
#include <string.h>

enum { POLL_MS = 200 };

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
    bool printed;       /* something came */
    bool output_failed; /* and it was said */
};

static int read_all(struct reading *reading, struct wsl_client_stream *stream, struct wsl_err *err)
{
    bool json = reading->ctl->format != WSL_CTL_TABLE;

    for (;;) {
        ProtobufCMessage *message = NULL;
        struct wsl_buf out = {0};
        int r;

        if (wsl_ctl_interrupted())
            return wsl_fail(err, WSL_ECANCELLED, "interrupted; the job continues");
        r = wsl_client_stream_next(stream, POLL_MS, &message, err);
        if (r == WSL_ETIMEOUT)
            continue;
        if (r < 0 || r == WSL_CLIENT_END)
            return r;
        if (json)
            r = add_json(&out, (const Wsl__V1__LogsResponse *)message);
        else
            r = add_lines(&out, (const Wsl__V1__LogsResponse *)message, reading->prefixed);
        protobuf_c_message_free_unpacked(message, NULL);
        reading->printed = true;
        reading->output_failed = wsl_ctl_put(&out, r, WSL_CTL_DONE) != WSL_CTL_DONE;
        if (reading->output_failed)
            return wsl_fail(err, WSL_EIO, "the output ended");
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

static int print_logs(struct wsl_ctl *ctl, struct reading *reading, Wsl__V1__LogsRequest *request)
{
    struct wsl_client_stream *stream = NULL;
    struct wsl_err err = {0};
    int r = wsl_client_stream_open(&stream, ctl->client, "/wsl.v1.JobService/Logs", &request->base,
                                   &wsl__v1__logs_response__descriptor, &err);

    if (r == 0)
        r = read_all(reading, stream, &err);
    wsl_client_stream_close(stream);
    if (r < 0 && reading->output_failed)
        return WSL_CTL_FAILED;
    return r < 0 ? wsl_ctl_fail(ctl, &err) : WSL_CTL_DONE;
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
    bool follow = false;
    struct wsl_err err = {0};
    int code = WSL_CTL_FAILED;
    const struct wsl_arg rows[] = {
        {"follow", 'f', WSL_ARG_FLAG, &follow, 0, 0, NULL,
         "print what comes, from the start of a queued job on, until the job has ended"},
        {"rank", 'r', WSL_ARG_UINT, &rank, 0, 4095, "N", "only this rank, without the prefix"},
        {"tail", 'n', WSL_ARG_UINT, &tail, 1, 1000000, "N",
         "only the last N lines of each rank (default: all)"},
    };

    if (!wsl_ctl_parse(ctl, rows, 3, argc, argv))
        return ctl->exit_code;
    request.job = ctl->words[0];
    request.follow = follow;
    request.one_rank = rank != UINT64_MAX;
    request.rank = request.one_rank ? (uint32_t)rank : 0;
    request.tail_lines = (uint32_t)tail;
    reading.prefixed = !request.one_rank;
    wsl_ctl_catch_interrupt();
    if (wsl_ctl_get_job(ctl, ctl->words[0], &before, &err) < 0)
        return wsl_ctl_fail_job(ctl, ctl->words[0], &err);
    if (request.one_rank && !check_rank(before->job, rank)) {
        code = WSL_CTL_USAGE;
    } else {
        if (follow)
            say_waiting(ctl, before->job);
        code = print_logs(ctl, &reading, &request);
        if (code == WSL_CTL_DONE && !reading.printed)
            code = after_silence(ctl);
    }
    wsl__v1__get_job_response__free_unpacked(before, NULL);
    return code;
}
