/* SPDX-License-Identifier: Apache-2.0
 *
 * Positions, exits and answers of every trainer until the coordinator has recorded them.
 */
#include "daemon/worker/table.h"

#include "daemon/worker/text.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void wsl_table_init(struct wsl_table *table, uint32_t slots)
{
    *table = (struct wsl_table){.slots = slots};
}

static void free_trainer(struct wsl_trainer *trainer)
{
    for (int i = 0; i < trainer->part_count; i++)
        wsl__v1__exchange_part__free_unpacked(trainer->parts[i].message, NULL);
    free(trainer);
}

void wsl_table_fini(struct wsl_table *table)
{
    for (size_t i = 0; i < table->count; i++)
        free_trainer(table->trainers[i]);
    free(table->trainers);
    *table = (struct wsl_table){0};
}

static void check_trainer(const struct wsl_trainer *t)
{
    assert(t->part_count >= 0 && t->part_count <= WSL_TABLE_ROUNDS_MAX);
    for (int i = 0; i < t->part_count; i++)
        assert(t->parts[i].message);
    assert(t->log.acked <= t->log.sent && t->metrics.acked <= t->metrics.sent);
    assert(!t->exit_recorded || t->ended); /* nobody has recorded an end that was not reported */
    assert(memchr(t->phase, '\0', sizeof t->phase) && memchr(t->reason, '\0', sizeof t->reason));
}

void wsl_table_check(const struct wsl_table *table)
{
    assert(table->count <= WSL_TABLE_TRAINERS_MAX);
    for (size_t i = 0; i < table->count; i++) {
        check_trainer(table->trainers[i]);
        assert(wsl_table_find(table, &table->trainers[i]->key) == table->trainers[i]); /* once */
    }
}

static bool same_key(const struct wsl_trainer_key *a, const struct wsl_trainer_key *b)
{
    return a->job == b->job && a->generation == b->generation && a->rank == b->rank;
}

struct wsl_trainer *wsl_table_find(const struct wsl_table *table, const struct wsl_trainer_key *key)
{
    for (size_t i = 0; i < table->count; i++)
        if (same_key(&table->trainers[i]->key, key))
            return table->trainers[i];
    return NULL;
}

uint32_t wsl_table_running(const struct wsl_table *table)
{
    uint32_t running = 0;

    for (size_t i = 0; i < table->count; i++)
        running += !table->trainers[i]->ended;
    return running;
}

enum wsl_admit wsl_table_admit(const struct wsl_table *table, const struct wsl_trainer_key *key,
                               char ret_reason[WSL_REASON_SIZE])
{
    uint32_t running = wsl_table_running(table);

    if (wsl_table_find(table, key))
        return WSL_ADMIT_KNOWN;
    for (size_t i = 0; i < table->count; i++) {
        const struct wsl_trainer_key *other = &table->trainers[i]->key;

        if (other->job == key->job && other->generation > key->generation) {
            snprintf(ret_reason, WSL_REASON_SIZE, "not started: generation %u is here already",
                     other->generation);
            return WSL_ADMIT_REFUSE;
        }
    }
    if (running >= table->slots) {
        snprintf(ret_reason, WSL_REASON_SIZE, "not started: %u of %u slots are in use", running,
                 table->slots);
        return WSL_ADMIT_REFUSE;
    }
    if (table->count >= WSL_TABLE_TRAINERS_MAX) {
        snprintf(ret_reason, WSL_REASON_SIZE,
                 "not started: %zu ended trainers wait to be recorded and forgotten",
                 table->count - running);
        return WSL_ADMIT_REFUSE;
    }
    return WSL_ADMIT_START;
}

struct wsl_trainer *wsl_table_add(struct wsl_table *table, const struct wsl_trainer_key *key)
{
    struct wsl_trainer *trainer;
    struct wsl_trainer **more;

    if (table->count >= WSL_TABLE_TRAINERS_MAX || wsl_table_find(table, key))
        return NULL;
    more = realloc(table->trainers, (table->count + 1) * sizeof *more);
    if (!more)
        return NULL;
    table->trainers = more;
    trainer = calloc(1, sizeof *trainer);
    if (!trainer)
        return NULL;
    trainer->key = *key;
    snprintf(trainer->phase, sizeof trainer->phase, "starting");
    table->trainers[table->count++] = trainer;
    return trainer;
}

void wsl_table_remove(struct wsl_table *table, struct wsl_trainer *trainer)
{
    size_t i = 0;

    while (i < table->count && table->trainers[i] != trainer)
        i++;
    assert(i < table->count);
    memmove(&table->trainers[i], &table->trainers[i + 1],
            (table->count - i - 1) * sizeof table->trainers[0]);
    table->count--;
    free_trainer(trainer);
}

