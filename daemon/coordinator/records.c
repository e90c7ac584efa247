/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the state machine and the store: records of jobs that are read back when they are needed,
 * and what a start reads of each job. Of a queued or ended one that is a handful of fields, taken
 * out of the bytes as they lie: a million of them would take seconds to unpack.
 */
#include "daemon/coordinator/coordinator.h"

#include "base/protowire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Field numbers of wsl.v1.Job, .JobSpec and .Init; job.proto. */
enum { JOB_ID = 1, JOB_SPEC = 2, JOB_STATE = 3, JOB_INIT_JOB = 18 };
enum { SPEC_NAME = 1, SPEC_WORLD = 5, SPEC_INIT = 13 };
enum { INIT_JOB = 1 };

/* ---- summaries ---- */

struct summary {
    struct wsl_cluster_summary s;
    bool names_source; /* spec.init is a job */
};

static bool read_init(struct wsl_wire r, struct summary *ret)
{
    struct wsl_wire_field f;

    while (wsl_wire_next(&r, &f))
        ret->names_source |= f.number == INIT_JOB;
    return !r.bad;
}

static bool read_spec(struct wsl_wire r, struct summary *ret)
{
    struct wsl_wire_field f;

    while (wsl_wire_next(&r, &f)) {
        if (f.number == SPEC_NAME && f.bytes)
            snprintf(ret->s.name, sizeof ret->s.name, "%.*s",
                     (int)(f.size < sizeof ret->s.name ? f.size : sizeof ret->s.name), f.bytes);
        else if (f.number == SPEC_WORLD && !f.bytes)
            ret->s.world = (uint32_t)f.value;
        else if (f.number == SPEC_INIT && f.bytes && !read_init(wsl_wire_inside(&f), ret))
            return false;
    }
    return !r.bad;
}

static bool read_summary(const uint8_t *bytes, size_t size, struct summary *ret)
{
    struct wsl_wire r = wsl_wire_of(bytes, size);
    struct wsl_wire_field f;

    *ret = (struct summary){0};
    while (wsl_wire_next(&r, &f)) {
        if (f.number == JOB_ID && !f.bytes)
            ret->s.id = f.value;
        else if (f.number == JOB_STATE && !f.bytes)
            ret->s.state = (Wsl__V1__JobState)f.value;
        else if (f.number == JOB_INIT_JOB && !f.bytes)
            ret->s.init_job = f.value;
        else if (f.number == JOB_SPEC && f.bytes && !read_spec(wsl_wire_inside(&f), ret))
            return false;
    }
    return !r.bad;
}

/* ---- the start ---- */

static int restore_whole(struct wsl_cluster *cluster, uint64_t id, const uint8_t *bytes,
                         size_t size)
{
    Wsl__V1__Job *job = wsl__v1__job__unpack(NULL, size, bytes);

    if (job && job->id == id)
        return wsl_cluster_restore_job(cluster, job);
    if (job)
        wsl__v1__job__free_unpacked(job, NULL);
    return WSL_ECORRUPT;
}

int wsl_records_restore_job(void *cluster, uint64_t id, const uint8_t *bytes, size_t size)
{
    struct summary summary;
    bool rests;

    if (!read_summary(bytes, size, &summary) || summary.s.id != id)
        return WSL_ECORRUPT;
    /* One that was accepted before init_job was recorded has to look for its source by name. */
    rests = wsl_cluster_ended(summary.s.state) || (summary.s.state == WSL__V1__JOB_STATE__QUEUED &&
                                                   (summary.s.init_job || !summary.names_source));
    return rests ? wsl_cluster_restore_summary(cluster, &summary.s)
                 : restore_whole(cluster, id, bytes, size);
}

int wsl_records_restore_node(void *cluster, uint64_t number, const uint8_t *bytes, size_t size)
{
    Wsl__V1__Node *node = wsl__v1__node__unpack(NULL, size, bytes);

    (void)number;
    return node ? wsl_cluster_restore_node(cluster, node) : WSL_ECORRUPT;
}

/* ---- reading back ---- */

static int unpack_job(void *ret, uint64_t id, const uint8_t *bytes, size_t size)
{
    Wsl__V1__Job **job = ret;

    (void)id;
    *job = wsl__v1__job__unpack(NULL, size, bytes);
    return *job ? 0 : WSL_ECORRUPT;
}

static Wsl__V1__Job *read_job(void *state, uint64_t id)
{
    Wsl__V1__Job *job = NULL;

    return wsl_state_read_job(state, id, unpack_job, &job) == 0 ? job : NULL;
}

struct event_sink {
    void (*each)(void *to, Wsl__V1__Event *event);
    void *to;
};

static int unpack_event(void *context, uint64_t sequence, const uint8_t *bytes, size_t size)
{
    const struct event_sink *sink = context;
    Wsl__V1__Event *event = wsl__v1__event__unpack(NULL, size, bytes);

    (void)sequence;
    if (!event)
        return WSL_ECORRUPT;
    sink->each(sink->to, event);
    return 0;
}

static void read_events(void *state, uint64_t id, void (*each)(void *to, Wsl__V1__Event *event),
                        void *to)
{
    struct event_sink sink = {each, to};

    (void)wsl_state_read_events(state, id, unpack_event, &sink); /* as far as they can be read */
}

struct wsl_cluster_records wsl_records_of(struct wsl_state *state)
{
    return (struct wsl_cluster_records){.context = state, .job = read_job, .events = read_events};
}
