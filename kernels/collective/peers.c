/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/collective/peers.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a rank says first. */
struct hello {
    uint8_t token[16];
    uint32_t rank; /* all ranks are of one build: host byte order */
};

enum { NOBODY = -1 };

struct wsl_peers {
    int rank, world;
    int listener; /* rank 0 */
    int lost;     /* a rank, or NOBODY */
    int known;    /* rank 0: connections in links[1..] that said hello */
    bool greeted; /* the others: hello is sent */
    uint8_t token[16];
    /* rank 0: place i is rank i; the others: place 0 is rank 0 */
    struct pollfd *links;
    struct pollfd *strangers; /* rank 0: accepted, no hello yet; `world` places */
};

static int make_socket(const char *host, uint16_t port, bool listens, struct wsl_err *err)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST}, *found = NULL;
    char service[8];
    int fd = -1, r;

    snprintf(service, sizeof(service), "%u", port);
    r = getaddrinfo(host, service, &hints, &found);
    if (r != 0)
        return wsl_fail(err, WSL_EINVAL, "collective: address \"%s\": %s", host, gai_strerror(r));
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        r = -1;
    else if (listens)
        r = bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, 1024) < 0 ? -1 : 0;
    else if (connect(fd, found->ai_addr, found->ai_addrlen) < 0 && errno != EINPROGRESS)
        r = -1;
    if (r < 0)
        r = wsl_fail_errno(err, "collective: %s %s port %u", listens ? "listen on" : "connect to",
                           host, port);
    freeaddrinfo(found);
    if (r < 0 && fd >= 0)
        close(fd);
    return r < 0 ? r : fd;
}

/* A machine that lost power answers nothing: three unanswered questions end its connection. */
static void keep_alive(int fd)
{
    int yes = 1, idle = 5, interval = 2, count = 3;

    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
}

static int start_listening(struct wsl_peers *p, const char *host, struct wsl_peers_address *ret,
                           struct wsl_err *err)
{
    struct sockaddr_storage bound;
    socklen_t length = sizeof(bound);

    p->listener = make_socket(host, 0, true, err);
    if (p->listener < 0)
        return p->listener;
    if (getsockname(p->listener, (struct sockaddr *)&bound, &length) < 0 ||
        getrandom(p->token, sizeof(p->token), 0) != sizeof(p->token))
        return wsl_fail_errno(err, "collective: listen on %s", host);
    snprintf(ret->host, sizeof(ret->host), "%s", host);
    ret->port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                  : ((struct sockaddr_in *)&bound)->sin_port);
    memcpy(ret->token, p->token, sizeof(ret->token));
    return 0;
}

int wsl_peers_open(struct wsl_peers **ret, int rank, int world, const char *host,
                   struct wsl_peers_address *ret_address, struct wsl_err *err)
{
    struct wsl_peers *p = calloc(1, sizeof(*p));
    int r = 0;

    if (!p)
        return wsl_fail(err, WSL_ENOMEM, "collective: out of memory");
    *p = (struct wsl_peers){.rank = rank, .world = world, .listener = -1, .lost = NOBODY};
    p->links = calloc((size_t)world, sizeof(*p->links));
    p->strangers = calloc((size_t)world, sizeof(*p->strangers));
    if (!p->links || !p->strangers)
        r = wsl_fail(err, WSL_ENOMEM, "collective: out of memory");
    for (int i = 0; i < world && r == 0; i++)
        p->links[i] = p->strangers[i] = (struct pollfd){.fd = -1, .events = POLLIN};
    if (r == 0 && rank == 0)
        r = start_listening(p, host, ret_address, err);
    if (r < 0)
        wsl_peers_close(p);
    else
        *ret = p;
    return r;
}

/* ---- meeting ---- */

static void accept_one(struct wsl_peers *p)
{
    int place = 0, fd;

    while (place < p->world && p->strangers[place].fd >= 0)
        place++;
    if (place == p->world)
        return; /* full: the kernel's queue keeps the rest */
    fd = accept4(p->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0)
        p->strangers[place].fd = fd;
}

