/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers, times and states as people read them, and the live line of a job. Pure; any thread. A
 * text that does not fit is cut.
 */
#ifndef WSL_CLIENT_WSLCTL_FORMAT_H
#define WSL_CLIENT_WSLCTL_FORMAT_H

#include "wsl/v1/job.pb-c.h"
#include "wsl/v1/node.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WSL_CTL_TEXT = 64 }; /* bytes that hold any text made here but the progress line */

/* "0s", "59s", "3m12s", "2h05m", "3d04h"; negative and not finite: "-". */
void wsl_ctl_duration(double seconds, char text[WSL_CTL_TEXT]);
/* "512 B", "1.5 GiB" */
void wsl_ctl_bytes(uint64_t bytes, char text[WSL_CTL_TEXT]);
/* "1,234,567" */
void wsl_ctl_count(uint64_t n, char text[WSL_CTL_TEXT]);
/* "999", "1.50 K", "16.41 G": thousands, not 1024s */
void wsl_ctl_thousands(uint64_t n, char text[WSL_CTL_TEXT]);
/* Seconds between two wall clocks as a duration; "-" when one is not known (0). */
void wsl_ctl_between(int64_t from_ms, int64_t to_ms, char text[WSL_CTL_TEXT]);
/* "2018-05-02 10:11:12" in UTC, "-" for 0. */
void wsl_ctl_time(int64_t wall_ms, char text[WSL_CTL_TEXT]);

/* An enum's word as users write it: RUNNING "running", STEP_HALVING "step-halving"; "-" for the
 * unspecified and for numbers of a newer schema. */
void wsl_ctl_word(const ProtobufCEnumDescriptor *type, int value, char text[WSL_CTL_TEXT]);
/* Number of such a word, or -1. */
int wsl_ctl_word_number(const ProtobufCEnumDescriptor *type, const char *word);

bool wsl_ctl_job_ended(const Wsl__V1__Job *job);
/* The whole of why a job is in its state; `reason` is short. */
const char *wsl_ctl_job_detail(const Wsl__V1__Job *job);
/* Has its generation reported yet? Until then progress is only the step it starts from. */
bool wsl_ctl_is_measured(const Wsl__V1__Progress *progress);

/* "[#####     ]" of `width` characters, brackets included (at least 4). */
void wsl_ctl_bar(double share, int width, char *text, size_t size);

/* State, bar, step, epoch, loss, hit@1, images/s, time left, in that order; what matters least is
 * left out until it fits into `width` columns (0: no limit, no bar). */
void wsl_ctl_progress(const Wsl__V1__Job *job, int width, char *text, size_t size);

#endif
