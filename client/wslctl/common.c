/* SPDX-License-Identifier: Apache-2.0
 *
 * What every verb needs: what is said on standard error, and the coordinator.
 */
#include "client/wslctl/wslctl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- talk ---- */

static void say(const char *format, va_list args)
{
    char text[1200];

    vsnprintf(text, sizeof text, format, args);
    wsl_one_line(text);
    fprintf(stderr, "wslctl: %s\n", text);
}

void wsl_ctl_say(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    say(format, args);
    va_end(args);
}

void wsl_ctl_note(const struct wsl_ctl *ctl, const char *format, ...)
{
    va_list args;

    if (ctl->quiet)
        return;
    va_start(args, format);
    say(format, args);
    va_end(args);
}

int wsl_ctl_fail(const struct wsl_ctl *ctl, const struct wsl_err *err)
{
    switch (err->code) {
    case WSL_EUNAVAILABLE:
        wsl_ctl_say("%s; start a coordinator with 'wsl-coordinator --listen %s --state DIR', or "
                    "name another with --server or WSL_SERVER",
                    err->text, ctl->server);
        return WSL_CTL_UNREACHABLE;
    case WSL_EPEER:
        wsl_ctl_say("%s: check --server / WSL_SERVER", err->text);
        return WSL_CTL_UNREACHABLE;
    case WSL_ETIMEOUT:
        wsl_ctl_say("%s", err->text);
        return WSL_CTL_TIMEOUT;
    case WSL_ECANCELLED:
        wsl_ctl_say("%s", err->text);
        return wsl_ctl_interrupted() ? WSL_CTL_INTERRUPTED : WSL_CTL_FAILED;
    default:
        wsl_ctl_say("%s", err->text);
        return ctl->bad_server ? WSL_CTL_USAGE : WSL_CTL_FAILED;
    }
}

bool wsl_ctl_is_absent(const struct wsl_err *err)
{
    return err->code == WSL_EUNAVAILABLE || err->code == WSL_EPEER || err->code == WSL_ETIMEOUT;
}

int wsl_ctl_usage(const struct wsl_ctl *ctl, const char *format, ...)
{
    char text[600];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (ctl->verb)
        wsl_ctl_say("%s; see '%s %s --help'", text, ctl->prefix, ctl->verb->name);
    else
        wsl_ctl_say("%s; see '%s --help'", text, ctl->prefix);
    return WSL_CTL_USAGE;
}

int wsl_ctl_check_input(const struct wsl_ctl *ctl, const char *option, const char *path)
{
    if (!path || strcmp(path, "-") == 0 || access(path, F_OK) == 0)
        return WSL_CTL_DONE;
    return wsl_ctl_usage(ctl, "--%s %s: %s%s", option, path, strerror(errno),
                         strcmp(option, "wordnet") == 0
                             ? " (Debian's package wordnet-base has it in /usr/share/wordnet)"
                             : "");
}

/* ---- coordinator ---- */

int wsl_ctl_connect(struct wsl_ctl *ctl, struct wsl_err *err)
{
    int r = ctl->client ? 0 : wsl_client_open(&ctl->client, ctl->server, err);

    if (r == WSL_EINVAL) {
        ctl->bad_server = true;
        wsl_err_prefix(err, "--server / WSL_SERVER");
    }
    return r;
}

void wsl_ctl_disconnect(struct wsl_ctl *ctl)
{
    wsl_client_close(ctl->client);
    ctl->client = NULL;
}

int wsl_ctl_call(struct wsl_ctl *ctl, const char *path, const ProtobufCMessage *request,
                 const ProtobufCMessageDescriptor *response, ProtobufCMessage **ret,
                 struct wsl_err *err)
{
    int r = wsl_ctl_connect(ctl, err);

    if (r == 0)
        r = wsl_client_call(ctl->client, &(struct wsl_client_method){path, response}, request, 0,
                            ret, err);
    /* The deadline of a call is not one that the user set. */
    if ((r == WSL_ETIMEOUT || r == WSL_EUNSUPPORTED) && err)
        err->code = r = WSL_EPEER;
    return r;
}
