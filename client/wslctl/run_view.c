/* SPDX-License-Identifier: Apache-2.0
 *
 * The lines of `wslctl run`.
 */
#include "client/wslctl/run_view.h"

#include "base/clock.h"

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 512 };

void wsl_run_view_init(struct wsl_run_view *view, const struct wsl_ctl *ctl, uint64_t interval_s)
{
    *view = (struct wsl_run_view){
        .ctl = ctl, .interval_ns = interval_s * 1000000000, .width = wsl_ctl_width(STDOUT_FILENO)};
}

const char *wsl_run_short_path(const char *path)
{
    char here[PATH_MAX];
    size_t n;

    if (!getcwd(here, sizeof here))
        return path;
    n = strlen(here);
    return strncmp(path, here, n) == 0 && path[n] == '/' && path[n + 1] ? path + n + 1 : path;
}

void wsl_run_view_clear(struct wsl_run_view *view)
{
    if (view->live)
        fputs("\r\033[K", stdout);
    view->live = false;
    fflush(stdout);
}

/* A line that stays. Left out when quiet: then only the progress is shown. */
static void put_line(struct wsl_run_view *view, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void put_line(struct wsl_run_view *view, const char *format, ...)
{
    char text[4096 + 200];
    va_list args;

    if (view->ctl->quiet)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    wsl_one_line(text);
    wsl_run_view_clear(view);
    puts(text);
}

/* ---- what is worth a line ---- */

static void show_checkpoint(struct wsl_run_view *view, const Wsl__V1__Job *job)
{
    if (job->checkpoint[0] == '\0' ||
        (job->checkpoint_step == view->checkpoint_step && view->checkpoint[0]))
        return;
    snprintf(view->checkpoint, sizeof view->checkpoint, "%s", job->checkpoint);
    view->checkpoint_step = job->checkpoint_step;
    if (view->begun)
        put_line(view, "checkpoint at step %" PRIu64 ": %s", job->checkpoint_step,
                 wsl_run_short_path(job->checkpoint));
}

static void show_evaluation(struct wsl_run_view *view, const Wsl__V1__Job *job)
{
    const Wsl__V1__Evaluation *e = job->progress ? job->progress->evaluation : NULL;

    if (!e || e->step == view->evaluated_step)
        return;
    view->evaluated_step = e->step;
    if (view->begun)
        put_line(view,
                 "held out at step %" PRIu64
                 ": loss %.4f  hit@1 %.3f  hit@5 %.3f (most frequent tags: %.3f %.3f)",
                 e->step, e->loss, e->hit1, e->hit5, e->baseline_hit1, e->baseline_hit5);
}

static bool is_shown_otherwise(const char *kind)
{
    static const char *const kinds[] = {"submitted",      "waiting",    "state",
                                        "trainer_exited", "checkpoint", "cancel"};

    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kind, kinds[i]) == 0)
            return true;
    return false;
}

/* Of those, what the trainers had to say: a damaged checkpoint, unreadable images. Old ones are of
 * an earlier run. */
static void show_notes(struct wsl_run_view *view, const Wsl__V1__WatchJobResponse *update)
{
    for (size_t i = 0; i < update->n_new_events; i++) {
        const Wsl__V1__Event *event = update->new_events[i];

        if (event->sequence <= view->last_event)
            continue;
        view->last_event = event->sequence;
        if (view->begun && !is_shown_otherwise(event->kind))
            put_line(view, "%s: %s", event->kind, event->message);
    }
}

static void show_state(struct wsl_run_view *view, const Wsl__V1__Job *job)
{
    if (view->begun && !view->stopping && job->state != view->state &&
        job->state == WSL__V1__JOB_STATE__RECOVERING)
        put_line(view, "a trainer ended: %s", wsl_ctl_job_detail(job));
}

static void show_progress(struct wsl_run_view *view, const Wsl__V1__Job *job)
{
    uint64_t now = wsl_clock_ns();
    char line[LINE_MAX_BYTES];

    if (view->stopping && job->state != WSL__V1__JOB_STATE__RUNNING)
        return; /* what comes next is the next run's */
    if (view->width > 0) {
        view->width = wsl_ctl_width(STDOUT_FILENO); /* windows change */
        wsl_ctl_progress(job, view->width - 1, line, sizeof line);
        printf("\r\033[K%s", line);
        view->live = true;
        return;
    }
    if (job->state != WSL__V1__JOB_STATE__RUNNING || !job->progress ||
        (view->printed_ns &&
         (view->step == view->printed_step || now - view->printed_ns < view->interval_ns)))
        return;
    wsl_ctl_progress(job, 0, line, sizeof line);
    puts(line);
    view->printed_ns = now;
    view->printed_step = view->step;
}

/* How it ended, and where its checkpoint is. */
static void show_outcome(const Wsl__V1__Job *job)
{
    char state[WSL_CTL_TEXT], took[WSL_CTL_TEXT], progress[LINE_MAX_BYTES];
    const Wsl__V1__Evaluation *e = job->progress ? job->progress->evaluation : NULL;
    const char *figures;

    wsl_ctl_word(&wsl__v1__job_state__descriptor, (int)job->state, state);
    wsl_ctl_between(job->started_ms ? job->started_ms : job->submitted_ms, job->ended_ms, took);
    wsl_ctl_progress(job, 0, progress, sizeof progress);
    figures = strchr(progress, ' '); /* what follows the state */
    printf("%s %s after %s%s%s\n", job->spec ? job->spec->name : "job", state, took,
           figures ? ":" : "", figures ? figures : "");
    if (e)
        printf("held out: hit@1 %.3f hit@5 %.3f (most frequent tags: %.3f %.3f)\n", e->hit1,
               e->hit5, e->baseline_hit1, e->baseline_hit5);
    if (job->checkpoint[0])
        printf("checkpoint: %s\n", wsl_run_short_path(job->checkpoint));
}

void wsl_run_view_update(void *context, const Wsl__V1__WatchJobResponse *update)
{
    struct wsl_run_view *view = context;
    const Wsl__V1__Job *job = update->job;

    if (job->progress) {
        view->step = job->progress->step;
        view->total_steps = job->progress->total_steps;
    }
    snprintf(view->reason, sizeof view->reason, "%s", wsl_ctl_job_detail(job));
    show_notes(view, update);
    show_state(view, job);
    show_evaluation(view, job);
    show_checkpoint(view, job);
    if (wsl_ctl_job_ended(job)) {
        wsl_run_view_clear(view);
        show_outcome(job);
    } else {
        show_progress(view, job);
    }
    view->begun = true;
    view->state = job->state;
    fflush(stdout);
}
