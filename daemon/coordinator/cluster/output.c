/* SPDX-License-Identifier: Apache-2.0
 *
 * What the state machine wants done, as a list: records to save, messages to send, subscribers to
 * notify. Nothing is carried out here.
 */
#include "daemon/coordinator/cluster/internal.h"
#include "proto/jobspec/jobspec.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct wsl_output *add_output(struct wsl_cluster *c, enum wsl_output_kind kind, uint64_t job)
{
    struct wsl_output *o = wsl_cluster_alloc(sizeof *o);

    o->kind = kind;
    o->job = job;
    *c->last = o;
    c->last = &o->next;
    return o;
}

struct wsl_output *wsl_cluster_take_outputs(struct wsl_cluster *c)
{
    struct wsl_output *first = c->first;

    c->first = NULL;
    c->last = &c->first;
    c->turn++;
    return first;
}

void wsl_output_free(struct wsl_output *o)
{
    if (o->event)
        wsl__v1__event__free_unpacked(o->event, NULL);
    if (o->message)
        wsl__v1__coordinator_message__free_unpacked(o->message, NULL);
    free(o);
}

void wsl_cluster_save_job(struct wsl_cluster *c, struct job *job)
{
    job->version++;
    if (job->saved_turn == c->turn)
        return; /* a save takes the record as it is when the outputs are carried out */
    job->saved_turn = c->turn;
    job->unsaved++;
    add_output(c, WSL_OUTPUT_SAVE_JOB, job->id);
}

void wsl_cluster_remove_saved(struct wsl_cluster *c, uint64_t id)
{
    add_output(c, WSL_OUTPUT_REMOVE_JOB, id);
}

void wsl_cluster_save_node(struct wsl_cluster *c, struct node *node, int64_t now)
{
    node->saved_ms = now;
    snprintf(add_output(c, WSL_OUTPUT_SAVE_NODE, 0)->node, NODE_NAME_SIZE, "%s", node->pb->name);
}

void wsl_cluster_remove_saved_node(struct wsl_cluster *c, const char *name)
{
    snprintf(add_output(c, WSL_OUTPUT_REMOVE_NODE, 0)->node, NODE_NAME_SIZE, "%s", name);
}

/* ---- events ---- */

/* The oldest half goes when it is full: moving on each event would cost a restore of long histories
 * dearly. */
void wsl_cluster_keep_event(struct job *job, Wsl__V1__Event *event)
{
    if (job->event_count == 2 * EVENTS_MAX) {
        for (size_t i = 0; i < EVENTS_MAX; i++)
            wsl__v1__event__free_unpacked(job->events[i], NULL);
        memcpy(job->events, job->events + EVENTS_MAX, EVENTS_MAX * sizeof(*job->events));
        job->event_count = EVENTS_MAX;
    }
    job->events =
        wsl_cluster_grow(job->events, job->event_count, &job->event_capacity, sizeof(*job->events));
    job->events[job->event_count++] = event;
    job->next_event = event->sequence + 1;
}

static Wsl__V1__Event *make_event(uint64_t sequence, int64_t now, const char *kind,
                                  const char *message)
{
    Wsl__V1__Event *event = wsl_cluster_alloc(sizeof *event);

    wsl__v1__event__init(event);
    event->sequence = sequence;
    event->time_ms = now;
    wsl_cluster_set_textf(&event->kind, "%.64s", kind);
    wsl_cluster_set_text(&event->message, message);
    return event;
}

void wsl_cluster_add_event(struct wsl_cluster *c, struct job *job, int64_t now, const char *kind,
                           const char *format, ...)
{
    char text[1000];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    wsl_cluster_clean_text(text);
    wsl_cluster_need_events(c, job); /* for its number */
    job->unsaved++;
    add_output(c, WSL_OUTPUT_SAVE_EVENT, job->id)->event =
        make_event(job->next_event, now, kind, text);
    wsl_cluster_keep_event(job, make_event(job->next_event, now, kind, text));
    job->version++;
}

/* ---- messages ---- */

