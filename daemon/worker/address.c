/* SPDX-License-Identifier: Apache-2.0
 *
 * The address at which other machines reach this one: given, or the local end of the connection to
 * the coordinator.
 */
#include "daemon/worker/address.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
}

/* Only an address of this machine can be bound. */
static bool is_ours(const struct addrinfo *at)
{
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ours = fd >= 0 && bind(fd, at->ai_addr, at->ai_addrlen) == 0;

    if (fd >= 0)
        close(fd);
    return ours;
}

/* The first address of the name, as the trainers will take it. */
static int look_at_given(struct wsl_address_facts *f, struct wsl_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    int r = getaddrinfo(f->given, NULL, &hints, &found);

    if (r == 0)
        r = getnameinfo(found->ai_addr, found->ai_addrlen, f->numeric, sizeof f->numeric, NULL, 0,
                        NI_NUMERICHOST);
    if (r == 0) {
        f->given_loopback = is_loopback(found->ai_addr);
        f->given_ours = is_ours(found);
    }
    if (found)
        freeaddrinfo(found);
    return r == 0 ? 0 : wsl_fail(err, WSL_EINVAL, "--address %s: %s", f->given, gai_strerror(r));
}

int wsl_address_look(struct wsl_address_facts *ret, const char *given, const char *coordinator,
                     struct wsl_err *err)
{
    struct wsl_err why = {0};
    int r;

    *ret = (struct wsl_address_facts){.given = given, .coordinator = coordinator};
    r = given ? look_at_given(ret, err) : 0;
    if (r < 0)
        return r;
    r = wsl_rpc_address_route(coordinator, &ret->route, &why);
    ret->route_known = r == 0;
    if (r == 0 || (r == WSL_EUNAVAILABLE && given))
        return 0;
    *err = why;
    return r;
}

int wsl_address_choose(const struct wsl_address_facts *f, const char **ret, struct wsl_err *err)
{
    const char *found = f->route_known ? f->route.local : "the one that other machines reach";
    char same[80] = "";

    if (f->given && strcmp(f->given, f->numeric) != 0)
        snprintf(same, sizeof same, " (%s)", f->numeric);
    if (f->given && !f->given_ours)
        return wsl_fail(err, WSL_EINVAL,
                        "--address %s%s: no address of this machine; leave it out, or give %s",
                        f->given, same, found);
    if (f->given && f->given_loopback && f->route_known && !f->route.within)
        return wsl_fail(err, WSL_EINVAL,
                        "--address %s%s: only this machine reaches it, and the coordinator %s is "
                        "another one; leave it out, or give %s",
                        f->given, same, f->coordinator, found);
    *ret = f->given ? f->given : f->route.local;
    return 0;
}
