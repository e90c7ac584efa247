/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls: server, loop client and blocking client against each other. */
#include "tests/unit/rpc_world.h"

#include <unistd.h>

/* ---- unary ---- */

static void test_unary(void **state)
{
    struct world w;
    struct seen seen;
    struct caller caller = {.world = &w};

    (void)state;
    serve(&w, &seen);
    expect_answer(&caller);
    expect_answer(&caller);
    assert_int_equal(get(&caller, "none"), WSL_ENOENT);
    assert_string_equal(caller.err.text, "no job is called 'none'");
    world_stop(&w);
    assert_int_equal(seen.unary_closed, 3);
}

static void test_deadline(void **state)
{
    struct world w;
    struct seen seen;
    struct caller caller = {.world = &w, .timeout_ms = 100};

    (void)state;
    serve(&w, &seen);
    assert_int_equal(get(&caller, "hang"), WSL_ETIMEOUT);
    assert_non_null(strstr(caller.err.text, w.address));
    /* The server learns of it without a timer of its own. */
    world_run(&w, is_one, &seen.unary_closed);
    assert_null(seen.hanging);
    world_stop(&w);
}

/* ---- bad input ---- */

static void test_unknown_method(void **state)
{
    struct world w;
    struct seen seen;
    struct caller caller = {.world = &w};
    Wsl__V1__GetJobRequest request = WSL__V1__GET_JOB_REQUEST__INIT;

    (void)state;
    serve(&w, &seen);
    assert_int_equal(call_once(&caller, "/wsl.v1.JobService/Explode", &request.base,
                               &wsl__v1__get_job_response__descriptor),
                     WSL_EUNSUPPORTED);
    assert_non_null(strstr(caller.err.text, "/wsl.v1.JobService/Explode"));
    expect_answer(&caller);
    world_stop(&w);
}

static void test_oversize(void **state)
{
    struct world w;
    struct seen seen;
    struct caller caller = {.world = &w};
    char *name = malloc(RECEIVE_MAX + 1);

    (void)state;
    memset(name, 'x', RECEIVE_MAX);
    name[RECEIVE_MAX] = '\0';
    serve(&w, &seen);
    assert_int_equal(get(&caller, name), WSL_ELIMIT);
    world_run(&w, is_one, &seen.unary_closed);
    expect_answer(&caller);
    free(name);
    world_stop(&w);
}

static void test_garbage(void **state)
{
    /* A length far beyond the end, a varint without an end, and a field of the wrong wire type. */
    static const uint8_t long_length[] = {0xff, 0xff, 0xff, 0x7f, 'a'};
    static const uint8_t endless[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t number[] = {7};
    ProtobufCMessageUnknownField fields[] = {
        {1, PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED, sizeof long_length, (uint8_t *)long_length},
        {9, PROTOBUF_C_WIRE_TYPE_VARINT, sizeof endless, (uint8_t *)endless},
        {1, PROTOBUF_C_WIRE_TYPE_VARINT, sizeof number, (uint8_t *)number},
    };
    struct world w;
    struct seen seen;
    struct caller caller = {.world = &w};

    (void)state;
    serve(&w, &seen);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        Wsl__V1__GetJobRequest request = WSL__V1__GET_JOB_REQUEST__INIT;

        request.base.n_unknown_fields = 1;
        request.base.unknown_fields = &fields[i];
        assert_int_equal(
            call_once(&caller, get_path, &request.base, &wsl__v1__get_job_response__descriptor),
            WSL_EINVAL);
        assert_non_null(strstr(caller.err.text, "GetJobRequest"));
    }
    assert_int_equal(get(&caller, "ok\xc3(not"), WSL_EINVAL);
    assert_string_equal(caller.err.text, "job: not UTF-8 text");
    assert_int_equal(get(&caller, "\xed\xa0\x80"), WSL_EINVAL); /* half a surrogate pair */
    expect_answer(&caller);
    world_stop(&w);
}

/* ---- streams ---- */

struct reader {
    struct caller caller;
    struct seen *seen;
    uint32_t chunks;
    bool in_order;
    int end;
};

