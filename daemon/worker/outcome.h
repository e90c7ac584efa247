/* SPDX-License-Identifier: Apache-2.0
 *
 * What to say of a trainer that has ended. Pure: everything known comes in, outcome and one line
 * come out.
 */
#ifndef WSL_DAEMON_WORKER_OUTCOME_H
#define WSL_DAEMON_WORKER_OUTCOME_H

#include "wsl/v1/trainer.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WSL_REASON_SIZE = 400 };

struct wsl_ending {
    const uint8_t *last_word; /* outcome.pb, NULL: there is none */
    size_t last_word_size;
    bool status_known; /* it was our child: how it ended */
    bool signalled;
    int status; /* signal or exit code */
    enum {
        WSL_ENDED_WATCHED,   /* while we watched */
        WSL_ENDED_UNWATCHED, /* it was gone when this daemon started */
        WSL_ENDED_UNSTARTED, /* gone, and there is no sign that it ever ran */
    } how;
    bool stop_asked;         /* the coordinator or our own shutdown wanted its end */
    bool killed;             /* we sent SIGKILL to it */
    const char *stop_reason; /* may be empty */
    const char *last_line;   /* of its log; may be empty */
};

/* reason: one line, valid UTF-8. */
void wsl_outcome_decide(const struct wsl_ending *ending, Wsl__V1__TrainerOutcome *ret_outcome,
                        char ret_reason[WSL_REASON_SIZE]);

#endif
