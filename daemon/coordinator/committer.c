/* SPDX-License-Identifier: Apache-2.0
 *
 * Outputs of the state machine become commits of the store, and messages once the commit is
 * durable. Everything goes through a commit, an empty one too: commits complete in order, so no
 * message overtakes an earlier one's save. While saves fail, what comes later waits behind them.
 */
#include "base/log.h"
#include "daemon/coordinator/coordinator.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOG_EVENTS_MAX = 64 }; /* lines in the log of one commit */

/* One turn of the machine, on its way to the disk. */
struct transaction {
    struct transaction *next, **link; /* in co->transactions */
    struct transaction *next_failed;
    struct wsl_coordinator *co;
    uint64_t number;            /* in the order of turns */
    struct wsl_output *outputs; /* owned */
    struct append append;
    bool has_append;
    enum commit_mode mode;
    saved_fn saved;
    void *context;
};

static struct transaction *new_transaction(struct wsl_coordinator *co)
{
    struct transaction *transaction = calloc(1, sizeof *transaction);

    if (!transaction)
        abort();
    transaction->co = co;
    transaction->number = co->next_transaction++;
    transaction->next = co->transactions;
    transaction->link = &co->transactions;
    if (transaction->next)
        transaction->next->link = &transaction->next;
    co->transactions = transaction;
    return transaction;
}

/* Durable, or given up: in both cases nothing of it is on its way any more. */
static void free_output(struct wsl_coordinator *co, struct wsl_output *o)
{
    if (o->kind == WSL_OUTPUT_SAVE_JOB || o->kind == WSL_OUTPUT_SAVE_EVENT)
        wsl_cluster_saved(co->cluster, o->job);
    wsl_output_free(o);
}

static void free_transaction(struct transaction *transaction)
{
    *transaction->link = transaction->next;
    if (transaction->next)
        transaction->next->link = transaction->link;
    if (transaction->has_append && transaction->append.save_job)
        wsl_cluster_saved(transaction->co->cluster, transaction->append.job);
    while (transaction->outputs) {
        struct wsl_output *o = transaction->outputs;

        transaction->outputs = o->next;
        free_output(transaction->co, o);
    }
    free(transaction);
}

bool wsl_committer_is_unsaved(const struct wsl_coordinator *co, uint64_t job)
{
    for (const struct transaction *transaction = co->transactions; transaction;
         transaction = transaction->next)
        for (const struct wsl_output *o = transaction->outputs; o; o = o->next)
            if (o->kind == WSL_OUTPUT_SAVE_JOB && o->job == job)
                return true;
    return false;
}

/* ---- a commit of it ---- */

static void put_job(struct wsl_coordinator *co, struct wsl_state_commit *commit, uint64_t id)
{
    const Wsl__V1__Job *job = wsl_cluster_job(co->cluster, id);
    size_t size;
    uint8_t *bytes;

    if (!job)
        return; /* forgotten since */
    size = wsl__v1__job__get_packed_size(job);
    bytes = malloc(size + 1);
    if (!bytes)
        abort();
    wsl__v1__job__pack(job, bytes);
    wsl_state_put_job(commit, id, bytes, size);
    free(bytes);
}

static void put_node(struct wsl_coordinator *co, struct wsl_state_commit *commit, const char *name)
{
    const Wsl__V1__Node *node = wsl_cluster_node(co->cluster, name);
    size_t size;
    uint8_t *bytes;

    if (!node)
        return; /* forgotten since */
    size = wsl__v1__node__get_packed_size(node);
    bytes = malloc(size + 1);
    if (!bytes)
        abort();
    wsl__v1__node__pack(node, bytes);
    wsl_state_put_node(commit, name, bytes, size);
    free(bytes);
}

static void put_event(struct wsl_state_commit *commit, const struct wsl_output *o)
{
    size_t size = wsl__v1__event__get_packed_size(o->event);
    uint8_t *bytes = malloc(size + 1);

    if (!bytes)
        abort();
    wsl__v1__event__pack(o->event, bytes);
    wsl_state_put_event(commit, o->job, o->event->sequence, bytes, size);
    free(bytes);
    if (o->event->sequence > EVENTS_KEPT)
        wsl_state_remove_event(commit, o->job, o->event->sequence - EVENTS_KEPT);
}

