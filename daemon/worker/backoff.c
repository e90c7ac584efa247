/* SPDX-License-Identifier: Apache-2.0
 *
 * Exponential back-off with jitter; the random number comes from the caller.
 */
#include "daemon/worker/backoff.h"

enum { FIRST_MS = 500, LAST_MS = 5000 };

uint32_t wsl_backoff_next_ms(struct wsl_backoff *backoff)
{
    uint32_t base = backoff->next_ms ? backoff->next_ms : FIRST_MS;
    uint32_t spread = base / 5;
    uint32_t ms = base - spread + (uint32_t)wsl_rng_below(&backoff->rng, 2 * spread + 1);

    backoff->next_ms = base * 8 / 5 < LAST_MS ? base * 8 / 5 : LAST_MS;
    return ms < FIRST_MS ? FIRST_MS : ms > LAST_MS ? LAST_MS : ms;
}

void wsl_backoff_reset(struct wsl_backoff *backoff)
{
    backoff->next_ms = 0;
}
