/* SPDX-License-Identifier: Apache-2.0
 *
 * Which records and events are in memory. A job that is queued or has ended rests: once all that
 * was saved of it is durable, its record and events are dropped and read from the store when they
 * are needed. What was looked at stays for a while, since the looker has pointers to it.
 */
#include "daemon/coordinator/cluster/internal.h"

#include <assert.h>
#include <stdlib.h>

enum { LOOKS = 4096 };

/* The last LOOKS looks, oldest first from `at` on; ids, because jobs go away. 0: none. */
struct look_ring {
    uint64_t ids[LOOKS];
    size_t at;
};

struct look_ring *wsl_cluster_new_look_ring(void)
{
    return wsl_cluster_alloc(sizeof(struct look_ring));
}

/* What the store cannot give, for good or while the disk is in trouble: to be looked at, never to
 * be saved in the record's place. The job keeps its place in the queue. */
static Wsl__V1__Job *stand_in(const struct job *job)
{
    Wsl__V1__Job *pb = wsl_cluster_alloc(sizeof *pb);

    wsl__v1__job__init(pb);
    pb->id = job->id;
    pb->state = job->state;
    pb->init_job = job->init_job;
    pb->spec = wsl_cluster_alloc(sizeof *pb->spec);
    wsl__v1__job_spec__init(pb->spec);
    wsl_cluster_set_text(&pb->spec->name, "?");
    pb->spec->world = job->world;
    pb->spec->restart = wsl_cluster_alloc(sizeof *pb->spec->restart);
    wsl__v1__restart__init(pb->spec->restart);
    wsl_cluster_set_text(&pb->reason, "its record cannot be read from the coordinator's store");
    return pb;
}

static bool is_it(const struct job *job, const Wsl__V1__Job *pb)
{
    return pb->id == job->id && pb->state == job->state && pb->spec &&
           pb->spec->world == job->world && (pb->spec->restart || wsl_cluster_ended(pb->state));
}

void wsl_cluster_need_record(const struct wsl_cluster *c, struct job *job)
{
    Wsl__V1__Job *pb;

    if (job->pb)
        return;
    assert(c->setup.records.job);
    pb = c->setup.records.job(c->setup.records.context, job->id);
    if (pb && !is_it(job, pb)) {
        wsl__v1__job__free_unpacked(pb, NULL);
        pb = NULL;
    }
    job->damaged = !pb;
    job->pb = pb ? pb : stand_in(job);
    job->pb->init_job = job->init_job;
    wsl_cluster_note_look(c, job);
}

static void keep_read_event(void *job, Wsl__V1__Event *event)
{
    wsl_cluster_keep_event(job, event);
}

void wsl_cluster_need_events(const struct wsl_cluster *c, struct job *job)
{
    if (job->events_read)
        return;
    job->events_read = true;
    if (c->setup.records.events)
        c->setup.records.events(c->setup.records.context, job->id, keep_read_event, job);
    wsl_cluster_note_look(c, job);
}

void wsl_cluster_forget_record(struct job *job)
{
    for (size_t i = 0; i < job->event_count; i++)
        wsl__v1__event__free_unpacked(job->events[i], NULL);
    free(job->events);
    job->events = NULL;
    job->event_count = job->event_capacity = 0;
    job->events_read = false;
    if (job->pb)
        wsl__v1__job__free_unpacked(job->pb, NULL);
    job->pb = NULL;
}

void wsl_cluster_rest_job(const struct wsl_cluster *c, struct job *job)
{
    bool quiet = job->state == WSL__V1__JOB_STATE__QUEUED || wsl_cluster_ended(job->state);

    if (c->setup.records.job && quiet && !job->uncommitted && !job->ranks && job->unsaved == 0 &&
        job->looks == 0)
        wsl_cluster_forget_record(job);
}

void wsl_cluster_note_look(const struct wsl_cluster *c, struct job *job)
{
    struct look_ring *ring = c->ring;
    struct job *oldest = wsl_cluster_peek_job(c, ring->ids[ring->at]);

    job->looks++;
    ring->ids[ring->at] = job->id;
    ring->at = (ring->at + 1) % LOOKS;
    if (!oldest)
        return;
    assert(oldest->looks > 0);
    oldest->looks--;
    wsl_cluster_rest_job(c, oldest);
}

void wsl_cluster_saving(struct wsl_cluster *c, uint64_t id)
{
    struct job *job = wsl_cluster_peek_job(c, id);

    if (job)
        job->unsaved++;
}

void wsl_cluster_saved(struct wsl_cluster *c, uint64_t id)
{
    struct job *job = wsl_cluster_peek_job(c, id);

    if (!job)
        return; /* forgotten since */
    assert(job->unsaved > 0);
    if (--job->unsaved == 0)
        wsl_cluster_rest_job(c, job);
}
