/* SPDX-License-Identifier: Apache-2.0
 *
 * Resource limits: open files, file sizes.
 */
#include "base/rlimit.h"

#include <signal.h>
#include <sys/resource.h>

uint64_t wsl_rlimit_raise_open_files(uint64_t want)
{
    struct rlimit limit;
    rlim_t before;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return want; /* unknown: the call that runs out says so */
    before = limit.rlim_cur;
    if (before >= want)
        return before;
    limit.rlim_cur = limit.rlim_max < want ? limit.rlim_max : want;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
}

void wsl_rlimit_file_size_is_an_error(void)
{
    signal(SIGXFSZ, SIG_IGN);
}