/* Reads nothing before the server's queue is full, then everything. */
static void read_slowly(struct caller *caller)
{
    struct reader *reader = (struct reader *)caller;
    Wsl__V1__LogsRequest request = WSL__V1__LOGS_REQUEST__INIT;
    struct wsl_client_stream *stream = NULL;
    ProtobufCMessage *message;
    uint64_t until = wsl_clock_ns() + DEADLINE_MS * UINT64_C(1000000);

    reader->end = wsl_client_open(&caller->client, caller->world->address, &caller->err);
    if (reader->end == 0)
        reader->end = wsl_client_stream_open(&stream, caller->client, logs_path, &request.base,
                                             &wsl__v1__logs_response__descriptor, &caller->err);
    while (reader->end == 0 && !atomic_load(&reader->seen->blocked) && wsl_clock_ns() < until)
        usleep(1000);
    while (reader->end == 0) {
        reader->end = wsl_client_stream_next(stream, DEADLINE_MS, &message, &caller->err);
        if (reader->end != 0)
            break;
        reader->in_order =
            reader->in_order && ((Wsl__V1__LogsResponse *)message)->rank == reader->chunks;
        reader->chunks++;
        protobuf_c_message_free_unpacked(message, NULL);
    }
    wsl_client_stream_close(stream);
    wsl_client_close(caller->client);
}

static void test_server_stream_slow_reader(void **state)
{
    struct world w;
    struct seen seen;
    struct reader reader = {.caller = {.world = &w, .run = read_slowly}, .seen = &seen};

    (void)state;
    reader.in_order = true;
    serve(&w, &seen);
    caller_run(&reader.caller);
    if (reader.end != WSL_CLIENT_END)
        fail_msg("%s", reader.caller.err.text);
    assert_true(atomic_load(&seen.blocked));
    assert_true(seen.writable > 0);
    assert_true(reader.in_order);
    assert_int_equal(reader.chunks, CHUNKS);
    world_run(&w, is_one, &seen.stream_closed);
    world_stop(&w);
}

struct many {
    struct caller caller;
    size_t answered, not_found, left;
    int end;
};

enum { CALLS = 200 };

/* All at once; every third asks for what there is not, and its failure is its own. */
static void call_many(struct caller *caller)
{
    struct many *many = (struct many *)caller;
    static char contexts[CALLS];
    struct wsl_client_calls *calls = NULL;
    Wsl__V1__GetJobRequest request = WSL__V1__GET_JOB_REQUEST__INIT;
    void *context;
    int r;

    many->end = wsl_client_open(&caller->client, caller->world->address, &caller->err);
    if (many->end == 0)
        many->end = wsl_client_calls_open(&calls, caller->client, get_path,
                                          &wsl__v1__get_job_response__descriptor, &caller->err);
    for (size_t i = 0; many->end == 0 && i < CALLS; i++) {
        request.job = (char *)(i % 3 == 0 ? "none" : "there");
        many->end =
            wsl_client_calls_start(calls, &request.base, DEADLINE_MS, &contexts[i], &caller->err);
    }
    while (many->end == 0) {
        ProtobufCMessage *answer = NULL;

        r = wsl_client_calls_next(calls, &context, &answer, &caller->err);
        if (r == WSL_CLIENT_END)
            many->end = r;
        else if (((char *)context - contexts) % 3 == 0)
            many->not_found += r == WSL_ENOENT;
        else
            many->answered += r == 0 && answer;
        protobuf_c_message_free_unpacked(answer, NULL);
    }
    request.job = (char *)"hang"; /* closing does not wait for it */
    many->left = wsl_client_calls_in_flight(calls);
    wsl_client_calls_start(calls, &request.base, DEADLINE_MS, NULL, NULL);
    wsl_client_calls_close(calls);
    wsl_client_close(caller->client);
}

static void test_many_calls_in_flight(void **state)
{
    struct world w;
    struct seen seen;
    struct many many = {.caller = {.world = &w, .run = call_many}};

    (void)state;
    serve(&w, &seen);
    caller_run(&many.caller);
    if (many.end != WSL_CLIENT_END)
        fail_msg("%s", many.caller.err.text);
    assert_int_equal(many.not_found, (CALLS + 2) / 3);
    assert_int_equal(many.answered, CALLS - (CALLS + 2) / 3);
    assert_int_equal(many.left, 0);
    world_stop(&w);
}

struct waiter {
    struct caller caller;
    struct wsl_client_stream *stream;
    atomic_bool waiting;
    int first, second, third;
};

