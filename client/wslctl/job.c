/* SPDX-License-Identifier: Apache-2.0
 *
 * One job: by name or id, its title, what its end means, and which was meant by a name that there
 * is not.
 */
#include "client/wslctl/wslctl.h"

#include "base/suggest.h"

#include <stdio.h>
#include <string.h>

enum { LOOKED_AT = 1000 };

int wsl_ctl_outcome(const Wsl__V1__Job *job)
{
    switch (job->state) {
    case WSL__V1__JOB_STATE__SUCCEEDED:
        return WSL_CTL_DONE;
    case WSL__V1__JOB_STATE__CANCELLED:
        return WSL_CTL_CANCELLED;
    default:
        return WSL_CTL_FAILED;
    }
}

const char *wsl_ctl_job_name(const Wsl__V1__Job *job)
{
    return job->spec && job->spec->name ? job->spec->name : "";
}

void wsl_ctl_job_title(const Wsl__V1__Job *job, char *text, size_t size)
{
    snprintf(text, size, "%llu (%s)", (unsigned long long)job->id, wsl_ctl_job_name(job));
}

int wsl_ctl_get_job(struct wsl_ctl *ctl, const char *word, Wsl__V1__GetJobResponse **ret,
                    struct wsl_err *err)
{
    Wsl__V1__GetJobRequest request = WSL__V1__GET_JOB_REQUEST__INIT;
    ProtobufCMessage *answer = NULL;
    int r;

    request.job = (char *)word;
    r = wsl_ctl_call(ctl, "/wsl.v1.JobService/Get", &request.base,
                     &wsl__v1__get_job_response__descriptor, &answer, err);
    if (r < 0)
        return r;
    *ret = (Wsl__V1__GetJobResponse *)answer;
    if ((*ret)->job)
        return 0;
    protobuf_c_message_free_unpacked(answer, NULL);
    return wsl_fail(err, WSL_ECORRUPT,
                    "the coordinator answered without a job; is it of another version?");
}

/* The nearest name of those that there are, by a question of its own; false: none is near. */
static bool nearest_name(struct wsl_ctl *ctl, const char *word, char *name, size_t size)
{
    Wsl__V1__ListJobsRequest request = WSL__V1__LIST_JOBS_REQUEST__INIT;
    Wsl__V1__ListJobsResponse *response;
    ProtobufCMessage *answer = NULL;
    const char *best = NULL;
    size_t distance = SIZE_MAX;

    request.limit = LOOKED_AT;
    if (wsl_ctl_call(ctl, "/wsl.v1.JobService/List", &request.base,
                     &wsl__v1__list_jobs_response__descriptor, &answer, NULL) < 0)
        return false;
    response = (Wsl__V1__ListJobsResponse *)answer;
    for (size_t i = 0; i < response->n_jobs; i++)
        wsl_suggest_try(word, wsl_ctl_job_name(response->jobs[i]), &best, &distance);
    if (best)
        snprintf(name, size, "%s", best);
    protobuf_c_message_free_unpacked(answer, NULL);
    return best != NULL;
}

int wsl_ctl_fail_job(struct wsl_ctl *ctl, const char *word, const struct wsl_err *err)
{
    char name[128];

    if (err->code != WSL_ENOENT)
        return wsl_ctl_fail(ctl, err);
    if (nearest_name(ctl, word, name, sizeof name))
        wsl_ctl_say("%s (did you mean '%s'?)", err->text, name);
    else
        wsl_ctl_say("%s; 'wslctl list' shows those there are", err->text);
    return WSL_CTL_FAILED;
}
