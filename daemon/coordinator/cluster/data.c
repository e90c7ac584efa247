/* SPDX-License-Identifier: Apache-2.0
 *
 * The state machine's records: memory, text, a job's life in the lists, opening and closing.
 */
#include "daemon/coordinator/cluster/internal.h"

#include "base/rng.h"
#include "base/utf8.h"
#include "proto/message.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *wsl_cluster_alloc(size_t size)
{
    void *p = calloc(1, size);

    if (!p)
        abort();
    return p;
}

void *wsl_cluster_grow(void *array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return array;
    *capacity = *capacity ? 2 * *capacity : 16;
    array = realloc(array, *capacity * size);
    if (!array)
        abort();
    return array;
}

ProtobufCMessage *wsl_cluster_copy_message(const ProtobufCMessage *message)
{
    ProtobufCMessage *copy = wsl_message_copy(message);

    if (!copy)
        abort();
    return copy;
}

/* ---- text ---- */

/* protobuf-c's own empty string is static and must not be freed. */
void wsl_cluster_set_text(char **field, const char *text)
{
    char *copy = strdup(text ? text : "");

    if (!copy)
        abort();
    if (*field && *field != protobuf_c_empty_string)
        free(*field);
    *field = copy;
}

void wsl_cluster_set_textf(char **field, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    wsl_cluster_clean_text(text);
    wsl_cluster_set_text(field, text);
}

void wsl_cluster_clean_text(char *text)
{
    unsigned char *p = (unsigned char *)text;

    while (*p) {
        size_t n = wsl_utf8_length(p, 4);

        if (n == 0 || *p < 0x20 || *p == 0x7f) {
            *p = '?';
            n = 1;
        }
        p += n;
    }
}

/* ---- jobs ---- */

/* 128 bits that no other job has, of this cluster or another: the number of the job, encrypted with
 * what was drawn at the start. */
void wsl_cluster_give_identity(const struct wsl_cluster *c, struct job *job)
{
    uint32_t words[4];

    if (job->pb->uid[0])
        return;
    wsl_philox(c->setup.random[0], c->setup.random[1], job->id, words);
    wsl_cluster_set_textf(&job->pb->uid, "%08x%08x%08x%08x", words[0], words[1], words[2],
                          words[3]);
}

/* The job whose checkpoint it starts from has to stay, for as long as it has not ended. */
static void count_dependent(struct wsl_cluster *c, const struct job *job, int change)
{
    struct job *source = job->init_job ? wsl_cluster_peek_job(c, job->init_job) : NULL;

    if (source)
        source->dependents += (uint32_t)change;
}

struct job *wsl_cluster_add_job(struct wsl_cluster *c, uint64_t id, Wsl__V1__JobState state,
                                uint32_t world, uint64_t init_job, uint64_t name_hash)
{
    struct job *job = wsl_cluster_alloc(sizeof *job);

    job->id = id;
    job->state = state;
    job->world = world;
    job->init_job = init_job;
    job->name.hash = name_hash;
    job->version = 1;
    job->next_event = 1;
    wsl_cluster_index_add(&c->all, job);
    if (wsl_map_add(&c->names, &job->name) < 0)
        abort();
    c->ended_count += wsl_cluster_ended(state);
    if (!wsl_cluster_ended(state))
        count_dependent(c, job, 1);
    return job;
}

void wsl_cluster_set_job_state(struct wsl_cluster *c, struct job *job, Wsl__V1__JobState to)
{
    job->pb->state = to;
    job->state = to;
    c->all.slots[wsl_cluster_index_seek(&c->all, job->id)].state = to & 15u;
    if (!wsl_cluster_ended(to))
        return;
    c->ended_count++;
    count_dependent(c, job, -1);
    /* Those that wait for it are looked at by the next wsl_cluster_schedule(). */
    for (struct job *next = job->parked; next;) {
        struct job *waiting = next;

        next = waiting->park_next;
        wsl_cluster_unpark_job(waiting);
        wsl_cluster_park_job(c, waiting, &c->released);
    }
}

void wsl_cluster_open_generation(struct wsl_cluster *c, struct job *job)
{
    job->ranks = wsl_cluster_alloc(job->pb->n_ranks * sizeof *job->ranks);
    job->ended = 0;
    job->stop = STOP_NONE;
    job->kill_ms = 0;
    wsl_cluster_list_add(&c->live, job);
}

/* The placements stay for people to see, until the next generation. */
void wsl_cluster_close_generation(struct wsl_cluster *c, struct job *job)
{
    wsl_cluster_forget_rounds(job);
    wsl_cluster_list_remove(&c->live, job);
    free(job->ranks);
    job->ranks = NULL;
    job->stop = STOP_NONE;
    job->kill_ms = 0;
}

void wsl_cluster_drop_placements(Wsl__V1__Job *pb)
{
    for (size_t i = 0; i < pb->n_ranks; i++)
        wsl__v1__rank_placement__free_unpacked(pb->ranks[i], NULL);
    free(pb->ranks);
    pb->ranks = NULL;
    pb->n_ranks = 0;
}

static void free_job(struct job *job)
{
    wsl_cluster_forget_rounds(job);
    free(job->ranks);
    wsl_cluster_forget_record(job);
    free(job);
}

void wsl_cluster_drop_job(struct wsl_cluster *c, struct job *job)
{
    assert(!job->parked);
    wsl_cluster_leave_queue(c, job);
    wsl_cluster_index_remove(&c->all, job);
    wsl_cluster_list_remove(&c->live, job);
    wsl_map_remove(&c->names, &job->name);
    c->ended_count -= wsl_cluster_ended(job->state);
    if (!wsl_cluster_ended(job->state))
        count_dependent(c, job, -1);
    free_job(job);
}

/* ---- the whole ---- */

int wsl_cluster_open(struct wsl_cluster **ret, const struct wsl_cluster_setup *setup,
                     struct wsl_err *err)
{
    struct wsl_cluster *c = calloc(1, sizeof *c);

    if (!c)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the cluster's state");
    c->setup = *setup;
    c->next_id = 1;
    c->turn = 1;
    c->next_schedule_ms = INT64_MAX;
    c->settled_ms = INT64_MIN;
    c->too_big = wsl_cluster_alloc((WORLD_MAX + 1) * sizeof(*c->too_big));
    c->ring = wsl_cluster_new_look_ring();
    c->last = &c->first;
    *ret = c;
    return 0;
}

void wsl_cluster_close(struct wsl_cluster *c)
{
    struct wsl_output *o;

    if (!c)
        return;
    for (o = wsl_cluster_take_outputs(c); o;) {
        struct wsl_output *next = o->next;

        wsl_output_free(o);
        o = next;
    }
    for (size_t i = c->all.first; i < c->all.end; i++)
        if (c->all.slots[i].job)
            free_job(c->all.slots[i].job);
    free(c->all.slots);
    free(c->line.slots);
    free(c->live.jobs);
    free(c->too_big);
    free(c->ring);
    wsl_map_free(&c->names);
    for (size_t i = 0; i < c->node_count; i++)
        wsl_cluster_free_node(c->nodes[i]);
    free(c->nodes);
    free(c);
}
