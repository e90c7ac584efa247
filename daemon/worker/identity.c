/* SPDX-License-Identifier: Apache-2.0
 *
 * The file "id" of a worker's state directory.
 */
#include "daemon/worker/identity.h"

#include "base/buf.h"
#include "base/file.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

static int draw(const char *path, char ret_id[WSL_IDENTITY_SIZE], struct wsl_err *err)
{
    uint64_t random[2];
    char line[WSL_IDENTITY_SIZE + 1];

    if (getrandom(random, sizeof random, 0) != sizeof random)
        return wsl_fail_errno(err, "no random numbers for an id");
    snprintf(ret_id, WSL_IDENTITY_SIZE, "%016" PRIx64 "%016" PRIx64, random[0], random[1]);
    snprintf(line, sizeof line, "%s\n", ret_id);
    return wsl_file_write_atomic(path, line, strlen(line), err);
}

int wsl_identity_read(const char *state, char ret_id[WSL_IDENTITY_SIZE], struct wsl_err *err)
{
    struct wsl_buf text = {0};
    char path[PATH_MAX];
    int r;

    if (wsl_file_join(path, sizeof path, state, "id") < 0)
        return wsl_fail(err, WSL_EINVAL, "--state: path too long");
    if (!wsl_file_exists(path))
        return draw(path, ret_id, err);
    r = wsl_file_read(path, WSL_IDENTITY_SIZE, &text, err);
    if (r == 0 && (text.size < WSL_IDENTITY_SIZE - 1 ||
                   strspn((const char *)text.data, "0123456789abcdef") != WSL_IDENTITY_SIZE - 1))
        r = WSL_ECORRUPT;
    if (r == WSL_ECORRUPT || r == WSL_ELIMIT)
        r = wsl_fail(err, WSL_ECORRUPT,
                     "%s does not hold a worker's id of 32 hexadecimal digits; remove it to be "
                     "given a new one",
                     path);
    if (r == 0)
        snprintf(ret_id, WSL_IDENTITY_SIZE, "%.32s", (const char *)text.data);
    wsl_buf_free(&text);
    return r;
}
