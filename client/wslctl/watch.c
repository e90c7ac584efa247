/* SPDX-License-Identifier: Apache-2.0
 *
 * watch and wait: to the end of a job.
 */
#include "client/wslctl/follow.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { EVENTS_FIRST = 5, LINE_MAX_BYTES = 512 };

struct watch {
    struct wsl_ctl *ctl;
    int width;            /* of the terminal; 0: plain lines */
    bool live;            /* a live line is on the screen */
    uint64_t interval_ns; /* between plain progress lines */
    uint64_t printed_ns;
    uint64_t printed_step;
    uint64_t last_event;
    bool begun;
    bool output_failed; /* and it was said */
    Wsl__V1__JobState state;
    char last[LINE_MAX_BYTES]; /* how it ended */
};

static void clear_live(struct watch *w)
{
    if (w->live)
        fputs("\r\033[K", stdout);
    w->live = false;
}

static void print_event(struct watch *w, const Wsl__V1__Event *event)
{
    char when[WSL_CTL_TEXT], text[1024];

    snprintf(text, sizeof text, "%s: %s", event->kind, event->message);
    wsl_one_line(text);
    wsl_ctl_time(event->time_ms, when);
    clear_live(w);
    printf("%s  %s\n", when, text);
}

/* The first answer may bring the whole history: only its newest lines are of interest now. */
static void print_events(struct watch *w, const Wsl__V1__WatchJobResponse *update)
{
    size_t first = 0;

    if (!w->begun && update->n_new_events > EVENTS_FIRST)
        first = update->n_new_events - EVENTS_FIRST;
    for (size_t i = first; i < update->n_new_events; i++) {
        const Wsl__V1__Event *event = update->new_events[i];

        if (event->sequence > 0 && event->sequence <= w->last_event)
            continue;
        w->last_event = event->sequence;
        print_event(w, event);
    }
}

static void print_progress(struct watch *w, const Wsl__V1__Job *job)
{
    uint64_t now = wsl_clock_ns();
    uint64_t step = job->progress ? job->progress->step : 0;
    char line[LINE_MAX_BYTES];

    if (w->width > 0) {
        w->width = wsl_ctl_width(STDOUT_FILENO); /* windows change */
        wsl_ctl_progress(job, w->width - 1, line, sizeof line);
        printf("\r\033[K%s", line);
        w->live = true;
        return;
    }
    if (w->begun && job->state == w->state &&
        (step == w->printed_step || now - w->printed_ns < w->interval_ns))
        return;
    wsl_ctl_progress(job, 0, line, sizeof line);
    printf("%s\n", line);
    w->printed_ns = now;
    w->printed_step = step;
}

static void keep_last(struct watch *w, const Wsl__V1__Job *job)
{
    char title[128], state[WSL_CTL_TEXT], took[WSL_CTL_TEXT], progress[300];
    const Wsl__V1__Evaluation *e = job->progress ? job->progress->evaluation : NULL;
    size_t n;

    wsl_ctl_job_title(job, title, sizeof title);
    wsl_ctl_word(&wsl__v1__job_state__descriptor, (int)job->state, state);
    wsl_ctl_between(job->started_ms ? job->started_ms : job->submitted_ms, job->ended_ms, took);
    wsl_ctl_progress(job, 0, progress, sizeof progress);
    n = (size_t)snprintf(w->last, sizeof w->last, "job %s %s after %s%s%s", title, state, took,
                         strchr(progress, ' ') ? ":" : "",
                         strchr(progress, ' ') ? strchr(progress, ' ') : "");
    if (e && n < sizeof w->last)
        n += (size_t)snprintf(w->last + n, sizeof w->last - n,
                              "  held out: %shit@1 %.3f hit@5 %.3f (most frequent tags: %.3f %.3f)",
                              e->not_finite ? "loss not finite, " : "", e->hit1, e->hit5,
                              e->baseline_hit1, e->baseline_hit5);
    if (job->state != WSL__V1__JOB_STATE__SUCCEEDED && job->reason[0] && n < sizeof w->last)
        snprintf(w->last + n, sizeof w->last - n, "; %s", job->reason);
    wsl_one_line(w->last);
}

/* Either way a document a line. */
static bool is_json(const struct wsl_ctl *ctl)
{
    return ctl->format == WSL_CTL_JSON || ctl->format == WSL_CTL_NDJSON;
}

static int print_json(const Wsl__V1__WatchJobResponse *update)
{
    struct wsl_buf out = {0};
    json_t *events = json_array();
    int r;

    for (size_t i = 0; i < update->n_new_events && events; i++)
        json_array_append_new(events, wsl_ctl_json(&update->new_events[i]->base));
    r = wsl_ctl_json_print(
        wsl_ctl_json_document("job", wsl_ctl_json_job(update->job), "new_events", events, NULL),
        true, &out);
    return wsl_ctl_put(&out, r, WSL_CTL_DONE) == WSL_CTL_DONE ? 0 : WSL_EIO;
}

