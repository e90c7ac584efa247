/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/trainer/control.h"

#include "base/log.h"
#include "daemon/trainer/frame.h"
#include "wsl/v1/trainer.pb-c.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SOCKET_NAME "control.sock"

struct wsl_trainer_control {
    struct wsl_trainer_control_setup setup;
    int listener, signals, wake; /* descriptors */
    pthread_t thread;
    bool thread_runs;

    /* the control thread's own */
    int worker; /* connection, -1: none */
    struct wsl_buf in, out;

    pthread_mutex_t lock; /* of the rest */
    pthread_cond_t changed;
    const char *phase;
    bool phase_news, part_news; /* to be sent */
    bool closing, stopped, cancelled;
    char stop_reason[200];
    bool part_open; /* round and part are waiting for their result */
    uint32_t round;
    struct wsl_blob part;
    struct wsl_blob *result; /* `world` of them, or NULL */
};

/* ---- control thread ---- */

static void drop_worker(struct wsl_trainer_control *c)
{
    if (c->worker >= 0)
        close(c->worker);
    c->worker = -1;
    wsl_buf_clear(&c->in);
    wsl_buf_clear(&c->out);
}

static void add_message(struct wsl_trainer_control *c, const Wsl__V1__FromTrainer *message)
{
    size_t size = wsl__v1__from_trainer__get_packed_size(message);
    uint8_t *at = wsl_frame_add(&c->out, (uint32_t)size);

    if (at)
        wsl__v1__from_trainer__pack(message, at);
    else
        drop_worker(c); /* it does not read; it gets everything again when it comes back */
}

/* Queues what the worker has not been told yet. */
static void add_news(struct wsl_trainer_control *c)
{
    Wsl__V1__TrainerKey key = WSL__V1__TRAINER_KEY__INIT;
    Wsl__V1__FromTrainer message = WSL__V1__FROM_TRAINER__INIT;
    Wsl__V1__TrainerStatus status = WSL__V1__TRAINER_STATUS__INIT;
    Wsl__V1__ExchangePart part = WSL__V1__EXCHANGE_PART__INIT;

    key.job = c->setup.job;
    key.generation = c->setup.generation;
    key.rank = c->setup.rank;
    pthread_mutex_lock(&c->lock);
    if (c->worker >= 0 && c->phase_news) {
        c->phase_news = false;
        status.key = &key;
        status.pid = getpid();
        status.phase = (char *)c->phase;
        message.body_case = WSL__V1__FROM_TRAINER__BODY_STATUS;
        message.status = &status;
        add_message(c, &message);
    }
    if (c->worker >= 0 && c->part_news && c->part_open) {
        c->part_news = false;
        part.key = &key;
        part.round = c->round;
        part.blob = (ProtobufCBinaryData){.len = c->part.size, .data = c->part.data};
        message.body_case = WSL__V1__FROM_TRAINER__BODY_EXCHANGE;
        message.exchange = &part;
        add_message(c, &message);
    }
    pthread_mutex_unlock(&c->lock);
}

