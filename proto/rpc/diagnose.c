/* SPDX-License-Identifier: Apache-2.0
 *
 * What answers at an address that is not a coordinator's: looked at over a plain socket once
 * gRPC's own error says nothing useful.
 */
#include "proto/rpc/diagnose.h"

#include "proto/rpc/address.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 2000, FIRST_BYTES = 64 };

/* The preface of RFC 9113 and an empty SETTINGS frame. */
static const char http2_hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";

/* A TLS record with a ClientHello of TLS 1.2: no session, one cipher suite, no compression. */
static const char tls_hello[] = "\x16\3\1\0\x2d\1\0\0\x29\3\3"
                                "0123456789abcdef0123456789abcdef"
                                "\0\0\2\0\x2f\1";

/* ---- sockets that wait no longer than they should ---- */

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* 0, or -1 with errno (ETIMEDOUT when nothing happened until then). */
static int wait_until(int fd, short events, int64_t until_ms)
{
    struct pollfd p = {.fd = fd, .events = events};

    for (;;) {
        int64_t left = until_ms - now_ms();
        int n = poll(&p, 1, left > 0 ? (int)left : 0);

        if (n > 0)
            return 0;
        if (n == 0) {
            errno = ETIMEDOUT;
            return -1;
        }
        if (errno != EINTR)
            return -1;
    }
}

/* A connected socket, or -1 with errno. */
static int connect_to(const struct sockaddr *address, socklen_t size, int64_t until_ms)
{
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int error = 0;
    socklen_t length = sizeof error;

    if (fd < 0)
        return -1;
    if (connect(fd, address, size) == 0)
        return fd;
    if (errno == EINPROGRESS && wait_until(fd, POLLOUT, until_ms) == 0) {
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0)
            return fd;
        errno = error;
    }
    error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int connect_unix(const char *path, int64_t until_ms)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if ((size_t)snprintf(address.sun_path, sizeof address.sun_path, "%s", path) >=
        sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return connect_to((const struct sockaddr *)&address, sizeof address, until_ms);
}

/* A connected socket; -1 with errno; -2: *ret_error is what getaddrinfo() said. */
static int connect_tcp(const char *host, const char *port, int64_t until_ms, int *ret_error)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list, *a;
    int fd = -1;

    *ret_error = getaddrinfo(host, port, &hints, &list);
    if (*ret_error != 0)
        return -2;
    for (a = list; a && fd < 0; a = a->ai_next)
        fd = connect_to(a->ai_addr, a->ai_addrlen, until_ms);
    freeaddrinfo(list);
    return fd;
}

/* ---- what answers ---- */

/* The first bytes of the answer to a hello; 0: it closed; -1 with errno. */
static ssize_t ask(int fd, const char *hello, size_t size, char bytes[FIRST_BYTES],
                   int64_t until_ms)
{
    ssize_t n;

    if (send(fd, hello, size, MSG_NOSIGNAL) < 0 && errno != EAGAIN)
        return errno == EPIPE || errno == ECONNRESET ? 0 : -1;
    if (wait_until(fd, POLLIN, until_ms) < 0)
        return -1;
    n = recv(fd, bytes, FIRST_BYTES, 0);
    return n < 0 && errno == ECONNRESET ? 0 : n;
}

static bool begins(const char *bytes, ssize_t size, const char *with)
{
    size_t n = strlen(with);

    return (size_t)size >= n && memcmp(bytes, with, n) == 0;
}

/* An HTTP/2 server's first frame is SETTINGS: type 4, on stream 0. */
static bool is_http2(const char *b, ssize_t size)
{
    return size >= 9 && b[0] == 0 && b[3] == 4 && !b[5] && !b[6] && !b[7] && !b[8];
}

/* A TLS record: an alert (21) or a handshake (22), version 3.x. */
static bool is_tls(const char *b, ssize_t size)
{
    return size >= 3 && (b[0] == 21 || b[0] == 22) && b[1] == 3;
}