static int on_update(void *context, const Wsl__V1__WatchJobResponse *update)
{
    struct watch *w = context;
    int r = 0;

    if (is_json(w->ctl)) {
        r = print_json(update);
    } else if (!w->ctl->quiet) {
        print_events(w, update);
        if (!wsl_ctl_job_ended(update->job))
            print_progress(w, update->job);
    }
    w->begun = true;
    w->state = update->job->state;
    if (wsl_ctl_job_ended(update->job))
        keep_last(w, update->job);
    if (r == 0 && wsl_ctl_flush(WSL_CTL_DONE) != WSL_CTL_DONE)
        r = WSL_EIO;
    w->output_failed = r < 0;
    return r;
}

static void on_notice(void *context, const char *line)
{
    struct watch *w = context;

    clear_live(w);
    fflush(stdout);
    wsl_ctl_say("%s", line);
}

/* What to say and with which code to leave when the following ended otherwise than the job. */
static int leave(struct wsl_ctl *ctl, const char *job, const struct wsl_err *err)
{
    if (err->code == WSL_ECANCELLED && wsl_ctl_interrupted()) {
        wsl_ctl_say("interrupted; job %s continues ('wslctl cancel %s' stops it)", job, job);
        return WSL_CTL_INTERRUPTED;
    }
    return wsl_ctl_fail_job(ctl, job, err);
}

int wsl_ctl_watch(struct wsl_ctl *ctl, int argc, char **argv)
{
    uint64_t interval = 5, retry = 60;
    struct watch w = {.ctl = ctl};
    struct wsl_ctl_follow follow = {
        .ctl = ctl, .update = on_update, .notice = on_notice, .context = &w};
    struct wsl_err err = {0};
    const struct wsl_arg rows[] = {
        {"interval", 0, WSL_ARG_UINT, &interval, 0, 86400, "SECONDS",
         "time between plain progress lines (default: 5)"},
        {"retry", 0, WSL_ARG_UINT, &retry, 0, 86400, "SECONDS",
         "how long to wait while the coordinator cannot be reached, from the start or later "
         "(default: 60)"},
    };

    if (!wsl_ctl_parse(ctl, rows, 2, argc, argv))
        return ctl->exit_code;
    w.interval_ns = interval * 1000000000;
    w.width = ctl->format == WSL_CTL_TABLE ? wsl_ctl_width(STDOUT_FILENO) : 0;
    follow.job = ctl->words[0];
    follow.retry_ms = retry * 1000;
    wsl_ctl_catch_interrupt();
    if (wsl_ctl_follow(&follow, &err) < 0) {
        clear_live(&w);
        return w.output_failed ? WSL_CTL_FAILED : wsl_ctl_flush(leave(ctl, follow.job, &err));
    }
    clear_live(&w);
    if (!is_json(ctl) && !ctl->quiet)
        printf("%s\n", w.last);
    return wsl_ctl_flush(follow.exit_code);
}

static void on_wait_notice(void *context, const char *line)
{
    wsl_ctl_note(context, "%s", line);
}

int wsl_ctl_wait(struct wsl_ctl *ctl, int argc, char **argv)
{
    double timeout = 0;
    uint64_t retry = 60, deadline = 0;
    int code = WSL_CTL_DONE;
    const struct wsl_arg rows[] = {
        {"timeout", 't', WSL_ARG_REAL, &timeout, 0, 1e9, "SECONDS",
         "give up after this time with exit code 6 (default: never)"},
        {"retry", 0, WSL_ARG_UINT, &retry, 0, 86400, "SECONDS",
         "how long to wait while the coordinator cannot be reached, from the start or later "
         "(default: 60)"},
    };

    if (!wsl_ctl_parse(ctl, rows, 2, argc, argv))
        return ctl->exit_code;
    if (timeout > 0)
        deadline = wsl_clock_ns() + (uint64_t)(timeout * 1e9);
    wsl_ctl_catch_interrupt();
    for (int i = 0; i < ctl->word_count; i++) {
        struct wsl_ctl_follow follow = {.ctl = ctl,
                                        .job = ctl->words[i],
                                        .retry_ms = retry * 1000,
                                        .deadline_ns = deadline,
                                        .notice = on_wait_notice,
                                        .context = ctl};
        struct wsl_err err = {0};
        int one;

        if (wsl_ctl_follow(&follow, &err) < 0) {
            one = leave(ctl, follow.job, &err);
            if (one != WSL_CTL_FAILED) /* the others would meet the same */
                return one;
        } else {
            one = follow.exit_code;
        }
        code = code ? code : one;
    }
    return code;
}
