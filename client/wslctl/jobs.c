/* SPDX-License-Identifier: Apache-2.0
 *
 * list, get, cancel: jobs by the line.
 */
#include "client/wslctl/wslctl.h"

#include "base/clock.h"
#include "base/number.h"
#include "base/suggest.h"
#include "proto/jobspec/jobspec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- printing ---- */

static const struct wsl_ctl_column narrow[] = {
    {"ID", true},   {"NAME", false}, {"KIND", false}, {"STATE", false}, {"STEP", true},
    {"LOSS", true}, {"HIT@1", true}, {"AGE", true},   {"REASON", false}};
/* A job's state and why it is in it are what a narrow terminal shows last. */
static const struct wsl_ctl_fit narrow_fit[] = {{0, 0}, {12, 0}, {0, 2}, {0, 0}, {0, 5},
                                                {0, 3}, {0, 1},  {0, 4}, {20, 6}};
static const struct wsl_ctl_column wide[] = {
    {"ID", true},       {"NAME", false}, {"KIND", false},  {"STATE", false},
    {"STEP", true},     {"EPOCH", true}, {"LOSS", true},   {"HIT@1", true},
    {"IMAGES/S", true}, {"ETA", true},   {"WORLD", true},  {"RESTARTS", true},
    {"AGE", true},      {"TOOK", true},  {"NODES", false}, {"REASON", false}};

static void add_progress_cells(struct wsl_ctl_table *table, const Wsl__V1__Job *job, bool is_wide)
{
    const Wsl__V1__Progress *p = job->progress;
    bool moved = p && wsl_ctl_is_measured(p);
    char left[WSL_CTL_TEXT] = "-", loss[WSL_NUMBER_TEXT];

    if (p && p->total_steps)
        wsl_ctl_cell(table, "%llu/%llu", (unsigned long long)p->step,
                     (unsigned long long)p->total_steps);
    else
        wsl_ctl_cell(table, p && p->step > 0 ? "%llu" : "-",
                     p && p->step > 0 ? (unsigned long long)p->step : 0);
    if (is_wide)
        wsl_ctl_cell(table, moved ? "%.2f" : "-", moved ? p->epoch : 0);
    wsl_ctl_cell(table, "%s", moved ? wsl_number_text(p->loss, 4, loss) : "-");
    wsl_ctl_cell(table, moved ? "%.3f" : "-", moved ? p->hit1 : 0);
    if (!is_wide)
        return;
    if (moved && p->eta_seconds > 0 && !wsl_ctl_job_ended(job))
        wsl_ctl_duration(p->eta_seconds, left);
    wsl_ctl_cell(table, moved ? "%.1f" : "-", moved ? p->images_per_second : 0);
    wsl_ctl_cell(table, "%s", left);
}

static void add_nodes_cell(struct wsl_ctl_table *table, const Wsl__V1__Job *job)
{
    char nodes[256] = "";

    for (size_t i = 0; i < job->n_ranks; i++) {
        size_t used = strlen(nodes);

        if (i > 0 && strcmp(job->ranks[i]->node, job->ranks[i - 1]->node) == 0)
            continue;
        snprintf(nodes + used, sizeof nodes - used, "%s%s", used ? "," : "", job->ranks[i]->node);
    }
    wsl_ctl_cell(table, "%s", nodes);
}

static void add_job(struct wsl_ctl_table *table, const Wsl__V1__Job *job, bool is_wide)
{
    int64_t now = wsl_clock_wall_ms();
    char text[WSL_CTL_TEXT];

    wsl_ctl_cell(table, "%llu", (unsigned long long)job->id);
    wsl_ctl_cell(table, "%s", wsl_ctl_job_name(job));
    wsl_ctl_word(&wsl__v1__job_kind__descriptor, job->spec ? (int)job->spec->kind : 0, text);
    wsl_ctl_cell(table, "%s", text);
    wsl_ctl_word(&wsl__v1__job_state__descriptor, (int)job->state, text);
    wsl_ctl_cell(table, "%s", text);
    add_progress_cells(table, job, is_wide);
    if (is_wide) {
        wsl_ctl_cell(table, "%u", job->spec && job->spec->world ? job->spec->world : 1);
        wsl_ctl_cell(table, "%u", job->restarts);
    }
    wsl_ctl_between(job->submitted_ms, now, text);
    wsl_ctl_cell(table, "%s", text);
    if (is_wide) {
        wsl_ctl_between(job->started_ms, job->ended_ms ? job->ended_ms : now, text);
        wsl_ctl_cell(table, "%s", text);
        add_nodes_cell(table, job);
    }
    wsl_ctl_cell(table, "%s%s",
                 job->cancel_requested && !wsl_ctl_job_ended(job) ? "stopping; " : "", job->reason);
}

