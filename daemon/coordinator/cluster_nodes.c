/* SPDX-License-Identifier: Apache-2.0
 *
 * Workers, and what runs on them that should not.
 */
#include "daemon/coordinator/internal.h"

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

struct node *find_node(const struct wsl_cluster *c, const char *name)
{
    size_t i = node_index(c, name);

    return i < c->node_count && strcmp(c->nodes[i]->pb->name, name) == 0 ? c->nodes[i] : NULL;
}

struct node *add_node(struct wsl_cluster *c, const char *name, int64_t now)
{
    struct node *node = must_alloc(sizeof *node);
    size_t i = node_index(c, name);

    node->pb = must_alloc(sizeof *node->pb);
    wsl__v1__node__init(node->pb);
    set_text(&node->pb->name, name);
    node->pb->state = WSL__V1__NODE_STATE__LOST;
    node->pb->joined_ms = now;
    c->nodes = realloc(c->nodes, (c->node_count + 1) * sizeof(*c->nodes));
    if (!c->nodes)
        abort();
    memmove(c->nodes + i + 1, c->nodes + i, (c->node_count - i) * sizeof(*c->nodes));
    c->nodes[i] = node;
    c->node_count++;
    return node;
}

void free_node(struct node *node)
{
    wsl__v1__node__free_unpacked(node->pb, NULL);
    free(node->strays);
    free(node);
}

bool forget_node(struct wsl_cluster *c)
{
    size_t oldest = c->node_count;

    for (size_t i = 0; i < c->node_count; i++) {
        const struct node *node = c->nodes[i];

        if (node->connected || node->lost_ms || node->ranks > 0)
            continue;
        if (oldest == c->node_count || node->pb->last_seen_ms < c->nodes[oldest]->pb->last_seen_ms)
            oldest = i;
    }
    if (oldest == c->node_count)
        return false;
    free_node(c->nodes[oldest]);
    c->node_count--;
    memmove(c->nodes + oldest, c->nodes + oldest + 1, (c->node_count - oldest) * sizeof(*c->nodes));
    return true;
}

uint32_t slots_of(const struct node *node)
{
    return node->pb->facts ? node->pb->facts->slots : 0;
}

uint32_t slots_used(const struct node *node)
{
    return node->ranks + (uint32_t)node->stray_count;
}

/* ---- strays ---- */

static size_t stray_index(const struct node *node, const Wsl__V1__TrainerKey *key)
{
    size_t i = 0;

    while (i < node->stray_count &&
           (node->strays[i].job != key->job || node->strays[i].generation != key->generation ||
            node->strays[i].rank != key->rank))
        i++;
    return i;
}

void add_stray(struct wsl_cluster *c, struct node *node, const Wsl__V1__TrainerKey *key)
{
    if (node->stray_count >= STRAYS_MAX || stray_index(node, key) < node->stray_count)
        return;
    node->strays =
        must_grow(node->strays, node->stray_count, &node->stray_capacity, sizeof *node->strays);
    node->strays[node->stray_count++] = (struct stray){key->job, key->generation, key->rank};
    c->changed = true;
}

void remove_stray(struct wsl_cluster *c, struct node *node, const Wsl__V1__TrainerKey *key)
{
    size_t i = stray_index(node, key);

    if (i == node->stray_count)
        return;
    node->strays[i] = node->strays[--node->stray_count];
    c->changed = true;
}

void drop_strays(struct wsl_cluster *c, struct node *node)
{
    c->changed = c->changed || node->stray_count > 0;
    node->stray_count = 0;
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
    pb->slots_used = slots_used(node);
    if (pb->slots_used == 0)
        return;
    pb->jobs = must_alloc(pb->slots_used * sizeof *pb->jobs);
    for (size_t i = 0; i < c->live.count; i++) {
        const struct job *job = c->live.jobs[i];

        for (size_t k = 0; k < job->pb->n_ranks; k++)
            if (job->ranks[k].state != RANK_ENDED && job->ranks[k].node == node)
                set_textf(&pb->jobs[pb->n_jobs++], "%" PRIu64 "/%zu", job->pb->id, k);
    }
    for (size_t i = 0; i < node->stray_count; i++)
        set_textf(&pb->jobs[pb->n_jobs++], "%" PRIu64 "/%u", node->strays[i].job,
                  node->strays[i].rank);
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
    struct node *node = find_node(c, name);

    if (!node)
        return NULL;
    list_jobs(c, node);
    return node->pb;
}
