/* SPDX-License-Identifier: Apache-2.0
 *
 * The trainer's control socket and metric file, with the test as the worker.
 */
#include "base/buf.h"
#include "base/file.h"
#include "daemon/trainer/control.h"
#include "daemon/trainer/metrics.h"
#include "proto/frame.h"
#include "wsl/v1/trainer.pb-c.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- the socket ---- */

struct scene {
    char folder[64];
    int back; /* descriptor of the folder before */
    struct wsl_trainer_control *control;
    int stops; /* calls of on_stop; read after the control is closed or under its order */
};

static void count_stop(void *context)
{
    ((struct scene *)context)->stops++;
}

static int open_scene(void **state)
{
    struct scene *s = calloc(1, sizeof(*s));
    struct wsl_trainer_control_setup setup = {
        .job = 7, .generation = 2, .rank = 1, .world = 3, .on_stop = count_stop, .context = s};
    sigset_t ends;
    struct wsl_err err;

    strcpy(s->folder, "/tmp/wsl-control-XXXXXX");
    assert_non_null(mkdtemp(s->folder));
    s->back = open(".", O_RDONLY | O_DIRECTORY);
    assert_int_equal(chdir(s->folder), 0);
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    assert_int_equal(wsl_trainer_control_open(&s->control, &setup, &err), 0);
    *state = s;
    return 0;
}

static int close_scene(void **state)
{
    struct scene *s = *state;
    struct wsl_err err;

    wsl_trainer_control_close(s->control);
    assert_false(wsl_file_exists("control.sock"));
    assert_int_equal(fchdir(s->back), 0);
    close(s->back);
    wsl_file_remove_tree(s->folder, &err);
    free(s);
    return 0;
}

static int connect_worker(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "control.sock"};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static void read_all(int fd, void *to, size_t size)
{
    for (size_t done = 0; done < size;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        ssize_t n;

        assert_int_equal(poll(&p, 1, 10000), 1);
        n = read(fd, (char *)to + done, size - done);
        assert_true(n > 0);
        done += (size_t)n;
    }
}

static Wsl__V1__FromTrainer *receive(int fd)
{
    uint8_t head[4], bytes[70000];
    uint32_t size;
    Wsl__V1__FromTrainer *message;

    read_all(fd, head, 4);
    size = head[0] | (uint32_t)head[1] << 8 | (uint32_t)head[2] << 16 | (uint32_t)head[3] << 24;
    assert_true(size <= sizeof(bytes));
    read_all(fd, bytes, size);
    message = wsl__v1__from_trainer__unpack(NULL, size, bytes);
    assert_non_null(message);
    return message;
}

static void expect_phase(int fd, const char *phase)
{
    Wsl__V1__FromTrainer *m = receive(fd);

    assert_int_equal(m->body_case, WSL__V1__FROM_TRAINER__BODY_STATUS);
    assert_string_equal(m->status->phase, phase);
    assert_int_equal(m->status->pid, getpid());
    assert_int_equal(m->status->key->job, 7);
    assert_int_equal(m->status->key->generation, 2);
    assert_int_equal(m->status->key->rank, 1);
    wsl__v1__from_trainer__free_unpacked(m, NULL);
}

/* In pieces of one byte when `slow`. */
static void send_message(int fd, const Wsl__V1__ToTrainer *message, bool slow)
{
    struct wsl_buf out = {0};
    size_t size = wsl__v1__to_trainer__get_packed_size(message);

    wsl__v1__to_trainer__pack(message, wsl_frame_add(&out, (uint32_t)size));
    for (size_t i = 0; i < out.size; i += slow ? 1 : out.size)
        assert_true(write(fd, out.data + i, slow ? 1 : out.size) > 0);
    wsl_buf_free(&out);
}

static void send_answer(int fd, uint32_t generation, uint32_t round, const char *blob,
                        const char *error)
{
    Wsl__V1__ToTrainer message = WSL__V1__TO_TRAINER__INIT;
    Wsl__V1__ExchangeResult result = WSL__V1__EXCHANGE_RESULT__INIT;

    result.job = 7;
    result.generation = generation;
    result.round = round;
    result.blob = (ProtobufCBinaryData){strlen(blob), (uint8_t *)blob};
    result.error = (char *)error;
    message.body_case = WSL__V1__TO_TRAINER__BODY_EXCHANGE;
    message.exchange = &result;
    send_message(fd, &message, true);
}

/* A thread that exchanges: with facts it agrees, else it waits for rank 0's bytes. */
struct exchanging {
    struct wsl_trainer_control *control;
    const struct wsl_rank_fact *facts;
    size_t count;
    char bytes[16];
    size_t size;
    struct wsl_err err;
    int result;
};

