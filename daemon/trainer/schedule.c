/* SPDX-License-Identifier: Apache-2.0
 *
 * The learning rate as a function of the step: linear warm-up, then reductions at equal intervals
 * (the paper halves), a cosine, or nothing more.
 */
#include "daemon/trainer/schedule.h"

#include <math.h>

/* Reductions behind us after `done` of `total` steps. floor(done (n + 1) / total) without
 * overflow: steps stay below 2^53. */
static double reductions_done(uint32_t n, uint64_t done, uint64_t total)
{
    double k = floor((double)done * ((double)n + 1) / (double)total);

    return k < (double)n ? k : (double)n;
}

double wsl_schedule_rate(const struct wsl_schedule *s, uint64_t step)
{
    uint64_t done, total;

    if (step < s->warmup_steps)
        return s->warmup_from + (s->peak - s->warmup_from) * (double)step / (double)s->warmup_steps;
    done = step - s->warmup_steps;
    total = s->total_steps > s->warmup_steps ? s->total_steps - s->warmup_steps : 1;
    if (done > total)
        done = total;
    switch (s->kind) {
    case WSL_SCHEDULE_STEP_HALVING:
        return s->peak * pow(0.5, reductions_done(s->reductions, done, total));
    case WSL_SCHEDULE_STEP_TENTH:
        return s->peak * pow(0.1, reductions_done(s->reductions, done, total));
    case WSL_SCHEDULE_COSINE:
        return s->peak * 0.5 * (1 + cos(M_PI * (double)done / (double)total));
    case WSL_SCHEDULE_CONSTANT:
        break;
    }
    return s->peak;
}
