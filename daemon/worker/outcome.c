/* SPDX-License-Identifier: Apache-2.0
 *
 * From exit status, signal and the trainer's own last word to one outcome and one line.
 */
#include "daemon/worker/outcome.h"

#include "daemon/worker/text.h"

#include <stdio.h>
#include <string.h>

static bool take_last_word(const struct wsl_ending *e, Wsl__V1__TrainerOutcome *ret_outcome,
                           char ret_reason[WSL_REASON_SIZE])
{
    Wsl__V1__TrainerEnd *end = wsl__v1__trainer_end__unpack(NULL, e->last_word_size, e->last_word);
    bool usable = end && end->outcome >= WSL__V1__TRAINER_OUTCOME__FINISHED &&
                  end->outcome <= WSL__V1__TRAINER_OUTCOME__PEER_LOST;

    if (usable) {
        *ret_outcome = end->outcome;
        wsl_text_line(ret_reason, WSL_REASON_SIZE, end->reason, strlen(end->reason));
    }
    if (end)
        wsl__v1__trainer_end__free_unpacked(end, NULL);
    return usable;
}

static void describe(const struct wsl_ending *e, char text[200])
{
    const char *name;

    if (!e->status_known) {
        snprintf(text, 200, "%s",
                 e->how == WSL_ENDED_UNSTARTED
                     ? "was never started: the worker stopped while starting it"
                 : e->how == WSL_ENDED_UNWATCHED
                     ? "died while nobody watched"
                     : "ended without a last word; its exit status is not known because an "
                       "earlier worker daemon started it");
    } else if (e->signalled) {
        name = sigabbrev_np(e->status);
        snprintf(text, 200, "killed by signal %d (%s)", e->status, name ? name : "?");
    } else {
        snprintf(text, 200, "exited with code %d%s", e->status,
                 e->status == 0 ? " without a last word" : "");
    }
}

void wsl_outcome_decide(const struct wsl_ending *e, Wsl__V1__TrainerOutcome *ret_outcome,
                        char ret_reason[WSL_REASON_SIZE])
{
    bool damaged = false;
    char how[200], line[2 * WSL_REASON_SIZE];
    int n;

    if (e->last_word) {
        if (take_last_word(e, ret_outcome, ret_reason))
            return;
        damaged = true;
    }
    describe(e, how);
    if (e->stop_asked && e->killed) {
        *ret_outcome = WSL__V1__TRAINER_OUTCOME__STOPPED;
        n = snprintf(line, sizeof line, "killed on request%s%s", e->stop_reason[0] ? ": " : "",
                     e->stop_reason);
    } else {
        *ret_outcome = WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR;
        n = snprintf(line, sizeof line, "%s%s", how, damaged ? "; its outcome.pb is damaged" : "");
        if (e->last_line[0] && n < (int)sizeof line)
            n += snprintf(line + n, sizeof line - (size_t)n, "; last line of its log: %s",
                          e->last_line);
    }
    wsl_text_line(ret_reason, WSL_REASON_SIZE, line,
                  n < (int)sizeof line ? (size_t)n : sizeof line - 1);
}
