/* SPDX-License-Identifier: Apache-2.0
 *
 * The trainer's end of its control socket: a thread that listens for the worker, answers it, and
 * wakes whoever waits for a round of the exchange or for a stop.
 */
#include "daemon/trainer/control.h"

#include "base/log.h"
#include "proto/frame.h"
#include "wsl/v1/trainer.pb-c.h"

#include <assert.h>
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
    uint32_t rounds; /* of exchanges begun */
    /* Of the running exchange; belong to the thread that waits for it. NULL: none. */
    const Wsl__V1__ExchangePart *part;
    struct answer *answer;
};

struct answer {
    bool here;
    size_t size;
    uint8_t blob[WSL_EXCHANGE_MAX];
    char error[sizeof(((struct wsl_err *)0)->text)];
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

static void fill_key(const struct wsl_trainer_control *c, Wsl__V1__TrainerKey *key)
{
    key->job = c->setup.job;
    key->generation = c->setup.generation;
    key->rank = c->setup.rank;
}

/* Queues what the worker has not been told yet. */
static void add_news(struct wsl_trainer_control *c)
{
    Wsl__V1__TrainerKey key = WSL__V1__TRAINER_KEY__INIT;
    Wsl__V1__FromTrainer message = WSL__V1__FROM_TRAINER__INIT;
    Wsl__V1__TrainerStatus status = WSL__V1__TRAINER_STATUS__INIT;

    fill_key(c, &key);
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
    if (c->worker >= 0 && c->part_news && c->part) {
        c->part_news = false;
        message.body_case = WSL__V1__FROM_TRAINER__BODY_EXCHANGE;
        message.exchange = (Wsl__V1__ExchangePart *)c->part;
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
    pthread_cond_broadcast(&c->changed);
    pthread_mutex_unlock(&c->lock);
    if (c->setup.on_stop)
        c->setup.on_stop(c->setup.context);
}

static void take_result(struct wsl_trainer_control *c, const Wsl__V1__ExchangeResult *result)
{
    struct answer *answer;

    if (result->job != c->setup.job || result->generation != c->setup.generation ||
        result->blob.len > sizeof(answer->blob))
        return;
    pthread_mutex_lock(&c->lock);
    answer = c->part && result->round == c->part->round ? c->answer : NULL;
    if (answer && !answer->here) {
        answer->here = true;
        answer->size = result->blob.len;
        if (answer->size > 0)
            memcpy(answer->blob, result->blob.data, answer->size);
        snprintf(answer->error, sizeof(answer->error), "%s", result->error);
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
    while ((r = wsl_frame_first(&c->in, WSL_FRAME_TO_TRAINER_MAX, &bytes, &size)) == 1) {
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
        wsl_warn("event=bad_control_frame text=\"message over %d bytes\"",
                 WSL_FRAME_TO_TRAINER_MAX);
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

/* Shows `part` to the worker until its answer is here. */
static int exchange(struct wsl_trainer_control *c, Wsl__V1__ExchangePart *part, bool until_stop,
                    struct answer *answer, struct wsl_err *err)
{
    Wsl__V1__TrainerKey key = WSL__V1__TRAINER_KEY__INIT;
    int r = 0;

    fill_key(c, &key);
    part->key = &key;
    pthread_mutex_lock(&c->lock);
    part->round = c->rounds++;
    c->part = part;
    c->answer = answer;
    c->part_news = true;
    wake(c);
    while (!answer->here && !c->cancelled && !(until_stop && c->stopped))
        pthread_cond_wait(&c->changed, &c->lock);
    c->part = NULL;
    c->answer = NULL;
    pthread_mutex_unlock(&c->lock);
    if (!answer->here)
        r = wsl_fail(err, WSL_ECANCELLED, "exchange: cancelled");
    else if (answer->error[0])
        r = wsl_fail(err, WSL_EINVAL, "%s", answer->error);
    return r;
}

int wsl_trainer_control_agree(struct wsl_trainer_control *c, const struct wsl_rank_fact *facts,
                              size_t count, struct wsl_err *err)
{
    Wsl__V1__ExchangePart part = WSL__V1__EXCHANGE_PART__INIT;
    Wsl__V1__RankFact rows[WSL_RANK_FACTS_MAX], *list[WSL_RANK_FACTS_MAX];
    struct answer answer = {0};

    assert(count <= WSL_RANK_FACTS_MAX);
    for (size_t i = 0; i < count; i++) {
        wsl__v1__rank_fact__init(&rows[i]);
        rows[i].name = (char *)facts[i].name;
        rows[i].value = (char *)facts[i].value;
        rows[i].remedy = (char *)facts[i].remedy;
        list[i] = &rows[i];
    }
    part.n_facts = count;
    part.facts = list;
    return exchange(c, &part, true, &answer, err);
}

static int broadcast(void *context, void *data, size_t size, struct wsl_err *err)
{
    struct wsl_trainer_control *c = context;
    Wsl__V1__ExchangePart part = WSL__V1__EXCHANGE_PART__INIT;
    struct answer answer = {0};
    int r;

    assert(size <= WSL_EXCHANGE_MAX);
    if (c->setup.rank == 0)
        part.blob = (ProtobufCBinaryData){.len = size, .data = data};
    r = exchange(c, &part, false, &answer, err);
    if (r == 0 && answer.size != size)
        r = wsl_fail(err, WSL_EPEER, "exchange: rank 0 gave %zu bytes, not %zu", answer.size, size);
    if (r == 0)
        memcpy(data, answer.blob, size);
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
    return (struct wsl_exchange){.context = control, .broadcast = broadcast, .cancel = cancel};
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
        return wsl_fail_errno(err, "cannot listen on %s in the run directory", SOCKET_NAME);
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
    c->in.limit = (size_t)WSL_FRAME_TO_TRAINER_MAX + 131072;
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
    wsl_buf_free(&c->in);
    wsl_buf_free(&c->out);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->lock);
    free(c);
}
