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
struct act {
    struct act *next, **link; /* in co->acts */
    struct act *next_failed;
    struct wsl_coordinator *co;
    uint64_t number;            /* in the order of turns */
    struct wsl_output *outputs; /* owned */
    struct append append;
    bool has_append;
    enum drive_mode mode;
    saved_fn saved;
    void *context;
};

static struct act *new_act(struct wsl_coordinator *co)
{
    struct act *act = calloc(1, sizeof *act);

    if (!act)
        abort();
    act->co = co;
    act->number = co->next_act++;
    act->next = co->acts;
    act->link = &co->acts;
    if (act->next)
        act->next->link = &act->next;
    co->acts = act;
    return act;
}

/* Durable, or given up: in both cases nothing of it is on its way any more. */
static void free_output(struct wsl_coordinator *co, struct wsl_output *o)
{
    if (o->kind == WSL_OUTPUT_SAVE_JOB || o->kind == WSL_OUTPUT_SAVE_EVENT)
        wsl_cluster_saved(co->cluster, o->job);
    wsl_output_free(o);
}

static void free_act(struct act *act)
{
    *act->link = act->next;
    if (act->next)
        act->next->link = act->link;
    if (act->has_append && act->append.save_job)
        wsl_cluster_saved(act->co->cluster, act->append.job);
    while (act->outputs) {
        struct wsl_output *o = act->outputs;

        act->outputs = o->next;
        free_output(act->co, o);
    }
    free(act);
}

