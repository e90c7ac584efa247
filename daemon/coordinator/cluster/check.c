/* SPDX-License-Identifier: Apache-2.0
 *
 * What always holds between two calls of the state machine. A broken rule here is a job that waits
 * indefinitely, a slot that nobody gets back, or a record that is lost: things that no caller would
 * notice.
 */
#include "daemon/coordinator/cluster/internal.h"

#include <assert.h>
#include <string.h>

static bool waits(const struct job *job)
{
    return job->state == WSL__V1__JOB_STATE__QUEUED || job->state == WSL__V1__JOB_STATE__RECOVERING;
}

static void check_job(const struct job *job)
{
    assert(job->id > 0 && job->id <= ID_MAX);
    assert(!(job->in_line && job->park_link)); /* it waits in one place */
    assert(waits(job) || (!job->in_line && !job->park_link));
    assert(!job->ranks || job->pb); /* a job that runs has its record in memory */
    assert(!job->ranks || !wsl_cluster_ended(job->state));
    assert(job->event_count <= 2 * EVENTS_MAX); /* the older half goes when it is full */
    assert(job->event_count <= job->event_capacity);
    if (job->pb) {
        assert(job->pb->id == job->id);
        assert(job->damaged || job->pb->state == job->state);
    }
    if (!job->ranks)
        assert(job->stop == STOP_NONE || wsl_cluster_ended(job->state) || waits(job));
}

static void check_generation(const struct job *job)
{
    uint32_t ended = 0;

    assert(job->pb->n_ranks <= WORLD_MAX);
    for (size_t r = 0; r < job->pb->n_ranks; r++) {
        const struct rank *rank = &job->ranks[r];

        ended += rank->state == RANK_ENDED;
        assert(rank->node || rank->state == RANK_ENDED);
        assert(rank->order <= job->pb->n_ranks);
    }
    assert(ended == job->ended);
}

/* Jobs in the order of ids, each once, its state beside it. */
static void check_all(const struct wsl_cluster *c)
{
    uint64_t before = 0;
    size_t jobs = 0, ended = 0, in_line = 0, generations = 0;

    for (size_t i = c->all.first; i < c->all.end; i++) {
        const struct job_slot *slot = &c->all.slots[i];

        assert(slot->id > before);
        before = slot->id;
        if (!slot->job)
            continue;
        jobs++;
        assert(slot->job->id == slot->id);
        assert(slot->state == slot->job->state);
        ended += wsl_cluster_ended(slot->job->state);
        in_line += slot->job->in_line;
        generations += slot->job->ranks != NULL;
        check_job(slot->job);
    }
    assert(jobs == c->all.count);
    assert(ended == c->ended_count);
    assert(in_line == c->line.count);
    assert(generations == c->live.count);
    assert(c->names.count == c->all.count);
    assert(before < c->next_id);
}

static void check_line(const struct wsl_cluster *c)
{
    size_t count = 0;

    for (size_t i = c->line.first; i < c->line.end; i++) {
        if (!c->line.slots[i].job)
            continue;
        count++;
        assert(c->line.slots[i].job->in_line);
    }
    assert(count == c->line.count);
}

/* Each parked job knows its place in the list that it is in. */
static void check_parked(struct job *const *list, uint32_t world)
{
    for (; *list; list = &(*list)->park_next) {
        assert((*list)->park_link == list);
        assert(world == 0 || (*list)->world == world);
    }
}

static uint32_t ranks_on(const struct wsl_cluster *c, const struct node *node)
{
    uint32_t count = 0;

    for (size_t i = 0; i < c->live.count; i++)
        for (size_t r = 0; r < c->live.jobs[i]->pb->n_ranks; r++)
            count += c->live.jobs[i]->ranks[r].node == node &&
                     c->live.jobs[i]->ranks[r].state != RANK_ENDED;
    return count;
}

static void check_nodes(const struct wsl_cluster *c)
{
    assert(c->node_count <= NODES_MAX);
    for (size_t i = 0; i < c->node_count; i++) {
        const struct node *node = c->nodes[i];

        assert(i == 0 || strcmp(c->nodes[i - 1]->pb->name, node->pb->name) < 0);
        assert(node->ranks == ranks_on(c, node));
        assert(node->orphan_count <= ORPHANS_MAX);
        assert(!node->connected || node->lost_ms == 0);
    }
}

void wsl_cluster_check(const struct wsl_cluster *c)
{
    check_all(c);
    check_line(c);
    for (size_t i = 0; i < c->live.count; i++)
        check_generation(c->live.jobs[i]);
    for (uint32_t world = 0; world <= WORLD_MAX; world++)
        check_parked(&c->too_big[world], world);
    for (size_t i = c->all.first; i < c->all.end; i++)
        if (c->all.slots[i].job)
            check_parked(&c->all.slots[i].job->parked, 0);
    check_nodes(c);
}
