/* SPDX-License-Identifier: Apache-2.0
 *
 * logs: what trainers wrote, each line with its rank.
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

static int read_all(struct wsl_ctl *ctl, struct wsl_client_stream *stream, bool prefixed,
                    struct wsl_err *err)
{
    for (;;) {
        ProtobufCMessage *message = NULL;
        struct wsl_buf out = {0};
        int r;

        if (wsl_ctl_interrupted())
            return wsl_fail(err, WSL_ECANCELLED, "interrupted; the job goes on");
        r = wsl_client_stream_next(stream, POLL_MS, &message, err);
        if (r == WSL_ETIMEOUT)
            continue;
        if (r < 0 || r == WSL_CLIENT_END)
            return r;
        if (ctl->format == WSL_CTL_JSON)
            r = add_json(&out, (const Wsl__V1__LogsResponse *)message);
        else
            r = add_lines(&out, (const Wsl__V1__LogsResponse *)message, prefixed);
        protobuf_c_message_free_unpacked(message, NULL);
        if (wsl_ctl_put(&out, r, WSL_CTL_DONE) != WSL_CTL_DONE)
            return wsl_fail(err, WSL_EIO, "the output ended");
    }
}

int wsl_ctl_logs(struct wsl_ctl *ctl, int argc, char **argv)
{
    Wsl__V1__LogsRequest request = WSL__V1__LOGS_REQUEST__INIT;
    struct wsl_client_stream *stream = NULL;
    uint64_t rank = UINT64_MAX, tail = 0;
    bool follow = false;
    struct wsl_err err = {0};
    int r;
    const struct wsl_arg rows[] = {
        {"follow", 'f', WSL_ARG_FLAG, &follow, 0, 0, NULL, "go on until the job has ended"},
        {"rank", 'r', WSL_ARG_UINT, &rank, 0, 4095, "N", "only this trainer, without the prefix"},
        {"tail", 'n', WSL_ARG_UINT, &tail, 1, 1000000, "N",
         "only the last N lines of each trainer (default: all)"},
    };

    if (!wsl_ctl_parse(ctl, rows, 3, argc, argv))
        return ctl->exit_code;
    request.job = ctl->words[0];
    request.follow = follow;
    request.one_rank = rank != UINT64_MAX;
    request.rank = request.one_rank ? (uint32_t)rank : 0;
    request.tail_lines = (uint32_t)tail;
    wsl_ctl_catch_interrupt();
    r = wsl_ctl_connect(ctl, &err);
    if (r == 0)
        r = wsl_client_stream_open(&stream, ctl->client, "/wsl.v1.JobService/Logs", &request.base,
                                   &wsl__v1__logs_response__descriptor, &err);
    if (r == 0)
        r = read_all(ctl, stream, !request.one_rank, &err);
    wsl_client_stream_close(stream);
    return r < 0 ? wsl_ctl_fail(ctl, &err) : WSL_CTL_DONE;
}
