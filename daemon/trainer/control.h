/* SPDX-License-Identifier: Apache-2.0
 *
 * The trainer's side of the conversation with the worker daemon (proto/wsl/v1/trainer.proto), on a
 * thread of its own, "control": it serves control.sock in the current directory, tells every worker
 * that connects the status and the part of an exchange that is still unanswered, takes answers and
 * stop requests, and turns SIGTERM and SIGINT into stop requests. A worker that goes away changes
 * nothing; a newer connection takes the place of an older one.
 *
 * Functions may be called from any thread unless they say otherwise.
 */
#ifndef WSL_DAEMON_TRAINER_CONTROL_H
#define WSL_DAEMON_TRAINER_CONTROL_H

#include "base/err.h"
#include "kernels/collective/collective.h"

#include <stdbool.h>
#include <stdint.h>

struct wsl_trainer_control;

struct wsl_trainer_control_setup {
    uint64_t job;
    uint32_t generation, rank, world;
    /* Called on the control thread for every stop request; short, does not block. May be NULL. */
    void (*on_stop)(void *context);
    void *context;
};

/* Binds control.sock (an older one is replaced) and starts the thread. SIGTERM and SIGINT must be
 * blocked in the calling thread, and in all others. */
int wsl_trainer_control_open(struct wsl_trainer_control **ret,
                             const struct wsl_trainer_control_setup *setup, struct wsl_err *err);

/* A static word: "starting", "loading", "training", "evaluating", "saving" (the last checkpoint),
 * "exited". */
void wsl_trainer_control_phase(struct wsl_trainer_control *control, const char *phase);

/* True from the first stop request on; the text (static storage of the control, may be empty) says
 * who asked. */
bool wsl_trainer_control_stopped(struct wsl_trainer_control *control);
void wsl_trainer_control_stop_reason(struct wsl_trainer_control *control, char ret_text[200]);

/* What a rank finds out alone and must be the same on all of them. One line each; static or longer
 * lived than the call. */
struct wsl_rank_fact {
    const char *name;   /* "data set" */
    const char *value;  /* at most 200 bytes */
    const char *remedy; /* what to do where it differs; may be empty */
};

enum { WSL_RANK_FACTS_MAX = 32 };

/* Blocks until every rank of the generation came here and all facts were found equal. WSL_EINVAL
 * with a line that names two ranks, their workers and both values; WSL_ECANCELLED soon after a stop
 * request. Ranks call this and the exchange in the same order; one thread at a time. */
int wsl_trainer_control_agree(struct wsl_trainer_control *control,
                              const struct wsl_rank_fact *facts, size_t count, struct wsl_err *err);

/* The broadcast from rank 0 that the coordinator carries. */
struct wsl_exchange wsl_trainer_control_exchange(struct wsl_trainer_control *control);

/* Ends the thread, closes and removes the socket. NULL is fine. */
void wsl_trainer_control_close(struct wsl_trainer_control *control);

#endif