static void fill(const struct transaction *transaction, struct wsl_state_commit *commit)
{
    const struct append *a = &transaction->append;

    for (const struct wsl_output *o = transaction->outputs; o; o = o->next) {
        switch (o->kind) {
        case WSL_OUTPUT_SAVE_JOB:
            if (!transaction->has_append || !a->save_job || a->job != o->job)
                put_job(transaction->co, commit, o->job);
            break;
        case WSL_OUTPUT_SAVE_EVENT:
            put_event(commit, o);
            break;
        case WSL_OUTPUT_REMOVE_JOB:
            wsl_state_remove_job(commit, o->job);
            break;
        case WSL_OUTPUT_SAVE_NODE:
            put_node(transaction->co, commit, o->node);
            break;
        case WSL_OUTPUT_REMOVE_NODE:
            wsl_state_remove_node(commit, o->node);
            break;
        case WSL_OUTPUT_SEND:
            break;
        }
    }
    if (!transaction->has_append)
        return;
    wsl_state_append(commit, a->job, a->name, a->offset, a->bytes, a->size);
    if (a->save_job)
        put_job(transaction->co, commit, a->job);
}

/* ---- failures ---- */

static void tell(struct transaction *transaction, const struct wsl_err *err)
{
    saved_fn saved = transaction->saved;

    transaction->saved = NULL;
    if (saved)
        saved(transaction->context, err);
}

static void queue_failed(struct transaction *transaction)
{
    struct transaction **at = &transaction->co->failed;

    while (*at && (*at)->number < transaction->number)
        at = &(*at)->next_failed;
    transaction->next_failed = *at;
    *at = transaction;
}

static void give_up(struct transaction *transaction, const struct wsl_err *err)
{
    struct wsl_coordinator *co = transaction->co;

    if (transaction->has_append && err->code == WSL_ESTATE) {
        /* Not the disk's fault, and it would never succeed. What was read from it stays. */
        wsl_error("event=bytes_dropped job=%" PRIu64 " file=%s reason=\"%s\"",
                  transaction->append.job, transaction->append.name, err->text);
        if (transaction->append.save_job)
            wsl_cluster_saved(co->cluster, transaction->append.job);
        transaction->has_append = false;
        tell(transaction, err);
        queue_failed(transaction);
        return;
    }
    if (!co->disk_trouble && !co->closing)
        wsl_error("event=save_failed reason=\"%s\" action=\"nothing is accepted or started until "
                  "saving works again; running jobs go on\"",
                  err->text);
    co->disk_trouble = true;
    if (transaction->mode != COMMIT_PATIENT)
        tell(transaction, err);
    if (transaction->mode == COMMIT_ONCE)
        free_transaction(transaction);
    else
        queue_failed(transaction);
}

/* ---- successes ---- */

/* A line for each event; one for all of many, as a batch of submissions brings. */
static void log_events(const struct wsl_output *first)
{
    size_t count = 0;
    bool said = false;

    for (const struct wsl_output *o = first; o; o = o->next)
        count += o->kind == WSL_OUTPUT_SAVE_EVENT;
    for (const struct wsl_output *o = first; o; o = o->next) {
        if (o->kind != WSL_OUTPUT_SAVE_EVENT)
            continue;
        if (count <= LOG_EVENTS_MAX)
            wsl_info("event=job job=%" PRIu64 " kind=%s message=\"%s\"", o->job, o->event->kind,
                     o->event->message);
        else if (!said)
            wsl_info("event=jobs count=%zu job=%" PRIu64 " kind=%s message=\"%s, and more\"", count,
                     o->job, o->event->kind, o->event->message);
        said = true;
    }
}

static void apply_output(struct wsl_coordinator *co, const struct wsl_output *o)
{
    switch (o->kind) {
    case WSL_OUTPUT_SEND:
        wsl_workers_send(co, o->node, o->message);
        break;
    case WSL_OUTPUT_REMOVE_JOB:
        wsl_streams_drop(co, o->job);
        break;
    case WSL_OUTPUT_SAVE_JOB:
    case WSL_OUTPUT_SAVE_EVENT:
    case WSL_OUTPUT_SAVE_NODE:
    case WSL_OUTPUT_REMOVE_NODE:
        break;
    }
}

static void commit_all_failed(struct wsl_coordinator *co);

