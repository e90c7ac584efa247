/* SPDX-License-Identifier: Apache-2.0
 *
 * One connection from every rank to rank 0, without a thread: all sockets are non-blocking, and
 * each call does what can be done now.
 */
#include "kernels/collective/rendezvous.h"

#include "base/rlimit.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a rank sends first; then follow its bytes for its neighbours. */
struct hello {
    uint8_t token[16];
    uint32_t rank; /* all ranks are of one build: host byte order */
};

/* What rank 0 sends: the number of a lost rank, at any time, or NOBODY_LOST once, before the bytes
 * that a rank's neighbours have for it. */
#define NOBODY_LOST UINT32_MAX

enum { NOBODY = -1 };

/* Bytes that go through a socket in as many pieces as it takes. */
struct transfer {
    char *bytes;
    size_t size, done;
};

struct newcomer {
    struct hello hello;
    size_t got; /* bytes of it */
};

struct wsl_rendezvous {
    int rank, world;
    int lost;          /* a rank, or NOBODY */
    bool met;          /* the rendezvous is over */
    bool connected;    /* the others: to rank 0 */
    bool answering;    /* rank 0: has everything, and sends it */
    int known, ready;  /* rank 0: ranks that sent a hello; ranks whose bytes are here or sent */
    size_t each, part; /* bytes for a neighbour, for all of them */
    int neighbours[WSL_RENDEZVOUS_NEIGHBOURS_MAX];
    int neighbour_count;
    uint8_t token[16];
    /* Descriptors, -1 where there is none: `wake`, `listener` (rank 0), then `links` (rank 0: place
     * i is rank i; the others: place 0 is rank 0), then `newcomers` (rank 0: accepted, no hello
     * yet; `world` places). */
    struct pollfd *fds, *links, *newcomers;
    nfds_t fd_count;
    struct newcomer *hellos; /* of newcomers, as far as they are here */
    /* Rank 0: in[i] has the bytes from rank i, out[i] those for it; the others: in[0], out[0]. */
    struct transfer *in, *out;
    char *bytes; /* of all transfers */
};

int wsl_rendezvous_neighbours(int rank, int world, int ret[WSL_RENDEZVOUS_NEIGHBOURS_MAX])
{
    int count = 0;

    for (int distance = 1; distance < world; distance *= 2) {
        int both[] = {(rank + distance) % world, (rank + world - distance) % world};

        for (int b = 0; b < 2; b++) {
            int at = 0;

            while (at < count && ret[at] < both[b])
                at++;
            if (at < count && ret[at] == both[b])
                continue;
            memmove(ret + at + 1, ret + at, (size_t)(count - at) * sizeof(*ret));
            ret[at] = both[b];
            count++;
        }
    }
    return count;
}

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

static int start_listening(struct wsl_rendezvous *p, const char *host,
                           struct wsl_rendezvous_address *ret, struct wsl_err *err)
{
    struct sockaddr_storage bound;
    socklen_t length = sizeof(bound);

    p->fds[1].fd = make_socket(host, 0, true, err);
    if (p->fds[1].fd < 0)
        return p->fds[1].fd;
    if (getsockname(p->fds[1].fd, (struct sockaddr *)&bound, &length) < 0 ||
        getrandom(p->token, sizeof(p->token), 0) != sizeof(p->token))
        return wsl_fail_errno(err, "collective: listen on %s", host);
    snprintf(ret->host, sizeof(ret->host), "%s", host);
    ret->port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                  : ((struct sockaddr_in *)&bound)->sin_port);
    memcpy(ret->token, p->token, sizeof(ret->token));
    return 0;
}

static void set_transfer(struct transfer *t, char **bytes, size_t size)
{
    *t = (struct transfer){.bytes = *bytes, .size = size};
    *bytes += size;
}

/* Rank 0 has a transfer each way with every rank, the others with rank 0. */
static int make_transfers(struct wsl_rendezvous *p, const void *ours, struct wsl_err *err)
{
    size_t ends = p->rank == 0 ? (size_t)p->world : 1;
    size_t hello = p->rank == 0 ? 0 : sizeof(struct hello);
    size_t answer = p->part > 0 ? sizeof(uint32_t) + p->part : 0;
    char *at;

    p->in = calloc(ends, sizeof(*p->in));
    p->out = calloc(ends, sizeof(*p->out));
    p->bytes = at = calloc(ends, hello + p->part + answer + 1);
    if (!p->in || !p->out || !p->bytes)
        return wsl_fail(err, WSL_ENOMEM, "collective: out of memory");
    for (size_t i = 0; i < ends; i++) {
        set_transfer(&p->in[i], &at, p->rank == 0 ? p->part : answer);
        set_transfer(&p->out[i], &at, p->rank == 0 ? answer : hello + p->part);
    }
    if (p->part > 0)
        memcpy(p->rank == 0 ? p->in[0].bytes : p->out[0].bytes + hello, ours, p->part);
    return 0;
}