static int put_names(Wsl__V1__Job *const *jobs, size_t count)
{
    struct wsl_buf out = {0};
    int r = 0;

    for (size_t i = 0; i < count && r == 0; i++)
        r = wsl_buf_add_format(&out, "%s\n", wsl_ctl_job_name(jobs[i]));
    return wsl_ctl_put(&out, r, WSL_CTL_DONE);
}

static int put_ids(Wsl__V1__Job *const *jobs, size_t count)
{
    struct wsl_buf out = {0};
    int r = 0;

    for (size_t i = 0; i < count && r == 0; i++)
        r = wsl_buf_add_format(&out, "%llu\n", (unsigned long long)jobs[i]->id);
    return wsl_ctl_put(&out, r, WSL_CTL_DONE);
}

static int put_yaml(Wsl__V1__Job *const *jobs, size_t count)
{
    struct wsl_buf out = {0};
    int r = 0;

    for (size_t i = 0; i < count && r == 0; i++) {
        if (i > 0)
            r = wsl_buf_add_text(&out, "---\n");
        if (r == 0 && jobs[i]->spec)
            r = wsl_jobspec_print(jobs[i]->spec, &out);
    }
    return wsl_ctl_put(&out, r, WSL_CTL_DONE);
}

static int put_json(const struct wsl_ctl *ctl, Wsl__V1__Job *const *jobs, size_t count)
{
    json_t *list = json_array();

    for (size_t i = 0; i < count && list; i++)
        if (json_array_append_new(list, wsl_ctl_json_job(jobs[i])) < 0) {
            json_decref(list);
            list = NULL;
        }
    return wsl_ctl_put_json_list(ctl, "jobs", "job", list, WSL_CTL_DONE);
}

int wsl_ctl_put_jobs(struct wsl_ctl *ctl, Wsl__V1__Job *const *jobs, size_t count)
{
    bool is_wide = ctl->format == WSL_CTL_WIDE;
    struct wsl_ctl_table table = {.columns = is_wide ? wide : narrow,
                                  .column_count = is_wide ? (int)(sizeof wide / sizeof wide[0])
                                                          : (int)(sizeof narrow / sizeof narrow[0]),
                                  .fit = is_wide ? NULL : narrow_fit,
                                  .width = wsl_ctl_table_width(ctl),
                                  .color = wsl_ctl_color(ctl)};

    if (ctl->format == WSL_CTL_JSON || ctl->format == WSL_CTL_NDJSON)
        return put_json(ctl, jobs, count);
    if (ctl->format == WSL_CTL_NAME)
        return put_names(jobs, count);
    if (ctl->format == WSL_CTL_YAML)
        return put_yaml(jobs, count);
    if (ctl->quiet)
        return put_ids(jobs, count);
    for (size_t i = 0; i < count; i++)
        add_job(&table, jobs[i], is_wide);
    return wsl_ctl_put_table(&table, WSL_CTL_DONE);
}

/* ---- list ---- */

