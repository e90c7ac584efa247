/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/coordinator/internal.h"

#include "base/utf8.h"

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

void *must_grow(void *array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return array;
    *capacity = *capacity ? 2 * *capacity : 16;
    array = realloc(array, *capacity * size);
    if (!array)
        abort();
    return array;
}

/* ---- text ---- */

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
    char text[TEXT_MAX];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    clean_text(text);
    set_text(field, text);
}

void clean_text(char *text)
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

/* FNV-1a, 64 bits. */
uint64_t hash_name(const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;

    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return hash;
}

/* ---- lists ---- */

/* Index of the first job whose id is at least `id`. */
static size_t list_index(const struct job_list *list, uint64_t id)
{
    size_t low = 0, high = list->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (list->jobs[middle]->pb->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void list_add(struct job_list *list, struct job *job)
{
    size_t i = list_index(list, job->pb->id);

    list->jobs = must_grow(list->jobs, list->count, &list->capacity, sizeof(*list->jobs));
    memmove(list->jobs + i + 1, list->jobs + i, (list->count - i) * sizeof(*list->jobs));
    list->jobs[i] = job;
    list->count++;
}

void list_remove(struct job_list *list, const struct job *job)
{
    size_t i = list_index(list, job->pb->id);

    if (i == list->count || list->jobs[i] != job)
        return;
    memmove(list->jobs + i, list->jobs + i + 1, (list->count - i - 1) * sizeof(*list->jobs));
    list->count--;
}

/* ---- jobs ---- */

struct job *find_job(const struct wsl_cluster *c, uint64_t id)
{
    size_t i = list_index(&c->all, id);

    return i < c->all.count && c->all.jobs[i]->pb->id == id ? c->all.jobs[i] : NULL;
}

struct job *find_name(const struct wsl_cluster *c, const char *name)
{
    uint64_t hash = hash_name(name);

    for (size_t i = c->all.count; i-- > 0;) {
        struct job *job = c->all.jobs[i];

        if (job->name_hash == hash && !job->uncommitted && strcmp(job->pb->spec->name, name) == 0)
            return job;
    }
    return NULL;
}

struct job *add_job(struct wsl_cluster *c, Wsl__V1__Job *pb)
{
    struct job *job = must_alloc(sizeof *job);

    job->pb = pb;
    job->name_hash = hash_name(pb->spec->name);
    job->version = 1;
    job->next_event = 1;
    list_add(&c->all, job);
    if (pb->state == WSL__V1__JOB_STATE__QUEUED || pb->state == WSL__V1__JOB_STATE__RECOVERING)
        list_add(&c->waiting, job);
    c->ended_count += wsl_cluster_ended(pb->state);
    return job;
}

static void forget_rounds(struct job *job)
{
    for (int r = 0; r < ROUNDS_MAX; r++) {
        for (size_t i = 0; job->rounds[r].blobs && i < job->pb->n_ranks; i++)
            free(job->rounds[r].blobs[i].data);
        free(job->rounds[r].blobs);
        job->rounds[r] = (struct round){0};
    }
}

void open_generation(struct wsl_cluster *c, struct job *job)
{
    job->ranks = must_alloc(job->pb->n_ranks * sizeof *job->ranks);
    job->ended = 0;
    job->stop = STOP_NONE;
    job->kill_ms = 0;
    list_add(&c->live, job);
}

/* The placements stay for people to see, until the next generation. */
void close_generation(struct wsl_cluster *c, struct job *job)
{
    forget_rounds(job);
    list_remove(&c->live, job);
    free(job->ranks);
    job->ranks = NULL;
    job->stop = STOP_NONE;
    job->kill_ms = 0;
}

void drop_placements(Wsl__V1__Job *pb)
{
    for (size_t i = 0; i < pb->n_ranks; i++)
        wsl__v1__rank_placement__free_unpacked(pb->ranks[i], NULL);
    free(pb->ranks);
    pb->ranks = NULL;
    pb->n_ranks = 0;
}

static void free_job(struct job *job)
{
    forget_rounds(job);
    for (size_t i = 0; i < job->event_count; i++)
        wsl__v1__event__free_unpacked(job->events[i], NULL);
    free(job->events);
    free(job->ranks);
    wsl__v1__job__free_unpacked(job->pb, NULL);
    free(job);
}

void drop_job(struct wsl_cluster *c, struct job *job)
{
    list_remove(&c->all, job);
    list_remove(&c->waiting, job);
    list_remove(&c->live, job);
    c->ended_count -= wsl_cluster_ended(job->pb->state);
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
    c->look_ms = INT64_MAX;
    c->settled_ms = INT64_MIN;
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
    for (size_t i = 0; i < c->all.count; i++)
        free_job(c->all.jobs[i]);
    free(c->all.jobs);
    free(c->waiting.jobs);
    free(c->live.jobs);
    for (size_t i = 0; i < c->node_count; i++)
        free_node(c->nodes[i]);
    free(c->nodes);
    free(c);
}
