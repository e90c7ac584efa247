/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the time of training steps goes: seconds of each kind of layer and direction.
 */
#ifndef WSL_TESTS_BENCH_PROFILE_H
#define WSL_TESTS_BENCH_PROFILE_H

#include "kernels/model/net.h"

struct profile;

/* From now on the net waits for its backend after each operation, and steps are recorded. The
 * profile must outlive the net's last step. NULL: no memory. */
struct profile *profile_open(struct wsl_net *net);
void profile_close(struct profile *profile);

void profile_step_begins(struct profile *profile);
void profile_update_done(struct profile *profile); /* after wsl_net_update */

/* One row for each shape of convolution, then the rest; milliseconds are of one step, GFLOP/s
 * beside those of a square matrix product on as many threads. */
int profile_print(const struct profile *profile, int batch, int threads, struct wsl_err *err);

#endif