/* A stranger's hello makes it a link; whoever says something else is sent away. */
static void hear_stranger(struct wsl_peers *p, struct pollfd *stranger)
{
    struct hello hello;
    ssize_t n = recv(stranger->fd, &hello, sizeof(hello), MSG_PEEK);

    if (n > 0 && (size_t)n < sizeof(hello))
        return;
    if (n < 0 && errno == EAGAIN)
        return;
    if (n == sizeof(hello) && memcmp(hello.token, p->token, sizeof(p->token)) == 0 &&
        hello.rank > 0 && hello.rank < (uint32_t)p->world && p->links[hello.rank].fd < 0) {
        n = recv(stranger->fd, &hello, sizeof(hello), 0);
        keep_alive(stranger->fd);
        p->links[hello.rank].fd = stranger->fd;
        p->known++;
    } else {
        close(stranger->fd);
    }
    stranger->fd = -1;
}

static int connect_others(struct wsl_peers *p)
{
    accept_one(p);
    for (int i = 0; i < p->world; i++)
        if (p->strangers[i].fd >= 0)
            hear_stranger(p, &p->strangers[i]);
    return p->known < p->world - 1;
}

static int connect_zero(struct wsl_peers *p, const struct wsl_peers_address *zero,
                        struct wsl_err *err)
{
    struct hello hello = {.rank = (uint32_t)p->rank};
    struct pollfd writable = {.fd = p->links[0].fd, .events = POLLOUT};
    struct wsl_err why = {0};
    int failure = 0;
    socklen_t length = sizeof(failure);

    if (p->greeted)
        return 0;
    if (writable.fd < 0) {
        p->links[0].fd = make_socket(zero->host, zero->port, false, &why);
        if (p->links[0].fd < 0)
            return wsl_fail(err, WSL_EPEER, "rank 0 is gone: %s", why.text);
        return 1;
    }
    if (poll(&writable, 1, 0) <= 0)
        return 1;
    memcpy(hello.token, zero->token, sizeof(hello.token));
    getsockopt(writable.fd, SOL_SOCKET, SO_ERROR, &failure, &length);
    if (failure == 0 && send(writable.fd, &hello, sizeof(hello), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        failure = errno; /* so few bytes go at once or not at all */
    if (failure != 0)
        return wsl_fail(err, WSL_EPEER, "collective: rank 0 is gone: connect to %s port %u: %s",
                        zero->host, zero->port, strerror(failure));
    keep_alive(writable.fd);
    p->greeted = true;
    return 0;
}

int wsl_peers_connect(struct wsl_peers *p, const struct wsl_peers_address *zero,
                      struct wsl_err *err)
{
    return p->rank == 0 ? connect_others(p) : connect_zero(p, zero, err);
}

/* ---- watching ---- */

/* A link that has something to say: rank 0 hears only ends; the others the number of a lost rank.
 */
static int hear_link(const struct wsl_peers *p, int place)
{
    uint32_t rank;
    ssize_t n = recv(p->links[place].fd, &rank, sizeof(rank), MSG_DONTWAIT);

    if (n == sizeof(rank) && p->rank != 0)
        return rank < (uint32_t)p->world ? (int)rank : place;
    return n < 0 && errno == EAGAIN ? NOBODY : place;
}

static void tell_others(const struct wsl_peers *p, int lost)
{
    uint32_t rank = (uint32_t)lost;

    for (int i = 1; i < p->world; i++)
        if (i != lost && p->links[i].fd >= 0)
            send(p->links[i].fd, &rank, sizeof(rank), MSG_NOSIGNAL | MSG_DONTWAIT);
}

int wsl_peers_check(struct wsl_peers *p, struct wsl_err *err)
{
    nfds_t count = p->rank == 0 ? (nfds_t)p->world : 1;

    if (p->lost == NOBODY && poll(p->links, count, 0) > 0) {
        for (int i = 0; i < (int)count && p->lost == NOBODY; i++)
            if (p->links[i].fd >= 0 && p->links[i].revents != 0)
                p->lost = hear_link(p, i);
        if (p->lost != NOBODY && p->rank == 0)
            tell_others(p, p->lost);
    }
    if (p->lost == NOBODY)
        return 0;
    return wsl_fail(err, WSL_EPEER, "collective: rank %d is gone: its connection ended", p->lost);
}

void wsl_peers_close(struct wsl_peers *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->world; i++) {
        if (p->links && p->links[i].fd >= 0)
            close(p->links[i].fd);
        if (p->strangers && p->strangers[i].fd >= 0)
            close(p->strangers[i].fd);
    }
    if (p->listener >= 0)
        close(p->listener);
    free(p->links);
    free(p->strangers);
    free(p);
}