static void wait_for_cancel(struct caller *caller)
{
    struct waiter *waiter = (struct waiter *)caller;
    Wsl__V1__LogsRequest request = WSL__V1__LOGS_REQUEST__INIT;
    ProtobufCMessage *message = NULL;

    request.follow = true;
    waiter->first = wsl_client_open(&caller->client, caller->world->address, &caller->err);
    if (waiter->first == 0)
        waiter->first =
            wsl_client_stream_open(&waiter->stream, caller->client, logs_path, &request.base,
                                   &wsl__v1__logs_response__descriptor, &caller->err);
    if (waiter->first == 0)
        waiter->first = wsl_client_stream_next(waiter->stream, DEADLINE_MS, &message, &caller->err);
    if (message)
        protobuf_c_message_free_unpacked(message, NULL);
    waiter->second = wsl_client_stream_next(waiter->stream, 20, &message, &caller->err);
    atomic_store(&waiter->waiting, true);
    waiter->third = wsl_client_stream_next(waiter->stream, 0, &message, &caller->err);
    wsl_client_stream_close(waiter->stream);
    wsl_client_close(caller->client);
}

static void test_client_stream_timeout_and_cancel(void **state)
{
    struct world w;
    struct seen seen;
    struct waiter waiter = {.caller = {.world = &w, .run = wait_for_cancel}};

    (void)state;
    serve(&w, &seen);
    assert_int_equal(pthread_create(&waiter.caller.thread, NULL, caller_thread, &waiter), 0);
    world_run(&w, flag_is_set, &waiter.waiting);
    wsl_client_stream_cancel(waiter.stream);
    world_run(&w, flag_is_set, &waiter.caller.done);
    pthread_join(waiter.caller.thread, NULL);
    assert_int_equal(waiter.first, 0);
    assert_int_equal(waiter.second, WSL_ETIMEOUT);
    assert_int_equal(waiter.third, WSL_ECANCELLED);
    world_run(&w, is_one, &seen.stream_closed);
    world_stop(&w);
}

/* ---- the loop's client ---- */

static void test_bidi(void **state)
{
    struct world w;
    struct seen seen;
    struct talk talk;

    (void)state;
    serve(&w, &seen);
    talk_start(&talk, &w, session_path, 1000);
    world_run(&w, plain_flag_is_set, &talk.closed);
    assert_true(talk.blocked); /* the queue of 4 was full at times, and on_writable went on */
    assert_true(talk.in_order);
    assert_int_equal(talk.received, 1000);
    assert_int_equal(talk.status, WSL_RPC_OK);
    assert_int_equal(seen.session_messages, 1000);
    assert_int_equal(seen.session_half_closes, 1);
    world_run(&w, is_one, &seen.session_closed);
    world_stop(&w);
}

static void test_loop_client_cancel(void **state)
{
    struct world w;
    struct seen seen;
    struct talk talk;

    (void)state;
    serve(&w, &seen);
    talk_start(&talk, &w, session_path, 1);
    talk.wanted = 100; /* no half-close */
    world_run(&w, has_session, &seen);
    wsl_rpc_cancel(talk.call);
    world_run(&w, plain_flag_is_set, &talk.closed);
    assert_int_equal(talk.status, WSL_RPC_CANCELLED);
    world_run(&w, is_one, &seen.session_closed);
    assert_int_equal(seen.session_half_closes, 0);
    wsl_rpc_channel_close(talk.channel);
    world_stop(&w);
}

static void test_loop_client_unreachable(void **state)
{
    struct world w;
    struct seen seen;
    struct talk talk;

    (void)state;
    serve(&w, &seen);
    world_close_rpc(&w, 0); /* the port is free now */
    assert_int_equal(wsl_rpc_open(&w.rpc, &w.loop, NULL), 0);
    talk_start(&talk, &w, session_path, 1);
    world_run(&w, plain_flag_is_set, &talk.closed);
    assert_int_equal(talk.status, WSL_RPC_UNAVAILABLE);
    world_stop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unary),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_unknown_method),
        cmocka_unit_test(test_oversize),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_server_stream_slow_reader),
        cmocka_unit_test(test_many_calls_in_flight),
        cmocka_unit_test(test_client_stream_timeout_and_cancel),
        cmocka_unit_test(test_bidi),
        cmocka_unit_test(test_loop_client_cancel),
        cmocka_unit_test(test_loop_client_unreachable),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