bool is_unsaved(const struct wsl_coordinator *co, uint64_t job)
{
    for (const struct act *act = co->acts; act; act = act->next)
        for (const struct wsl_output *o = act->outputs; o; o = o->next)
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

static void fill(const struct act *act, struct wsl_state_commit *commit)
{
    const struct append *a = &act->append;

    for (const struct wsl_output *o = act->outputs; o; o = o->next) {
        switch (o->kind) {
        case WSL_OUTPUT_SAVE_JOB:
            if (!act->has_append || !a->save_job || a->job != o->job)
                put_job(act->co, commit, o->job);
            break;
        case WSL_OUTPUT_SAVE_EVENT:
            put_event(commit, o);
            break;
        case WSL_OUTPUT_REMOVE_JOB:
            wsl_state_remove_job(commit, o->job);
            break;
        case WSL_OUTPUT_SAVE_NODE:
            put_node(act->co, commit, o->node);
            break;
        case WSL_OUTPUT_REMOVE_NODE:
            wsl_state_remove_node(commit, o->node);
            break;
        case WSL_OUTPUT_SEND:
            break;
        }
    }
    if (!act->has_append)
        return;
    wsl_state_append(commit, a->job, a->name, a->offset, a->bytes, a->size);
    if (a->save_job)
        put_job(act->co, commit, a->job);
}

/* ---- failures ---- */

static void tell(struct act *act, const struct wsl_err *err)
{
    saved_fn saved = act->saved;

    act->saved = NULL;
    if (saved)
        saved(act->context, err);
}

static void queue_failed(struct act *act)
{
    struct act **at = &act->co->failed;

    while (*at && (*at)->number < act->number)
        at = &(*at)->next_failed;
    act->next_failed = *at;
    *at = act;
}

static void give_up(struct act *act, const struct wsl_err *err)
{
    struct wsl_coordinator *co = act->co;

    if (act->has_append && err->code == WSL_ESTATE) {
        /* Not the disk's fault, and it would never succeed. What was read from it stays. */
        wsl_error("event=bytes_dropped job=%" PRIu64 " file=%s reason=\"%s\"", act->append.job,
                  act->append.name, err->text);
        if (act->append.save_job)
            wsl_cluster_saved(co->cluster, act->append.job);
        act->has_append = false;
        tell(act, err);
        queue_failed(act);
        return;
    }
    if (!co->disk_trouble && !co->closing)
        wsl_error("event=save_failed reason=\"%s\" action=\"nothing is accepted or started until "
                  "saving works again; running jobs go on\"",
                  err->text);
    co->disk_trouble = true;
    if (act->mode != DRIVE_PATIENT)
        tell(act, err);
    if (act->mode == DRIVE_ONCE)
        free_act(act);
    else
        queue_failed(act);
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

static void carry_out(struct wsl_coordinator *co, const struct wsl_output *o)
{
    switch (o->kind) {
    case WSL_OUTPUT_SEND:
        send_to_node(co, o->node, o->message);
        break;
    case WSL_OUTPUT_REMOVE_JOB:
        streams_drop(co, o->job);
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
    struct act *act = context;
    struct wsl_coordinator *co = act->co;
    struct wsl_output *outputs = act->outputs;
    uint64_t last = 0;

    if (err) {
        give_up(act, err);
        return;
    }
    if (co->disk_trouble)
        wsl_info("event=save_works_again");
    co->disk_trouble = false;
    log_events(outputs);
    for (const struct wsl_output *o = outputs; o; o = o->next)
        carry_out(co, o);
    tell(act, NULL);
    act->outputs = NULL; /* it is saved: followers may be told */
    free_act(act);
    while (outputs) {
        struct wsl_output *o = outputs;

        if (o->kind != WSL_OUTPUT_SEND && o->job != 0 && o->job != last)
            poke_followers(co, last = o->job);
        outputs = o->next;
        free_output(co, o);
    }
    commit_all_failed(co);
}

static void commit_act(struct act *act)
{
    struct wsl_coordinator *co = act->co;
    struct wsl_state_commit *commit;
    struct wsl_err err = {0};

    if (co->closing) {
        wsl_fail(&err, WSL_ECANCELLED, "the coordinator is stopping");
        tell(act, &err);
        free_act(act);
        return;
    }
    commit = wsl_state_begin(co->state);
    if (!commit) {
        wsl_fail(&err, WSL_ELIMIT, "the disk does not keep up: %zu saves wait",
                 wsl_state_waiting(co->state));
        give_up(act, &err);
        return;
    }
    fill(act, commit);
    wsl_state_end(commit, on_saved, act);
}

static void add_act(struct act *act)
{
    struct wsl_err err = {0};

    if (!act->co->failed || act->mode == DRIVE_ONCE || act->co->closing) {
        commit_act(act);
        return;
    }
    wsl_fail(&err, WSL_ENOSPC,
             "saving fails at the moment: the coordinator's disk is full or "
             "broken; it takes effect when saving works again");
    if (act->mode == DRIVE_TELL)
        tell(act, &err);
    queue_failed(act);
}

void drive_then(struct wsl_coordinator *co, enum drive_mode mode, saved_fn saved, void *context)
{
    struct wsl_output *outputs = wsl_cluster_take_outputs(co->cluster);
    struct act *act;

    if (!outputs && !saved)
        return;
    act = new_act(co);
    act->outputs = outputs;
    act->mode = mode;
    act->saved = saved;
    act->context = context;
    add_act(act);
}

void drive(struct wsl_coordinator *co)
{
    drive_then(co, DRIVE_TELL, NULL, NULL);
}

void drive_append(struct wsl_coordinator *co, const struct append *append, saved_fn saved,
                  void *context)
{
    struct act *act = new_act(co);

    act->outputs = wsl_cluster_take_outputs(co->cluster);
    act->append = *append;
    act->has_append = true;
    if (append->save_job)
        wsl_cluster_saving(co->cluster, append->job);
    act->mode = DRIVE_PATIENT;
    act->saved = saved;
    act->context = context;
    add_act(act);
}

/* ---- trying again ---- */

static struct act *take_failed(struct wsl_coordinator *co)
{
    struct act *act = co->failed;

    if (act)
        co->failed = act->next_failed;
    return act;
}

static void commit_all_failed(struct wsl_coordinator *co)
{
    struct act *act, *list = co->failed;

    co->failed = NULL;
    while ((act = list)) {
        list = act->next_failed;
        commit_act(act);
    }
}

/* The oldest alone; when it succeeds, the others follow at once. */
void retry_failed(struct wsl_coordinator *co)
{
    struct act *act = take_failed(co);

    if (act)
        commit_act(act);
}

void free_failed(struct wsl_coordinator *co)
{
    struct act *act;

    while ((act = take_failed(co)))
        commit_act(act); /* `closing`: it only says so */
}
