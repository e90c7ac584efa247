/* SPDX-License-Identifier: Apache-2.0
 *
 * submit: from job files to accepted jobs.
 */
#include "client/wslctl/wslctl.h"

#include "base/file.h"
#include "proto/jobspec/yaml/load.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILES_MAX = 64 };

static int read_input(const char *file, struct wsl_buf *text, struct wsl_err *err)
{
    char piece[4096];
    size_t n;

    if (strcmp(file, "-") != 0)
        return wsl_file_read(file, WSL_JOBSPEC_FILE_MAX, text, err);
    while ((n = fread(piece, 1, sizeof piece, stdin)) > 0) {
        if (text->size + n > WSL_JOBSPEC_FILE_MAX)
            return wsl_fail(err, WSL_ELIMIT, "standard input is larger than the %d bytes allowed",
                            WSL_JOBSPEC_FILE_MAX);
        if (wsl_buf_add(text, piece, n) < 0)
            return wsl_fail(err, WSL_ENOMEM, "no memory for the job file");
    }
    if (ferror(stdin))
        return errno == EBADF ? wsl_fail(err, WSL_EINVAL, "standard input is closed")
                              : wsl_fail_errno(err, "cannot read standard input");
    return 0;
}

/* Takes "." and ".." and doubled slashes out of an absolute path, without looking at the disk. */
static void tidy(char *path)
{
    char *to = path, *from = path;

    while (*from) {
        size_t n;

        while (*from == '/')
            from++;
        n = strcspn(from, "/");
        if (n == 2 && from[0] == '.' && from[1] == '.') {
            while (to > path && *--to != '/')
                ;
        } else if (n > 0 && !(n == 1 && from[0] == '.')) {
            *to++ = '/';
            memmove(to, from, n);
            to += n;
        }
        from += n;
    }
    if (to == path)
        *to++ = '/';
    *to = '\0';
}

/* The workers do not run in the user's directory: "data/x" becomes "/home/me/data/x". */
static int make_absolute(char **path, struct wsl_err *err)
{
    char directory[PATH_MAX], *whole = NULL;

    if (!getcwd(directory, sizeof directory))
        return wsl_fail_errno(err, "cannot tell the current directory, which %s starts from",
                              *path);
    if (asprintf(&whole, "%s/%s", (*path)[0] == '/' ? "" : directory, *path) < 0)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a path");
    tidy(whole);
    free(*path);
    *path = whole;
    return 0;
}

static int make_paths_absolute(Wsl__V1__JobSpec *spec, struct wsl_err *err)
{
    int r = make_absolute(&spec->data, err);

    if (r == 0 && spec->init && spec->init->from_case == WSL__V1__INIT__FROM_CHECKPOINT)
        r = make_absolute(&spec->init->checkpoint, err);
    /* A path may have grown past its limit. */
    return r < 0 ? r : wsl_jobspec_check(spec, err);
}