static void on_saved(void *context, const struct wsl_err *err)
{
    struct transaction *transaction = context;
    struct wsl_coordinator *co = transaction->co;
    struct wsl_output *outputs = transaction->outputs;
    uint64_t last = 0;

    if (err) {
        give_up(transaction, err);
        return;
    }
    if (co->disk_trouble)
        wsl_info("event=save_works_again");
    co->disk_trouble = false;
    log_events(outputs);
    for (const struct wsl_output *o = outputs; o; o = o->next)
        apply_output(co, o);
    tell(transaction, NULL);
    transaction->outputs = NULL; /* it is saved: subscribers may be told */
    free_transaction(transaction);
    while (outputs) {
        struct wsl_output *o = outputs;

        if (o->kind != WSL_OUTPUT_SEND && o->job != 0 && o->job != last)
            wsl_subscribers_notify(co, last = o->job);
        outputs = o->next;
        free_output(co, o);
    }
    commit_all_failed(co);
}

static void commit_transaction(struct transaction *transaction)
{
    struct wsl_coordinator *co = transaction->co;
    struct wsl_state_commit *commit;
    struct wsl_err err = {0};

    if (co->closing) {
        wsl_fail(&err, WSL_ECANCELLED, "the coordinator is stopping");
        tell(transaction, &err);
        free_transaction(transaction);
        return;
    }
    commit = wsl_state_begin(co->state);
    if (!commit) {
        wsl_fail(&err, WSL_ELIMIT, "the disk does not keep up: %zu saves wait",
                 wsl_state_waiting(co->state));
        give_up(transaction, &err);
        return;
    }
    fill(transaction, commit);
    wsl_state_end(commit, on_saved, transaction);
}

static void add_transaction(struct transaction *transaction)
{
    struct wsl_err err = {0};

    if (!transaction->co->failed || transaction->mode == COMMIT_ONCE || transaction->co->closing) {
        commit_transaction(transaction);
        return;
    }
    wsl_fail(&err, WSL_ENOSPC,
             "saving fails at the moment: the coordinator's disk is full or "
             "broken; it takes effect when saving works again");
    if (transaction->mode == COMMIT_TELL)
        tell(transaction, &err);
    queue_failed(transaction);
}

void wsl_committer_commit_then(struct wsl_coordinator *co, enum commit_mode mode, saved_fn saved,
                               void *context)
{
    struct wsl_output *outputs = wsl_cluster_take_outputs(co->cluster);
    struct transaction *transaction;

    if (!outputs && !saved)
        return;
    transaction = new_transaction(co);
    transaction->outputs = outputs;
    transaction->mode = mode;
    transaction->saved = saved;
    transaction->context = context;
    add_transaction(transaction);
}

void wsl_committer_commit(struct wsl_coordinator *co)
{
    wsl_committer_commit_then(co, COMMIT_TELL, NULL, NULL);
}

void wsl_committer_append(struct wsl_coordinator *co, const struct append *append, saved_fn saved,
                          void *context)
{
    struct transaction *transaction = new_transaction(co);

    transaction->outputs = wsl_cluster_take_outputs(co->cluster);
    transaction->append = *append;
    transaction->has_append = true;
    if (append->save_job)
        wsl_cluster_saving(co->cluster, append->job);
    transaction->mode = COMMIT_PATIENT;
    transaction->saved = saved;
    transaction->context = context;
    add_transaction(transaction);
}

/* ---- trying again ---- */

static struct transaction *take_failed(struct wsl_coordinator *co)
{
    struct transaction *transaction = co->failed;

    if (transaction)
        co->failed = transaction->next_failed;
    return transaction;
}

static void commit_all_failed(struct wsl_coordinator *co)
{
    struct transaction *transaction, *list = co->failed;

    co->failed = NULL;
    while ((transaction = list)) {
        list = transaction->next_failed;
        commit_transaction(transaction);
    }
}

/* The oldest alone; when it succeeds, the others follow at once. */
void wsl_committer_retry(struct wsl_coordinator *co)
{
    struct transaction *transaction = take_failed(co);

    if (transaction)
        commit_transaction(transaction);
}

void wsl_committer_free(struct wsl_coordinator *co)
{
    struct transaction *transaction;

    while ((transaction = take_failed(co)))
        commit_transaction(transaction); /* `closing`: it only says so */
}
