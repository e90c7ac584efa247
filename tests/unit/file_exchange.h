/* SPDX-License-Identifier: Apache-2.0
 *
 * An exchange for ranks that are processes of one machine, over files in a directory of the test's
 * own:
 * "<directory>/<generation>-<rank>".
 */
#ifndef WSL_TESTS_UNIT_FILE_EXCHANGE_H
#define WSL_TESTS_UNIT_FILE_EXCHANGE_H

#include "kernels/collective/collective.h"

#include <stdatomic.h>

struct file_exchange {
    const char *directory;
    int generation, rank, world;
    atomic_bool cancelled;
};

/* Lives as long as *f. */
struct wsl_exchange file_exchange_of(struct file_exchange *f);

#endif
