/* SPDX-License-Identifier: Apache-2.0
 *
 * The unary calls of JobService and NodeService.
 */
#include "base/log.h"
#include "daemon/coordinator/coordinator.h"
#include "proto/jobspec/jobspec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An answer that waits for the disk; the call may end before. */
struct pending {
    struct wsl_coordinator *co;
    struct wsl_rpc_call *call; /* NULL: it has ended */
    uint64_t job;
    Wsl__V1__JobSpec *spec; /* of a submission whose data is being checked */
    bool owns_spec, dry_run;
    char note[DATA_NOTE];
};

void wsl_jobs_on_closed(struct wsl_rpc_call *call, void *context)
{
    struct pending *pending = wsl_rpc_call_data(call);

    (void)context;
    if (pending)
        pending->call = NULL;
}

static struct pending *wait_for_disk(struct wsl_coordinator *co, struct wsl_rpc_call *call,
                                     uint64_t job)
{
    struct pending *p = calloc(1, sizeof *p);

    if (!p)
        abort();
    *p = (struct pending){.co = co, .call = call, .job = job};
    wsl_rpc_call_set_data(call, p);
    return p;
}

/* The pending answer is over: the call forgets it. */
static struct wsl_rpc_call *take_call(struct pending *p)
{
    struct wsl_rpc_call *call = p->call;

    if (call)
        wsl_rpc_call_set_data(call, NULL);
    free(p);
    return call;
}

static const Wsl__V1__Job *need_job(struct wsl_coordinator *co, struct wsl_rpc_call *call,
                                    const char *name)
{
    const Wsl__V1__Job *job = NULL;
    char text[300];

    if (!name[0]) {
        wsl_rpc_finish(call, WSL_RPC_INVALID_ARGUMENT, "job: must be a name or an id, is empty");
        return NULL;
    }
    job = wsl_cluster_find(co->cluster, name);
    if (!job) {
        snprintf(text, sizeof text, "there is no job '%.100s'", name);
        wsl_rpc_finish(call, WSL_RPC_NOT_FOUND, text);
    }
    return job;
}

/* ---- submit ---- */

static struct wsl_rpc_call *take_submission(struct pending *p)
{
    if (p->owns_spec)
        wsl__v1__job_spec__free_unpacked(p->spec, NULL);
    return take_call(p);
}

static void answer_submit(struct wsl_rpc_call *call, const Wsl__V1__Job *job, const char *note)
{
    Wsl__V1__SubmitResponse response = WSL__V1__SUBMIT_RESPONSE__INIT;

    response.job = (Wsl__V1__Job *)job;
    response.note = (char *)note;
    wsl_rpc_reply(call, &response.base);
}

static void on_submitted(void *context, const struct wsl_err *err)
{
    struct pending *p = context;
    struct wsl_coordinator *co = p->co;
    uint64_t id = p->job;

    if (err) {
        struct wsl_rpc_call *call = take_submission(p);

        wsl_cluster_withdraw(co->cluster, id);
        if (call)
            wsl_rpc_finish_err(call, err);
        return;
    }
    wsl_cluster_accept(co->cluster, id, co->now());
    if (p->call)
        answer_submit(p->call, wsl_cluster_job(co->cluster, id), p->note);
    take_submission(p);
    wsl_committer_commit(co);
}

static void answer_dry_run(struct pending *p)
{
    Wsl__V1__Job job = WSL__V1__JOB__INIT;
    uint32_t slots = 0;
    char reason[120];

    for (size_t i = 0; i < wsl_cluster_node_count(p->co->cluster); i++) {
        const Wsl__V1__Node *node = wsl_cluster_node_at(p->co->cluster, i);

        slots += node->state == WSL__V1__NODE_STATE__READY ? node->facts->slots : 0;
    }
    if (p->spec->world > slots)
        snprintf(reason, sizeof reason, "needs %u slot%s; the cluster has %u in all",
                 p->spec->world, p->spec->world == 1 ? "" : "s", slots);
    else
        snprintf(reason, sizeof reason, "needs %u of the cluster's %u slots", p->spec->world,
                 slots);
    job.spec = p->spec;
    job.reason = reason;
    job.state = WSL__V1__JOB_STATE__QUEUED;
    answer_submit(p->call, &job, p->note);
    take_submission(p);
}

