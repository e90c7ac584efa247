/* SPDX-License-Identifier: Apache-2.0
 *
 * Standard output: documents and tables on it, what it is, and what to say when it cannot be
 * written.
 */
#include "client/wslctl/wslctl.h"

#include "base/number.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* What is left in stdio's buffer, and what is still printed, has nowhere to go. */
static void drop_output(void)
{
    int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

    if (fd >= 0) {
        dup2(fd, STDOUT_FILENO);
        close(fd);
    }
    clearerr(stdout);
}

int wsl_ctl_flush(int code)
{
    bool failed = ferror(stdout);

    if (fflush(stdout) == 0 && !failed)
        return code;
    if (errno == EBADF)
        wsl_ctl_say("standard output is closed");
    else
        wsl_ctl_say("cannot write to standard output: %s", strerror(errno ? errno : EIO));
    drop_output();
    return WSL_CTL_FAILED;
}

int wsl_ctl_put(struct wsl_buf *out, int r, int code)
{
    if (r < 0) {
        wsl_ctl_say("cannot make the output: %s", wsl_err_name(r));
        code = WSL_CTL_FAILED;
    } else if (out->size > 0) {
        fwrite(out->data, 1, out->size, stdout); /* a failure stays in ferror() */
    }
    wsl_buf_free(out);
    return wsl_ctl_flush(code);
}

int wsl_ctl_put_json(json_t *document, int code)
{
    struct wsl_buf out = {0};
    int r = wsl_ctl_json_print(document, false, &out);

    return wsl_ctl_put(&out, r, code);
}

int wsl_ctl_put_json_list(const struct wsl_ctl *ctl, const char *plural, const char *singular,
                          json_t *list, int code)
{
    struct wsl_buf out = {0};
    int r = list ? 0 : WSL_ENOMEM;

    if (ctl->format != WSL_CTL_NDJSON)
        return wsl_ctl_put_json(wsl_ctl_json_document(plural, list, NULL), code);
    for (size_t i = 0; i < json_array_size(list) && r == 0; i++)
        r = wsl_ctl_json_print(
            wsl_ctl_json_document(singular, json_incref(json_array_get(list, i)), NULL), true,
            &out);
    json_decref(list);
    return wsl_ctl_put(&out, r, code);
}

int wsl_ctl_put_table(struct wsl_ctl_table *table, int code)
{
    struct wsl_buf out = {0};
    int r = wsl_ctl_table_print(table, &out);

    wsl_ctl_table_free(table);
    return wsl_ctl_put(&out, r, code);
}

/* ---- the terminal ---- */

bool wsl_ctl_color(const struct wsl_ctl *ctl)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

    return !ctl->no_color && !(no_color && no_color[0]) && isatty(STDOUT_FILENO) && term &&
           strcmp(term, "dumb") != 0;
}

/* COLUMNS of the environment; 0: it says nothing. */
static int columns_given(void)
{
    const char *text = getenv("COLUMNS");
    uint64_t columns;

    return text && wsl_number_parse_u64(text, &columns) == 0 && columns > 0 && columns <= 10000
               ? (int)columns
               : 0;
}

int wsl_ctl_width(int fd)
{
    struct winsize size;
    int given = columns_given();

    if (!isatty(fd))
        return 0;
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return given ? given : 80;
}

int wsl_ctl_table_width(const struct wsl_ctl *ctl)
{
    int width = wsl_ctl_width(STDOUT_FILENO);

    if (ctl->format == WSL_CTL_WIDE)
        return 0;
    return width ? width : columns_given();
}
