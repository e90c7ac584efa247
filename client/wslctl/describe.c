/* SPDX-License-Identifier: Apache-2.0
 *
 * describe: all there is to know about one job, its events last.
 */
#include "client/wslctl/wslctl.h"

#include "base/clock.h"
#include "base/number.h"
#include "proto/jobspec/jobspec.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Lines of "Label:   value". */
static void add_line(struct wsl_buf *out, const char *label, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void add_line(struct wsl_buf *out, const char *label, const char *format, ...)
{
    char value[1200];
    va_list args;

    va_start(args, format);
    vsnprintf(value, sizeof value, format, args);
    va_end(args);
    wsl_one_line(value);
    wsl_buf_add_format(out, "%-14s %s\n", label, value);
}

static void add_time(struct wsl_buf *out, const char *label, int64_t at, int64_t now)
{
    char when[WSL_CTL_TEXT], ago[WSL_CTL_TEXT];

    if (at <= 0)
        return;
    wsl_ctl_time(at, when);
    wsl_ctl_between(at, now, ago);
    add_line(out, label, "%s UTC (%s ago)", when, ago);
}

static void add_head(struct wsl_buf *out, const Wsl__V1__Job *job, bool color)
{
    int64_t now = wsl_clock_wall_ms();
    char word[WSL_CTL_TEXT], took[WSL_CTL_TEXT];
    const char *paint;

    add_line(out, "Job:", "%llu", (unsigned long long)job->id);
    add_line(out, "Name:", "%s", job->spec ? job->spec->name : "-");
    wsl_ctl_word(&wsl__v1__job_kind__descriptor, job->spec ? (int)job->spec->kind : 0, word);
    add_line(out, "Kind:", "%s", word);
    wsl_ctl_word(&wsl__v1__job_state__descriptor, (int)job->state, word);
    paint = color ? wsl_ctl_color_of(word) : "";
    wsl_buf_add_format(out, "%-14s %s%s%s%s\n", "State:", paint, word, paint[0] ? "\033[0m" : "",
                       job->cancel_requested && !wsl_ctl_job_ended(job) ? " (stopping)" : "");
    if (job->reason[0])
        add_line(out, "Reason:", "%s", wsl_ctl_job_detail(job));
    add_time(out, "Submitted:", job->submitted_ms, now);
    add_time(out, "Started:", job->started_ms, now);
    add_time(out, "Ended:", job->ended_ms, now);
    wsl_ctl_between(job->started_ms, job->ended_ms ? job->ended_ms : now, took);
    if (job->started_ms)
        add_line(out, "Took:", "%s", took);
    add_line(out, "Generation:", "%u (%u restarts)", job->generation, job->restarts);
}

static void add_evaluation(struct wsl_buf *out, const Wsl__V1__Evaluation *e)
{
    char images[WSL_CTL_TEXT], loss[WSL_NUMBER_TEXT];

    wsl_ctl_count(e->images, images);
    add_line(out, "Held out:", "hit@1 %.3f, hit@5 %.3f, loss %s on %s images after step %llu",
             e->hit1, e->hit5, wsl_number_text(e->loss, 4, loss), images,
             (unsigned long long)e->step);
    add_line(out, "Baseline:", "hit@1 %.3f, hit@5 %.3f by always answering the most frequent tags",
             e->baseline_hit1, e->baseline_hit5);
}

static void add_progress(struct wsl_buf *out, const Wsl__V1__Job *job)
{
    const Wsl__V1__Progress *p = job->progress;
    char text[512];

    if (p) {
        wsl_ctl_progress(job, 0, text, sizeof text);
        add_line(out, "Progress:", "%s", text);
        if (wsl_ctl_is_measured(p))
            add_line(out, "Learning rate:", "%g", p->learning_rate);
        if (p->bad_records > 0)
            add_line(out, "Bad records:", "%llu were replaced", (unsigned long long)p->bad_records);
        if (p->evaluation)
            add_evaluation(out, p->evaluation);
    }
    if (job->checkpoint[0])
        add_line(out, "Checkpoint:", "%s (step %llu%s%s)", job->checkpoint,
                 (unsigned long long)job->checkpoint_step, job->checkpoint_node[0] ? ", on " : "",
                 job->checkpoint_node);
}

static int add_spec(struct wsl_buf *out, const Wsl__V1__JobSpec *spec)
{
    struct wsl_buf yaml = {0};
    int r = spec ? wsl_jobspec_print(spec, &yaml) : 0;

    if (r == 0 && yaml.size > 0) {
        char *save = NULL;

        wsl_buf_add_text(out, "Settings:\n");
        for (char *line = strtok_r((char *)yaml.data, "\n", &save); line && r == 0;
             line = strtok_r(NULL, "\n", &save))
            r = wsl_buf_add_format(out, "  %s\n", line);
    }
    wsl_buf_free(&yaml);
    return r;
}

static int add_events(struct wsl_buf *out, const struct wsl_ctl *ctl, Wsl__V1__Event *const *events,
                      size_t count)
{
    static const struct wsl_ctl_column columns[] = {
        {"TIME (UTC)", false}, {"KIND", false}, {"WHAT", false}};
    struct wsl_ctl_table table = {
        .columns = columns, .column_count = 3, .width = wsl_ctl_table_width(ctl), .indent = 2};
    char when[WSL_CTL_TEXT];
    int r;

    if (count == 0)
        return 0;
    for (size_t i = 0; i < count; i++) {
        wsl_ctl_time(events[i]->time_ms, when);
        wsl_ctl_cell(&table, "%s", when);
        wsl_ctl_cell(&table, "%s", events[i]->kind);
        wsl_ctl_cell(&table, "%s", events[i]->message);
    }
    wsl_buf_add_text(out, "Events:\n");
    r = wsl_ctl_table_print(&table, out);
    wsl_ctl_table_free(&table);
    return r;
}

static int put_text(const struct wsl_ctl *ctl, const Wsl__V1__GetJobResponse *answer)
{
    struct wsl_buf out = {0};
    int r;

    add_head(&out, answer->job, wsl_ctl_color(ctl));
    add_progress(&out, answer->job);
    r = wsl_ctl_add_ranks(&out, ctl, answer->job);
    if (r == 0)
        r = add_spec(&out, answer->job->spec);
    if (r == 0)
        r = add_events(&out, ctl, answer->events, answer->n_events);
    return wsl_ctl_put(&out, r, WSL_CTL_DONE);
}

static int put_json(const Wsl__V1__GetJobResponse *answer)
{
    json_t *events = json_array();

    for (size_t i = 0; i < answer->n_events && events; i++)
        if (json_array_append_new(events, wsl_ctl_json(&answer->events[i]->base)) < 0) {
            json_decref(events);
            events = NULL;
        }
    return wsl_ctl_put_json(
        wsl_ctl_json_document("job", wsl_ctl_json_job(answer->job), "events", events, NULL),
        WSL_CTL_DONE);
}

int wsl_ctl_describe(struct wsl_ctl *ctl, int argc, char **argv)
{
    Wsl__V1__GetJobResponse *answer = NULL;
    struct wsl_err err = {0};
    int code;

    if (!wsl_ctl_parse(ctl, NULL, 0, argc, argv))
        return ctl->exit_code;
    if (wsl_ctl_get_job(ctl, ctl->words[0], &answer, &err) < 0)
        return wsl_ctl_fail_job(ctl, ctl->words[0], &err);
    code = ctl->format == WSL_CTL_JSON ? put_json(answer) : put_text(ctl, answer);
    wsl__v1__get_job_response__free_unpacked(answer, NULL);
    return code;
}
