/* SPDX-License-Identifier: Apache-2.0
 *
 * HOST:PORT in all its forms, and which of them are loopback.
 */
#include "proto/rpc/address.h"

#include "base/number.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_unix(const char *address)
{
    return strncmp(address, "unix:", 5) == 0;
}

int wsl_rpc_address_split(const char *address, char host[256], char port[8], struct wsl_err *err)
{
    const char *colon = strrchr(address, ':');
    const char *name = address;
    size_t length;
    uint64_t number;

    if (!colon || colon == address || wsl_number_parse_u64(colon + 1, &number) < 0)
        return wsl_fail(err, WSL_EINVAL, "'%s' is not HOST:PORT", address);
    if (number > 65535)
        return wsl_fail(err, WSL_EINVAL, "'%s': ports end at 65535", address);
    length = (size_t)(colon - address);
    if (address[0] == '[' && colon[-1] == ']') {
        name++;
        length -= 2;
    }
    if (length == 0 || length >= 256)
        return wsl_fail(err, WSL_EINVAL, "'%s' is not HOST:PORT", address);
    memcpy(host, name, length);
    host[length] = '\0';
    snprintf(port, 8, "%u", (unsigned)number);
    return 0;
}

int wsl_rpc_address_form(const char *address, struct wsl_err *err)
{
    char host[256], port[8];

    if (!address || !address[0])
        return wsl_fail(err, WSL_EINVAL, "an empty address; give HOST:PORT");
    return is_unix(address) ? 0 : wsl_rpc_address_split(address, host, port, err);
}

static int resolve(const char *address, struct addrinfo **ret, struct wsl_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    char host[256], port[8];
    int r = wsl_rpc_address_split(address, host, port, err);

    if (r < 0)
        return r;
    r = getaddrinfo(host, port, &hints, ret);
    if (r != 0)
        return wsl_fail(err, WSL_EINVAL, "cannot find the host of '%s': %s", address,
                        gai_strerror(r));
    return 0;
}

static bool is_loopback(const struct sockaddr *a)
{
    if (a->sa_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)a;

        return ntohl(v4->sin_addr.s_addr) >> 24 == 127;
    }
    if (a->sa_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const void *)a;

        return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    }
    return false;
}

int wsl_rpc_address_check(const char *address, bool remote, struct wsl_err *err)
{
    struct addrinfo *list;
    bool safe = true;
    int r;

    r = wsl_rpc_address_form(address, err);
    if (r < 0 || is_unix(address))
        return r;
    r = resolve(address, &list, err);
    if (r < 0)
        return r;
    for (struct addrinfo *a = list; a; a = a->ai_next)
        safe = safe && is_loopback(a->ai_addr);
    freeaddrinfo(list);
    if (!safe && !remote)
        return wsl_fail(err, WSL_EDENIED,
                        "%s can be reached from other machines and the connection is not "
                        "encrypted; listen on 127.0.0.1, or allow it with --insecure",
                        address);
    return 0;
}

static int try_bind(const struct addrinfo *a)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int yes = 1, failure = 0;

    if (fd < 0)
        return errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, a->ai_addr, a->ai_addrlen) < 0 || listen(fd, 1) < 0)
        failure = errno;
    close(fd);
    return failure;
}

int wsl_rpc_address_why_not(const char *address, struct wsl_err *err)
{
    struct addrinfo *list;
    int failure = 0;
    int r;

    if (is_unix(address))
        return wsl_fail(err, WSL_EIO, "cannot listen on %s", address);
    r = resolve(address, &list, err);
    if (r < 0)
        return r;
    for (struct addrinfo *a = list; a && !failure; a = a->ai_next)
        failure = try_bind(a);
    freeaddrinfo(list);
    if (failure == EADDRINUSE)
        return wsl_fail(err, WSL_EEXIST,
                        "cannot listen on %s: the port is in use; stop what listens there or "
                        "choose another port",
                        address);
    if (!failure)
        return wsl_fail(err, WSL_EIO, "cannot listen on %s", address);
    errno = failure;
    return wsl_fail_errno(err, "cannot listen on %s", address);
}

/* The end of a datagram socket that would talk to `to`. */
static int local_end(const struct addrinfo *to, struct sockaddr_storage *ret)
{
    socklen_t length = sizeof *ret;
    int fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int r = fd < 0 || connect(fd, to->ai_addr, to->ai_addrlen) < 0 ||
                    getsockname(fd, (struct sockaddr *)ret, &length) < 0
                ? -1
                : 0;

    if (fd >= 0)
        close(fd);
    return r;
}

static int route_to(const struct addrinfo *to, struct wsl_rpc_route *ret)
{
    struct sockaddr_storage ours;
    char theirs[64];

    if (local_end(to, &ours) < 0 ||
        getnameinfo((struct sockaddr *)&ours, to->ai_addrlen, ret->local, sizeof ret->local, NULL,
                    0, NI_NUMERICHOST) != 0 ||
        getnameinfo(to->ai_addr, to->ai_addrlen, theirs, sizeof theirs, NULL, 0, NI_NUMERICHOST) !=
            0)
        return -1;
    ret->loopback = is_loopback((struct sockaddr *)&ours);
    ret->within = ret->loopback || strcmp(ret->local, theirs) == 0;
    if (ret->loopback)
        snprintf(ret->local, sizeof ret->local, "127.0.0.1");
    return 0;
}

int wsl_rpc_address_route(const char *address, struct wsl_rpc_route *ret, struct wsl_err *err)
{
    static const int families[] = {AF_INET, AF_INET6};
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    char host[256], port[8];
    int r;

    *ret = (struct wsl_rpc_route){.local = "127.0.0.1", .within = true, .loopback = true};
    if (is_unix(address))
        return 0;
    r = wsl_rpc_address_split(address, host, port, err);
    if (r < 0)
        return r;
    r = getaddrinfo(host, port, &hints, &found);
    if (r != 0)
        return wsl_fail(err, WSL_EUNAVAILABLE, "cannot look up the host of '%s': %s", address,
                        gai_strerror(r));
    r = -1;
    errno = EAFNOSUPPORT;
    for (size_t f = 0; f < sizeof families / sizeof *families && r < 0; f++)
        for (const struct addrinfo *at = found; at && r < 0; at = at->ai_next)
            if (at->ai_family == families[f])
                r = route_to(at, ret);
    if (r < 0)
        r = wsl_fail(err, WSL_EUNAVAILABLE, "there is no way to '%s' from here: %s", address,
                     strerror(errno));
    freeaddrinfo(found);
    return r;
}