static int make_places(struct wsl_rendezvous *p, struct wsl_err *err)
{
    size_t links = p->rank == 0 ? (size_t)p->world : 1, newcomers = p->rank == 0 ? links : 0;

    p->fd_count = 2 + links + newcomers;
    p->fds = calloc(p->fd_count, sizeof(*p->fds));
    p->hellos = calloc(newcomers + 1, sizeof(*p->hellos));
    if (!p->fds || !p->hellos)
        return wsl_fail(err, WSL_ENOMEM, "collective: out of memory");
    for (nfds_t i = 0; i < p->fd_count; i++)
        p->fds[i] = (struct pollfd){.fd = -1, .events = POLLIN};
    p->links = p->fds + 2;
    p->newcomers = p->links + links;
    p->fds[0].fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return p->fds[0].fd < 0 ? wsl_fail_errno(err, "collective: eventfd") : 0;
}

enum { OTHER_DESCRIPTORS = 64 }; /* of the process: data, log, sockets to neighbours */

/* Rank 0 has a connection for every rank. Hundreds may be more than a shell's usual limit. */
static int allow_descriptors(const struct wsl_rendezvous *p, struct wsl_err *err)
{
    uint64_t need = (uint64_t)p->world + OTHER_DESCRIPTORS, have;

    if (p->rank != 0)
        return 0;
    have = wsl_rlimit_raise_open_files(need);
    if (have >= need)
        return 0;
    return wsl_fail(err, WSL_EIO,
                    "collective: rank 0 of %d ranks needs %llu open files and may have %llu: raise "
                    "the worker's limit (ulimit -n); a world of %lld fits",
                    p->world, (unsigned long long)need, (unsigned long long)have,
                    have > OTHER_DESCRIPTORS ? (long long)(have - OTHER_DESCRIPTORS) : 1LL);
}

int wsl_rendezvous_open(struct wsl_rendezvous **ret, const struct wsl_rendezvous_setup *setup,
                        struct wsl_rendezvous_address *ret_address, struct wsl_err *err)
{
    struct wsl_rendezvous *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return wsl_fail(err, WSL_ENOMEM, "collective: out of memory");
    p->rank = setup->rank;
    p->world = setup->world;
    p->lost = NOBODY;
    p->neighbour_count = wsl_rendezvous_neighbours(p->rank, p->world, p->neighbours);
    p->each = setup->each;
    p->part = setup->each * (size_t)p->neighbour_count;
    r = allow_descriptors(p, err);
    if (r == 0)
        r = make_places(p, err);
    if (r == 0)
        r = make_transfers(p, setup->ours, err);
    if (r == 0 && p->rank == 0)
        r = start_listening(p, setup->host, ret_address, err);
    if (r < 0)
        wsl_rendezvous_close(p);
    else
        *ret = p;
    return r;
}

/* ---- bytes ---- */

enum { MORE = 1 }; /* not all of it yet */

