/* SPDX-License-Identifier: Apache-2.0
 *
 * Host names, numeric addresses and the network interfaces that have them.
 */
#include "kernels/collective/implementation.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Gloo would find out too, but leaks and says it less clearly. */
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

const char *wsl_collective_strip_prefix(const char *text)
{
    const char *end = *text == '[' ? strstr(text, "] ") : NULL;

    return end ? end + 2 : text;
}

int wsl_collective_interface(const char *numeric, char *ret, size_t size, struct wsl_err *err)
{
    struct ifaddrs *all = NULL;
    int r = WSL_ENOENT;

    if (getifaddrs(&all) < 0)
        return wsl_fail_errno(err, "collective: the list of network interfaces");
    for (struct ifaddrs *i = all; i && r < 0; i = i->ifa_next) {
        int family = i->ifa_addr ? i->ifa_addr->sa_family : AF_UNSPEC;
        socklen_t length =
            family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
        char text[64];

        if ((family != AF_INET && family != AF_INET6) ||
            getnameinfo(i->ifa_addr, length, text, sizeof(text), NULL, 0, NI_NUMERICHOST) != 0 ||
            strcmp(text, numeric) != 0)
            continue;
        snprintf(ret, size, "%s", i->ifa_name);
        r = 0;
    }
    freeifaddrs(all);
    if (r < 0)
        wsl_fail(err, r, "collective: no network interface has the address %s", numeric);
    return r;
}
