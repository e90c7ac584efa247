/* SPDX-License-Identifier: Apache-2.0
 *
 * Learning rates as a function of the step alone: nothing is saved, a resumed job has the rate it
 * would have had. Pure; any thread.
 *
 * Warm-up and step reductions: Goyal et al. 2017 (arXiv 1706.02677), section 2.2, and Mahajan et
 * al. 2018 (arXiv 1805.00932): linear rise, then x0.5 at equally spaced points. Cosine: Loshchilov
 * and Hutter 2017 (arXiv 1608.03983), one half period, no restart.
 */
#ifndef WSL_DAEMON_TRAINER_SCHEDULE_H
#define WSL_DAEMON_TRAINER_SCHEDULE_H

#include <stdint.h>

enum wsl_schedule_kind {
    WSL_SCHEDULE_STEP_HALVING,
    WSL_SCHEDULE_STEP_TENTH,
    WSL_SCHEDULE_COSINE,
    WSL_SCHEDULE_CONSTANT,
};

struct wsl_schedule {
    enum wsl_schedule_kind kind;
    uint32_t reductions;   /* of the two step kinds */
    uint64_t total_steps;  /* at least 1 */
    uint64_t warmup_steps; /* 0: none; more than total_steps: the rise is cut off */
    double warmup_from;
    double peak;
};

/* The rate of step `step` (0 is the first). During the warm-up it rises by the same amount each
 * step, from warmup_from at step 0 to peak at step warmup_steps. The `reductions` points cut the
 * steps after the warm-up into reductions + 1 equal parts. */
double wsl_schedule_rate(const struct wsl_schedule *schedule, uint64_t step);

#endif