static int judge(const char *address, const char *bytes, ssize_t size, struct wsl_err *err)
{
    char line[32];
    int n = 0;

    if (is_http2(bytes, size))
        return wsl_fail(err, WSL_EAGAIN, "%s answers", address);
    if (size == 0)
        return wsl_fail(err, WSL_EPEER,
                        "%s answers, but is not a wsl coordinator (it closed the connection)",
                        address);
    if (is_tls(bytes, size))
        return wsl_fail(err, WSL_EPEER,
                        "%s answers, but is not a wsl coordinator without TLS (it speaks TLS)",
                        address);
    if (begins(bytes, size, "HTTP/") || begins(bytes, size, "<"))
        return wsl_fail(err, WSL_EPEER,
                        "%s answers, but is not a wsl coordinator (a web server: HTTP/1)", address);
    while (n < (int)size && n < (int)sizeof line - 1 && isprint((unsigned char)bytes[n])) {
        line[n] = bytes[n];
        n++;
    }
    line[n] = '\0';
    return wsl_fail(err, WSL_EPEER,
                    n >= 3 ? "%s answers, but is not a wsl coordinator (it says '%s')"
                           : "%s answers, but is not a wsl coordinator%.0s",
                    address, line);
}

static int cannot_connect(const char *address, int error, struct wsl_err *err)
{
    switch (error) {
    case ECONNREFUSED:
    case ENOENT: /* a Unix socket */
        return wsl_fail(err, WSL_EUNAVAILABLE, "nothing listens at %s", address);
    case ETIMEDOUT:
        return wsl_fail(err, WSL_EUNAVAILABLE, "%s does not answer: no connection in %d s", address,
                        PATIENCE_MS / 1000);
    default:
        return wsl_fail(err, WSL_EPEER, "cannot connect to %s (%s)", address, strerror(error));
    }
}

/* A connected socket, or -1 after saying why there is none. */
static int reach(const char *address, int64_t until_ms, struct wsl_err *err)
{
    char host[256], port[8];
    int fd, resolver = 0;

    if (strncmp(address, "unix:", 5) == 0)
        fd = connect_unix(address + 5, until_ms);
    else if (wsl_rpc_address_split(address, host, port, err) < 0)
        return -1;
    else
        fd = connect_tcp(host, port, until_ms, &resolver);
    if (fd == -2)
        wsl_fail(err, WSL_EPEER, "%s: host '%s' does not resolve (%s)", address, host,
                 gai_strerror(resolver));
    else if (fd < 0)
        cannot_connect(address, errno, err);
    return fd < 0 ? -1 : fd;
}

/* Many TLS servers close without a word when they are talked to in plain text. */
static ssize_t ask_in_tls(const char *address, char bytes[FIRST_BYTES], int64_t until_ms)
{
    int fd = reach(address, until_ms, NULL);
    ssize_t n = fd < 0 ? -1 : ask(fd, tls_hello, sizeof tls_hello, bytes, until_ms);

    if (fd >= 0)
        close(fd);
    return n > 0 && is_tls(bytes, n) ? n : 0;
}

int wsl_rpc_diagnose(const char *address, struct wsl_err *err)
{
    int64_t until_ms = now_ms() + PATIENCE_MS;
    struct wsl_err none; /* `err` may be NULL, the code is needed */
    char bytes[FIRST_BYTES];
    int fd, error;
    ssize_t n;

    err = err ? err : &none;
    fd = reach(address, until_ms, err);
    if (fd < 0)
        return err->code;
    n = ask(fd, http2_hello, sizeof http2_hello - 1, bytes, until_ms);
    error = errno;
    close(fd);
    if (n == 0)
        n = ask_in_tls(address, bytes, until_ms);
    if (n >= 0)
        return judge(address, bytes, n, err);
    if (error == ETIMEDOUT)
        return wsl_fail(err, WSL_EPEER, "%s accepts connections, but does not answer", address);
    return wsl_fail(err, WSL_EPEER, "%s answers, but is not a wsl coordinator (%s)", address,
                    strerror(error));
}