static void *exchange_main(void *context)
{
    struct exchanging *e = context;
    struct wsl_exchange exchange = wsl_trainer_control_exchange(e->control);

    e->result = e->facts ? wsl_trainer_control_agree(e->control, e->facts, e->count, &e->err)
                         : exchange.broadcast(exchange.context, e->bytes, e->size, &e->err);
    return NULL;
}

static void every_worker_hears_the_phase(void **state)
{
    struct scene *s = *state;
    int first = connect_worker(), second;

    expect_phase(first, "starting");
    wsl_trainer_control_phase(s->control, "loading");
    expect_phase(first, "loading");
    second = connect_worker(); /* takes the place of the first */
    expect_phase(second, "loading");
    wsl_trainer_control_phase(s->control, "training");
    expect_phase(second, "training");
    close(first);
    close(second);
}

static const struct wsl_rank_fact facts[] = {{"data set", "fingerprint 12", "copy it"},
                                             {"classes", "3", ""}};

/* `text`: of the first fact; NULL: none. */
static void expect_facts(int fd, uint32_t round, const char *text)
{
    Wsl__V1__FromTrainer *m = receive(fd);

    assert_int_equal(m->body_case, WSL__V1__FROM_TRAINER__BODY_EXCHANGE);
    assert_int_equal(m->exchange->round, round);
    assert_int_equal(m->exchange->key->rank, 1);
    assert_int_equal(m->exchange->blob.len, 0); /* it is not rank 0 */
    assert_int_equal(m->exchange->n_facts, text ? 2 : 0);
    if (text) {
        assert_string_equal(m->exchange->facts[0]->value, text);
        assert_string_equal(m->exchange->facts[0]->name, "data set");
        assert_string_equal(m->exchange->facts[0]->remedy, "copy it");
    }
    wsl__v1__from_trainer__free_unpacked(m, NULL);
}

static void an_exchange_outlives_the_worker(void **state)
{
    struct scene *s = *state;
    struct exchanging e = {.control = s->control, .facts = facts, .count = 2};
    pthread_t thread;
    int fd = connect_worker();

    expect_phase(fd, "starting");
    assert_int_equal(pthread_create(&thread, NULL, exchange_main, &e), 0);
    expect_facts(fd, 0, "fingerprint 12");
    close(fd); /* the worker dies before it is answered */
    fd = connect_worker();
    expect_phase(fd, "starting");
    expect_facts(fd, 0, "fingerprint 12");
    send_answer(fd, 1, 0, "", "of another generation");
    send_answer(fd, 2, 5, "", "of another round");
    send_answer(fd, 2, 0, "", "");
    pthread_join(thread, NULL);
    assert_int_equal(e.result, 0);
    send_answer(fd, 2, 0, "", "again"); /* late copies are ignored */

    e = (struct exchanging){.control = s->control, .size = 5};
    assert_int_equal(pthread_create(&thread, NULL, exchange_main, &e), 0);
    expect_facts(fd, 1, NULL);
    send_answer(fd, 2, 1, "bytes", "");
    pthread_join(thread, NULL);
    assert_int_equal(e.result, 0);
    assert_memory_equal(e.bytes, "bytes", 5);
    close(fd);
    fd = connect_worker(); /* nothing is open any more: only the phase comes */
    expect_phase(fd, "starting");
    wsl_trainer_control_phase(s->control, "training");
    expect_phase(fd, "training");
    close(fd);
}

static void a_difference_is_an_error(void **state)
{
    struct scene *s = *state;
    struct exchanging e = {.control = s->control, .facts = facts, .count = 2};
    pthread_t thread;
    int fd = connect_worker();

    expect_phase(fd, "starting");
    assert_int_equal(pthread_create(&thread, NULL, exchange_main, &e), 0);
    expect_facts(fd, 0, "fingerprint 12");
    send_answer(fd, 2, 0, "", "classes differs: 3 on a (rank 0), 4 on b (rank 1); ...");
    pthread_join(thread, NULL);
    assert_int_equal(e.result, WSL_EINVAL);
    assert_non_null(strstr(e.err.text, "4 on b"));
    e = (struct exchanging){.control = s->control, .size = 5};
    assert_int_equal(pthread_create(&thread, NULL, exchange_main, &e), 0);
    expect_facts(fd, 1, NULL);
    send_answer(fd, 2, 1, "byte", ""); /* of another size than expected */
    pthread_join(thread, NULL);
    assert_int_equal(e.result, WSL_EPEER);
    close(fd);
}

static void cancel_ends_an_exchange(void **state)
{
    struct scene *s = *state;
    struct wsl_exchange exchange = wsl_trainer_control_exchange(s->control);
    struct exchanging e = {.control = s->control, .size = 5};
    pthread_t thread;
    int fd = connect_worker();

    expect_phase(fd, "starting");
    assert_int_equal(pthread_create(&thread, NULL, exchange_main, &e), 0);
    expect_facts(fd, 0, NULL);
    exchange.cancel(exchange.context);
    pthread_join(thread, NULL);
    assert_int_equal(e.result, WSL_ECANCELLED);
    close(fd);
}

