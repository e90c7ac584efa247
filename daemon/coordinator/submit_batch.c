/* SPDX-License-Identifier: Apache-2.0
 *
 * JobService.SubmitBatch: many submissions in one request and one commit. Their data is checked
 * first; submissions of one data set share a check.
 */
#include "daemon/coordinator/coordinator.h"
#include "proto/jobspec/jobspec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An answer that waits for the disk; the call may end before. */
struct batch {
    struct wsl_coordinator *co;
    struct wsl_rpc_call *call; /* NULL: it has ended */
    size_t count;
    size_t unchecked; /* items whose data is being checked */
    bool checks_data, owns_specs;
    struct batch_item {
        struct batch *batch;
        Wsl__V1__JobSpec *spec; /* NULL: refused, or submitted */
        Wsl__V1__SubmitResult result;
        struct wsl_err err; /* of one that was refused */
        char note[DATA_NOTE];
    } items[];
};

void wsl_batch_on_closed(struct wsl_rpc_call *call, void *context)
{
    struct batch *batch = wsl_rpc_call_data(call);

    (void)context;
    if (batch)
        batch->call = NULL;
}

static void answer(struct batch *batch)
{
    Wsl__V1__SubmitBatchResponse response = WSL__V1__SUBMIT_BATCH_RESPONSE__INIT;
    Wsl__V1__SubmitResult **results = calloc(batch->count + 1, sizeof(*results));

    if (!results)
        abort();
    for (size_t i = 0; i < batch->count; i++) {
        struct batch_item *item = &batch->items[i];

        results[i] = &item->result;
        item->result.note = item->note;
        if (item->result.id)
            continue;
        item->result.status = (uint32_t)wsl_rpc_status_of(item->err.code);
        item->result.error = item->err.text;
    }
    response.results = results;
    response.n_results = batch->count;
    wsl_rpc_call_set_data(batch->call, NULL);
    wsl_rpc_reply(batch->call, &response.base);
    free(results);
}

static void on_batch_saved(void *context, const struct wsl_err *err)
{
    struct batch *batch = context;
    struct wsl_coordinator *co = batch->co;

    for (size_t i = 0; i < batch->count; i++) {
        struct batch_item *item = &batch->items[i];

        if (item->result.id == 0)
            continue;
        if (err) {
            wsl_cluster_withdraw(co->cluster, item->result.id);
            item->result.id = 0;
            item->err = *err;
        } else {
            wsl_cluster_accept(co->cluster, item->result.id, co->now());
        }
    }
    if (batch->call)
        answer(batch);
    free(batch);
    if (!err)
        wsl_committer_commit(co);
}

static void submit_batch(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct batch_item *item = &batch->items[i];

        if (item->spec)
            wsl_cluster_submit(batch->co->cluster, item->spec, batch->co->now(), &item->result.id,
                               &item->err);
        if (batch->owns_specs && item->spec)
            wsl__v1__job_spec__free_unpacked(item->spec, NULL);
        item->spec = NULL;
    }
    wsl_committer_commit_then(batch->co, COMMIT_ONCE, on_batch_saved, batch);
}

/* All are queued together, once the last one's data was looked at. */
static void release(struct batch *batch)
{
    if (--batch->unchecked > 0)
        return;
    for (size_t i = 0; !batch->call && i < batch->count; i++) { /* nobody would hear of the jobs */
        if (batch->owns_specs && batch->items[i].spec)
            wsl__v1__job_spec__free_unpacked(batch->items[i].spec, NULL);
        batch->items[i].spec = NULL;
    }
    submit_batch(batch);
}

static void on_item_checked(void *context, const struct wsl_err *err, const char *note)
{
    struct batch_item *item = context;
    struct batch *batch = item->batch;

    if (err) {
        item->err = *err;
        if (batch->owns_specs)
            wsl__v1__job_spec__free_unpacked(item->spec, NULL);
        item->spec = NULL;
    }
    snprintf(item->note, sizeof item->note, "%s", note);
    release(batch);
}

/* The request goes when its handler returns: while workers are asked, copies of it are needed. */
static void check_item(struct batch *batch, struct batch_item *item, Wsl__V1__JobSpec *spec)
{
    wsl__v1__submit_result__init(&item->result);
    item->batch = batch;
    if (wsl_jobspec_fill(spec, &item->err) < 0 || wsl_jobspec_check(spec, &item->err) < 0)
        return;
    item->spec = batch->owns_specs ? wsl_jobspec_copy(spec) : spec;
    if (!item->spec)
        abort();
    if (!batch->checks_data)
        return;
    batch->unchecked++;
    wsl_data_check_start(batch->co, item->spec, on_item_checked, item);
}

void wsl_batch_on_submit(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    const Wsl__V1__SubmitBatchRequest *request = (const void *)message;
    struct wsl_coordinator *co = context;
    struct batch *batch;
    char text[100];

    if (request->n_specs > BATCH_MAX) {
        snprintf(text, sizeof text, "specs: %zu in one request; at most %d", request->n_specs,
                 BATCH_MAX);
        wsl_rpc_finish(call, WSL_RPC_INVALID_ARGUMENT, text);
        return;
    }
    batch = calloc(1, sizeof *batch + request->n_specs * sizeof *batch->items);
    if (!batch)
        abort();
    batch->co = co;
    batch->call = call;
    batch->count = request->n_specs;
    batch->checks_data = !request->no_data_check;
    batch->owns_specs = batch->checks_data && co->session_count > 0;
    batch->unchecked = 1; /* until all have been looked at */
    wsl_rpc_call_set_data(call, batch);
    for (size_t i = 0; i < batch->count; i++)
        check_item(batch, &batch->items[i], request->specs[i]);
    release(batch);
}
