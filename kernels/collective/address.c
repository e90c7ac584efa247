/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/collective/implementation.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Gloo would find out too, but leaks and says it in its own words. */
static int check_ours(const char *host, const struct addrinfo *found, struct wsl_err *err)
{
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r = 0;

    if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) < 0)
        r = wsl_fail_errno(err,
                           "collective: \"%s\" is no address of this machine; give the worker the "
                           "right --address",
                           host);
    if (fd >= 0)
        close(fd);
    return r;
}

int wsl_collective_resolve(const char *host, char ret[64], struct wsl_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int r = getaddrinfo(host, NULL, &hints, &found);

    if (r == 0)
        r = getnameinfo(found->ai_addr, found->ai_addrlen, ret, 64, NULL, 0, NI_NUMERICHOST);
    if (r != 0)
        r = wsl_fail(err, WSL_EINVAL, "collective: address \"%s\" of this rank: %s", host,
                     gai_strerror(r));
    else
        r = check_ours(host, found, err);
    if (found)
        freeaddrinfo(found);
    return r;
}

const char *wsl_collective_words(const char *text)
{
    const char *end = *text == '[' ? strstr(text, "] ") : NULL;

    return end ? end + 2 : text;
}

int wsl_collective_all_to_all(const struct wsl_collective_setup *setup, const void *ours,
                              size_t each, void *ret_theirs, struct wsl_err *err)
{
    size_t world = (size_t)setup->world;
    struct wsl_blob *all = calloc(world, sizeof(*all));
    int r;

    if (!all)
        return wsl_fail(err, WSL_ENOMEM, "collective: out of memory");
    r = setup->exchange.gather(setup->exchange.context, 0, ours, world * each, all, err);
    for (size_t i = 0; i < world && r == 0; i++) {
        if (all[i].size != world * each)
            r = wsl_fail(err, WSL_EPEER,
                         "collective: the addresses of rank %zu are %zu bytes, not %zu: do all "
                         "ranks use the same kind of address?",
                         i, all[i].size, world * each);
        else
            memcpy((char *)ret_theirs + i * each,
                   (const char *)all[i].data + (size_t)setup->rank * each, each);
    }
    for (size_t i = 0; i < world; i++)
        free(all[i].data);
    free(all);
    return r;
}
