/* SPDX-License-Identifier: Apache-2.0
 *
 * Workers, and what runs on them that should not.
 */
#include "daemon/coordinator/cluster/internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Index of the first node whose name is not before `name`. */
static size_t node_index(const struct wsl_cluster *c, const char *name)
{
    size_t low = 0, high = c->node_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(c->nodes[middle]->pb->name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct node *wsl_cluster_find_node(const struct wsl_cluster *c, const char *name)
{
    size_t i = node_index(c, name);

    return i < c->node_count && strcmp(c->nodes[i]->pb->name, name) == 0 ? c->nodes[i] : NULL;
}

struct node *wsl_cluster_add_node(struct wsl_cluster *c, const char *name, int64_t now)
{
    struct node *node = wsl_cluster_alloc(sizeof *node);
    size_t i = node_index(c, name);

    node->pb = wsl_cluster_alloc(sizeof *node->pb);
    wsl__v1__node__init(node->pb);
    wsl_cluster_set_text(&node->pb->name, name);
    node->pb->state = WSL__V1__NODE_STATE__LOST;
    node->pb->joined_ms = now;
    node->away_ms = now;
    c->nodes = realloc(c->nodes, (c->node_count + 1) * sizeof(*c->nodes));
    if (!c->nodes)
        abort();
    memmove(c->nodes + i + 1, c->nodes + i, (c->node_count - i) * sizeof(*c->nodes));
    c->nodes[i] = node;
    c->node_count++;
    return node;
}

void wsl_cluster_free_node(struct node *node)
{
    wsl__v1__node__free_unpacked(node->pb, NULL);
    free(node->orphans);
    free(node);
}

/* Ranks that ended there are part of generations that may still run. */
static void clear_places(struct wsl_cluster *c, const struct node *node)
{
    for (size_t i = 0; i < c->live.count; i++)
        for (size_t r = 0; r < c->live.jobs[i]->pb->n_ranks; r++)
            if (c->live.jobs[i]->ranks[r].node == node)
                c->live.jobs[i]->ranks[r].node = NULL;
}

void wsl_cluster_forget_node(struct wsl_cluster *c, struct node *node)
{
    size_t i = node_index(c, node->pb->name);

    assert(!node->connected && node->ranks == 0);
    clear_places(c, node);
    wsl_cluster_remove_saved_node(c, node->pb->name);
    c->changed = c->changed || node->orphan_count > 0;
    wsl_cluster_free_node(node);
    c->node_count--;
    memmove(c->nodes + i, c->nodes + i + 1, (c->node_count - i) * sizeof(*c->nodes));
}

static bool is_needed(const struct node *node)
{
    return node->connected || node->lost_ms || node->ranks > 0;
}

bool wsl_cluster_forget_oldest_node(struct wsl_cluster *c)
{
    struct node *oldest = NULL;

    for (size_t i = 0; i < c->node_count; i++)
        if (!is_needed(c->nodes[i]) &&
            (!oldest || c->nodes[i]->pb->last_seen_ms < oldest->pb->last_seen_ms))
            oldest = c->nodes[i];
    if (oldest)
        wsl_cluster_forget_node(c, oldest);
    return oldest != NULL;
}

void wsl_cluster_forget_old_nodes(struct wsl_cluster *c, int64_t now)
{
    for (size_t i = c->node_count; i-- > 0;) {
        struct node *node = c->nodes[i];

        if (!is_needed(node) && now - node->away_ms >= (int64_t)c->setup.forget_ms)
            wsl_cluster_forget_node(c, node);
    }
}

/* Of before a restart: what it was, and when it was last heard of. */
int wsl_cluster_restore_node(struct wsl_cluster *c, Wsl__V1__Node *pb)
{
    struct node *node;

    if (!pb->name[0] || strlen(pb->name) >= NODE_NAME_SIZE || c->node_count >= NODES_MAX ||
        wsl_cluster_find_node(c, pb->name)) {
        wsl__v1__node__free_unpacked(pb, NULL);
        return WSL_ECORRUPT;
    }
    node = wsl_cluster_add_node(c, pb->name, pb->joined_ms);
    wsl__v1__node__free_unpacked(node->pb, NULL);
    node->pb = pb;
    pb->state = WSL__V1__NODE_STATE__LOST;
    wsl_cluster_set_text(&pb->reason, "not heard of since the coordinator started");
    return 0;
}

uint32_t wsl_cluster_slots_of(const struct node *node)
{
    return node->pb->facts ? node->pb->facts->slots : 0;
}

uint32_t wsl_cluster_slots_used(const struct node *node)
{
    return node->ranks + (uint32_t)node->orphan_count;
}

/* ---- orphans ---- */

static size_t orphan_index(const struct node *node, const Wsl__V1__TrainerKey *key)
{
    size_t i = 0;

    while (i < node->orphan_count &&
           (node->orphans[i].job != key->job || node->orphans[i].generation != key->generation ||
            node->orphans[i].rank != key->rank))
        i++;
    return i;
}

void wsl_cluster_add_orphan(struct wsl_cluster *c, struct node *node,
                            const Wsl__V1__TrainerKey *key)
{
    if (node->orphan_count >= ORPHANS_MAX || orphan_index(node, key) < node->orphan_count)
        return;
    node->orphans = wsl_cluster_grow(node->orphans, node->orphan_count, &node->orphan_capacity,
                                     sizeof *node->orphans);
    node->orphans[node->orphan_count++] = (struct orphan){key->job, key->generation, key->rank};
    c->changed = true;
}

void wsl_cluster_remove_orphan(struct wsl_cluster *c, struct node *node,
                               const Wsl__V1__TrainerKey *key)
{
    size_t i = orphan_index(node, key);

    if (i == node->orphan_count)
        return;
    node->orphans[i] = node->orphans[--node->orphan_count];
    c->changed = true;
}

void wsl_cluster_drop_orphans(struct wsl_cluster *c, struct node *node)
{
    c->changed = c->changed || node->orphan_count > 0;
    node->orphan_count = 0;
}

/* ---- looking ---- */

static void list_jobs(const struct wsl_cluster *c, const struct node *node)
{
    Wsl__V1__Node *pb = node->pb;

    for (size_t i = 0; i < pb->n_jobs; i++)
        free(pb->jobs[i]);
    free(pb->jobs);
    pb->jobs = NULL;
    pb->n_jobs = 0;
    pb->slots_used = wsl_cluster_slots_used(node);
    if (pb->slots_used == 0)
        return;
    pb->jobs = wsl_cluster_alloc(pb->slots_used * sizeof *pb->jobs);
    for (size_t i = 0; i < c->live.count; i++) {
        const struct job *job = c->live.jobs[i];

        for (size_t k = 0; k < job->pb->n_ranks; k++)
            if (job->ranks[k].state != RANK_ENDED && job->ranks[k].node == node)
                wsl_cluster_set_textf(&pb->jobs[pb->n_jobs++], "%" PRIu64 "/%zu", job->pb->id, k);
    }
    for (size_t i = 0; i < node->orphan_count; i++)
        wsl_cluster_set_textf(&pb->jobs[pb->n_jobs++], "%" PRIu64 "/%u", node->orphans[i].job,
                              node->orphans[i].rank);
}

size_t wsl_cluster_node_count(const struct wsl_cluster *c)
{
    return c->node_count;
}

const Wsl__V1__Node *wsl_cluster_node_at(struct wsl_cluster *c, size_t index)
{
    list_jobs(c, c->nodes[index]);
    return c->nodes[index]->pb;
}

const Wsl__V1__Node *wsl_cluster_node(struct wsl_cluster *c, const char *name)
{
    struct node *node = wsl_cluster_find_node(c, name);

    if (!node)
        return NULL;
    list_jobs(c, node);
    return node->pb;
}