/* ---- what happened to a trainer ---- */

void wsl_table_started(struct wsl_trainer *trainer, int64_t pid, int64_t time_ms)
{
    trainer->pid = pid;
    trainer->time_ms = time_ms;
    trainer->report_due = true;
}

void wsl_table_phase(struct wsl_trainer *trainer, const char *phase)
{
    char line[sizeof trainer->phase];

    wsl_text_line(line, sizeof line, phase, strlen(phase));
    if (trainer->ended || strcmp(line, trainer->phase) == 0)
        return;
    memcpy(trainer->phase, line, sizeof line);
    trainer->report_due = true;
}

static Wsl__V1__ExchangePart *copy_part(const Wsl__V1__ExchangePart *part, Wsl__V1__TrainerKey *key)
{
    Wsl__V1__ExchangePart named = *part;
    size_t size;
    uint8_t *bytes;
    Wsl__V1__ExchangePart *copy = NULL;

    named.key = key;
    size = wsl__v1__exchange_part__get_packed_size(&named);
    bytes = malloc(size);
    if (bytes)
        copy = wsl__v1__exchange_part__unpack(NULL, wsl__v1__exchange_part__pack(&named, bytes),
                                              bytes);
    free(bytes);
    return copy;
}

static void free_part(const struct wsl_part *part)
{
    wsl__v1__exchange_part__free_unpacked(part->message, NULL);
}

int wsl_table_part(struct wsl_trainer *trainer, const Wsl__V1__ExchangePart *message)
{
    struct wsl_part *part = NULL;
    Wsl__V1__TrainerKey key;
    Wsl__V1__ExchangePart *copy;

    if (wsl__v1__exchange_part__get_packed_size(message) > WSL_TABLE_PART_MAX)
        return WSL_ELIMIT;
    wsl_table_key_message(&trainer->key, &key);
    copy = copy_part(message, &key);
    if (!copy)
        return WSL_ENOMEM;
    for (int i = 0; i < trainer->part_count; i++)
        if (trainer->parts[i].message->round == message->round)
            part = &trainer->parts[i];
    if (part) {
        free_part(part);
    } else if (trainer->part_count < WSL_TABLE_ROUNDS_MAX) {
        part = &trainer->parts[trainer->part_count++];
    } else {
        free_part(&trainer->parts[0]);
        memmove(&trainer->parts[0], &trainer->parts[1],
                (WSL_TABLE_ROUNDS_MAX - 1) * sizeof trainer->parts[0]);
        part = &trainer->parts[WSL_TABLE_ROUNDS_MAX - 1];
    }
    *part = (struct wsl_part){copy, true};
    return 0;
}

void wsl_table_ended(struct wsl_trainer *trainer, int64_t time_ms, uint64_t log_bytes,
                     uint64_t metric_bytes)
{
    trainer->ended = true;
    trainer->time_ms = time_ms;
    snprintf(trainer->phase, sizeof trainer->phase, "exited");
    trainer->log.size = log_bytes;
    trainer->metrics.size = metric_bytes;
    trainer->metrics.waits = 0;
    trainer->report_due = true;
    for (int i = 0; i < trainer->part_count; i++)
        trainer->parts[i].due = false; /* nobody waits for its answer */
}

/* ---- what the coordinator said ---- */

void wsl_table_hello(struct wsl_table *table)
{
    table->welcomed = false;
    for (size_t i = 0; i < table->count; i++) {
        struct wsl_trainer *t = table->trainers[i];

        t->in_hello = true;
        t->unknown = false;
        t->report_due = false;
        for (int p = 0; p < t->part_count; p++)
            t->parts[p].due = !t->ended;
    }
}

void wsl_table_welcome(struct wsl_table *table, const Wsl__V1__Welcome *welcome)
{
    table->welcomed = true;
    for (size_t i = 0; i < table->count; i++) {
        struct wsl_trainer *t = table->trainers[i];
        const Wsl__V1__Ack *ack = NULL;

        for (size_t a = 0; a < welcome->n_acks && !ack; a++) {
            struct wsl_trainer_key key = wsl_table_key(welcome->acks[a]->key);

            if (same_key(&key, &t->key))
                ack = welcome->acks[a];
        }
        t->unknown = t->in_hello && !ack;
        wsl_spool_resume(&t->log, ack ? ack->log_offset : 0);
        wsl_spool_resume(&t->metrics, ack ? ack->metric_offset : 0);
        if (ack && ack->exit_recorded)
            t->exit_recorded = true;
    }
}

void wsl_table_ack(struct wsl_table *table, const Wsl__V1__Ack *ack)
{
    struct wsl_trainer_key key = wsl_table_key(ack->key);
    struct wsl_trainer *t = wsl_table_find(table, &key);

    if (!t || !table->welcomed)
        return;
    wsl_spool_ack(&t->log, ack->log_offset);
    wsl_spool_ack(&t->metrics, ack->metric_offset);
    if (ack->exit_recorded && t->ended)
        t->exit_recorded = true;
}

