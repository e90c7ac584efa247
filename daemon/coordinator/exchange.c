/* SPDX-License-Identifier: Apache-2.0
 *
 * All-gathers of small blobs among the ranks of a generation. Kept in memory only: workers send
 * their parts again in every session, so a restarted coordinator gathers them again.
 */
#include "daemon/coordinator/machine_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct wsl_exchange *wsl_job_exchange(const struct wsl_job *job, uint32_t round)
{
    for (int i = 0; i < job->exchange_count; i++)
        if (job->exchanges[i].round == round)
            return &job->exchanges[i];
    return NULL;
}

static struct wsl_exchange *round_of(struct wsl_job *job, uint32_t round)
{
    struct wsl_exchange *e = (struct wsl_exchange *)wsl_job_exchange(job, round);

    if (e)
        return e;
    if (job->exchange_count == WSL_EXCHANGE_ROUNDS) {
        if (round < job->exchanges[0].round)
            return NULL; /* long past */
        for (uint32_t r = 0; r < job->rank_count; r++)
            free(job->exchanges[0].blobs[r].data);
        free(job->exchanges[0].blobs);
        memmove(job->exchanges, job->exchanges + 1,
                (WSL_EXCHANGE_ROUNDS - 1) * sizeof *job->exchanges);
        job->exchange_count--;
    }
    e = &job->exchanges[job->exchange_count++];
    *e = (struct wsl_exchange){.round = round};
    e->blobs = wsl_need(calloc(job->rank_count, sizeof *e->blobs));
    return e;
}

static void answer(struct wsl_step *s, const struct wsl_job *job, const struct wsl_node *node,
                   uint32_t round)
{
    struct wsl_output *out;

    if (!node->session)
        return;
    out = wsl_step_output(s, WSL_OUT_EXCHANGE);
    out->session = node->session;
    out->key = wsl_job_key(job, 0);
    out->round = round;
}

static void answer_all(struct wsl_step *s, const struct wsl_job *job, uint32_t round)
{
    for (uint32_t r = 0; r < job->rank_count; r++) {
        bool first = true;

        for (uint32_t i = 0; i < r && first; i++)
            first = job->ranks[i].node != job->ranks[r].node;
        if (first) /* one answer serves all ranks of a worker */
            answer(s, job, job->ranks[r].node, round);
    }
}

void wsl_exchange_part(struct wsl_step *s, struct wsl_node *node, const Wsl__V1__ExchangePart *part)
{
    struct wsl_job *job = part->key ? wsl_machine_find(s->m, part->key->job) : NULL;
    uint32_t rank = part->key ? part->key->rank : 0;
    struct wsl_exchange *e;
    ProtobufCBinaryData *blob;

    if (!job || !job->open || job->stop || part->key->generation != job->generation ||
        rank >= job->rank_count || job->ranks[rank].node != node ||
        part->blob.len > WSL_EXCHANGE_BLOB)
        return;
    e = round_of(job, part->round);
    if (!e)
        return;
    blob = &e->blobs[rank];
    if (!blob->data) {
        if (e->bytes + part->blob.len > WSL_EXCHANGE_ALL) {
            wsl_job_event(s, job, "exchange", "the parts of round %u are more than %d bytes",
                          part->round, WSL_EXCHANGE_ALL);
            return;
        }
        blob->data = wsl_need(malloc(part->blob.len + 1));
        if (part->blob.len > 0)
            memcpy(blob->data, part->blob.data, part->blob.len);
        blob->len = part->blob.len;
        e->bytes += part->blob.len;
        if (++e->have == job->rank_count)
            answer_all(s, job, part->round);
    } else if (e->have == job->rank_count) {
        answer(s, job, node, part->round); /* asked again: the answer was lost */
    }
}
