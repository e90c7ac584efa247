/* SPDX-License-Identifier: Apache-2.0
 *
 * The line of a data command that takes a while: a bar, counts, rate and time left. Pure.
 */
#ifndef WSL_CLIENT_WSLCTL_PROGRESS_H
#define WSL_CLIENT_WSLCTL_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

enum { WSL_CTL_PROGRESS_LINE = 512 };

struct wsl_ctl_progress {
    const char *what;     /* "decoding" */
    double seconds;       /* since it began */
    uint64_t done, total; /* images; total 0: not known */
    uint64_t resumed;     /* of `done`: taken over from an interrupted run, not part of the rate */
    uint64_t bytes;       /* of what was done now; 0: not told */
    uint64_t quarantined;
};

/* "decoding  [####    ]  50 %  18 of 37  90/s  1.2 MiB/s  ETA 0s  1 in quarantine", cut to `width`
 * - 1 columns, so that a terminal never wraps it. A rate of less than 0.2 s means nothing and is
 * left out. */
void wsl_ctl_progress_line(const struct wsl_ctl_progress *p, int width,
                           char line[WSL_CTL_PROGRESS_LINE]);

#endif