static void accept_worker(struct wsl_trainer_control *c)
{
    int fd = accept4(c->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return;
    drop_worker(c);
    c->worker = fd;
    pthread_mutex_lock(&c->lock);
    c->phase_news = true;
    c->part_news = true;
    pthread_mutex_unlock(&c->lock);
}

static void request_stop(struct wsl_trainer_control *c, const char *reason)
{
    pthread_mutex_lock(&c->lock);
    if (!c->stopped)
        snprintf(c->stop_reason, sizeof(c->stop_reason), "%s", reason);
    c->stopped = true;
    pthread_mutex_unlock(&c->lock);
    if (c->setup.on_stop)
        c->setup.on_stop(c->setup.context);
}

static void take_result(struct wsl_trainer_control *c, const Wsl__V1__ExchangeResult *result)
{
    struct wsl_blob *blobs;

    if (result->job != c->setup.job || result->generation != c->setup.generation ||
        result->n_blobs != c->setup.world)
        return;
    pthread_mutex_lock(&c->lock);
    blobs = c->part_open && result->round == c->round && !c->result
                ? calloc(c->setup.world, sizeof(*blobs))
                : NULL;
    for (size_t i = 0; blobs && i < result->n_blobs; i++) {
        blobs[i].size = result->blobs[i].len;
        blobs[i].data = malloc(blobs[i].size + 1);
        if (blobs[i].data && blobs[i].size > 0)
            memcpy(blobs[i].data, result->blobs[i].data, blobs[i].size);
    }
    if (blobs) {
        c->result = blobs;
        pthread_cond_broadcast(&c->changed);
    }
    pthread_mutex_unlock(&c->lock);
}

static void take_message(struct wsl_trainer_control *c, const Wsl__V1__ToTrainer *message)
{
    const Wsl__V1__StopTrainer *stop = message->stop;

    if (message->body_case == WSL__V1__TO_TRAINER__BODY_EXCHANGE) {
        take_result(c, message->exchange);
    } else if (message->body_case == WSL__V1__TO_TRAINER__BODY_STOP) {
        if (stop->key &&
            (stop->key->job != c->setup.job || stop->key->generation != c->setup.generation ||
             stop->key->rank != c->setup.rank))
            return; /* meant for another trainer */
        if (stop->mode == WSL__V1__STOP_MODE__KILL)
            kill(getpid(), SIGKILL);
        request_stop(c, stop->reason);
    }
}

static void read_worker(struct wsl_trainer_control *c)
{
    const uint8_t *bytes;
    uint32_t size;
    ssize_t n;
    int r;

    if (wsl_buf_reserve(&c->in, 65536) < 0) {
        drop_worker(c);
        return;
    }
    n = read(c->worker, c->in.data + c->in.size, 65536);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        drop_worker(c);
        return;
    }
    c->in.size += (size_t)n;
    while ((r = wsl_frame_first(&c->in, &bytes, &size)) == 1) {
        Wsl__V1__ToTrainer *message = wsl__v1__to_trainer__unpack(NULL, size, bytes);

        if (message)
            take_message(c, message);
        else
            wsl_warn("event=bad_control_message bytes=%u", size);
        if (message)
            wsl__v1__to_trainer__free_unpacked(message, NULL);
        wsl_frame_drop(&c->in, size);
    }
    if (r < 0) {
        wsl_warn("event=bad_control_frame text=\"message over %u bytes\"", WSL_FRAME_MAX);
        drop_worker(c);
    }
}

static void write_worker(struct wsl_trainer_control *c)
{
    ssize_t n = send(c->worker, c->out.data, c->out.size, MSG_NOSIGNAL);

    if (n > 0)
        wsl_buf_drop(&c->out, (size_t)n);
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        drop_worker(c);
}

static void read_signal(struct wsl_trainer_control *c)
{
    struct signalfd_siginfo info;
    char reason[100];

    if (read(c->signals, &info, sizeof(info)) != sizeof(info))
        return;
    snprintf(reason, sizeof(reason), "SIG%s from process %u", sigabbrev_np((int)info.ssi_signo),
             info.ssi_pid);
    request_stop(c, reason);
}

static bool is_closing(struct wsl_trainer_control *c)
{
    bool closing;

    pthread_mutex_lock(&c->lock);
    closing = c->closing;
    pthread_mutex_unlock(&c->lock);
    return closing;
}

static void *thread_main(void *context)
{
    struct wsl_trainer_control *c = context;
    uint64_t count;

    while (!is_closing(c)) {
        struct pollfd fds[4] = {{.fd = c->wake, .events = POLLIN},
                                {.fd = c->signals, .events = POLLIN},
                                {.fd = c->listener, .events = POLLIN},
                                {.fd = -1, .events = POLLIN}};

        add_news(c);
        fds[3].fd = c->worker;
        if (c->out.size > 0)
            fds[3].events |= POLLOUT;
        if (poll(fds, 4, -1) < 0)
            continue;
        if (fds[0].revents && read(c->wake, &count, sizeof(count)) < 0)
            continue;
        if (fds[1].revents)
            read_signal(c);
        if (fds[3].revents & (POLLIN | POLLHUP | POLLERR))
            read_worker(c);
        else if (fds[3].revents & POLLOUT)
            write_worker(c);
        if (fds[2].revents)
            accept_worker(c);
    }
    add_news(c); /* the last phase */
    if (c->worker >= 0 && c->out.size > 0)
        write_worker(c);
    drop_worker(c);
    return NULL;
}

/* ---- any thread ---- */

static void wake(struct wsl_trainer_control *c)
{
    uint64_t one = 1;

    if (write(c->wake, &one, sizeof(one)) < 0)
        return; /* the counter is full: the thread is awake already */
}

void wsl_trainer_control_phase(struct wsl_trainer_control *c, const char *phase)
{
    pthread_mutex_lock(&c->lock);
    c->phase = phase;
    c->phase_news = true;
    pthread_mutex_unlock(&c->lock);
    wake(c);
}

bool wsl_trainer_control_stopped(struct wsl_trainer_control *c)
{
    bool stopped;

    pthread_mutex_lock(&c->lock);
    stopped = c->stopped;
    pthread_mutex_unlock(&c->lock);
    return stopped;
}

