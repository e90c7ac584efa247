/* SPDX-License-Identifier: Apache-2.0
 *
 * Which job starts now, and where; and why the others wait.
 */
#include "daemon/coordinator/cluster/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define S(name) WSL__V1__JOB_STATE__##name

/* Slots of the cluster while jobs are placed one after the other. */
struct room {
    uint32_t free, all;
    uint32_t away; /* of all: on workers that are expected back */
    uint32_t kept; /* of the free ones: for jobs that start again soon */
};

/* Only connected workers have free slots; those that are expected back count for the size. */
static struct room count_slots(struct wsl_cluster *c)
{
    struct room room = {0};

    for (size_t i = 0; i < c->node_count; i++) {
        struct node *node = c->nodes[i];
        uint32_t used = wsl_cluster_slots_used(node), slots = wsl_cluster_slots_of(node);

        node->free = node->connected && slots > used ? slots - used : 0;
        room.free += node->free;
        if (node->connected || node->lost_ms)
            room.all += slots;
        if (!node->connected && node->lost_ms)
            room.away += slots;
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

    if (!job->pb->checkpoint[0] && job->init_job) {
        const struct job *from = wsl_cluster_find_job(c, job->init_job);

        wanted = from ? from->pb->checkpoint_node : "";
    }
    node = wsl_cluster_find_node(c, wanted);
    return node && node->free > 0 ? node : most_free(c);
}

static void place_rank(struct job *job, uint32_t rank, struct node *node)
{
    Wsl__V1__RankPlacement *p = wsl_cluster_alloc(sizeof *p);

    wsl__v1__rank_placement__init(p);
    p->rank = rank;
    wsl_cluster_set_text(&p->node, node->pb->name);
    wsl_cluster_set_text(&p->phase, "starting");
    wsl_cluster_set_text(&p->address, node->pb->facts->address);
    job->pb->ranks[rank] = p;
    job->ranks[rank].node = node;
    node->free--;
    node->ranks++;
}

enum { PLACES_MAX = 8 }; /* workers that are named one by one */

/* "2 on a, 1 on b"; of many workers only how many they are, with the first and the last. */
static void describe_places(const struct job *job, char *text, size_t size)
{
    uint32_t world = job->pb->spec->world, first = 0, nodes = 1;
    size_t n = 0;

    for (uint32_t i = 1; i < world; i++)
        nodes += job->ranks[i].node != job->ranks[i - 1].node;
    if (nodes > PLACES_MAX) {
        snprintf(text, size, "%u trainers on %u workers, %s to %s", world, nodes,
                 job->pb->ranks[0]->node, job->pb->ranks[world - 1]->node);
        return;
    }
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

/* What an earlier generation had reached beyond the checkpoint is lost; until the new one reports,
 * it is where it starts. */
static void restart_progress(Wsl__V1__Job *pb)
{
    uint64_t total = pb->progress ? pb->progress->total_steps : 0;

    if (!pb->progress)
        return;
    wsl__v1__progress__free_unpacked(pb->progress, NULL);
    pb->progress = wsl_cluster_alloc(sizeof *pb->progress);
    wsl__v1__progress__init(pb->progress);
    pb->progress->step = pb->checkpoint_step;
    pb->progress->total_steps = total;
}

static void start(struct wsl_cluster *c, struct job *job, int64_t now)
{
    Wsl__V1__Job *pb = job->pb;
    uint32_t world = job->world;
    struct node *node = first_node(c, job);
    char places[400];

    wsl_cluster_drop_placements(pb);
    pb->ranks = wsl_cluster_alloc(world * sizeof(*pb->ranks));
    pb->n_ranks = world;
    wsl_cluster_open_generation(c, job);
    for (uint32_t rank = 0; rank < world; rank++) {
        /* Fill a machine before the next: ranks of one machine talk fastest. */
        if (node->free == 0)
            node = most_free(c);
        place_rank(job, rank, node);
    }
    pb->generation++;
    wsl_cluster_give_identity(c, job); /* one that was submitted before there were any */
    job->start_step = pb->checkpoint_step;
    restart_progress(pb);
    job->waits_noted = 0;
    job->restored = false;
    describe_places(job, places, sizeof places);
    wsl_cluster_move_job(c, job, S(STARTING), now, "generation %u: %s", pb->generation, places);
    for (uint32_t rank = 0; rank < world; rank++)
        wsl_cluster_send_start(c, job, rank);
}

/* ---- waiting ---- */

static bool is_behind(const struct wsl_cluster *c, const struct job *job)
{
    return job->in_line && c->blocker && job->id > c->blocker;
}

/* Behind the blocker nothing is noted: what such a job waits for follows from the two. */
static struct wait present_wait(const struct wsl_cluster *c, const struct job *job)
{
    if (!is_behind(c, job))
        return job->wait;
    if (job->world > c->slots)
        return (struct wait){.kind = WAIT_SIZE};
    return (struct wait){.kind = WAIT_TURN, .job = c->blocker};
}

static void describe_slots(const struct wsl_cluster *c, const struct job *job, const struct wait *w,
                           char *text, size_t size)
{
    int n = snprintf(text, size, "needs %u slot%s", job->world, job->world == 1 ? "" : "s");

    if (w->kind == WAIT_SIZE) { /* it waits for more workers, not for its turn */
        snprintf(text + n, size - n, "; the cluster has %u in all", c->slots);
        return;
    }
    n += snprintf(text + n, size - n, ", %u of %u are free", w->free, w->all - w->away);
    if (w->kept > 0)
        n += snprintf(text + n, size - n, ", %u of them kept for jobs that start again", w->kept);
    if (w->away > 0)
        snprintf(text + n, size - n, "; %u more are on workers that are away", w->away);
}

static void tell(const struct wsl_cluster *c, const struct job *job, const struct wait *w,
                 char *text, size_t size)
{
    const struct job *other = w->job ? wsl_cluster_find_job(c, w->job) : NULL;
    const char *name = other ? other->pb->spec->name : "?";

    switch (w->kind) {
    case WAIT_TURN:
        snprintf(text, size, "waits for its turn: job %" PRIu64 " (%s) is before it", w->job, name);
        break;
    case WAIT_INIT:
        snprintf(text, size,
                 "waits for job %" PRIu64 " (%s) to end, whose checkpoint it starts from", w->job,
                 name);
        break;
    default:
        describe_slots(c, job, w, text, size);
    }
}

void wsl_cluster_describe_wait(const struct wsl_cluster *c, struct job *job)
{
    bool backs_off = job->retry_ms > c->last_schedule_ms;
    struct wait w = present_wait(c, job);
    char text[200];

    if (w.kind == WAIT_NONE || (backs_off && is_behind(c, job)))
        return;
    tell(c, job, &w, text, sizeof text);
    if (strcmp(text, job->pb->reason) == 0)
        return;
    wsl_cluster_set_text(&job->pb->reason, text);
    wsl_cluster_set_text(&job->pb->detail, "");
}

/* Of what was before a restart, no event tells again. */
static void recall_waits(struct wsl_cluster *c, struct job *job)
{
    job->restored = false;
    wsl_cluster_need_events(c, job);
    for (size_t i = 0; i < job->event_count; i++)
        if (strcmp(job->events[i]->kind, "waiting") == 0)
            job->waits_noted = ~0u;
}

/* Figures change all the time, and a turn is no news: one event for each kind of other reasons
 * while it waits, and no save at all. */
static void wait_for(struct wsl_cluster *c, struct job *job, struct wait wait, int64_t now)
{
    const struct wait *old = &job->wait;
    char text[200];

    if (old->kind == wait.kind && old->free == wait.free && old->all == wait.all &&
        old->away == wait.away && old->kept == wait.kept && old->job == wait.job)
        return;
    job->wait = wait;
    job->version++;
    if (job->restored)
        recall_waits(c, job);
    if (job->waits_noted & 1u << wait.kind)
        return;
    job->waits_noted |= 1u << wait.kind;
    tell(c, job, &wait, text, sizeof text);
    wsl_cluster_add_event(c, job, now, "waiting", "%s", text);
}

/* ---- the job it starts from ---- */

static void fail_for_source(struct wsl_cluster *c, struct job *job, int64_t now)
{
    const struct job *source = wsl_cluster_find_job(c, job->init_job);
    const Wsl__V1__Job *from = source ? source->pb : NULL;

    wsl_cluster_need_record(c, job);
    if (from)
        wsl_cluster_move_job(
            c, job, S(FAILED), now, "init: job %" PRIu64 " (%s) %s%s", from->id, from->spec->name,
            from->state == S(CANCELLED) ? "was cancelled" : wsl_cluster_state_name(from->state),
            from->checkpoint[0] ? ": give its checkpoint's path to start from it all the same"
                                : " without a checkpoint");
    else
        wsl_cluster_move_job(c, job, S(FAILED), now, "init: there is no job %" PRIu64 " any more",
                             job->init_job);
}

/* Has it all that it starts from? Else it is parked, or has failed. */
static bool check_source(struct wsl_cluster *c, struct job *job, int64_t now)
{
    struct job *source;

    if (job->init_job == 0 || job->state == S(RECOVERING))
        return true; /* one that ran had it */
    source = wsl_cluster_find_job(c, job->init_job);
    if (source && !wsl_cluster_ended(source->state)) {
        wait_for(c, job, (struct wait){.kind = WAIT_INIT, .job = source->id}, now);
        wsl_cluster_park_job(c, job, &source->parked);
        return false;
    }
    if (source && source->state == S(SUCCEEDED) && source->pb->checkpoint[0])
        return true;
    fail_for_source(c, job, now);
    return false;
}

/* ---- the line ---- */

void wsl_cluster_enqueue_job(struct wsl_cluster *c, struct job *job, int64_t now)
{
    if (!check_source(c, job, now))
        return;
    job->in_line = true;
    wsl_cluster_index_add(&c->line, job);
    /* Behind the blocker it changes nothing. */
    c->changed = c->changed || !c->blocker || job->id < c->blocker;
}

void wsl_cluster_leave_queue(struct wsl_cluster *c, struct job *job)
{
    wsl_cluster_unpark_job(job);
    if (job->in_line)
        wsl_cluster_index_remove(&c->line, job);
    job->in_line = false;
}

static void enqueue_all(struct wsl_cluster *c, struct job **list, int64_t now)
{
    while (*list) {
        struct job *job = *list;

        wsl_cluster_unpark_job(job);
        wsl_cluster_enqueue_job(c, job, now);
    }
}

static void schedule_again(struct wsl_cluster *c, int64_t when)
{
    if (when < c->next_schedule_ms)
        c->next_schedule_ms = when;
}

/* One job in its turn; false: it holds back all behind it. */
static bool consider(struct wsl_cluster *c, struct job *job, struct room *room, int64_t now)
{
    uint32_t world = job->world, available = room->free - room->kept;
    bool early = now < c->settled_ms;

    if (now < job->retry_ms) {
        /* Its slots are for it, or a job behind it has them for days. */
        schedule_again(c, job->retry_ms);
        room->kept += world <= available ? world : 0;
        return true;
    }
    if (world <= available) {
        wsl_cluster_need_record(c, job);
        if (job->damaged) { /* perhaps only for now: the others go first */
            wsl_cluster_forget_record(job);
            schedule_again(c, now + DAMAGED_RETRY_MS);
            return true;
        }
        start(c, job, now);
        room->free -= world;
        return true;
    }
    if (world <= room->all) {
        wait_for(c, job,
                 (struct wait){.kind = WAIT_SLOTS,
                               .free = room->free,
                               .all = room->all,
                               .away = room->away,
                               .kept = room->kept},
                 now);
        return false;
    }
    wait_for(c, job, (struct wait){.kind = WAIT_SIZE, .all = room->all}, now);
    /* After a restart the cluster looks small until its workers are back. */
    if (early)
        schedule_again(c, c->settled_ms);
    if (early || room->all == 0)
        return false;
    wsl_cluster_park_job(c, job, &c->too_big[world]);
    return true;
}

/* From the head of the line to the first that holds back the others. */
static void walk_line(struct wsl_cluster *c, struct room *room, int64_t now)
{
    uint64_t next = 0;

    c->blocker = 0;
    for (;;) { /* the line changes on the way */
        size_t i = wsl_cluster_index_seek(&c->line, next);
        struct job *job;

        while (i < c->line.end && !c->line.slots[i].job)
            i++;
        if (i == c->line.end)
            return;
        job = c->line.slots[i].job;
        next = job->id + 1;
        if (!consider(c, job, room, now)) {
            c->blocker = job->id;
            return;
        }
    }
}

void wsl_cluster_schedule(struct wsl_cluster *c, int64_t now)
{
    struct room room;

    if (!c->changed && now < c->next_schedule_ms)
        return;
    c->last_schedule_ms = now;
    do { /* once more when one failed, which another may have waited for */
        room = count_slots(c);
        for (uint32_t world = c->slots + 1; world <= room.all && world <= WORLD_MAX; world++)
            enqueue_all(c, &c->too_big[world], now);
        c->slots = room.all;
        enqueue_all(c, &c->released, now); /* one that fails may release others, to this list */
        c->changed = false;
        c->next_schedule_ms = INT64_MAX;
        walk_line(c, &room, now);
    } while (c->changed);
}
