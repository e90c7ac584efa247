/* SPDX-License-Identifier: Apache-2.0
 *
 * A meeting place for ranks that are threads of one process. It gives each of them an exchange (any
 * implementation can use it), and the implementation "local" keeps the state of its sums in it: it
 * accepts only these exchanges. One group serves one generation.
 */
#ifndef WSL_KERNELS_COLLECTIVE_LOCAL_H
#define WSL_KERNELS_COLLECTIVE_LOCAL_H

#include "kernels/collective/collective.h"

struct wsl_local_group;

/* `world` ranks, at least 1. WSL_ENOMEM. */
int wsl_local_group_open(struct wsl_local_group **ret, int world, struct wsl_err *err);

/* The exchange of one rank; lives as long as the group. Any thread. */
struct wsl_exchange wsl_local_group_exchange(struct wsl_local_group *group, int rank);

/* After every collective that used it is closed. NULL is fine. */
void wsl_local_group_close(struct wsl_local_group *group);

#endif