/* 0: all of it is here; MORE; or -1: the other end has disconnected. */
static int receive(int fd, struct transfer *t)
{
    while (t->done < t->size) {
        ssize_t n = recv(fd, t->bytes + t->done, t->size - t->done, MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return MORE;
        if (n <= 0)
            return -1;
        t->done += (size_t)n;
    }
    return 0;
}

static int transmit(struct pollfd *link, struct transfer *t)
{
    link->events = POLLIN;
    while (t->done < t->size) {
        ssize_t n =
            send(link->fd, t->bytes + t->done, t->size - t->done, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            link->events = POLLOUT;
            return MORE;
        }
        if (n < 0)
            return -1;
        t->done += (size_t)n;
    }
    return 0;
}

static void notify_others(const struct wsl_rendezvous *p, int lost)
{
    uint32_t rank = (uint32_t)lost;

    for (int i = 1; i < p->world; i++)
        if (i != lost && p->links[i].fd >= 0)
            send(p->links[i].fd, &rank, sizeof(rank), MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int lose(struct wsl_rendezvous *p, int rank, struct wsl_err *err)
{
    if (p->lost == NOBODY && p->rank == 0)
        notify_others(p, rank);
    p->lost = rank;
    return wsl_fail(err, WSL_EPEER, "collective: rank %d disconnected: its connection ended", rank);
}

/* ---- rendezvous, rank 0 ---- */

static void accept_all(struct wsl_rendezvous *p)
{
    for (int place = 0; place < p->world; place++) {
        if (p->newcomers[place].fd >= 0)
            continue;
        p->newcomers[place].fd = accept4(p->fds[1].fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        p->newcomers[place].revents = 0;
        p->hellos[place].got = 0;
        if (p->newcomers[place].fd < 0)
            return;
    }
    /* Full: the kernel's queue keeps the rest. */
}

static bool is_rank(const struct wsl_rendezvous *p, const struct hello *hello)
{
    return memcmp(hello->token, p->token, sizeof(p->token)) == 0 && hello->rank > 0 &&
           hello->rank < (uint32_t)p->world && p->links[hello->rank].fd < 0;
}

/* A newcomer's hello makes it a link; whoever sends something else is disconnected. */
static void read_hello(struct wsl_rendezvous *p, int place)
{
    struct newcomer *s = &p->hellos[place];
    struct transfer t = {.bytes = (char *)&s->hello, .size = sizeof(s->hello), .done = s->got};
    int fd = p->newcomers[place].fd, r = receive(fd, &t);

    s->got = t.done;
    if (r == MORE)
        return;
    p->newcomers[place].fd = -1;
    if (r < 0 || !is_rank(p, &s->hello)) {
        close(fd);
        return;
    }
    keep_alive(fd);
    p->links[s->hello.rank] = (struct pollfd){.fd = fd, .events = POLLIN, .revents = POLLIN};
    p->known++;
}

/* What rank i gets: from each of its neighbours what that one has for it. */
static void fill_answer(const struct wsl_rendezvous *p, int i)
{
    uint32_t nobody = NOBODY_LOST;
    int near[WSL_RENDEZVOUS_NEIGHBOURS_MAX], count = wsl_rendezvous_neighbours(i, p->world, near);
    char *to = p->out[i].bytes;

    memcpy(to, &nobody, sizeof(nobody));
    to += sizeof(nobody);
    for (int n = 0; n < count; n++) {
        int theirs[WSL_RENDEZVOUS_NEIGHBOURS_MAX], at = 0;

        wsl_rendezvous_neighbours(near[n], p->world, theirs);
        while (theirs[at] != i)
            at++;
        memcpy(to + (size_t)n * p->each, p->in[near[n]].bytes + (size_t)at * p->each, p->each);
    }
}

/* A link that has news after its bytes: for rank 0 only that it ends; for the others the number
 * of a lost rank. NOBODY, or who is lost. */
static int read_link(const struct wsl_rendezvous *p, int place)
{
    uint32_t rank;
    ssize_t n = recv(p->links[place].fd, &rank, sizeof(rank), MSG_DONTWAIT);

    if (n == sizeof(rank) && p->rank != 0)
        return rank < (uint32_t)p->world ? (int)rank : place;
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? NOBODY : place;
}

/* One turn with every link that has news: receiving, then answering. */
static int serve_links(struct wsl_rendezvous *p, struct wsl_err *err)
{
    for (int i = 1; i < p->world; i++) {
        struct transfer *t = p->answering ? &p->out[i] : &p->in[i];
        int r;

        if (p->links[i].fd < 0 || p->links[i].revents == 0)
            continue;
        if (t->done == t->size) {
            if (read_link(p, i) != NOBODY)
                return lose(p, i, err);
            continue;
        }
        r = p->answering ? transmit(&p->links[i], t) : receive(p->links[i].fd, t);
        if (r < 0)
            return lose(p, i, err);
        p->ready += r == 0;
    }
    return 0;
}

static void start_answering(struct wsl_rendezvous *p)
{
    for (int i = 0; i < p->world; i++) {
        fill_answer(p, i);
        p->links[i].revents = POLLOUT;
    }
    p->answering = true;
    p->ready = 0;
}

/* Nobody else is wanted. */
static void stop_listening(struct wsl_rendezvous *p)
{
    for (struct pollfd *f = p->newcomers; f < p->fds + p->fd_count; f++) {
        if (f->fd >= 0)
            close(f->fd);
        f->fd = -1;
    }
    if (p->fds[1].fd >= 0)
        close(p->fds[1].fd);
    p->fds[1].fd = -1;
}

static int connect_others(struct wsl_rendezvous *p, void *ret_theirs, struct wsl_err *err)
{
    int all = p->world - 1, r = 0;

    if (poll(p->fds, p->fd_count, 0) > 0) {
        if (p->fds[1].revents)
            accept_all(p);
        for (int i = 0; i < p->world; i++)
            if (p->newcomers[i].fd >= 0)
                read_hello(p, i);
        r = serve_links(p, err);
    }
    if (p->known == all)
        stop_listening(p);
    if (r < 0 || p->known < all || p->part == 0)
        return r < 0 ? r : p->known < all;
    if (!p->answering && p->ready == all) {
        start_answering(p);
        r = serve_links(p, err);
    }
    if (r < 0 || !p->answering || p->ready < all)
        return r < 0 ? r : 1;
    memcpy(ret_theirs, p->out[0].bytes + sizeof(uint32_t), p->part);
    return 0;
}

/* ---- rendezvous, the others ---- */

static int start_connecting(struct wsl_rendezvous *p, const struct wsl_rendezvous_address *zero,
                            struct wsl_err *err)
{
    struct hello hello = {.rank = (uint32_t)p->rank};
    struct wsl_err why = {0};
    int fd = make_socket(zero->host, zero->port, false, &why);

    if (fd < 0)
        return wsl_fail(err, WSL_EPEER, "rank 0 disconnected: %s", why.text);
    p->links[0] = (struct pollfd){.fd = fd, .events = POLLOUT};
    memcpy(hello.token, zero->token, sizeof(hello.token));
    memcpy(p->out[0].bytes, &hello, sizeof(hello));
    return 1;
}

static int check_connected(struct wsl_rendezvous *p, const struct wsl_rendezvous_address *zero,
                           struct wsl_err *err)
{
    int failure = 0;
    socklen_t length = sizeof(failure);

    getsockopt(p->links[0].fd, SOL_SOCKET, SO_ERROR, &failure, &length);
    if (failure != 0)
        return wsl_fail(err, WSL_EPEER,
                        "collective: rank 0 disconnected: connect to %s port %u: %s", zero->host,
                        zero->port, strerror(failure));
    keep_alive(p->links[0].fd);
    p->connected = true;
    return 0;
}

/* The answer as far as it is here: it begins with the number of a lost rank, or of nobody. */
static int take_answer(struct wsl_rendezvous *p, void *ret_theirs, struct wsl_err *err)
{
    struct transfer *t = &p->in[0];
    int r = receive(p->links[0].fd, t);
    uint32_t lost;

    if (t->done >= sizeof(lost)) {
        memcpy(&lost, t->bytes, sizeof(lost));
        if (lost != NOBODY_LOST)
            return lose(p, lost < (uint32_t)p->world ? (int)lost : 0, err);
    }
    if (r < 0)
        return lose(p, 0, err);
    if (r == 0)
        memcpy(ret_theirs, t->bytes + sizeof(lost), p->part);
    return r;
}

static int connect_zero(struct wsl_rendezvous *p, const struct wsl_rendezvous_address *zero,
                        void *ret_theirs, struct wsl_err *err)
{
    int r;

    if (p->links[0].fd < 0)
        return start_connecting(p, zero, err);
    if (poll(p->links, 1, 0) <= 0)
        return 1;
    if (!p->connected && check_connected(p, zero, err) < 0)
        return err ? err->code : WSL_EPEER;
    r = transmit(&p->links[0], &p->out[0]);
    if (r < 0)
        return lose(p, 0, err);
    return r == MORE || p->part == 0 ? r : take_answer(p, ret_theirs, err);
}

int wsl_rendezvous_connect(struct wsl_rendezvous *p, const struct wsl_rendezvous_address *zero,
                           void *ret_theirs, struct wsl_err *err)
{
    int r;

    if (p->met)
        return 0;
    r = p->rank == 0 ? connect_others(p, ret_theirs, err) : connect_zero(p, zero, ret_theirs, err);
    p->met = r == 0;
    return r;
}

/* ---- liveness ---- */

int wsl_rendezvous_check(struct wsl_rendezvous *p, struct wsl_err *err)
{
    int count = p->rank == 0 ? p->world : 1, lost = NOBODY;

    if (p->lost == NOBODY && poll(p->links, (nfds_t)count, 0) > 0)
        for (int i = 0; i < count && lost == NOBODY; i++)
            if (p->links[i].fd >= 0 && p->links[i].revents != 0)
                lost = read_link(p, i);
    if (lost == NOBODY && p->lost == NOBODY)
        return 0;
    return lose(p, lost == NOBODY ? p->lost : lost, err);
}

void wsl_rendezvous_wait(struct wsl_rendezvous *p, int timeout_ms)
{
    uint64_t count;

    if (poll(p->fds, p->fd_count, timeout_ms) > 0 && p->fds[0].revents &&
        read(p->fds[0].fd, &count, sizeof(count)) < 0)
        return; /* somebody else has read it */
}

void wsl_rendezvous_wake(struct wsl_rendezvous *p)
{
    uint64_t one = 1;

    if (write(p->fds[0].fd, &one, sizeof(one)) < 0)
        return; /* the counter is full: the wait is over anyway */
}

void wsl_rendezvous_close(struct wsl_rendezvous *p)
{
    if (!p)
        return;
    for (nfds_t i = 0; p->fds && i < p->fd_count; i++)
        if (p->fds[i].fd >= 0)
            close(p->fds[i].fd);
    free(p->fds);
    free(p->hellos);
    free(p->in);
    free(p->out);
    free(p->bytes);
    free(p);
}
