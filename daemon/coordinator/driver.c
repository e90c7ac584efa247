/* SPDX-License-Identifier: Apache-2.0
 *
 * Outputs of the state machine become commits of the store, and messages once the commit is
 * durable. Everything goes through a commit, an empty one too: commits complete in order, so no
 * message overtakes an earlier one's save.
 */
#include "base/log.h"
#include "daemon/coordinator/coordinator.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* One turn of the machine, on its way to the disk. */
struct act {
    struct act *next;
    struct wsl_coordinator *co;
    struct wsl_output *outputs; /* owned */
    bool once;
    saved_fn saved;
    void *context;
};

static void free_act(struct act *act)
{
    while (act->outputs) {
        struct wsl_output *o = act->outputs;

        act->outputs = o->next;
        wsl_output_free(o);
    }
    free(act);
}

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

static void put_event(struct wsl_state_commit *commit, const struct wsl_output *o)
{
    size_t size = wsl__v1__event__get_packed_size(o->event);
    uint8_t *bytes = malloc(size + 1);

    if (!bytes)
        abort();
    wsl__v1__event__pack(o->event, bytes);
    wsl_state_put_event(commit, o->job, o->event->sequence, bytes, size);
    free(bytes);
}

/* A job saved several times in one turn is written once, as it is now. */
static bool saved_later(const struct wsl_output *o)
{
    for (const struct wsl_output *p = o->next; p; p = p->next)
        if (p->kind == WSL_OUTPUT_SAVE_JOB && p->job == o->job)
            return true;
    return false;
}

static void fill(struct act *act, struct wsl_state_commit *commit)
{
    for (const struct wsl_output *o = act->outputs; o; o = o->next) {
        switch (o->kind) {
        case WSL_OUTPUT_SAVE_JOB:
            if (!saved_later(o))
                put_job(act->co, commit, o->job);
            break;
        case WSL_OUTPUT_SAVE_EVENT:
            put_event(commit, o);
            break;
        case WSL_OUTPUT_REMOVE_JOB:
            wsl_state_remove_job(commit, o->job);
            break;
        case WSL_OUTPUT_SEND:
            break;
        }
    }
}

static void report(struct act *act, const struct wsl_err *err)
{
    if (act->saved)
        act->saved(act->context, err);
    act->saved = NULL;
}

static void give_up(struct act *act, const struct wsl_err *err)
{
    struct wsl_coordinator *co = act->co;

    if (!co->disk_trouble)
        wsl_error("event=save_failed reason=\"%s\" action=\"trying again each second; running jobs "
                  "go on\"",
                  err->text);
    co->disk_trouble = true;
    report(act, err);
    if (act->once) {
        free_act(act);
        return;
    }
    act->next = co->failed;
    co->failed = act;
}

static void log_event(const struct wsl_output *o)
{
    wsl_info("event=job job=%" PRIu64 " kind=%s message=\"%s\"", o->job, o->event->kind,
             o->event->message);
}

static void on_saved(void *context, const struct wsl_err *err)
{
    struct act *act = context;
    struct wsl_coordinator *co = act->co;

    if (err) {
        give_up(act, err);
        return;
    }
    if (co->disk_trouble)
        wsl_info("event=save_works_again");
    co->disk_trouble = false;
    for (const struct wsl_output *o = act->outputs; o; o = o->next) {
        if (o->kind == WSL_OUTPUT_SAVE_EVENT)
            log_event(o);
        if (o->kind == WSL_OUTPUT_SEND)
            send_to_node(co, o->node, o->message);
    }
    report(act, NULL);
    free_act(act);
}

static void commit_act(struct act *act)
{
    struct wsl_state_commit *commit = NULL;
    struct wsl_err err = {0};

    if (act->co->closing) {
        wsl_fail(&err, WSL_ECANCELLED, "the coordinator is stopping");
        report(act, &err);
        free_act(act);
        return;
    }
    commit = wsl_state_begin(act->co->state);

    if (!commit) {
        wsl_fail(&err, WSL_ELIMIT, "the disk does not keep up: %zu saves wait",
                 wsl_state_waiting(act->co->state));
        give_up(act, &err);
        return;
    }
    fill(act, commit);
    wsl_state_end(commit, on_saved, act);
}

void drive_then(struct wsl_coordinator *co, bool once, saved_fn saved, void *context)
{
    struct wsl_output *outputs = wsl_cluster_take_outputs(co->cluster);
    struct act *act;

    if (!outputs && !saved)
        return;
    act = calloc(1, sizeof *act);
    if (!act)
        abort();
    *act = (struct act){
        .co = co, .outputs = outputs, .once = once, .saved = saved, .context = context};
    commit_act(act);
    poke_followers(co, 0);
}

void drive(struct wsl_coordinator *co)
{
    drive_then(co, false, NULL, NULL);
}

void retry_failed(struct wsl_coordinator *co)
{
    struct act *list = co->failed, *oldest_first = NULL;

    co->failed = NULL;
    while (list) {
        struct act *act = list;

        list = act->next;
        act->next = oldest_first;
        oldest_first = act;
    }
    while (oldest_first) {
        struct act *act = oldest_first;

        oldest_first = act->next;
        commit_act(act);
    }
}

void free_failed(struct wsl_coordinator *co)
{
    while (co->failed) {
        struct act *act = co->failed;

        co->failed = act->next;
        free_act(act);
    }
}