void wsl_table_forget(struct wsl_table *table, const struct wsl_trainer_key *key)
{
    struct wsl_trainer *t = wsl_table_find(table, key);

    if (t)
        t->forget = true;
}

void wsl_table_closed(struct wsl_table *table)
{
    table->welcomed = false;
    for (size_t i = 0; i < table->count; i++)
        table->trainers[i]->in_hello = false;
}

bool wsl_table_delivered(const struct wsl_trainer *t)
{
    return t->ended && t->exit_recorded && wsl_spool_done(&t->log) && wsl_spool_done(&t->metrics);
}

bool wsl_table_settled(const struct wsl_trainer *t)
{
    /* a coordinator that does not know it will never acknowledge anything of it */
    return t->ended && t->forget && (t->unknown || wsl_table_delivered(t));
}

/* ---- what to send ---- */

static bool next_urgent(struct wsl_table *table, struct wsl_send *ret)
{
    for (size_t i = 0; i < table->count; i++)
        if (table->trainers[i]->report_due) {
            *ret = (struct wsl_send){.kind = WSL_SEND_REPORT, .trainer = table->trainers[i]};
            return true;
        }
    for (size_t i = 0; i < table->count; i++) {
        struct wsl_trainer *t = table->trainers[i];

        for (int p = 0; p < t->part_count; p++)
            if (t->parts[p].due) {
                *ret = (struct wsl_send){.kind = WSL_SEND_PART, .trainer = t, .part = &t->parts[p]};
                return true;
            }
    }
    return false;
}

static bool next_bulk(struct wsl_table *table, struct wsl_send *ret)
{
    for (size_t i = 0; i < table->count; i++) {
        size_t at = (table->turn + i) % table->count;
        struct wsl_trainer *t = table->trainers[at];
        size_t metrics = wsl_spool_ready(&t->metrics), log = wsl_spool_ready(&t->log);

        if (metrics > 0)
            *ret = (struct wsl_send){WSL_SEND_METRICS, t, NULL, t->metrics.sent, metrics};
        else if (log > 0)
            *ret = (struct wsl_send){WSL_SEND_LOG, t, NULL, t->log.sent, log};
        else
            continue;
        table->turn = at + 1;
        return true;
    }
    return false;
}

bool wsl_table_next(struct wsl_table *table, bool bulk, struct wsl_send *ret)
{
    if (!table->welcomed)
        return false;
    return next_urgent(table, ret) || (bulk && next_bulk(table, ret));
}

void wsl_table_sent(struct wsl_table *table, const struct wsl_send *send, size_t bytes)
{
    struct wsl_trainer *t = send->trainer;

    (void)table;
    switch (send->kind) {
    case WSL_SEND_REPORT:
        t->report_due = false;
        break;
    case WSL_SEND_PART:
        send->part->due = false;
        break;
    case WSL_SEND_LOG:
        t->log.sent = send->offset + bytes;
        if (bytes == 0) /* the file is shorter than it was */
            t->log.waits = t->log.size;
        break;
    case WSL_SEND_METRICS:
        t->metrics.sent = send->offset + bytes;
        if (bytes == 0)
            t->metrics.waits = t->metrics.size;
        break;
    }
}

/* ---- messages ---- */

void wsl_table_key_message(const struct wsl_trainer_key *key, Wsl__V1__TrainerKey *ret)
{
    wsl__v1__trainer_key__init(ret);
    ret->job = key->job;
    ret->generation = key->generation;
    ret->rank = key->rank;
}

struct wsl_trainer_key wsl_table_key(const Wsl__V1__TrainerKey *key)
{
    if (!key)
        return (struct wsl_trainer_key){0};
    return (struct wsl_trainer_key){key->job, key->generation, key->rank};
}

void wsl_table_report(const struct wsl_trainer *t, Wsl__V1__TrainerReport *ret,
                      Wsl__V1__TrainerKey *key)
{
    wsl_table_key_message(&t->key, key);
    wsl__v1__trainer_report__init(ret);
    ret->key = key;
    ret->state =
        t->ended ? WSL__V1__TRAINER_STATE__TRAINER_EXITED : WSL__V1__TRAINER_STATE__TRAINER_STARTED;
    ret->pid = t->pid;
    ret->phase = (char *)t->phase;
    ret->time_ms = t->time_ms;
    if (t->ended) {
        ret->outcome = t->outcome;
        ret->reason = (char *)t->reason;
        ret->log_bytes = t->log.size;
        ret->metric_bytes = t->metrics.size;
    }
}
