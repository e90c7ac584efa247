/* SPDX-License-Identifier: Apache-2.0
 *
 * How the ranks of a generation agree and find each other: every rank gives a part of each round;
 * when all have, or two of them differ, every worker gets one answer for its ranks. Of a round only
 * rank 0's blob and one rank's facts are kept, so that it costs the same whatever the world.
 */
#include "daemon/coordinator/cluster/internal.h"

#include <stdlib.h>
#include <string.h>

enum {
    ROUNDS_MAX = 8, /* of a generation */
    BLOB_MAX = 4096,
    FACTS_MAX = 32,
    FACT_TEXT_MAX = 200,
};

struct round {
    bool *has; /* by rank: its part was here */
    uint32_t have;
    uint32_t first;               /* the rank whose facts the others' are compared with */
    Wsl__V1__ExchangePart *facts; /* of it */
    ProtobufCBinaryData blob;     /* rank 0's */
    char *error;                  /* two ranks differ; NULL: they do not */
};

void wsl_cluster_forget_rounds(struct job *job)
{
    for (size_t i = 0; job->rounds && i < ROUNDS_MAX; i++) {
        struct round *r = &job->rounds[i];

        free(r->has);
        free(r->blob.data);
        free(r->error);
        if (r->facts)
            wsl__v1__exchange_part__free_unpacked(r->facts, NULL);
    }
    free(job->rounds);
    job->rounds = NULL;
}

/* ---- answering ---- */

static void answer(struct wsl_cluster *c, const struct job *job, uint32_t number, const char *node)
{
    const struct round *round = &job->rounds[number];
    Wsl__V1__ExchangeResult *r = wsl_cluster_alloc(sizeof *r);

    wsl__v1__exchange_result__init(r);
    r->job = job->pb->id;
    r->generation = job->pb->generation;
    r->round = number;
    if (round->error) {
        wsl_cluster_set_text(&r->error, round->error);
    } else {
        r->blob.len = round->blob.len;
        r->blob.data = wsl_cluster_alloc(round->blob.len + 1);
        memcpy(r->blob.data, round->blob.data, round->blob.len);
    }
    wsl_cluster_send_exchange(c, node, r);
}

static void answer_all(struct wsl_cluster *c, struct job *job, uint32_t number)
{
    for (size_t i = 0; i < job->pb->n_ranks; i++)
        job->ranks[i].node->marked = false;
    for (size_t i = 0; i < job->pb->n_ranks; i++) {
        if (!job->ranks[i].node->marked)
            answer(c, job, number, job->pb->ranks[i]->node);
        job->ranks[i].node->marked = true;
    }
}

/* ---- comparing ---- */

static bool is_sound(const Wsl__V1__ExchangePart *part)
{
    if (part->round >= ROUNDS_MAX || part->blob.len > BLOB_MAX || part->n_facts > FACTS_MAX)
        return false;
    for (size_t i = 0; i < part->n_facts; i++)
        if (strlen(part->facts[i]->name) > FACT_TEXT_MAX ||
            strlen(part->facts[i]->value) > FACT_TEXT_MAX ||
            strlen(part->facts[i]->remedy) > FACT_TEXT_MAX)
            return false;
    return true;
}

static const char *value_at(const Wsl__V1__ExchangePart *part, size_t i)
{
    return i < part->n_facts ? part->facts[i]->value : "not told";
}

/* The lower rank comes first, whichever was here first. */
static void note_difference(struct job *job, struct round *round, const Wsl__V1__ExchangePart *part,
                            size_t i)
{
    bool swap = part->key->rank < round->first;
    const Wsl__V1__ExchangePart *a = swap ? part : round->facts, *b = swap ? round->facts : part;
    const Wsl__V1__RankFact *fact = i < a->n_facts ? a->facts[i] : b->facts[i];

    wsl_cluster_set_textf(
        &round->error, "%s differs: %.100s on %s (rank %u), %.100s on %s (rank %u); %.120s",
        fact->name, value_at(a, i), job->pb->ranks[a->key->rank]->node, a->key->rank,
        value_at(b, i), job->pb->ranks[b->key->rank]->node, b->key->rank, fact->remedy);
}

/* The first fact that differs, also by being there on one of them only. */
static void compare(struct job *job, struct round *round, const Wsl__V1__ExchangePart *part)
{
    const Wsl__V1__ExchangePart *first = round->facts;
    size_t count = part->n_facts > first->n_facts ? part->n_facts : first->n_facts;

    for (size_t i = 0; i < count && !round->error; i++)
        if (i >= first->n_facts || i >= part->n_facts ||
            strcmp(first->facts[i]->name, part->facts[i]->name) != 0 ||
            strcmp(first->facts[i]->value, part->facts[i]->value) != 0)
            note_difference(job, round, part, i);
}

/* ---- taking a part ---- */

static struct round *round_of(struct job *job, uint32_t number)
{
    if (!job->rounds)
        job->rounds = wsl_cluster_alloc(ROUNDS_MAX * sizeof *job->rounds);
    if (!job->rounds[number].has)
        job->rounds[number].has = wsl_cluster_alloc(job->pb->n_ranks * sizeof(bool));
    return &job->rounds[number];
}

static void take_part(struct job *job, struct round *round, const Wsl__V1__ExchangePart *part)
{
    uint32_t rank = part->key->rank;

    round->have += !round->has[rank];
    round->has[rank] = true;
    if (rank == 0) {
        free(round->blob.data);
        round->blob.data = wsl_cluster_alloc(part->blob.len + 1);
        round->blob.len = part->blob.len;
        if (part->blob.len > 0)
            memcpy(round->blob.data, part->blob.data, part->blob.len);
    }
    if (!round->facts) {
        round->facts = (Wsl__V1__ExchangePart *)wsl_cluster_copy_message(&part->base);
        round->first = rank;
    }
    compare(job, round, part);
}

void wsl_cluster_exchange(struct wsl_cluster *c, const char *name,
                          const Wsl__V1__ExchangePart *part, int64_t now)
{
    struct job *job = wsl_cluster_current_job(c, wsl_cluster_find_node(c, name), part->key);
    struct round *round;
    bool answered;

    (void)now;
    if (!job || !is_sound(part))
        return;
    round = round_of(job, part->round);
    answered = round->error || round->have == job->pb->n_ranks;
    if (!answered)
        take_part(job, round, part);
    if (answered) /* said again after a reconnect: the answer may have been lost; or late */
        answer(c, job, part->round, name);
    else if (round->error || round->have == job->pb->n_ranks)
        answer_all(c, job, part->round);
}
