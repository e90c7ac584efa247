/* SPDX-License-Identifier: Apache-2.0
 *
 * Which job starts now, and where.
 */
#include "daemon/coordinator/internal.h"

#include <stdlib.h>
#include <string.h>

#define S(name) WSL__V1__JOB_STATE__##name

uint32_t slots_used(const struct wsl_cluster *c, const char *node)
{
    uint32_t used = 0;

    for (size_t i = 0; i < c->job_count; i++) {
        const struct job *job = c->jobs[i];

        for (size_t k = 0; job->ranks && k < job->pb->n_ranks; k++)
            used += job->ranks[k].state != RANK_ENDED && strcmp(job->pb->ranks[k]->node, node) == 0;
    }
    return used;
}

/* Free slots of each node, in the order of nodes; only connected ones have any. */
static uint32_t *free_slots(const struct wsl_cluster *c, uint32_t *ret_free, uint32_t *ret_all)
{
    uint32_t *slots = must_alloc((c->node_count + 1) * sizeof *slots);

    *ret_free = 0;
    *ret_all = 0;
    for (size_t i = 0; i < c->node_count; i++) {
        const struct node *node = c->nodes[i];
        uint32_t used;

        if (!node->connected)
            continue;
        used = slots_used(c, node->pb->name);
        *ret_all += node->pb->facts->slots;
        slots[i] = node->pb->facts->slots > used ? node->pb->facts->slots - used : 0;
        *ret_free += slots[i];
    }
    return slots;
}

static size_t most_free(const struct wsl_cluster *c, const uint32_t *slots)
{
    size_t best = 0;

    for (size_t i = 1; i < c->node_count; i++)
        if (slots[i] > slots[best])
            best = i;
    return best;
}

/* Rank 0 reads the checkpoint, and writes the next: best where the newest one lies. */
static const char *wanted_node(const struct wsl_cluster *c, const struct job *job)
{
    const Wsl__V1__Init *init = job->pb->spec->init;

    if (job->pb->checkpoint_node[0])
        return job->pb->checkpoint_node;
    if (init && init->from_case == WSL__V1__INIT__FROM_JOB) {
        const Wsl__V1__Job *from = wsl_cluster_find(c, init->job);

        return from ? from->checkpoint_node : "";
    }
    return "";
}

static void place_rank(struct job *job, uint32_t rank, const char *node)
{
    Wsl__V1__RankPlacement *p = must_alloc(sizeof *p);

    wsl__v1__rank_placement__init(p);
    p->rank = rank;
    set_text(&p->node, node);
    set_text(&p->phase, "starting");
    job->pb->ranks[rank] = p;
}

static void start(struct wsl_cluster *c, struct job *job, uint32_t *slots, int64_t now)
{
    uint32_t world = job->pb->spec->world;
    const char *wanted = wanted_node(c, job);
    char places[400] = "";
    size_t node = most_free(c, slots);

    clear_ranks(job);
    job->pb->ranks = must_alloc(world * sizeof(*job->pb->ranks));
    job->pb->n_ranks = world;
    job->ranks = must_alloc(world * sizeof *job->ranks);
    for (size_t i = 0; i < c->node_count; i++)
        if (slots[i] > 0 && strcmp(c->nodes[i]->pb->name, wanted) == 0)
            node = i;
    for (uint32_t rank = 0; rank < world; rank++) {
        /* Fill a machine before the next: ranks of one machine talk fastest. */
        if (slots[node] == 0)
            node = most_free(c, slots);
        slots[node]--;
        place_rank(job, rank, c->nodes[node]->pb->name);
        if (strlen(places) < sizeof places - 80) {
            if (rank > 0)
                strcat(places, ", ");
            strcat(places, c->nodes[node]->pb->name);
        }
    }
    job->pb->generation++;
    job->stopping = false;
    job->kill_ms = 0;
    job->start_step = job->pb->checkpoint_step;
    move_job(c, job, S(STARTING), now, "generation %u: %u trainer%s on %s", job->pb->generation,
             world, world == 1 ? "" : "s", places);
    for (uint32_t rank = 0; rank < world; rank++)
        send_start(c, job, rank);
}

/* Waiting for others is no news worth a write each time; a new reason is. */
static void wait_because(struct wsl_cluster *c, struct job *job, const char *reason, int64_t now)
{
    if (strcmp(job->pb->reason, reason) == 0)
        return;
    set_text(&job->pb->reason, reason);
    add_event(c, job, now, "waiting", "%s", reason);
    save_job(c, job);
}

enum init_state { INIT_READY, INIT_WAITS, INIT_FAILED };

static enum init_state check_init(struct wsl_cluster *c, struct job *job, int64_t now)
{
    const Wsl__V1__Init *init = job->pb->spec->init;
    const Wsl__V1__Job *from;
    char *reason = NULL;

    if (!init || init->from_case != WSL__V1__INIT__FROM_JOB || job->pb->checkpoint[0])
        return INIT_READY;
    from = wsl_cluster_find(c, init->job);
    if (!from) {
        move_job(c, job, S(FAILED), now, "init: there is no job '%s' any more", init->job);
        return INIT_FAILED;
    }
    if (!wsl_cluster_ended(from->state)) {
        set_textf(&reason, "waits for job %llu (%s) to end, whose checkpoint it starts from",
                  (unsigned long long)from->id, from->spec->name);
        wait_because(c, job, reason, now);
        free(reason);
        return INIT_WAITS;
    }
    if (from->state == S(SUCCEEDED) && from->checkpoint[0])
        return INIT_READY;
    move_job(c, job, S(FAILED), now, "init: job %llu (%s) %s%s", (unsigned long long)from->id,
             from->spec->name, wsl_cluster_state_word(from->state),
             from->checkpoint[0] ? ": give its checkpoint's path to start from it all the same"
                                 : " without a checkpoint");
    return INIT_FAILED;
}

/* True when the jobs behind it must wait. */
static bool try_job(struct wsl_cluster *c, struct job *job, int64_t now)
{
    uint32_t world = job->pb->spec->world, available, all;
    char *reason = NULL;
    uint32_t *slots;
    bool blocks = false;

    if (job->uncommitted || job->pb->cancel_requested || now < job->retry_ms)
        return false;
    if (check_init(c, job, now) != INIT_READY)
        return false;
    slots = free_slots(c, &available, &all);
    if (world <= available) {
        start(c, job, slots, now);
    } else if (world > all) {
        set_textf(&reason, "needs %u slot%s, the cluster has %u", world, world == 1 ? "" : "s",
                  all);
        wait_because(c, job, reason, now);
    } else {
        set_textf(&reason, "needs %u slot%s, %u of %u are free", world, world == 1 ? "" : "s",
                  available, all);
        wait_because(c, job, reason, now);
        blocks = true;
    }
    free(reason);
    free(slots);
    return blocks;
}

void schedule(struct wsl_cluster *c, int64_t now)
{
    for (size_t i = 0; i < c->job_count; i++) {
        struct job *job = c->jobs[i];

        if (job->pb->state != S(QUEUED) && job->pb->state != S(RECOVERING))
            continue;
        if (try_job(c, job, now))
            return;
    }
}