static int unknown_state(struct wsl_ctl *ctl, const char *word)
{
    const ProtobufCEnumDescriptor *type = &wsl__v1__job_state__descriptor;
    char known[WSL_CTL_TEXT], best_word[WSL_CTL_TEXT], all[200] = "";
    const char *best = NULL;
    size_t distance = SIZE_MAX;

    for (unsigned i = 0; i < type->n_values; i++) {
        size_t before = distance;

        wsl_ctl_word(type, type->values[i].value, known);
        if (strcmp(known, "-") == 0)
            continue;
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", all[0] ? ", " : "", known);
        wsl_suggest_try(word, known, &best, &distance);
        if (distance < before)
            strcpy(best_word, known);
    }
    if (best)
        return wsl_ctl_usage(ctl, "--state: unknown state '%s' (did you mean '%s'?)", word,
                             best_word);
    return wsl_ctl_usage(ctl, "--state: unknown state '%s': must be some of %s", word, all);
}

/* "queued,running" into states; what is no state is a usage error. */
static int parse_states(struct wsl_ctl *ctl, const char *text, Wsl__V1__JobState *states,
                        size_t *ret_count)
{
    const ProtobufCEnumDescriptor *type = &wsl__v1__job_state__descriptor;
    size_t count = 0;

    while (*text) {
        size_t n = strcspn(text, ",");
        char word[32];
        int state;

        snprintf(word, sizeof word, "%.*s", (int)n, text);
        state = wsl_ctl_word_number(type, word);
        if (state < 0)
            return unknown_state(ctl, word);
        if (count == type->n_values)
            return wsl_ctl_usage(ctl, "--state: more states than there are");
        states[count++] = (Wsl__V1__JobState)state;
        text += n + (text[n] == ',');
    }
    *ret_count = count;
    return 0;
}

int wsl_ctl_list(struct wsl_ctl *ctl, int argc, char **argv)
{
    Wsl__V1__ListJobsRequest request = WSL__V1__LIST_JOBS_REQUEST__INIT;
    Wsl__V1__JobState states[16];
    Wsl__V1__ListJobsResponse *response;
    ProtobufCMessage *answer = NULL;
    const char *words = "";
    uint64_t limit = 100, before = 0;
    struct wsl_err err = {0};
    int code;
    const struct wsl_arg rows[] = {
        {"state", 's', WSL_ARG_TEXT, &words, 0, 0, "STATES",
         "only jobs in these states, e.g. queued,running (default: all)"},
        {"limit", 'n', WSL_ARG_UINT, &limit, 1, 1000, "N", "at most N jobs (default: 100)"},
        {"before", 0, WSL_ARG_UINT, &before, 0, 0, "ID",
         "only jobs with a lower id: the next page"},
    };

    if (!wsl_ctl_parse(ctl, rows, 3, argc, argv))
        return ctl->exit_code;
    code = parse_states(ctl, words, states, &request.n_states);
    if (code != 0)
        return code;
    request.states = states;
    request.limit = (uint32_t)limit;
    request.before_id = before;
    if (wsl_ctl_call(ctl, "/wsl.v1.JobService/List", &request.base,
                     &wsl__v1__list_jobs_response__descriptor, &answer, &err) < 0)
        return wsl_ctl_fail(ctl, &err);
    response = (Wsl__V1__ListJobsResponse *)answer;
    if (response->n_jobs == 0 && words[0])
        wsl_ctl_note(ctl, "no jobs are %s", words);
    else if (response->n_jobs == 0)
        wsl_ctl_note(ctl, before ? "no older jobs" : "no jobs; 'wslctl submit FILE' submits one");
    code = response->n_jobs || ctl->format == WSL_CTL_JSON
               ? wsl_ctl_put_jobs(ctl, response->jobs, response->n_jobs)
               : WSL_CTL_DONE;
    if (response->n_jobs == limit)
        wsl_ctl_note(ctl, "there may be more; '--before %llu' lists the next page",
                     (unsigned long long)response->jobs[limit - 1]->id);
    protobuf_c_message_free_unpacked(answer, NULL);
    return code;
}

/* ---- get ---- */

