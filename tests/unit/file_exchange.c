/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/file_exchange.h"

#include "base/file.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static void file_of(const struct file_exchange *f, int rank, char path[200])
{
    snprintf(path, 200, "%s/%d-%d", f->directory, f->generation, rank);
}

/* Every rank writes a file, rank 0 its bytes, and waits for all of them. */
static int broadcast(void *context, void *data, size_t size, struct wsl_err *err)
{
    struct file_exchange *f = context;
    struct wsl_buf buf = {0};
    char path[200];
    int r;

    file_of(f, f->rank, path);
    if (wsl_file_write_atomic(path, data, f->rank == 0 ? size : 0, err) < 0)
        return err->code;
    for (int i = 0; i < f->world; i++) {
        file_of(f, i, path);
        while (!wsl_file_exists(path)) {
            if (f->cancelled)
                return wsl_fail(err, WSL_ECANCELLED, "exchange: cancelled");
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        }
    }
    file_of(f, 0, path);
    r = wsl_file_read(path, WSL_EXCHANGE_MAX, &buf, err);
    if (r == 0 && buf.size != size)
        r = wsl_fail(err, WSL_EPEER, "exchange: rank 0 gave %zu bytes, not %zu", buf.size, size);
    if (r == 0)
        memcpy(data, buf.data, size);
    wsl_buf_free(&buf);
    return r;
}

static void cancel(void *context)
{
    ((struct file_exchange *)context)->cancelled = true;
}

struct wsl_exchange file_exchange_of(struct file_exchange *f)
{
    return (struct wsl_exchange){.context = f, .broadcast = broadcast, .cancel = cancel};
}
