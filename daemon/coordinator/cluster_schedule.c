/* SPDX-License-Identifier: Apache-2.0
 *
 * Which job starts now, and where; and why the others wait.
 */
#include "daemon/coordinator/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define S(name) WSL__V1__JOB_STATE__##name

/* Slots of the cluster while jobs are placed one after the other. */
struct room {
    uint32_t free, all;
    uint32_t kept;             /* of the free ones: for jobs that start again soon */
    const struct job *blocker; /* nothing behind it may start */
};

/* Only connected workers have free slots; those that are expected back count for the size. */
static struct room count_slots(struct wsl_cluster *c)
{
    struct room room = {0};

    for (size_t i = 0; i < c->node_count; i++) {
        struct node *node = c->nodes[i];
        uint32_t used = slots_used(node), slots = slots_of(node);

        node->free = node->connected && slots > used ? slots - used : 0;
        room.free += node->free;
        if (node->connected || node->lost_ms)
            room.all += slots;
    }
    return room;
}

/* ---- placing ---- */

static struct node *most_free(const struct wsl_cluster *c)
{
    struct node *best = c->nodes[0];

    for (size_t i = 1; i < c->node_count; i++)
        if (c->nodes[i]->free > best->free)
            best = c->nodes[i];
    return best;
}

/* Rank 0 reads the checkpoint, and writes the next: best where the newest one lies. */
static struct node *first_node(const struct wsl_cluster *c, const struct job *job)
{
    const char *wanted = job->pb->checkpoint_node;
    struct node *node;

    if (!job->pb->checkpoint[0] && job->pb->init_job) {
        const struct job *from = find_job(c, job->pb->init_job);

        wanted = from ? from->pb->checkpoint_node : "";
    }
    node = find_node(c, wanted);
    return node && node->free > 0 ? node : most_free(c);
}

static void place_rank(struct job *job, uint32_t rank, struct node *node)
{
    Wsl__V1__RankPlacement *p = must_alloc(sizeof *p);

    wsl__v1__rank_placement__init(p);
    p->rank = rank;
    set_text(&p->node, node->pb->name);
    set_text(&p->phase, "starting");
    set_text(&p->address, node->pb->facts->address);
    job->pb->ranks[rank] = p;
    job->ranks[rank].node = node;
    node->free--;
    node->ranks++;
}

/* "2 trainers on a, 1 on b" */
static void tell_places(const struct job *job, char *text, size_t size)
{
    uint32_t world = job->pb->spec->world, first = 0;
    size_t n = 0;

    for (uint32_t i = 1; i <= world && n + 100 < size; i++) {
        if (i < world && job->ranks[i].node == job->ranks[first].node)
            continue;
        n += (size_t)snprintf(text + n, size - n, first ? ", %u on %s" : "%u on %s", i - first,
                              job->pb->ranks[first]->node);
        first = i;
    }
    if (first < world)
        snprintf(text + n, size - n, ", ...");
}

static void start(struct wsl_cluster *c, struct job *job, int64_t now)
{
    Wsl__V1__Job *pb = job->pb;
    uint32_t world = pb->spec->world;
    struct node *node = first_node(c, job);
    char places[400];

    drop_placements(pb);
    pb->ranks = must_alloc(world * sizeof(*pb->ranks));
    pb->n_ranks = world;
    open_generation(c, job);
    for (uint32_t rank = 0; rank < world; rank++) {
        /* Fill a machine before the next: ranks of one machine talk fastest. */
        if (node->free == 0)
            node = most_free(c);
        place_rank(job, rank, node);
    }
    pb->generation++;
    job->start_step = pb->checkpoint_step;
    job->waits_noted = 0;
    tell_places(job, places, sizeof places);
    move_job(c, job, S(STARTING), now, "generation %u: %s", pb->generation, places);
    for (uint32_t rank = 0; rank < world; rank++)
        send_start(c, job, rank);
}

/* ---- waiting ---- */

static void tell_slots(const struct job *job, char *text, size_t size)
{
    uint32_t world = job->pb->spec->world;
    const struct wait *w = &job->wait;
    int n = snprintf(text, size, "needs %u slot%s, ", world, world == 1 ? "" : "s");

    if (w->kind == WAIT_SIZE)
        snprintf(text + n, size - n, "the cluster has %u", w->all);
    else if (w->kept > 0)
        snprintf(text + n, size - n, "%u of %u are free, %u of them kept for jobs that start again",
                 w->free, w->all, w->kept);
    else
        snprintf(text + n, size - n, "%u of %u are free", w->free, w->all);
}

