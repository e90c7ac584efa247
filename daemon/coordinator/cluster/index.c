/* SPDX-License-Identifier: Apache-2.0
 *
 * Finding jobs by id and by name, and the lists they are in. Nothing here takes longer for a longer
 * queue but in logarithms, except that a job that goes back into the middle of the line moves what
 * lies behind it.
 */
#include "daemon/coordinator/cluster/internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { HOLES_MIN = 1024 };

/* ---- few jobs ---- */

static size_t list_seek(const struct job_list *list, uint64_t id)
{
    size_t low = 0, high = list->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (list->jobs[middle]->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void wsl_cluster_list_add(struct job_list *list, struct job *job)
{
    size_t i = list_seek(list, job->id);

    list->jobs = wsl_cluster_grow(list->jobs, list->count, &list->capacity, sizeof(*list->jobs));
    memmove(list->jobs + i + 1, list->jobs + i, (list->count - i) * sizeof(*list->jobs));
    list->jobs[i] = job;
    list->count++;
}

void wsl_cluster_list_remove(struct job_list *list, const struct job *job)
{
    size_t i = list_seek(list, job->id);

    if (i == list->count || list->jobs[i] != job)
        return;
    memmove(list->jobs + i, list->jobs + i + 1, (list->count - i - 1) * sizeof(*list->jobs));
    list->count--;
}

/* ---- many ---- */

size_t wsl_cluster_index_seek(const struct job_index *index, uint64_t id)
{
    size_t low = index->first, high = index->end;

    /* Ids have no gaps but those of closed holes: it is at most so far from the first. */
    if (low < high && id >= index->slots[low].id && id - index->slots[low].id < high - low)
        high = low + (size_t)(id - index->slots[low].id) + 1;
    if (low < high && index->slots[high - 1].id == id)
        return high - 1;
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (index->slots[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void close_holes(struct job_index *index)
{
    size_t to = 0;

    for (size_t i = index->first; i < index->end; i++)
        if (index->slots[i].job)
            index->slots[to++] = index->slots[i];
    index->first = 0;
    index->end = to;
}

void wsl_cluster_index_add(struct job_index *index, struct job *job)
{
    size_t i = wsl_cluster_index_seek(index, job->id);

    if (i == index->end || index->slots[i].id != job->id) { /* else its own hole */
        index->slots =
            wsl_cluster_grow(index->slots, index->end, &index->capacity, sizeof(*index->slots));
        memmove(index->slots + i + 1, index->slots + i, (index->end - i) * sizeof(*index->slots));
        index->end++;
    }
    index->slots[i] =
        (struct job_slot){.id = job->id & ID_MAX, .state = job->state & 15u, .job = job};
    index->count++;
}

void wsl_cluster_index_remove(struct job_index *index, const struct job *job)
{
    size_t i = wsl_cluster_index_seek(index, job->id);

    if (i == index->end || index->slots[i].job != job)
        return;
    index->slots[i].job = NULL;
    index->count--;
    while (index->first < index->end && !index->slots[index->first].job)
        index->first++;
    if (index->end > 2 * index->count + HOLES_MIN)
        close_holes(index);
}

/* ---- finding ---- */

struct job *wsl_cluster_peek_job(const struct wsl_cluster *c, uint64_t id)
{
    size_t i = wsl_cluster_index_seek(&c->all, id);

    return i < c->all.end && c->all.slots[i].id == id ? c->all.slots[i].job : NULL;
}

struct job *wsl_cluster_find_job(const struct wsl_cluster *c, uint64_t id)
{
    struct job *job = wsl_cluster_peek_job(c, id);

    if (job)
        wsl_cluster_need_record(c, job);
    return job;
}

/* Newer ones come first, and two names rarely have one hash: the record of one is read. */
struct job *wsl_cluster_find_name(const struct wsl_cluster *c, const char *name, bool any)
{
    struct wsl_map_entry *e = wsl_map_first(&c->names, wsl_hash_text(name));

    for (; e; e = wsl_map_next(e)) {
        struct job *job = (struct job *)((char *)e - offsetof(struct job, name));

        if (job->uncommitted && !any)
            continue;
        wsl_cluster_need_record(c, job);
        if (strcmp(job->pb->spec->name, name) == 0)
            return job;
    }
    return NULL;
}

/* ---- parking ---- */

void wsl_cluster_park_job(struct wsl_cluster *c, struct job *job, struct job **list)
{
    assert(!job->park_link);
    wsl_cluster_index_remove(&c->line, job);
    job->in_line = false;
    job->park_next = *list;
    if (*list)
        (*list)->park_link = &job->park_next;
    job->park_link = list;
    *list = job;
}

void wsl_cluster_unpark_job(struct job *job)
{
    if (!job->park_link)
        return;
    *job->park_link = job->park_next;
    if (job->park_next)
        job->park_next->park_link = job->park_link;
    job->park_link = NULL;
    job->park_next = NULL;
}