static Wsl__V1__CoordinatorMessage *add_message(struct wsl_cluster *c, uint64_t job,
                                                const char *node,
                                                Wsl__V1__CoordinatorMessage__BodyCase which)
{
    struct wsl_output *o = add_output(c, WSL_OUTPUT_SEND, job);

    snprintf(o->node, sizeof o->node, "%s", node);
    o->message = wsl_cluster_alloc(sizeof *o->message);
    wsl__v1__coordinator_message__init(o->message);
    o->message->body_case = which;
    return o->message;
}

static Wsl__V1__TrainerKey *make_key(uint64_t job, uint32_t generation, uint32_t rank)
{
    Wsl__V1__TrainerKey *key = wsl_cluster_alloc(sizeof *key);

    wsl__v1__trainer_key__init(key);
    key->job = job;
    key->generation = generation;
    key->rank = rank;
    return key;
}

/* The newest checkpoint of the job that `init` named, as a directory, or the path it gives. */
static void set_init(const struct wsl_cluster *c, const Wsl__V1__Job *pb, Wsl__V1__Assignment *a)
{
    const Wsl__V1__Init *init = pb->spec->init;
    const struct job *from = wsl_cluster_find_job(c, pb->init_job);

    if (init && init->from_case == WSL__V1__INIT__FROM_CHECKPOINT)
        wsl_cluster_set_text(&a->init, init->checkpoint);
    else if (from)
        wsl_cluster_set_text(&a->init, from->pb->checkpoint);
}

static void set_identity(const struct wsl_cluster *c, const Wsl__V1__Job *pb,
                         Wsl__V1__Assignment *a)
{
    const struct job *from = wsl_cluster_find_job(c, pb->init_job);

    a->identity = wsl_cluster_alloc(sizeof *a->identity);
    wsl__v1__job_identity__init(a->identity);
    wsl_cluster_set_text(&a->identity->uid, pb->uid);
    if (from)
        wsl_cluster_set_text(&a->identity->init_uid, from->pb->uid);
}

void wsl_cluster_send_start(struct wsl_cluster *c, struct job *job, uint32_t rank)
{
    const Wsl__V1__Job *pb = job->pb;
    Wsl__V1__CoordinatorMessage *m =
        add_message(c, pb->id, pb->ranks[rank]->node, WSL__V1__COORDINATOR_MESSAGE__BODY_START);
    Wsl__V1__Assignment *a = wsl_cluster_alloc(sizeof *a);

    m->start = wsl_cluster_alloc(sizeof *m->start);
    wsl__v1__start_trainer__init(m->start);
    m->start->key = make_key(pb->id, pb->generation, rank);
    m->start->assignment = a;
    wsl__v1__assignment__init(a);
    a->job = pb->id;
    a->generation = pb->generation;
    a->rank = rank;
    a->world = (uint32_t)pb->n_ranks;
    set_identity(c, pb, a);
    a->spec = wsl_jobspec_copy(pb->spec);
    if (!a->spec)
        abort();
    wsl_cluster_set_text(&a->resume, pb->checkpoint);
    if (!pb->checkpoint[0])
        set_init(c, pb, a);
    wsl_cluster_set_text(&a->address, pb->ranks[rank]->address);
}

void wsl_cluster_send_stop(struct wsl_cluster *c, const char *node, const Wsl__V1__TrainerKey *key,
                           Wsl__V1__StopMode mode, const char *reason)
{
    Wsl__V1__CoordinatorMessage *m =
        add_message(c, key->job, node, WSL__V1__COORDINATOR_MESSAGE__BODY_STOP);

    m->stop = wsl_cluster_alloc(sizeof *m->stop);
    wsl__v1__stop_trainer__init(m->stop);
    m->stop->key = make_key(key->job, key->generation, key->rank);
    m->stop->mode = mode;
    wsl_cluster_set_text(&m->stop->reason, reason);
}

void wsl_cluster_send_exchange(struct wsl_cluster *c, const char *node,
                               Wsl__V1__ExchangeResult *result)
{
    add_message(c, result->job, node, WSL__V1__COORDINATOR_MESSAGE__BODY_EXCHANGE)->exchange =
        result;
}
