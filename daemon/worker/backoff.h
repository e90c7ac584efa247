/* SPDX-License-Identifier: Apache-2.0
 *
 * How long to wait before the next try: 0.5 s, growing to 5 s, each with a jitter of a fifth so
 * that a thousand workers do not come back in the same moment. Pure.
 */
#ifndef WSL_DAEMON_WORKER_BACKOFF_H
#define WSL_DAEMON_WORKER_BACKOFF_H

#include "base/rng.h"

#include <stdint.h>

struct wsl_backoff {
    struct wsl_rng rng;
    uint32_t next_ms; /* 0: from the start */
};

uint32_t wsl_backoff_next_ms(struct wsl_backoff *backoff);
void wsl_backoff_reset(struct wsl_backoff *backoff); /* it worked */

#endif
