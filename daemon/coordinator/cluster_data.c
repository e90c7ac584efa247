/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/coordinator/internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *must_alloc(size_t size)
{
    void *p = calloc(1, size);

    if (!p)
        abort();
    return p;
}

/* protobuf-c's own empty string is static and must not be freed. */
void set_text(char **field, const char *text)
{
    char *copy = strdup(text ? text : "");

    if (!copy)
        abort();
    if (*field && *field != protobuf_c_empty_string)
        free(*field);
    *field = copy;
}

void set_textf(char **field, const char *format, ...)
{
    char text[600];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    set_text(field, text);
}

/* ---- jobs ---- */

/* Index of the first job whose id is at least `id`. */
static size_t job_index(const struct wsl_cluster *c, uint64_t id)
{
    size_t low = 0, high = c->job_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (c->jobs[middle]->pb->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct job *find_job(const struct wsl_cluster *c, uint64_t id)
{
    size_t i = job_index(c, id);

    return i < c->job_count && c->jobs[i]->pb->id == id ? c->jobs[i] : NULL;
}

struct job *add_job(struct wsl_cluster *c, Wsl__V1__Job *pb)
{
    struct job *job = must_alloc(sizeof *job);
    size_t i = job_index(c, pb->id);

    if (c->job_count == c->job_capacity) {
        c->job_capacity = c->job_capacity ? 2 * c->job_capacity : 64;
        c->jobs = realloc(c->jobs, c->job_capacity * sizeof(*c->jobs));
        if (!c->jobs)
            abort();
    }
    memmove(c->jobs + i + 1, c->jobs + i, (c->job_count - i) * sizeof(*c->jobs));
    c->jobs[i] = job;
    c->job_count++;
    job->pb = pb;
    job->version = 1;
    job->next_event = 1;
    return job;
}

void forget_rounds(struct job *job)
{
    for (int r = 0; r < ROUNDS_MAX; r++) {
        for (size_t i = 0; job->rounds[r].blobs && i < job->pb->n_ranks; i++)
            free(job->rounds[r].blobs[i].data);
        free(job->rounds[r].blobs);
        job->rounds[r] = (struct round){0};
    }
}

void clear_ranks(struct job *job)
{
    forget_rounds(job);
    for (size_t i = 0; i < job->pb->n_ranks; i++)
        wsl__v1__rank_placement__free_unpacked(job->pb->ranks[i], NULL);
    free(job->pb->ranks);
    job->pb->ranks = NULL;
    job->pb->n_ranks = 0;
    free(job->ranks);
    job->ranks = NULL;
}

void drop_events(struct job *job)
{
    for (size_t i = 0; i < job->event_count; i++)
        wsl__v1__event__free_unpacked(job->events[i], NULL);
    free(job->events);
    job->events = NULL;
    job->event_count = 0;
}

static void free_job(struct job *job)
{
    forget_rounds(job);
    drop_events(job);
    free(job->ranks);
    wsl__v1__job__free_unpacked(job->pb, NULL);
    free(job);
}

void drop_job(struct wsl_cluster *c, struct job *job)
{
    size_t i = job_index(c, job->pb->id);

    memmove(c->jobs + i, c->jobs + i + 1, (c->job_count - i - 1) * sizeof(*c->jobs));
    c->job_count--;
    free_job(job);
}

/* ---- nodes ---- */

struct node *find_node(const struct wsl_cluster *c, const char *name)
{
    for (size_t i = 0; i < c->node_count; i++)
        if (strcmp(c->nodes[i]->pb->name, name) == 0)
            return c->nodes[i];
    return NULL;
}

struct node *add_node(struct wsl_cluster *c, const char *name, int64_t now)
{
    struct node *node = must_alloc(sizeof *node);
    size_t i = 0;

    node->pb = must_alloc(sizeof *node->pb);
    wsl__v1__node__init(node->pb);
    set_text(&node->pb->name, name);
    node->pb->state = WSL__V1__NODE_STATE__LOST;
    node->pb->joined_ms = now;
    while (i < c->node_count && strcmp(c->nodes[i]->pb->name, name) < 0)
        i++;
    c->nodes = realloc(c->nodes, (c->node_count + 1) * sizeof(*c->nodes));
    if (!c->nodes)
        abort();
    memmove(c->nodes + i + 1, c->nodes + i, (c->node_count - i) * sizeof(*c->nodes));
    c->nodes[i] = node;
    c->node_count++;
    return node;
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
    while (c->job_count > 0)
        free_job(c->jobs[--c->job_count]);
    free(c->jobs);
    for (size_t i = 0; i < c->node_count; i++) {
        wsl__v1__node__free_unpacked(c->nodes[i]->pb, NULL);
        free(c->nodes[i]);
    }
    free(c->nodes);
    free(c);
}