/* Before the workers are asked: what can be told without them. */
static int check_spec(struct wsl_coordinator *co, Wsl__V1__JobSpec *spec, struct wsl_err *err)
{
    int r = wsl_jobspec_fill(spec, err);

    if (r == 0)
        r = wsl_jobspec_check(spec, err);
    return r < 0 ? r : wsl_cluster_check_submit(co->cluster, spec, err);
}

static void on_data_checked(void *context, const struct wsl_err *err, const char *note)
{
    struct pending *p = context;
    struct wsl_coordinator *co = p->co;
    struct wsl_err refused = {0};

    snprintf(p->note, sizeof p->note, "%s", note);
    if (!p->call) { /* nobody would hear of the job */
        take_submission(p);
        return;
    }
    if (err) {
        wsl_rpc_finish_err(take_submission(p), err);
        return;
    }
    if (p->dry_run) {
        answer_dry_run(p);
        return;
    }
    if (wsl_cluster_submit(co->cluster, p->spec, co->now(), &p->job, &refused) < 0)
        wsl_rpc_finish_err(take_submission(p), &refused);
    else
        wsl_committer_commit_then(co, COMMIT_ONCE, on_submitted, p);
}

/* The request goes when its handler returns: while workers are asked, a copy of it is needed. */
static void check_data(struct pending *p, const Wsl__V1__SubmitRequest *request)
{
    bool asks = !request->no_data_check && p->co->session_count > 0;

    p->owns_spec = asks;
    p->spec = asks ? wsl_jobspec_copy(request->spec) : request->spec;
    if (!p->spec)
        abort();
    if (request->no_data_check)
        on_data_checked(p, NULL, "");
    else
        wsl_data_check_start(p->co, p->spec, on_data_checked, p);
}

void wsl_jobs_on_submit(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    const Wsl__V1__SubmitRequest *request = (const void *)message;
    struct wsl_coordinator *co = context;
    struct wsl_err err = {0};
    struct pending *p;

    if (!request->spec) {
        wsl_rpc_finish(call, WSL_RPC_INVALID_ARGUMENT, "spec: is missing");
        return;
    }
    if (check_spec(co, request->spec, &err) < 0) {
        wsl_rpc_finish_err(call, &err);
        return;
    }
    p = wait_for_disk(co, call, 0);
    p->dry_run = request->dry_run;
    check_data(p, request);
}

/* ---- get, list ---- */

void wsl_jobs_on_get(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    const Wsl__V1__GetJobRequest *request = (const void *)message;
    struct wsl_coordinator *co = context;
    const Wsl__V1__Job *job = need_job(co, call, request->job);
    Wsl__V1__GetJobResponse response = WSL__V1__GET_JOB_RESPONSE__INIT;

    if (!job)
        return;
    response.job = (Wsl__V1__Job *)job;
    response.events =
        (Wsl__V1__Event **)wsl_cluster_events(co->cluster, job->id, &response.n_events);
    wsl_rpc_reply(call, &response.base);
}

/* False: there is no such state. */
static bool set_of_states(const Wsl__V1__ListJobsRequest *request, unsigned *ret)
{
    *ret = 0;
    for (size_t i = 0; i < request->n_states; i++) {
        if ((unsigned)request->states[i] > WSL__V1__JOB_STATE__CANCELLED)
            return false;
        *ret |= 1u << request->states[i];
    }
    return true;
}

void wsl_jobs_on_list(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    const Wsl__V1__ListJobsRequest *request = (const void *)message;
    struct wsl_coordinator *co = context;
    Wsl__V1__ListJobsResponse response = WSL__V1__LIST_JOBS_RESPONSE__INIT;
    Wsl__V1__Job *jobs[LIST_MAX];
    const Wsl__V1__Job *job;
    uint64_t before = request->before_id ? request->before_id : UINT64_MAX;
    size_t limit = request->limit ? request->limit : LIST_DEFAULT;
    unsigned states;

    if (limit > LIST_MAX) {
        wsl_rpc_finish(call, WSL_RPC_INVALID_ARGUMENT,
                       "limit: must be at most 1000; page with before_id");
        return;
    }
    if (!set_of_states(request, &states)) {
        wsl_rpc_finish(call, WSL_RPC_INVALID_ARGUMENT, "states: there is no such state");
        return;
    }
    response.jobs = jobs;
    while (response.n_jobs < limit &&
           (job = wsl_cluster_job_before(co->cluster, before, states)) != NULL) {
        jobs[response.n_jobs++] = (Wsl__V1__Job *)job;
        before = job->id;
    }
    wsl_rpc_reply(call, &response.base);
}