void wsl_trainer_control_stop_reason(struct wsl_trainer_control *c, char ret_text[200])
{
    pthread_mutex_lock(&c->lock);
    memcpy(ret_text, c->stop_reason, sizeof(c->stop_reason));
    pthread_mutex_unlock(&c->lock);
}

static int hand_over(struct wsl_trainer_control *c, struct wsl_blob *all, struct wsl_err *err)
{
    int r = 0;

    for (uint32_t i = 0; i < c->setup.world; i++) {
        all[i] = c->result[i];
        if (!all[i].data)
            r = wsl_fail(err, WSL_ENOMEM, "exchange: out of memory");
    }
    free(c->result);
    c->result = NULL;
    return r;
}

static int gather(void *context, uint32_t round, const void *mine, size_t size,
                  struct wsl_blob *all, struct wsl_err *err)
{
    struct wsl_trainer_control *c = context;
    int r;

    if (size > 65536)
        return wsl_fail(err, WSL_ELIMIT, "exchange: %zu bytes, at most 65536", size);
    pthread_mutex_lock(&c->lock);
    free(c->part.data);
    c->part = (struct wsl_blob){.data = malloc(size + 1), .size = size};
    if (!c->part.data) {
        pthread_mutex_unlock(&c->lock);
        return wsl_fail(err, WSL_ENOMEM, "exchange: out of memory");
    }
    memcpy(c->part.data, mine, size);
    c->round = round;
    c->part_open = true;
    c->part_news = true;
    wake(c);
    while (!c->result && !c->cancelled)
        pthread_cond_wait(&c->changed, &c->lock);
    c->part_open = false;
    if (c->result)
        r = hand_over(c, all, err);
    else
        r = wsl_fail(err, WSL_ECANCELLED, "exchange: cancelled");
    pthread_mutex_unlock(&c->lock);
    return r;
}

static void cancel(void *context)
{
    struct wsl_trainer_control *c = context;

    pthread_mutex_lock(&c->lock);
    c->cancelled = true;
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
}

struct wsl_exchange wsl_trainer_control_exchange(struct wsl_trainer_control *control)
{
    return (struct wsl_exchange){.context = control, .gather = gather, .cancel = cancel};
}

/* ---- life ---- */

static int open_descriptors(struct wsl_trainer_control *c, struct wsl_err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = SOCKET_NAME};
    sigset_t ends;

    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    c->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    c->signals = signalfd(-1, &ends, SFD_NONBLOCK | SFD_CLOEXEC);
    c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->wake < 0 || c->signals < 0 || c->listener < 0)
        return wsl_fail_errno(err, "%s: cannot make descriptors", SOCKET_NAME);
    unlink(SOCKET_NAME);
    if (bind(c->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(c->listener, 8) < 0)
        return wsl_fail_errno(err, "cannot listen on %s in the run folder", SOCKET_NAME);
    return 0;
}

int wsl_trainer_control_open(struct wsl_trainer_control **ret,
                             const struct wsl_trainer_control_setup *setup, struct wsl_err *err)
{
    struct wsl_trainer_control *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return wsl_fail(err, WSL_ENOMEM, "control: out of memory");
    c->setup = *setup;
    c->wake = c->signals = c->listener = c->worker = -1;
    c->phase = "starting";
    c->in.limit = (size_t)WSL_FRAME_MAX + 131072;
    c->out.limit = 1 << 20;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->changed, NULL);
    r = open_descriptors(c, err);
    if (r == 0) {
        errno = pthread_create(&c->thread, NULL, thread_main, c);
        if (errno != 0)
            r = wsl_fail_errno(err, "control: cannot start a thread");
        else
            c->thread_runs = true;
    }
    if (r < 0) {
        wsl_trainer_control_close(c);
        return r;
    }
    pthread_setname_np(c->thread, "control");
    *ret = c;
    return 0;
}

void wsl_trainer_control_close(struct wsl_trainer_control *c)
{
    if (!c)
        return;
    if (c->thread_runs) {
        pthread_mutex_lock(&c->lock);
        c->closing = true;
        pthread_mutex_unlock(&c->lock);
        wake(c);
        pthread_join(c->thread, NULL);
    }
    if (c->listener >= 0)
        unlink(SOCKET_NAME);
    if (c->listener >= 0)
        close(c->listener);
    if (c->signals >= 0)
        close(c->signals);
    if (c->wake >= 0)
        close(c->wake);
    for (uint32_t i = 0; c->result && i < c->setup.world; i++)
        free(c->result[i].data);
    free(c->result);
    free(c->part.data);
    wsl_buf_free(&c->in);
    wsl_buf_free(&c->out);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}
