/* SPDX-License-Identifier: Apache-2.0
 *
 * Watching jobs over any number of connections: what to do when the coordinator goes away and
 * comes back.
 */
#include "client/wslctl/follow.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

enum { POLL_MS = 200 };

struct state {
    struct wsl_ctl_follow *follow;
    uint64_t lost_ns; /* when the coordinator went away; 0: it is there */
    bool ended;
};

static int interrupted_or_late(const struct wsl_ctl_follow *f, struct wsl_err *err)
{
    if (f->check)
        return f->check(f->context, err);
    if (wsl_ctl_interrupted())
        return wsl_fail(err, WSL_ECANCELLED, "interrupted");
    if (f->deadline_ns && wsl_clock_ns() >= f->deadline_ns)
        return wsl_fail(err, WSL_ETIMEOUT, "job %s has not ended in the time given", f->job);
    return 0;
}

static int take(struct state *s, const Wsl__V1__WatchJobResponse *update)
{
    struct wsl_ctl_follow *f = s->follow;
    int r = 0;

    if (!update->job)
        return 0;
    if (s->lost_ns && f->notice)
        f->notice(f->context, f->id ? "the coordinator is back" : "the coordinator is there");
    s->lost_ns = 0;
    f->id = update->job->id;
    if (f->update)
        r = f->update(f->context, update);
    if (wsl_ctl_job_ended(update->job)) {
        s->ended = true;
        f->exit_code = wsl_ctl_outcome(update->job);
    }
    return r;
}

static int read_stream(struct state *s, struct wsl_client_stream *stream, struct wsl_err *err)
{
    for (;;) {
        ProtobufCMessage *message = NULL;
        int r = interrupted_or_late(s->follow, err);

        if (r < 0)
            return r;
        r = wsl_client_stream_next(stream, POLL_MS, &message, err);
        if (r == WSL_ETIMEOUT)
            continue;
        if (r < 0)
            return r;
        if (r == WSL_CLIENT_END)
            return s->ended ? 0
                            : wsl_fail(err, WSL_EUNAVAILABLE, "%s ended the stream early",
                                       s->follow->ctl->server);
        r = take(s, (Wsl__V1__WatchJobResponse *)message);
        protobuf_c_message_free_unpacked(message, NULL);
        if (r < 0)
            return wsl_fail(err, r, "%s", "");
        if (s->ended)
            return 0;
    }
}

static int follow_once(struct state *s, struct wsl_err *err)
{
    Wsl__V1__WatchJobRequest request = WSL__V1__WATCH_JOB_REQUEST__INIT;
    struct wsl_client_stream *stream = NULL;
    char id[24];
    int r = wsl_ctl_connect(s->follow->ctl, err);

    if (r < 0)
        return r;
    snprintf(id, sizeof id, "%" PRIu64, s->follow->id);
    request.job = (char *)(s->follow->id ? id : s->follow->job);
    r = wsl_client_stream_open(&stream, s->follow->ctl->client, "/wsl.v1.JobService/Watch",
                               &request.base, &wsl__v1__watch_job_response__descriptor, err);
    if (r == 0)
        r = read_stream(s, stream, err);
    wsl_client_stream_close(stream);
    if (r == WSL_EUNSUPPORTED) /* no coordinator of ours */
        err->code = r = WSL_EPEER;
    return r;
}

/* Could the same call work a little later? From something that never was a coordinator, only
 * where nothing answers yet. */
static bool may_come_back(const struct state *s, int code)
{
    if (wsl_ctl_interrupted())
        return false;
    if (s->follow->id == 0)
        return code == WSL_EUNAVAILABLE;
    return code == WSL_EUNAVAILABLE || code == WSL_EPEER || code == WSL_EINTERNAL ||
           code == WSL_ECANCELLED || code == WSL_EAGAIN;
}

static void lost(struct state *s, const struct wsl_err *err)
{
    struct wsl_ctl_follow *f = s->follow;
    char line[400], patience[WSL_CTL_TEXT];

    s->lost_ns = wsl_clock_ns();
    wsl_ctl_duration((double)f->retry_ms / 1000, patience);
    if (f->id)
        snprintf(line, sizeof line,
                 "lost the coordinator at %.100s; retrying for %s (the job continues)",
                 f->ctl->server, patience);
    else
        snprintf(line, sizeof line, "%.250s; retrying for %s", err->text, patience);
    if (f->notice)
        f->notice(f->context, line);
}

/* The coordinator did not come back in time; `err` says what is the matter with it. */
static int give_up(const struct wsl_ctl_follow *f, struct wsl_err *err)
{
    char patience[WSL_CTL_TEXT];

    if (f->retry_ms == 0)
        return err->code;
    wsl_ctl_duration((double)f->retry_ms / 1000, patience);
    return wsl_err_prefix(err, "gave up after %s", patience);
}

int wsl_ctl_follow(struct wsl_ctl_follow *follow, struct wsl_err *err)
{
    struct state s = {.follow = follow};

    for (;;) {
        const struct timespec pause = {0, POLL_MS * 1000000L};
        int r = follow_once(&s, err), late;

        if (r == 0 || r == WSL_ETIMEOUT || !may_come_back(&s, r))
            return r;
        if (!s.lost_ns && follow->retry_ms > 0)
            lost(&s, err);
        if (follow->retry_ms == 0 || wsl_clock_ns() - s.lost_ns > follow->retry_ms * 1000000)
            return give_up(follow, err);
        /* A channel that failed waits longer and longer before it tries again; a new one does not.
         */
        wsl_ctl_disconnect(follow->ctl);
        nanosleep(&pause, NULL);
        late = interrupted_or_late(follow, err);
        if (late < 0)
            return late;
    }
}
