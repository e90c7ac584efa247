/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the state machine share: one step's context, and who does what.
 */
#ifndef WSL_DAEMON_COORDINATOR_MACHINE_INTERNAL_H
#define WSL_DAEMON_COORDINATOR_MACHINE_INTERNAL_H

#include "daemon/coordinator/machine.h"

/* One step under way. */
struct wsl_step {
    struct wsl_machine *m;
    struct wsl_now now;
    struct wsl_outputs *out;
};

/* ---- machine.c ---- */
struct wsl_output *wsl_step_output(struct wsl_step *s, enum wsl_output_kind kind);
void wsl_step_dirty(struct wsl_step *s, struct wsl_job *job);
struct wsl_job *wsl_machine_add_job(struct wsl_machine *m, uint64_t id);

/* ---- job.c: moves, ends, budgets ---- */
void wsl_job_event(struct wsl_step *s, struct wsl_job *job, const char *kind, const char *format,
                   ...) __attribute__((format(printf, 4, 5)));
void wsl_job_set_reason(struct wsl_step *s, struct wsl_job *job, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void wsl_job_move(struct wsl_step *s, struct wsl_job *job, Wsl__V1__JobState to, const char *format,
                  ...) __attribute__((format(printf, 4, 5)));
struct wsl_key wsl_job_key(const struct wsl_job *job, uint32_t rank);
void wsl_job_send_start(struct wsl_step *s, struct wsl_job *job, uint32_t rank);
void wsl_job_send_stop(struct wsl_step *s, struct wsl_job *job, uint32_t rank);
void wsl_job_check_started(struct wsl_step *s, struct wsl_job *job);
/* A rank is no more; `reason` is one line. */
void wsl_job_rank_gone(struct wsl_step *s, struct wsl_job *job, uint32_t rank,
                       Wsl__V1__TrainerOutcome outcome, const char *reason);
/* Concludes the generation when nothing of it is left. */
void wsl_job_settle(struct wsl_step *s, struct wsl_job *job);
void wsl_job_cancel(struct wsl_step *s, struct wsl_job *job, const char *why);
void wsl_job_metric(struct wsl_step *s, struct wsl_job *job, const struct wsl_event *event);
void wsl_job_tick(struct wsl_step *s, struct wsl_job *job);
void wsl_job_drop_exchanges(struct wsl_job *job);
void wsl_job_free_ranks(struct wsl_job *job);
void wsl_job_free(struct wsl_job *job);

/* ---- node.c: sessions and what workers report ---- */
struct wsl_node *wsl_node_get(struct wsl_machine *m, const char *name); /* made when missing */
struct wsl_node *wsl_node_of(const struct wsl_machine *m, uint64_t session);
void wsl_node_hello(struct wsl_step *s, uint64_t session, const Wsl__V1__Hello *hello);
void wsl_node_closed(struct wsl_step *s, struct wsl_node *node, const char *why);
void wsl_node_report(struct wsl_step *s, struct wsl_node *node,
                     const Wsl__V1__TrainerReport *report, bool in_hello);
void wsl_node_tick(struct wsl_step *s, struct wsl_node *node);
void wsl_node_free(struct wsl_node *node);
uint32_t wsl_node_slots(const struct wsl_node *node); /* 0 when never seen */

/* ---- exchange.c ---- */
void wsl_exchange_part(struct wsl_step *s, struct wsl_node *node,
                       const Wsl__V1__ExchangePart *part);

/* ---- schedule.c ---- */
void wsl_schedule(struct wsl_step *s);
void wsl_schedule_count(struct wsl_machine *m); /* node->used */

/* ---- line.c ---- */
/* One line of valid UTF-8 that fits: control characters become spaces, the rest is cut. */
void wsl_line_fit(char *to, size_t size, const char *from);
char *wsl_line_copy(const char *text); /* NULL: "" */
void wsl_line_replace(char **to, const char *text);
void *wsl_need(void *memory); /* ends the process on NULL: out of memory */

#endif
