/* SPDX-License-Identifier: Apache-2.0
 *
 * What a trainer tells the coordinator about its work: the file "metrics" of the run directory,
 * TrainerMetric messages with their varint length before each, appended and never rewritten; the
 * worker ships it by offset. And the lines for people on standard output. Any thread; a message is
 * one write, so messages of several threads do not mix.
 */
#ifndef WSL_DAEMON_TRAINER_METRICS_H
#define WSL_DAEMON_TRAINER_METRICS_H

#include "base/err.h"
#include "wsl/v1/agent.pb-c.h"

struct wsl_metrics;

/* Opens (makes) the file for appending. A torn message at its end, left by a killed trainer, is cut
 * off. */
int wsl_metrics_open(struct wsl_metrics **ret, const char *path, struct wsl_err *err);

/* Appends one; sets its time. A failure (disk full) is logged once and the message is dropped:
 * training is worth more than its protocol. */
void wsl_metrics_add(struct wsl_metrics *metrics, Wsl__V1__TrainerMetric *metric);

/* Something an operator should read in the job's events. */
void wsl_metrics_note(struct wsl_metrics *metrics, const char *kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

void wsl_metrics_close(struct wsl_metrics *metrics); /* NULL is fine */

/* "2018-05-02 10:11:12  <text>" and a newline on standard output, in one write. */
void wsl_say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