/* ---- cancel ---- */

static void on_cancelled(void *context, const struct wsl_err *err)
{
    struct pending *p = context;
    struct wsl_coordinator *co = p->co;
    const Wsl__V1__Job *job = wsl_cluster_job(co->cluster, p->job);
    struct wsl_rpc_call *call = take_call(p);
    Wsl__V1__CancelJobResponse response = WSL__V1__CANCEL_JOB_RESPONSE__INIT;

    if (!call)
        return;
    if (err || !job) {
        wsl_rpc_finish(call, err ? wsl_rpc_status_of(err->code) : WSL_RPC_NOT_FOUND,
                       err ? err->text : "the job was removed from the history");
        return;
    }
    response.job = (Wsl__V1__Job *)job;
    wsl_rpc_reply(call, &response.base);
}

void wsl_jobs_on_cancel(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    const Wsl__V1__CancelJobRequest *request = (const void *)message;
    struct wsl_coordinator *co = context;
    const Wsl__V1__Job *job = need_job(co, call, request->job);
    struct wsl_err err = {0};
    uint64_t id;

    if (!job)
        return;
    id = job->id;
    if (wsl_cluster_cancel(co->cluster, id, request->reason, co->now(), &err) < 0)
        wsl_rpc_finish_err(call, &err);
    else
        wsl_committer_commit_then(co, COMMIT_TELL, on_cancelled, wait_for_disk(co, call, id));
}

/* ---- nodes ---- */

void wsl_nodes_on_list(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    struct wsl_coordinator *co = context;
    Wsl__V1__ListNodesResponse response = WSL__V1__LIST_NODES_RESPONSE__INIT;
    size_t count = wsl_cluster_node_count(co->cluster);

    (void)message;
    response.nodes = calloc(count + 1, sizeof(*response.nodes));
    if (!response.nodes)
        abort();
    for (size_t i = 0; i < count; i++)
        response.nodes[response.n_nodes++] = (Wsl__V1__Node *)wsl_cluster_node_at(co->cluster, i);
    wsl_rpc_reply(call, &response.base);
    free(response.nodes);
}

void wsl_nodes_on_get(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    const Wsl__V1__GetNodeRequest *request = (const void *)message;
    struct wsl_coordinator *co = context;
    Wsl__V1__GetNodeResponse response = WSL__V1__GET_NODE_RESPONSE__INIT;
    char text[200];

    response.node = (Wsl__V1__Node *)wsl_cluster_node(co->cluster, request->name);
    if (response.node) {
        wsl_rpc_reply(call, &response.base);
        return;
    }
    snprintf(text, sizeof text, "there is no worker named '%.64s'", request->name);
    wsl_rpc_finish(call, request->name[0] ? WSL_RPC_NOT_FOUND : WSL_RPC_INVALID_ARGUMENT,
                   request->name[0] ? text : "name: is empty");
}

static void on_node_removed(void *context, const struct wsl_err *err)
{
    struct wsl_rpc_call *call = take_call(context);
    Wsl__V1__RemoveNodeResponse response = WSL__V1__REMOVE_NODE_RESPONSE__INIT;

    if (!call)
        return;
    if (err)
        wsl_rpc_finish_err(call, err);
    else
        wsl_rpc_reply(call, &response.base);
}

void wsl_nodes_on_remove(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    const Wsl__V1__RemoveNodeRequest *request = (const void *)message;
    struct wsl_coordinator *co = context;
    struct wsl_err err = {0};

    if (wsl_cluster_remove_node(co->cluster, request->name, co->now(), &err) < 0) {
        wsl_rpc_finish_err(call, &err);
        return;
    }
    wsl_info("event=worker_removed node=%s peer=%s", request->name, wsl_rpc_call_peer(call));
    wsl_committer_commit_then(co, COMMIT_TELL, on_node_removed, wait_for_disk(co, call, 0));
}
