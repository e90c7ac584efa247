/* SPDX-License-Identifier: Apache-2.0
 *
 * submit: from a job file to an accepted job.
 */
#include "client/wslctl/wslctl.h"

#include "base/file.h"
#include "proto/jobspec.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
        return wsl_fail_errno(err, "cannot read standard input");
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

/* The workers do not stand in the user's folder: "data/x" becomes "/home/me/data/x". */
static int make_absolute(char **path, struct wsl_err *err)
{
    char folder[PATH_MAX], *whole = NULL;

    if (!getcwd(folder, sizeof folder))
        return wsl_fail_errno(err, "cannot tell the current folder, which %s starts from", *path);
    if (asprintf(&whole, "%s/%s", (*path)[0] == '/' ? "" : folder, *path) < 0)
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

int wsl_ctl_load_job(const char *file, const struct wsl_arg_list *sets, Wsl__V1__JobSpec **ret)
{
    struct wsl_jobspec_source source = {.file = strcmp(file, "-") == 0 ? "(stdin)" : file,
                                        .sets = sets->items,
                                        .set_count = (size_t)sets->count,
                                        .report = report};
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

static void note_data(const struct wsl_ctl *ctl, const Wsl__V1__JobSpec *spec)
{
    char path[PATH_MAX];

    if (wsl_file_join(path, sizeof path, spec->data, "dataset.json") == 0 && !wsl_file_exists(path))
        wsl_ctl_note(ctl, "note: %s is not on this machine; every worker needs it there", path);
}

static int put_accepted(struct wsl_ctl *ctl, Wsl__V1__Job *job)
{
    struct wsl_buf out = {0};
    int r;

    if (ctl->format != WSL_CTL_TABLE)
        return wsl_ctl_put_jobs(ctl, &job, 1, "job");
    if (ctl->quiet) {
        r = wsl_buf_add_format(&out, "%llu\n", (unsigned long long)job->id);
    } else {
        r = wsl_buf_add_format(&out, "job %llu submitted: %s\n", (unsigned long long)job->id,
                               job->spec ? job->spec->name : "");
        if (job->reason[0])
            wsl_ctl_note(ctl, "it is queued: %s", job->reason);
        wsl_ctl_note(ctl, "follow it with 'wslctl watch %llu'", (unsigned long long)job->id);
    }
    return wsl_ctl_put(&out, r, WSL_CTL_DONE);
}

/* The job as it would run, every default filled in. */
static int put_dry(struct wsl_ctl *ctl, Wsl__V1__JobSpec *spec)
{
    Wsl__V1__Job job = WSL__V1__JOB__INIT;
    Wsl__V1__Job *jobs[] = {&job};

    if (wsl_jobspec_fill(spec, NULL) < 0) {
        wsl_ctl_say("no memory for the job");
        return WSL_CTL_FAILED;
    }
    job.spec = spec;
    if (ctl->quiet)
        return WSL_CTL_DONE;
    if (ctl->format == WSL_CTL_TABLE)
        ctl->format = WSL_CTL_YAML;
    return wsl_ctl_put_jobs(ctl, jobs, 1, "job");
}

static int send(struct wsl_ctl *ctl, Wsl__V1__JobSpec *spec, bool dry_run)
{
    Wsl__V1__SubmitRequest request = WSL__V1__SUBMIT_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    Wsl__V1__Job *job;
    struct wsl_err err = {0};
    int code;

    request.spec = spec;
    request.dry_run = dry_run;
    if (wsl_ctl_call(ctl, "/wsl.v1.JobService/Submit", &request.base,
                     &wsl__v1__submit_response__descriptor, &answer, &err) < 0) {
        if (dry_run && (err.code == WSL_EUNAVAILABLE || err.code == WSL_ETIMEOUT)) {
            wsl_ctl_note(ctl, "note: checked here only; no coordinator answers at %s", ctl->server);
            return WSL_CTL_DONE;
        }
        return wsl_ctl_fail(ctl, &err);
    }
    job = ((Wsl__V1__SubmitResponse *)answer)->job;
    if (dry_run)
        code = WSL_CTL_DONE;
    else if (job)
        code = put_accepted(ctl, job);
    else
        code = WSL_CTL_FAILED;
    if (dry_run && job && job->reason[0])
        wsl_ctl_note(ctl, "it would wait: %s", job->reason);
    protobuf_c_message_free_unpacked(answer, NULL);
    return code;
}

int wsl_ctl_submit(struct wsl_ctl *ctl, int argc, char **argv)
{
    const char *file = NULL;
    struct wsl_arg_list sets = {0};
    bool dry_run = false;
    Wsl__V1__JobSpec *spec = NULL;
    int code;
    const struct wsl_arg rows[] = {
        {"file", 'f', WSL_ARG_TEXT, &file, 0, 0, "FILE", "the job file; - is standard input"},
        {"set", 0, WSL_ARG_LIST, &sets, 0, 0, "KEY=VALUE",
         "in the place of what the file says; may be given many times"},
        {"dry-run", 0, WSL_ARG_FLAG, &dry_run, 0, 0, NULL,
         "check everything, submit nothing, print the job with its defaults"},
    };

    if (!wsl_ctl_parse(ctl, rows, 3, argc, argv))
        return ctl->exit_code;
    if (!file)
        return wsl_ctl_usage(ctl, "submit needs -f FILE");
    code = wsl_ctl_load_job(file, &sets, &spec);
    if (code == WSL_CTL_DONE)
        note_data(ctl, spec);
    if (code == WSL_CTL_DONE)
        code = send(ctl, spec, dry_run);
    if (code == WSL_CTL_DONE && dry_run)
        code = put_dry(ctl, spec);
    if (spec)
        wsl__v1__job_spec__free_unpacked(spec, NULL);
    return code;
}