int wsl_ctl_get(struct wsl_ctl *ctl, int argc, char **argv)
{
    Wsl__V1__GetJobResponse **answers;
    Wsl__V1__Job **jobs;
    struct wsl_err err = {0};
    size_t count = 0;
    int code = WSL_CTL_DONE;

    if (!wsl_ctl_parse(ctl, NULL, 0, argc, argv))
        return ctl->exit_code;
    answers = calloc((size_t)ctl->word_count, sizeof(*answers));
    jobs = calloc((size_t)ctl->word_count, sizeof(*jobs));
    for (int i = 0; i < ctl->word_count && answers && jobs; i++) {
        if (wsl_ctl_get_job(ctl, ctl->words[i], &answers[count], &err) < 0) {
            code = wsl_ctl_fail_job(ctl, ctl->words[i], &err);
            if (code == WSL_CTL_UNREACHABLE)
                break;
            continue;
        }
        jobs[count] = answers[count]->job;
        count++;
    }
    if (count > 0 && answers && jobs) {
        int put = wsl_ctl_put_jobs(ctl, jobs, count);

        code = code ? code : put;
    }
    for (size_t i = 0; i < count && answers; i++)
        wsl__v1__get_job_response__free_unpacked(answers[i], NULL);
    free(answers);
    free(jobs);
    return code;
}

/* ---- cancel ---- */

static void say_cancelled(const struct wsl_ctl *ctl, const Wsl__V1__Job *job)
{
    char title[128], state[WSL_CTL_TEXT];

    wsl_ctl_job_title(job, title, sizeof title);
    wsl_ctl_word(&wsl__v1__job_state__descriptor, (int)job->state, state);
    if (job->state == WSL__V1__JOB_STATE__CANCELLED)
        wsl_ctl_note(ctl, "job %s is cancelled", title);
    else if (wsl_ctl_job_ended(job))
        wsl_ctl_note(ctl, "job %s had already ended: %s", title, state);
    else
        wsl_ctl_note(ctl, "job %s stops at its next step; 'wslctl wait %llu' waits for that", title,
                     (unsigned long long)job->id);
}

/* Free the answer with protobuf_c_message_free_unpacked(). */
static int cancel_one(struct wsl_ctl *ctl, const char *job, const char *reason,
                      Wsl__V1__CancelJobResponse **ret)
{
    Wsl__V1__CancelJobRequest request = WSL__V1__CANCEL_JOB_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    struct wsl_err err = {0};

    request.job = (char *)job;
    request.reason = (char *)reason;
    if (wsl_ctl_call(ctl, "/wsl.v1.JobService/Cancel", &request.base,
                     &wsl__v1__cancel_job_response__descriptor, &answer, &err) < 0)
        return wsl_ctl_fail_job(ctl, job, &err);
    *ret = (Wsl__V1__CancelJobResponse *)answer;
    return WSL_CTL_DONE;
}

int wsl_ctl_cancel(struct wsl_ctl *ctl, int argc, char **argv)
{
    const char *reason = "";
    Wsl__V1__CancelJobResponse **answers;
    Wsl__V1__Job **jobs;
    size_t count = 0;
    int code = WSL_CTL_DONE;
    const struct wsl_arg rows[] = {
        {"reason", 0, WSL_ARG_TEXT, &reason, 0, 0, "TEXT",
         "why the jobs are cancelled; kept in their events"},
    };

    if (!wsl_ctl_parse(ctl, rows, 1, argc, argv))
        return ctl->exit_code;
    answers = calloc((size_t)ctl->word_count, sizeof *answers);
    jobs = calloc((size_t)ctl->word_count, sizeof *jobs);
    for (int i = 0; i < ctl->word_count && answers && jobs && code != WSL_CTL_UNREACHABLE; i++) {
        int one = cancel_one(ctl, ctl->words[i], reason, &answers[i]);

        code = one ? one : code;
        if (one != WSL_CTL_DONE || !answers[i]->job)
            continue;
        jobs[count++] = answers[i]->job;
        say_cancelled(ctl, answers[i]->job);
    }
    if (count > 0 && ctl->format != WSL_CTL_TABLE) {
        int put = wsl_ctl_put_jobs(ctl, jobs, count);

        code = code ? code : put;
    }
    for (int i = 0; i < ctl->word_count && answers; i++)
        if (answers[i])
            wsl__v1__cancel_job_response__free_unpacked(answers[i], NULL);
    free(answers);
    free(jobs);
    return code;
}
