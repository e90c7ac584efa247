/* SPDX-License-Identifier: Apache-2.0
 *
 * What this worker knows of its trainers, and what the coordinator must be told next. Pure: no
 * clock, no file, no process, no network; the loop thread owns it.
 *
 * A session begins with wsl_table_hello() (everything is in the Hello), nothing is sent until
 * wsl_table_welcome() has set the positions, then wsl_table_next() names one message at a time.
 * An ended trainer is kept until the coordinator has recorded its end, holds its log and metrics,
 * and said Forget.
 */
#ifndef WSL_DAEMON_WORKER_TABLE_H
#define WSL_DAEMON_WORKER_TABLE_H

#include "daemon/worker/outcome.h"
#include "daemon/worker/spool.h"
#include "wsl/v1/agent.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WSL_TABLE_TRAINERS_MAX = 512,  /* running or kept; a Hello with all of them fits a message */
    WSL_TABLE_ROUNDS_MAX = 8,      /* exchange rounds kept of one trainer; older ones go first */
    WSL_TABLE_PART_MAX = 64 << 10, /* bytes of one */
    WSL_GPU_ID_SIZE = 64,          /* of a GPU's name in CUDA_VISIBLE_DEVICES */
};

struct wsl_trainer_key {
    uint64_t job;
    uint32_t generation;
    uint32_t rank;
};

struct wsl_part {
    Wsl__V1__ExchangePart *message; /* owned */
    bool due;                       /* to be sent in this session */
};

struct wsl_trainer {
    struct wsl_trainer_key key;
    bool ended;
    int64_t pid;
    int64_t time_ms; /* of its start, then of its end */
    char phase[32];
    char gpu[WSL_GPU_ID_SIZE]; /* what it was given; empty: none in particular */
    Wsl__V1__TrainerOutcome outcome;
    char reason[WSL_REASON_SIZE];
    struct wsl_spool log, metrics;
    struct wsl_part parts[WSL_TABLE_ROUNDS_MAX];
    int part_count;
    bool report_due;
    bool exit_recorded;
    bool forget;
    bool unknown; /* this session's Welcome did not know it */
    bool in_hello;
    void *runner; /* the process side; not touched here */
};

struct wsl_table {
    uint32_t slots;
    struct wsl_trainer **trainers;
    size_t count;
    size_t turn; /* whose log is next */
    bool welcomed;
};

void wsl_table_init(struct wsl_table *table, uint32_t slots);
void wsl_table_fini(struct wsl_table *table); /* frees the entries */

/* Asserts what always holds between two calls; cheap enough to be asked after each in tests. */
void wsl_table_check(const struct wsl_table *table);

struct wsl_trainer *wsl_table_find(const struct wsl_table *table,
                                   const struct wsl_trainer_key *key);
uint32_t wsl_table_running(const struct wsl_table *table);

enum wsl_admit { WSL_ADMIT_START, WSL_ADMIT_KNOWN, WSL_ADMIT_REFUSE };
/* What to do with a StartTrainer; the reason of a refusal is one line. */
enum wsl_admit wsl_table_admit(const struct wsl_table *table, const struct wsl_trainer_key *key,
                               char ret_reason[WSL_REASON_SIZE]);

/* A new entry, not ended and not yet reported; NULL: table full, key known, or out of memory. */
struct wsl_trainer *wsl_table_add(struct wsl_table *table, const struct wsl_trainer_key *key);
void wsl_table_remove(struct wsl_table *table, struct wsl_trainer *trainer); /* frees it */

/* ---- what happened to a trainer ---- */

void wsl_table_started(struct wsl_trainer *trainer, int64_t pid, int64_t time_ms);
void wsl_table_phase(struct wsl_trainer *trainer, const char *phase);
/* Keeps a copy, in the trainer's own name, and sends it. WSL_ELIMIT: too large. */
int wsl_table_part(struct wsl_trainer *trainer, const Wsl__V1__ExchangePart *part);
/* Nothing is written to its files any more; these are their sizes. */
void wsl_table_ended(struct wsl_trainer *trainer, int64_t time_ms, uint64_t log_bytes,
                     uint64_t metric_bytes);

/* ---- what the coordinator said ---- */

void wsl_table_hello(struct wsl_table *table); /* the Hello is made now: all entries are in it */
void wsl_table_welcome(struct wsl_table *table, const Wsl__V1__Welcome *welcome);
void wsl_table_ack(struct wsl_table *table, const Wsl__V1__Ack *ack);
void wsl_table_forget(struct wsl_table *table, const struct wsl_trainer_key *key);
void wsl_table_closed(struct wsl_table *table); /* the session ended */

/* Its run directory and its entry may go. */
bool wsl_table_settled(const struct wsl_trainer *trainer);
/* Its end and its bytes are with the coordinator (no Forget needed): a daemon that stops may go. */
bool wsl_table_delivered(const struct wsl_trainer *trainer);

/* ---- what to send ---- */

enum wsl_send_kind { WSL_SEND_REPORT, WSL_SEND_PART, WSL_SEND_LOG, WSL_SEND_METRICS };
struct wsl_send {
    enum wsl_send_kind kind;
    struct wsl_trainer *trainer;
    struct wsl_part *part; /* of WSL_SEND_PART */
    uint64_t offset;       /* of LOG and METRICS */
    size_t bytes;          /* at most so many; METRICS: whole messages, see spool.h */
};

/* The next message: reports, then parts, then (with `bulk`) logs and metrics, trainers in turn. The
 * caller sends it and says so, or asks again later. False: nothing. */
bool wsl_table_next(struct wsl_table *table, bool bulk, struct wsl_send *ret);
/* `bytes` of LOG or METRICS were sent; 0: no whole message was there yet. */
void wsl_table_sent(struct wsl_table *table, const struct wsl_send *send, size_t bytes);

/* The report of an entry; points into it and into *key. */
void wsl_table_report(const struct wsl_trainer *trainer, Wsl__V1__TrainerReport *ret,
                      Wsl__V1__TrainerKey *key);
void wsl_table_key_message(const struct wsl_trainer_key *key, Wsl__V1__TrainerKey *ret);
/* NULL gives a key of zeros, which no trainer has. */
struct wsl_trainer_key wsl_table_key(const Wsl__V1__TrainerKey *key);

#endif