static void tell(const struct wsl_cluster *c, const struct job *job, char *text, size_t size)
{
    const struct job *other = find_job(c, job->wait.job);
    const char *name = other ? other->pb->spec->name : "?";

    switch (job->wait.kind) {
    case WAIT_TURN:
        snprintf(text, size, "waits for its turn: job %" PRIu64 " (%s) is before it", job->wait.job,
                 name);
        break;
    case WAIT_INIT:
        snprintf(text, size,
                 "waits for job %" PRIu64 " (%s) to end, whose checkpoint it starts from",
                 job->wait.job, name);
        break;
    default:
        tell_slots(job, text, size);
    }
}

void tell_wait(const struct wsl_cluster *c, struct job *job)
{
    char text[200];

    if (job->wait.kind == WAIT_NONE || job->wait_told)
        return;
    tell(c, job, text, sizeof text);
    set_text(&job->pb->reason, text);
    job->wait_told = true;
}

/* Figures change all the time, and a turn is no news: one event for each kind of other reasons
 * while it waits, and no save at all. */
static void wait_for(struct wsl_cluster *c, struct job *job, struct wait wait, int64_t now)
{
    const struct wait *old = &job->wait;
    char text[200];

    if (old->kind == wait.kind && old->free == wait.free && old->all == wait.all &&
        old->kept == wait.kept && old->job == wait.job)
        return;
    job->wait = wait;
    job->wait_told = false;
    job->version++;
    if (wait.kind == WAIT_TURN || job->waits_noted & 1u << wait.kind)
        return;
    job->waits_noted |= 1u << wait.kind;
    tell(c, job, text, sizeof text);
    add_event(c, job, now, "waiting", "%s", text);
}

enum init_state { INIT_READY, INIT_WAITS, INIT_FAILED };

static enum init_state check_init(struct wsl_cluster *c, struct job *job, int64_t now)
{
    const struct job *source;
    const Wsl__V1__Job *from;

    if (job->pb->init_job == 0 || job->pb->checkpoint[0])
        return INIT_READY;
    source = find_job(c, job->pb->init_job);
    if (!source) {
        move_job(c, job, S(FAILED), now, "init: there is no job %" PRIu64 " any more",
                 job->pb->init_job);
        return INIT_FAILED;
    }
    from = source->pb;
    if (!wsl_cluster_ended(from->state)) {
        wait_for(c, job, (struct wait){.kind = WAIT_INIT, .job = from->id}, now);
        return INIT_WAITS;
    }
    if (from->state == S(SUCCEEDED) && from->checkpoint[0])
        return INIT_READY;
    move_job(c, job, S(FAILED), now, "init: job %" PRIu64 " (%s) %s%s", from->id, from->spec->name,
             from->state == S(CANCELLED) ? "was cancelled" : wsl_cluster_state_word(from->state),
             from->checkpoint[0] ? ": give its checkpoint's path to start from it all the same"
                                 : " without a checkpoint");
    return INIT_FAILED;
}

static void look_again(struct wsl_cluster *c, int64_t when)
{
    if (when < c->look_ms)
        c->look_ms = when;
}

/* One job that waits, in its turn. */
static void consider(struct wsl_cluster *c, struct job *job, struct room *room, int64_t now)
{
    uint32_t world = job->pb->spec->world, available = room->free - room->kept;
    bool early = now < c->settled_ms, backs_off = now < job->retry_ms;

    if (backs_off)
        look_again(c, job->retry_ms);
    if (room->blocker) {
        if (!backs_off)
            wait_for(c, job, (struct wait){.kind = WAIT_TURN, .job = room->blocker->pb->id}, now);
    } else if (backs_off) {
        /* Its slots are for it, or a job behind it has them for days. */
        room->kept += world <= available ? world : 0;
    } else if (world <= available) {
        start(c, job, now);
        room->free -= world;
    } else if (world > room->all) {
        wait_for(c, job, (struct wait){.kind = WAIT_SIZE, .all = room->all}, now);
        /* After a restart the cluster looks small until its workers are back. */
        if (early) {
            room->blocker = job;
            look_again(c, c->settled_ms);
        }
    } else {
        wait_for(c, job,
                 (struct wait){
                     .kind = WAIT_SLOTS, .free = room->free, .all = room->all, .kept = room->kept},
                 now);
        room->blocker = job;
    }
}

void schedule(struct wsl_cluster *c, int64_t now)
{
    struct room room;

    if (!c->changed && now < c->look_ms)
        return;
    do { /* once more when one failed for its init, which another may have waited for */
        c->changed = false;
        c->look_ms = INT64_MAX;
        room = count_slots(c);
        for (size_t i = 0; i < c->waiting.count;) {
            struct job *job = c->waiting.jobs[i];

            if (!job->uncommitted && check_init(c, job, now) == INIT_READY)
                consider(c, job, &room, now);
            i += i < c->waiting.count && c->waiting.jobs[i] == job;
        }
    } while (c->changed);
}
