/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/file_exchange.h"

#include "base/file.h"

#include <stdio.h>
#include <time.h>

static void file_of(const struct file_exchange *f, uint32_t round, int rank, char path[200])
{
    snprintf(path, 200, "%s/%d-%u-%d", f->folder, f->generation, round, rank);
}

static int gather(void *context, uint32_t round, const void *mine, size_t size,
                  struct wsl_blob *all, struct wsl_err *err)
{
    struct file_exchange *f = context;
    char path[200];

    file_of(f, round, f->rank, path);
    if (wsl_file_write_atomic(path, mine, size, err) < 0)
        return err->code;
    for (int i = 0; i < f->world; i++) {
        struct wsl_buf buf = {0};

        file_of(f, round, i, path);
        while (!wsl_file_exists(path)) {
            if (f->cancelled)
                return wsl_fail(err, WSL_ECANCELLED, "exchange: cancelled");
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
        if (wsl_file_read(path, 65536, &buf, err) < 0)
            return err->code;
        all[i] = (struct wsl_blob){buf.data, buf.size};
    }
    return 0;
}

static void cancel(void *context)
{
    ((struct file_exchange *)context)->cancelled = true;
}

struct wsl_exchange file_exchange_of(struct file_exchange *f)
{
    return (struct wsl_exchange){.context = f, .gather = gather, .cancel = cancel};
}
