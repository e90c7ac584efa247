/* SPDX-License-Identifier: Apache-2.0
 *
 * JobService.SubmitBatch: many submissions in one request and one commit.
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
    struct batch_item {
        Wsl__V1__SubmitResult result;
        struct wsl_err err; /* of one that was refused */
    } items[];
};

void batch_closed(struct wsl_rpc_call *call, void *context)
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
        drive(co);
}

int submit_spec(struct wsl_coordinator *co, Wsl__V1__JobSpec *spec, uint64_t *ret_id,
                struct wsl_err *err)
{
    int r = wsl_jobspec_fill(spec, err);

    if (r == 0)
        r = wsl_jobspec_check(spec, err);
    return r < 0 ? r : wsl_cluster_submit(co->cluster, spec, co->now(), ret_id, err);
}

void on_submit_batch(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
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
    wsl_rpc_call_set_data(call, batch);
    for (size_t i = 0; i < batch->count; i++) {
        struct batch_item *item = &batch->items[i];

        wsl__v1__submit_result__init(&item->result);
        submit_spec(co, request->specs[i], &item->result.id, &item->err);
    }
    drive_then(co, DRIVE_ONCE, on_batch_saved, batch);
}
