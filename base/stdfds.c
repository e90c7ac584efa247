/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening /dev/null in place of missing standard descriptors, before anything else takes their
 * numbers.
 */
#include "base/stdfds.h"

#include <fcntl.h>
#include <stdbool.h>
#include <unistd.h>

/* What a program is started with survived an exec. Descriptors that close at one were opened
 * since, by a library: gRPC tries an eventfd before main() and leaves it open if it is number 0. */
static bool was_given(int fd)
{
    int flags = fcntl(fd, F_GETFD);

    return flags >= 0 && !(flags & FD_CLOEXEC);
}

void wsl_stdfds_open(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        int place;

        if (was_given(fd))
            continue;
        /* The lowest free descriptor: `fd` itself unless a library has it. */
        place = open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
        if (place >= 0 && place != fd) {
            dup2(place, fd);
            close(place);
        }
    }
}