static void report(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

static void note(void *context, const char *line)
{
    (void)context;
    wsl_ctl_say("note: %s", line);
}

int wsl_ctl_load_job(const char *file, const struct wsl_arg_list *sets, Wsl__V1__JobSpec **ret)
{
    struct wsl_jobspec_source source = {.file = strcmp(file, "-") == 0 ? "(stdin)" : file,
                                        .sets = sets->items,
                                        .set_count = (size_t)sets->count,
                                        .report = report,
                                        .note = note};
    struct wsl_buf text = {0};
    struct wsl_err err = {0};
    int r = read_input(file, &text, &err);

    if (r == 0) {
        source.text = text.data ? (const char *)text.data : "";
        source.size = text.size;
        r = wsl_jobspec_load(&source, ret, &err);
        if (r == 0)
            r = make_paths_absolute(*ret, &err);
        else if (r == WSL_EINVAL)
            err.text[0] = '\0'; /* every line of it has been said */
    }
    wsl_buf_free(&text);
    if (r < 0 && err.text[0])
        wsl_ctl_say("%s", err.text);
    return r < 0 ? WSL_CTL_USAGE : WSL_CTL_DONE;
}

/* ---- the verb ---- */

/* The job files of one command line; of a dry run the jobs are the files', with every default. */
struct batch {
    const char *files[FILES_MAX];
    Wsl__V1__JobSpec *specs[FILES_MAX];
    Wsl__V1__SubmitResponse *answers[FILES_MAX];
    int count;
    bool dry_run, no_data_check;
};

/* -f FILE and plain arguments mean the same. */
static int collect_files(struct wsl_ctl *ctl, const struct wsl_arg_list *given, struct batch *b)
{
    int input = 0;

    if (given->count + ctl->word_count == 0)
        return wsl_ctl_usage(ctl, "submit needs a job FILE; '-' is standard input");
    if (given->count + ctl->word_count > FILES_MAX)
        return wsl_ctl_usage(ctl, "submit takes at most %d job files", FILES_MAX);
    for (int i = 0; i < given->count; i++)
        b->files[b->count++] = given->items[i];
    for (int i = 0; i < ctl->word_count; i++)
        b->files[b->count++] = ctl->words[i];
    for (int i = 0; i < b->count; i++) {
        input += strcmp(b->files[i], "-") == 0;
        if (strchr(b->files[i], '=') && !wsl_file_exists(b->files[i]))
            return wsl_ctl_usage(ctl, "unexpected argument '%s' (did you mean '--set %s'?)",
                                 b->files[i], b->files[i]);
    }
    return input > 1 ? wsl_ctl_usage(ctl, "standard input (-) can be read once only")
                     : WSL_CTL_DONE;
}

/* All files are read before the first job is submitted: a mistake in one submits none. */
static int load_all(struct batch *b, const struct wsl_arg_list *sets)
{
    int code = WSL_CTL_DONE;

    for (int i = 0; i < b->count; i++) {
        int one = wsl_ctl_load_job(b->files[i], sets, &b->specs[i]);

        code = code ? code : one;
    }
    if (code != WSL_CTL_DONE && b->count > 1)
        wsl_ctl_say("nothing was submitted");
    return code;
}

/* One that is refused; of several files, which. */
static int refused(struct wsl_ctl *ctl, const struct batch *b, int i, struct wsl_err *err)
{
    if (b->count > 1 && !wsl_ctl_is_absent(err))
        wsl_err_prefix(err, "%s", b->files[i]);
    return wsl_ctl_fail(ctl, err);
}

static int send(struct wsl_ctl *ctl, const struct batch *b, int i, Wsl__V1__SubmitResponse **ret)
{
    Wsl__V1__SubmitRequest request = WSL__V1__SUBMIT_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    struct wsl_err err = {0};

    request.spec = b->specs[i];
    request.dry_run = b->dry_run;
    request.no_data_check = b->no_data_check;
    if (wsl_ctl_call(ctl, "/wsl.v1.JobService/Submit", &request.base,
                     &wsl__v1__submit_response__descriptor, &answer, &err) < 0) {
        if (b->dry_run && wsl_ctl_is_absent(&err)) {
            wsl_ctl_note(ctl, "note: checked here only; no coordinator answers at %s", ctl->server);
            return WSL_CTL_DONE;
        }
        return refused(ctl, b, i, &err);
    }
    *ret = (Wsl__V1__SubmitResponse *)answer;
    return (*ret)->job ? WSL_CTL_DONE : WSL_CTL_FAILED;
}

/* What to know about an accepted job, or one that a dry run would have had accepted. */
static void note_job(const struct wsl_ctl *ctl, const Wsl__V1__SubmitResponse *answer, bool dry_run)
{
    const Wsl__V1__Job *job = answer->job;

    if (answer->note[0])
        wsl_ctl_note(ctl, "note: %s", answer->note);
    if (dry_run && job->reason[0])
        wsl_ctl_note(ctl, "it would be accepted: %s", job->reason);
    if (dry_run || ctl->format != WSL_CTL_TABLE)
        return;
    if (job->reason[0])
        wsl_ctl_note(ctl, "it is queued: %s", job->reason);
    wsl_ctl_note(ctl, "follow it with 'wslctl watch %llu'", (unsigned long long)job->id);
}

/* Of one that was accepted, or would have been. */
static int put_answer(struct wsl_ctl *ctl, const struct batch *b, int i)
{
    const Wsl__V1__Job *job = b->answers[i] ? b->answers[i]->job : NULL;
    struct wsl_buf out = {0};
    int code = WSL_CTL_DONE, r;

    if (!job)
        return code;
    if (!b->dry_run && ctl->format == WSL_CTL_TABLE) { /* at once: the job is durable */
        r = ctl->quiet ? wsl_buf_add_format(&out, "%llu\n", (unsigned long long)job->id)
                       : wsl_buf_add_format(&out, "job %llu submitted: %s\n",
                                            (unsigned long long)job->id, b->specs[i]->name);
        code = wsl_ctl_put(&out, r, WSL_CTL_DONE);
    }
    note_job(ctl, b->answers[i], b->dry_run);
    return code;
}

/* In order, until the coordinator is not there any more; a job that it refuses stops no other. */
static int send_each(struct wsl_ctl *ctl, struct batch *b)
{
    int code = WSL_CTL_DONE, one = WSL_CTL_DONE;

    for (int i = 0; i < b->count && one != WSL_CTL_UNREACHABLE; i++) {
        one = send(ctl, b, i, &b->answers[i]);
        if (one == WSL_CTL_DONE)
            one = put_answer(ctl, b, i);
        code = code ? code : one;
    }
    return code;
}

/* ---- several at once ---- */

/* A dry run submits nothing, and a job that starts from another of these needs it accepted first. */
static bool fits_one_request(const struct batch *b)
{
    for (int i = 0; i < b->count; i++) {
        const Wsl__V1__Init *init = b->specs[i]->init;

        for (int k = 0; k < b->count; k++)
            if (init && init->from_case == WSL__V1__INIT__FROM_JOB &&
                strcmp(init->job, b->specs[k]->name) == 0)
                return false;
    }
    return b->count > 1 && !b->dry_run;
}

/* The job as it is now, as Submit would have answered; only its id when it cannot be asked for. */
static Wsl__V1__SubmitResponse *answer_of(struct wsl_ctl *ctl, const Wsl__V1__SubmitResult *result)
{
    Wsl__V1__SubmitResponse *answer = calloc(1, sizeof *answer);
    Wsl__V1__GetJobResponse *got = NULL;
    char id[24];

    if (!answer)
        abort();
    wsl__v1__submit_response__init(answer);
    snprintf(id, sizeof id, "%llu", (unsigned long long)result->id);
    if (wsl_ctl_get_job(ctl, id, &got, NULL) == 0 && got->job->id == result->id) {
        answer->job = got->job;
        got->job = NULL;
    } else {
        answer->job = calloc(1, sizeof *answer->job);
        if (!answer->job)
            abort();
        wsl__v1__job__init(answer->job);
        answer->job->id = result->id;
    }
    if (got)
        wsl__v1__get_job_response__free_unpacked(got, NULL);
    if (result->note[0])
        answer->note = strdup(result->note);
    if (!answer->note)
        abort();
    return answer;
}

static int take_results(struct wsl_ctl *ctl, struct batch *b,
                        const Wsl__V1__SubmitBatchResponse *response)
{
    int code = WSL_CTL_DONE;

    if (response->n_results != (size_t)b->count) {
        wsl_ctl_say("the coordinator answered for %zu of %d jobs; is it of another version?",
                    response->n_results, b->count);
        return WSL_CTL_FAILED;
    }
    for (int i = 0; i < b->count; i++) {
        const Wsl__V1__SubmitResult *result = response->results[i];
        struct wsl_err err = {0};
        int one;

        if (result->id) {
            b->answers[i] = answer_of(ctl, result);
            one = put_answer(ctl, b, i);
        } else {
            wsl_fail(&err, WSL_EINVAL, "%s", result->error);
            one = refused(ctl, b, i, &err);
        }
        code = code ? code : one;
    }
    return code;
}

/* In one request, so that those that are accepted are durable together. *ret_unknown: the
 * coordinator is too old for that, and nothing was submitted. */
static int send_together(struct wsl_ctl *ctl, struct batch *b, bool *ret_unknown)
{
    const struct wsl_client_method method = {"/wsl.v1.JobService/SubmitBatch",
                                             &wsl__v1__submit_batch_response__descriptor};
    Wsl__V1__SubmitBatchRequest request = WSL__V1__SUBMIT_BATCH_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    struct wsl_err err = {0};
    int code, r = wsl_ctl_connect(ctl, &err);

    *ret_unknown = false;
    request.specs = b->specs;
    request.n_specs = (size_t)b->count;
    request.no_data_check = b->no_data_check;
    if (r == 0)
        r = wsl_client_call(ctl->client, &method, &request.base, 0, &answer, &err);
    *ret_unknown = r == WSL_EUNSUPPORTED;
    if (r < 0) {
        if (r == WSL_ETIMEOUT) /* the deadline of a call is not one that the user set */
            err.code = WSL_EPEER;
        return *ret_unknown ? WSL_CTL_DONE : wsl_ctl_fail(ctl, &err);
    }
    code = take_results(ctl, b, (const Wsl__V1__SubmitBatchResponse *)answer);
    protobuf_c_message_free_unpacked(answer, NULL);
    return code;
}

static int send_all(struct wsl_ctl *ctl, struct batch *b)
{
    bool unknown = true;
    int code = WSL_CTL_DONE;

    if (fits_one_request(b))
        code = send_together(ctl, b, &unknown);
    return unknown ? send_each(ctl, b) : code;
}

/* ---- printing ---- */

static int put_accepted(struct wsl_ctl *ctl, const struct batch *b)
{
    Wsl__V1__Job *jobs[FILES_MAX];
    size_t count = 0;

    for (int i = 0; i < b->count; i++)
        if (b->answers[i] && b->answers[i]->job)
            jobs[count++] = b->answers[i]->job;
    return ctl->format == WSL_CTL_TABLE || count == 0 ? WSL_CTL_DONE
                                                      : wsl_ctl_put_jobs(ctl, jobs, count);
}

/* The jobs as they would run, every default filled in. */
static int put_dry(struct wsl_ctl *ctl, const struct batch *b)
{
    Wsl__V1__Job jobs[FILES_MAX], *list[FILES_MAX];

    for (int i = 0; i < b->count; i++) {
        if (wsl_jobspec_fill(b->specs[i], NULL) < 0) {
            wsl_ctl_say("no memory for the job");
            return WSL_CTL_FAILED;
        }
        wsl__v1__job__init(&jobs[i]);
        jobs[i].spec = b->specs[i];
        list[i] = &jobs[i];
    }
    if (ctl->quiet)
        return WSL_CTL_DONE;
    if (ctl->format == WSL_CTL_TABLE)
        ctl->format = WSL_CTL_YAML;
    return wsl_ctl_put_jobs(ctl, list, (size_t)b->count);
}

int wsl_ctl_submit(struct wsl_ctl *ctl, int argc, char **argv)
{
    struct wsl_arg_list files = {0}, sets = {0};
    struct batch batch = {0};
    int code, put = WSL_CTL_DONE;
    const struct wsl_arg rows[] = {
        {"file", 'f', WSL_ARG_LIST, &files, 0, 0, "FILE",
         "a job file, as a plain argument is; may be repeated"},
        {"set", 0, WSL_ARG_LIST, &sets, 0, 0, "KEY=VALUE",
         "replaces what the file says; may be repeated"},
        {"dry-run", 0, WSL_ARG_FLAG, &batch.dry_run, 0, 0, NULL,
         "check everything, submit nothing, and print the job with its defaults"},
        {"no-data-check", 0, WSL_ARG_FLAG, &batch.no_data_check, 0, 0, NULL,
         "do not ask the workers whether they have data and init"},
    };

    if (!wsl_ctl_parse(ctl, rows, 4, argc, argv))
        return ctl->exit_code;
    code = collect_files(ctl, &files, &batch);
    if (code == WSL_CTL_DONE)
        code = load_all(&batch, &sets);
    if (code == WSL_CTL_DONE) {
        code = send_all(ctl, &batch);
        if (!batch.dry_run)
            put = put_accepted(ctl, &batch);
        else if (code == WSL_CTL_DONE)
            put = put_dry(ctl, &batch);
    }
    for (int i = 0; i < batch.count; i++) {
        if (batch.specs[i])
            wsl__v1__job_spec__free_unpacked(batch.specs[i], NULL);
        if (batch.answers[i])
            wsl__v1__submit_response__free_unpacked(batch.answers[i], NULL);
    }
    return code ? code : put;
}