static void wait_stopped(struct scene *s)
{
    for (int i = 0; i < 10000 && !wsl_trainer_control_stopped(s->control); i++)
        poll(NULL, 0, 1);
    assert_true(wsl_trainer_control_stopped(s->control));
}

static void send_stop(int fd, uint32_t rank)
{
    Wsl__V1__ToTrainer message = WSL__V1__TO_TRAINER__INIT;
    Wsl__V1__StopTrainer stop = WSL__V1__STOP_TRAINER__INIT;
    Wsl__V1__TrainerKey key = WSL__V1__TRAINER_KEY__INIT;

    key.job = 7;
    key.generation = 2;
    key.rank = rank;
    stop.key = &key;
    stop.mode = WSL__V1__STOP_MODE__GRACEFUL;
    stop.reason = (char *)"cancelled by ada";
    message.body_case = WSL__V1__TO_TRAINER__BODY_STOP;
    message.stop = &stop;
    send_message(fd, &message, false);
}

static void a_stop_request_is_heard(void **state)
{
    struct scene *s = *state;
    char reason[200];
    int fd = connect_worker();

    expect_phase(fd, "starting");
    assert_false(wsl_trainer_control_stopped(s->control));
    send_stop(fd, 0); /* another rank's */
    wsl_trainer_control_phase(s->control, "training");
    expect_phase(fd, "training");
    assert_false(wsl_trainer_control_stopped(s->control));
    send_stop(fd, 1);
    wait_stopped(s);
    wsl_trainer_control_stop_reason(s->control, reason);
    assert_string_equal(reason, "cancelled by ada");
    close(fd);
}

static void sigterm_is_a_stop_request(void **state)
{
    struct scene *s = *state;
    char reason[200];

    kill(getpid(), SIGTERM);
    wait_stopped(s);
    wsl_trainer_control_stop_reason(s->control, reason);
    assert_non_null(strstr(reason, "SIGTERM"));
}

static void nonsense_costs_a_worker_its_connection_only(void **state)
{
    struct scene *s = *state;
    char byte;
    int fd = connect_worker();

    expect_phase(fd, "starting");
    assert_int_equal(write(fd, "\3\0\0\0\xff\xff\xff", 7), 7); /* no message: passed over */
    wsl_trainer_control_phase(s->control, "loading");
    expect_phase(fd, "loading");
    assert_int_equal(write(fd, "\xff\xff\xff\xffxx", 6), 6); /* no frame */
    assert_int_equal(read(fd, &byte, 1), 0);
    close(fd);
    fd = connect_worker();
    expect_phase(fd, "loading");
    close(fd);
}

/* ---- the metric file ---- */

static void metrics_survive_a_torn_end(void **state)
{
    struct wsl_metrics *m;
    struct wsl_buf whole = {0}, torn = {0};
    struct wsl_err err;
    size_t first;

    (void)state;
    assert_int_equal(wsl_metrics_open(&m, "metrics", &err), 0);
    wsl_metrics_note(m, "kind", "number %d", 1);
    assert_int_equal(wsl_file_read("metrics", 10000, &whole, &err), 0);
    first = whole.size;
    wsl_metrics_note(m, "kind", "%0200d", 2);
    wsl_metrics_close(m);
    wsl_buf_clear(&whole);
    assert_int_equal(wsl_file_read("metrics", 10000, &whole, &err), 0);
    for (size_t cut = first; cut <= whole.size; cut++) { /* killed at any byte */
        assert_int_equal(wsl_file_write_atomic("metrics", whole.data, cut, &err), 0);
        assert_int_equal(wsl_metrics_open(&m, "metrics", &err), 0);
        wsl_metrics_close(m);
        wsl_buf_clear(&torn);
        assert_int_equal(wsl_file_read("metrics", 10000, &torn, &err), 0);
        assert_int_equal(torn.size, cut == whole.size ? whole.size : first);
    }
    wsl_buf_free(&whole);
    wsl_buf_free(&torn);
}

int main(void)
{
#define SCENE(f) cmocka_unit_test_setup_teardown(f, open_scene, close_scene)
    const struct CMUnitTest tests[] = {
        SCENE(every_worker_hears_the_phase),
        SCENE(an_exchange_outlives_the_worker),
        SCENE(a_difference_is_an_error),
        SCENE(cancel_ends_an_exchange),
        SCENE(a_stop_request_is_heard),
        SCENE(sigterm_is_a_stop_request),
        SCENE(nonsense_costs_a_worker_its_connection_only),
        SCENE(metrics_survive_a_torn_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
